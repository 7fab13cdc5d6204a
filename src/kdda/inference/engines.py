"""What computes logits of token ids: a model in torch, or a folder that `kdda export` wrote, in onnxruntime."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from kdda.errors import KddaError
from kdda.models.fingerprint import FINGERPRINT_LENGTH, weights_fingerprint
from kdda.models.load import GRAPH
from kdda.runtime.device import compute_device

RECORD = "export.json"  # written last: an exported folder that has it is complete


@runtime_checkable
class Engine(Protocol):
    """A model that is ready to run."""

    @property
    def config(self) -> Any:
        """The model's config, as transformers has it."""
        ...

    @property
    def precision(self) -> str:
        """The type in which it computes, such as float32."""
        ...

    def fingerprint(self) -> str:
        """A digest that tells models apart."""
        ...

    def __call__(self, inputs: Mapping[str, Tensor]) -> Any:
        """Outputs with the logits that a task's `candidates` reads, for inputs `[batch, tokens]`."""
        ...


class TorchEngine:
    """A transformers model with its head, on `compute_device()`.

    Args:
        model: put into eval mode, and moved.
        bf16: whether the forward pass computes in bfloat16; weights stay float32.
    """

    def __init__(self, model: Any, bf16: bool = False):
        self.bf16 = bf16
        self.device = compute_device()
        self.model = model.eval().to(self.device)

    @property
    def config(self) -> Any:
        """The model's config."""
        return self.model.config

    @property
    def precision(self) -> str:
        """The type in which the forward pass computes."""
        return "bfloat16" if self.bf16 else "float32"

    def fingerprint(self) -> str:
        """A digest of the weights."""
        return weights_fingerprint(self.model)

    def __call__(self, inputs: Mapping[str, Tensor]) -> Any:
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return self.model(**{name: ids.to(self.device) for name, ids in inputs.items()})


class OnnxEngine:
    """An exported graph, on the CPU, with as many threads as torch uses.

    Args:
        folder: that `kdda export` wrote.
        config: of the checkpoint that was exported.

    Raises:
        KddaError: onnxruntime is not installed, or the graph cannot be run.
    """

    def __init__(self, folder: Path, config: Any):
        self.config = config
        self.folder = folder
        options = runtime().SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        graph = folder / GRAPH
        try:
            self.session = runtime().InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has exceptions of many kinds for a damaged or missing file
            reason = " ".join(str(error).split())[:300]
            raise KddaError(f"{graph} cannot be run ({reason}); export it again") from error
        self.inputs = list(map(_name, self.session.get_inputs()))
        self.outputs = list(map(_name, self.session.get_outputs()))

    @property
    def precision(self) -> str:
        """That of the graph."""
        return "as exported"

    def fingerprint(self) -> str:
        """A digest of the graph, with the files of weights beside it."""
        digest = hashlib.sha256()
        for path in sorted(self.folder.glob(f"{Path(GRAPH).stem}*")):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:FINGERPRINT_LENGTH]

    def __call__(self, inputs: Mapping[str, Tensor]) -> Any:
        arrays = self.session.run(self.outputs, {name: inputs[name].numpy() for name in self.inputs})
        return SimpleNamespace(**dict(zip(self.outputs, map(torch.from_numpy, arrays), strict=True)))


def _name(node: Any) -> str:
    """The name of an input or output of onnxruntime's."""
    return str(node.name)


def runtime() -> Any:
    """onnxruntime, which only exporting and running an export need.

    Raises:
        KddaError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise KddaError('exported models need onnxruntime: pip install "kdda[export]"') from None
    return onnxruntime
