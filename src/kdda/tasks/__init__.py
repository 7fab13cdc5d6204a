"""Tasks, one plain dict: what a recipe's `task` may name."""

from kdda.tasks.base import Excerpt, Features, Prediction, Task, predict
from kdda.tasks.classification import NLI
from kdda.tasks.reading import QA

TASKS: dict[str, Task] = {"nli": NLI, "qa": QA}

__all__ = ["NLI", "QA", "TASKS", "Excerpt", "Features", "Prediction", "Task", "predict"]
