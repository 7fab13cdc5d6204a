"""Fields that had other names once: refused with the name that they have now, in recipes and in run folders alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# old field → new field, by the section that holds them; "" is the recipe's top
SECTIONS = {
    "distill": {
        "form": "combine",
        "logits": "logit_weight",
        "depths": "layers",
        "shuffled": "shuffle_teacher",
        "gate": "example_weighting",
    },
    "training": {"micro_batch": "micro_batch_size"},
    "": {"store_gb": "teacher_cache_gb"},
}
# old value → new value, by the field's new name
VALUES = {
    "combine": {"additive": "sum", "convex": "interpolate"},
    "schedule": {"falling": "linear_decay", "rising": "linear_warmup"},
    "example_weighting": {"correct": "teacher_correct", "confident": "teacher_confidence"},
}


@dataclass(frozen=True)
class OldName:
    """A field or value that was renamed.

    Attributes:
        path: keys from the recipe's top to the field.
        message: what it is called now.
    """

    path: tuple[str, ...]
    message: str


def old_names(values: Any, path: tuple[str, ...] = ()) -> Iterator[OldName]:
    """Every field and value of a recipe that has another name now.

    Args:
        values: a recipe's fields, or those of one of its sections.
        path: the keys from the recipe's top to that section.

    >>> [old.message for old in old_names({"distill": {"form": "convex"}})]
    ['"distill.form" is now "distill.combine", and "convex" is "interpolate"']
    """
    if not isinstance(values, Mapping):
        return
    section = path[-1] if path else ""
    names = SECTIONS.get(section, {})
    for key, value in values.items():
        here = (*path, str(key))
        if key in names:
            yield OldName(here, _renamed_field(here, names[key], value))
        elif section == "distill" and _new_value(str(key), value):
            yield OldName(here, f'{".".join(here)}: "{value}" is now "{_new_value(str(key), value)}"')
        yield from old_names(value, here)


def _renamed_field(path: tuple[str, ...], name: str, value: Any) -> str:
    """The message about a field with an old name, and about its value where that has an old name, too.

    Args:
        path: the field's keys from the recipe's top, the old name last.
        name: the new one.
        value: the field's.
    """
    new = ".".join([*path[:-1], name])
    message = f'"{".".join(path)}" is now "{new}"'
    value_now = _new_value(name, value)
    if value_now:
        message += f', and "{value}" is "{value_now}"'
    return message


def _new_value(name: str, value: Any) -> str | None:
    """The new name of a field's value; None where the value has not been renamed."""
    if isinstance(value, str):
        return VALUES.get(name, {}).get(value)
    return None
