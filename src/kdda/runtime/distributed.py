"""Processes that train one model together, as `accelerate launch` starts them; alone, everything here does nothing.

Each batch is shared out among the ranks, so that a recipe gives the same model however many there are.
"""

from __future__ import annotations

import os
from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def init() -> None:
    """Meet the other processes, if a launcher has started any."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available())


def rank() -> int:
    return distributed.get_rank() if _together() else 0


def size() -> int:
    return distributed.get_world_size() if _together() else 1


def is_main_process() -> bool:
    """Whether this process is the one that speaks and writes."""
    return rank() == 0


def barrier() -> None:
    """Until all are here."""
    if _together():
        distributed.barrier()


def broadcast(value: T) -> T:
    """The first process' value, for all: what each finds on a disk may differ by when it looks."""
    if not _together():
        return value
    box = [value]
    distributed.broadcast_object_list(box)
    return box[0]


def all_gather(value: T) -> list[T]:
    """Every process' value, in the order of ranks."""
    if not _together():
        return [value]
    found: list[T] = [value] * size()
    distributed.all_gather_object(found, value)
    return found


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
