"""A custom objective: as a function that is handed over, and under a name that recipes can use.

    python examples/custom_objective.py

The objective is the absolute difference of mean states, with a power as its option.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from kdda import DistillationConfig, DistillationTrainer, Teacher, register_objective
from kdda.losses.representations import ObjectiveSettings, Representations


def mean_state(side: Representations) -> Tensor:
    """The mean over real tokens, [batch, width]; padding may hold anything."""
    if side.mask is None:
        return side.states.mean(dim=1)
    real = side.mask.bool()[..., None]
    total = torch.where(real, side.states, 0).sum(dim=1)
    return total / real.sum(dim=1)


def mean_difference(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> Tensor:
    """One value for each text, differentiable in the student's states."""
    power = settings.options.get("power", 2)
    return (mean_state(student) - mean_state(teacher)).abs().pow(power).mean(dim=1)


# Under a name, for recipes: `plugins: [custom_objective]`, `distill: {objective: mean-difference, options: {power: 1}}`
register_objective("mean-difference", mean_difference, options={"power": 2})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="mini/multilingual")
    parser.add_argument("--teacher", default="mini/vietnamese")
    parser.add_argument("--data", default="embedded:nli/vi/train")
    parser.add_argument("--dev", default="embedded:nli/vi/dev")
    parser.add_argument("--out", default="custom-objective")
    options = parser.parse_args()

    for objective in (mean_difference, "mean-difference"):
        name = objective if isinstance(objective, str) else objective.__name__
        trainer = DistillationTrainer(
            student=options.student,
            teachers={"vi": Teacher(options.teacher)},
            task="nli",
            train_dataset={"vi": options.data},
            eval_dataset={"vi": options.dev},
            args=DistillationConfig(f"{options.out}/{name}", objective=objective, num_train_epochs=1),
        )
        trainer.train()
        print(f"{name}: accuracy {trainer.evaluate()['eval_accuracy']:.1f}")


if __name__ == "__main__":
    main()
