"""What a recipe's `distill` chooses: layers, tokens, example weights, schedules, and the rows of teachers and arms."""

from typing import Any

import pytest
import torch

from kdda.losses.distillation import DistillationLoss
from kdda.losses.representations import Representations
from kdda.models.load import load_checkpoint
from kdda.runs.events import read_metrics
from tests.conftest import LABELS, Bench

GOLDS = torch.tensor([0, 1, 2])


def side(tokens: int, seed: int, logits: torch.Tensor | None = None) -> Representations:
    generator = torch.Generator().manual_seed(seed)
    states, drawn = torch.randn(3, tokens, 8, generator=generator), torch.randn(3, 3, generator=generator)
    return Representations(states, None, drawn if logits is None else logits)


def term(
    student: list[Representations],
    teacher: list[Representations],
    golds: torch.Tensor | None = None,
    objective: str = "sinkhorn",
    **settings: Any,
) -> float:
    loss = DistillationLoss(objective, scale=8.0, **settings)
    return float(loss.divergence(student, teacher, labels=golds).mean)


def test_the_term_of_several_layers_is_the_mean_of_theirs() -> None:
    students, teachers = [side(6, 0), side(6, 1)], [side(5, 2), side(5, 3)]
    alone = [term([x], [y]) for x, y in zip(students, teachers, strict=True)]
    assert term(students, teachers) == pytest.approx(sum(alone) / 2, rel=1e-5)


def test_a_row_counts_where_its_teacher_is_right_and_not_where_it_is_wrong() -> None:
    right, wrong = 20 * torch.eye(3), 20 * torch.eye(3)[[1, 2, 0]]
    student, first_right = [side(6, 0)], torch.cat([right[:1], wrong[1:]])
    plain = term(student, [side(5, 1)])
    first = DistillationLoss(scale=8.0).divergence(
        [Representations(student[0].states[:1])], [Representations(side(5, 1).states[:1])]
    )
    for weighting in ("teacher_correct", "teacher_confidence"):
        settings = {"example_weighting": weighting}
        assert term(student, [side(5, 1, right)], GOLDS, **settings) == pytest.approx(plain, rel=1e-5)
        assert term(student, [side(5, 1, wrong)], GOLDS, **settings) == pytest.approx(0, abs=1e-6)
        one = term(student, [side(5, 1, first_right)], GOLDS, **settings)
        assert one == pytest.approx(float(first.mean) / 3, rel=1e-4)


def test_a_row_counts_half_where_its_teacher_gives_the_gold_label_half() -> None:
    unsure = torch.tensor([[0.0, 0.0, -50.0], [-50.0, 0.0, 0.0], [0.0, -50.0, 0.0]])
    student = [side(6, 0)]
    half = term(student, [side(5, 1, unsure)], GOLDS, example_weighting="teacher_confidence")
    assert half == pytest.approx(term(student, [side(5, 1)]) / 2, rel=1e-5)


def test_logits_of_the_teacher_are_added_to_the_objective() -> None:
    student, teacher = [side(6, 0)], [side(5, 1)]
    both = term(student, teacher, logit_weight=0.5)
    logits = term(student, teacher, objective="kd-logits")
    assert both == pytest.approx(term(student, teacher) + 0.5 * logits, rel=1e-5)


@pytest.mark.parametrize(
    ("schedule", "parts"), [("constant", (1, 1, 1)), ("linear_decay", (1, 0.5, 0)), ("linear_warmup", (0, 0.5, 1))]
)
def test_the_distillation_weight_may_change_over_the_steps(schedule: str, parts: tuple[float, ...]) -> None:
    loss = DistillationLoss(weight=0.4, schedule=schedule)
    task, divergence = torch.tensor(3.0), torch.tensor(5.0)
    totals = [float(loss.total(task, divergence, progress)) for progress in (0.0, 0.5, 1.0)]
    assert totals == pytest.approx([3 + 0.4 * part * 5 for part in parts])


def test_a_recipe_sets_all_of_it_and_the_run_logs_its_terms(bench: Bench, command: Any) -> None:
    bench.values["distill"] = {
        "layers": [0.5, 1.0],
        "tokens": "text",
        "example_weighting": "teacher_confidence",
        "logit_weight": 0.5,
        "schedule": "linear_decay",
    }
    code, text, _ = command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student-kdda")
    assert code == 0 and "its scale s = " in text and text.split("its scale s = ")[1].splitlines()[0].count(",") == 1
    events = read_metrics(bench.folder / "runs" / "nli" / "student-kdda" / "seed-1" / "metrics.jsonl")
    assert all(e["transport"] > 0 and e["marginal_error"] <= 1e-4 for e in events if e["event"] == "train")


