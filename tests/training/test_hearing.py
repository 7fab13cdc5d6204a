"""What of a teacher is heard: which layers, which tokens, which rows, how loudly, and what its labels add."""

from pathlib import Path
from typing import Any

import pytest
import torch

from kdda.errors import KddaError
from kdda.losses.distillation import DistillationLoss
from kdda.losses.registry import OBJECTIVES
from kdda.losses.representations import Representations
from kdda.models.hidden_states import check_attention_is_readable
from kdda.models.load import Checkpoint, load_checkpoint
from kdda.recipe.schema import Distill
from kdda.runs.events import read_metrics
from kdda.tasks.base import TextSpan
from kdda.teachers.cache import TeacherCache
from kdda.teachers.inputs import TeacherInputs
from kdda.text.encode import Encoder
from tests.conftest import LABELS, Bench, make_model

PAIRS = [("cat runs", "dog"), ("very not hen fish sleeps", "hen"), ("dog", "fish not")]
EXCERPTS = [TextSpan(pair, None) for pair in PAIRS]
SPECIALS = 3  # around and between two texts
GOLDS = torch.tensor([0, 1, 2])


@pytest.fixture
def teacher(tmp_path: Path) -> Checkpoint:
    return load_checkpoint(make_model(tmp_path / "teacher"), head="classification", labels=LABELS)


def side(tokens: int, seed: int, logits: torch.Tensor | None = None) -> Representations:
    generator = torch.Generator().manual_seed(seed)
    states, own = torch.randn(3, tokens, 8, generator=generator), torch.randn(3, 3, generator=generator)
    return Representations(states, None, own if logits is None else logits)


def term(
    settings: Distill, student: list[Representations], teacher: list[Representations], golds: torch.Tensor | None = None
) -> float:
    loss = DistillationLoss(settings, {"vi": [8.0] * len(student)})
    return float(loss.transport("vi", student, teacher, golds).mean)


def test_depth_one_is_the_last_layer_and_depth_zero_the_embeddings(teacher: Checkpoint) -> None:
    read = TeacherInputs(teacher.encoder(64), EXCERPTS)
    windows = teacher.encoder(64).encode(*zip(*PAIRS, strict=True))
    with torch.no_grad():
        inputs = Encoder.pad(teacher.encoder(64), windows)
        layers = teacher.model(**inputs, output_hidden_states=True).hidden_states
    for depth, layer in ((0.0, layers[0]), (0.5, layers[1]), (1.0, layers[-1])):
        said = TeacherCache(teacher, read, LABELS, depth=depth).batch(range(3))
        assert said.mask is not None and torch.allclose(said.states[said.mask], layer[said.mask], atol=1e-5)


def test_layers_are_stored_apart(teacher: Checkpoint, tmp_path: Path) -> None:
    read = TeacherInputs(teacher.encoder(64), EXCERPTS)
    first, last = (TeacherCache(teacher, read, LABELS, tmp_path, depth=depth) for depth in (0.5, 1.0))
    assert first.written == last.written == 1 and first.scale != last.scale
    assert TeacherCache(teacher, read, LABELS, tmp_path, depth=0.5).written == 0


def test_the_term_of_several_layers_is_the_mean_of_theirs() -> None:
    students, teachers = [side(6, 0), side(6, 1)], [side(5, 2), side(5, 3)]
    alone = [term(Distill(), [x], [y]) for x, y in zip(students, teachers, strict=True)]
    assert term(Distill(layers=[0.5, 1.0]), students, teachers) == pytest.approx(sum(alone) / 2, rel=1e-5)


def test_special_tokens_can_be_left_out_on_both_sides(teacher: Checkpoint) -> None:
    encoder = teacher.encoder(64)
    every, texts = (TeacherInputs(encoder, EXCERPTS, tokens) for tokens in ("all", "text"))
    assert (every.lengths - texts.lengths == SPECIALS).all() and every.digest != texts.digest
    windows = encoder.encode(*zip(*PAIRS, strict=True))
    mask, said = Encoder.text_mask(windows), TeacherCache(teacher, every, LABELS).batch(range(3))
    assert mask.sum(dim=1).tolist() == texts.lengths.tolist()
    alone = TeacherCache(teacher, texts, LABELS).batch(range(3))
    assert alone.mask is not None and torch.allclose(alone.states[alone.mask], said.states[mask], atol=1e-6)


@pytest.mark.parametrize("depth", [0.5, 1.0])
def test_attended_tokens_have_the_mass_that_the_first_one_pays_them(teacher: Checkpoint, depth: float) -> None:
    encoder = teacher.encoder(64)
    said = TeacherCache(teacher, TeacherInputs(encoder, EXCERPTS, "attended"), LABELS, depth=depth).batch(range(3))
    plain = TeacherCache(teacher, TeacherInputs(encoder, EXCERPTS), LABELS, depth=depth)
    teacher.model.set_attn_implementation("eager")
    with torch.no_grad():
        inputs = encoder.pad(encoder.encode(*zip(*PAIRS, strict=True)))
        layers = teacher.model(**inputs, output_attentions=True).attentions
    want = layers[int(2 * depth) - 1].mean(dim=1)[:, 0]
    assert said.mask is not None and said.mask.shape == want.shape and torch.allclose(said.mask, want, atol=1e-6)
    assert torch.allclose(said.states, plain.batch(range(3)).states, atol=1e-6)


