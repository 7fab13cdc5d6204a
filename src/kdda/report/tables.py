"""The tables of arms' scores (mean ± standard deviation, differences by seed, seconds) and of the rows trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from kdda.metrics.significance import mean_sd
from kdda.report.comparison import Comparison, runs_by_arm, score_name
from kdda.report.render import Table
from kdda.runs.folder import Run
from kdda.runtime.numbers import count_of

ZERO_SHOT = "zero-shot"  # beside scores in a language of which no labels were in training

ZERO_SHOT_NOTE = f"{ZERO_SHOT}: the arm was trained without labels of this language."

CONTROL = "control"  # behind an arm that is to show no gain

CONTROL_NOTE = (
    "control: distilled from teachers that know nothing of a row (random weights, or another row's states), which "
    "should be no help."
)

# below every table with a column of seconds
SECONDS_NOTE = (
    "Seconds: wall-clock time of training of one run, its evaluations included, over all sittings. Other work on the "
    "machine, such as other workers of the same command, makes it longer."
)


def comparison_table(comparison: Comparison, note: str = "") -> Table:
    """Every arm's scores on the target's rows, and its differences from its baselines, paired by seed.

    Controls are marked, and arms that were trained without labels of a target, as zero-shot.

    Args:
        note: the recipe's, which stands below the table.
    """
    header = ["arm"]
    for score in comparison.task.scores:
        header.append(score_name(score))
    for baseline in comparison.baselines:
        header.append(f"vs {baseline}")
    header.append("seconds")
    rows = []
    for arm in comparison.arms:
        rows.append(_comparison_row(comparison, arm))
    notes = [*_explanation(comparison), *_seed_notes(comparison), *_sampling_error(comparison)]
    notes += _mark_notes(comparison)
    notes.append(SECONDS_NOTE)
    if note:
        notes.append(note)
    return Table(f"{comparison.target}, {comparison.split} rows", header, rows, notes)


def _comparison_row(comparison: Comparison, arm: str) -> list[str]:
    """An arm's cells: its scores, its difference from each baseline, and its seconds of training."""
    marks = _marks(comparison, arm)
    cells = [f"{arm} ({'; '.join(marks)})" if marks else arm]
    for score in comparison.task.scores:
        cells.append(spread(comparison.scores(arm, score).values()))
    for baseline in comparison.baselines:
        cells.append(_gain_cell(comparison, arm, baseline))
    seconds = [run.seconds for run in comparison.by_arm[arm].values()]
    return [*cells, spread(seconds, digits=0)]


def _marks(comparison: Comparison, arm: str) -> list[str]:
    """What stands behind an arm's name: "control", and "zero-shot" where it was trained without labels of the target.

    Of several targets those are named of which it had no labels.
    """
    run = next(iter(comparison.by_arm[arm].values()))  # all runs of an arm have the same teachers and rows
    marks = []
    if run.is_control:
        marks.append(CONTROL)
    targets = [target for target in comparison.targets if is_zero_shot(run, target)]
    if targets and len(comparison.targets) == 1:
        marks.append(ZERO_SHOT)
    elif targets:
        marks.append(f"{ZERO_SHOT}: {', '.join(targets)}")
    return marks


def _mark_notes(comparison: Comparison) -> list[str]:
    """What the marks behind the arms of a comparison mean."""
    marks = ""
    for arm in comparison.arms:
        marks += " ".join(_marks(comparison, arm))
    notes = []
    if CONTROL in marks:
        notes.append(CONTROL_NOTE)
    if ZERO_SHOT in marks:
        notes.append(ZERO_SHOT_NOTE)
    return notes


def is_zero_shot(run: Run, language: str) -> bool:
    """Whether a run was trained without labels of a language; False of an older run, which does not say it."""
    data = run.task_event.get("data", {})
    return bool(data) and (language not in data or bool(data[language].get("unlabelled")))


def other_languages_table(comparison: Comparison) -> Table | None:
    """Every arm's main score in the languages that are no targets, zero-shot scores marked; None without such rows."""
    languages: dict[str, None] = {}  # in their order, each once
    for run in comparison.runs:
        languages.update(dict.fromkeys(comparison.scores_by_language(run)))
    others = [language for language in languages if language not in comparison.targets]
    if not others:
        return None
    rows = []
    for arm, runs in comparison.by_arm.items():
        rows.append([arm, *_cells_by_language(comparison, list(runs.values()), others)])
    title = f"Other languages: {score_name(comparison.metric)}, {comparison.split} rows"
    return Table(title, ["arm", *others], rows, [ZERO_SHOT_NOTE])


def _cells_by_language(comparison: Comparison, runs: Sequence[Run], languages: Sequence[str]) -> list[str]:
    """An arm's mean score and spread in each language; empty in one that it was not scored in.

    Args:
        runs: of the arm.
    """
    cells = []
    for language in languages:
        scores = []
        for run in runs:
            by_language = comparison.scores_by_language(run)
            if language in by_language:
                scores.append(float(by_language[language][comparison.metric]))
        mark = f" ({ZERO_SHOT})" if is_zero_shot(runs[0], language) else ""
        cells.append(spread(scores) + mark if scores else "")
    return cells


