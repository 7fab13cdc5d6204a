"""The teacher check: is a teacher better than the students without one, on development rows? Table, warnings, leads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from kdda.report.comparison import Comparison, score_name, undistilled_arms
from kdda.report.render import Table
from kdda.runs.folder import RANDOM, Run

EXPLANATION = (
    "On the development rows of the teacher's language: the teacher's score, beside those of the arms without a "
    "teacher that its students are compared with. A teacher should be better than they are."
)


FULL_MARKS = 100.0  # the best score that there is, of every metric


@dataclass(frozen=True)
class TeacherScore:
    """A teacher's score on the development rows of its language.

    Attributes:
        name: its model, and its number of training rows where the recipe sets it.
        students: undistilled arm → its mean score on the same rows, over seeds, of the arms that the teacher's
            students are compared with.
    """

    language: str
    name: str
    score: float
    students: dict[str, float]

    @property
    def label(self) -> str:
        """The teacher in tables and figures: "language, name"."""
        return f"{self.language}, {self.name}"

    @property
    def is_control(self) -> bool:
        """Whether the teacher has random weights, to show what distillation from one that knows nothing does."""
        return RANDOM in self.name

    @property
    def warning(self) -> str:
        """Why the teacher is of little use; empty where it is better than every student without a teacher."""
        if not self.students or self.is_control:
            return ""
        best = max(self.students, key=lambda arm: self.students[arm])
        score = self.students[best]
        if self.score > score:
            return ""
        if self.score == score >= FULL_MARKS:
            return (
                f"this teacher and the student it teaches are both at {FULL_MARKS:g}: {self.label}, {best}; these "
                "development rows are too easy to tell which of them knows more."
            )
        relation = "only as good as" if f"{self.score:.1f}" == f"{score:.1f}" else "no better than"
        return f"this teacher is {relation} the student it teaches: {self.label} {self.score:.1f}, {best} {score:.1f}."

    def __str__(self) -> str:
        """The teacher's language, its score beside the students', and its name, in one line."""
        scores = [f"teacher {self.score:.1f}"]
        for arm, score in self.students.items():
            scores.append(f"{arm} {score:.1f}")
        verdict = "no better than its student: " if self.warning else ""
        if self.is_control:
            verdict = "a control: "
        return f"{self.language}: {verdict}{', '.join(scores)}; {self.name}"


def teacher_scores(comparison: Comparison) -> list[TeacherScore]:
    """Every teacher of a comparison, ordered by language and name."""
    scores: dict[tuple[str, str], float] = {}  # by language and name
    baselines: dict[tuple[str, str], set[str]] = {}  # the arms that the teacher's students are compared with
    for run in comparison.runs:
        for event in run.teachers:
            teacher = (event["language"], event["name"])
            if comparison.metric not in event:  # there are no development rows of its language
                continue
            scores[teacher] = event[comparison.metric]
            baselines.setdefault(teacher, set()).update(comparison.default_baselines[run.arm])
    teachers = []
    for (language, name), score in sorted(scores.items()):
        students = student_scores(comparison, language, baselines[language, name])
        teachers.append(TeacherScore(language, name, score, students))
    return teachers


def student_scores(comparison: Comparison, language: str, baselines: Collection[str]) -> dict[str, float]:
    """Undistilled arm → its mean score over seeds on a language's development rows, of these baselines."""
    means = {}
    for arm in undistilled_arms(comparison.runs):
        if arm in baselines:
            runs = comparison.by_arm[arm].values()
            means[arm] = fmean(run.dev[language][comparison.metric] for run in runs)
    return means


def compared_students(teachers: Sequence[TeacherScore]) -> list[str]:
    """All arms that some teacher is compared with, each once, in the order of the teachers."""
    arms: dict[str, None] = {}
    for teacher in teachers:
        arms.update(dict.fromkeys(teacher.students))
    return list(arms)


def teacher_warnings(comparison: Comparison) -> list[str]:
    """A sentence for each teacher that is no better than a student without one."""
    warnings = []
    for teacher in teacher_scores(comparison):
        if teacher.warning:
            warnings.append(teacher.warning)
    return warnings


def _last_lead(run: Run, teacher: dict[str, Any]) -> dict[str, Any] | None:
    """The last `teacher-lead` event of a run about one of its teachers; None where there is none.

    Args:
        teacher: one of `run.teachers`.
    """
    last = None
    for event in run.events:
        if event["event"] != "teacher-lead" or event["language"] != teacher["language"]:
            continue
        if event.get("number", 1) == teacher.get("number", 1):
            last = event
    return last


def lead_note(comparison: Comparison) -> str:
    """Which students were ahead of a teacher during training, in one sentence; empty where no run says so or not."""
    leads: dict[str, list[dict[str, Any]]] = {}  # "arm of teacher" → the last event of each run
    for run in comparison.runs:
        for teacher in run.teachers:
            lead = _last_lead(run, teacher)
            if lead is not None:
                pair = f"{run.arm} of {teacher['language']}, {teacher['name']}"
                leads.setdefault(pair, []).append(lead)
    parts = []
    for pair, events in leads.items():
        ahead = [event for event in events if event.get("ahead_since") is not None]
        if ahead:
            first = min(event["ahead_since"] for event in ahead)
            parts.append(f"{pair} (runs: {len(ahead)} of {len(events)}; first at epoch {first:.3g}{_stopped(ahead)})")
    if parts:
        return f"Ahead of a teacher during training: {'; '.join(parts)}."
    if leads:
        return "During training no student was ahead of its teacher."
    return ""


def _stopped(leads: Sequence[dict[str, Any]]) -> str:
    """Whether the teacher of some `teacher-lead` events was stopped, as the end of a list."""
    if any(event.get("stopped") for event in leads):
        return "; the teacher was stopped there"
    return "; distill.stop_when_ahead would stop the teacher there"


def teacher_check(comparison: Comparison) -> Table | None:
    """Each teacher beside the undistilled arms, on its language's development rows; None where no arm is distilled."""
    teachers = teacher_scores(comparison)
    if not teachers:
        return None
    students = compared_students(teachers)
    arms = [arm for arm in undistilled_arms(comparison.runs) if arm in students]
    rows = []
    for teacher in teachers:
        cells = [teacher.label, f"{teacher.score:.1f}"]
        for arm in arms:
            score = teacher.students.get(arm)
            cells.append("" if score is None else f"{score:.1f}")
        rows.append(cells)
    notes = [EXPLANATION]
    for warning in teacher_warnings(comparison):
        notes.append(f"WARNING: {warning}")
    for teacher in teachers:
        if teacher.is_control:
            notes.append(f"Note: {teacher.label}, is a control: it knows nothing, and should be no help.")
    note = lead_note(comparison)
    if note:
        notes.append(note)
    title = f"Teacher check (development set): {score_name(comparison.metric)}"
    return Table(title, ["teacher", "teacher's score", *arms], rows, notes)
