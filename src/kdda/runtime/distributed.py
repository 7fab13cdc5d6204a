"""Processes that train one model together (`accelerate launch`): rank, size, barrier, broadcast, all_gather.

In a single process these operations do nothing. Each batch is divided among the ranks, so that a
recipe gives the same model for any number of processes.
"""

from __future__ import annotations

import os
from typing import TypeVar

from torch import distributed

from kdda.runtime.device import compute_device

T = TypeVar("T")


def init() -> None:
    """Join the process group, if a launcher has started one."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from accelerate import PartialState

        PartialState(cpu=compute_device().type == "cpu")  # creating it joins the process group


def rank() -> int:
    """The number of this process in its group; 0 in a single process."""
    if not _is_distributed():
        return 0
    return distributed.get_rank()


def size() -> int:
    """The number of processes in the group; 1 in a single process."""
    if not _is_distributed():
        return 1
    return distributed.get_world_size()


def is_main_process() -> bool:
    """Whether this process is the one that prints messages and writes files."""
    return rank() == 0


def barrier() -> None:
    """Wait until all processes have come here."""
    if _is_distributed():
        distributed.barrier()


def broadcast(value: T) -> T:
    """The main process' value, in all processes: what they read from a disk at different times may differ."""
    if not _is_distributed():
        return value
    values = [value]  # overwritten in place by that of rank 0, torch's default source
    distributed.broadcast_object_list(values)
    return values[0]


def all_gather(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks."""
    if not _is_distributed():
        return [value]
    values = [value] * size()  # places that all_gather_object overwrites
    distributed.all_gather_object(values, value)
    return values


def _is_distributed() -> bool:
    """Whether this process has joined a process group."""
    return distributed.is_available() and distributed.is_initialized()
