"""Pictures: a plan's rows are shares, and files hold what they should."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from kdda.cli.shared import main
from kdda.errors import KddaError
from kdda.visualize.files import plot_all
from kdda.visualize.plan_figures import plan_figures
from kdda.visualize.transport_plan import SentenceStates, StateReader, plan_between
from tests.conftest import make_model
from tests.report.test_pictures import contains, texts
from tests.report.test_report import write_run
from tests.text.phobert import make_phobert

SENTENCE = "cat sleeps very dog"


def test_states_are_read_at_several_depths(tmp_path: Path) -> None:
    reader = StateReader.open(make_model(tmp_path / "model"))
    embeddings, middle, last = reader.read_at(SENTENCE, (0.0, 0.5, 1.0))
    assert [(own.layer, own.layers) for own in (embeddings, middle, last)] == [(0, 2), (1, 2), (2, 2)]
    assert torch.equal(last.states, reader.read(SENTENCE).states) and not torch.equal(middle.states, last.states)
    cut = StateReader.open(str(tmp_path / "model"), layers=(0,)).read_at(SENTENCE, (0.0, 1.0))
    assert torch.equal(cut[1].states, middle.states) and cut[1].layers == 1


def test_rows_of_a_plan_are_shares_and_columns_carry_equal_mass(tmp_path: Path) -> None:
    first, second = (StateReader.open(make_model(tmp_path / str(seed), seed=seed)).read(SENTENCE) for seed in (0, 1))
    plan = plan_between(first, second, 0.01)
    assert first.tokens == ["[CLS]", *SENTENCE.split(), "[SEP]"]
    assert plan.shares.sum(1) == pytest.approx(np.ones(6), abs=1e-4)
    assert plan.shares.sum(0) == pytest.approx(np.ones(6), abs=1e-2)


def test_a_smaller_epsilon_makes_a_sharper_plan() -> None:
    torch.manual_seed(0)
    one, other = (SentenceStates(name, ["x"] * 6, torch.randn(6, 8)) for name in "ab")
    sharpness = [float((plan_between(one, other, epsilon).shares ** 2).sum()) for epsilon in (0.001, 0.1, 1.0, 10.0)]
    assert sharpness == sorted(sharpness, reverse=True)
    assert float((plan_between(one, one, 0.001).shares * np.eye(6)).sum()) == pytest.approx(6, abs=0.01)


def test_tokens_of_phobert_are_slices_of_the_raw_text(tmp_path: Path) -> None:
    found = StateReader.open(str(make_phobert(tmp_path / "phobert"))).read("Hà Nội  là thủ đô.")
    assert "".join(found.tokens[1:-1]).replace(" ", "") == "HàNộilàthủđô."
    assert len(found.tokens) == len(found.states)


def test_readings_that_have_no_plan_are_refused(tmp_path: Path) -> None:
    narrow, wide = (StateReader.open(make_model(tmp_path / str(w), width=w)).read(SENTENCE) for w in (16, 32))
    with pytest.raises(KddaError, match=r"16 wide and .* 32"):
        plan_between(narrow, wide, 0.1)
    for epsilon in (0.0, -1.0, float("nan"), 1e9):
        with pytest.raises(KddaError, match="epsilon"):
            plan_between(narrow, narrow, epsilon)
    with pytest.raises(KddaError, match="is empty"):
        StateReader.open(make_model(tmp_path / "again")).read("  ")


@pytest.mark.parametrize("tokens", [["W" * 20, "a", "M" * 12], ["b"]])
def test_no_text_of_a_plan_is_cut_off(tokens: list[str]) -> None:
    shares = np.full((len(tokens), 2), 0.5)
    names = ("a/" + "W" * 30, "sentence-transformers/" + "MW" * 12)
    for figure in plan_figures(tokens, ["x", "W" * 24], shares, names, 0.01):
        figure.drawing.draw_without_rendering()
        for text in texts(figure.drawing):
            assert contains(figure.drawing.bbox, text.get_window_extent()), (figure.title, text.get_text())


def test_a_model_that_is_a_path_has_a_short_name_in_a_plan_and_its_whole_path_as_the_title() -> None:
    first = "/home/an/experiments/nli/student-kdda/seed-1/model"
    for second, shown in (
        (
            "/home/an/models/PhoBERT-base-v2-fine-tuned-nli",
            ["nli/student-kdda/seed-1", "PhoBERT-base-v2-fine-tuned-nli"],
        ),
        (
            first.replace("experiments", "rehearsals"),
            ["an/experiments/nli/student-kdda/seed-1", "an/rehearsals/nli/student-kdda/seed-1"],
        ),
    ):
        for figure in plan_figures(["a"], ["b"], np.ones((1, 1)), (first, second), 0.01):
            drawn = [text.get_text() for text in texts(figure.drawing)]
            assert [name for name in drawn if "/" in name or "-" in name] == shown
            assert f"<title>{first} → {second}</title>" in figure.svg


@pytest.mark.parametrize("form", ["png", "svg"])
def test_the_command_line_draws_runs_and_plans(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for weight in (0.1, 0.3, 1.0):
        run = write_run(tmp_path / "runs", f"kdda-{weight}", 1, 0.6, weight=weight)
        spoke = {"event": "final-teacher", "language": "vi", "model": "$x$", "accuracy": 60.0, "seconds": 9.0}
        with (run / "metrics.jsonl").open("a") as metrics:
            metrics.write(json.dumps(spoke) + "\n")
    student = make_model(tmp_path / "student")
    text = "cat $sleeps$ <b>"
    for options in ([str(tmp_path / "runs")], [student, "--teacher", student, "--text", text]):
        out = tmp_path / f"plots{len(options)}"
        monkeypatch.setattr("sys.argv", ["kdda", "plot", *options, "--out", str(out), "--format", form])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
    said = capsys.readouterr().out
    names = [re.sub(r"^\d\d-", "", path.name) for path in sorted(tmp_path.glob("plots*/*"))]
    assert [name.split("-")[0] for name in names] == ["training", "score", "teachers", "transport", "transport"]
    drawn = sorted(tmp_path.glob("plots*/*"))
    assert all(str(path) in said and path.stat().st_size > 2000 for path in drawn)
    if form == "svg":
        assert "$sleeps$" in drawn[-1].read_text() and "&lt;b&gt;" in drawn[-1].read_text()


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    for folders, form, said in (
        ([tmp_path / "no"], "png", "no folder"),
        ([tmp_path], "png", "nothing to draw"),
        ([tmp_path], "jpg", "expected one of: png, svg"),
    ):
        with pytest.raises(KddaError, match=said):
            plot_all(folders, tmp_path / "out", form)
