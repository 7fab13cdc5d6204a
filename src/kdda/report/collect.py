"""Which runs a report is made of (--arms, --seeds), and refusal of runs of two recipes or of incomplete run folders."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from pydantic import ValidationError

from kdda.errors import KddaError, unknown_choice
from kdda.recipe.schema import Recipe
from kdda.report.comparison import runs_by_arm, unique_arms
from kdda.runs.folder import METRICS, RECIPE, Run, find_runs, is_complete, is_system
from kdda.runtime.folders import what_is_near

SAME_EXPERIMENT = ("task", "target", "labels", "student", "training")  # keys of a recipe equal in all runs

SAME_ARM = ("arms", "distill", "teachers", "data")  # keys of a recipe that are also equal in all runs of one arm


def read_folders(folders: Sequence[Path]) -> list[Run]:
    """All finished runs below some folders.

    Raises:
        KddaError: no such folder, no finished run, or an old recipe.
    """
    check_folders(folders)
    runs = []
    for folder in folders:
        runs += find_runs(folder)
    if not runs:
        message = f"no finished run in {', '.join(map(str, folders))}"
        skipped = unfinished_note(unfinished_folders(folders))
        if skipped:
            message += f"; {skipped}"
        raise KddaError(message)
    return runs


def check_folders(folders: Iterable[Path], option: str = "") -> None:
    """Refuse a folder that does not exist.

    Args:
        option: of the command line, that named the folders; none where they are arguments.

    Raises:
        KddaError: it names the folder.
    """
    for folder in folders:
        if not folder.is_dir():
            near = what_is_near(folder)
            refusal = f'no folder "{folder}"; give folders that `kdda run --out` has written{near}'
            raise KddaError(f"{option}: {refusal}" if option else refusal)


def unfinished_folders(folders: Iterable[Path]) -> list[Path]:
    """The folders of runs that have begun and not finished."""
    unfinished = set()
    for folder in folders:
        for path in folder.rglob(RECIPE):
            if not is_complete(path.parent) and not is_system(path.parent):
                unfinished.add(path.parent)
    return sorted(unfinished)


def unfinished_note(folders: Sequence[Path]) -> str:
    """The line of a report that names unfinished folders; empty without any."""
    if not folders:
        return ""
    return f"skipped, unfinished: {', '.join(map(str, folders))}"


def check_arm(arm: str, runs: Sequence[Run], option: str) -> None:
    """Refuse an arm that has not run.

    Args:
        option: of the command line, that named the arm: "--arms" or "--against".

    Raises:
        KddaError: it names the arms that have.
    """
    arms = unique_arms(runs)
    if arm not in arms:
        raise KddaError(unknown_choice(option, arm, arms))


def choose_runs(runs: Sequence[Run], arms: Collection[str] | None, seeds: Collection[int] | None) -> list[Run]:
    """The runs of some arms at some seeds.

    Args:
        arms, seeds: all where they are None or empty.

    Raises:
        KddaError: an arm or a seed that has not run, or no run of these arms at these seeds.
    """
    for arm in arms or ():
        check_arm(arm, runs, "--arms")
    existing = sorted({run.seed for run in runs})
    for seed in seeds or ():
        if seed not in existing:
            raise KddaError(f"--seeds: no run at seed {seed}; seeds that have run: {', '.join(map(str, existing))}")
    chosen = []
    for run in runs:
        if (not arms or run.arm in arms) and (not seeds or run.seed in seeds):
            chosen.append(run)
    if not chosen:
        raise KddaError("none of these arms has run at any of these seeds")
    return chosen


def check_one_experiment(runs: Sequence[Run]) -> None:
    """Refuse runs that cannot stand in one table.

    Raises:
        KddaError: a folder without recipe or metrics, two recipes, an arm with two meanings, or two runs of one arm at
            one seed and learning rate; with the commands that report parts of them.
    """
    for run in runs:
        _check_has_recipe_and_metrics(run)
    try:
        _check_alike(runs)
    except MixedRunsError as error:
        commands = _separate_reports(runs)
        message = f"{error}; report them one by one"
        if len(commands) > 1:
            message += ":\n  " + "\n  ".join(commands)
        raise KddaError(message) from None


class MixedRunsError(KddaError):
    """Runs that cannot stand in one table."""


def _separate_reports(runs: Sequence[Run]) -> list[str]:
    """The commands that report parts of some runs: each folder of an experiment, or arms of it that go together."""
    by_folder: dict[Path, list[Run]] = {}
    for run in runs:
        by_folder.setdefault(_experiment_folder(run), []).append(run)
    commands = []
    for folder, members in sorted(by_folder.items()):
        groups = _groups_of_arms(members)
        for group in groups:
            command = ["kdda", "report", quote(str(folder))]
            if len(groups) > 1:
                command += ["--arms", ",".join(unique_arms(group))]
            commands.append(" ".join(command))
    return commands


def _experiment_folder(run: Run) -> Path:
    """The folder of a run's task, below an output folder, in which its arms' folders are."""
    folder = run.folder.parent
    if folder.name.startswith("lr-"):  # of an arm that searches for its learning rate
        folder = folder.parent
    return folder.parent


def _groups_of_arms(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs in groups that can each stand in one table, arm by arm; an arm that cannot even alone is left out."""
    groups: list[list[Run]] = []
    for arm_runs in runs_by_arm(runs).values():
        for group in [*groups, []]:
            if not _are_alike([*group, *arm_runs]):
                continue
            if not group:
                groups.append(group)
            group += arm_runs
            break
    return groups


