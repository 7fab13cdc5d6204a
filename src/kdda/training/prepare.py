"""Teachers: fine-tuned on their language first (docs/method.md, 1), stored once; what their fingerprint holds."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any

from kdda.errors import KddaError, unknown_choice
from kdda.models.classes import has_head
from kdda.models.depth import Layers
from kdda.models.load import Checkpoint, load_config
from kdda.recipe.schema import ModelSpec, TeacherSpec
from kdda.runs.folder import CHECKPOINTS, METRICS, MODEL_FOLDER, RANDOM, TEACHER_RECORD
from kdda.runtime import distributed
from kdda.runtime.files import write_atomically
from kdda.runtime.progress import Say
from kdda.tasks.prediction import predict
from kdda.training.config import DistillationConfig
from kdda.training.data import TrainingData
from kdda.training.fine_tune import Model, load_model, name_of

# The arguments that decide what a fine-tuned teacher is; the others say how, where or how fast it is computed.
DECISIVE = (
    "learning_rate",
    "num_train_epochs",
    "per_device_train_batch_size",
    "weight_decay",
    "max_grad_norm",
    "warmup_steps",
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "max_steps",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "eval_strategy",
    "eval_steps",
    "load_best_model_at_end",
    "max_length",
    "stride",
    "head",
    "attention_dropout",
    "precision",
)

# JSON that is the same for equal values, for a digest; a dataclass within them is written as an object.
_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True, default=asdict).encode


@dataclass(frozen=True)
class Teacher:
    """A teacher of one language.

    Args:
        model: a name, a folder, or a pair of a model and its tokenizer.
        fine_tune: True fine-tunes it on its language's training rows first; False takes it as it is; None fine-tunes it
            unless its config says that it was fine-tuned for labels of the task's names.
        train: the language whose labelled rows it is fine-tuned on; the teacher's by default, which may have no labels.
        segmenter: how its tokenizer expects words to be segmented; by default what the checkpoint says.
        layers: keep so many layers, evenly spaced; ``first 6``; or a list of layers from 0; all by default.
        weight: of its divergence, beside the distillation weight λ.
        seed: of its fine-tuning.
        training: arguments of its fine-tuning that differ from the student's, by their `DistillationConfig` names.
        random: a control: the model's shape with weights drawn by `seed`, not fine-tuned.
        align: how its states come into the student's space: ``"none"``, ``"procrustes"``, ``"learned"``; by default as
            the student's `DistillationConfig` says.

    >>> Teacher("vinai/phobert-base", training={"num_train_epochs": 3}).fine_tune is None
    True
    """

    model: Model
    fine_tune: bool | None = None
    segmenter: str | None = None
    layers: Layers | None = None
    weight: float = 1.0
    seed: int = 1
    training: Mapping[str, Any] = field(default_factory=dict)
    random: bool = False
    align: str | None = None
    train: str | None = None

    @classmethod
    def from_spec(cls, spec: TeacherSpec) -> Teacher:
        """A teacher as a recipe specifies it."""
        return cls(
            spec.model,
            fine_tune=not spec.finetuned,
            segmenter=spec.segmenter,
            layers=spec.layers,
            weight=spec.weight,
            seed=spec.seed,
            training=_as_arguments(spec.training.model_dump(exclude_none=True)),
            random=spec.random,
            align=spec.align,
            train=spec.train,
        )

    @property
    def name(self) -> str:
        """What messages and tables call it."""
        name = name_of(self.model)
        return f"{name}{RANDOM}" if self.random else name

    @property
    def source(self) -> Model:
        """What loads it."""
        if isinstance(self.model, tuple):
            return self.model
        return ModelSpec(model=name_of(self.model), layers=self.layers, segmenter=self.segmenter)


@dataclass(frozen=True)
class PreparedTeacher:
    """A teacher that is ready to distil from.

    Attributes:
        dev: its scores on the development rows of its language; empty where there are none.
        open: loads the fine-tuned model.
        seconds: of its fine-tuning; None where it was not fine-tuned here.
        weight: of its divergence.
        align: as `Teacher` has it.
    """

    language: str
    name: str
    dev: Mapping[str, Any]
    open: Callable[[], Checkpoint]
    seconds: float | None = None
    weight: float = 1.0
    align: str | None = None


TeacherLike = Teacher | PreparedTeacher | Model
"""A teacher as a user names it."""


def as_teachers(value: TeacherLike | Sequence[TeacherLike]) -> list[Teacher | PreparedTeacher]:
    """The teachers of a language as a user names them: one, or a list of several; a tuple is a model's."""
    teachers: list[Teacher | PreparedTeacher] = []
    several: list[Any] = value if isinstance(value, list) else [value]
    for teacher in several:
        teachers.append(teacher if isinstance(teacher, Teacher | PreparedTeacher) else Teacher(teacher))
    return teachers


