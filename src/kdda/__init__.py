"""kdda: monolingual teachers, one multilingual student, by optimal transport while the student is fine-tuned.

Rooms are imported by name (`kdda.transport`, `kdda.models`, …), so that one of them alone costs only what it needs.
`kdda.load` opens a checkpoint to answer or to label, and imports torch when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdda.inference.predictor import load as load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from kdda.inference.predictor import load

        return load
    raise AttributeError(f"module 'kdda' has no attribute {name!r}")
