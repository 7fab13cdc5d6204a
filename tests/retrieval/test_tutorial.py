"""docs/retrieval.md goes from a folder of texts to answers, as printed, on a tiny model in the place that it names."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdda.cli.shared import app
from kdda.recipe.load import load_recipe
from tests.heads import make_reader

DOCS = (Path(__file__).parents[2] / "docs/retrieval.md").read_text(encoding="utf-8")
READER = "runs/qa/student-da/seed-1/model"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS, re.S)


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any, capsys: Any) -> None:
    make_reader(tmp_path / READER, sharp=20)
    monkeypatch.chdir(tmp_path)
    texts, commands = blocks("sh")[:2]
    subprocess.run(["bash", "-ec", texts], check=True)
    said = []
    for line in commands.splitlines():
        name, *arguments = shlex.split(line)
        if name == "printf":
            subprocess.run(["bash", "-ec", line], check=True)
        elif arguments[0] != "serve":
            code, out, err = command(*arguments)
            assert code == 0, err
            said.append(out)
    first, marked, listed, added = said
    assert "3 documents, 3 passages" in first and "1 document, 1 passage" in added
    assert "⟦" in marked and "thang-long.txt" in marked
    assert any(own["source"] == "hue.md" for own in json.loads(listed))
    (code,) = [block for block in blocks("python") if "Corpus.open" in block]
    exec(compile(code, "retrieval.md", "exec"), {})
    assert "hue.md" in capsys.readouterr().out


def test_the_server_is_started_with_options_that_there_are() -> None:
    serve = next(own.callback for own in app.registered_commands if own.callback and own.callback.__name__ == "serve")
    (line,) = [line for line in blocks("sh")[1].splitlines() if line.startswith("kdda serve")]
    assert {word[2:] for word in line.split() if word.startswith("--")} <= set(serve.__annotations__)


def test_the_recipe_shown_is_one(tmp_path: Path) -> None:
    (code,) = blocks("yaml")
    (tmp_path / "own.yaml").write_text(code, encoding="utf-8")
    assert list(load_recipe(str(tmp_path / "own.yaml")).systems) == list(yaml.safe_load(code)["systems"])
