"""Every benchmark in turn, each in a process, with the students that some of them need: which, in what order, how long.

    python bench/all.py --write docs/performance.md      # about 90 minutes on two cores, nothing beside it
    python bench/all.py --only step grid --write docs/performance.md
    python bench/all.py --quick                          # a few minutes: that every script runs, on tiny sizes

Students are made by short runs of mini-nli and mini-qa, in runs/bench, where a second call takes them from. A script
that fails stops no other; it is named at the end, and the exit code is then 1. With --write each script replaces its
tables, in the named page or in one beside it, and the table of all aims.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from aims import PAGE, SCRIPTS
from page import arguments

STUDENTS = Path("runs", "bench")
ARM = "student-da"  # which needs no teacher
# What a script is called with beside --write and --quick; {nli} and {qa} are folders of students.
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "grid": ("--seeds", "2", "--save", "best"),
    "use": ("--reader", "{qa}", "--judge", "{nli}", "--rounds", "1"),
    "serve": ("{nli}",),
    "systems": ("--reader", "{qa}"),
    "kills": ("--kills", "10"),
    "protocol": ("--arms", "student"),
}
STUDENT_MINUTES = 3
# Where a script's tables stand, if not in docs/performance.md.
PAGES = {"transport": "transport.md", "unbalanced": "transport.md", "protocol": "reporting.md", "reading": "reading.md"}


class Failed(Exception):
    """A command ended with another code than 0."""


def student(task: str, quick: bool, folder: Path) -> str:
    """The folder of a trained student of a task, made by a run of the built-in recipe, or of a tiny one."""
    recipe, out = f"mini-{task}", STUDENTS
    if quick:
        from tiny import tiny_recipe  # which imports torch and transformers

        recipe, out = tiny_recipe(task, folder), folder / "runs"
    run(sys.executable, "-m", "kdda", "run", recipe, "--arms", ARM, "--seeds", "1", "--out", out)
    return str(out / task / ARM / "seed-1" / "model")


def run(*command: object) -> None:
    """Run a command whose output is shown."""
    code = subprocess.run(list(map(str, command))).returncode
    if code:
        raise Failed(f"ended with code {code}")


def benchmark(name: str, options: argparse.Namespace, students: dict[str, str], folder: Path) -> None:
    """Run one script, after the students that it needs and that are not there yet."""
    given = OPTIONS.get(name, ())
    for task in ("nli", "qa"):
        if f"{{{task}}}" in given and task not in students:
            students[task] = student(task, options.quick, folder)
    more = ["--quick"] if options.quick else []
    if options.write:
        more = ["--write", str(options.write.parent / PAGES.get(name, PAGE))]
    if options.optimum and name == "use":
        more += ["--optimum", options.optimum]
    run(sys.executable, Path(__file__).parent / f"{name}.py", *(part.format(**students) for part in given), *more)


def time_left(names: Sequence[str], students: Mapping[str, str], options: argparse.Namespace) -> str:
    """About how many minutes these scripts take, and the students that they need and that are not there yet."""
    if options.quick:
        return ""
    minutes = 0
    for name in names:
        minutes += SCRIPTS[name]
    for task in ("nli", "qa"):
        needed = any(f"{{{task}}}" in OPTIONS.get(name, ()) for name in names)
        minutes += STUDENT_MINUTES if needed and task not in students else 0
    return f", about {minutes} minutes left"


def run_all(names: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Run the scripts; a line for each, which says how long it took, and why it failed."""
    students: dict[str, str] = {}
    summary: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(names, 1):
            print(f"\n[{number}/{len(names)}] {name}.py{time_left(names[number - 1 :], students, options)}", flush=True)
            began = time.monotonic()
            outcome = "done"
            try:
                benchmark(name, options, students, Path(folder))
            except Failed as failure:
                outcome = f"FAILED: {failure}"
            except KeyboardInterrupt:  # which the script has got, too
                return [*summary, f"{name}.py: STOPPED by Ctrl-C; {len(names) - number} scripts were not started"]
            summary.append(f"{name}.py: {(time.monotonic() - began) / 60:.1f} min, {outcome}")
    return summary


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, metavar="NAME", help=f"of {', '.join(SCRIPTS)}")
    parser.add_argument("--optimum", metavar="PYTHON", help="as of use.py, whose tables compare with it then")
    options = parser.parse_args()
    summary = run_all(options.only or list(SCRIPTS), options)
    print("", *summary, sep="\n")
    if any("FAILED" in line or "STOPPED" in line for line in summary):
        sys.exit(1)


if __name__ == "__main__":
    main()
