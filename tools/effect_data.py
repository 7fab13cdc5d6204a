"""The rows of docs/results/effect.md and tasks.md, from public files, in splits that were fixed before the first run.

    python tools/effect_data.py FOLDER data/effect      # FOLDER holds xnli/, xquad/, mlqa/, tydiqa/, sib200/ and vihos/

Inference: XNLI's Vietnamese and English training pairs are translations of each other, so each language gets the
half of the pairs that the other lacks. Its development rows, which were translated by people, are split by premise into
development (3 of 10) and test rows. Question answering: MLQA's Vietnamese questions and TyDi's English ones, split by
passage, are for training and development, all of XQuAD's Vietnamese ones are the test. XQuAD is never trained on, in
any language. Topics: SIB-200's sentences are the same in all languages, so each of the two has the training rows that
the other lacks; its development and test rows, and ViHOS' rows, are as their authors split them.

A hash of a row's text decides its split, never its place in a file. The checksums of the resulting files are printed;
docs/results/effect.md lists those of its runs.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from kdda.data.sources import Source, read_rows

Row = dict[str, Any]
NLI_LABELS = ("entailment", "neutral", "contradiction")
LANGUAGES = ("vi", "en")


def part(text: str, parts: int) -> int:
    """The number of the part, of so many, that a text belongs to."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % parts


def nli_training(folder: Path) -> dict[str, list[Row]]:
    """Pairs of each language, none of which the other has."""
    files = [_lines(folder / "xnli" / f"{language}.train.jsonl") for language in LANGUAGES]
    pairs: dict[str, list[Row]] = {language: [] for language in LANGUAGES}
    for i, translations in enumerate(zip(*files, strict=True)):
        english = translations[LANGUAGES.index("en")]
        chosen = part(english["premise"], len(LANGUAGES))
        row = translations[chosen]
        pairs[LANGUAGES[chosen]].append({"id": f"train-{i}", **row, "label": NLI_LABELS[row["label"]]})
    return pairs


def nli_others(folder: Path, language: str) -> dict[str, list[Row]]:
    """Development and test rows, split by their English premise, so that both languages have the same split."""
    lines = {name: (folder / "xnli" / f"dev-{name}.tsv").read_text("utf-8").split("\n")[:-1] for name in LANGUAGES}
    splits: dict[str, list[Row]] = {"dev": [], "test": []}
    for i, both in enumerate(zip(*(lines[name] for name in ("en", language)), strict=True)):
        english, (premise, hypothesis, label) = (line.split("\t") for line in both)
        split = "dev" if part(english[0], 10) < 3 else "test"
        row = {"premise": premise, "hypothesis": hypothesis, "label": label}
        splits[split].append({"id": f"dev-{i}", **row})
    return splits


def questions(path: Path, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[Row]:
    """The questions of a file in SQuAD's format, on the passages that are wanted."""
    for article in json.loads(path.read_text("utf-8"))["data"]:
        for passage in article["paragraphs"]:
            if not wanted(passage["context"]):
                continue
            for question in passage["qas"]:
                yield {
                    "id": f"{path.stem}-{question['id']}",
                    "question": question["question"],
                    "context": passage["context"],
                    "answers": [_answer(answer) for answer in question["answers"]],
                }


def _answer(answer: Row) -> Row:
    return {"text": answer["text"], "answer_start": answer["answer_start"]}


def translated(folder: Path) -> Iterator[tuple[str, list[Row]]]:
    """Texts with their translations, each once: premises of XNLI's test rows, and XQuAD's questions."""
    sides = [nli_others(folder, language)["test"] for language in LANGUAGES]
    yield "translations.xnli.jsonl", _once([row["premise"] for row in side] for side in sides)
    xquad = [list(questions(folder / "xquad" / f"xquad.{language}.30-articles.json")) for language in LANGUAGES]
    assert _question_ids(xquad[0]) == _question_ids(xquad[1])
    yield "translations.xquad.jsonl", _once([row["question"] for row in side] for side in xquad)


def _question_ids(rows: Iterable[Row]) -> list[str]:
    return [row["id"].split("-")[-1] for row in rows]


def _once(sides: Iterable[Iterable[str]]) -> list[Row]:
    """Pairs of translations, without those of which a text occurred before."""
    seen: dict[str, set[str]] = {language: set() for language in LANGUAGES}
    pairs = []
    for texts in zip(*sides, strict=True):
        pair = dict(zip(LANGUAGES, texts, strict=True))
        if not any(text in seen[language] for language, text in pair.items()):
            pairs.append(pair)
        for language, text in pair.items():
            seen[language].add(text)
    return pairs


def topics(folder: Path, language: str, split: str) -> Iterator[Row]:
    """SIB-200's sentences in one language; of the training rows those that the other language lacks."""
    files = {"vi": f"vie_Latn.{split}.tsv", "en": f"eng_Latn.{split}.tsv"}
    for row in read_rows(Source(str(folder / "sib200" / files[language]))):
        values = row.values
        if split != "train" or LANGUAGES[part(str(values["index_id"]), len(LANGUAGES))] == language:
            yield {"id": f"{split}-{values['index_id']}", "text": values["text"], "label": values["category"]}


def hateful_spans(folder: Path, split: str) -> Iterator[Row]:
    """ViHOS' comments with the positions of their hateful characters, as the authors have them."""
    for i, row in enumerate(read_rows(Source(str(folder / "vihos" / f"{split}.csv")))):
        yield {"id": f"{split}-{i}", "text": row.values["content"], "spans": row.values["index_spans"]}


def embedded(language: str) -> Iterator[Row]:
    """The training questions that ship with kdda."""
    for row in read_rows(Source(f"embedded:reading/{language}/train")):
        yield dict(row.values)


def files(folder: Path) -> Iterator[tuple[str, Iterable[Row]]]:
    """Names and rows of all files."""
    pairs = nli_training(folder)
    for language in LANGUAGES:
        yield f"nli.{language}.train.jsonl", pairs[language]
        for split, rows in nli_others(folder, language).items():
            yield f"nli.{language}.{split}.jsonl", rows
    mlqa = folder / "mlqa" / "dev-context-vi-question-vi.json"
    yield "qa.vi.train.jsonl", [*embedded("vi"), *questions(mlqa, lambda text: part(text, 10) >= 3)]
    yield "qa.vi.dev.jsonl", questions(mlqa, lambda text: part(text, 10) < 3)
    yield "qa.vi.test.jsonl", questions(folder / "xquad" / "xquad.vi.30-articles.json")
    tydi = folder / "tydiqa" / "tydiqa.goldp.en.train.json"  # its development rows may come without answers
    yield "qa.en.train.jsonl", questions(tydi, lambda text: part(text, 10) >= 1)
    yield "qa.en.dev.jsonl", questions(tydi, lambda text: part(text, 10) < 1)
    yield from translated(folder)
    for split in ("train", "dev", "test"):
        for language in LANGUAGES:
            yield f"topics/{language}.{split}.jsonl", topics(folder, language, split)
        yield f"spans/vi.{split}.jsonl", hateful_spans(folder, split)


def _lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, rows in files(options.folder):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (options.out / name).parent.mkdir(exist_ok=True)
        (options.out / name).write_text(text, "utf-8")
        print(f"{name}: {text.count(chr(10)):,} rows, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}")


if __name__ == "__main__":
    main()
