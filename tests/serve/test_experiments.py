"""Experiments of the page: one process at a time, which outlives the server; nothing of a request becomes a path."""

from __future__ import annotations

import os
import signal
import zipfile
from pathlib import Path

import pytest

from kdda.errors import KddaError
from kdda.report.render import Report, Table, markdown
from kdda.serve import experiments
from kdda.serve.experiment_process import read_record
from kdda.serve.experiments import BusyError, Experiments
from kdda.serve.limits import Limits
from kdda.serve.page.components import Components
from kdda.serve.page.experiment import ExperimentTab
from kdda.serve.page.experiment_view import download_html, plan_html, progress_of, state_html
from kdda.serve.page.words import ENGLISH, WORDS
from kdda.serve.site import Site, run_site
from kdda.serve.students import Students, zip_parts
from tests.report.test_report import write_run
from tests.serve.live import serving, until

# In the place of `kdda run`: it prints what that prints first and which token it sees, then waits for Ctrl-C.
WAITING = (
    "import os, signal, sys; from kdda.serve.experiment_process import recorded\n"
    "with recorded(*sys.argv[1:3]):\n"
    "    seen = os.environ.get('SECRET'), os.environ['KDDA_LANG']\n"
    "    print('toy: task nli, 3 runs in x', *seen, flush=True)\n"
    "    signal.pause()"
)
ENDING = WAITING.replace("signal.pause()", "sys.exit(int(open('code').read()))")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe, whose process waits for Ctrl-C."""
    monkeypatch.setattr(experiments, "PROGRAM", WAITING)
    monkeypatch.setenv("SECRET", "the-token-of-this-server")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "toy.yaml").write_text("task: nli")
    return folder


def test_recipes_of_the_folder_and_built_in_ones_can_be_chosen_and_nothing_else(root: Path) -> None:
    (root / ".hidden.yaml").write_text("task: nli")
    (root / "mini-nli.yaml").write_text("task: nli")
    (root / "notes.txt").write_text("task: nli")
    (root / "inner").mkdir()
    (root / "inner" / "deep.yaml").write_text("task: nli")
    own = Experiments(root)
    names = own.choices()
    assert list(names)[:2] == ["mini-nli", "toy"] and "mini-qa" in names
    assert names["mini-nli"].recipe == str(root / "mini-nli.yaml") and names["mini-qa"].recipe == "mini-qa"
    assert not {".hidden", "notes", "deep", "inner/deep"} & set(names)
    for name in ("", "../experiments/toy", str(root / "toy.yaml"), "/etc/passwd", "--help", "inner/deep.yaml", "\x00"):
        for work in (
            own.choice,
            own.state,
            own.stop,
            lambda name: own.start(name, "en"),
            lambda name: own.plan(name, "en"),
        ):
            with pytest.raises(KddaError, match="experiment: got"):
                work(name)
    assert {path.name for path in root.iterdir()} <= {".hidden.yaml", "mini-nli.yaml", "notes.txt", "toy.yaml", "inner"}


def test_an_experiment_outlives_the_server_that_started_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Experiments(root, without=["SECRET"])
    assert own.state("toy").kind == experiments.NEW and own.running() == ""
    own.start("toy", "vi")
    state = own.state("toy")
    assert state.kind == experiments.RUNNING and state.record and own.running() == "toy"
    until(lambda: own.state("toy").planned == 3)
    assert own.state("toy").tail == "toy: task nli, 3 runs in x None vi"
    assert os.getsid(state.record.process) != os.getsid(0)  # the terminal's Ctrl-C does not reach it
    for name in ("toy", "mini-nli"):
        with pytest.raises(BusyError, match="toy is running; one experiment runs at a time"):
            own.start(name, "en")
    assert own.state("mini-nli").kind == experiments.NEW
    restarted = Experiments(root)
    assert restarted.state("toy").kind == experiments.RUNNING
    restarted.stop("mini-nli")  # which does not run
    restarted.stop("toy")
    until(lambda: own.running() == "")
    record = own.state("toy").record
    assert own.state("toy").kind == experiments.STOPPED and record and record.exit_code == 130 and record.ended
    monkeypatch.setattr(experiments, "PROGRAM", ENDING)
    for code, kind in ((0, experiments.FINISHED), (2, experiments.FAILED)):
        Path("code").write_text(str(code))
        own.start("toy", "en")
        until(lambda: own.running() == "")
        assert own.state("toy").kind == kind


def test_an_experiment_of_a_server_in_the_background_of_a_shell_can_be_stopped(root: Path) -> None:
    own = Experiments(root)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as such a shell starts it
    try:
        own.start("toy", "en")
    finally:
        signal.signal(signal.SIGINT, before)
    own.stop("toy")
    until(lambda: own.running() == "")
    assert own.state("toy").kind == experiments.STOPPED


def test_an_experiment_that_was_killed_can_be_started_again(root: Path) -> None:
    own = Experiments(root)
    own.start("toy", "en")
    record = read_record(root / "toy")
    assert record
    os.kill(record.process, signal.SIGKILL)
    until(lambda: own.running() == "")
    assert own.state("toy").kind == experiments.STOPPED
    own.stop("toy")  # the number of its process may be another one's by now
    own.start("toy", "en")
    assert own.state("toy").kind == experiments.RUNNING
    own.stop("toy")
    assert own.state("toy").kind in (experiments.STOPPING, experiments.STOPPED)
    until(lambda: own.running() == "")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"process": -1, "started": ""}', '{"process": "1", "started": ""}', "\x00"]
)
def test_a_record_that_names_no_process_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "experiment.json").write_text(text)
    assert read_record(tmp_path) is None


def tab_of(own: Experiments) -> ExperimentTab:
    """The page's tab, without a browser."""
    return ExperimentTab(own, Students(own, "fp32"), Components(), Limits(characters=100))


