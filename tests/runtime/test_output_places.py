"""Every command that writes checks its place first: one line, exit code 2, before a model or a corpus is read."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

from kdda.errors import KddaError
from kdda.hub.card import CARD
from kdda.hub.push import push
from kdda.runs.events import event_line
from kdda.runtime.files import write_output
from kdda.runtime.folders import check_folder, check_output_file

# A model that is not there: a command that opened it would name it.
COMMANDS = {
    "evaluate": ("evaluate", "no/model", "--data", "rows.jsonl", "--out", "OUT"),
    "predict": ("predict", "no/model", "--input", __file__, "--output", "OUT"),
    "report": ("report", "no/runs", "--out", "OUT"),
}
FOLDER_COMMANDS = {
    "plot": ("plot", "no/runs", "--out", "OUT"),
    "export": ("export", "no/model", "OUT"),
    "index": ("index", __file__, "OUT", "--dense", "no/model"),
}


def bad_file_places(tmp_path: Path) -> dict[str, Path]:
    """Places for a file that no file can be written to, by what is wrong with them; all end in .md."""
    (tmp_path / "folder.md").mkdir(exist_ok=True)
    (tmp_path / "file").touch()
    (tmp_path / "full.md").unlink(missing_ok=True)
    (tmp_path / "full.md").symlink_to("/dev/full")
    return {
        "is a folder, expected a file": tmp_path / "folder.md",
        "no folder": tmp_path / "missing" / "out.md",
        "make it first": tmp_path / "file" / "out.md",
        "nothing can be written there": Path("/proc/out.md"),
        "the disk is full": tmp_path / "full.md",
    }


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a Linux device")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_ends_before_it_works_where_its_file_cannot_be_written(
    name: str, tmp_path: Path, command: Any
) -> None:
    for reason, place in bad_file_places(tmp_path).items():
        code, _, errors = command(*(str(place) if word == "OUT" else word for word in COMMANDS[name]))
        assert code == 2 and reason in errors and errors.count("\n") == 2, (reason, errors)
        assert "no/" not in errors


@pytest.mark.skipif(not Path("/proc").exists(), reason="a Linux file system")
@pytest.mark.parametrize("name", FOLDER_COMMANDS)
def test_a_command_ends_before_it_works_where_its_folder_cannot_be_made(
    name: str, tmp_path: Path, command: Any
) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "out", Path("/proc/out"), tmp_path / ("x" * 300)):
        code, _, errors = command(*(str(place) if word == "OUT" else word for word in FOLDER_COMMANDS[name]))
        assert code == 2 and errors.count("\n") == 2, errors
        assert str(place) in errors and "no/" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_check_leaves_a_place_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    check_output_file("--out", path)
    check_folder(tmp_path / "new" / "folder")
    assert not list(tmp_path.iterdir())
    path.write_text("kept")
    os.mkfifo(tmp_path / "pipe")
    for place in (path, tmp_path / "pipe", Path("/dev/null")):
        check_output_file("--out", place)
    assert path.read_text() == "kept"


def disconnected(*_: Any, **__: Any) -> None:
    """What the Hub's client does where a connection breaks."""
    raise HTTPError("the line is cut")


def test_a_model_is_not_sent_where_the_hub_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    for name in ("config.json", "model.safetensors", CARD):
        (tmp_path / name).write_text("{}")
    monkeypatch.setattr("kdda.hub.push.hub_is_reachable", lambda: False)
    code, out, errors = command("push", tmp_path, "somebody/model", "--yes")
    assert (code, out) == (2, "") and errors.count("\n") == 2 and "the Hub cannot be reached" in errors
    monkeypatch.setattr("kdda.hub.push.hub_is_reachable", lambda: True)
    monkeypatch.setattr("huggingface_hub.hf_api.HfApi.create_repo", disconnected)
    with pytest.raises(KddaError, match="the Hub did not accept the model: the line is cut"):
        push(tmp_path, "somebody/model", confirmed=True)


def test_numbers_that_are_not_finite_are_null_in_events() -> None:
    line = event_line({"event": "step", "loss": float("nan"), "by": {"vi": [float("inf"), 1.5]}, "step": 1})
    assert json.loads(line) == {"event": "step", "loss": None, "by": {"vi": [None, 1.5]}, "step": 1}


def test_numbers_of_options_are_finite(command: Any) -> None:
    code, _, errors = command("plot", "runs", "out", "--epsilon", "nan")
    assert code == 2
    assert "finite" in errors


def test_an_output_that_cannot_be_written_whole_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    path.write_text("old", encoding="utf-8")

    def parts() -> Iterator[str]:
        yield "new"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_output(path, parts())
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
