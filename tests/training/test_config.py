"""`DistillationConfig` is a `TrainingArguments`; what would break exactness is refused with why."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainingArguments

from kdda.errors import KddaError
from kdda.recipe.schema import Distill, Training
from kdda.training.config import RECIPE_FIELDS, DistillationConfig
from tests.conftest import Bench


def test_it_is_a_training_arguments_with_the_papers_defaults() -> None:
    config = DistillationConfig("out")
    assert isinstance(config, TrainingArguments)
    assert (config.learning_rate, config.num_train_epochs, config.per_device_train_batch_size) == (2e-5, 2, 32)
    assert (config.distill_weight, config.epsilon, config.warmup_steps) == (0.3, 0.005, 0.1)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"optim": "adafactor"}, "optim: got 'adafactor', expected adamw_torch, .*closed form"),
        ({"gradient_accumulation_steps": 2}, "micro_batch_size takes it in parts"),
        ({"label_smoothing_factor": 0.1}, "does not smooth labels"),
        ({"auto_find_batch_size": True}, "micro_batch_size is lowered"),
        ({"dataloader_drop_last": True}, "each row is trained on once an epoch"),
        ({"ignore_data_skip": True}, "a resumed run must equal one that never stopped"),
        ({"save_only_model": True}, "a run resumes from its optimizer's state"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "a schedule that is known beforehand"),
        ({"push_to_hub": True, "hub_strategy": "every_save"}, "checkpoints hold a trimmed vocabulary"),
        ({"objective": "sinkhron"}, 'did you mean "sinkhorn"'),
        ({"combine": "convex"}, "expected one of: sum, interpolate"),
    ],
)
def test_what_breaks_exactness_or_does_not_exist_is_refused(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(KddaError, match=reason):
        DistillationConfig("out", **arguments)


def from_recipe(**arguments: Any) -> DistillationConfig:
    return DistillationConfig.from_recipe(Training(arguments=arguments), Distill(), output_dir="out", seed=1)


def test_a_recipes_further_arguments_reach_transformers() -> None:
    config = from_recipe(adam_beta2=0.98, lr_scheduler_type="cosine", report_to="none")
    assert config.adam_beta2 == 0.98 and config.lr_scheduler_type == "cosine"


@pytest.mark.parametrize("name", sorted(RECIPE_FIELDS))
def test_a_field_that_a_recipe_has_elsewhere_is_refused_with_its_place(name: str) -> None:
    with pytest.raises(KddaError, match=f"training.arguments.{name}: a recipe has it elsewhere; write "):
        from_recipe(**{name: 1})


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"adam_beta": 0.9}, 'no such field — did you mean "adam_beta'),
        ({"optim": "sgd"}, "training.arguments.optim: got 'sgd'"),
        ({"eval_strategy": "hourly"}, "training.arguments: "),
    ],
)
def test_a_recipes_wrong_argument_is_named(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(KddaError, match=reason):
        from_recipe(**arguments)


def test_a_wrong_argument_of_a_recipe_is_refused_before_any_work(bench: Bench, command: Any) -> None:
    bench.values["training"]["arguments"] = {"optim": "adafactor"}
    code, _, error = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 2 and "training.arguments.optim" in error and not list(bench.folder.glob("runs/*/*"))


def test_learning_rates_are_those_of_the_schedule() -> None:
    config = DistillationConfig("out", learning_rate=1.0, warmup_steps=0.5)
    assert list(config.learning_rates(4, 4)) == [0.0, 0.5, 1.0, 0.5]
    assert config.get_warmup_steps(11) == 6
    assert DistillationConfig("out", warmup_steps=100).get_warmup_steps(10) == 10
    cosine = DistillationConfig("out", learning_rate=1.0, warmup_steps=0.0, lr_scheduler_type="cosine")
    assert list(cosine.learning_rates(4, 3)) == pytest.approx([1.0, 0.5 * (1 + math.cos(math.pi / 4)), 0.5])


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_trimmed_vocabulary_trains_as_the_whole_one(
    bench: Bench, command: Any, schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.values["training"]["arguments"] = {"lr_scheduler_type": schedule}
    arms = ("--arms", "student-da")
    assert command("run", bench.write(), "--out", bench.folder / "trimmed", *arms)[0] == 0
    monkeypatch.setattr("kdda.training.fine_tune.EncodedData.used_ids", property(lambda self: set(range(40))))
    assert command("run", bench.write(), "--out", bench.folder / "whole", *arms)[0] == 0
    name = Path("nli/student-da/seed-1/model/model.safetensors")
    trimmed, whole = load_file(bench.folder / "trimmed" / name), load_file(bench.folder / "whole" / name)
    assert all(torch.allclose(trimmed[key], whole[key], atol=1e-6) for key in whole)
