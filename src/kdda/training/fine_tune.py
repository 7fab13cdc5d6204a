"""The steps of a fine-tuning: load the student, encode, cache teachers, initialize the head, restore the vocabulary.

`load_student` → `encode` → `build_teacher_caches` → training (`DistillationTrainer.train`) → `restore_vocabulary`.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from kdda.errors import KddaError
from kdda.inference.checkpoint import counted
from kdda.models.classes import NO_HEAD
from kdda.models.depth import Layers, keep_layers
from kdda.models.heads import HeadInputs, head_inputs, standardize_by
from kdda.models.hidden_states import hidden_at
from kdda.models.load import Checkpoint, load_checkpoint
from kdda.models.vocabulary import TrimmedVocabulary, decay_of_unused
from kdda.recipe.schema import ModelSpec
from kdda.runs.folder import STATES, TEACHERS
from kdda.runtime import distributed
from kdda.runtime.numbers import ceil_div, count_of
from kdda.runtime.progress import Say
from kdda.tasks.base import Task
from kdda.tasks.features import Features
from kdda.teachers.align import LearnedMaps, pooled_chunks
from kdda.teachers.cache import BATCH_WINDOWS, TeacherCache, calibration_rows, in_eval_mode
from kdda.text.encode import Encoder
from kdda.training.config import DistillationConfig
from kdda.training.data import TrainingData
from kdda.training.reuse import Reuse
from kdda.training.sampler import batches_an_epoch

HEAD_ROWS = 128  # of a language, for the head's initialization; an eighth of them where a head reads all tokens


@dataclass(frozen=True)
class FromTeacher:
    """A student that starts as a teacher: with the fine-tuned teacher's weights, head and tokenizer.

    Args:
        language: the teacher's.
        layers: of that teacher, those that stay: so many, evenly spaced; ``first 6``; or a list from 0; all by default.
        teacher: the teacher; by default the first one of its language that the student is distilled from.

    >>> FromTeacher("en", layers=6).layers
    6
    """

    language: str
    layers: Layers | None = None
    teacher: Any = None


Model = str | Path | ModelSpec | tuple[Any, Any]
"""A model by its name or folder, as a recipe specifies it, or as a pair of a model and its tokenizer."""


@runtime_checkable
class OpensCheckpoint(Protocol):
    """A prepared teacher, as far as its states are concerned."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def align(self) -> str | None:
        """How its states come into the student's space; None for what the student's arguments say."""
        ...

    @property
    def open(self) -> Callable[[], Checkpoint]:
        """Loads the fine-tuned model."""
        ...


@dataclass(frozen=True)
class EncodedData:
    """Training data as the student reads it.

    Attributes:
        train: language → windows of the training examples.
        dev: target language → windows of its development examples; empty without any.
        encoder: the student's.
        truncated: what did not fit of the training examples, by kind.
    """

    train: Mapping[str, Features]
    dev: Mapping[str, Features]
    encoder: Encoder
    truncated: Counter[str]

    @property
    def used_ids(self) -> set[int]:
        """Every token id that occurs."""
        used: set[int] = set()
        for features in [*self.train.values(), *self.dev.values()]:
            used |= features.windows.used
        used.add(int(self.encoder.tokenizer.pad_token_id))
        return used


def name_of(model: Model) -> str:
    """What messages call a model."""
    if isinstance(model, ModelSpec):
        return model.model
    if isinstance(model, tuple):
        return str(getattr(model[0], "name_or_path", "") or type(model[0]).__name__)
    return str(model)


