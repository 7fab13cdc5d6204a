"""`DEVICE`, a device of the tests' kind whose tensors hold values: `spying` fails where tensors of two devices meet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("lazy:0")  # a type that torch knows, that no machine has, and that autograd treats like the CPU
COPIES = {"aten::_to_copy", "aten::copy_"}  # what may read tensors of two devices
INDEXING = {"aten::index", "aten::index_put_", "aten::_index_put_impl_"}  # torch allows indices of the CPU's
PASSES = {"aten::mm", "aten::addmm", "aten::bmm", "aten::embedding", "aten::native_layer_norm"}  # of a model


class OffDeviceError(AssertionError):
    """A tensor of the CPU's was met where everything has to be on `DEVICE`."""


class SpyTensor(torch.Tensor):
    """A tensor that says it is on `DEVICE`; `content` holds its values, on the CPU."""

    content: torch.Tensor
    __torch_function__: Any = torch._C._disabled_torch_function_impl  # results of .cpu() are plain tensors

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> SpyTensor:
        tensor: Any = torch.Tensor._make_wrapper_subclass(
            cls, values.size(), strides=values.stride(), dtype=values.dtype, device=DEVICE
        )
        tensor.content = values
        return tensor  # type: ignore[no-any-return]

    def __getitem__(self, index: Any) -> Any:
        """As of every tensor; torch itself would look for the device's memory to put lists of positions into."""
        parts = index if isinstance(index, tuple) else (index,)
        places = tuple(torch.tensor(part) if isinstance(part, list) else part for part in parts)
        return super().__getitem__(places)

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return computed(operation, args, kwargs or {})


class SpyMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation, those that make tensors among them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.passes = 0  # operations of models that were computed on the device

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = computed(operation, args, kwargs or {})
        self.passes += operation._schema.name in PASSES
        return result


def computed(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation returns, on the device that it was given or that its tensors are on.

    Raises:
        OffDeviceError: its tensors are on two devices, or a model computes on the CPU.
    """
    check_devices(operation, args, kwargs)
    values, options = tree_map(plain, (args, dict(kwargs)))
    to = kwargs.get("device")
    if to is not None:
        options["device"] = torch.device("cpu")
        is_on_device = torch.device(to) == DEVICE
    else:
        is_on_device = any(isinstance(leaf, SpyTensor) for leaf in tree_leaves((args, kwargs)))
    result = operation(*values, **options)
    if operation._schema.is_mutable and len(operation._schema.returns) == 1:
        return args[0] if result is values[0] else kwargs["out"]
    return tree_map(wrapped, result) if is_on_device else result


def check_devices(operation: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Fail where an operation's tensors are on two devices, or where a model computes on the CPU."""
    name = operation._schema.name
    if name in COPIES:
        return
    tensors = tree_leaves(((*args[:1], *args[2:]) if name in INDEXING else args, kwargs))
    on_cpu = []
    on_device = 0
    for tensor in tensors:
        on_device += isinstance(tensor, SpyTensor)
        if isinstance(tensor, torch.Tensor) and not isinstance(tensor, SpyTensor):
            on_cpu.append(tensor)
    if name in PASSES and on_cpu:
        raise OffDeviceError(f"{name} computes on the CPU: {[tuple(tensor.shape) for tensor in on_cpu]}")
    if on_device and any(tensor.dim() for tensor in on_cpu):  # a number of the CPU's may meet everything
        raise OffDeviceError(f"{name} meets tensors of two devices: {[tuple(tensor.shape) for tensor in on_cpu]}")


def plain(value: Any) -> Any:
    return value.content if isinstance(value, SpyTensor) else value


def wrapped(value: Any) -> Any:
    return SpyTensor(value) if isinstance(value, torch.Tensor) else value


MAKE_TENSOR = torch.tensor


def make_tensor(data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
    """`torch.tensor`, which no mode sees before it has looked for the device's memory."""
    numbers = tree_map(lambda part: part.item() if isinstance(part, SpyTensor) else part, data)
    tensor = MAKE_TENSOR(numbers, **options)
    return tensor if device is None else tensor.to(device)


@contextmanager
def spying(monkeypatch: pytest.MonkeyPatch) -> Iterator[SpyMode]:
    """A machine whose only accelerator is `DEVICE`, as accelerate sees it; afterwards it is as it was."""
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        with monkeypatch.context() as patch, SpyMode() as mode:
            patch.delenv("KDDA_DEVICE", raising=False)
            patch.setattr(PartialState, "default_device", DEVICE)
            patch.setattr(torch, "tensor", make_tensor)
            patch.setattr(
                torch, "autocast", lambda *_, **__: nullcontext()
            )  # it has a list of the devices that it knows
            yield mode
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
