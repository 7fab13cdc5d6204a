"""Keeping freed memory for the next step."""

from __future__ import annotations

import ctypes
from functools import cache

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
