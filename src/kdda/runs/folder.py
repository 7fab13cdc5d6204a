"""Run folders: the names of their files, which of them are complete, and a run (`Run`) or all runs read from them."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

import yaml
from pydantic import ValidationError

from kdda.errors import KddaError
from kdda.recipe.renamed import old_names
from kdda.recipe.schema import Recipe
from kdda.runs.events import BrokenRunError, check_number, parse_object, read_metrics, read_run_file
from kdda.runtime.numbers import count_of

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster where libyaml is there

RECIPE = "recipe.yaml"

ENVIRONMENT = "environment.json"

METRICS = "metrics.jsonl"

PREDICTIONS = "predictions.jsonl"  # written last: a folder that has it is complete

MODEL_FOLDER = "model"

MODEL_REMOVED = "model-removed.txt"  # in a run's folder in place of the model: what `kdda clean --models` removed

CHECKPOINTS = "checkpoints"  # of an unfinished training, in the folder of a run or a teacher

TEACHERS = "teachers"  # in the output folder: teachers/<language>-<fingerprint>, each as it was fine-tuned

TEACHER_RECORD = "teacher.json"  # development scores, seconds; written last: a teacher's folder that has it is complete

STATES = "states"  # in `TEACHERS`: stored teacher states

SYSTEMS = "systems"  # <OUT>/systems/<system>/seed-<n>: an arm's model in open-domain answering, not a training run

RANDOM = " with random weights"  # in the name of a teacher that knows nothing, a control

RUN_NAME = re.compile(r"seed-\d+")  # the name of a run's folder

logger = logging.getLogger(__name__)

FAILURE = "failure.txt"  # why a run did not finish, where it could still be written


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        test: language → its scores on the test rows.
        dev: language → its scores on the development rows, by the selected model.
        learning_rate: at which it was made; arms that search for theirs have runs at several.
        seconds: training time over all sittings.
        recipe: the resolved recipe that made it.
        environment: what it was made with.
        events: all of metrics.jsonl.
    """

    folder: Path
    arm: str
    seed: int
    test: dict[str, dict[str, Any]]
    dev: dict[str, dict[str, Any]]
    seconds: float
    learning_rate: float | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def arm_settings(self) -> dict[str, Any]:
        """What the recipe says of this run's arm."""
        settings: dict[str, Any] = self.recipe.get("arms", {}).get(self.arm, {})
        return settings

    @property
    def is_distilled(self) -> bool:
        """Whether its student was distilled from teachers."""
        return self.arm_settings.get("distill", False) is not False

    @property
    def is_control(self) -> bool:
        """Whether its student was distilled from teachers that know nothing of a row, to show what that alone does.

        They have random weights, all of them, or each row gets another row's states.
        """
        if not self.is_distilled:
            return False
        settings = dict(self.recipe.get("distill") or {})
        changes = self.arm_settings["distill"]  # true, or what the arm does differently
        if isinstance(changes, dict):
            settings |= changes
        teachers = self.teachers
        are_random = bool(teachers) and all(RANDOM in teacher["name"] for teacher in teachers)
        return bool(settings.get("shuffle_teacher")) or are_random

    @property
    def configuration(self) -> tuple[Any, Any, Any]:
        """The student, training and rows of its arm, where they are not the recipe's."""
        settings = self.arm_settings
        training = dict(settings.get("training") or {})
        for name in list(training):
            if training[name] is None:  # the recipe's; runs of an older kdda lack fields that it did not know
                del training[name]
        return settings.get("student"), training, settings.get("rows") or None

    @property
    def task_event(self) -> dict[str, Any]:
        """What the run says of its task and its training data; empty for a run of an older kdda."""
        for event in self.events:
            if event["event"] == "task":
                return event
        return {}

    @property
    def steps(self) -> int:
        """The number of steps that it has taken: the highest that an event names; 0 where none does."""
        last = 0
        for event in self.events:
            last = max(last, event.get("step", 0))
        return last

    @property
    def teachers(self) -> list[dict[str, Any]]:
        """The teachers it was distilled from: their `final-teacher` events, and under `name` a name that differs
        between two teachers made of one model.
        """
        teachers: dict[tuple[str, int], dict[str, Any]] = {}  # by language and number: the last event of each counts
        for event in self.events:
            if event["event"] == "final-teacher":
                language, number = event["language"], event.get("number", 1)
                name = _path_from_here(event["model"]) + self._teacher_rows(language, number - 1)
                teachers[language, number] = {**event, "name": name}
        _tell_apart(list(teachers.values()))
        return list(teachers.values())

    def _teacher_rows(self, language: str, index: int) -> str:
        """What a teacher's name ends with: ", 1,500 rows" where the recipe sets its training rows; else nothing.

        Args:
            index: of the teacher, from 0, among those of its language.
        """
        shared = _item(self.recipe.get("teachers", {}).get(language), index)
        changes = _item((self.arm_settings.get("teachers") or {}).get(language), index)
        rows = {**shared, **changes}.get("rows")
        return f", {count_of(rows, 'row')}" if rows else ""


