"""Every task that a recipe can name."""

from __future__ import annotations

from kdda.tasks.base import Task
from kdda.tasks.nli import NLI
from kdda.tasks.qa import QA

TASKS: dict[str, Task] = {"nli": NLI, "qa": QA}