def teacher_fingerprint(teacher: Teacher, data: TrainingData, args: DistillationConfig) -> str:
    """A name for a teacher that changes with its model, its arguments, its task and every row of its data.

    Args:
        data: of its language alone.
        args: the student's; `teacher.training` says what differs.
    """
    head = [_identity(teacher), repr(data.task), list(data.labels), _decisive(args)]
    digest = hashlib.sha256()
    for part in head:
        digest.update(_json(part).encode() + b"\n")
    for example in chain(data.train[data.target], data.dev.get(data.target, ())):  # never all in memory
        values = {part.name: getattr(example, part.name) for part in fields(example)}
        digest.update(_json({**values, "id": "", "group": ""}).encode() + b"\n")
    return digest.hexdigest()[:12]  # 48 bits


def teacher_folder(teacher: Teacher, data: TrainingData, args: DistillationConfig, store: Path) -> Path:
    """Where a fine-tuned teacher is stored; arguments as in `prepare_teacher`."""
    return store / f"{data.target}-{teacher_fingerprint(teacher, data, args)}"


def is_ready(teacher: Teacher, data: TrainingData, args: DistillationConfig, store: Path) -> bool:
    """Whether a teacher needs no fine-tuning any more; arguments as in `prepare_teacher`."""
    if teacher.random or not _needs_fine_tuning(teacher, data):
        return True
    return (teacher_folder(teacher, data, args, store) / TEACHER_RECORD).is_file()


def prepare_teacher(
    teacher: Teacher, data: TrainingData, args: DistillationConfig, store: Path, say: Say = print
) -> PreparedTeacher:
    """The teacher of one language, fine-tuned now unless it is stored already or taken as it is.

    Args:
        data: of its language alone, which is the target.
        args: the student's; `teacher.training` says what differs while the teacher is fine-tuned.
        store: folder of all teachers; each has a folder below it, named by language and fingerprint.

    Raises:
        KddaError: a teacher that is taken as it is, but lacks the task's head or labels.
    """
    if teacher.random:
        return _as_it_is(teacher, data, args, data.labels)
    if not _needs_fine_tuning(teacher, data):
        return _as_it_is(teacher, data, args, _labels_of(teacher, data))
    if data.target in data.unlabelled:
        raise KddaError(
            f'teachers.{data.target}: "{teacher.name}" is to be fine-tuned, and the rows of "{data.target}" have no '
            "labels: name the language whose rows it is fine-tuned on (train), or say that it is fine-tuned already"
        )
    folder = teacher_folder(teacher, data, args, store)
    record = folder / TEACHER_RECORD
    if distributed.broadcast(record.is_file()):
        say(f"  teacher {data.target}: reused from {folder}")
    else:
        _fine_tune(teacher, data, args, folder, say)
    facts = json.loads(record.read_text(encoding="utf-8"))
    stored = ModelSpec(model=str(folder / MODEL_FOLDER), segmenter=teacher.segmenter)

    def open_stored() -> Checkpoint:
        return load_model(stored, data.task, data.labels)

    return PreparedTeacher(
        data.target, teacher.name, facts["dev"], open_stored, facts.get("seconds"), teacher.weight, teacher.align
    )


def prepare_teacher_of(
    language: str, teacher: Teacher, data: TrainingData, args: DistillationConfig, store: Path, say: Say = print
) -> PreparedTeacher:
    """The teacher of a language, fine-tuned on the language that its `train` names, or else on the teacher's.

    Args:
        data: of all languages that are needed; the rest as for `prepare_teacher`.

    Raises:
        KddaError: as `prepare_teacher`, or no rows of the language that it is to be fine-tuned on.
    """
    source = teacher.train or language
    if source not in data.train:
        raise KddaError(f"teachers.{language}.{unknown_choice('train', source, data.train)}")
    prepared = prepare_teacher(teacher, data.of_language(source), args, store, say)
    if source == language:
        return prepared
    dev: Mapping[str, Any] = {}
    if language in data.dev:
        checkpoint = prepared.open()
        labels = _label_names(checkpoint.model.config) if data.task.labelled else []
        dev = _dev_scores(checkpoint, labels, data, language, args)
    return replace(prepared, language=language, dev=dev)


def _dev_scores(
    checkpoint: Checkpoint, labels: Sequence[str], data: TrainingData, language: str, args: DistillationConfig
) -> dict[str, Any]:
    """A model's scores on the development rows of a language.

    Args:
        labels: in the order of the model's outputs.
    """
    encoder = checkpoint.encoder(args.max_length, args.stride)
    features = data.task.encode(data.dev[language], encoder)
    predictions = predict(checkpoint.model.to(args.device), data.task, features, encoder, labels, language)
    return data.task.score(predictions, labels)


def _fine_tune(teacher: Teacher, data: TrainingData, args: DistillationConfig, folder: Path, say: Say) -> None:
    """Fine-tune a teacher into a folder: its model, its record and its metrics; a cut-off one goes on where it was."""
    from kdda.training.trainer import DistillationTrainer  # which prepares teachers with this module

    trainer = DistillationTrainer(
        _copied(teacher.source),
        train_dataset=data,
        args=_teacher_arguments(teacher, data, args, folder),
        say=say,
    )
    trainer.train(resume_from_checkpoint=True)
    if distributed.is_main_process():
        dev: Mapping[str, Any] = {}
        if data.dev:
            dev = data.task.score(trainer.predict_development(data.target), data.labels)
        trainer.save_model(str(folder / MODEL_FOLDER))
        record = {"model": teacher.name, "dev": dev, "seconds": trainer.metrics_log.seconds}
        write_atomically(folder / TEACHER_RECORD, json.dumps(record, allow_nan=False))
        trainer.remove_checkpoints()
    distributed.barrier()


