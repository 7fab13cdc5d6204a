"""Valid files, changed at random: each is read, or refused with one message, whatever the change."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdda.data.examples import RowConverter, Schema, check_rows, labelled_converter
from kdda.data.questions import question_converter
from kdda.data.sources import Source, read_rows
from kdda.errors import KddaError
from kdda.recipe.load import load_recipe

PAIRS = labelled_converter(("premise", "hypothesis"), Schema(("neutral", "entailment")))
QUESTIONS = question_converter(Schema())
QUESTION = '{"id": "1", "question": "mèo", "context": "mèo ngủ", "answers": [{"text": "ngủ", "answer_start": 4}]}'
FILES: list[tuple[str, RowConverter, str]] = [
    ("a.jsonl", PAIRS, '{"premise": "a", "hypothesis": "b", "label": "neutral"}\n' * 2),
    ("a.csv", PAIRS, 'premise,hypothesis,label\n"a, b",c,neutral\nd,"e ""f"" g",entailment\n'),
    ("a.tsv", PAIRS, "premise\thypothesis\tlabel\na\tb\tneutral\n"),
    ("q.json", QUESTIONS, f'{{"data": [{{"title": "t", "paragraphs": [{{"context": "ngủ", "qas": [{QUESTION}]}}]}}]}}'),
    ("q.csv", QUESTIONS, 'id,question,context,answer,answer_start,is_impossible\n1,mèo,"mèo\n\nngủ",ngủ,5,False\n'),
]
RECIPE = """\
task: nli
target: vi
student: mini/multilingual
data: {vi: {train: "embedded:nli/vi/train", dev: "embedded:nli/vi/dev", labels: {0: neutral, "-": null}}}
training: {epochs: 2, learning_rate: 1.0e-5}
arms:
  a: {train: all}
"""
PIECES = [
    b'"',
    b"\\",
    b"\r",
    b"\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"{",
    b"[",
    b"}",
    b"]",
    b",",
    b"\t",
    b"null",
    b"NaN",
]
PIECES += [
    b"9" * 50,
    b"\\ud83d",
    b"1e999",
    b"true",
    b'""',
    b": ",
    b"*a",
    b"&a ",
    b"!!int ",
    b"<<: ",
    b"- ",
    b"? ",
    b"%",
]


def mutations(text: str, count: int) -> Iterator[bytes]:
    """A text with pieces put in, taken out or repeated, always the same ones."""
    chance = random.Random(len(text))
    for _ in range(count):
        content = text.encode()
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(content) + 1)
            end = place + chance.choice([0, 0, 1, 5, len(content)])
            content = content[:place] + chance.choice(PIECES) + content[end:]
        yield content


@pytest.mark.parametrize(("name", "convert", "text"), FILES, ids=[name for name, _, _ in FILES])
def test_a_changed_file_of_rows_is_read_or_refused(tmp_path: Path, name: str, convert: RowConverter, text: str) -> None:
    refused = 0
    for content in mutations(text, 150):
        (tmp_path / name).write_bytes(content)
        try:
            check_rows(read_rows(Source(str(tmp_path / name))), convert)
        except KddaError as error:
            refused += 1
            assert name in str(error) or "no rows" in str(error) or "all rows were skipped" in str(error)
    assert refused  # the others are read


def test_a_changed_recipe_is_read_or_refused(tmp_path: Path) -> None:
    refused = 0
    for content in mutations(RECIPE, 150):
        (tmp_path / "r.yaml").write_bytes(content)
        try:
            load_recipe(str(tmp_path / "r.yaml"))
        except KddaError as error:
            refused += 1
            assert "r.yaml" in str(error)
    assert refused  # the others are read
