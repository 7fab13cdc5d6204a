"""`kdda report`: the tables and figures of run folders, in their order, of test rows or (--dev) of development rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kdda.errors import KddaError, unknown_choice
from kdda.recipe.schema import target_list
from kdda.report.breakdown import breakdown_table
from kdda.report.collect import (
    check_arm,
    check_one_experiment,
    choose_runs,
    read_folders,
    unfinished_folders,
    unfinished_note,
)
from kdda.report.comparison import Comparison, TaskScores, compare, task_scores
from kdda.report.cost import cost_table
from kdda.report.differences import Difference, difference_table, differences
from kdda.report.few_steps import few_steps_lines
from kdda.report.figures import gains_by_lead, loss_curves, scores_by_arm, scores_by_weight, teachers_and_students
from kdda.report.open_domain import find_systems, systems_tables
from kdda.report.render import FORMS, Figure, Report, Table, to_markdown
from kdda.report.tables import comparison_table, data_table, other_languages_table
from kdda.report.teacher_check import teacher_check, teacher_scores
from kdda.report.translations import translation_table
from kdda.runs.folder import METRICS, Run
from kdda.runtime.files import write_output
from kdda.runtime.folders import check_output_file
from kdda.runtime.live import tell_stage
from kdda.runtime.wording import worded

Part = Table | Figure


def write_report(
    folders: Sequence[Path],
    out: Path | None,
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    dev: bool = False,
    against: str | None = None,
) -> str:
    """The report of all finished runs below some folders, as text, and written to `out` where it is given.

    Args:
        out: a file, whose suffix names the form; Markdown without one.
        folders: searched for run folders with all folders below them.
        arms, seeds: report these alone; all by default.
        dev: report development rows alone: what a choice between arms is made on.
        against: the arm that all others are compared with; by default each arm is compared with the undistilled arms
            that have its student, training and rows.

    Raises:
        KddaError: no run, runs of two recipes, or an unknown form.
    """
    suffix = out.suffix.lower() if out else ".md"
    if suffix not in FORMS:
        raise KddaError(unknown_choice(f"--out {out}: its form", suffix, FORMS))
    if out:
        check_output_file("--out", out)
    text = FORMS[suffix](report(folders, arms, seeds, dev, against))
    if out:
        write_output(out, [text])
    return text


def report(
    folders: Sequence[Path],
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    dev: bool = False,
    against: str | None = None,
) -> Report:
    """The report as tables and figures.

    Args:
        folders, arms, seeds, dev, against: as for `write_report`.

    Raises:
        KddaError: no run, or runs of two recipes.
    """
    tell_stage("reading run folders")
    runs = choose_runs(read_folders(folders), arms, seeds)
    if against is not None:
        check_arm(against, runs, "--against")
    check_one_experiment(runs)
    recipe = runs[0].recipe
    targets, note = target_list(recipe["target"]), str(recipe.get("note") or "")
    comparison = compare(runs, targets, _scores_of_task(runs), against=against)
    lines = [*_environment(comparison.runs), *comparison.rate_notes, *few_steps_lines(comparison)]
    skipped = unfinished_note(unfinished_folders(folders))
    if skipped:
        lines.append(skipped)
    tell_stage("tables and intervals")
    parts = _development_parts(comparison, note) if dev else _test_parts(comparison, note, folders)
    return Report(f"{recipe['name']}: {recipe['task']}, target {', '.join(targets)}", lines, parts)


def summary(comparison: Comparison, note: str = "") -> str:
    """The teacher check and the comparison of arms in Markdown: what a terminal shows after a run.

    Args:
        note: the recipe's, which stands below the comparison.
    """
    lines = []
    check = teacher_check(comparison)
    if check:
        lines += [f"{worded(check.title)}\n", to_markdown(check), ""]
    lines.append(to_markdown(comparison_table(comparison, note)))
    for of_target in comparison.by_target:
        table = comparison_table(of_target)
        lines += [f"{worded(table.title)}\n", to_markdown(table)]
    return "\n".join([*lines, *map(worded, comparison.rate_notes)])


def _score_tables(comparison: Comparison, note: str) -> list[Table]:
    """The comparison of arms, of each target where they are several, and the scores in other languages.

    Args:
        note: the recipe's, which stands below the first table.
    """
    tables = [comparison_table(comparison, note)]
    tables += map(comparison_table, comparison.by_target)
    others = other_languages_table(comparison)
    if others:
        tables.append(others)
    return tables


def _scores_of_task(runs: Sequence[Run]) -> TaskScores:
    """The scores by which a task's arms are compared.

    Raises:
        KddaError: no run names them.
    """
    task = task_scores(runs)
    if task is None:
        raise KddaError(f"{runs[0].folder / METRICS} does not say which scores its task has: a run of an older kdda")
    return task


def _environment(runs: Sequence[Run]) -> list[str]:
    """A line for each set of versions and devices that runs were made with."""
    lines = set()
    for run in runs:
        facts = []
        for name, value in sorted(run.environment.items()):
            facts.append(f"{name} {value}")
        lines.add(f"Made with {'; '.join(facts)}.")
    return sorted(lines)


def _development_parts(comparison: Comparison, note: str) -> list[Part]:
    """The tables that a choice between arms is made on (--dev): nothing of the test rows, and no figures."""
    parts: list[Part] = [*_score_tables(comparison.on_development_rows(), note)]
    for table in (teacher_check(comparison), translation_table(comparison)):
        if table:
            parts.append(table)
    no_differences: list[Difference] = []  # they are of test rows
    return [*parts, data_table(comparison.runs), cost_table(comparison, no_differences)]


def _test_parts(comparison: Comparison, note: str, folders: Sequence[Path]) -> list[Part]:
    """All tables, then all figures, of the test rows.

    Args:
        note: the recipe's.
        folders: where open-domain systems are looked for.
    """
    measured = differences(comparison)
    parts: list[Part] = [*_score_tables(comparison, note)]
    if measured:
        parts.append(difference_table(measured, comparison.metric))
    parts += _differences_by_target(comparison)
    for table in (teacher_check(comparison), translation_table(comparison)):
        if table:
            parts.append(table)
    parts += _systems(folders)
    for of_target in comparison.by_target or [comparison]:
        breakdown = breakdown_table(of_target)
        if breakdown:
            parts.append(breakdown)
    parts += [data_table(comparison.runs), cost_table(comparison, measured)]
    tell_stage("figures")
    parts.append(scores_by_arm(comparison))
    parts += teachers_and_students(teacher_scores(comparison), comparison.metric)
    if not comparison.by_target:  # a teacher's lead is that in one language
        parts += gains_by_lead(comparison, measured)
    parts += scores_by_weight(comparison)
    parts += loss_curves(comparison.runs)
    return parts


def _differences_by_target(comparison: Comparison) -> list[Table]:
    """A table of differences for each of several targets; none for an only one."""
    tables = []
    for of_target in comparison.by_target:
        measured = differences(of_target)
        if measured:
            tables.append(difference_table(measured, of_target.metric, f"Differences, {of_target.target}"))
    return tables


def _systems(folders: Sequence[Path]) -> list[Table]:
    """The table of the open-domain systems below some folders, as a list: empty where there are none."""
    systems = []
    for folder in folders:
        systems += find_systems(folder)
    return systems_tables(systems)
