"""The recipes of the tasks' pages open files in the shape in which their authors give them out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdda.experiment.context import task_of, with_labels
from kdda.experiment.splits import SplitReader
from kdda.recipe.load import load_recipe
from tests.docs.pages import DOCS, blocks

Write = Callable[[Path], None]  # writes a file of three rows


def delimited(separator: str, *records: tuple[Any, ...]) -> Write:
    """A file of records between separators."""
    text = "".join(separator.join(map(str, record)) + "\n" for record in records)
    return lambda path: path.write_text(text, encoding="utf-8")  # type: ignore[func-returns-value]


def sib(path: Path) -> None:
    names = [("index_id", "category", "text")]
    rows = [(i, ("geography", "science/technology")[i % 2], f'Một "câu {i}') for i in range(360)]
    delimited("\t", *names, *rows)(path)


def dsc01(path: Path) -> None:
    rows = {}
    for i in range(30):
        verdict = ("SUPPORTED", "REFUTED", "NEI")[i % 3]
        evidence = None if verdict == "NEI" else "Trời mưa."
        rows[str(20000 + i)] = {
            "context": f"Trời mưa. Gió thổi mạnh cấp {i // 2}.",
            "claim": "Trời mưa.",
            "verdict": verdict,
            "evidence": evidence,
            "domain": "giao-duc",
        }
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def vifactcheck(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"index": [0, 1, 2], "Statement": ["a", "b", "c"], "Context": ["d", "e", "f"], "labels": [0, 1, 2]}
    pq.write_table(pa.table({**columns, "Evidence": ["g", "h", "i"], "annotation_id": [7, 8, 9]}), path)


def xcopa(path: Path) -> None:
    rows = []
    for i in range(10):
        row = {"premise": f"Trời mưa {i}.", "choice1": "Đường ngập.", "choice2": "Đường khô.", "question": "effect"}
        rows.append({**row, "label": i % 2, "idx": i, "changed": False})
    if path.suffix != ".parquet":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return
    import datasets  # which stores the names of labels beside their numbers, as the Hub's files have them

    table = datasets.Dataset.from_list(rows)
    table.cast_column("label", datasets.ClassLabel(names=["choice1", "choice2"])).to_parquet(str(path))


def vists(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    score = "label" if path.name.startswith("en") else "score"
    texts = [f"Trời mưa {i}." for i in range(20)]
    scores = [i / 4 for i in range(20)]
    pq.write_table(pa.table({"sentence1": texts, "sentence2": texts, score: scores, "idx": list(range(20))}), path)


WIKI = ("pairID", "evidence", "gold_label", "link", "context", "sentenceID", "claim", "annotator_labels", "title")
WIKI_ROWS = [
    (f"p{i}", "bằng chứng", label, "", "ngữ cảnh", "s", "khẳng định", f"['{label}']", "Huế")
    for i, label in enumerate(("SUPPORTS", "REFUTES", "NEI"))
]


def phoner(path: Path) -> None:
    rows = [{"words": ["Bệnh", "nhân", "ở", "Huế"], "tags": ["O", "O", "O", "B-LOCATION"]}] * 3
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")


VIHOS = [("", "content", "index_spans"), (0, "Dừa lắm :))", "[]"), (1, '"Bấp,\nvl"', '"[5, 6]"')]


TOXIC = [("id", "comment_text", "toxic", "insult", "threat")]
TOXIC += [(i, f"a comment {i}", i % 2, int(i % 3 == 1), 0) for i in range(20)]  # type: ignore[misc]


# the first word of a block's comment → how its files are written
FILES: dict[str, Write] = {
    "emotions.yaml": delimited(",", ("text", "emotions"), ("a", "joy;love"), ("b", ""), ("c", "fear")),
    "toxic.yaml": delimited(",", *TOXIC),
    "vsfc.yaml": delimited("\t", ("slide giáo trình đầy đủ .", 2), ('nhiệt tình "lắm"', 2), ("chưa tốt", 0), ("ổn", 1)),
    "sib.yaml": sib,
    "dsc01.yaml": dsc01,
    "phoner.yaml": phoner,
    "vihos.yaml": delimited(",", *VIHOS),
    "viwikifc.yaml": delimited(",", WIKI, *WIKI_ROWS),
    "vifactcheck.yaml": vifactcheck,
    "xcopa.yaml": xcopa,
    "vists.yaml": vists,
}


def recipes() -> dict[str, str]:
    listed = {}
    for page in sorted((DOCS / "tasks").glob("*.md")):
        for block in blocks(page, "yaml"):
            listed[block.code.removeprefix("# ").split()[0].rstrip(":")] = block.code
    return listed


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_recipe_opens_its_authors_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = yaml.safe_load(recipes()[name])
    for language, data in values["data"].items():
        for split in ("train", "dev", "test"):
            source = data.get(split, "")
            if source.startswith("hub:"):
                source = data[split] = f"{language}.{split}.parquet"
            if source:
                path = tmp_path / source
                path.parent.mkdir(parents=True, exist_ok=True)
                FILES[name](path)
    path = tmp_path / name
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    recipe = with_labels(load_recipe(str(path)))
    data, warnings = SplitReader(recipe, task_of(recipe)).read_all()
    assert len(recipe.labels) >= 2 or not task_of(recipe).labelled
    assert not any(warnings.values()) and "test" in data[recipe.target]
    for splits in data.values():
        assert {"train", "dev"} <= set(splits) and all(map(len, splits.values()))


def test_every_recipe_of_the_pages_is_opened() -> None:
    assert set(recipes()) == set(FILES)
