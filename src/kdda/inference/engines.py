"""What computes logits of token ids: a model in torch, or an export in onnxruntime; streams, tokens of a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from kdda.errors import KddaError
from kdda.inference.streams import batch_tokens, one_thread, stream_count
from kdda.models.fingerprint import FINGERPRINT_LENGTH, weights_fingerprint
from kdda.models.load import GRAPH
from kdda.runtime.device import compute_device
from kdda.runtime.memory import KEPT_IN_PREDICTING, bound_kernel_caches
from kdda.runtime.shorten import shorten
from kdda.text.batching import BATCH_TOKENS

RECORD = "export.json"  # written last: an exported folder that has it is complete

# Of onnxruntime's optimizers, left out: its kernel of a sum with a layer norm takes longer than both by themselves.
SLOW_FUSIONS = ("SkipLayerNormFusion",)

ONNX_TOKENS = 512  # of a batch at least: its activations fit into a core's cache, and few calls are Python's

LONGEST_REASON = 300  # columns of onnxruntime's error in a message


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

    @property
    def streams(self) -> int:
        """How many batches it computes at once, asked for by so many threads."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Tokens of a batch, padding included, from which larger ones are no faster."""
        ...

    def around_batches(self) -> AbstractContextManager[None]:
        """What batches are computed in, with what a task reads from their logits."""
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
        bf16: whether the forward pass computes in bfloat16. The weights of linear layers are rounded to it here, which
            autocast would do anew for every batch; those of other layers stay float32.
    """

    def __init__(self, model: Any, bf16: bool = False):
        self.bf16 = bf16
        self.device = compute_device()
        bound_kernel_caches(KEPT_IN_PREDICTING)
        self.model = model.eval().to(self.device)
        if bf16:
            _round_linears(self.model)

    @property
    def config(self) -> Any:
        """The model's config."""
        return self.model.config

    @property
    def precision(self) -> str:
        """The type in which the forward pass computes."""
        return "bfloat16" if self.bf16 else "float32"

    @property
    def streams(self) -> int:
        """One on an accelerator; on a CPU by the threads that the caller may use."""
        return stream_count(torch.get_num_threads()) if self.device.type == "cpu" else 1

    @property
    def batch_tokens(self) -> int:
        """Fewer on a CPU than on an accelerator."""
        if self.device.type != "cpu":
            return BATCH_TOKENS
        return batch_tokens(torch.get_num_threads() // self.streams)

    def around_batches(self) -> AbstractContextManager[None]:
        """Nothing: threads are those of the streams."""
        return nullcontext()

    def fingerprint(self) -> str:
        """A digest of the weights."""
        return weights_fingerprint(self.model)

    def __call__(self, inputs: Mapping[str, Tensor]) -> Any:
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return self.model(**{name: ids.to(self.device) for name, ids in inputs.items()})


def _round_linears(model: nn.Module) -> None:
    """Round the weights of linear layers to bfloat16, in place; those that an embedding shares stay as they are."""
    embeddings = set()
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            embeddings.add(module.weight)
    for module in model.modules():
        if type(module) is nn.Linear and module.weight not in embeddings:
            module.to(torch.bfloat16)


class OnnxEngine:
    """An exported graph, on the CPU: batches in streams, which share the threads that torch uses.

    A batch that comes alone has one stream's threads, too: a session's number of threads is fixed, and a second session
    would hold the weights a second time.

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
        threads = torch.get_num_threads()
        self.streams = stream_count(threads)
        self.threads = threads // self.streams
        options.intra_op_num_threads = self.threads
        graph = folder / GRAPH
        settings = {"providers": ["CPUExecutionProvider"], "disabled_optimizers": SLOW_FUSIONS}
        try:
            self.session = runtime().InferenceSession(str(graph), options, **settings)
        except Exception as error:  # onnxruntime has exceptions of many kinds for a damaged or missing file
            reason = shorten(" ".join(str(error).split()), LONGEST_REASON)
            raise KddaError(f"{graph} cannot be run ({reason}); export it again") from error
        self.inputs = list(map(_name, self.session.get_inputs()))
        self.outputs = list(map(_name, self.session.get_outputs()))

    @property
    def precision(self) -> str:
        """That of the graph."""
        return "as exported"

    @property
    def batch_tokens(self) -> int:
        """By the threads of a stream."""
        return batch_tokens(self.threads, ONNX_TOKENS)

    def around_batches(self) -> AbstractContextManager[None]:
        """One thread of torch beside those of the session."""
        return one_thread()

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