def load_model(
    model: Model,
    task: Task,
    labels: Sequence[str],
    attention_dropout: float | None = None,
    random: int | None = None,
    segmenter: str | None = None,
    tokenizer: Any = None,
) -> Checkpoint:
    """A model with the head that a task needs.

    Args:
        model: objects of a user's are used as they are, and must have the head.
        labels: in the order of the head's outputs.
        attention_dropout: instead of the model's.
        random: draw all weights by this seed, whatever the checkpoint holds.
        segmenter: instead of what the checkpoint says.
        tokenizer: the checkpoint's, where it is open already.

    Raises:
        KddaError: as `load_checkpoint`, or objects without the task's head.
    """
    if isinstance(model, tuple):
        checkpoint: Checkpoint = Checkpoint.from_objects(*model, segmenter=segmenter)
        _name_labels(checkpoint, task, labels)
        return checkpoint
    spec = model if isinstance(model, ModelSpec) else ModelSpec(model=str(model))
    return load_checkpoint(
        spec.model,
        head=task.head,
        layers=spec.layers,
        labels=task.output_names(labels),
        segmenter=segmenter or spec.segmenter,
        attention_dropout=attention_dropout,
        random=random,
        tokenizer=tokenizer,
    )


def student_from(teacher: OpensCheckpoint, layers: Layers | None) -> tuple[Any, Any]:
    """A copy of a prepared teacher's model, or of some of its layers, and its tokenizer.

    Raises:
        KddaError: layers that are not there.
    """
    checkpoint = teacher.open()
    model = copy.deepcopy(checkpoint.model)  # a user's teacher object is opened as it is, and must not be trained
    if layers is not None:
        model = keep_layers(model, layers)
    return model, checkpoint.tokenizer


def load_student(
    student: Model, data: TrainingData, args: DistillationConfig, reuse: Reuse, **config: Any
) -> Checkpoint:
    """The student with its task's head, and a config that remembers how it is trained.

    Args:
        reuse: has its tokenizer after the first of several trainings.
        config: further fields that the saved model's config gets.

    Raises:
        KddaError: as `load_model`, or a model or machine that cannot do what `args` asks for.
    """
    checkpoint = load_model(student, data.task, data.labels, args.attention_dropout, tokenizer=reuse.tokenizer)
    reuse.tokenizer = checkpoint.tokenizer
    check_switches(args, checkpoint.model)
    checkpoint.model.config.update(
        {
            "kdda_task": data.task.name,
            "kdda_language": data.target,
            "kdda_max_length": args.max_length,
            "kdda_stride": args.stride,
            **data.task.settings(),
            **config,
        }
    )
    return checkpoint


def encode(data: TrainingData, student: Checkpoint, args: DistillationConfig, reuse: Reuse) -> EncodedData:
    """All training examples, and the development examples that select the model, as windows of the student."""
    encoder = student.encoder(args.max_length, args.stride)
    train = {}
    for language, examples in data.train.items():
        train[language] = reuse.encode(data.task, examples, encoder)
    truncated = encoder.counts.copy()
    dev = {}
    for language in data.targets_with_dev:
        dev[language] = reuse.encode(data.task, data.dev[language], encoder)
    return EncodedData(train, dev, encoder, truncated)


def build_teacher_caches(
    teachers: Mapping[str, Sequence[OpensCheckpoint]],
    student: Checkpoint,
    encoded: EncodedData,
    data: TrainingData,
    args: DistillationConfig,
    reuse: Reuse,
    say: Say = lambda _: None,
) -> dict[str, list[TeacherCache]]:
    """Each teacher's representations of the training rows of its language, in the student's space where it is aligned.

    Terms OT_ε(β, β), which the divergence subtracts and which no training changes, are computed here once.

    Args:
        teachers: language → its fine-tuned teachers, which are opened; the cache keeps a model only where its states
            are not stored.
        student: as it is before training; teachers are mapped into the space of its states.
    """
    loss = args.distillation_loss()
    caches: dict[str, list[TeacherCache]] = {}
    for language, features in encoded.train.items():
        chunks: list[Float64[Tensor, "texts chunks width"]] = []  # the student's, for teachers that are aligned
        for teacher in teachers.get(language, ()):
            is_one_of_several = len(teachers[language]) > 1
            name = f"{language} teacher {teacher.name}" if is_one_of_several else f"{language} teacher"
            cache = _build_cache(name, teacher, features, data, args, reuse, say)
            if is_aligned(teacher, args):
                chunks = chunks or _student_chunks(student, features, encoded.encoder, args)
                cache.align(chunks)  # a closed form, for `procrustes`; for `learned`, where training begins
                _say_alignment(name, cache, args, say)
            cache.precompute_self_terms(loss)
            caches.setdefault(language, []).append(cache)
    return caches


