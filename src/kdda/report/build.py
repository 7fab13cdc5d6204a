"""A report of run folders: what was run, on what, what came out, how sure it is, and what it cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from kdda.errors import KddaError, did_you_mean
from kdda.metrics.significance import mean_sd
from kdda.report.comparison import baseline, in_order
from kdda.report.differences import Difference, difference_table, differences
from kdda.report.figures import curves, gains_by_lead, scores_by_arm, scores_by_weight, teachers_by_arm
from kdda.report.open_domain import find_systems, systems_tables
from kdda.report.render import FORMS, Figure, Report, Table
from kdda.report.selection import select_rates, teacher_check
from kdda.report.tables import comparison, spread
from kdda.runs.folder import METRICS, RECIPE, Run, find_runs, is_complete, is_system
from kdda.runs.predictions import row_scores

SAME = ("task", "target", "labels", "data", "student", "training")  # what makes two runs one experiment

LENGTHS = ((1, 2), (3, 6), (7, 10_000))  # syllables (words) of an answer


@dataclass(frozen=True)
class Scored:
    """The scores of a run's task, as the run itself says."""

    metric: str
    scores: tuple[str, ...]


def write_report(
    folders: Sequence[Path],
    out: Path | None,
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    dev: bool = False,
    against: str | None = None,
) -> str:
    """The report of all finished runs below some folders; written in the form that the file's suffix names.

    Args:
        arms, seeds: leave the others out.
        dev: nothing of the test rows: what a choice between arms is made on.
        against: the arm that all others are held against; by default those that hear no teacher and are made alike.

    Raises:
        KddaError: no run, runs of two recipes, or a form that is not there.
    """
    form = FORMS.get(out.suffix.lower()) if out else FORMS[".md"]
    if form is None:
        raise KddaError(f'--out {out}: no form for "{out and out.suffix}"; there are {", ".join(FORMS)}')
    text = form(report(folders, arms, seeds, dev, against))
    if out:
        out.write_text(text, encoding="utf-8")
    return text


def report(
    folders: Sequence[Path],
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    dev: bool = False,
    against: str | None = None,
) -> Report:
    """The report as tables and figures."""
    for folder in folders:
        if not folder.is_dir():
            raise KddaError(f'no folder "{folder}"; give folders that `kdda run --out` has written')
    runs = [run for folder in folders for run in find_runs(folder)]
    unfinished = sorted({path.parent for folder in folders for path in _begun(folder)})
    if not runs:
        raise KddaError(f"no finished run in {', '.join(map(str, folders))}" + _unfinished(unfinished))
    runs = in_order(_chosen(runs, arms, seeds))
    if against is not None:
        _check_arm(against, runs, "--against")
    _check_one_experiment(runs)
    recipe, scored = runs[0].recipe, _scored(runs)
    target = str(recipe["target"])
    runs, chosen = select_rates(runs, target, scored.metric)
    shown = list(dict.fromkeys(run.arm for run in runs))
    title, lines = f"{recipe['name']}: {recipe['task']}, target {target}", [*_environment(runs), *chosen]
    lines += [_unfinished(unfinished).strip("; ")] if unfinished else []
    note, worth = str(recipe.get("note") or ""), teacher_check(runs, scored.metric)
    if dev:
        scores = [replace(run, test=run.dev) for run in runs]
        table = comparison(scores, target, scored, shown, note, "development", against)
        return Report(title, lines, [table, *([worth] if worth else []), _data(runs), _cost(runs, shown, [], None)])
    found = differences(runs, target, against)
    parts: list[Table | Figure] = [
        comparison(runs, target, scored, shown, note, against=against),
        *([difference_table(found, scored.metric.replace("_", "-"))] if found else []),
        *([worth] if worth else []),
        *systems_tables([own for folder in folders for own in find_systems(folder)]),
        _breakdown(runs, shown, target),
        _data(runs),
        _cost(runs, shown, found, against),
        scores_by_arm(runs, target, scored.metric),
        *([teachers_by_arm(worth)] if worth else []),
        *gains_by_lead(runs, found, target, scored.metric),
        *scores_by_weight(runs, target, scored.metric),
        *curves(runs),
    ]
    return Report(title, lines, parts)


