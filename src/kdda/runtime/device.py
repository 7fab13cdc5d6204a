"""Where to compute: `compute_device` (--device, KDDA_DEVICE, else CUDA, MPS, XPU or CPU), its precision, its memory."""

from __future__ import annotations

import os
from functools import lru_cache

import torch

from kdda.errors import KddaError, unknown_choice

DEVICE_VARIABLE = (
    "KDDA_DEVICE"  # a name of torch's, such as cpu, cuda:1 or mps; empty or auto leaves the choice to kdda
)
AUTO = "auto"
ACCELERATORS = ("cuda", "mps", "xpu")
PRECISIONS = ("fp32", "bf16", "auto")
# Functions of torch.cpu that tell whether it has instructions for bfloat16; older versions of torch have none of them.
BFLOAT16_CHECKS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


def compute_device() -> torch.device:
    """The device that this process computes on; no other function of kdda chooses one.

    It is what the environment variable `KDDA_DEVICE` names, which the option ``--device`` of the commands sets; without
    one it is accelerate's choice: the first of MPS, CUDA and XPU that the machine has, or the CPU. Of processes that
    train one model together each gets a separate device.

    Raises:
        KddaError: the device that is asked for is not there.
    """
    from accelerate import PartialState

    device: torch.device = PartialState.__new__(PartialState).default_device  # its choice, without joining processes
    name = os.environ.get(DEVICE_VARIABLE, "").strip()
    if name and name != AUTO:
        device = _named_device(name)
    is_joined = bool(PartialState._shared_state)
    if is_joined and device.index is None and PartialState().num_processes > 1:
        assigned: torch.device = PartialState().device
        if assigned.type == device.type:
            return assigned
    return device


def choose_device(name: str) -> None:
    """Make this process, and the processes that it starts, compute on a device.

    Args:
        name: as in `KDDA_DEVICE`; empty changes nothing.

    Raises:
        KddaError: there is no such device.
    """
    if name:
        if name != AUTO:
            _named_device(name)
        os.environ[DEVICE_VARIABLE] = name


@lru_cache
def _named_device(name: str) -> torch.device:
    """The device of a name, which a tensor can be put on."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises either, depending on what it was built with
        reason = str(error).splitlines()[0]
    else:
        if device.type != "meta":  # whose tensors have no values
            return device
        reason = "its tensors have no values"
    raise KddaError(
        f'device: got "{name}", which this machine or this build of torch does not have ({reason}); leave --device '
        f'and {DEVICE_VARIABLE} out, or write "cpu"'
    )


def in_bfloat16(precision: str) -> bool:
    """Whether to compute in bfloat16.

    Args:
        precision: ``fp32``, ``bf16``, or ``auto``: bfloat16 if the device has instructions for it.

    Raises:
        KddaError: no such precision.
    """
    if precision not in PRECISIONS:
        raise KddaError(unknown_choice("precision", precision, PRECISIONS))
    if precision != AUTO:
        return precision == "bf16"
    kind = compute_device().type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind == "cpu":
        return _cpu_has_bfloat16()
    return False


def _cpu_has_bfloat16() -> bool:
    """Whether torch tells of instructions for bfloat16; False under a version of torch that cannot tell."""
    for name in BFLOAT16_CHECKS:
        check = getattr(torch.cpu, name, None)
        if check is not None and check():
            return True
    return False


def device_name(device: torch.device) -> str:
    """What people call a device: the model of a GPU, else its type, such as ``cpu``."""
    if device.type in ("cuda", "xpu"):
        return str(torch.get_device_module(device).get_device_name(device))
    return device.type


def devices() -> list[torch.device]:
    """Every accelerator of this machine, whichever of CUDA, MPS and XPU it is; none where there is the CPU alone."""
    available = []
    for kind in ACCELERATORS:
        backend = torch.get_device_module(kind)
        if backend.is_available():
            for index in range(backend.device_count()):
                available.append(torch.device(kind, index))
    return available


def total_memory(device: torch.device) -> int | None:
    """Bytes of an accelerator's memory; None for the CPU, and where torch cannot tell."""
    if device.type == "cpu":
        return None
    backend = torch.get_device_module(device)
    if device.type == "mps":  # shares the machine's memory, of which torch recommends a part
        return int(backend.recommended_max_memory())
    if not hasattr(backend, "get_device_properties"):
        return None
    return int(backend.get_device_properties(device).total_memory)


def peak_memory(device: torch.device) -> int | None:
    """The most bytes that tensors have taken on an accelerator; None for the CPU, and where torch cannot tell."""
    if device.type == "cpu":
        return None
    backend = torch.get_device_module(device)
    if device.type == "mps":  # does not remember its peak
        return int(backend.driver_allocated_memory())
    if not hasattr(backend, "max_memory_allocated"):
        return None
    return int(backend.max_memory_allocated(device))


def pins_memory(device: torch.device) -> bool:
    """Whether copies to a device are faster, and run beside the computation, from pinned memory of the CPU."""
    return device.type == "cuda"


def wait_for(device: torch.device) -> None:
    """Return when everything that was started on a device is computed: needed before a clock is read."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception says that memory has run out, of a device or of the CPU."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    from accelerate.utils.memory import should_reduce_batch_size

    # accelerate's list lacks the words of Apple's devices in the oldest version that kdda allows
    return "backend out of memory" in str(error) or bool(should_reduce_batch_size(error))