def is_aligned(teacher: OpensCheckpoint, args: DistillationConfig) -> bool:
    """Whether a teacher's states are mapped into the student's space; objectives that never subtract need no map."""
    return (teacher.align or args.align) != "none" and args.distillation_loss().objective.equal_widths


def learned_maps(
    teachers: Mapping[str, Sequence[OpensCheckpoint]], width: int, args: DistillationConfig
) -> LearnedMaps | None:
    """The maps that are trained with the student, a layer of a teacher (`align: learned`); None where there is none.

    Args:
        width: of the student's states.
    """
    layers: dict[str, list[int]] = {}  # language → of each teacher, the number of maps
    for language, several in teachers.items():
        layers[language] = []
        for teacher in several:
            is_learned = is_aligned(teacher, args) and (teacher.align or args.align) == "learned"
            layers[language].append(len(args.layers) if is_learned else 0)
    if not any(map(any, layers.values())):
        return None
    return LearnedMaps(layers, width)


def _say_alignment(name: str, cache: TeacherCache, args: DistillationConfig, say: Say) -> None:
    """Print how a teacher's space was mapped, and the scale of mapped states, a line a layer."""
    for depth, layer in zip(args.layers, cache.layers, strict=True):
        where = f" at depth {depth:g}" if len(args.layers) > 1 else ""
        say(f"  {args.run_name}: {name}{where}: aligned from {layer.map}; its scale s = {layer.scale:.3g}")


@torch.no_grad()
def _student_chunks(
    student: Checkpoint, features: Features, encoder: Encoder, args: DistillationConfig
) -> list[Float64[Tensor, "texts chunks width"]]:
    """The student's states of the calibration rows, pooled in chunks, one tensor a layer; without dropout, in float32.

    In the main process as in all: processes that train one model together must find one map.
    """
    rows = calibration_rows(len(features.windows))
    parts: list[list[Tensor]] = [[] for _ in args.layers]
    with in_eval_mode(student.model):
        for start in range(0, len(rows), BATCH_WINDOWS):
            windows = [features.windows[row] for row in rows[start : start + BATCH_WINDOWS]]
            inputs = {name: values.to(student.model.device) for name, values in encoder.pad(windows).items()}
            counted = encoder.text_mask(windows) if args.tokens == "text" else inputs["attention_mask"]
            outputs = student.model(**inputs, output_hidden_states=True)
            for layer_parts, depth in zip(parts, args.layers, strict=True):
                layer_parts.append(pooled_chunks(hidden_at(outputs, depth).float(), counted))
    return distributed.broadcast([torch.cat(layer_parts) for layer_parts in parts])


def _build_cache(
    name: str,
    teacher: OpensCheckpoint,
    features: Features,
    data: TrainingData,
    args: DistillationConfig,
    reuse: Reuse,
    say: Say,
) -> TeacherCache:
    """A teacher's cache, with a line of what it stores. One that another training has made is used again.

    Args:
        name: of the teacher in that line.
        teacher: is opened unless its states are at hand.
    """
    folder = Path(args.teacher_cache_dir or Path(args.output_dir) / TEACHERS / STATES)
    loss = args.distillation_loss()
    token_task = data.task if loss.needs_logits and data.task.compares_token_logits else None
    settings: dict[str, Any] = {
        "labels": tuple(data.labels) if data.task.compares_logits or token_task else (),
        "layers": tuple(args.layers),
        "tokens": args.tokens,
        "max_length": args.max_length,
        "stride": args.stride,
        "folder": folder if args.teacher_cache_gb > 0 else None,
        "budget": args.teacher_cache_gb * 2**30,
        "precision": args.precision,
        "stored_in": args.teacher_cache_precision,
        "shuffle": args.shuffle_teacher,
        "places": loss.needs_places,
        "token_task": token_task,
        "device": args.device,
    }
    built: list[TeacherCache] = []  # by this training

    def build() -> TeacherCache:
        cache = TeacherCache.build(teacher.open(), data.task.text_spans(features), **settings, say=say)
        built.append(cache)
        return cache.for_another_training()

    kept = reuse.get("teacher cache", [teacher, features], repr(settings), build, keep=_is_stored)
    cache = built[0] if built else kept.for_another_training()
    scales = ", ".join(f"{scale:.3g}" for scale in cache.scales)
    say(f"  {args.run_name}: {name}: {_storage(cache, folder)}; its scale s = {scales}")
    return cache