def test_starts_and_stops_need_the_token_of_the_page(root: Path) -> None:
    own = Experiments(root)
    tab = tab_of(own)
    for token in (None, "", "x" * 43, "\ud7ff"):
        said = tab.start(token, "toy", "", None, ENGLISH)[0]
        assert "reload the page" in said and "has not run yet" in said
    assert own.running() == "" and not (root / "toy").exists()
    assert "toy is not" not in tab.stop("", "toy", "", None, ENGLISH)[0]


def test_the_tab_says_what_is_wrong(root: Path) -> None:
    own = Experiments(root)
    tab = tab_of(own)
    token = tab._form_token
    assert "expected one of" in tab.look("<b>", "", None, ENGLISH)[0]
    assert "&lt;b&gt;" in tab.start(token, "<b>", "", None, ENGLISH)[0]
    assert "Running since" in tab.start(token, "toy", "", None, ENGLISH)[0]
    said = tab.start(token, "mini-nli", "", None, ENGLISH)[0]
    assert "toy is running; one experiment runs at a time" in said and "Running: toy" in said
    assert "Stop" in tab.stop(token, "toy", "", None, ENGLISH)[0]
    until(lambda: own.running() == "")
    assert "No model is finished" in tab.ask(None, ENGLISH) and "no student" in tab.ask("../x", ENGLISH, "a")
    assert "no student" in tab.choose_student("toy: ../..", ENGLISH)[0]


def test_what_a_run_says_stays_text(root: Path) -> None:
    folder = write_run(root / "toy", "student", 1, 0.5)
    (folder / "predictions.jsonl").unlink()
    (root / "toy" / "output.txt").write_text("<script>alert(1)</script> ${1+1} {{x}} `y`\n")
    state = Experiments(root).state("toy")
    assert state.kind == experiments.STOPPED
    for html in (state_html(state, WORDS[ENGLISH]), download_html('a"><script>${x}&name=b', WORDS[ENGLISH])):
        assert "<script" not in html and "${" not in html and "{{" not in html
    assert "student/seed-1" in state_html(state, WORDS[ENGLISH])


def test_a_plan_is_shown_with_its_tables_and_its_warnings_marked() -> None:
    table = Table("Models", ["model", "licence"], [["teacher vi, <x>", "mit"], ["${y}", ""]], ["A note."])
    html = plan_html(markdown(Report("toy: {task}", ["3 runs.", "WARNING: look", "MISSING: b"], [table])))
    assert html.count('class="warning"') == 2 and html.count("<td") == 4 and "A note." in html
    assert "&lt;x&gt;" in html and "${" not in html and "{task}" not in html


def test_progress_is_the_share_of_the_epochs(root: Path) -> None:
    from kdda.runs.folder import Run

    events = [{"event": "step", "step": 3, "epoch": 0.5, "seconds": 1.0}, {"event": "train", "step": 4}]
    run = Run(root, "a", 1, {}, {}, 1.0, recipe={"training": {"epochs": 2}}, events=events)
    assert progress_of(run) == 0.25
    assert progress_of(Run(root, "a", 1, {}, {}, 1.0)) == 0.0


def test_a_zip_is_streamed_part_by_part_and_holds_the_files_of_the_model(tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "1_Pooling").mkdir(parents=True)
    weights = os.urandom(2_500_000)
    (model / "model.safetensors").write_bytes(weights)
    (model / "1_Pooling" / "config.json").write_text("{}")
    (model / "secret").symlink_to("/etc/passwd")
    parts = list(zip_parts(model, "toy"))
    assert max(map(len, parts)) < 1_200_000
    (tmp_path / "a.zip").write_bytes(b"".join(parts))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["toy/1_Pooling/config.json", "toy/model.safetensors"]
        assert archive.read("toy/model.safetensors") == weights


def test_students_are_downloaded_by_name_and_no_path_is_a_name(root: Path) -> None:
    folder = write_run(root / "toy", "student", 1, 0.5)
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "config.json").write_text("{}")
    with serving([], Limits(), page=True, experiments=root) as own:
        reply = own.ask("GET", "/student.zip?name=toy%3A%20student%2Fseed-1")
        assert reply.status == 200 and reply.body.startswith(b"PK")
        assert reply.headers["content-disposition"] == 'attachment; filename="toy-student-seed-1.zip"'
        for name in ("", "toy", "../toy", "/etc/passwd", "toy:%20student/seed-1/../../..", "toy%3A%20student%2Fseed-2"):
            assert own.ask("GET", f"/student.zip?name={name}").status == 404, name
        assert own.ask("GET", "/student.zip").status == 422
        assert own.ask("POST", "/student.zip?name=toy%3A%20student%2Fseed-1", {}).status == 404
        assert own.ask("GET", "/student.zip?name=x", headers={"Origin": "http://evil.test"}).status == 403


def test_a_server_that_others_reach_runs_experiments_for_a_token_alone(root: Path) -> None:
    with pytest.raises(KddaError, match="--experiments: whoever reaches the page can start processes"):
        run_site(Site([], Limits(), experiments=root, allow_host=["demo.example.org"]))
    with pytest.raises(KddaError, match="so a token is needed"):
        run_site(Site([], Limits(), experiments=root, host="0.0.0.0"))
    with pytest.raises(KddaError, match="--experiments: the page runs them"):
        run_site(Site(["x"], Limits(), experiments=root, page=False))
