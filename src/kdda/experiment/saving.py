"""Which runs save their models (`kdda run --save all|best|none`); best.json beside an arm's runs names its best run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

from kdda.errors import KddaError, unknown_choice
from kdda.experiment.specs import StudentRun
from kdda.recipe.schema import Recipe
from kdda.runs.folder import MODEL_FOLDER
from kdda.runtime.files import write_atomically

Save = Literal["all", "best", "none"]  # every run's model, that of each arm's best run on development rows, or none

SAVES: Sequence[Save] = get_args(Save)

BEST = "best.json"  # in the folder of an arm: which run's model `--save best` has kept there


def as_save(name: str) -> Save:
    """The value of --save with a name.

    Raises:
        KddaError: there is none.
    """
    for save in SAVES:
        if name == save:
            return save
    raise KddaError(unknown_choice("--save", name, SAVES))


def check_save(save: Save, recipe: Recipe) -> None:
    """Refuse to drop models that a recipe needs.

    Raises:
        KddaError: its systems need them.
    """
    if save != "all" and recipe.systems:
        raise KddaError(f"--save {save}: this recipe's systems read with the models of all runs; take --save all")


class BestRun:
    """The run of an arm whose model is kept: the one with the highest development score so far.

    Of equal scores the run at the lowest learning rate is the best, then that with the lowest seed, in whichever order
    the runs finish. Models of runs that `--save best` has not made stay.

    Args:
        folder: of the arm, in which its run folders are. Whoever uses this object holds the folder's lock.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._stored: dict[str, Any] = {}
        with suppress(OSError, ValueError):  # no run has finished, or the file is cut
            self._stored = json.loads((folder / BEST).read_text(encoding="utf-8"))

    def is_beaten_by(self, run: StudentRun, run_folder: Path, score: float) -> bool:
        """Whether a run is to take the place of the best one so far.

        Args:
            run_folder: below the arm's folder.
            score: the mean over the targets of the run's scores on development rows.
        """
        name = self._stored.get("run")
        if name in (None, self._name(run_folder)) or not (self.folder / name / MODEL_FOLDER).is_dir():
            return True
        stored = (-self._stored["score"], self._stored["learning_rate"] or 0.0, self._stored["seed"])
        return (-score, run.learning_rate or 0.0, run.seed) < stored

    def replace(self, run: StudentRun, run_folder: Path, score: float) -> None:
        """Note a run whose model has been saved as the best one, and remove the model of the former best."""
        name = self._stored.get("run")
        if name not in (None, self._name(run_folder)):
            shutil.rmtree(self.folder / name / MODEL_FOLDER, ignore_errors=True)
        self._stored = {
            "run": self._name(run_folder),
            "score": score,
            "seed": run.seed,
            "learning_rate": run.learning_rate,
        }
        write_atomically(self.folder / BEST, json.dumps(self._stored, allow_nan=False) + "\n")

    def _name(self, run_folder: Path) -> str:
        """A run folder's path from the arm's folder, such as lr-1e-05/seed-1."""
        return run_folder.relative_to(self.folder).as_posix()
