"""The rows of docs/results/effect.md, from public files, in splits that were fixed before the first run.

    python tools/effect_data.py FOLDER data/effect      # FOLDER holds xnli/, xquad/, mlqa/ and tydiqa/

Inference: XNLI's Vietnamese and English training pairs are translations of each other, so each language gets the
half of the pairs that the other lacks. Its development rows, which people have translated, are parted by premise into
development (3 of 10) and test rows. Reading: MLQA's Vietnamese questions and TyDi's English ones, parted by passage,
are for training and development, all of XQuAD's Vietnamese ones are the test; nothing of XQuAD is trained on, in any
language.

What decides where a row goes is a hash of its text, never its place in a file. The sums of the files that come out are
printed; docs/results/effect.md has those of its own runs.
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
    """Which of so many parts a text belongs to."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % parts


def nli_training(folder: Path) -> dict[str, list[Row]]:
    """Pairs of each language, none of which the other has."""
    read = {name: _lines(folder / "xnli" / f"{name}.train.jsonl") for name in LANGUAGES}
    found: dict[str, list[Row]] = {name: [] for name in LANGUAGES}
    for i, rows in enumerate(zip(*read.values(), strict=True)):
        at = part(rows[1]["premise"], 2)
        own = rows[at]
        label = NLI_LABELS[own["label"]]
        found[LANGUAGES[at]].append({"id": f"train-{i}", **own, "label": label})
    return found


def nli_others(folder: Path, language: str) -> dict[str, list[Row]]:
    """Development and test rows, parted by their English premise, so that both languages are parted alike."""
    lines = {name: (folder / "xnli" / f"dev-{name}.tsv").read_text("utf-8").split("\n")[:-1] for name in LANGUAGES}
    found: dict[str, list[Row]] = {"dev": [], "test": []}
    for i, both in enumerate(zip(*(lines[name] for name in ("en", language)), strict=True)):
        english, (premise, hypothesis, label) = (line.split("\t") for line in both)
        split = "dev" if part(english[0], 10) < 3 else "test"
        row = {"premise": premise, "hypothesis": hypothesis, "label": label}
        found[split].append({"id": f"dev-{i}", **row})
    return found


def questions(path: Path, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[Row]:
    """The questions of a file in SQuAD's format, on the passages that are wanted."""
    for article in json.loads(path.read_text("utf-8"))["data"]:
        for passage in article["paragraphs"]:
            if wanted(passage["context"]):
                for asked in passage["qas"]:
                    answers = [{"text": own["text"], "answer_start": own["answer_start"]} for own in asked["answers"]]
                    own = {"question": asked["question"], "context": passage["context"], "answers": answers}
                    yield {"id": f"{path.stem}-{asked['id']}", **own}


def translated(folder: Path) -> Iterator[tuple[str, list[Row]]]:
    """Texts beside their translations, each once: premises of XNLI's test part, and XQuAD's questions."""
    sides = [nli_others(folder, language)["test"] for language in LANGUAGES]
    yield "translations.xnli.jsonl", _once([row["premise"] for row in side] for side in sides)
    asked = [list(questions(folder / "xquad" / f"xquad.{language}.30-articles.json")) for language in LANGUAGES]
    assert [row["id"].split("-")[-1] for row in asked[0]] == [row["id"].split("-")[-1] for row in asked[1]]
    yield "translations.xquad.jsonl", _once([row["question"] for row in side] for side in asked)


def _once(sides: Iterable[Iterable[str]]) -> list[Row]:
    seen: dict[str, set[str]] = {name: set() for name in LANGUAGES}
    found = []
    for pair in (dict(zip(LANGUAGES, own, strict=True)) for own in zip(*sides, strict=True)):
        if not any(text in seen[name] for name, text in pair.items()):
            found.append(pair)
        for name, text in pair.items():
            seen[name].add(text)
    return found


def embedded(language: str) -> Iterator[Row]:
    """kdda's own training questions."""
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


def _lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    own = parser.parse_args()
    own.out.mkdir(parents=True, exist_ok=True)
    for name, rows in files(own.folder):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (own.out / name).write_text(text, "utf-8")
        print(f"{name}: {text.count(chr(10)):,} rows, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}")


if __name__ == "__main__":
    main()
