"""Every kind of model that a recipe names is opened from the files that its repository has, and teaches and learns."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kdda.models.load import load_checkpoint
from tests.conftest import Bench
from tests.models.hub import HUB

TEXT = "Thủ đô của Việt Nam là Hà Nội, không phải Huế."


@pytest.mark.parametrize("kind", HUB)
def test_its_tokens_are_slices_of_the_raw_text_with_their_tones(kind: str, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(str(HUB[kind](tmp_path / kind)))
    assert checkpoint.model.dtype == torch.float32
    (window,) = checkpoint.encoder(60).windows(["Huế ?", TEXT])
    part = window.parts[-1]
    spans = [(int(a), int(b)) for a, b in zip(part.starts, part.ends, strict=True)]
    assert spans == sorted(spans) and all(a <= b for a, b in spans)  # bytes of a letter share its span
    assert {i for a, b in spans for i in range(a, b)} >= {i for i, letter in enumerate(TEXT) if letter != " "}
    known = {checkpoint.tokenizer.convert_ids_to_tokens(int(i)) for i in part.ids}
    assert kind == "roberta" or not {"thu", "viet", "ha", "noi"} & {piece.lower().strip("▁Ġ#@") for piece in known}


@pytest.mark.slow
@pytest.mark.parametrize("kind", HUB)
def test_it_teaches_and_learns_inference(kind: str, bench: Bench, command: Any) -> None:
    made = str(HUB[kind](bench.folder / kind))
    bench.values["teachers"]["aa"] = made
    bench.values["training"] |= {"epochs": 1, "max_length": 48}
    bench.values["arms"] = {"alone": {"train": "target", "student": made}, "taught": {"distill": True}}
    code, text, error = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 0, error
    assert "| alone" in text and "| taught" in text
    saved = load_file(bench.folder / "runs/nli/alone/seed-1/model/model.safetensors")
    assert all(values.dtype == torch.float32 and values.isfinite().all() for values in saved.values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", HUB)
def test_it_teaches_and_learns_reading(kind: str, bench: Bench, command: Any) -> None:
    bench.read()
    made = str(HUB[kind](bench.folder / kind))
    bench.values["teachers"]["aa"] = made
    bench.values["training"] |= {"epochs": 1, "max_length": 48, "stride": 8}
    bench.values["arms"] = {"alone": {"train": "target", "student": made}, "taught": {"distill": True}}
    code, text, error = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 0, error
    assert "| alone" in text and "| taught" in text