@pytest.mark.parametrize(
    "change",
    [
        "layers=[0.5, 1.0]",
        "tokens=text",
        "tokens=attended",
        "tokens=received",
        "example_weighting=teacher_correct",
        "example_weighting=teacher_confidence",
        "logit_weight=1.0",
        "schedule=linear_decay",
        "objective=aligned",
    ],
)
def test_each_choice_changes_what_is_learnt(bench: Bench, command: Any, change: str) -> None:
    bench.values["training"]["epochs"] = 1
    found = []
    for number, more in enumerate(([], ["--set", f"distill.{change}"])):
        out = bench.folder / f"runs-{number}"
        assert command("run", bench.write(), "--out", out, "--arms", "student-kdda", *more)[0] == 0
        model = load_checkpoint(str(out / "nli" / "student-kdda" / "seed-1" / "model"), head="classification").model
        found.append(torch.cat([weight.flatten() for weight in model.parameters()]))
    assert not torch.equal(*found)


@pytest.mark.parametrize(("task", "points"), [("nli", "tokens"), ("qa", "words")])
def test_students_and_teachers_tokens_lie_on_one_line(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch, task: str, points: str
) -> None:
    """Both tokenizers are the same here, and their tokens are words."""
    if task == "qa":
        bench.read()
    bench.values["training"] |= {"epochs": 1, "max_length": 9, "stride": 1}  # contexts in several windows
    bench.values["distill"] = {"objective": "anchored", "layers": [0.5, 1.0], "points": points}
    compared: list[bool] = []
    divergence = DistillationLoss.divergence

    def spy(loss: Any, student: Any, teacher: Any, **options: Any) -> Any:
        for ours, theirs in zip(student, teacher, strict=True):
            compared.append(torch.equal(ours.places[ours.mask], theirs.places[theirs.mask]))
            compared.append(torch.equal(ours.places, ours.words))
        return divergence(loss, student, teacher, **options)

    monkeypatch.setattr(DistillationLoss, "divergence", spy)
    code, _, error = command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student-kdda")
    assert code == 0, error
    assert compared and all(compared)


def test_a_teacher_may_learn_from_more_rows_than_its_student(bench: Bench, command: Any) -> None:
    bench.values["data"]["aa"]["limit"] = {"train": 10}
    bench.values["teachers"]["aa"] = {"model": bench.values["teachers"]["aa"], "rows": 40}
    arguments = ("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student-kdda")
    code, text, _ = command(*arguments)
    assert code == 0 and "teacher aa: aa 40 rows" in text and "student-kdda, seed 1: aa 10 rows" in text


def test_a_plan_counts_a_teachers_own_rows(bench: Bench, command: Any) -> None:
    bench.values["data"]["aa"]["limit"] = {"train": 10}
    for rows, steps in ((10, 4), (40, 10)):  # twice, in batches of 8
        bench.values["teachers"]["aa"] = {"model": str(bench.folder / "ta"), "rows": rows}
        _, text, _ = command("plan", bench.write(), "--out", bench.folder / "runs")
        assert planned(text, "teacher aa, ") == steps


def planned(text: str, work: str) -> int:
    """The steps that a plan announces for some work."""
    table = text.partition("| teacher, arm or systems")[2]
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {work}"))
    return int(line.split("|")[3])


def test_an_arm_may_train_on_other_rows_than_the_recipes(bench: Bench, command: Any) -> None:
    bench.values["data"]["aa"]["limit"] = {"train": 10}
    bench.values["arms"] = {"few": {}, "many": {"rows": {"aa": 40}}}
    _, text, _ = command("plan", bench.write(), "--out", bench.folder / "runs")
    assert planned(text, "many") - planned(text, "few") == 2 * (40 // 8 - 2)
    code, text, _ = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 0 and "few, seed 1: aa 10 rows" in text and "many, seed 1: aa 40 rows" in text
    card = bench.folder / "runs" / "nli" / "many" / "seed-1" / "model" / "README.md"
    assert "| aa | none | 40 |" in card.read_text()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"aa": 10_000}, "arms.many.rows.aa: got 10,000, but "),
        ({"xx": 10}, 'arms.many.rows: language "xx" has no entry under data'),
        ({"aa": 0}, "arms.many.rows.aa: got 0, expected: "),
    ],
)
def test_rows_that_an_arm_cannot_have_are_named(bench: Bench, command: Any, rows: dict[str, int], said: str) -> None:
    bench.values["arms"] = {"many": {"rows": rows}}
    code, text, errors = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 2 and said in text + errors and "Traceback" not in text + errors


def test_rows_that_a_recipe_leaves_out_are_not_missed(bench: Bench, command: Any) -> None:
    own = bench.values["data"]["aa"]
    own["labels"] = {LABELS[0]: LABELS[0], LABELS[1]: LABELS[1], LABELS[2]: None}
    bench.values["teachers"]["aa"] = {"model": bench.values["teachers"]["aa"], "rows": 45}
    code, text, _ = command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student-kdda")
    assert code == 0 and "teacher aa: aa 30 rows" in text


def test_a_teacher_that_wants_more_rows_than_there_are_is_refused(bench: Bench, command: Any) -> None:
    bench.values["teachers"]["aa"] = {"model": bench.values["teachers"]["aa"], "rows": 4000}
    code, _, message = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 2 and "teachers.aa.rows: got 4,000, but" in message and "has 45" in message
