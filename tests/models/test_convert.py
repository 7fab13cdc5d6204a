"""Pickled weights become safetensors with the same values; a pickle that holds code is refused and never run."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kdda.models.load import load_checkpoint
from tests.conftest import make_model


def pickled(folder: Path, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Turn a checkpoint's safetensors into pytorch_model.bin, as old checkpoints have it."""
    make_model(folder)
    weights = {name: weight.to(dtype) for name, weight in load_file(folder / "model.safetensors").items()}
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_converted_checkpoint_has_the_values_and_types_that_were_stored(
    dtype: torch.dtype, tmp_path: Path, command: Any
) -> None:
    weights = pickled(tmp_path / "old", dtype)
    code, out, errors = command("convert", tmp_path / "old", tmp_path / "new")
    assert code == 0, errors
    assert str(dtype).removeprefix("torch.") in out
    assert "opens as BertModel, 2 layers × 16" in out
    converted = load_file(tmp_path / "new" / "model.safetensors")
    assert converted.keys() == weights.keys()
    for name, weight in weights.items():
        assert torch.equal(converted[name], weight)
        assert converted[name].dtype == dtype
    assert not list((tmp_path / "new").glob("*.bin"))
    assert load_checkpoint(str(tmp_path / "new")).tokenizer.tokenize("mèo ngủ") == ["mèo", "ngủ"]


def test_weights_in_several_files_and_tensors_of_two_names_are_converted(tmp_path: Path, command: Any) -> None:
    weights = pickled(tmp_path / "old")
    (tmp_path / "old" / "pytorch_model.bin").unlink()
    names = sorted(weights)
    weights["copy.weight"] = weights[names[0]]  # one tensor under two names, as tied embeddings are stored
    parts = {"pytorch_model-1.bin": [*names[:5], "copy.weight"], "pytorch_model-2.bin": names[5:]}
    index: dict[str, str] = {}
    for file, part in parts.items():
        torch.save({name: weights[name] for name in part}, tmp_path / "old" / file)
        index |= dict.fromkeys(part, file)
    (tmp_path / "old" / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}), "utf-8")
    code, _, errors = command("convert", tmp_path / "old", tmp_path / "new")
    assert code == 0, errors
    converted = load_file(tmp_path / "new" / "model.safetensors")
    for name in names[1:]:
        assert torch.equal(converted[name], weights[name])


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def _with_code(folder: Path) -> None:
    torch.save({"weight": torch.ones(2), "payload": Payload(folder / "ran")}, folder / "pytorch_model.bin")


def _plain_pickle(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(folder / "ran")))


def _cut(folder: Path) -> None:
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:1000])


def _not_tensors(folder: Path) -> None:
    torch.save([1, 2], folder / "pytorch_model.bin")


def _missing_part(folder: Path) -> None:
    index = {"weight_map": {"embeddings.weight": "pytorch_model-1.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), "utf-8")


def _index_without_files(folder: Path) -> None:
    (folder / "pytorch_model.bin.index.json").write_text("[]", "utf-8")


def _no_weights(folder: Path) -> None:
    (folder / "pytorch_model.bin").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_with_code, "could run code; it was not opened"),
        (_plain_pickle, "could run code; it was not opened"),
        (_cut, "damaged or no file of torch"),
        (_not_tensors, "expected a mapping of names to tensors"),
        (_missing_part, "pytorch_model-1.bin, which is not there"),
        (_index_without_files, "old"),
        (_no_weights, "has no weights"),
    ],
)
def test_what_is_no_file_of_tensors_is_refused_and_nothing_is_written(
    spoil: Any, message: str, tmp_path: Path, command: Any
) -> None:
    pickled(tmp_path / "old")
    spoil(tmp_path / "old")
    code, _, errors = command("convert", tmp_path / "old", tmp_path / "new")
    assert code == 2
    assert message in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "old" / "ran").exists()
    assert not (tmp_path / "new").exists()


def test_a_checkpoint_with_safetensors_needs_no_conversion(tmp_path: Path, command: Any) -> None:
    code, _, errors = command("convert", make_model(tmp_path / "model"), tmp_path / "new")
    assert code == 2
    assert "has safetensors weights already" in errors
