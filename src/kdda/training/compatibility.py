"""Checks before training, from configs alone: whether a loss fits task, teacher, student (widths, logits, tokens)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from kdda.errors import KddaError
from kdda.losses.distillation import DistillationLoss
from kdda.losses.registry import OBJECTIVES
from kdda.models.classes import NO_HEAD, has_head
from kdda.models.depth import check_layers, layer_count
from kdda.models.families import encoder_class
from kdda.models.hidden_states import check_attention_is_readable
from kdda.models.load import load_config
from kdda.recipe.schema import ModelSpec, has_masses
from kdda.tasks.base import Task
from kdda.tasks.registry import TASKS
from kdda.teachers.align import check_alignment
from kdda.training.fine_tune import Model, name_of
from kdda.training.prepare import Teacher, check_labels


def check_task(loss: DistillationLoss, task: Task) -> None:
    """Refuse a loss that compares logits of labels of which a text has one, where a task's logits are others.

    Logits of tokens are compared where the task says at which of them, by objectives that take them.

    Raises:
        KddaError: says which field of `distill` asks for logits.
    """
    if task.compares_logits:
        return
    objective = loss.objective
    is_refused = objective.needs_logits and not (task.compares_token_logits and objective.takes_token_logits)
    fields = {
        f"objective: {objective.name}": is_refused,
        "logit_weight": loss.logit_weight > 0 and not task.compares_token_logits,
        "example_weighting": loss.example_weighting != "none",
    }
    for field, needs_logits in fields.items():
        if needs_logits:
            raise KddaError(
                f"distill.{field} needs a teacher's logits of labels, of which a text has one; {_other_logits(task)}"
            )


def _other_logits(task: Task) -> str:
    """What the logits of a task are that cannot be compared, for a message."""
    if task.logits_of == "token":
        return f"those of task {task.name} belong to tokens, which teacher and student split differently"
    return f"a text of task {task.name} has any number of labels here"


def check_task_of_teacher(language: str, teacher: Teacher, task: Task, labels: Sequence[str] = ()) -> None:
    """Refuse a teacher that is to be taken as fine-tuned and was fine-tuned for another head or for other labels.

    Args:
        labels: of the training, in any order; none where they are not known, or the task has none.

    Raises:
        KddaError: names the teacher, its task, and the task that is trained.
    """
    if teacher.fine_tune is not False or teacher.random:  # it gets the head of this task
        return
    config = config_of(teacher.model)
    if has_head(config, task.head):
        if task.labelled and labels:
            check_labels(language, teacher, labels)
        return
    for other in TASKS.values():
        if other.head not in (task.head, NO_HEAD) and has_head(config, other.head):
            raise KddaError(
                f'teachers.{language}: "{teacher.name}" is taken as fine-tuned, but it was fine-tuned for task '
                f"{other.name} ({other.head}), and the task here is {task.name} ({task.head}); choose another teacher, "
                "or let it be fine-tuned (finetuned: false)"
            )
    if task.head != NO_HEAD and getattr(config, "architectures", None):  # else its weights show it as it is opened
        raise KddaError(
            f'teachers.{language}: "{teacher.name}" is taken as fine-tuned, but lacks a {task.head} head; choose '
            "another teacher, or let it be fine-tuned (finetuned: false)"
        )


def check_teacher(
    language: str, teacher: Teacher, student: Model, loss: DistillationLoss, tokens: str, align: str
) -> None:
    """Refuse, before anything is loaded, a teacher whose representations this loss cannot compare.

    Args:
        align: of teachers that do not say otherwise, one of `ALIGNMENTS`.

    Raises:
        KddaError: unequal widths under an objective that subtracts states, without an alignment; tokens that the
            objective takes all alike; or an attention that cannot be read.
    """
    objective = loss.objective
    if has_masses(tokens):
        if not objective.token_masses:
            raise KddaError(
                f"distill.tokens: {tokens} gives tokens masses, and objective {objective.name} takes them all alike"
            )
        for model in (student, teacher.model):
            check_attention_is_readable(name_of(model), config_of(model).model_type, tokens)
    ours, theirs = width_of(student), width_of(teacher.model)  # the student's and the teacher's
    check_alignment(teacher.align or align)
    if ours != theirs and objective.equal_widths and (teacher.align or align) == "none":
        free = [name for name, known in OBJECTIVES.items() if not known.equal_widths]
        raise KddaError(
            f"teachers.{language}: {teacher.name} is {theirs} wide and the student {name_of(student)} {ours}; "
            f"objective {objective.name} subtracts their states, so map them into one space (distill.align: procrustes "
            f"or learned), choose a teacher of the student's width, or one of the objectives {', '.join(free)}"
        )


def check_architecture(role: str, model: Model) -> None:
    """Refuse, from its config alone, an architecture that kdda cannot train, or layers that it cannot be cut to.

    Args:
        role: what the model is in the recipe, for the message: ``student``, ``teacher vi``.

    Raises:
        KddaError: an encoder-decoder whose encoder transformers cannot open alone, or layers that are not there.
    """
    config = config_of(model)
    try:
        if not isinstance(model, tuple) or hasattr(
            model[0].base_model, "decoder"
        ):  # a user's encoder may be of any type
            encoder_class(config)
        if isinstance(model, ModelSpec):
            check_layers(config, model.layers)
    except KddaError as error:
        raise KddaError(f"{role}, {name_of(model)}: {error}") from None


def count_layers(spec: ModelSpec) -> int:
    """How many layers a model has, once some of them were chosen."""
    return layer_count(spec.layers, int(config_of(spec).num_hidden_layers))


def width_of(model: Model) -> int:
    """The width of a model's hidden states."""
    return int(config_of(model).hidden_size)


def config_of(model: Model) -> Any:
    """A model's config, without its weights."""
    return model[0].config if isinstance(model, tuple) else _config(name_of(model))


@lru_cache
def _config(name: str) -> Any:
    """The config of a model by name or folder, read once a process."""
    return load_config(name)
