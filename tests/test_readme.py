"""The README's examples of use run as they stand, on tiny models in the places that they name."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import kdda
from kdda.cli.shared import app
from kdda.serve.limits import Limits
from tests.heads import make_judge, make_reader
from tests.serve.live import serving

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SECTION = README[README.index("## Use it") : README.index("## Your own language")]
READER, JUDGE = "runs/qa/student-da/seed-1/model", "runs/nli/student-kdda/seed-1/model"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTION, re.S)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_reader(tmp_path / READER, sharp=20)
    make_judge(tmp_path / JUDGE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_example_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python")
    capsys.readouterr()
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and "probability" in lines[0]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl: apt-get install curl")
def test_the_curl_examples_run(place: Path) -> None:
    (code,) = [block for block in blocks("sh") if "curl" in block]
    with serving([kdda.load(READER), kdda.load(JUDGE)], Limits()) as own:
        script = code.replace("http://127.0.0.1:8000", own.url).replace("curl ", "curl --silent --fail ")
        done = subprocess.run(["bash", "-ec", script.replace("}'\n", "}'; echo\n")], capture_output=True, text=True)
    answer, label = (json.loads(line) for line in done.stdout.splitlines())
    assert answer["answer"] in "Hà Nội là thủ đô của Việt Nam." and set(label) == {"label", "probabilities"}


def test_the_commands_shown_are_there_with_their_options() -> None:
    commands = {command.name or command.callback.__name__: command.callback for command in app.registered_commands}  # type: ignore[union-attr]
    shown = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("kdda ")]
    assert len(shown) >= 7
    for line in shown:
        name, *words = line.partition("#")[0].split()[1:]
        names = {name.rstrip("_") for name in commands[name].__annotations__}  # type: ignore[union-attr]
        assert {word[2:] for word in words if word.startswith("--")} <= names


def test_the_pictures_are_there_and_small() -> None:
    docs = Path(__file__).parents[1] / "docs"
    for name in ("page.png", "page-transport.png"):
        assert 20_000 < (docs / name).stat().st_size < 300_000
