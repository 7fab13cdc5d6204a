"""Teachers: fine-tuned on their own language first (docs/method.md, 1), stored once, and reused by fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from kdda.data.examples import Example
from kdda.errors import KddaError
from kdda.models.load import Checkpoint, load_config
from kdda.recipe.schema import ModelSpec, TeacherSpec, Training
from kdda.runs.folder import MODEL_FOLDER
from kdda.runtime import distributed
from kdda.runtime.files import write_atomically
from kdda.runtime.progress import Say
from kdda.tasks.base import Task, predict
from kdda.training.fine_tune import Job, fine_tune, load_for, scores_by_language

RECORD = "teacher.json"  # written last: a teacher that has it is complete

SAME_TEACHER = {"gradient_checkpointing", "compile"}  # how it was computed, not what


@dataclass(frozen=True)
class Teacher:
    """A fine-tuned, frozen teacher and its scores on the development rows of its language.

    Attributes:
        seconds: time of its fine-tuning; None for a teacher that was not fine-tuned here.
    """

    language: str
    name: str
    checkpoint: Checkpoint
    dev: Mapping[str, Any]
    seconds: float | None = None


@dataclass(frozen=True)
class Lessons:
    """What a teacher is fine-tuned on."""

    language: str
    task: Task
    labels: Sequence[str]
    train: Sequence[Example]
    dev: Sequence[Example]
    training: Training


def teacher_fingerprint(spec: TeacherSpec, lessons: Lessons) -> str:
    """A name for a teacher that changes with its model, its settings, its task and every row of its data."""
    training = lessons.training.model_dump(exclude=SAME_TEACHER)
    head = [_identity(spec), repr(lessons.task), list(lessons.labels), training]
    rows = ({**asdict(own), "id": "", "group": ""} for own in chain(lessons.train, lessons.dev))
    digest = hashlib.sha256(f"[{', '.join(map(_json, head))}, [".encode())
    for k, row in enumerate(rows):  # the JSON of one list of all, never held whole
        digest.update(f"{', ' if k else ''}{_json(row)}".encode())
    digest.update(b"]]")
    return digest.hexdigest()[:12]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _identity(spec: TeacherSpec) -> dict[str, Any]:
    """A local folder's content may change under the same name, so its weights' size and time belong to it."""
    files = sorted(Path(spec.model).glob("*.safetensors")) if Path(spec.model).is_dir() else []
    return {**spec.model_dump(), "files": [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]}


def folder_of(spec: TeacherSpec, lessons: Lessons, store: Path) -> Path:
    """Where the store keeps a teacher."""
    return store / f"{lessons.language}-{teacher_fingerprint(spec, lessons)}"


def is_ready(spec: TeacherSpec, lessons: Lessons, store: Path) -> bool:
    """Whether a teacher needs no fine-tuning any more."""
    return spec.random or spec.finetuned or (folder_of(spec, lessons, store) / RECORD).is_file()


def prepare_teacher(spec: TeacherSpec, lessons: Lessons, store: Path, say: Say = print) -> Teacher:
    """The teacher of one language, fine-tuned now unless the store holds it already or the recipe calls it finished.

    Args:
        store: folder of all teachers; each has its own below it, named by language and fingerprint.
    """
    if spec.random:
        return _measured(spec, lessons, load_for(lessons.task, spec, lessons.labels, random=spec.seed), lessons.labels)
    if spec.finetuned:
        return _finished(spec, lessons)
    folder = folder_of(spec, lessons, store)
    record = folder / RECORD
    if distributed.broadcast(record.is_file()):
        say(f"  teacher {lessons.language}: reused from {folder}")
    else:
        _make(spec, lessons, folder, say)
    made = ModelSpec(model=str(folder / MODEL_FOLDER), segmenter=spec.segmenter)
    checkpoint = load_for(lessons.task, made, lessons.labels)
    facts = json.loads(record.read_text(encoding="utf-8"))
    return Teacher(lessons.language, spec.model, checkpoint, facts["dev"], facts.get("seconds"))


def _finished(spec: TeacherSpec, lessons: Lessons) -> Teacher:
    """A teacher that was fine-tuned elsewhere, scored under its own order of labels."""
    own = _own_labels(spec, lessons) if lessons.task.labelled else []
    checkpoint = load_for(lessons.task, spec, own)
    if checkpoint.new_head:
        raise KddaError(
            f'teachers.{lessons.language}: "{spec.model}" is called finetuned, but lacks a {lessons.task.head} head'
        )
    return _measured(spec, lessons, checkpoint, own)


def _measured(spec: TeacherSpec, lessons: Lessons, checkpoint: Checkpoint, own: Sequence[str]) -> Teacher:
    """A teacher that is not fine-tuned here, with its scores; `own` are the labels in its outputs' order."""
    encoder = checkpoint.encoder(lessons.training.max_length, lessons.training.stride)
    features = lessons.task.encode(lessons.dev, encoder)
    found = predict(checkpoint.model, lessons.task, features, encoder, own, lessons.language)
    name = f"{spec.model} with random weights" if spec.random else spec.model
    return Teacher(lessons.language, name, checkpoint, lessons.task.score(found, own))


def _own_labels(spec: TeacherSpec, lessons: Lessons) -> list[str]:
    own = [str(label) for _, label in sorted((load_config(spec.model).id2label or {}).items())]
    if set(own) != set(lessons.labels):
        raise KddaError(
            f'teachers.{lessons.language}: "{spec.model}" is called finetuned, but its labels are {", ".join(own)}; '
            f"the task's are {', '.join(lessons.labels)}"
        )
    return own


def _make(spec: TeacherSpec, lessons: Lessons, folder: Path, say: Say) -> None:
    language = lessons.language
    job = Job(
        name=f"teacher {language}",
        task=lessons.task,
        labels=lessons.labels,
        model=spec,
        train={language: lessons.train},
        dev={language: lessons.dev},
        target=language,
        training=lessons.training,
        seed=spec.seed,
        folder=folder,
    )
    student = fine_tune(job, say)
    if distributed.is_main_process():
        dev = scores_by_language(student, job.dev)[language]
        student.save()
        write_atomically(folder / RECORD, json.dumps({"model": spec.model, "dev": dev, "seconds": student.log.seconds}))
    distributed.barrier()
