"""Free disk space, peak memory of the process or of a run, garbage collection, settings of malloc and oneDNN."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import shutil
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from kdda.runtime.folders import nearest_existing

# For gc.set_threshold. A young collection comes every 100,000 new objects, a middle one every 50 young ones, a full one
# every 100 middle ones.
COLLECTION_THRESHOLDS = (100_000, 50, 100)


# Of this process, under Linux: sizes in memory (proc_pid_status(5)), and what starts their highest marks anew.
STATUS = Path("/proc/self/status")

CLEAR_REFERENCES = Path("/proc/self/clear_refs")

RESET_PEAK = "5"


def tune_garbage_collection() -> None:
    """Collect unreachable cycles less often than Python does by default.

    Importing torch and transformers makes a million objects that stay alive: going through them again and again takes a
    quarter of a command's start. Only the command line calls this; a process that imports kdda is not changed.
    """
    gc.set_threshold(*COLLECTION_THRESHOLDS)


def leave_out_live_objects() -> None:
    """Collect garbage, and leave what is alive now out of all later collections: each training makes several full ones.

    Only commands and worker processes that do many runs call this, once libraries are imported and rows are read.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # Triton's bindings, which torch imports, report as leaked what is left at the end


def peak_megabytes() -> float:
    """The most memory that this process has held so far, in MiB; since `forget_peak`, where that could be done."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**20  # bytes
    if STATUS.is_file():  # getrusage would count the process that has started this one, too
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):  # "VmHWM:   123456 kB"
                return int(line.split()[1]) / 2**10  # KiB
    import resource  # which Windows lacks

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":
        return peak / 2**20  # bytes
    return peak / 2**10  # KiB


def forget_peak() -> None:
    """Let `peak_megabytes` count from now on, for the next of several runs in this process.

    Memory that earlier runs have freed, and that `keep_freed_memory` lets glibc keep, goes back to the system first.
    Nothing happens where the system is not Linux, or does not allow it.
    """
    if not STATUS.is_file():
        return
    gc.collect()
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if malloc_trim is not None:
        malloc_trim(0)
    with suppress(OSError):
        CLEAR_REFERENCES.write_text(RESET_PEAK)


# Parameters of glibc's mallopt, from <malloc.h>. Free memory at the heap's end above M_TRIM_THRESHOLD bytes goes back
# to the kernel; so does, once freed, every allocation above M_MMAP_THRESHOLD bytes.
M_TRIM_THRESHOLD = -1

M_MMAP_THRESHOLD = -3

MMAP_THRESHOLD_MAX = 2**25  # the largest M_MMAP_THRESHOLD that glibc accepts

NEVER_TRIM = 2**31 - 1  # the largest value that mallopt, whose values are C ints, takes


@cache
def keep_freed_memory() -> bool:
    """Let glibc keep the memory that a training step frees instead of returning it to the kernel.

    Every step allocates and frees the same activations, and with glibc's defaults the kernel clears the same pages
    again each time.

    Returns:
        False under another system or allocator, where nothing is done.
    """
    if sys.platform == "win32":
        return False  # whose ctypes cannot name the process itself
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # CDLL(None) is this process with its C library
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_MAX) and mallopt(M_TRIM_THRESHOLD, NEVER_TRIM))


# How many kernels oneDNN, and torch's layer over it, keep for shapes that they have multiplied: 1,024 by default, of
# half a megabyte each. Training has a dozen shapes for each length of a batch, so that memory would grow by 6 MB with
# every new length, up to 500 MB; predicting has five. Making the kernels of another length takes some 4 and 2 ms.
KEPT_IN_TRAINING = 64

KEPT_IN_PREDICTING = 128

KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")  # read when the first product is computed


def bound_kernel_caches(kept: int) -> None:
    """Let torch keep so many kernels for the CPU, unless the user's environment says how many.

    Nothing changes in a process that has computed a product by oneDNN before.
    """
    for name in KERNEL_CACHES:
        os.environ.setdefault(name, str(kept))


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    return shutil.disk_usage(nearest_existing(folder)).free