def _teacher_arguments(
    teacher: Teacher, data: TrainingData, args: DistillationConfig, folder: Path
) -> DistillationConfig:
    """The student's arguments, with what differs while a teacher is fine-tuned."""
    changes: dict[str, Any] = {
        "output_dir": str(folder / CHECKPOINTS),
        "metrics_file": f"../{METRICS}",
        "run_name": f"teacher {data.target}",
        "seed": teacher.seed,
        "push_to_hub": False,
        **teacher.training,
    }
    return replace(args, **changes)


def _as_it_is(teacher: Teacher, data: TrainingData, args: DistillationConfig, labels: Sequence[str]) -> PreparedTeacher:
    """A teacher that is not fine-tuned here, scored under its order of labels."""
    seed = teacher.seed if teacher.random else None

    def open_teacher() -> Checkpoint:
        return load_model(teacher.source, data.task, labels, random=seed, segmenter=teacher.segmenter)

    checkpoint = open_teacher()
    if checkpoint.new_head and not teacher.random:
        raise KddaError(
            f'teachers.{data.target}: "{teacher.name}" is taken as fine-tuned, but lacks a {data.task.head} head'
        )
    dev: Mapping[str, Any] = {}
    if data.target in data.dev:
        dev = _dev_scores(checkpoint, labels, data, data.target, args)
    return PreparedTeacher(data.target, teacher.name, dev, open_teacher, weight=teacher.weight, align=teacher.align)


def _copied(model: Model) -> Model:
    """A user's model object as a copy of it, since fine-tuning changes weights."""
    return (copy.deepcopy(model[0]), model[1]) if isinstance(model, tuple) else model


def _needs_fine_tuning(teacher: Teacher, data: TrainingData) -> bool:
    """What `fine_tune` says; by default whether a config lacks the task's head or has other labels."""
    if teacher.fine_tune is not None:
        return teacher.fine_tune
    config = _config_of(teacher)
    is_of_task = getattr(config, "kdda_task", None) == data.task.name
    if not data.task.labelled:
        return not is_of_task
    is_finetuned = is_of_task or has_head(config, data.task.head)
    return not is_finetuned or set(_label_names(config)) != set(data.labels)


def _labels_of(teacher: Teacher, data: TrainingData) -> list[str]:
    """The labels of a fine-tuned teacher, in the order of its outputs."""
    if not data.task.labelled:
        return []
    return check_labels(data.target, teacher, data.labels)


def check_labels(language: str, teacher: Teacher, labels: Sequence[str]) -> list[str]:
    """The labels of a fine-tuned teacher, in the order of its outputs, if they are a task's in any order.

    Raises:
        KddaError: other labels; names both.
    """
    names = _label_names(_config_of(teacher))
    if set(names) != set(labels):
        raise KddaError(
            f'teachers.{language}: "{teacher.name}" is taken as fine-tuned, but its labels are '
            f"{', '.join(names)}; the task's are {', '.join(labels)}"
        )
    return names


def _label_names(config: Any) -> list[str]:
    """A config's label names in the order of the head's outputs."""
    return [str(label) for _, label in sorted((config.id2label or {}).items())]


def _config_of(teacher: Teacher) -> Any:
    """A teacher's config, read without its weights."""
    if isinstance(teacher.model, tuple):
        return teacher.model[0].config
    return load_config(name_of(teacher.model))


def _identity(teacher: Teacher) -> dict[str, Any]:
    """What decides a teacher's weights. A local folder's content may change under one name: its files belong to it."""
    if isinstance(teacher.model, tuple):
        from kdda.models.fingerprint import weights_fingerprint

        model: Any = weights_fingerprint(teacher.model[0], "teacher")
    else:
        model = name_of(teacher.model)
    files = []
    if isinstance(model, str) and Path(model).is_dir():
        for path in sorted(Path(model).glob("*.safetensors")):
            files.append([path.name, path.stat().st_size, path.stat().st_mtime_ns])
    return {
        "model": model,
        "segmenter": teacher.segmenter,
        "layers": teacher.layers,
        "seed": teacher.seed,
        "training": dict(teacher.training),
        "files": files,
    }


def _decisive(args: DistillationConfig) -> dict[str, Any]:
    """The arguments that `DECISIVE` names, with their values; of enumerations the text."""
    values = {}
    for name in DECISIVE:
        value = getattr(args, name)
        values[name] = getattr(value, "value", value)
    return values


def _as_arguments(changes: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's names of training fields as `TrainingArguments` has them."""
    names = {"epochs": "num_train_epochs", "batch_size": "per_device_train_batch_size"}
    return {names.get(name, name): value for name, value in changes.items()}
