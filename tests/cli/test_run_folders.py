"""Run folders are listed with state, score and size; what can be made again is removed, and nothing else."""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kdda.cli import run_folders
from kdda.cli.shared import main
from kdda.runtime.lock_files import lock_of
from tests.conftest import Bench

RUN = Path("runs/nli/student-kdda/seed-1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a recipe was run: two teachers and a distilled student."""
    folder = tmp_path_factory.mktemp("trained")
    bench = Bench(folder)
    bench.values["training"]["epochs"] = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["kdda", "run", str(bench.write()), "--arms", "student-kdda", "--seeds", "1"])
        with suppress(SystemExit):
            main()
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working folder."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stop(folder: Path) -> None:
    """Make a run one that was stopped: with a checkpoint, and no predictions."""
    (folder / "predictions.jsonl").unlink()
    checkpoint = folder / "checkpoints" / "checkpoint-6"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"0" * 50_000)


def rows(text: str) -> dict[str, list[str]]:
    """The cells of a printed table by those of its first column."""
    table = {}
    for line in text.splitlines():
        if line.startswith("| runs"):
            first, *cells = line.strip("| ").split("|")
            table[first.strip()] = [cell.strip() for cell in cells]
    return table


def test_runs_and_teachers_are_listed_with_state_score_and_size(place: Path, command: Any) -> None:
    code, text, errors = command("runs")
    table = rows(text)
    assert (code, errors) == (0, "") and len(table) == 3
    state, score, size = table[str(RUN)]
    assert state == "finished" and score.startswith("accuracy aa ") and size.endswith(" kB")
    for name, (state, score, _) in table.items():
        if "teachers" in name:
            assert state == "finished" and score.startswith("accuracy ") and score.endswith("(dev)")
    assert "kdda clean runs frees" in text  # the teacher states
    assert "kdda clean runs --models frees" in text


def test_a_stopped_run_has_its_step_and_its_score_on_development_rows(place: Path, command: Any) -> None:
    stop(RUN)
    state, score, _ = rows(command("runs")[1])[str(RUN)]
    assert state.startswith("stopped: step ")
    assert score.endswith("(dev)")


def test_a_failed_run_has_its_reason(place: Path, command: Any) -> None:
    stop(RUN)
    (RUN / "failure.txt").write_text("the loss is not finite at step 3\n\nTraceback", encoding="utf-8")
    assert rows(command("runs")[1])[str(RUN)][0] == "failed: the loss is not finite at step 3"
    (RUN / "failure.txt").write_text("Không đủ bộ nhớ " * 9, encoding="utf-8")
    assert rows(command("runs")[1])[str(RUN)][0] == f"failed: {'Không đủ bộ nhớ ' * 3}Không đủ bộ…"


def test_a_run_that_a_process_writes_is_running_and_is_not_cleaned(place: Path, command: Any) -> None:
    stop(RUN)
    with lock_of(RUN):
        assert rows(command("runs")[1])[str(RUN)][0].startswith("running")
        code, text, errors = command("clean", "--models", "--yes")
    assert code == 0 and f"{RUN} is in use" in errors and "nothing to remove" in text
    assert (RUN / "checkpoints").is_dir() and any(Path("runs/teachers/states").iterdir())


def test_a_run_with_a_torn_file_is_broken_and_the_others_are_listed(place: Path, command: Any) -> None:
    shutil.copytree(RUN, RUN.with_name("seed-2"))
    (RUN / "environment.json").write_text("{", encoding="utf-8")
    table = rows(command("runs")[1])
    assert table[str(RUN)][0].startswith("broken: ") and table[str(RUN.with_name("seed-2"))][0] == "finished"


def test_clean_lists_and_removes_nothing_where_nobody_can_be_asked(place: Path, command: Any) -> None:
    stop(RUN)
    code, text, _ = command("clean")
    assert code == 0 and "--yes" in text
    assert f"50 kB  {RUN}/checkpoints  (checkpoints: the run starts again)" in text
    assert "runs/teachers/states  (teacher states" in text
    assert (RUN / "checkpoints").is_dir()


