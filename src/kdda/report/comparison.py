"""Which arms are compared with which (baselines), on which languages, and their order: decided once for all tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any

from kdda.errors import KddaError
from kdda.recipe.schema import target_list
from kdda.report.learning_rates import select_rates
from kdda.runs.folder import Run


@dataclass(frozen=True)
class TaskScores:
    """What a report must know of a task, as the `task` events of its runs say.

    Attributes:
        metric: the score by which arms are compared.
        scores: the scores of a table, by the names they have in an event.
        row_score: how a row is scored, or `CORRELATION`; None where the run does not say.
        breakdown: what scores are broken down by: "label" or "answer length"; None where the run does not say.
    """

    metric: str
    scores: tuple[str, ...]
    breakdown: str | None = None
    row_score: str | None = None


def task_scores(runs: Sequence[Run]) -> TaskScores | None:
    """The scores of the task that some runs have in common; None where no run says which they are."""
    for run in runs:
        event = run.task_event
        if event:
            return TaskScores(event["metric"], tuple(event["scores"]), event.get("breakdown"), event.get("row_score"))
    return None


def score_name(score: str) -> str:
    """A score's key in events, as tables and sentences write it.

    >>> score_name("macro_f1")
    'macro-f1'
    """
    return score.replace("_", "-")


@dataclass(frozen=True)
class Comparison:
    """The arms of one experiment and the arms that each of them is compared with.

    Attributes:
        runs: every arm's runs at its chosen learning rate.
        targets: the languages whose rows are compared: by their mean score, where they are several.
        task: the scores that are compared.
        arms: in the order of the tables.
        default_baselines: arm → the arms it is compared with by default (see `find_baselines`).
        plain_baseline: the undistilled arm that gains by distillation are measured from (see `find_plain_baseline`).
        against: the one arm that all others are compared with instead.
        rate_notes: which learning rate was chosen for an arm, and why.
        split: the rows that scores are of: "test" or "development".
    """

    runs: Sequence[Run]
    targets: Sequence[str]
    task: TaskScores
    arms: Sequence[str]
    default_baselines: Mapping[str, Sequence[str]]
    plain_baseline: str | None
    against: str | None = None
    rate_notes: Sequence[str] = field(default_factory=list)
    split: str = "test"

    @property
    def target(self) -> str:
        """The target as titles name it: a language, or "mean of vi, id"."""
        if len(self.targets) == 1:
            return self.targets[0]
        return f"mean of {', '.join(self.targets)}"

    @property
    def by_target(self) -> list[Comparison]:
        """The comparisons of each target alone, where they are several; none of an only target, which is this one."""
        if len(self.targets) == 1:
            return []
        return [self.of_languages([target]) for target in self.targets]

    def of_languages(self, languages: Sequence[str]) -> Comparison:
        """The same arms, compared on the rows of other languages."""
        return replace(self, targets=list(languages))

    @property
    def metric(self) -> str:
        """The score by which arms are compared."""
        return self.task.metric

    @property
    def main_baseline(self) -> str | None:
        """The arm of `against`, or else the plain baseline."""
        return self.against or self.plain_baseline

    @cached_property
    def by_arm(self) -> dict[str, dict[int, Run]]:
        """Arm → seed → run, arms in their order."""
        runs: dict[str, dict[int, Run]] = {arm: {} for arm in self.arms}
        for run in self.runs:
            runs[run.arm][run.seed] = run
        return runs

    @property
    def baselines(self) -> list[str]:
        """All arms that another one is compared with, in the order of the runs."""
        names = set[str]()
        for arm in self.arms:
            names.update(self.baselines_of(arm))
        return [arm for arm in unique_arms(self.runs) if arm in names]

    def baselines_of(self, arm: str) -> Sequence[str]:
        """The arms that one is compared with."""
        if self.against is None:
            return self.default_baselines[arm]
        if arm == self.against:
            return []
        return [self.against]

    def common_seeds(self, arm: str, baseline: str) -> list[int]:
        """The seeds that two arms have both run, rising."""
        return sorted(set(self.by_arm[arm]) & set(self.by_arm[baseline]))

    def scores(self, arm: str, score: str) -> dict[int, float]:
        """Seed → score of an arm on the target's rows, in per cent; of several targets their mean.

        Args:
            score: a key of the runs' events, such as "accuracy" or "f1".
        """
        values = {}
        for seed, run in self.by_arm[arm].items():
            values[seed] = fmean(float(facts[score]) for facts in self.facts(run))
        return values

    def facts(self, run: Run) -> list[Mapping[str, Any]]:
        """The events with all scores of a run, one a target: also the number of its rows and the standard error."""
        scores_by_language = self.scores_by_language(run)
        events = []
        for target in self.targets:
            if target not in scores_by_language:
                raise KddaError(f"{run.folder}: metrics.jsonl has no scores of the {self.split} rows of {target}")
            events.append(scores_by_language[target])
        return events

    def scores_by_language(self, run: Run) -> Mapping[str, Mapping[str, Any]]:
        """Language → a run's scores on the rows of this comparison's split."""
        return run.dev if self.split == "development" else run.test

    def paired_gains(self, arm: str, baseline: str) -> list[float]:
        """The metric of an arm minus that of another in points, one number a common seed."""
        scores = self.scores(arm, self.metric)
        baseline_scores = self.scores(baseline, self.metric)
        gains = []
        for seed in self.common_seeds(arm, baseline):
            gains.append(scores[seed] - baseline_scores[seed])
        return gains

    def on_development_rows(self) -> Comparison:
        """The same comparison by the scores on development rows, of the runs that have them."""
        runs = [run for run in self.runs if set(self.targets) <= set(run.dev)]
        names = unique_arms(runs)
        arms = [arm for arm in self.arms if arm in names]
        return replace(self, runs=runs, arms=arms, split="development")


def compare(
    runs: Sequence[Run],
    targets: str | Sequence[str],
    task: TaskScores,
    arms: Sequence[str] = (),
    against: str | None = None,
) -> Comparison:
    """Choose each arm's learning rate and decide which arms are compared with which.

    Args:
        runs: of one experiment, at all learning rates.
        targets: the language whose rows are compared, or several.
        task: the scores that are compared.
        arms: their order in tables, in which arms without a run are skipped; by default undistilled ones come first
            (see `in_order`).
        against: the one arm that all others are compared with, instead of those that `find_baselines` names.
    """
    languages = target_list(targets)
    chosen, notes = select_rates(in_order(runs), languages, task.metric)
    names = unique_arms(chosen)
    ordered = [arm for arm in arms or names if arm in names]
    return Comparison(
        runs=chosen,
        targets=languages,
        task=task,
        arms=ordered,
        default_baselines=find_baselines(chosen),
        plain_baseline=find_plain_baseline(chosen),
        against=against,
        rate_notes=notes,
    )


def in_order(runs: Sequence[Run]) -> list[Run]:
    """Undistilled arms first, of these the ones with fewest training rows; then by name and seed."""
    return sorted(runs, key=lambda run: (run.is_distilled, _rows_of_undistilled(run), run.arm, run.seed))


def _rows_of_undistilled(run: Run) -> int:
    """The number of training rows that sorts undistilled runs; 0 for distilled ones, which are sorted by name."""
    if run.is_distilled:
        return 0
    return training_rows(run)


def training_rows(run: Run) -> int:
    """The number of rows that a run was trained on, over all languages; 0 where an older run does not say."""
    sizes_by_language = run.task_event.get("data", {})
    rows = 0
    for sizes in sizes_by_language.values():
        rows += sizes["rows"]
    return rows


def unique_arms(runs: Sequence[Run]) -> list[str]:
    """The arms of some runs, each once, in their order."""
    return list(dict.fromkeys(run.arm for run in runs))


def runs_by_arm(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Arm → its runs, in their order."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.arm].append(run)
    return groups


def undistilled_arms(runs: Sequence[Run]) -> list[str]:
    """The arms whose students have no teacher."""
    return unique_arms([run for run in runs if not run.is_distilled])


def find_plain_baseline(runs: Sequence[Run]) -> str | None:
    """The undistilled arm that gains by distillation are measured from; None where all arms are distilled.

    It has the student, training and rows that most distilled runs have; of several such arms it is the one with most
    training rows, and of these the first by name.
    """
    distilled_configurations = []
    undistilled_runs = []
    for run in runs:
        if run.is_distilled:
            distilled_configurations.append(run.configuration)
        else:
            undistilled_runs.append(run)
    if not undistilled_runs:
        return None

    def rank(run: Run) -> tuple[int, int, str]:
        return -distilled_configurations.count(run.configuration), -training_rows(run), run.arm

    return min(undistilled_runs, key=rank).arm


def find_baselines(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Arm → the arms that it is compared with, never itself.

    They are the undistilled arms with the same student, training and rows. Where there is none, a distilled arm is
    compared with all undistilled ones, and an undistilled one with the plain baseline. Where every arm is distilled,
    the first one stands for the undistilled ones.
    """
    configurations = {}  # arm → its student, training and rows
    for run in runs:
        configurations[run.arm] = run.configuration
    undistilled = undistilled_arms(runs)
    plain_baseline = find_plain_baseline(runs)
    candidates = undistilled or unique_arms(runs)[:1]
    baselines = {}
    for arm, configuration in configurations.items():
        others = [candidate for candidate in candidates if candidate != arm]
        alike = [other for other in others if configurations[other] == configuration]
        if alike:
            baselines[arm] = alike
        elif arm in undistilled:
            baselines[arm] = [other for other in others if other == plain_baseline]
        else:
            baselines[arm] = others
    return baselines
