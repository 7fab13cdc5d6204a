"""Tasks, one plain dict: what a recipe's `task` may name."""

from kdda.tasks.base import Prediction, Task, predict
from kdda.tasks.classification import NLI

TASKS: dict[str, Task] = {"nli": NLI}

__all__ = ["NLI", "TASKS", "Prediction", "Task", "predict"]