def _is_stored(cache: TeacherCache) -> bool:
    """Whether a cache needs no teacher in memory any more."""
    return cache.is_stored


def _storage(cache: TeacherCache, folder: Path) -> str:
    """The message's words on a cache: its size, and whether it was stored, read, or is too large."""
    size = f"{cache.stored_bytes / 2**20:,.0f} MB of states"
    if not cache.is_stored:
        return f"{size}, too large to store; the teacher runs in each step"
    if cache.shards_written:
        return f"{size}, stored in {folder}"
    return f"{size}, read from {folder}"


def initialize_head(student: Checkpoint, encoded: EncodedData, task: Task, reuse: Reuse) -> None:
    """Make a new head standardise the states that it reads, of some training rows of every language.

    These states are the same for every training that starts from the model, and the head's random draws are not.

    Raises:
        KddaError: as `standardize_head`.
    """
    every_token = task.states_read == "all tokens"
    device = student.model.device
    inputs = []
    for features in encoded.train.values():

        def read(features: Features = features) -> HeadInputs:
            rows = HEAD_ROWS // 8 if every_token else HEAD_ROWS
            every = ceil_div(len(features.windows), rows)  # every so many windows one: about `rows`, evenly spaced
            padded = encoded.encoder.pad(features.windows[::every])
            batch = {name: values.to(device) for name, values in padded.items()}
            return head_inputs(student.model, batch, every_token)

        inputs.append(reuse.get("inputs of the head", [features], (every_token, str(device)), read))
    standardize_by(student.model, inputs)


def restore_vocabulary(vocabulary: TrimmedVocabulary, args: DistillationConfig, steps: int, until: int) -> None:
    """Put the full embedding back: trained rows as they are, the others decayed as AdamW would have.

    Args:
        steps: of the whole training, which the learning rate's schedule knows.
        until: the step whose weights the model has.
    """
    vocabulary.graft(decay_of_unused(args.learning_rates(steps, until), args.weight_decay))


def check_switches(args: DistillationConfig, model: Any) -> None:
    """Refuse, before training, what this model or machine cannot do.

    Raises:
        KddaError: says which argument.
    """
    kind = model.config.model_type
    checkpoints = args.gradient_checkpointing or getattr(args, "activation_checkpointing", False)
    if checkpoints and not getattr(model, "supports_gradient_checkpointing", False):
        raise KddaError(f"training.gradient_checkpointing: a model of type {kind} cannot compute its layers again")
    if args.torch_compile:
        _check_compiler()