def test_clean_removes_checkpoints_and_teacher_states_and_what_reports_need_stays(place: Path, command: Any) -> None:
    shutil.copytree(RUN, RUN.with_name("seed-2"))
    stop(RUN.with_name("seed-2"))
    before = command("report", "runs")[1]
    assert command("clean", "--yes")[0] == 0
    assert not Path("runs/teachers/states").exists() and not (RUN.with_name("seed-2") / "checkpoints").exists()
    assert (RUN / "model").is_dir() and len(list(Path("runs/teachers").glob("*/model"))) == 2
    assert command("report", "runs")[1] == before
    left = command("clean", "--yes")[1]
    assert "nothing to remove but models; with --models they go, too: " in left and left.endswith(" kB\n")


def test_clean_removes_models_if_asked_and_the_run_is_still_finished(place: Path, trained: Path, command: Any) -> None:
    assert command("clean", "--models", "--yes")[0] == 0
    assert not (RUN / "model").exists() and not list(Path("runs/teachers").glob("*/model"))
    code, text, _ = command("run", trained / "recipe.yaml", "--arms", "student-kdda", "--seeds", "1")
    assert code == 0 and len(list(Path("runs/teachers").glob("*/model"))) == 2  # which were fine-tuned again
    assert f"finished already, in {RUN}; kdda clean --models has removed its model, its scores and" in text
    again = f"kdda run {RUN}/recipe.yaml --seeds 1 --out runs-again"
    assert f"\n  {again}\n      make a model of student-kdda, seed 1 again, which kdda clean" in text
    assert command(*again.split()[1:])[0] == 0
    assert (Path("runs-again") / RUN.relative_to("runs") / "model").is_dir()


@pytest.mark.parametrize(("answer", "stays"), [("n", True), ("y", False)])
def test_clean_asks_on_a_terminal(
    place: Path, command: Any, answer: str, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(RUN)
    monkeypatch.setattr(run_folders, "is_a_dialogue", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: answer == "y")
    assert command("clean")[0] == 0
    assert (RUN / "checkpoints").is_dir() is stays


def test_links_are_not_followed(place: Path, command: Any) -> None:
    elsewhere = place / "elsewhere" / "seed-1"
    shutil.copytree(RUN, elsewhere)
    stop(elsewhere)
    (place / "runs" / "link").symlink_to(elsewhere.parent)
    assert command("clean", "--yes")[0] == 0
    assert (elsewhere / "checkpoints").is_dir() and len(rows(command("runs")[1])) == 3


@pytest.mark.parametrize("name", ["runs", "clean"])
def test_a_missing_folder_is_refused(name: str, command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, errors = command(name)
    assert code == 2 and 'no folder "runs"' in errors and errors.splitlines()[-1].startswith("See docs/commands.md")


def test_several_folders_are_listed_and_a_run_in_two_of_them_once(place: Path, command: Any) -> None:
    shutil.copytree("runs", "runs-2")
    code, text, errors = command("runs", "runs", "runs-2", RUN.parent)
    assert code == 0 and text.count(f"| {RUN} ") == 1 and "| runs-2/nli/student-kdda/seed-1 " in text, errors
    assert "3 folders; runs takes" in text and "3 folders; runs-2 takes" in text and f"1 folder; {RUN.parent}" in text
    code, _, errors = command("runs", "runs", "nowhere")
    assert code == 2 and 'no folder "nowhere"' in errors


@pytest.mark.parametrize("folder", [RUN, RUN / "model"])
def test_a_model_that_was_removed_says_so_and_how_it_is_made_again(place: Path, command: Any, folder: Path) -> None:
    code, _, errors = command("predict", RUN, "--premise", "a", "--hypothesis", "b")
    assert code == 2 and f"its model is {RUN}/model" in errors
    assert command("clean", "--models", "--yes")[0] == 0
    calls = [("predict", folder, "--premise", "a", "--hypothesis", "b"), ("evaluate", folder, "--data", "x.jsonl")]
    calls += [("export", folder, "out"), ("serve", folder)]
    for call in calls:
        code, _, errors = command(*call)
        assert code == 2 and f"kdda: {RUN}: its model was removed by kdda clean --models; kdda run {RUN}/" in errors
    (RUN / "model-removed.txt").unlink()
    assert "was not saved (--save) or was removed" in command(*calls[0])[2]
