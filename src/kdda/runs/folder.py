"""Run folders: the only interface between training and reporting (see the README)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
import yaml

from kdda.errors import KddaError
from kdda.recipe.renamed import old_names

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster where libyaml is there

RECIPE = "recipe.yaml"

ENVIRONMENT = "environment.json"

METRICS = "metrics.jsonl"

PREDICTIONS = "predictions.jsonl"  # written last: a folder that has it is complete

MODEL_FOLDER = "model"

SYSTEMS = "systems"  # <OUT>/systems/<system>/seed-<n>: an arm's reader among all passages, not a run of training

FAILURE = "failure.txt"  # why a run did not finish, where it could still be written

@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        test: language → its scores on the test rows.
        dev: language → its scores on the development rows, by the selected model.
        learning_rate: at which it was made; arms that search for theirs have runs at several.
        seconds: training time over all sittings.
        recipe: the resolved recipe that made it.
        environment: what it was made with.
        events: all of metrics.jsonl.
    """

    folder: Path
    arm: str
    seed: int
    test: dict[str, dict[str, Any]]
    dev: dict[str, dict[str, Any]]
    seconds: float
    learning_rate: float | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_distilled(self) -> bool:
        """Whether teachers spoke to it."""
        return self.recipe.get("arms", {}).get(self.arm, {}).get("distill", False) is not False

    @property
    def configuration(self) -> tuple[Any, Any, Any]:
        """What sets its student, training and rows apart from other arms'."""
        own = self.recipe.get("arms", {}).get(self.arm, {})
        return own.get("student"), own.get("training"), own.get("rows") or None

    @property
    def teachers(self) -> dict[str, dict[str, Any]]:
        """Who spoke to it, by language: scores on development rows, and a name that tells one model's rows apart."""
        changes = self.recipe.get("arms", {}).get(self.arm, {}).get("teachers") or {}
        found = {}
        for event in self.events:
            if event["event"] == "final-teacher":
                language = event["language"]
                spec = {**(self.recipe.get("teachers", {}).get(language) or {}), **(changes.get(language) or {})}
                rows = f", {spec['rows']:,} rows" if spec.get("rows") else ""
                found[language] = {**event, "name": _from_here(event["model"]) + rows}
        return found

def _from_here(model: str) -> str:
    """A model's name; a folder below the working directory by its way from there."""
    path = Path(model)
    below = path.is_absolute() and path.is_relative_to(Path.cwd())
    return str(path.relative_to(Path.cwd())) if below else model

class RowScore(NamedTuple):
    """A test row's score, in per cent, the group it belongs to, and the row as it was written."""

    score: float
    group: str
    row: dict[str, Any]

def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The events of a metrics file; a last line cut by a kill is left out."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1] if line.endswith("}")]

def is_complete(folder: Path) -> bool:
    return (folder / PREDICTIONS).is_file()

def read_run(folder: Path) -> Run:
    """A finished run from its folder, whose name ends in its seed."""
    events = read_metrics(folder / METRICS)
    final = {kind: {e["language"]: e for e in events if e["event"] == f"final-{kind}"} for kind in ("test", "dev")}
    seconds = float(max((e["seconds"] for e in events if not e["event"].startswith("final")), default=0))
    seed = int(folder.name.removeprefix("seed-"))
    recipe = read_recipe(folder)
    arm = next(iter(recipe.get("arms", {})), folder.parent.name)
    rate = next(iter(recipe.get("learning_rates") or []), None)
    environment = json.loads(_text(folder / ENVIRONMENT) or "{}")
    return Run(folder, arm, seed, final["test"], final["dev"], seconds, rate, recipe, environment, events)

def read_recipe(folder: Path) -> dict[str, Any]:
    """A run folder's recipe; empty where there is none.

    Raises:
        KddaError: a field that has another name now.
    """
    path = folder / RECIPE
    recipe: dict[str, Any] = yaml.load(_text(path), Loader=LOADER) or {}
    old = list(old_names(recipe))
    if old:
        messages = "; ".join(name.message for name in old)
        raise KddaError(f"{path} was written by an older kdda: {messages}; rename these fields there, or run it again")
    return recipe


def row_score(row: Mapping[str, Any]) -> float:
    """A prediction's own score, in per cent: F1 of an answer, or whether a label is right."""
    return 100.0 * float(row["f1"] if "f1" in row else row["gold"] == row["predicted"])

def row_scores(run: Run, language: str) -> dict[str, RowScore]:
    """Every test row's own score by id: F1 of an answer, or whether a label is right."""
    rows = (json.loads(line) for line in _text(run.folder / PREDICTIONS).split("\n") if line)
    return {row["id"]: RowScore(row_score(row), row["group"], row) for row in rows if row["language"] == language}

def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""

def is_system(folder: Path) -> bool:
    """Whether a folder is that of a system, whose predictions no training has made."""
    return folder.parent.parent.name == SYSTEMS

def find_runs(folder: Path) -> list[Run]:
    """All finished runs below a folder, ordered by arm and seed."""
    done = [path.parent for path in sorted(folder.rglob(PREDICTIONS)) if not is_system(path.parent)]
    return sorted((read_run(path) for path in done), key=lambda run: (run.arm, run.seed))
