"""The order of runs: teachers first, and each student as soon as the teachers that it needs are ready."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from kdda.experiment.specs import RunSpec, StudentRun, TeacherRun
from kdda.recipe.schema import Recipe

Failures = dict[RunSpec, str]  # the runs that failed → the reason in one line


class Schedule:
    """Which run begins next, for one executor or for the threads of one, which wait while none is ready.

    Args:
        recipe: says which teachers a student needs.
        runs: in the order in which they begin, as far as teachers allow. A teacher that is not among them is ready.
    """

    def __init__(self, recipe: Recipe, runs: Sequence[RunSpec]):
        self._runs = list(runs)
        self._waiting = list(runs)
        self._unfinished = set(runs)
        self._reasons: Failures = {}
        self._needs: dict[RunSpec, list[TeacherRun]] = {}
        for run in runs:
            self._needs[run] = needed_teachers(recipe, run)
        self._changed = threading.Condition()

    @property
    def failures(self) -> Failures:
        """The runs that failed, or whose teacher did, in the order of the runs."""
        failures = {}
        for run in self._runs:
            if run in self._reasons:
                failures[run] = self._reasons[run]
        return failures

    def next(self, wait: bool = True) -> RunSpec | None:
        """A run that is to begin now; None once all have begun.

        Args:
            wait: until one is ready; otherwise None too where none is ready now.
        """
        with self._changed:
            while True:
                self._drop_those_without_teachers()
                for run in self._waiting:
                    if self._unfinished.isdisjoint(self._needs[run]):
                        self._waiting.remove(run)
                        return run
                if not wait or not self._waiting:
                    return None
                self._changed.wait()

    def finish(self, run: RunSpec, reason: str | None) -> None:
        """Note that a run has ended.

        Args:
            reason: why it failed; None if it did not.
        """
        with self._changed:
            self._unfinished.discard(run)
            if reason:
                self._reasons[run] = reason
            self._changed.notify_all()

    def stop(self) -> None:
        """Let no further run begin."""
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()

    def _drop_those_without_teachers(self) -> None:
        """Let the runs fail that wait for a teacher which has failed."""
        for run in list(self._waiting):
            for teacher in self._needs[run]:
                if teacher in self._reasons:
                    self._waiting.remove(run)
                    self._unfinished.discard(run)
                    self._reasons[run] = f"needs {teacher}, which failed"
                    break


def needed_teachers(recipe: Recipe, run: RunSpec) -> list[TeacherRun]:
    """The teachers that must be ready before a run begins: those that a student starts as or is distilled from."""
    if not isinstance(run, StudentRun):
        return []
    teachers = []
    for language, spec in recipe.needed_teachers(run.arm):
        teachers.append(TeacherRun(language, spec))
    return teachers