def _gain_cell(comparison: Comparison, arm: str, baseline: str) -> str:
    """The mean difference of two arms over their common seeds; empty where they are not compared."""
    if baseline not in comparison.baselines_of(arm):
        return ""
    gains = comparison.paired_gains(arm, baseline)
    if not gains:
        return "no common seed"
    return spread(gains, signed=True)


def _explanation(comparison: Comparison) -> list[str]:
    """What the rows and columns of the table are."""
    sentence = "An arm is one way to train the student."
    if comparison.baselines:
        metric = score_name(comparison.metric)
        sentence += f' A column "vs X" is the {metric} of the row\'s arm minus that of arm X, paired by seed.'
    return [sentence]


def _seed_notes(comparison: Comparison) -> list[str]:
    """What the seeds of a comparison's arms allow to say."""
    arms_by_seeds: dict[str, list[str]] = defaultdict(list)
    for arm, runs in comparison.by_arm.items():
        arms_by_seeds[seed_list(runs)].append(arm)
    return seed_notes(arms_by_seeds)


def seed_notes(arms_by_seeds: Mapping[str, Collection[str]]) -> list[str]:
    """What the seeds of a table allow to say.

    Args:
        arms_by_seeds: seeds, as `seed_list` writes them → the arms that have run just these.
    """
    if len(arms_by_seeds) > 1:
        groups = []
        for seeds, arms in arms_by_seeds.items():
            groups.append(f"{seeds}: {', '.join(arms)}")
        return [f"Seeds differ between arms ({'; '.join(groups)}); differences use the seeds that both arms have."]
    for seeds in arms_by_seeds:  # one at most: all arms have the same
        if "," in seeds:
            return [f"Mean ± sample standard deviation over seeds {seeds}."]
        return ["One seed: no conclusion, differences may be due to chance; --seeds 1,2,3 shows their spread."]
    return []


def seed_list(seeds: Iterable[int]) -> str:
    """Seeds as a sentence names them, rising.

    >>> seed_list([2, 1])
    '1, 2'
    """
    return ", ".join(map(str, sorted(seeds)))


def _sampling_error(comparison: Comparison) -> list[str]:
    """A sentence on how much one run's score varies with the rows that were drawn, by the first run; none without runs.

    In a list, as all notes of a table.
    """
    for runs in comparison.by_arm.values():
        for run in runs.values():
            rows = 0
            variance = 0.0  # of the mean over targets, whose rows are independent
            for facts in comparison.facts(run):
                rows += facts["rows"]
                variance += (facts["standard_error"] / len(comparison.targets)) ** 2
            metric = score_name(comparison.metric)
            error = "all have the same score, so that nothing tells how much it would vary with other rows"
            if variance:
                error = f"one run's {metric} has a standard error of about {variance**0.5:.1f} points"
            return [f"{count_of(rows, f'{comparison.split} row')}: {error}."]
    return []


def data_table(runs: Sequence[Run]) -> Table:
    """What each arm was trained on, in tokens of its student, and how many rows chose and scored it.

    A row an arm and language, by the arm's first run: all runs of an arm have the same rows.
    """
    rows = []
    for arm, arm_runs in runs_by_arm(runs).items():
        run = arm_runs[0]
        for language, sizes in run.task_event.get("data", {}).items():
            counts = [sizes.get("rows", 0), sizes.get("windows", 0), sizes.get("tokens", 0)]
            for scores_by_language in (run.dev, run.test):
                counts.append(scores_by_language.get(language, {}).get("rows", 0))
            rows.append([f"{arm}, {language}", *map(_count, counts)])
    header = ["arm, language", "training rows", "windows", "tokens", "dev rows", "test rows"]
    return Table("Data", header, rows, _language_notes(runs))


def _language_notes(runs: Sequence[Run]) -> list[str]:
    """A sentence for each arm and language that had no teacher, though the arm is distilled, or no labels."""
    notes = []
    for arm, arm_runs in runs_by_arm(runs).items():
        run = arm_runs[0]
        taught = {teacher["language"] for teacher in run.teachers}
        disabled = run.arm_settings.get("teachers") or {}
        for language, sizes in run.task_event.get("data", {}).items():
            if sizes.get("unlabelled"):
                notes.append(f"{arm}: {language} has no labels; it is distilled from its teacher alone.")
            elif taught and language not in taught and language not in disabled:
                notes.append(f"{arm}: {language} has no teacher; it trains on the task's loss alone.")
    return notes


def _count(number: int) -> str:
    """A number of rows or tokens as a cell writes it, such as "1,785"; empty for 0."""
    if not number:
        return ""
    return f"{number:,}"


def spread(values: Iterable[float], signed: bool = False, digits: int = 1) -> str:
    """``mean ± sample standard deviation``, or the value alone where there is one; with a minus and not a hyphen.

    Args:
        values: one or more.
        signed: whether a mean of 0 or more is written with a plus.
        digits: decimals of both numbers.

    >>> spread([50.0, 52.0]), spread([1.25], signed=True), spread([-3.25])
    ('51.0 ± 1.4', '+1.2', '−3.2')
    """
    mean, sd = mean_sd(list(values))
    sign = "+" if signed else ""
    text = f"{mean:{sign}.{digits}f}".replace("-", "−")
    return text if sd is None else f"{text} ± {sd:.{digits}f}"
