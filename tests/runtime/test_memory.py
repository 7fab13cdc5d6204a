"""The peak of memory of one of several runs in a process."""

import os
import subprocess
import sys

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


@pytest.mark.skipif(sys.platform != "linux", reason="the system counts from the start of the process")
def test_the_peak_of_a_run_is_not_that_of_the_run_before_it() -> None:
    assert subprocess.check_output([sys.executable, "-c", SCRIPT], text=True).split() == ["True", "True"]
