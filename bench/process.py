"""Whole processes: what one takes in seconds, seconds of the processor and peak memory."""

import os
import subprocess
import sys
import time
from typing import NamedTuple


class Usage(NamedTuple):
    """What a process took.

    Attributes:
        seconds: that passed.
        processor: seconds of a core, user and system, of the process and of those that it waited for.
        peak: peak resident memory in MB, mapped files included.
    """

    seconds: float
    processor: float
    peak: float


def whole_process(*command: object, **environment: str) -> Usage:
    """Run a command to its end without its output; a failed one ends this script.

    Args:
        command: program and arguments.
        environment: variables beside those of this process.
    """
    arguments = list(map(str, command))
    began = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(arguments)} ended with status {status}")
    return Usage(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**10)
