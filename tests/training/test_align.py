"""Students and teachers of other widths and spaces, and several teachers of a language."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from kdda import DistillationConfig, DistillationTrainer, Teacher
from kdda.errors import KddaError
from kdda.models.load import load_checkpoint
from kdda.recipe.load import load_recipe
from kdda.runs.events import read_metrics
from kdda.runs.folder import read_run
from kdda.training.trainer import LEARNED_MAPS
from tests.conftest import LABELS, Bench, make_model, make_rows
from tests.heads import make_judge
from tests.teachers.test_align import turn

TRAIN = {"aa": make_rows("aa", 24, seed=0), "bb": make_rows("bb", 16, seed=1)}
QUICK: dict[str, Any] = {
    "per_device_train_batch_size": 8,
    "learning_rate": 3e-3,
    "num_train_epochs": 1,
    "logging_steps": 1,
    "precision": "fp32",
    "seed": 1,
    "distill_weight": 1.0,
}


class StopAfter(TrainerCallback):  # type: ignore[misc]
    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = state.global_step >= self.step


@pytest.fixture
def student(tmp_path: Path) -> str:
    return make_model(tmp_path / "student")


def trainer_of(student: str, out: Path, teachers: Any, **config: Any) -> Any:
    return DistillationTrainer(
        student,
        teachers,
        train_dataset=TRAIN,
        args=DistillationConfig(str(out), **{**QUICK, **config}),
        say=lambda _: None,
    )


def trained(student: str, out: Path, teachers: Any, **config: Any) -> dict[str, torch.Tensor]:
    trainer = trainer_of(student, out, teachers, **config)
    trainer.train()
    return dict(trainer.model.state_dict())


def difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def judge(folder: Path, turned: bool = False, **config: Any) -> Teacher:
    """A teacher of random weights that is taken as it is; or its turned copy."""
    checkpoint = load_checkpoint(make_judge(folder, **config), head="classification", labels=LABELS)
    return Teacher((turn(checkpoint).model if turned else checkpoint.model, checkpoint.tokenizer), fine_tune=False)


@pytest.mark.parametrize("align", ["procrustes", "learned"])
def test_an_orthogonally_turned_copy_of_a_teacher_teaches_the_same(student: str, tmp_path: Path, align: str) -> None:
    weights = []
    for turned in (False, True):
        teacher = judge(tmp_path / "judge", turned, hidden_size=24)
        # stored states are rounded to bfloat16, a turned copy's otherwise: both teachers run in each step
        weights.append(trained(student, tmp_path / f"{turned}", {"aa": teacher}, teacher_cache_gb=0.0, align=align))
    assert difference(*weights) < 1e-4
    untaught = trained(student, tmp_path / "none", {})
    assert difference(weights[0], untaught) > 1e-3


def test_a_teacher_of_1024_dimensions_teaches_a_student_of_384(tmp_path: Path) -> None:
    student = make_model(tmp_path / "student", width=384, layers=1)
    teacher = judge(tmp_path / "judge", hidden_size=1024, num_hidden_layers=1, intermediate_size=64)
    lines: list[str] = []
    trainer = DistillationTrainer(
        student,
        {"aa": teacher},
        train_dataset={"aa": TRAIN["aa"]},
        args=DistillationConfig(str(tmp_path / "out"), **{**QUICK, "align": "procrustes"}),
        say=lines.append,
    )
    trainer.train()
    events = [event for event in read_metrics(tmp_path / "out/metrics.jsonl") if event["event"] == "train"]
    assert len(events) == 3 and all(event["transport"] > 0 for event in events)
    assert any("1024 → 384 wide" in line and "96 pairs of chunks" in line for line in lines)


def test_unequal_widths_without_an_alignment_are_refused_with_the_ways_out(student: str, tmp_path: Path) -> None:
    wide = make_model(tmp_path / "wide", width=32)
    for teacher, align in ((Teacher(wide), "none"), (Teacher(wide, align="none"), "procrustes")):
        with pytest.raises(KddaError, match=r"32 wide and the student .* 16; .*distill.align: procrustes or learned"):
            trainer_of(student, tmp_path / "out", {"aa": teacher}, align=align)
    assert not (tmp_path / "out").exists()
    trainer_of(student, tmp_path / "out", {"aa": Teacher(wide, align="learned")})
    with pytest.raises(KddaError, match="align"):
        trainer_of(student, tmp_path / "out", {"aa": wide}, align="procrust")


def test_an_objective_that_never_subtracts_reads_the_states_as_they_are(student: str, tmp_path: Path) -> None:
    teacher = judge(tmp_path / "judge", hidden_size=24)
    plain, aligned = (
        trained(student, tmp_path / align, {"aa": teacher}, objective="cka", align=align)
        for align in ("none", "learned")
    )
    assert difference(plain, aligned) == 0


def test_a_learned_map_is_trained_without_decay_resumed_to_the_last_bit_and_no_part_of_the_model(
    student: str, tmp_path: Path
) -> None:
    teacher = judge(tmp_path / "judge", hidden_size=24)
    config = {
        "align": "learned",
        "layers": [0.5, 1.0],
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
    }
    whole = trainer_of(student, tmp_path / "whole", {"aa": [teacher, teacher], "bb": teacher}, **config)
    whole.train()
    maps = whole.learned_maps.state_dict()
    assert len(whole.learned_maps.maps) == 6
    assert all(not torch.equal(weight, torch.eye(16)) for name, weight in maps.items() if name.endswith("weight"))
    assert whole.optimizer.param_groups[-1]["weight_decay"] == 0
    stopped = trainer_of(student, tmp_path / "stopped", {"aa": [teacher, teacher], "bb": teacher}, **config)
    stopped.add_callback(StopAfter(2))
    stopped.train()
    assert (tmp_path / "stopped/checkpoint-2" / LEARNED_MAPS).is_file()
    resumed = trainer_of(student, tmp_path / "stopped", {"aa": [teacher, teacher], "bb": teacher}, **config)
    resumed.train(resume_from_checkpoint=True)
    assert difference(maps, resumed.learned_maps.state_dict()) == 0
    assert difference(dict(whole.model.state_dict()), dict(resumed.model.state_dict())) == 0
    resumed.save_model(str(tmp_path / "model"))
    names = set(load_file(tmp_path / "model/model.safetensors"))
    assert names == set(whole.model.state_dict())
    assert not list((tmp_path / "model").glob(LEARNED_MAPS))


def test_two_equal_teachers_teach_what_one_does_and_weights_count(student: str, tmp_path: Path) -> None:
    teacher = judge(tmp_path / "judge")
    double = replace(teacher, weight=2.0)
    silent = replace(teacher, weight=0.0)
    one = trained(student, tmp_path / "one", {"aa": teacher})
    two = trained(student, tmp_path / "two", {"aa": [teacher, teacher]})
    weighted = trained(student, tmp_path / "weighted", {"aa": [double, silent]})
    assert difference(one, two) < 1e-6 and difference(one, weighted) < 1e-6
    events = [event for event in read_metrics(tmp_path / "two/metrics.jsonl") if event.get("language") == "aa"]
    assert all(event["transport_1"] == event["transport_2"] == event["transport"] for event in events)


def test_teachers_of_one_language_may_have_other_widths_each_with_its_scale(student: str, tmp_path: Path) -> None:
    wide = replace(judge(tmp_path / "wide", hidden_size=24), align="procrustes")
    equal = judge(tmp_path / "equal")
    trainer = trainer_of(student, tmp_path / "out", {"aa": [wide, equal]})
    trainer.train()
    mapped, raw = trainer.caches["aa"]
    assert mapped.layers[0].map is not None and raw.layers[0].map is None
    assert mapped.scales != raw.scales and len(list((tmp_path / "out/teachers/states").iterdir())) == 2


def test_a_recipe_with_several_teachers_names_each_in_plan_doctor_run_and_report(bench: Bench, command: Any) -> None:
    wide = make_model(bench.folder / "wide", width=24, layers=1)
    bench.values["teachers"]["aa"] = [bench.values["teachers"]["aa"], {"model": wide, "align": "procrustes"}]
    bench.values["arms"] = {
        "student-da": {"train": "all"},
        "both": {"distill": True},
        "lighter": {"distill": True, "teachers": {"aa": {"weight": 0.5}}},
        "one": {"distill": True, "teachers": {"aa": {"model": wide}}},
    }
    out = bench.folder / "runs"
    recipe = load_recipe(str(bench.write()))
    assert [teacher.weight for language, teacher in recipe.teachers_of("lighter") if language == "aa"] == [0.5, 0.5]
    assert [teacher.model for language, teacher in recipe.teachers_of("one") if language == "aa"] == [wide]
    bench.values["arms"].pop("one")
    bench.values["arms"].pop("lighter")
    code, text, error = command("plan", bench.write(), "--out", out)
    assert code == 0 and text.count("| teacher aa, ") == 4, error  # as a model, and as work
    code, text, error = command("run", bench.write(), "--out", out, "--workers", "2")
    assert code == 0, error
    run = read_run(out / "nli/both/seed-1")
    names = [(teacher["language"], Path(teacher["model"]).name) for teacher in run.teachers]
    assert names == [("aa", "ta"), ("aa", "wide"), ("bb", "tb")]
    code, text, error = command("report", out / "nli")
    assert code == 0 and text.count(wide) >= 2, error
    assert f"{wide} (licence: unknown)" in (out / "nli/both/seed-1/model/README.md").read_text()
    bench.values["teachers"]["aa"][1].pop("align")
    code, _, error = command("run", bench.write(), "--out", bench.folder / "other")
    assert code == 2 and "24 wide" in error and "procrustes or learned" in error


def test_a_mistake_in_a_list_of_teachers_is_told_with_its_line_and_item(bench: Bench, command: Any) -> None:
    bench.values["teachers"]["aa"] = [bench.values["teachers"]["aa"], {"model": "mini/english", "wieght": 2}]
    path = bench.write()
    line = path.read_text().splitlines().index("    wieght: 2") + 1
    code, _, error = command("run", path)
    assert code == 2 and f'{path}:{line}: unknown key "teachers.aa.1.wieght"' in error
    assert 'did you mean "weight"' in error
    bench.values["teachers"]["aa"][1] = {"model": "mini/english"}
    code, _, error = command("run", bench.write(), "--set", "teachers.aa.1.weight=-1")
    assert code == 2 and "--set teachers.aa.1.weight: teachers.aa.1.weight: got -1" in error
    for override in ("teachers.aa.2.weight=1", "teachers.aa.1=x"):
        code, _, error = command("run", bench.write(), "--set", override)
        assert code == 2 and f"--set {override}: " in error
    bench.values["teachers"]["aa"] = []
    code, _, error = command("run", bench.write())
    assert code == 2 and "teachers.aa: got []" in error