def test_masses_are_stored_beside_the_states_that_they_weigh(teacher: Checkpoint, tmp_path: Path) -> None:
    read = TeacherInputs(teacher.encoder(64), EXCERPTS, "attended")
    asked, stored = (TeacherCache(teacher, read, LABELS, store) for store in (None, tmp_path))
    again = TeacherCache(teacher, read, LABELS, tmp_path)
    assert (stored.written, again.written) == (1, 0) and again.scale == stored.scale
    for own in (stored, again):
        assert torch.allclose(own.batch([2, 0]).mask, asked.batch([2, 0]).mask, atol=1e-6)  # type: ignore[arg-type]
    assert TeacherCache(teacher, TeacherInputs(teacher.encoder(64), EXCERPTS), LABELS, tmp_path).written == 1
    assert stored.store is not None and read.stored_bytes(16) == int(read.lengths.sum()) * (2 * 16 + 4)


def test_masses_are_refused_where_they_would_not_be_heard() -> None:
    with pytest.raises(KddaError, match="attended gives tokens masses, and objective: sliced takes them all alike"):
        DistillationLoss(Distill(tokens="attended", objective="sliced"), {})
    with pytest.raises(KddaError, match=r"built as BERT is .* and there/it is of type mpnet; take tokens: all"):
        check_attention_is_readable("there/it", "mpnet")


def test_a_gate_hears_a_teacher_where_it_is_right_and_not_where_it_is_wrong() -> None:
    right, wrong = 20 * torch.eye(3), 20 * torch.eye(3)[[1, 2, 0]]
    student, one = [side(6, 0)], torch.cat([right[:1], wrong[1:]])
    for gate in ("teacher_correct", "teacher_confidence"):
        settings = Distill(example_weighting=gate)  # type: ignore[arg-type]
        plain = term(Distill(), student, [side(5, 1)])
        assert term(settings, student, [side(5, 1, right)], GOLDS) == pytest.approx(plain, rel=1e-5)
        assert term(settings, student, [side(5, 1, wrong)], GOLDS) == pytest.approx(0, abs=1e-6)
        alone = OBJECTIVES["sinkhorn"](
            student[0], side(5, 1), DistillationLoss(settings, {"vi": [8.0]}).objective_settings("vi")
        ).value[0]
        assert term(settings, student, [side(5, 1, one)], GOLDS) == pytest.approx(float(alone) / 3, rel=1e-5)


def test_a_teacher_that_is_half_sure_counts_half() -> None:
    unsure = torch.tensor([[0.0, 0.0, -50.0], [-50.0, 0.0, 0.0], [0.0, -50.0, 0.0]])
    student, plain = [side(6, 0)], term(Distill(), [side(6, 0)], [side(5, 1)])
    found = term(Distill(example_weighting="teacher_confidence"), student, [side(5, 1, unsure)], GOLDS)
    assert found == pytest.approx(plain / 2, rel=1e-5)


def test_labels_of_the_teacher_are_added_to_its_states() -> None:
    student, teacher = [side(6, 0)], [side(5, 1)]
    both = term(Distill(logit_weight=0.5), student, teacher)
    labels = term(Distill(objective="kd-logits"), student, teacher)
    assert both == pytest.approx(term(Distill(), student, teacher) + 0.5 * labels, rel=1e-5)


@pytest.mark.parametrize(
    ("schedule", "loud"), [("constant", (1, 1, 1)), ("linear_decay", (1, 0.5, 0)), ("linear_warmup", (0, 0.5, 1))]
)
def test_how_loud_a_teacher_is_may_change_over_the_steps(schedule: Any, loud: tuple[float, ...]) -> None:
    loss = DistillationLoss(Distill(weight=0.4, schedule=schedule), {})
    task, transport = torch.tensor(3.0), torch.tensor(5.0)
    found = [float(loss.total(task, transport, done)) for done in (0.0, 0.5, 1.0)]
    assert found == pytest.approx([3 + 0.4 * part * 5 for part in loud])


def test_a_recipe_asks_for_all_of_it_and_the_run_says_what_it_heard(bench: Bench, command: Any) -> None:
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
        "example_weighting=teacher_correct",
        "example_weighting=teacher_confidence",
        "logit_weight=1.0",
        "schedule=linear_decay",
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
    (line,) = (line for line in text.partition("| teacher or arm")[2].splitlines() if line.startswith(f"| {work}"))
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
        ({"aa": 10_000}, "arms.many.rows.aa: found 10,000, but "),
        ({"xx": 10}, 'arms.many.rows: language "xx" has no entry under data'),
        ({"aa": 0}, "arms.many.rows.aa: found 0, expected: "),
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
    assert code == 2 and "teachers.aa.rows: found 4,000, but" in message and "has 45" in message
