"""Teachers compute where `compute_device` says: a training on a device whose tensors meet no others."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from kdda import DistillationConfig, DistillationTrainer
from tests.conftest import make_rows
from tests.heads import make_judge
from tests.spy_device import DEVICE, OffDeviceError, spying

ROWS = {"aa": make_rows("aa", 6, seed=0), "bb": make_rows("bb", 6, seed=1)}


@pytest.fixture
def models(tmp_path: Path) -> dict[str, tuple[Any, Any]]:
    """A student and a teacher on the CPU, with their tokenizers."""
    pairs = {}
    for name in ("student", "teacher"):
        path = make_judge(tmp_path / name)
        pairs[name] = (AutoModelForSequenceClassification.from_pretrained(path), AutoTokenizer.from_pretrained(path))
    return pairs


def trainer_of(models: dict[str, tuple[Any, Any]], out: Path, gigabytes: float) -> Any:
    """To be made on the device; nothing is stored at 0 gigabytes."""
    args = DistillationConfig(
        str(out),
        per_device_train_batch_size=6,
        num_train_epochs=1,
        precision="fp32",
        teacher_cache_gb=gigabytes,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        optim="adamw_torch",  # the fused one has kernels for devices that exist only
    )
    teachers = {"aa": models["teacher"], "bb": models["teacher"]}
    return DistillationTrainer(
        models["student"], teachers, task="nli", train_dataset=ROWS, args=args, say=lambda _: None
    )


@pytest.mark.parametrize("gigabytes", [0.0, 1.0], ids=["live", "stored"])
def test_no_tensor_of_a_teacher_is_met_off_the_device(
    gigabytes: float, models: dict[str, tuple[Any, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with spying(monkeypatch) as mode:
        trainer = trainer_of(models, tmp_path / "out", gigabytes)
        trainer.train()
        representations = trainer.caches["aa"][0].batch([0, 1])[0]
        teacher_device = models["teacher"][0].device
    assert mode.passes > 0 and trainer.state.global_step == 2
    assert trainer.caches["aa"][0].is_stored == (gigabytes > 0)
    for tensor in (representations.states, representations.mask):
        assert tensor.device == DEVICE
    if gigabytes:
        assert representations.self_term.device == DEVICE
        assert teacher_device.type == "cpu"  # its memory is the training's
    else:
        assert teacher_device == DEVICE


@pytest.mark.parametrize("gigabytes", [0.0, 1.0], ids=["live", "stored"])
def test_a_teacher_that_stays_on_the_cpu_is_noticed(
    gigabytes: float, models: dict[str, tuple[Any, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models["teacher"][0], "to", lambda *_, **__: None)
    with spying(monkeypatch), pytest.raises(OffDeviceError):
        trainer_of(models, tmp_path / "out", gigabytes).train()
