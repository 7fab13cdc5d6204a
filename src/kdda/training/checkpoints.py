"""Resuming: the last whole checkpoint of a folder, by which a killed run goes on; checkpoints cut short are removed."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end; those that a kill has cut are removed."""
    while last := get_last_checkpoint(str(folder)):
        if _is_whole(Path(last)):
            return str(last)
        shutil.rmtree(last)
    return None


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint's files are complete.

    Trainer writes its state last; the files before it must end where their headers say. Those of torch (optimizer,
    schedule, random states) are zip archives, whose directory stands at their end.
    """
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        safe_open(checkpoint / "model.safetensors", "pt")
    except (OSError, ValueError, SafetensorError):
        return False
    return all(zipfile.is_zipfile(path) for path in (*checkpoint.glob("*.pt"), *checkpoint.glob("*.pth")))
