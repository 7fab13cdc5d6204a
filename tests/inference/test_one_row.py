"""One row on the command line: its text alone where a model reads one, else every field with its option."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.heads import make_judge, make_reader, make_tagger


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    reads = {"fields": ["text"], "long_texts": "cut", "multi_label": False, "separator": ","}
    return {
        "tag": make_tagger(folder / "tag"),
        "classify": make_judge(folder / "classify", kdda_task="classify", kdda_task_options=reads),
        "nli": make_judge(folder / "nli", kdda_task="nli"),
        "qa": make_reader(folder / "qa"),
    }


@pytest.mark.parametrize("task", ["tag", "classify"])
def test_a_model_of_one_text_takes_it_as_it_is(command: Any, models: dict[str, str], task: str) -> None:
    named = command("predict", models[task], "--text", "text=cat sleeps", "--json")
    code, out, err = command("predict", models[task], "--text", "cat sleeps", "--json")
    assert (code, out) == (0, named[1]), err
    for text in ("1 + 1 = 2", "x=2", "="):
        code, out, err = command("predict", models[task], "--text", text, "--json")
        assert code == 0 and json.loads(out), err


def test_a_field_that_a_model_lacks_is_no_part_of_its_text(command: Any, models: dict[str, str]) -> None:
    for text in ("txt=cat", "premise=cat"):
        code, _, err = command("predict", models["tag"], "--text", text)
        assert code == 2 and f'expected: kdda predict {models["tag"]} --text "…"' in err
    code, _, err = command("predict", models["tag"], "--text", " ")
    assert code == 2 and "--text is empty" in err
    code, _, err = command("predict", models["tag"], "--text", "text= ")
    assert code == 2 and '"text" is empty' in err
    code, _, err = command("predict", models["tag"], "--text", "cat", "--text", "dog")
    assert code == 2 and "given 2 times" in err


@pytest.mark.parametrize(
    ("task", "texts"),
    [
        ("nli", ("--text", "cat sleeps")),
        ("nli", ("--text", "premise=cat")),
        ("nli", ("--premise", "cat")),
        ("nli", ("--question", "cat", "--context", "dog")),
        ("qa", ("--text", "cat")),
        ("qa", ("--question", "cat")),
    ],
)
def test_a_model_of_several_texts_names_the_whole_command(
    command: Any, models: dict[str, str], task: str, texts: tuple[str, ...]
) -> None:
    options = {"nli": '--premise "…" --hypothesis "…"', "qa": '--question "…" --context "…"'}[task]
    code, out, err = command("predict", models[task], *texts)
    assert (code, out) == (2, "") and f"kdda predict {models[task]} {options}" in err


def test_a_command_names_lists_and_fields_that_may_lack(command: Any, models: dict[str, str]) -> None:
    options = ("--task", "classify", "--task-options", "{fields: [claim, proof]}")
    code, _, err = command("predict", models["nli"], *options, "--text", "cat")
    assert code == 2 and '--text "claim=…" --text "proof=…"' in err
    folder = Path(models["nli"])
    code, _, err = command("predict", folder, "--task", "choose", "--text", "cat")
    expected = '--context "…" --text "options=…" --text "options=…" [--question "…"]'
    assert code == 2 and expected in err
