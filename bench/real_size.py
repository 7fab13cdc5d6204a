"""The paper's recipes at base size with random weights: seconds a step, peak memory, and hours of the whole recipe.

    python bench/real_size.py --task nli --phobert FOLDER     # FOLDER holds PhoBERT's vocab.txt and bpe.codes (MIT)

XLM-R base (278 million parameters, XLM-R's vocabulary from mini/multilingual), PhoBERT base with its own vocabulary and
RoBERTa base are made with random weights in a temporary folder, so that nothing is downloaded; the rows are those of
the embedded corpora, 64 a language. One seed and one learning rate of paper/nli-base or paper/qa-base then run to
their table. The scores mean nothing; the costs are those of the real models.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaModel, XLMRobertaConfig, XLMRobertaModel

from kdda.data.sources import Source, read_rows
from kdda.models.load import load_checkpoint
from kdda.models.trim import texts_of

ROWS, BATCH = 64, 32

# Rows of the data sets that the recipes name, for the hours of the whole recipe (their papers: ViNLI without OTHER and
# MultiNLI; UIT-ViQuAD 1.0 and SQuAD 1.1).
FULL = {"nli": {"vi": 17_000, "en": 392_702}, "qa": {"vi": 18_579, "en": 87_599}}

CORPORA = {"nli": "nli", "qa": "reading"}

BASE: dict[str, Any] = {"type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}


def xlmr(folder: Path) -> None:
    load_checkpoint("mini/multilingual").tokenizer.save_pretrained(folder)
    XLMRobertaModel(XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, **BASE)).save_pretrained(folder)


def phobert(folder: Path, vocabulary: Path) -> None:
    folder.mkdir()
    for name in ("vocab.txt", "bpe.codes"):
        shutil.copy(vocabulary / name, folder / name)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PhobertTokenizer"}), "utf-8")
    config = RobertaConfig(vocab_size=64_001, max_position_embeddings=258, tokenizer_class="PhobertTokenizer", **BASE)
    RobertaModel(config).save_pretrained(folder)


def roberta(folder: Path, texts: list[str]) -> None:
    """RoBERTa base; its byte-level vocabulary is learned from the rows, the table has RoBERTa's 50,265 rows."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=50_265, special_tokens=specials, initial_alphabet=alphabet)
    )
    core.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    names = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"}
    names |= {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
    PreTrainedTokenizerFast(tokenizer_object=core, **names).save_pretrained(folder)
    RobertaModel(RobertaConfig(vocab_size=50_265, max_position_embeddings=514, **BASE)).save_pretrained(folder)


def write_rows(task: str, folder: Path) -> list[str]:
    """64 rows a language and split, and the texts of the English ones."""
    texts: list[str] = []
    for language in ("vi", "en"):
        for split in ("train", "dev", "test"):
            available = "dev" if (language, split) == ("en", "test") and task == "nli" else split
            rows = list(read_rows(Source(f"embedded:{CORPORA[task]}/{language}/{available}")))[:ROWS]
            lines = [json.dumps(row.values, ensure_ascii=False) for row in rows]
            (folder / f"{language}.{split}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
            if language == "en":
                texts += texts_of(row.values for row in rows)
    return texts


def settings(task: str, folder: Path) -> dict[str, str]:
    """The recipe's fields that point to the local folders and rows."""
    values = {"student": f"{folder}/xlmr", "teachers.vi": f"{folder}/phobert", "teachers.en": f"{folder}/roberta"}
    values |= {"arms.phobert.student": f"{folder}/phobert", "learning_rates": "[]"}
    for language in ("vi", "en"):
        values[f"data.{language}"] = json.dumps(
            {split: f"{folder}/{language}.{split}.jsonl" for split in ("train", "dev", "test")}
        )
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=list(FULL), default="nli")
    parser.add_argument("--phobert", type=Path, required=True, help="a folder with PhoBERT's vocab.txt and bpe.codes")
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        torch.manual_seed(0)
        texts = write_rows(options.task, folder)
        xlmr(folder / "xlmr")
        phobert(folder / "phobert", options.phobert)
        roberta(folder / "roberta", texts)
        command = [sys.executable, "-m", "kdda", "run", f"paper/{options.task}-base", "--seeds", "1"]
        command += ["--out", str(folder / "runs"), "--set", f"training.epochs={options.epochs}"]
        command += ["--set", "training.log_every=1"]  # the seconds of every step
        for name, value in settings(options.task, folder).items():
            command += ["--set", f"{name}={value}"]
        started = time.perf_counter()
        subprocess.run(command, check=True)
        print(f"\n{options.task}: {(time.perf_counter() - started) / 60:.1f} minutes in all\n")
        report(options.task, folder / "runs")


def report(task: str, runs: Path) -> None:
    """What each student cost, as `kdda report` tells it, and the hours of its two epochs on the whole data."""
    subprocess.run([sys.executable, "-m", "kdda", "report", str(runs)], check=True)
    print("| student | seconds a step | hours of two epochs on the whole data | peak GB |\n|---|--:|--:|--:|")
    for path in sorted(runs.glob(f"{task}/*/seed-1/metrics.jsonl")):
        events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        ends = [event["seconds"] for event in events if event["event"] == "step"]
        step = median(end - start for start, end in pairwise(ends))
        rows = sum(FULL[task][language] for language in events[0]["data"])
        peak = events[-1]["peak_mb"] / 1000
        print(f"| {path.parent.parent.name} | {step:.1f} | {2 * rows / BATCH * step / 3600:,.1f} | {peak:.1f} |")


if __name__ == "__main__":
    main()
