"""A student that starts as its teacher: with the fine-tuned teacher's weights, some of its layers, its tokenizer."""

from pathlib import Path
from typing import Any

import pytest
import torch

from kdda import DistillationConfig, DistillationTrainer, FromTeacher
from kdda.errors import KddaError
from kdda.models.load import load_checkpoint
from kdda.recipe.load import load_recipe
from tests.conftest import LABELS, Bench, make_model, make_rows


def trainer_of(folder: Path, student: Any) -> DistillationTrainer:
    rows = {"aa": make_rows("aa", 12, 0)}
    args = DistillationConfig(str(folder / "out"), num_train_epochs=1, learning_rate=1e-3, precision="fp32")
    teachers = {"aa": make_model(folder / "teacher", layers=3)}
    return DistillationTrainer(student, teachers, train_dataset=rows, labels=LABELS, args=args, say=lambda _: None)


def test_a_student_starts_with_layers_of_its_fine_tuned_teacher_and_its_head(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, FromTeacher("aa", layers=[0, 2]))
    (stored,) = (tmp_path / "out" / "teachers").glob("aa-*/model")
    teacher = load_checkpoint(str(stored), head="classification").model
    student = trainer.student.model
    assert not trainer.student.new_head and student.config.num_hidden_layers == 2
    for name, weight in student.state_dict().items():
        assert torch.equal(weight, teacher.state_dict()[name.replace("layer.1.", "layer.2.")]), name
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    assert load_checkpoint(str(tmp_path / "saved"), head="classification").model.config.num_hidden_layers == 2


def test_a_student_cannot_start_as_a_teacher_or_with_a_layer_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KddaError, match='starts as the teacher of "bb", of which there is none'):
        trainer_of(tmp_path, FromTeacher("bb"))
    with pytest.raises(KddaError, match="there is no layer 3: the model has layers 0 to 2"):
        trainer_of(tmp_path, FromTeacher("aa", layers=[0, 3]))
    assert not (tmp_path / "out" / "teachers").exists()  # refused before any fine-tuning


def test_a_recipes_student_starts_as_a_teacher_also_where_it_is_not_distilled(bench: Bench, command: Any) -> None:
    bench.values["student"] = {"from_teacher": "aa", "layers": "first 1"}
    bench.values["training"]["epochs"] = 1
    bench.values["arms"] = {"alone": {"train": "target"}, "taught": {"train": "target", "distill": True}}
    code, text, error = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 0, error
    assert "| alone" in text and "| taught" in text
    for arm in ("alone", "taught"):
        saved = load_checkpoint(str(bench.folder / "runs" / "nli" / arm / "seed-1" / "model"), head="classification")
        assert saved.model.config.num_hidden_layers == 1
    assert len(list((bench.folder / "runs" / "teachers").glob("aa-*"))) == 1


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"from_teacher": "cc"}, "student.from_teacher"),
        ({"from_teacher": "aa", "model": "mini/english"}, "either model: NAME, or from_teacher: LANGUAGE"),
        ({"layers": 2}, "either model: NAME, or from_teacher: LANGUAGE"),
        ({"model": "mini/english", "layers": [0, 0]}, '"first 6"'),
        ({"model": "mini/english", "layers": "last 2"}, '"first 6"'),
        ({"model": "mini/english", "layers": True}, '"first 6"'),
    ],
)
def test_a_student_that_cannot_be_is_refused_with_its_field(student: Any, message: str, bench: Bench) -> None:
    bench.values["student"] = student
    with pytest.raises(KddaError, match=message) as refusal:
        load_recipe(str(bench.write()))
    assert "student" in str(refusal.value)


def test_layers_that_are_not_there_are_refused_before_anything_is_run(bench: Bench, command: Any) -> None:
    bench.values["student"] = {"model": bench.values["student"], "layers": [0, 7]}
    code, _, error = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 2 and "student" in error and "there is no layer 7" in error and "Traceback" not in error
