"""Times and memory of BM25 queries in a process that does nothing else: the child of bench/systems.py.

    python bench/queries.py INDEX < questions.json    # a list of texts; 200 queries by default

It imports what a search needs and no more. Memory is told apart by who can free it: anonymous pages belong to the
process, file-backed ones (mapped files, libraries) are copies of the disk, which the kernel frees when it needs memory.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from kdda.retrieval.index import Index
from kdda.retrieval.registry import open_retriever

ROLLUP = Path("/proc/self/smaps_rollup")  # sums over all mappings of this process


def resident() -> dict[str, float]:
    """Resident megabytes now: all, and those of pages that are no copies of files."""
    sizes = {}
    for line in ROLLUP.read_text().splitlines()[1:]:
        name, size = line.split(":")
        sizes[name] = int(size.split()[0]) / 2**10
    return {"all": sizes["Rss"], "anonymous": sizes["Anonymous"]}


def measure(folder: Path, questions: Sequence[str], rounds: int) -> dict[str, float]:
    """Open an index and search it so often."""
    before = resident()["all"]
    started = time.perf_counter()
    retriever = open_retriever("bm25", Index.open(folder))
    opened = time.perf_counter() - started
    seconds = []
    for question in islice(cycle(questions), rounds):
        began = time.perf_counter()
        retriever.search(question, 10)
        seconds.append(time.perf_counter() - began)
    after = resident()
    return {
        "median": 1000 * statistics.median(seconds),
        "p95": 1000 * statistics.quantiles(seconds, n=20)[-1],
        "open": opened,
        "mb": after["all"],
        "anonymous": after["anonymous"],
        "before": before,
        "peak": peak(),
    }


def peak() -> float:
    """The most resident megabytes so far."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--rounds", type=int, default=200, help="queries")
    options = parser.parse_args()
    print(json.dumps(measure(options.index, json.load(sys.stdin), options.rounds)))


if __name__ == "__main__":
    main()