def _check_arm(arm: str, runs: Sequence[Run], option: str) -> None:
    there = list(dict.fromkeys(run.arm for run in runs))
    if arm not in there:
        raise KddaError(f'{option}: no run of "{arm}"{did_you_mean(arm, there)}; there are {", ".join(there)}')


def _chosen(runs: Sequence[Run], arms: Sequence[str] | None, seeds: Sequence[int] | None) -> list[Run]:
    numbers = {run.seed for run in runs}
    for arm in arms or ():
        _check_arm(arm, runs, "--arms")
    for seed in seeds or ():
        if seed not in numbers:
            raise KddaError(f"--seeds: no run at seed {seed}; there are {', '.join(map(str, sorted(numbers)))}")
    found = [run for run in runs if (not arms or run.arm in arms) and (not seeds or run.seed in seeds)]
    if not found:
        raise KddaError("none of these arms has run at any of these seeds")
    return found


def _begun(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob(RECIPE) if not is_complete(path.parent) and not is_system(path.parent))


def _unfinished(folders: Sequence[Path]) -> str:
    return f"; left out, unfinished: {', '.join(map(str, folders))}" if folders else ""


def _check_one_experiment(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs:
        if not run.recipe or not run.events:
            missing = RECIPE if not run.recipe else METRICS
            raise KddaError(f"{run.folder} has predictions but no {missing}: it is no whole run folder")
        for key in SAME:
            if run.recipe.get(key) != first.recipe.get(key):
                raise KddaError(
                    f"runs of two recipes: {key} is {first.recipe.get(key)!r} in {first.folder}, but "
                    f"{run.recipe.get(key)!r} in {run.folder}; report them one by one"
                )

    for arm, own in _by_arm(runs).items():
        _check_one_arm(arm, own)


def _check_one_arm(arm: str, runs: Sequence[Run]) -> None:
    """Runs of one arm may differ in seed and learning rate alone."""
    first, seen = runs[0], dict[tuple[int, float | None], Run]()
    for run in runs:
        for key in ("arms", "distill", "teachers"):
            if run.recipe.get(key) != first.recipe.get(key):
                raise KddaError(
                    f'two recipes under one name: {key} of arm "{arm}" is {first.recipe.get(key)!r} in '
                    f"{first.folder}, but {run.recipe.get(key)!r} in {run.folder}; report them one by one"
                )
        other = seen.setdefault((run.seed, run.learning_rate), run)
        if other is not run:
            raise KddaError(f'arm "{arm}" has run twice at seed {run.seed}: in {other.folder} and in {run.folder}')


def _scored(runs: Sequence[Run]) -> Scored:
    said = next((e for run in runs for e in run.events if e["event"] == "task"), None)
    if said is None:
        raise KddaError(f"{runs[0].folder / METRICS} does not say which scores its task has: a run of an older kdda")
    return Scored(said["metric"], tuple(said["scores"]))


def _environment(runs: Sequence[Run]) -> list[str]:
    versions = {tuple(sorted(run.environment.items())) for run in runs}
    lines = ["; ".join(f"{name} {value}" for name, value in found) for found in sorted(versions, key=str)]
    return [f"Made with {line}." for line in lines]


def _data(runs: Sequence[Run]) -> Table:
    """What each arm trained on, as its own tokenizer cut it, and what it was chosen and scored on."""
    rows = []
    for arm, own in _by_arm(runs).items():
        said: dict[str, Any] = next((e for e in own[0].events if e["event"] == "task"), {"data": {}})
        for language, counts in said["data"].items():
            sizes = [counts[name] for name in ("rows", "windows", "tokens")]
            sizes += [found.get(language, {}).get("rows", 0) for found in (own[0].dev, own[0].test)]
            rows.append([f"{arm}, {language}", *(f"{size:,}" if size else "" for size in sizes)])
    header = ["arm, language", "training rows", "windows", "tokens", "dev rows", "test rows"]
    return Table("Data", header, rows)


def _cost(runs: Sequence[Run], arms: Sequence[str], found: Sequence[Difference], against: str | None) -> Table:
    """Seconds and memory; and what a minute more than that of the `baseline` has given."""
    by_arm, rows = _by_arm(runs), []
    plain = against or baseline(runs) or ""
    gains = {own.arm: own for own in found if own.baseline == plain}
    for arm in arms:
        own = by_arm[arm]
        peaks = [float(e["peak_mb"]) for run in own for e in run.events if e["event"] == "final-cost"]
        steps = [max((e.get("step", 0) for e in run.events), default=0) for run in own]
        each = [run.seconds / step for run, step in zip(own, steps, strict=True) if step]
        cells = [spread([run.seconds for run in own], digits=0), spread(each, digits=2) if each else ""]
        cells.append(spread(peaks, digits=0) if peaks else "")
        if gains:
            cells.append(_a_minute(gains[arm], own, by_arm[plain]) if arm in gains else "")
        rows.append([arm, *cells])
    notes = ["Seconds of training, all sittings. Peak memory is the process's, which may have run other arms before."]
    header = ["arm", "seconds", "seconds a step", "peak MB"]
    if gains:
        header.append(f"points a minute beyond {plain}")
        notes.append(
            f"Points a minute: blank within twice the spread of {plain}'s minutes, which one seed does not have. "
            "Teachers' own training, which all arms and seeds that hear them share, is in no arm's seconds."
        )
    return Table("Cost", header, rows, notes)


def _a_minute(found: Difference, ours: Sequence[Run], theirs: Sequence[Run]) -> str:
    """Points for each minute more, over the seeds that both have run; nothing where minutes may differ by chance."""
    _, sd = mean_sd([run.seconds for run in theirs])
    means = [fmean(run.seconds for run in own if run.seed in found.seeds) for own in (ours, theirs)]
    extra = means[0] - means[1]
    return "" if sd is None or extra <= 2 * sd else f"{60 * found.by_example.mean / extra:+.1f}".replace("-", "−")


def _by_arm(runs: Sequence[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        found[run.arm].append(run)
    return found


def _breakdown(runs: Sequence[Run], arms: Sequence[str], language: str) -> Table:
    """F1 by label, or by the length of the first gold answer."""
    per_arm: dict[str, dict[str, list[float]]] = {arm: defaultdict(list) for arm in arms}
    for run in runs:
        for part, score in _parts(run, language).items():
            per_arm[run.arm][part].append(score)
    columns = sorted({part for own in per_arm.values() for part in own})
    rows = [[arm, *(spread(own[part]) if own.get(part) else "" for part in columns)] for arm, own in per_arm.items()]
    what = "F1 by label" if "per_label" in runs[0].test[language] else "F1 by length of the answer"
    return Table(f"{what}, {language} test rows", ["arm", *columns], rows)


def _parts(run: Run, language: str) -> dict[str, float]:
    labels: dict[str, float] | None = run.test[language].get("per_label")
    if labels is not None:
        return labels
    found: dict[str, list[float]] = defaultdict(list)
    for own in row_scores(run, language).values():
        found[_length_of(own.row)].append(own.score)
    return {name: fmean(scores) for name, scores in found.items()}


def _length_of(row: dict[str, Any]) -> str:
    if not row["golds"]:
        return "no answer"
    count = len(row["golds"][0].split())
    low, high = next(bound for bound in LENGTHS if count <= bound[1])
    return f"{low} or more" if high == LENGTHS[-1][1] else f"{low} to {high}"
