"""The peak of memory of one of several runs in a process."""

import subprocess
import sys

import pytest

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


@pytest.mark.skipif(sys.platform != "linux", reason="the system counts from the start of the process")
def test_the_peak_of_a_run_is_not_that_of_the_run_before_it() -> None:
    assert subprocess.check_output([sys.executable, "-c", SCRIPT], text=True).split() == ["True", "True"]