def _are_alike(runs: Sequence[Run]) -> bool:
    """Whether runs can stand in one table."""
    try:
        _check_alike(runs)
    except MixedRunsError:
        return False
    return True


def _check_alike(runs: Sequence[Run]) -> None:
    """Refuse runs that cannot stand in one table, of folders that are whole."""
    runs = [replace(run, recipe=_with_defaults(run.recipe)) for run in runs]
    first = runs[0]
    for run in runs:
        for key in SAME_EXPERIMENT:
            _check_same(first.recipe, run.recipe, key, (first, run), f"runs of several recipes: {key}")
    _check_same_rows(runs)
    for arm, arm_runs in runs_by_arm(runs).items():
        _check_one_arm(arm, arm_runs)


def _with_defaults(recipe: dict[str, Any]) -> dict[str, Any]:
    """A run's recipe with all fields: those that an older kdda did not know have their defaults.

    One that is no whole recipe stays as it is.
    """
    try:
        whole: dict[str, Any] = Recipe.model_validate(recipe).model_dump(by_alias=True)
    except ValidationError:
        return recipe
    return whole


def _check_has_recipe_and_metrics(run: Run) -> None:
    """Refuse a run folder of which a file was lost or is empty."""
    for content, name in ((run.recipe, RECIPE), (run.events, METRICS)):
        if not content:
            raise KddaError(f"{run.folder} has predictions but no {name}: it is no whole run folder")


def _check_same(first: Mapping[str, Any], other: Mapping[str, Any], key: str, runs: tuple[Run, Run], what: str) -> None:
    """Refuse two runs whose recipes differ in a key.

    Args:
        first: the recipe of the first of the two runs, or a part of it; `other`: of the second.
        what: the beginning of the message, which goes on "is … in one folder, but … in the other".
    """
    one, two = runs
    value = first.get(key)
    another = other.get(key)
    if value != another:
        raise MixedRunsError(f"{what} is {value!r} in {one.folder}, but {another!r} in {two.folder}")


def _check_same_rows(runs: Sequence[Run]) -> None:
    """Refuse runs that read other rows of one language; an arm may train on a language that other arms lack."""
    first_with: dict[str, Run] = {}  # language → the first run whose recipe has it
    for run in runs:
        for language, data in run.recipe.get("data", {}).items():
            first = first_with.setdefault(language, run)
            for field in data:
                what = f"runs of several recipes: data.{language}.{field}"
                _check_same(first.recipe["data"][language], data, field, (first, run), what)


def _check_one_arm(arm: str, runs: Sequence[Run]) -> None:
    """Runs of one arm may differ in seed and learning rate alone."""
    seen: dict[tuple[int, float | None], Run] = {}  # by seed and learning rate
    for run in runs:
        for key in SAME_ARM:
            what = f'two recipes under one name: {key} of arm "{arm}"'
            _check_same(runs[0].recipe, run.recipe, key, (runs[0], run), what)
        earlier = seen.setdefault((run.seed, run.learning_rate), run)
        if earlier is not run:
            raise MixedRunsError(
                f'arm "{arm}" has run twice at seed {run.seed}: in {earlier.folder} and in {run.folder}'
            )
