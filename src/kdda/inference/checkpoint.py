"""A checkpoint's task, label names, window length (384 tokens) and stride (128) where its config does not say them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdda.errors import KddaError
from kdda.models.classes import NO_HEAD, has_head
from kdda.models.families import position_limit
from kdda.tasks.base import Task
from kdda.tasks.registry import TASKS, task_named
from kdda.text.encode import Encoder

MAX_LENGTH = 384  # tokens, for checkpoints whose config does not store how they were trained

STRIDE = 128  # tokens that two windows share, for the same checkpoints


def choose_task(task: str | Task | None, config: Any, name: str, task_options: Mapping[str, Any] | None = None) -> Task:
    """The task of a checkpoint, with the settings that the checkpoint's config stores.

    Args:
        task: a task, or the name of a registered one; by default what the config says: `kdda_task`, which kdda writes
            into it, or else the class of the architecture.
        name: the checkpoint, for messages.
        task_options: options of the task, instead of those that the config stores.

    Raises:
        KddaError: no such task or option, or a checkpoint whose config tells of no task.
    """
    if isinstance(task, Task):
        chosen = task
    elif task:
        chosen = task_named(task)
    else:
        chosen = _task_of_config(config, name)
    return chosen.with_settings(config.to_dict()).with_options(task_options or {})


def _task_of_config(config: Any, name: str) -> Task:
    """The registered task that a checkpoint's config names or whose head it has, without stored settings."""
    stored = getattr(config, "kdda_task", None)
    if stored is None:
        return _task_of_architecture(config, name)
    if stored not in TASKS:
        raise KddaError(
            f'"{name}" is of task "{stored}", which is not registered here: import the module that registers it '
            f"(--plugin MODULE), or name one of: {', '.join(TASKS)}"
        )
    return TASKS[stored]


def _task_of_architecture(config: Any, name: str) -> Task:
    """The first registered task whose head the architecture's class is named after."""
    for task in TASKS.values():
        if task.head != NO_HEAD and has_head(config, task.head):  # any encoder would do for a task without a head
            return task
    raise no_head(name, getattr(config, "architectures", None) or [])


def no_head(name: str, classes: list[str] | None = None) -> KddaError:
    """The refusal of a model without a task's head.

    Args:
        classes: the architectures that its config names.
    """
    architectures = ""
    if classes:
        architectures = f" (its config says {', '.join(classes)})"
    return KddaError(
        f'"{name}" has no head of a task (one of: {", ".join(TASKS)}){architectures}: give a fine-tuned checkpoint, '
        "such as the model folder of a run that kdda run has made"
    )


def label_names(config: Any) -> list[str]:
    """Names of a classification head's outputs, in their order."""
    return [str(config.id2label[i]) for i in sorted(config.id2label)]


def counted(counts: Mapping[str, int]) -> list[str]:
    """What was truncated, split, skipped or repaired, as lines for a person.

    >>> counted({"texts of more than 128 tokens (max_length), read in parts": 1200, "bad rows": 0})
    ['1,200 × texts of more than 128 tokens (max_length), read in parts']
    """
    lines = []
    for reason, count in counts.items():
        if count:
            lines.append(f"{count:,} × {reason}")
    return lines


def encoder_of_config(config: Any, tokenizer: Any, segmenter: str) -> Encoder:
    """The encoder that a checkpoint was trained with, as far as its config stores it."""
    max_length = min(getattr(config, "kdda_max_length", MAX_LENGTH), position_limit(config))
    return Encoder(tokenizer, segmenter, max_length, getattr(config, "kdda_stride", STRIDE))