def _item(settings: Any, index: int) -> dict[str, Any]:
    """The settings of one teacher: the item of a list, or the mapping of all of a language; empty where there is none.

    Args:
        settings: a recipe's, of a language's teachers.
    """
    if isinstance(settings, list):
        settings = settings[index] if index < len(settings) else None
    return settings or {}


def _tell_apart(teachers: list[dict[str, Any]]) -> None:
    """Add their numbers to the names of teachers of one language that have one name."""
    counts = Counter((teacher["language"], teacher["name"]) for teacher in teachers)
    for teacher in teachers:
        if counts[teacher["language"], teacher["name"]] > 1:
            teacher["name"] += f", teacher {teacher['number']}"


def _path_from_here(model: str) -> str:
    """A model's name; of a folder below the working directory, its relative path."""
    path = Path(model)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return model


def is_complete(folder: Path) -> bool:
    """Whether a run or system has finished: its predictions, which are written last, are there."""
    return (folder / PREDICTIONS).is_file()


def missing_model(folder: Path) -> str:
    """Why a model's folder is not there, in a sentence with what gives it back; empty where no run explains it.

    Args:
        folder: the run's folder, or the folder of its model, which is not there.
    """
    run = folder.parent if folder.name == MODEL_FOLDER else folder
    if run.parent.name == TEACHERS:
        return (
            f'no folder "{folder}": of a fine-tuned teacher that kdda clean --models has removed, or that is not made '
            "yet; kdda run fine-tunes it again for the next run that needs it"
        )
    if not is_complete(run) or (run / MODEL_FOLDER).is_dir():
        return ""
    again = f"{retrain_command(run)} trains it again"
    if (run / MODEL_REMOVED).is_file():
        return f"{run}: its model was removed by kdda clean --models; {again}"
    return f"{run}: its model was not saved (--save) or was removed; {again}"


def retrain_command(run: Path, out: str = "NEW_FOLDER") -> str:
    """The command that makes a finished run's model again, in another output folder, where none of its runs is.

    Args:
        run: the run's folder.
        out: the output folder.
    """
    return f"kdda run {quote(str(run / RECIPE))} --seeds {run.name.removeprefix('seed-')} --out {quote(out)}"


def is_system(folder: Path) -> bool:
    """Whether a folder is that of an open-domain system, whose predictions no training has made."""
    return folder.parent.parent.name == SYSTEMS


def read_run(folder: Path) -> Run:
    """A run from its folder, ``seed-<n>``, finished or not.

    Raises:
        BrokenRunError: a file that cannot be read, or that is not a run's.
        KddaError: a recipe with a field that has another name now.
    """
    if not RUN_NAME.fullmatch(folder.name):
        raise BrokenRunError(f"{folder}: no run is named so; a run's folder is seed-<number>")
    try:
        return _read_run(folder)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BrokenRunError(f"{folder}: its files are not those of a run: {error!r:.200}") from None


def _read_run(folder: Path) -> Run:
    """A run from its folder, as far as its files hold what they should."""
    events = read_metrics(folder / METRICS)
    recipe = read_recipe(folder)
    _check_scores(events, str(folder / METRICS))
    return Run(
        folder=folder,
        arm=next(iter(recipe.get("arms", {})), folder.parent.name),  # a run's recipe has its arm alone
        seed=int(folder.name.removeprefix("seed-")),
        test=_by_language(events, "final-test"),
        dev=_by_language(events, "final-dev"),
        seconds=_training_seconds(events),
        learning_rate=next(iter(recipe.get("learning_rates") or []), None),  # and its learning rate
        recipe=recipe,
        environment=parse_object(read_run_file(folder / ENVIRONMENT) or "{}", str(folder / ENVIRONMENT)),
        events=events,
    )


