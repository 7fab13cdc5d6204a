"""Switches that change what a training costs, and not what it finds."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kdda.errors import KddaError
from kdda.models.load import load_checkpoint
from kdda.recipe.schema import Training
from kdda.training.config import CHECKPOINTING, DistillationConfig
from kdda.training.fine_tune import check_switches
from kdda.transport.sinkhorn import sinkhorn_divergence
from tests.conftest import Bench, make_model


def weights(bench: Bench, command: Any, name: str, *switches: str) -> dict[str, torch.Tensor]:
    out = bench.folder / name
    sets = [part for switch in switches for part in ("--set", switch)]
    code, _, message = command("run", bench.write(), "--out", out, "--arms", "student-kdda", *sets)
    assert code == 0, message
    return load_file(out / "nli/student-kdda/seed-1/model/model.safetensors")


def test_layers_that_are_computed_again_give_the_same_weights(bench: Bench, command: Any) -> None:
    kept, again = weights(bench, command, "a"), weights(bench, command, "b", "training.gradient_checkpointing=true")
    assert all(torch.equal(kept[key], again[key]) for key in kept)  # dropout included


def config(**training: Any) -> DistillationConfig:
    return DistillationConfig.from_recipe(Training(precision="fp32", **training), None, output_dir="out", seed=1)


def test_the_switches_reach_the_trainer() -> None:
    switched = config(gradient_checkpointing=True, compile=True)
    assert getattr(switched, CHECKPOINTING) and switched.torch_compile
    assert not getattr(config(), CHECKPOINTING) and not config().torch_compile


def test_what_cannot_work_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_checkpoint(make_model(tmp_path / "student")).model
    monkeypatch.setattr(type(model), "supports_gradient_checkpointing", False)
    with pytest.raises(KddaError, match="type bert cannot compute its layers again"):
        check_switches(config(gradient_checkpointing=True), model)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    with pytest.raises(KddaError, match="needs a C\\+\\+ compiler"):
        check_switches(config(compile=True), model)


def test_stored_self_terms_save_their_solve_in_training(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[Any] = []

    def watched(*clouds: Any, **settings: Any) -> Any:
        handed.append(settings["y_term"])
        return sinkhorn_divergence(*clouds, **settings)

    monkeypatch.setattr("kdda.losses.sinkhorn.sinkhorn_divergence", watched)
    weights(bench, command, "runs")
    assert handed and all(term is not None for term in handed)
