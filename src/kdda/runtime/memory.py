"""Memory and disk: what is free, what was used at most, and settings that spare a process time."""

from __future__ import annotations

import ctypes
import gc
import resource
import shutil
import sys
from functools import cache
from pathlib import Path

OFTEN = (100_000, 50, 100)  # objects, and rounds of the younger generations, between two collections


def tune_garbage_collection() -> None:
    """Look for unreachable cycles less often than Python does by itself.

    Importing torch and transformers makes a million objects that stay: looking through them again and again is a
    quarter of a command's start. A process that is not kdda's own is left as it is.
    """
    gc.set_threshold(*OFTEN)


def peak_megabytes() -> float:
    """The most memory that this process has held so far."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (2**20 if sys.platform == "darwin" else 2**10)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>

LARGEST_KEPT = 2**25  # the most that glibc lets M_MMAP_THRESHOLD be

NEVER = 2**31 - 1


@cache
def keep_freed_memory() -> bool:
    """Let glibc keep what a training step frees instead of giving it back to the kernel, which must clear it again.

    Every step allocates and frees the same activations, and with glibc's defaults the kernel clears the same pages
    again each time. Does nothing under another allocator, and says so by False.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT) and mallopt(M_TRIM_THRESHOLD, NEVER))


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk that a folder, made or not yet, is on."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free
