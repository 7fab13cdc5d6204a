"""Worker processes end with the command that started them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

POOL = """
import os, signal, time
from kdda.runtime.processes import process_pool

def work(seconds):
    print(os.getpid(), flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass

if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which `nohup` ignores, in this process too
    with process_pool(2) as pool:
        list(pool.map(work, [600, 600]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_pool_ends_with_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = []
    for _ in range(2):
        workers.append(psutil.Process(int(parent.stdout.readline())))
    parent.send_signal(number)
    parent.wait(60)
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
