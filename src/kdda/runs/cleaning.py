"""What `kdda clean` removes: checkpoints, teacher states and, if asked for, models; nothing that a process uses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from kdda.errors import KddaError
from kdda.runs.folder import CHECKPOINTS, MODEL_FOLDER, MODEL_REMOVED, is_complete
from kdda.runs.listing import check_is_folder, run_folders, state_folders, teacher_folders
from kdda.runtime.folders import folder_size
from kdda.runtime.lock_files import is_locked, lock_of

# What is removed, in the words of the list.
LEFT_OVER = "checkpoints of a finished run"
UNFINISHED = "checkpoints: the run starts again"
UNFINISHED_TEACHER = "checkpoints: the teacher starts again"
TEACHER_STATES = "teacher states: the next run computes them again"
STUDENT = "the model of a run; its scores and predictions stay"
TEACHER = "a fine-tuned teacher: the next run fine-tunes it again"


@dataclass(frozen=True)
class Removable:
    """A folder that can be removed.

    Attributes:
        folder: what is removed, whole.
        what: it is, in words.
        size: in bytes.
        guarded: the folder whose lock is held while it is removed; None for what has no lock.
    """

    folder: Path
    what: str
    size: int
    guarded: Path | None = None

    def remove(self) -> None:
        """Remove the folder.

        Raises:
            KddaError: a process has begun to use it.
            OSError: it cannot be removed.
        """
        try:
            with lock_of(self.guarded).acquire(timeout=0) if self.guarded else nullcontext():
                shutil.rmtree(self.folder)
                if self.what == STUDENT:
                    note = "kdda clean --models has removed the model of this run\n"
                    self.folder.with_name(MODEL_REMOVED).write_text(note, encoding="utf-8")
        except Timeout:
            raise KddaError(f"{self.folder}: a process uses it now; wait for it, and clean again") from None


@dataclass(frozen=True)
class Cleaning:
    """What can be removed below a folder, and which runs and teachers are in use, so that what they need stays."""

    removable: list[Removable]
    in_use: list[Path]

    @property
    def size(self) -> int:
        """Of all that can be removed, in bytes."""
        return sum(item.size for item in self.removable)

    @classmethod
    def of(cls, root: Path, models: bool) -> Cleaning:
        """What can be removed below a folder.

        Args:
            models: also those of runs, and teachers.

        Raises:
            KddaError: no such folder.
        """
        check_is_folder(root)
        removable: list[Removable] = []
        for folder in run_folders(root):
            if not is_locked(folder):
                removable.extend(_of_run(folder, models))
        in_use = list(_in_use(root))
        for folder in teacher_folders(root):
            out = folder.parent.parent  # of teachers/<language>-<fingerprint>
            if not list(_in_use(out)):
                removable.extend(_of_teacher(folder, models))
        for folder in state_folders(root):
            out = folder.parent.parent  # of teachers/states
            if not list(_in_use(out)) and any(folder.iterdir()):
                removable.append(Removable(folder, TEACHER_STATES, folder_size(folder)))
        return cls(removable, in_use)


def _in_use(out: Path) -> Iterator[Path]:
    """The runs and teachers below an output folder that a process writes now; they may read all teachers there."""
    for folder in run_folders(out):
        if is_locked(folder):
            yield folder
    for folder in teacher_folders(out):
        if is_locked(folder):
            yield folder


def _of_run(folder: Path, models: bool) -> Iterator[Removable]:
    """What can be removed of a student's run."""
    is_finished = is_complete(folder)
    checkpoints = folder / CHECKPOINTS
    if checkpoints.is_dir():
        what = LEFT_OVER if is_finished else UNFINISHED
        yield Removable(checkpoints, what, folder_size(checkpoints), folder)
    model = folder / MODEL_FOLDER
    if models and is_finished and model.is_dir():
        yield Removable(model, STUDENT, folder_size(model), folder)


def _of_teacher(folder: Path, models: bool) -> Iterator[Removable]:
    """What can be removed of a teacher: its whole folder, since its record says that its model is there."""
    checkpoints = folder / CHECKPOINTS
    if models:
        yield Removable(folder, TEACHER, folder_size(folder), folder)
    elif checkpoints.is_dir():
        yield Removable(checkpoints, UNFINISHED_TEACHER, folder_size(checkpoints), folder)
