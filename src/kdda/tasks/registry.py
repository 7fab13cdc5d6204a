"""Every task that a recipe can name (`TASKS`), and `register_task` for those of a user."""

from __future__ import annotations

from kdda.errors import KddaError, unknown_choice
from kdda.tasks.base import Task
from kdda.tasks.choose import CHOOSE
from kdda.tasks.classify import CLASSIFY
from kdda.tasks.nli import NLI
from kdda.tasks.qa import QA
from kdda.tasks.similarity import SIMILARITY
from kdda.tasks.tag import TAG

# The first task of a head is what a checkpoint without `kdda_task` in its config is taken for.
TASKS: dict[str, Task] = {
    "nli": NLI,
    "qa": QA,
    "classify": CLASSIFY,
    "choose": CHOOSE,
    "tag": TAG,
    "similarity": SIMILARITY,
}


def register_task(task: Task) -> Task:
    """Add a task, so that recipes, checkpoints and commands can name it.

    Args:
        task: under a name that no other task has; registering an equal task again changes nothing.

    Returns:
        The task, for ``SENTIMENT = register_task(Classification(...))``.

    Raises:
        KddaError: another task has this name.
    """
    known = TASKS.setdefault(task.name, task)
    if known != task:
        raise KddaError(f'task "{task.name}" is registered already, as {type(known).__name__}; choose another name')
    return task


def task_named(name: str, what: str = "task") -> Task:
    """A task by its name.

    Args:
        what: the option or field that names it, for the message.

    Raises:
        KddaError: no such task.
    """
    if name not in TASKS:
        raise KddaError(unknown_choice(what, name, TASKS))
    return TASKS[name]
