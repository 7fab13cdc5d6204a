"""Which arm is compared with which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdda.runs.folder import Run


def in_order(runs: Sequence[Run]) -> list[Run]:
    """Arms that hear no teacher first, of these the ones on fewest rows; then by name and seed."""
    return sorted(runs, key=lambda run: (run.is_distilled, _size(run), run.arm, run.seed))


def _size(run: Run) -> int:
    said: dict[str, Any] = next((e for e in run.events if e["event"] == "task"), {})
    return 0 if run.is_distilled else sum(own["rows"] for own in said.get("data", {}).values())


def plain_arms(runs: Sequence[Run]) -> list[str]:
    """The arms that others are held against: those that hear no teacher, or the first one where all do."""
    plain = dict.fromkeys(run.arm for run in runs if not run.is_distilled)
    return list(plain) or [run.arm for run in runs[:1]]


def baseline(runs: Sequence[Run]) -> str | None:
    """The arm that a gain by listening is told against: it hears none, is made as most of those are that do, and trains
    on most rows; the first of equals.
    """
    plain, heard = (
        [run for run in runs if not run.is_distilled],
        [run.configuration for run in runs if run.is_distilled],
    )
    return min(plain, key=lambda run: (-heard.count(run.configuration), -_size(run), run.arm)).arm if plain else None


def comparison_baselines(runs: Sequence[Run], against: str | None = None) -> dict[str, list[str]]:
    """The arms that each one is held against.

    They hear no teacher and are made as it is. Where no such arm is there, a distilled arm is compared with all that
    hear none, and one that hears none against the `baseline`.

    Args:
        against: this one alone instead.
    """
    made = {run.arm: run.configuration for run in runs}
    listening, plain, first = {run.arm for run in runs if run.is_distilled}, plain_arms(runs), baseline(runs)
    found = {}
    for arm in made:
        others = [other for other in plain if other != arm]
        alike = [other for other in others if made[other] == made[arm]]
        rest = others if arm in listening or first is None else [other for other in others if other == first]
        found[arm] = alike or rest if against is None else [against] * (arm != against)
    return found