def _check_compiler() -> None:
    """Refuse torch.compile on a machine without a C++ compiler.

    Raises:
        KddaError: says what to install.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise KddaError(
            "training.compile: torch.compile needs a C++ compiler, and there is none; install one (g++), "
            "name it in CXX, or leave training.compile out"
        ) from None


def _name_labels(checkpoint: Checkpoint, task: Task, labels: Sequence[str]) -> None:
    """Give a model object's outputs the task's label names, where it has none.

    Raises:
        KddaError: no head for the task, or another number or set of labels.
    """
    config, name = checkpoint.model.config, checkpoint.name
    if task.head != NO_HEAD and type(checkpoint.model) is type(checkpoint.model.base_model):
        raise KddaError(f'"{name}" has no head; task {task.name} needs one ({task.head}), such as AutoModelFor… gives')
    if not task.labelled:
        return
    names = [str(config.id2label[index]) for index in sorted(config.id2label)]
    if names == list(labels):
        return
    unnamed = all(label.startswith("LABEL_") for label in names)
    if not unnamed or len(names) != len(labels):
        raise KddaError(
            f'"{name}": its labels are {", ".join(names)}; the task\'s are {", ".join(labels)}, in this order'
        )
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}


def describe(name: str, encoded: EncodedData, vocabulary: TrimmedVocabulary, args: DistillationConfig) -> str:
    """One line: rows and tokens by language, steps, the vocabulary's size, and what was truncated."""
    sizes = []
    batches: dict[str, int] = {}
    for language, features in encoded.train.items():
        sizes.append(f"{language} {_size(features)}")
        batches[language] = ceil_div(len(features.item_lengths), args.per_device_train_batch_size)
    steps = f"{count_of(args.num_train_epochs, 'epoch')} of {count_of(sum(batches.values()), 'batch', 'batches')}"
    steps += f" of {args.per_device_train_batch_size}"
    steps += _shares(batches, args.language_temperature)
    parts = [f"  {name}: {', '.join(sizes)}", steps, _embeddings(vocabulary)]
    return "; ".join([*parts, *counted(encoded.truncated)])


def _embeddings(vocabulary: TrimmedVocabulary) -> str:
    """Which rows of the embedding are trained, and what becomes of the others: see `kdda.models.vocabulary`."""
    others = vocabulary.rows - vocabulary.rows_in_use
    trained = f"trains the embeddings of the {vocabulary.rows_in_use:,} tokens that occur"
    if not others:
        return trained
    saved = f"{vocabulary.bytes_saved / 2**20:,.0f} MB less memory"
    return f"{trained}, and puts those of the {others:,} others back at the end ({saved})"


def _shares(batches: Mapping[str, int], temperature: float) -> str:
    """What temperature sampling makes of an epoch, in brackets; nothing where it has no effect.

    Args:
        batches: language → batches that hold each of its rows once.
    """
    shares = batches_an_epoch(batches, temperature)
    if shares == batches:
        return ""
    parts = []
    for language, count in shares.items():
        parts.append(f"{language} {count}")
    return f" (sampling temperature {temperature:g}: {', '.join(parts)})"


def lacking(data: TrainingData, teachers: Mapping[str, Any]) -> list[str]:
    """A sentence for each language without labels, and without a teacher where others have one.

    Args:
        teachers: by the languages that have any.
    """
    lines = []
    for language in data.train:
        if language in data.unlabelled:
            lines.append(f"{language} has no labels: it is distilled from its teacher alone, the task's loss is 0")
        elif teachers and language not in teachers:
            lines.append(f"{language} has no teacher: it trains on the task's loss alone")
    return lines


def data_facts(encoded: EncodedData, unlabelled: Collection[str]) -> dict[str, dict[str, Any]]:
    """Sizes of the training data by language, and which of it has no labels, for the run folder's `task` event."""
    facts: dict[str, dict[str, Any]] = {}
    for language, features in encoded.train.items():
        facts[language] = {
            "rows": len(features.examples),
            "windows": len(features.windows),
            "tokens": _tokens(features),
        }
        if language in unlabelled:
            facts[language]["unlabelled"] = True
    return facts


def _size(features: Features) -> str:
    """Rows and tokens in words; windows too where long rows have several."""
    windows = ""
    if len(features.windows) != len(features.examples):
        windows = f"{count_of(len(features.windows), 'window')}, "
    return f"{count_of(len(features.examples), 'row')} ({windows}{count_of(_tokens(features), 'token')})"


def _tokens(features: Features) -> int:
    """Tokens of all windows."""
    return int(features.lengths.sum(dtype=np.int64))
