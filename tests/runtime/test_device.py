"""One function says where to compute, and a device that is not there is refused before any work."""

from typing import Any

import pytest
import torch

from kdda.errors import KddaError
from kdda.runtime.device import choose_device, compute_device
from kdda.training.config import DistillationConfig


def test_the_variable_names_the_device_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDDA_DEVICE", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert compute_device() == DistillationConfig("out").device == torch.device("cpu")
    monkeypatch.setenv("KDDA_DEVICE", "auto")
    assert compute_device().type == "cuda"


def test_a_choice_holds_for_processes_that_are_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDDA_DEVICE", "auto")  # restored afterwards
    choose_device("cpu")
    assert compute_device().type == "cpu"
    choose_device("")
    assert compute_device().type == "cpu"


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "meta"])
def test_a_device_that_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KddaError, match=f'device: got "{name}", which this machine or this build of torch'):
        choose_device(name)
    monkeypatch.setenv("KDDA_DEVICE", name)
    with pytest.raises(KddaError, match=f'device: got "{name}"'):
        DistillationConfig("out")


@pytest.mark.parametrize("words", [["evaluate", "model", "--data", "rows.jsonl"], ["run", "mini-nli"]])
def test_a_command_ends_with_2_where_its_device_is_not_there(words: list[str], command: Any) -> None:
    code, _, errors = command(*words, "--device", "cuda:99")
    assert code == 2 and 'device: got "cuda:99"' in errors and "Traceback" not in errors
