"""The scripts in examples/ run on tiny models, each within seconds."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kdda.losses.registry import OBJECTIVES
from tests.conftest import make_model, make_rows, write_rows
from tests.heads import make_reader

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = ("trainer_with_loss", "two_teachers", "custom_objective", "ask_corpus", "transport_alone")

Script = Callable[..., str]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Script]:
    """Runs a script in an empty folder as a person would, and returns what it prints."""
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = dict(OBJECTIVES)

    def run(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    yield run
    OBJECTIVES.clear()
    OBJECTIVES.update(known)


@pytest.fixture
def models(tmp_path: Path) -> dict[str, str]:
    """A student, and two teachers."""
    names = ("student", "aa", "bb")
    return {name: make_model(tmp_path / name, seed=seed) for seed, name in enumerate(names)}


def rows(folder: Path, language: str, split: str, count: int = 24) -> str:
    return write_rows(folder / f"{language}.{split}.jsonl", make_rows(language, count, seed=len(split)))


def test_every_script_is_tested_and_named_in_the_readme() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SCRIPTS)
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for name in SCRIPTS:
        assert f"`{name}.py`" in readme


def test_transport_alone(script: Script) -> None:
    printed = script("transport_alone", "--texts", 3, "--width", 8)
    assert "all solved: True" in printed and "gradient norm" in printed


def test_trainer_with_loss(script: Script, models: dict[str, str], tmp_path: Path) -> None:
    data = rows(tmp_path, "bb", "train")
    printed = script(
        "trainer_with_loss", "--student", models["student"], "--teacher", models["bb"], "--data", data, "--steps", 3
    )
    assert "3 steps" in printed
    assert (tmp_path / "trainer" / "final" / "model.safetensors").is_file()


def test_two_teachers(script: Script, models: dict[str, str], tmp_path: Path) -> None:
    arguments = ["--student", models["student"], "--vi-teacher", models["aa"], "--en-teacher", models["bb"]]
    arguments += ["--vi", rows(tmp_path, "aa", "train"), "--vi-dev", rows(tmp_path, "aa", "dev")]
    arguments += ["--en", rows(tmp_path, "bb", "train"), "--epochs", "1"]
    printed = script("two_teachers", *arguments)
    assert "epoch 1: accuracy" in printed and "entailment" in printed
    assert (tmp_path / "two-teachers" / "final" / "model.safetensors").is_file()


def test_custom_objective(script: Script, models: dict[str, str], tmp_path: Path) -> None:
    arguments = ["--student", models["student"], "--teacher", models["aa"]]
    arguments += ["--data", rows(tmp_path, "aa", "train"), "--dev", rows(tmp_path, "aa", "dev")]
    scores = [
        line.rpartition(" ")[2]
        for line in script("custom_objective", *arguments).splitlines()
        if line.startswith("mean") and ": accuracy" in line
    ]
    assert len(scores) == 2 and scores[0] == scores[1]


def test_ask_corpus(script: Script, tmp_path: Path) -> None:
    reader = make_reader(tmp_path / "reader", sharp=20)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "hue.txt").write_text("Sông Hương chảy qua thành phố Huế.\n", encoding="utf-8")
    arguments = ["Sông nào chảy qua Huế?", "--reader", reader, "--corpus", "texts", "--segmenter", "none"]
    assert "hue.txt" in script("ask_corpus", *arguments)
