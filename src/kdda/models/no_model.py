"""Refusals of paths that are no model: an empty name, a file, a folder without one; 3 of the models below are named."""

from __future__ import annotations

import os
from pathlib import Path

from kdda.errors import InsteadError, KddaError
from kdda.runs.folder import CHECKPOINTS, MODEL_FOLDER, RECIPE, TEACHERS, missing_model
from kdda.runtime.folders import home_advice, listing, what_is_near

CONFIG = "config.json"  # of transformers; a folder without it is no model

WEIGHT_FILES = (".safetensors", ".bin", ".onnx")  # how the names of files of weights end

EXPECTED = (
    f"expected a folder with {CONFIG}, weights and a tokenizer, as kdda run, kdda export or save_pretrained write"
)

NAMED_MODELS = 3  # of the models below a folder, in a message

DEEPEST = 6  # levels of folders in which models are looked for: runs/<task>/<arm>/<seed>/model has four

MOST_FOLDERS = 3000  # folders that are looked at, so that a refusal comes at once in a home folder, too


def refuse_no_model(name: str) -> None:
    """Refuse a name of a model that is empty, a file, or a folder which is no model; others pass, a Hub id among them.

    Raises:
        InsteadError: models stand below the folder, or the file belongs to one; names them.
        KddaError: says what the name is, or what the folder holds.
    """
    if not name.strip():
        raise KddaError(f"the name of the model is empty: {EXPECTED}, or give a mini model or a Hub id")
    path = Path(name)
    if path.is_file():
        _refuse_file(name, path)
    if not path.is_dir():
        reason = missing_model(path)
        if reason:
            raise KddaError(reason)
        return
    if not (path / CONFIG).is_file():
        _refuse_folder(name, path)
    if not any(path.glob("*tokenizer*")) and not any(path.glob("vocab*")) and not any(path.glob("*.model")):
        # transformers would make an empty tokenizer, which reads every text as unknown tokens
        raise KddaError(f'"{name}" holds no tokenizer, only {listing(path)}: {EXPECTED}')


def refuse_missing_path(name: str) -> None:
    """Refuse a name of a model that is none, and a path without a folder; mini models and Hub ids pass.

    Raises:
        KddaError: says what is there instead.
    """
    refuse_no_model(name)
    looks_like_a_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_like_a_path and not Path(name).is_dir():
        raise no_folder(name)


def no_folder(name: str) -> KddaError:
    """The refusal of a path without a folder; names the nearest folder that is there, and what it holds."""
    return KddaError(f'no folder "{name}"{home_advice(name)}{what_is_near(Path(name))}')


def models_below(folder: Path) -> list[Path]:
    """The models below a folder, in order; those of teachers only where there are no others, no checkpoints."""
    models: list[Path] = []
    for seen, (place, names, files) in enumerate(os.walk(folder)):
        path = Path(place)
        depth = len(path.relative_to(folder).parts)
        is_model = CONFIG in files and any(file.endswith(WEIGHT_FILES) for file in files)
        if is_model:
            models.append(path)
        if is_model or depth >= DEEPEST or seen >= MOST_FOLDERS:
            names.clear()  # `os.walk` goes on into the folders that this list still has
        names.sort()
        for name in list(names):
            if name == CHECKPOINTS or name.startswith("."):
                names.remove(name)
    students = []
    for path in models:
        if TEACHERS not in path.relative_to(folder).parts:
            students.append(path)
    return students or models


def _refuse_file(name: str, path: Path) -> None:
    """Refuse a file in place of a model's folder."""
    if (path.parent / CONFIG).is_file():
        raise InsteadError(f'"{name}" is a file of a model, which is the folder {path.parent}', name, str(path.parent))
    raise KddaError(f'"{name}" is a file and no model: {EXPECTED}')


def _refuse_folder(name: str, path: Path) -> None:
    """Refuse a folder without a model in it: of a run, of models, or of anything else."""
    is_run = (path / RECIPE).is_file()
    if is_run and (path / MODEL_FOLDER / CONFIG).is_file():
        model = path / MODEL_FOLDER
        raise InsteadError(f'"{name}" is the folder of a run: its model is {model}', name, str(model))
    reason = missing_model(path)
    if reason:
        raise KddaError(reason)
    below = models_below(path)
    if below:
        named = ", ".join(map(str, below[:NAMED_MODELS]))
        if len(below) > NAMED_MODELS:
            named += f" and {len(below) - NAMED_MODELS:,} more"
        raise InsteadError(f'"{name}" is no model; the models below it: {named}', name, str(below[0]))
    if is_run:
        raise KddaError(
            f'"{name}" is the folder of a run that has no model yet: it has not finished; the command that began it '
            "continues it"
        )
    if not any(path.iterdir()):
        raise KddaError(f'"{name}" is an empty folder: {EXPECTED}')
    raise KddaError(f'"{name}" is a folder without a model, and none is below it; it holds {listing(path)}: {EXPECTED}')
