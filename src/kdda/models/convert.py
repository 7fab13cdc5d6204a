"""Pickled weights (pytorch_model.bin) as safetensors, opened by torch's loader that reads tensors and runs no code."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from torch import Tensor

from kdda.errors import KddaError
from kdda.models.load import load_checkpoint
from kdda.models.resolve import MINI, open_or_explain, resolve
from kdda.runtime.folders import new_folder

INDEX = "pytorch_model.bin.index.json"  # says which file holds which tensor, where there are several

PICKLED = (".bin", ".pt", ".pth", ".ckpt")

# Files that are not copied: weights in other forms, code, and the state of a training.
LEFT_OUT = (*PICKLED, ".safetensors", ".h5", ".msgpack", ".onnx", ".ot", ".gguf", ".py", ".tflite", ".index.json")

DOWNLOADED = ("*.json", "*.txt", "*.model", "*.codes", "*.md", "LICENSE*", "pytorch_model*")


@dataclass(frozen=True)
class ConvertedCheckpoint:
    """What was converted.

    Attributes:
        tensors: their number.
        dtypes: tensors of each data type, which stay as they were stored.
        files: that were copied beside the weights.
        opens_as: what the new folder is, in words, or why it cannot be opened yet.
    """

    tensors: int
    dtypes: Mapping[str, int]
    files: tuple[str, ...]
    opens_as: str

    def __str__(self) -> str:
        """What `kdda convert` prints."""
        dtypes = ", ".join(f"{count:,} {dtype}" for dtype, count in self.dtypes.items())
        return (
            f"{self.tensors:,} tensors ({dtypes}, as they were stored); beside them {', '.join(self.files)}\n"
            f"{self.opens_as}"
        )


def convert(name: str, out: Path) -> ConvertedCheckpoint:
    """Write a checkpoint whose weights are pickled into a new folder, as safetensors with its tokenizer and config.

    Args:
        name: a folder, or a Hub id, whose files are then downloaded.
        out: a new or empty folder.

    Raises:
        KddaError: no such checkpoint, none with pickled weights, or a pickle that holds anything but tensors; a folder
            that is not empty.
    """
    with new_folder(out) as folder:
        source = _folder_of(name)
        weights = _read_weights(name, source)
        files = _copy_files(source, folder)
        save_torch_state_dict(weights, folder, metadata={"format": "pt"})
    dtypes = Counter(str(weight.dtype).removeprefix("torch.") for weight in weights.values())
    return ConvertedCheckpoint(len(weights), dtypes, files, _opens_as(out))


def _folder_of(name: str) -> Path:
    """The folder of a checkpoint; a Hub id is downloaded."""
    if name in MINI:
        raise KddaError(f'"{name}" needs no conversion: kdda opens it by its name')
    folder = resolve(name)  # a folder, or the Hub id as it is; a path without a folder is refused there
    if folder is not None and Path(folder).is_dir():
        return Path(folder)
    try:
        return Path(snapshot_download(name, allow_patterns=list(DOWNLOADED)))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise KddaError(f'"{name}" is no local folder, and the Hub gave no such model: {reason}') from None


def _read_weights(name: str, folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder's pickled files."""
    weights: dict[str, Tensor] = {}
    for path in _pickled_files(name, folder):
        weights |= _tensors_of(path)
    return weights


def _pickled_files(name: str, folder: Path) -> list[Path]:
    """The files of pickled weights: those that the index names, or pytorch_model.bin, or the only one there is."""
    if (folder / INDEX).is_file():
        files = open_or_explain(lambda: _indexed_files(folder), name)
    elif (folder / "pytorch_model.bin").is_file():
        files = [folder / "pytorch_model.bin"]
    else:
        files = [
            path for path in sorted(folder.iterdir()) if path.suffix in PICKLED and "training_args" not in path.name
        ]
        if len(files) > 1:
            names = ", ".join(path.name for path in files)
            raise KddaError(f'"{name}": which of these are its weights? {names}; rename that one to pytorch_model.bin')
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise KddaError(f'"{name}": {INDEX} names {missing[0]}, which is not there; download the checkpoint again')
    if files:
        return files
    if any(folder.glob("*.safetensors")):
        raise KddaError(f'"{name}" has safetensors weights already: kdda opens it as it is')
    raise KddaError(f'"{name}" has no weights: expected pytorch_model.bin, or files that {INDEX} names')


def _indexed_files(folder: Path) -> list[Path]:
    """The files that the index of a folder's weights names, each once."""
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    names = {Path(file).name for file in index["weight_map"].values()}
    return [folder / name for name in sorted(names)]


def _tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickled file; torch refuses everything else that a pickle can hold."""
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = " ".join(str(error).split())
        asked = reason.partition("GLOBAL ")[2].split(" ")[0]
        what = f"it asks for {asked}" if asked else f"{reason[:120]}"
        raise KddaError(f"{path}: holds more than tensors ({what}), which could run code; it was not opened") from None
    except Exception as error:  # a cut file is an OSError, EOFError, RuntimeError or zipfile error
        reason = " ".join(str(error).split())[:200]
        raise KddaError(f"{path}: damaged or no file of torch ({type(error).__name__}: {reason})") from None
    if isinstance(contents, dict) and isinstance(contents.get("state_dict"), dict):
        contents = contents["state_dict"]
    if not isinstance(contents, dict) or not all(isinstance(value, Tensor) for value in contents.values()):
        raise KddaError(f"{path}: expected a mapping of names to tensors, as model.state_dict() gives it")
    return contents


def _copy_files(source: Path, folder: Path) -> tuple[str, ...]:
    """Copy what belongs to a checkpoint beside its weights: config, tokenizer, card and licence; never code."""
    names = []
    for path in sorted(source.iterdir()):
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith(LEFT_OUT):
            shutil.copy(path, folder / path.name)
            names.append(path.name)
    return tuple(names)


def _opens_as(folder: Path) -> str:
    """Open the new folder, and say what it is."""
    try:
        checkpoint = load_checkpoint(str(folder))
    except KddaError as error:
        return f"WARNING: kdda cannot open it yet: {error}"
    config: Any = checkpoint.model.config
    return (
        f"{folder}: opens as {type(checkpoint.model).__name__}, {config.num_hidden_layers} layers × "
        f"{checkpoint.width}, tokenizer {type(checkpoint.tokenizer).__name__}"
    )
