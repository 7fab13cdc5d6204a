"""Tiny models and data, made anew for each test: a BERT of 16 dimensions learns a toy inference task in seconds."""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from kdda.cli.shared import main
from kdda.runtime.verbosity import VERBOSITY_VARIABLE
from tests.forks import Command

os.environ["KDDA_LANG"] = "en"  # messages are compared in English, on a Vietnamese machine, too
torch.set_num_threads(1)  # tensors of 16 numbers gain nothing from more, and two workers of pytest fill two cores
LABELS = ["entailment", "neutral", "contradiction"]
NOUNS = {"aa": ["mèo", "chó", "gà", "cá"], "bb": ["cat", "dog", "hen", "fish"]}
VERBS = {"aa": ["ngủ", "chạy"], "bb": ["sleeps", "runs"]}


@pytest.fixture(scope="module", autouse=True)
def only_objects_of_the_module_are_collected() -> None:
    """What modules and libraries hold lives to the end: each training collects garbage, for half a second with them."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """What was frozen is freed at the end, or Triton's bindings, which torch imports, report it as leaked."""
    gc.unfreeze()


def words() -> list[str]:
    return sorted(
        {w for table in (NOUNS, VERBS) for row in table.values() for w in row} | {"không", "not", "rất", "very"}
    )


def make_tokenizer(extra: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words(), *extra])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=core, model_input_names=inputs, **names)


def make_model(folder: Path, width: int = 16, seed: int = 0, layers: int = 2, rows: int = 40) -> str:
    """A local checkpoint with random weights, in the Hub's layout."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=rows, hidden_size=width, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=2 * width
    )
    config.max_position_embeddings = 64
    BertModel(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return str(folder)


def make_rows(language: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Label by a rule that a tiny model can find: same noun and verb, another noun, or a negated verb."""
    chance, rows = random.Random(seed), []
    negation = {"aa": "không", "bb": "not"}[language]
    for i in range(count):
        noun, verb, label = chance.choice(NOUNS[language]), chance.choice(VERBS[language]), LABELS[i % 3]
        other = chance.choice([n for n in NOUNS[language] if n != noun])
        hypothesis = {"entailment": f"{noun} {verb}", "neutral": f"{other} {verb}"}.get(
            label, f"{noun} {negation} {verb}"
        )
        rows.append({"premise": f"{noun} {verb}", "hypothesis": hypothesis, "label": label})
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def make_questions(language: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Which verb stands after the noun that is asked for: a tiny model can find it."""
    chance, rows = random.Random(seed), []
    for i in range(count):
        nouns = chance.sample(NOUNS[language], 3)
        pairs = [(noun, chance.choice(VERBS[language])) for noun in nouns]
        context = "  ".join(f"{noun} {verb}" for noun, verb in pairs)
        noun, verb = chance.choice(pairs)
        start = context.index(f"{noun} {verb}") + len(noun) + 1
        answers = [{"text": verb, "answer_start": start}]
        rows.append({"id": f"{language}{i}", "question": noun, "context": context, "answers": answers})
    return rows


def make_sentences(language: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Animals are labelled, and what they do: a tiny model can find both. Half the rows are words with tags."""
    chance, rows = random.Random(seed), []
    for i in range(count):
        nouns = chance.sample(NOUNS[language], chance.choice((1, 2, 3)))
        words, tags = [], []
        for noun in nouns:
            words += [noun, chance.choice(("rất", "very")), chance.choice(VERBS[language])]
            tags += ["B-ANIMAL", "B-ACT", "I-ACT"]
        if i % 2:
            rows.append({"id": f"s{i}", "tokens": words, "tags": tags})
            continue
        spans, text = [], ""
        for word, tag in zip(words, tags, strict=True):
            start = len(text) + bool(text)
            text = f"{text} {word}".strip()
            if tag[0] == "B":
                spans.append([start, len(text), tag[2:]])
            else:
                spans[-1][1] = len(text)
        rows.append({"id": f"s{i}", "text": text, "spans": spans})
    return rows


class Bench:
    """A folder with two tiny teachers, a student, data in two languages, and the recipe that joins them."""

    def __init__(self, folder: Path):
        self.folder = folder
        models_ = {name: make_model(folder / name, seed=i) for i, name in enumerate(("student", "ta", "tb"))}
        self.values: dict[str, Any] = {
            "task": "nli",
            "target": "aa",
            "student": models_["student"],
            "teachers": {"aa": models_["ta"], "bb": models_["tb"]},
            "data": {language: self._data(language) for language in ("aa", "bb")},
            "training": {"learning_rate": 3e-3, "epochs": 2, "batch_size": 8, "log_every": 2, "precision": "fp32"},
        }

    def _data(self, language: str) -> dict[str, str]:
        sizes = {"train": 45, "dev": 15, "test": 18}
        return {
            split: write_rows(self.folder / f"{language}.{split}.jsonl", make_rows(language, size, seed))
            for seed, (split, size) in enumerate(sizes.items())
        }

    def leave_out_of_dev(self, language: str, label: str) -> None:
        """Development rows of a language without those of a label."""
        rows = [row for row in make_rows(language, 15, seed=1) if row["label"] != label]
        write_rows(Path(self.values["data"][language]["dev"]), rows)

    def read(self) -> None:
        """The same models, on questions instead of pairs."""
        self.values["task"] = "qa"
        for language, own in self.values["data"].items():
            for seed, split in enumerate(("train", "dev", "test")):
                count = {"train": 60, "dev": 15, "test": 18}[split]
                path = self.folder / f"{language}.qa.{split}.jsonl"
                own[split] = write_rows(path, make_questions(language, count, seed))

    def write(self, name: str = "recipe.yaml") -> Path:
        path = self.folder / name
        path.write_text(yaml.safe_dump(self.values, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def kdda(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of one command."""
    capsys.readouterr()  # what the test itself has printed so far
    monkeypatch.setattr(sys, "argv", ["kdda", *arguments])
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """`kdda` with arguments, in this process. What --quiet and --verbose set for it ends with the test."""
    for name in (VERBOSITY_VARIABLE, "TQDM_DISABLE", "TRANSFORMERS_VERBOSITY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return lambda *arguments: kdda(capsys, monkeypatch, *map(str, arguments))


def start(*arguments: object) -> Command:
    """`kdda` with arguments, in a process of its own."""
    return Command(list(map(str, arguments)))


def start_python(*arguments: object, folder: Path | None = None, in_background: bool = False) -> subprocess.Popen[str]:
    """`kdda` as a shell starts it in a folder: its workers, too, are new processes of Python.

    Args:
        in_background: as a script's shell starts it before an ampersand: it ignores Ctrl-C.
    """
    command = [sys.executable, "-P", "-m", "kdda", *map(str, arguments)]  # -P: as the installed command
    if in_background:
        command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)