def _check_scores(events: Sequence[dict[str, Any]], where: str) -> None:
    """Refuse scores that lack one of those that the task's event announces, and events of training without a time."""
    names: dict[str, list[str]] = {}
    for event in events:
        if event["event"] == "task":
            names = {"final-dev": [event["metric"]], "final-test": [event["metric"], *event["scores"]]}
        for name in names.get(event["event"], ()):
            check_number(event, name, where)
        if not event["event"].startswith("final"):
            check_number(event, "seconds", where)


def _by_language(events: Iterable[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """The last event of a kind, such as ``final-test``, of each language."""
    return {event["language"]: event for event in events if event["event"] == kind}


def _training_seconds(events: Iterable[dict[str, Any]]) -> float:
    """Seconds at the last event of training; the events that follow are scoring's."""
    seconds = 0.0
    for event in events:
        if not event["event"].startswith("final"):
            seconds = max(seconds, float(event["seconds"]))
    return seconds


def read_recipe(folder: Path) -> dict[str, Any]:
    """A run folder's recipe; empty where there is none.

    Raises:
        BrokenRunError: it is not a recipe.
        KddaError: a field that has another name now.
    """
    path = folder / RECIPE
    try:
        recipe: dict[str, Any] = yaml.load(read_run_file(path), Loader=LOADER) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).replace("\n", " ")
        raise BrokenRunError(f"{path}: not YAML: {reason}") from None
    if not isinstance(recipe, dict):
        raise BrokenRunError(f"{path}: got {type(recipe).__name__}, expected a recipe's fields")
    messages = [name.message for name in old_names(recipe)]
    if messages:
        raise KddaError(
            f"{path} was written by an older kdda: {'; '.join(messages)}; rename these fields there, or run it again"
        )
    return recipe


def find_runs(folder: Path) -> list[Run]:
    """All finished runs below a folder, ordered by arm and seed.

    What is no run, such as a copy under another name, a stray predictions.jsonl or a folder with a torn file, is left
    out, and a warning names it.

    Raises:
        KddaError: recipes with fields that have other names now; every such folder is named.
    """
    runs: list[Run] = []
    refused: dict[Path, KddaError] = {}
    for path in sorted(folder.rglob(PREDICTIONS)):
        if not is_system(path.parent):
            try:
                _check_predictions(path)
                run = read_run(path.parent)
                _check_recipe(run)
                runs.append(run)
            except BrokenRunError as error:
                logger.warning("left out, since it is no whole run: %s", error)
            except KddaError as error:
                refused[path.parent] = error
    if refused:
        raise _refusal_of_folders(refused)
    return sorted(runs, key=lambda run: (run.arm, run.seed))


def _check_recipe(run: Run) -> None:
    """Refuse a finished run whose recipe does not say what was run; reports tell of a recipe that is missing."""
    for name in ("name", "task", "target"):
        value = run.recipe.get(name)
        is_text = isinstance(value, str)
        if name == "target" and isinstance(value, list):
            is_text = bool(value) and all(isinstance(language, str) for language in value)
        if run.recipe and not is_text:
            raise BrokenRunError(f"{run.folder / RECIPE}: a recipe with {name} {value!r:.40}")
    problem = _wrong_field(run.recipe)
    if not problem and run.is_distilled and "lambda" not in run.recipe.get("distill", ()):
        problem = "an arm is distilled, and distill.lambda is missing"
    if problem:
        raise BrokenRunError(f"{run.folder / RECIPE}: {problem}")


def _wrong_field(recipe: Mapping[str, Any]) -> str:
    """What is wrong with the first field that no recipe can have; empty where all that are there could be.

    Fields may be missing, and others may be there: a run of another version of kdda is a run, too.
    """
    try:
        Recipe.model_validate(recipe)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False):
            if detail["type"] not in ("missing", "extra_forbidden"):
                return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
    return ""


def _check_predictions(path: Path) -> None:
    """Refuse predictions that were cut, by their end alone, since they may be large.

    Raises:
        BrokenRunError: no file, an empty one, or one whose last line has no end.
    """
    if not path.is_file() or not path.stat().st_size:
        raise BrokenRunError(f"{path} holds no prediction")
    with path.open("rb") as file:
        file.seek(-1, 2)
        if file.read() != b"\n":
            raise BrokenRunError(f"{path}: its last line is cut")


def _refusal_of_folders(refused: Mapping[Path, KddaError]) -> KddaError:
    """One error for several folders: the first in full, the others by name."""
    first, *others = refused
    message = str(refused[first])
    if others:
        message += f"; the same holds for {', '.join(map(str, others))}"
    return KddaError(message)
