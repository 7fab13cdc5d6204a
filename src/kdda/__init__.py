"""kdda: distil monolingual teachers into one multilingual student by optimal transport, while it is fine-tuned.

Every name is imported when it is first used, so that `import kdda` costs nothing: neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdda.inference.evaluate import evaluate as evaluate
    from kdda.inference.predictor import load as load
    from kdda.losses.distillation import DistillationLoss as DistillationLoss
    from kdda.losses.registry import register_objective as register_objective
    from kdda.losses.representations import Representations as Representations
    from kdda.retrieval.registry import register_retriever as register_retriever
    from kdda.tasks.base import Task as Task
    from kdda.tasks.registry import register_task as register_task
    from kdda.teachers.cache import TeacherCache as TeacherCache
    from kdda.training.config import DistillationConfig as DistillationConfig
    from kdda.training.fine_tune import FromTeacher as FromTeacher
    from kdda.training.prepare import Teacher as Teacher
    from kdda.training.trainer import DistillationTrainer as DistillationTrainer
    from kdda.training.trainer import fine_tune as fine_tune
    from kdda.transport.sinkhorn import SinkhornDivergence as SinkhornDivergence

_MODULES = {
    "DistillationConfig": "kdda.training.config",
    "DistillationLoss": "kdda.losses.distillation",
    "DistillationTrainer": "kdda.training.trainer",
    "FromTeacher": "kdda.training.fine_tune",
    "Representations": "kdda.losses.representations",
    "SinkhornDivergence": "kdda.transport.sinkhorn",
    "Task": "kdda.tasks.base",
    "Teacher": "kdda.training.prepare",
    "TeacherCache": "kdda.teachers.cache",
    "evaluate": "kdda.inference.evaluate",
    "fine_tune": "kdda.training.trainer",
    "load": "kdda.inference.predictor",
    "register_objective": "kdda.losses.registry",
    "register_retriever": "kdda.retrieval.registry",
    "register_task": "kdda.tasks.registry",
}

__all__ = [
    "DistillationConfig",
    "DistillationLoss",
    "DistillationTrainer",
    "FromTeacher",
    "Representations",
    "SinkhornDivergence",
    "Task",
    "Teacher",
    "TeacherCache",
    "evaluate",
    "fine_tune",
    "load",
    "register_objective",
    "register_retriever",
    "register_task",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'kdda' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
