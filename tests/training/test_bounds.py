"""Numbers out of their bounds are refused by name, whoever gives them: arguments, a loss, an objective's options."""

import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jaxtyping import config

from kdda.errors import KddaError
from kdda.losses.distillation import DistillationLoss
from kdda.losses.registry import OBJECTIVES
from kdda.training.config import DistillationConfig

ENDLESS = (math.inf, -math.inf, math.nan)

# Numbers of the loss → what they are called in a configuration; those at which they begin, and end.
POSITIVE = {"epsilon": "epsilon", "scale": "scale", "tolerance": "tolerance", "temperature": "temperature"}
NOT_NEGATIVE = {"weight": "distill_weight", "logit_weight": "logit_weight"}

# Numbers of a configuration alone → values that they may not have.
FURTHER: dict[str, tuple[Any, ...]] = {
    "learning_rate": (-1e-5,),
    "weight_decay": (-0.1,),
    "max_grad_norm": (-1.0,),
    "warmup_steps": (-1,),
    "num_train_epochs": (0, -1.0),
    "logging_steps": (-1,),
    "adam_beta1": (-0.1, 1.0),
    "adam_beta2": (-0.1, 1.0),
    "adam_epsilon": (-1e-8,),
    "seed": (-1, 2**32),
    "per_device_train_batch_size": (0, -1),
    "per_device_eval_batch_size": (0, -1),
    "max_length": (0, -1),
    "stride": (-1,),
    "micro_batch_size": (0, -1),
    "attention_dropout": (-0.1, 1.1),
    "teacher_cache_gb": (-1.0,),
}


@pytest.fixture(autouse=True)
def without_type_checker() -> Iterator[None]:
    """As users run it; pytest's type checker would refuse some of the values itself."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def refused(make: Any, name: str, value: Any) -> None:
    with pytest.raises(KddaError, match=rf"^{re.escape(name)}: got ") as error:
        make(**{name: value})
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("name", [*POSITIVE, *NOT_NEGATIVE, "max_iterations"])
def test_a_loss_and_a_configuration_refuse_the_same_numbers(name: str) -> None:
    wrong: list[Any] = [*ENDLESS, -1]
    if name not in NOT_NEGATIVE:
        wrong.append(0)
    if name == "max_iterations":
        wrong.append(2.5)
    argument = {**POSITIVE, **NOT_NEGATIVE}.get(name, name)
    for value in wrong:
        refused(DistillationLoss, name, value)
        with pytest.raises(KddaError, match=f"{name}: got {re.escape(repr(value))}"):
            DistillationConfig("out", **{argument: value})


@pytest.mark.parametrize("name", sorted(FURTHER))
def test_a_configuration_refuses_numbers_that_no_training_can_have(name: str) -> None:
    for value in (*ENDLESS, *FURTHER[name]):
        refused(lambda **arguments: DistillationConfig("out", **arguments), name, value)


@pytest.mark.parametrize("layers", [[], [math.nan], [math.inf], [-0.5], [1.5]])
def test_layers_are_parts_of_a_depth(layers: list[float]) -> None:
    with pytest.raises(KddaError, match=r"^layers: got "):
        DistillationConfig("out", layers=layers)


@pytest.mark.parametrize("make", [DistillationLoss, lambda **scale: DistillationConfig("out", **scale)])
def test_a_scale_that_does_not_exist_is_refused_before_anything_is_computed(make: Any) -> None:
    with pytest.raises(KddaError, match=r'scale.*did you mean "cosine"'):
        make(scale="cosin")


def test_a_choice_of_tokens_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(KddaError, match=r"tokens: got .*expected one of: all, text, attended, received, entropy"):
        DistillationConfig("out", tokens="recieved")


@pytest.mark.parametrize("name", sorted(name for name, objective in OBJECTIVES.items() if objective.options))
def test_options_of_an_objective_are_finite_numbers_within_their_bounds(name: str) -> None:
    objective = OBJECTIVES[name]
    for option, default in objective.options.items():
        if not isinstance(default, int | float) or isinstance(default, bool):
            continue
        lowest, highest = objective.bounds[option]
        for value in (*ENDLESS, lowest - 1, 2 * highest + 1, "1"):
            with pytest.raises(KddaError, match=rf"options\.{option}: got "):
                DistillationLoss(name, options={option: value})
            with pytest.raises(KddaError, match=rf"options\.{option}: got "):
                DistillationConfig("out", objective=name, objective_options={option: value})
