"""Trainings of few steps: what is noted of fewer than 80 (`FEW_STEPS`), and of which arms of a report."""

from __future__ import annotations

from kdda.report.comparison import Comparison
from kdda.runtime.numbers import count_of

# Steps of a whole training, below which a note is printed. The student of `kdda try`, of two layers, learns in 84; one
# of twelve with a new head needs more (recipes/mini-nli.yaml: "some 150").
FEW_STEPS = 80


def few_steps_note(steps: int, advice: str) -> str:
    """What is noted of a training of so few steps, with what would do; plan, run and report write it."""
    return f"{count_of(steps, 'step')} in all; a model learns little in so few: {advice}"


def few_steps_lines(comparison: Comparison) -> list[str]:
    """A line for each small number of steps, with the arms whose longest run has taken just so many."""
    arms_by_steps: dict[int, list[str]] = {}
    for arm, runs in comparison.by_arm.items():
        steps = max(run.steps for run in runs.values())
        if 0 < steps < FEW_STEPS:  # 0: the run does not say
            arms_by_steps.setdefault(steps, []).append(arm)
    lines = []
    for steps, arms in arms_by_steps.items():
        lines.append(f"WARNING: {', '.join(arms)}: {few_steps_note(steps, 'more epochs, or more rows, would do')}")
    return lines
