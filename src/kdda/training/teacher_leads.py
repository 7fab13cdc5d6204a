"""`TeacherLeads`: which teachers lead the student on development rows during training, and which are stopped."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdda.runtime.files import write_atomically
from kdda.training.prepare import PreparedTeacher

STUDENT_AHEAD = "student-ahead.json"  # in each checkpoint of a training whose student was ahead of a teacher


@dataclass(frozen=True)
class TeacherLead:
    """A teacher's score beside its student's, after an evaluation of the training.

    Attributes:
        language: whose development rows were read.
        number: of the teacher, from 1, where its language has several; None for an only one.
        name: of its model.
        student: the student's score, in per cent.
        teacher: the teacher's.
        ahead_since: the epoch of the first evaluation at which the student was ahead; None as long as it was at none.
        is_stopped: whether the student is no longer distilled from it.
    """

    language: str
    number: int | None
    name: str
    student: float
    teacher: float
    ahead_since: float | None
    is_stopped: bool

    def event(self) -> dict[str, Any]:
        """The fields of a ``teacher-lead`` event of metrics.jsonl."""
        facts: dict[str, Any] = {"language": self.language, "model": self.name}
        if self.number is not None:
            facts["number"] = self.number
        facts |= {"student": self.student, "teacher": self.teacher, "ahead_since": self.ahead_since}
        facts["stopped"] = self.is_stopped
        return facts

    def describe(self, epoch: float) -> str:
        """The teacher's score and what follows from it, as a part of a line.

        Args:
            epoch: of this evaluation.
        """
        name = "its teacher" if self.number is None else f"its teacher {self.name}"
        return f"{name} {self.teacher:.1f} {self._verdict(epoch)}"

    def _verdict(self, epoch: float) -> str:
        """In brackets whether the teacher leads, and whether it is, was or would be stopped."""
        if self.ahead_since is None:
            return "(it leads)" if self.teacher > self.student else "(level)"
        is_first = self.ahead_since == epoch
        if self.is_stopped:
            return "(no longer leads: stopped)" if is_first else f"(stopped at epoch {self.ahead_since:.3g})"
        if is_first:
            return "(no longer leads: stop_when_ahead would stop it here)"
        return f"(stop_when_ahead would have stopped it at epoch {self.ahead_since:.3g})"


class TeacherLeads:
    """Which teachers a student is distilled from, by what the evaluations of its training have shown so far.

    Every teacher, until the student's score on the development rows of its language is above the teacher's and
    `stops` holds: then the teacher is stopped for the rest of the training.

    Args:
        teachers: language → its teachers.
        metric: the task's score that is compared; more is better.
        stops: `DistillationConfig.stop_when_ahead`.
    """

    def __init__(self, teachers: Mapping[str, Sequence[PreparedTeacher]], metric: str, stops: bool):
        self.teachers = teachers
        self.metric = metric
        self.stops = stops
        # language and index of each teacher that the student was ahead of → the epoch of the first such evaluation
        self._ahead_since: dict[tuple[str, int], float] = {}

    def active(self, language: str) -> list[int]:
        """The indices of the teachers that rows of a language are distilled from now."""
        indices = []
        for index in range(len(self.teachers.get(language, ()))):
            if not self._is_stopped(language, index):
                indices.append(index)
        return indices

    def compare(self, scores: Mapping[str, float], epoch: float) -> list[TeacherLead]:
        """Compare the student with all teachers whose scores are known; those that it is ahead of may be stopped.

        Args:
            scores: language → the student's score on its development rows, in per cent.
            epoch: of the evaluation, with fractions.
        """
        leads = []
        for language, student in scores.items():
            teachers = self.teachers.get(language, ())
            for index, teacher in enumerate(teachers):
                if self.metric not in teacher.dev:
                    continue
                score = float(teacher.dev[self.metric])
                if student > score:
                    self._ahead_since.setdefault((language, index), epoch)
                leads.append(
                    TeacherLead(
                        language=language,
                        number=index + 1 if len(teachers) > 1 else None,
                        name=teacher.name,
                        student=student,
                        teacher=score,
                        ahead_since=self._ahead_since.get((language, index)),
                        is_stopped=self._is_stopped(language, index),
                    )
                )
        return leads

    def describe(self, leads: Sequence[TeacherLead], epoch: float) -> str:
        """One line about the teachers of an evaluation.

        Args:
            leads: of this evaluation, by `compare`.
            epoch: of the same evaluation.
        """
        parts: dict[str, str] = {}  # language → the student's score, and those of its teachers
        for lead in leads:
            before = parts.get(lead.language, f"{lead.language} {lead.student:.1f}")
            parts[lead.language] = f"{before}, {lead.describe(epoch)}"
        metric = self.metric.replace("_", "-")
        return f"epoch {epoch:.3g}, {metric} on development rows: {'; '.join(parts.values())}"

    def scalars(self, leads: Sequence[TeacherLead]) -> dict[str, float]:
        """What trackers are told of an evaluation's leads, in per cent, by names such as ``eval_vi_teacher_lead``.

        Of each teacher its score, and how far it is above its student: negative where the student is ahead.
        """
        values = {}
        for lead in leads:
            number = "" if lead.number is None else f"_{lead.number}"
            name = f"eval_{lead.language}_teacher{number}"
            values[f"{name}_{self.metric}"] = lead.teacher
            values[f"{name}_lead"] = lead.teacher - lead.student
        return values

    def never_stopped(self, evaluated: Collection[str]) -> list[str]:
        """With `stops`, a sentence for each language or teacher that no evaluation can stop.

        Args:
            evaluated: the languages whose development rows are read during training.
        """
        lines: list[str] = []
        if not self.stops:
            return lines
        for language, teachers in self.teachers.items():
            if language not in evaluated:
                lines.append(
                    f"{language} is never stopped (stop_when_ahead): training reads no development rows of it, only "
                    "those of the target languages"
                )
                continue
            for teacher in teachers:
                if self.metric not in teacher.dev:
                    lines.append(
                        f"{language}, teacher {teacher.name} is never stopped (stop_when_ahead): its {self.metric} on "
                        "development rows is not known"
                    )
        return lines

    def save(self, checkpoint: Path) -> None:
        """Write into a checkpoint's folder which teachers the student was ahead of; no file where there is none."""
        if self._ahead_since:
            entries = []
            for (language, index), epoch in self._ahead_since.items():
                entries.append([language, index, epoch])
            write_atomically(checkpoint / STUDENT_AHEAD, json.dumps(entries))

    def load(self, checkpoint: Path) -> None:
        """Read what `save` has written, so that a resumed training goes on as it would have."""
        self._ahead_since = {}
        path = checkpoint / STUDENT_AHEAD
        if path.is_file():
            for language, index, epoch in json.loads(path.read_text(encoding="utf-8")):
                self._ahead_since[language, index] = epoch

    def _is_stopped(self, language: str, index: int) -> bool:
        """Whether a teacher is stopped."""
        return self.stops and (language, index) in self._ahead_since
