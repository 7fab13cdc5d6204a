"""The tables and aims of bench/step.py: ratios of the programs' steps, their peak memory, and how losses agree."""

import statistics
from collections.abc import Mapping
from dataclasses import replace

from aims import Aim
from page import table
from turns import Program, disagreement, ratio

WARM = 3  # steps that are not counted
LONGEST = "plain, padded to the recipe's maximum"
DEFAULT = "plain, padded to run_{}.py's maximum"
EXACT = "plain, kdda.transport for geomloss"
PLAIN_IN_BF16 = "plain, bfloat16"  # by autocast, which a user must ask for
PLAIN = ("plain", LONGEST, DEFAULT, EXACT, PLAIN_IN_BF16, "plain, DA")
# transformers' example script of each task, and what it pads to by default
SCRIPTS = {"nli": ("glue", 128), "qa": ("qa", 384)}
FORWARD = "teacher alone"
STORED, LIVE_TEACHER, MEMORY = 1.03, 1.03, 0.5  # at most
TARGETS = {  # at least
    "nli": {"plain": 2.5, LONGEST: 4.0},
    "qa": {"plain": 1.5, LONGEST: 2.0},
}


def slower(program: Program, other: str) -> float:
    """The median over steps of how many times longer a program takes than another one; the mean over their parts."""
    ratios = [ratio(part[program.name], part[other], WARM) for part in program.parts if other in part]
    return statistics.mean(ratios)


def report(task: str, programs: Mapping[str, Program], batch_size: int) -> list[str]:
    """A line for each program: its steps against kdda's on the same batches."""
    rows = []
    steps = common_steps(programs)
    for name, program in programs.items():
        seconds = statistics.median(program.seconds[WARM:])
        times = f"{slower(program, 'kdda'):.2f}"
        if name in TARGETS[task]:
            times += f" (aim {TARGETS[task][name]:g})"
        curve = ""
        if "DA" not in name and name != FORWARD:
            curve = f"{disagreement(program, program.parts[0]['kdda']):.2%}"
        title = name.format(SCRIPTS[task][0])
        speed = [f"{1e3 * seconds:.0f}", f"{batch_size / seconds:.1f}", times]
        rows.append([title, *speed, f"{peak_after(program, steps):,.0f}", curve])
    titles = ("program", "ms a step", "examples/s", "× kdda's step", "peak MB", "loss, from kdda's")
    return [*table(titles, rows), "", *summary(task, programs)]


def summary(task: str, programs: Mapping[str, Program]) -> list[str]:
    """The ratios between kdda's programs."""
    sentences = []
    stored = [f"{times:.3f} in {precision}" for precision, times in stored_states(programs).items()]
    if stored:
        sentences.append(f"Stored states: {', '.join(stored)} × kdda's DA step (aim {STORED}).")
    if "kdda, live teacher" in programs:
        live = f"{slower_live(programs):.3f} × (DA step + teacher's forward) (aim {LIVE_TEACHER})"
        sentences.append(f"Live teacher: {live}.")
    if "plain" in programs:
        kdda, plain = programs["kdda"], programs["plain"]
        steps = common_steps(programs)
        share = peak_after(kdda, steps) / peak_after(plain, steps)
        sentences.append(
            f"Peak memory of {steps} steps: {share:.2f} of plain's; above the {plain.libraries:,.0f} MB of the "
            f"libraries {memory(programs):.2f} (aim {MEMORY})."
        )
    return [" ".join(sentences), *against_bf16(task, programs)]


def stored_states(programs: Mapping[str, Program]) -> dict[str, float]:
    """Precision → a step with stored states against a DA step, as far as measured."""
    times = {}
    for precision, name, da in (
        ("float32", "kdda", "kdda, DA"),
        ("bfloat16", "kdda, bfloat16", "kdda, DA, bfloat16"),
    ):
        if name in programs and da in programs:
            times[precision] = slower(programs[name], da)
    return times


def slower_live(programs: Mapping[str, Program]) -> float:
    """A step with live teachers against a DA step and the teacher's forward pass."""
    live = programs["kdda, live teacher"]
    (part,) = live.parts
    both = zip(part["kdda, DA"].seconds, part[FORWARD].seconds, strict=True)
    return ratio(live, replace(live, seconds=[a + b for a, b in both]), WARM)


def common_steps(programs: Mapping[str, Program]) -> int:
    """How many steps all programs have done: a peak grows with the lengths that a program has seen."""
    return min(len(program.peaks) for program in programs.values())


def peak_after(program: Program, steps: int) -> float:
    """The program's peak memory after so many steps, MB."""
    return program.peaks[steps - 1]


def memory(programs: Mapping[str, Program]) -> float:
    """kdda's peak memory against the plain program's, each above what its process had before it read rows or models."""
    steps = common_steps(programs)
    kdda, plain = programs["kdda"], programs["plain"]
    return (peak_after(kdda, steps) - kdda.libraries) / (peak_after(plain, steps) - plain.libraries)


def against_bf16(task: str, programs: Mapping[str, Program]) -> list[str]:
    """Both sides in their default precision: kdda's is bfloat16 where the device has instructions for it."""
    if "kdda, bfloat16" not in programs:
        return []
    script = SCRIPTS[task][0]
    names = [name for name in ("plain", LONGEST, DEFAULT, PLAIN_IN_BF16) if name in programs]
    ratios = ", ".join(f"{name.format(script)} {slower(programs[name], 'kdda, bfloat16'):.2f}" for name in names)
    return [f"Against kdda's step in bfloat16, its default here: {ratios}."]


def aims(recipe: str, task: str, programs: Mapping[str, Program]) -> list[Aim]:
    """What was aimed at, of one recipe."""
    measured = []
    for name, goal in TARGETS[task].items():
        if name in programs:
            times = slower(programs[name], "kdda")
            measured.append(Aim(f"{recipe}, a step: {name}, float32", times, "≥", goal, "× kdda's"))
    for precision, times in stored_states(programs).items():
        measured.append(Aim(f"{recipe}, a step: stored states, {precision}", times, "≤", STORED, "× DA's"))
    if "kdda, live teacher" in programs:
        live = slower_live(programs)
        measured.append(
            Aim(f"{recipe}, a step: live teacher", live, "≤", LIVE_TEACHER, "× DA's and the teacher's pass")
        )
    if "plain" in programs:
        name = f"{recipe}, a step: peak memory above the libraries'"
        measured.append(Aim(name, memory(programs), "≤", MEMORY, "× plain's"))
    return measured
