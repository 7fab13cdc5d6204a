"""Free disk space, peak memory, pages that are not read for long, garbage collection, settings of malloc and oneDNN."""

from __future__ import annotations

import atexit
import ctypes
import gc
import mmap
import os
import shutil
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from kdda.runtime.folders import nearest_existing
from kdda.runtime.numbers import ceil_div

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
    release_freed_memory()
    with suppress(OSError):
        CLEAR_REFERENCES.write_text(RESET_PEAK)


def release_freed_memory() -> None:
    """Give the kernel back what was freed and `keep_freed_memory` lets glibc keep; nothing under other allocators."""
    if sys.platform == "win32":
        return  # whose ctypes cannot name the process itself
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if malloc_trim is not None:
        malloc_trim(0)


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


PAGEMAP = Path("/proc/self/pagemap")  # 8 bytes a page of this process (Linux, Documentation/admin-guide/mm/pagemap.rst)

# Bits of such an entry: the page is in memory; it is in swap; it is of a file, or shared with another process.
PRESENT, SWAPPED, OF_FILE = 1 << 63, 1 << 62, 1 << 61

MADV_DONTNEED, MADV_PAGEOUT = 4, 21  # of <linux/mman.h>


def release_pages(address: int, size: int) -> None:
    """Let so many bytes of memory go that will not be read for long; a later read loads them again.

    A checkpoint's weights are mapped from its file, so the only cost is reading them again. Pages of a file that nobody
    has written to leave the process at once; others are left to the kernel, which may swap them.
    """
    if sys.platform != "linux":
        return
    page = mmap.PAGESIZE
    first = ceil_div(address, page)  # whole pages only
    count = (address + size) // page - first
    if count <= 0:
        return
    advice = MADV_DONTNEED if _are_of_file(first, count) else MADV_PAGEOUT
    ctypes.CDLL(None).madvise(ctypes.c_void_p(first * page), ctypes.c_size_t(count * page), advice)


def _are_of_file(first: int, count: int) -> bool:
    """Whether so many pages from a number on hold nothing but a file's content, so that none of it would be lost."""
    import numpy as np  # which the command line, of which this module is a part, loads when it is needed

    try:
        with PAGEMAP.open("rb", buffering=0) as pages:
            pages.seek(8 * first)
            entries = np.frombuffer(pages.read(8 * count), np.uint64)
    except OSError:  # a system that does not let processes read it
        return False
    has_content = entries & np.uint64(PRESENT | SWAPPED) != 0
    is_of_file = entries & np.uint64(OF_FILE) != 0
    return len(entries) == count and bool(np.all(is_of_file[has_content]))


# How many kernels oneDNN, and torch's layer over it, keep for shapes that they have multiplied: 1,024 by default, of
# half a megabyte each. Training has a dozen shapes for each length of a batch, so that memory would grow by 6 MB with
# every new length, up to 500 MB; predicting has five. Making the kernels of another length takes some 4 and 2 ms.
KEPT_IN_TRAINING = 32

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
