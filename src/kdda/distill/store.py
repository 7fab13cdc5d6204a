"""What a frozen teacher says, on disk: written once, checked when read, and never trusted when it does not fit.

Rows are ragged [tokens, width] states in bfloat16, in blocks of consecutive rows, each block one safetensors file that
is memory-mapped, carries its checksum and the fingerprint of what made it, and gets its name only when it is whole.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kdda.errors import KddaError
from kdda.text import Window

BLOCK_BYTES = 64 * 2**20
Said = tuple[Tensor, Tensor | None]  # a row's states [tokens, width], and its logits where labels have them
Ask = Callable[[Sequence[int]], list[Said]]


def fingerprint(model: Any, windows: Sequence[Sequence[Window]], order: Sequence[int]) -> str:
    """A name that changes with a weight of the model, a token of a window, or the order of the labels."""
    digest = hashlib.sha256(repr((model.config.to_dict().get("model_type"), list(order))).encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(_bytes(weight))
    for row in windows:
        for window in row:
            digest.update(np.array([*window.ids, -1, window.last_at, -2], np.int32).tobytes())
        digest.update(b"|")
    return digest.hexdigest()[:24]


class StateStore:
    """Blocks of stored states.

    Args:
        folder: theirs alone.
        name: the fingerprint that every block must carry.
        lengths: tokens of each row.
        width: of a state.
    """

    def __init__(self, folder: Path, name: str, lengths: Sequence[int], width: int):
        self.folder, self.name, self.lengths = folder, name, list(lengths)
        self.blocks = _blocks(self.lengths, max(1, BLOCK_BYTES // (2 * width)))
        self.offsets = [[0, *accumulate(self.lengths[i] for i in block)] for block in self.blocks]
        self.place = {row: (k, row - block.start) for k, block in enumerate(self.blocks) for row in block}
        self._open: dict[int, Any] = {}

    def fill(self, ask: Ask) -> int:
        """Write the blocks that are missing, damaged or of another fingerprint; how many there were."""
        self.folder.mkdir(parents=True, exist_ok=True)
        written = 0
        with FileLock(self.folder / ".lock"):
            for k, block in enumerate(self.blocks):
                if not self._is_whole(k):
                    self._write(k, ask(block))
                    written += 1
        return written

    def read(self, rows: Iterable[int]) -> list[Said]:
        """The states of some rows, in bfloat16, and their logits."""
        return [self._row(*self.place[row]) for row in rows]

    def _row(self, k: int, at: int) -> Said:
        if k not in self._open:
            self._open[k] = safe_open(self._path(k), "pt")
        file, offsets = self._open[k], self.offsets[k]
        states = file.get_slice("states")[offsets[at] : offsets[at + 1]]
        return states, file.get_slice("logits")[at] if "logits" in file.keys() else None  # noqa: SIM118

    def _path(self, k: int) -> Path:
        return self.folder / f"block-{k:05}.safetensors"

    def _is_whole(self, k: int) -> bool:
        found = load_checked(self._path(k), self.name)
        return found is not None and len(found["states"]) == self.offsets[k][-1]

    def _write(self, k: int, said: list[Said]) -> None:
        states = torch.cat([own.to("cpu", torch.bfloat16) for own, _ in said])
        logits = [own.cpu() for _, own in said if own is not None]
        tensors = {"states": states, **({"logits": torch.stack(logits)} if logits else {})}
        save_checked(self._path(k), tensors, self.name)

    def term(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """A tensor that belongs to these states, such as their scale: read, or computed once and kept beside them."""
        path = self.folder / f"{name}.safetensors"
        with FileLock(self.folder / ".lock"):
            found = load_checked(path, self.name)
            if found is None:
                found = {"term": compute()}
                save_checked(path, found, self.name)
        return found["term"]


def save_checked(path: Path, tensors: dict[str, Tensor], name: str) -> None:
    """Write a file whole or not at all, with a checksum of what it holds and the name of what made it."""
    part = path.with_suffix(".part")
    try:
        save_file(tensors, part, {"fingerprint": name, "crc32": _checksum(tensors)})
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise KddaError(
            f"{path} could not be written ({error}); make room, or ask the teachers in each step: --set store_gb=0"
        ) from None


def load_checked(path: Path, name: str) -> dict[str, Tensor] | None:
    """What `save_checked` wrote under this name; None if there is no such file, or it is damaged or another's."""
    try:
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    return tensors if said == {"fingerprint": name, "crc32": _checksum(tensors)} else None


def _blocks(lengths: Sequence[int], tokens: int) -> list[range]:
    """Consecutive rows of at most so many tokens together, one row at least."""
    blocks, start, size = [], 0, 0
    for row, length in enumerate(lengths):
        if size and size + length > tokens:
            blocks.append(range(start, row))
            start, size = row, 0
        size += length
    return [*blocks, range(start, len(lengths))] if lengths else []


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    crc = 0
    for key in sorted(tensors):
        crc = zlib.crc32(_bytes(tensors[key]), zlib.crc32(key.encode(), crc))
    return f"{crc:08x}"


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
