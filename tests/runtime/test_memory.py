"""The peak of memory of one of several runs in a process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdda.runtime.memory import KERNEL_CACHES

SCRIPT = """
from kdda.runtime.memory import forget_peak, keep_freed_memory, peak_megabytes
keep_freed_memory()
before = peak_megabytes()
parts = [bytearray(2**20) for _ in range(300)]
during = peak_megabytes()
del parts
forget_peak()
print(during - before > 290, peak_megabytes() < before + 50)
"""


KERNELS = """
import torch
from kdda.runtime.memory import KEPT_IN_TRAINING, bound_kernel_caches, peak_megabytes
bound_kernel_caches(KEPT_IN_TRAINING)
weight = torch.ones(384, 384, dtype=torch.bfloat16)
def products(lengths):
    for length in lengths:
        torch.ones(length, 384, dtype=torch.bfloat16) @ weight
products(range(200, 300))
before = peak_megabytes()
products(range(300, 700))
print(peak_megabytes() - before)
"""


def test_products_of_many_lengths_leave_few_kernels_in_memory() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in KERNEL_CACHES}
    assert float(subprocess.check_output([sys.executable, "-c", KERNELS], text=True, env=environment)) < 40


RELEASED = """
import mmap, subprocess, sys
import numpy as np
from pathlib import Path
from kdda.runtime.memory import release_pages
path = Path(sys.argv[1])
path.write_bytes(bytes(range(256)) * 2**20)  # 256 MiB
def resident():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 2**10
read, written = (np.memmap(path, np.uint8, "c") for _ in range(2))
own = np.ones(2**26, np.uint8)
def total():
    return [int(values[::512].astype(np.int64).sum()) for values in (read, written, own)]
written[5 * mmap.PAGESIZE + 3] = 7
written[512 * 1000] += 1
before, full = total(), resident()
with subprocess.Popen([sys.executable, "-c", sys.argv[2], str(path)], stdin=-1, stdout=-1) as other:
    other.stdout.readline()  # it has the same pages in memory
    release_pages(read.ctypes.data, read.nbytes)
    freed = full - resident()
    for values in (written, own):
        release_pages(values.ctypes.data, values.nbytes)
    print(freed > 250, total() == before, written[5 * mmap.PAGESIZE + 3])
    other.stdin.close()
"""

READ = """
import sys
import numpy as np
pages = np.memmap(sys.argv[1], np.uint8, "r")
print(pages[::512].astype(np.int64).sum(), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="pages are released under Linux alone")
def test_pages_that_another_process_maps_leave_memory_and_written_ones_keep_their_values(tmp_path: Path) -> None:
    script = [sys.executable, "-c", RELEASED, str(tmp_path / "weights"), READ]
    assert subprocess.check_output(script, text=True).split() == ["True", "True", "7"]


@pytest.mark.skipif(sys.platform != "linux", reason="the system counts from the start of the process")
def test_the_peak_of_a_run_is_not_that_of_the_run_before_it() -> None:
    assert subprocess.check_output([sys.executable, "-c", SCRIPT], text=True).split() == ["True", "True"]
