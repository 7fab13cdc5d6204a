"""Checkpoints as ONNX graphs, checked against the checkpoint they were made of on real rows."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdda.data.examples import BadRowError, raw_text
from kdda.data.sources import Source, read_rows, sample
from kdda.errors import KddaError, did_you_mean
from kdda.inference.engines import RECORD, TorchEngine, runtime
from kdda.inference.files import FIELDS
from kdda.inference.predictor import Predictor, load
from kdda.models.load import GRAPH, is_exported, quietly
from kdda.models.smoothing import smooth_linears

FORMATS = ("onnx",)

OUTPUTS = {"qa": ("start_logits", "end_logits"), "nli": ("logits",)}

EMBEDDED = {"qa": ("reading/vi/test", "reading/en/test"), "nli": ("nli/vi/test", "nli/en/dev")}

ROWS = 128  # that an export is checked on

CALIBRATION = 64  # of them, that say how large the inputs of its layers are

TOLERANCE = 1e-3  # of logits, between torch and onnxruntime in single precision

EXTERNAL = 1.5e9  # bytes of weights from which they lie beside the graph: protobuf ends at 2 GB


@dataclass(frozen=True)
class Exported:
    """What an export was checked for.

    Attributes:
        rows: pairs of texts that both the checkpoint and the export have read.
        max_logit_difference: over all real tokens of all windows.
        agreement: the share of rows with the same answer or label, in per cent.
    """

    source: str
    int8: bool
    rows: int
    max_logit_difference: float
    agreement: float
    megabytes: float

    def __str__(self) -> str:
        same = round(self.rows * self.agreement / 100)
        return (
            f"{self.rows} real rows read by both: largest difference of a logit {self.max_logit_difference:.2g}, "
            f"{same} of {self.rows} answers or labels the same ({self.agreement:.1f} %)"
        )


def export(name: str, out: Path, form: str = "onnx", int8: bool = False, data: str = "") -> Exported:
    """Write a checkpoint as a folder that `load` runs in onnxruntime, and say how well both agree.

    Args:
        int8: weights of the matrix products in 8 bits, activations quantized as they come.
        data: a file with rows to check on; the embedded corpora by default.

    Raises:
        KddaError: a folder that is not empty, a model without a head, onnxruntime missing, or, in single precision, an
            export whose logits differ.
    """
    if form not in FORMATS:
        raise KddaError(f'--format: found "{form}"{did_you_mean(form, FORMATS)}; there is {", ".join(FORMATS)}')
    _check_tools()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise KddaError(f"{out} is there already and not empty; choose another folder, or delete it")
    if is_exported(name):
        raise KddaError(f'"{name}" is an export already; give the checkpoint it was made of')
    predictor = load(name, precision="fp32")
    pairs = _real_pairs(predictor.task.name, data)
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _write(predictor, part, int8, pairs)
        found = _checked(predictor, part, int8, pairs)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    if out.is_dir():
        out.rmdir()
    part.replace(out)
    return found


def _check_tools() -> None:
    runtime()
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError:
        raise KddaError('export needs onnx and onnxscript: pip install "kdda[export]"') from None
    assert onnx


def _real_pairs(task: str, data: str) -> list[tuple[str, str]]:
    """Texts to check on, the same every time."""
    sources = [data] if data else [f"embedded:{name}" for name in EMBEDDED[task]]
    rows = [row for name in sources for row in sample(read_rows(Source(name)), ROWS // len(sources), "check")]
    try:
        first, second = FIELDS[task]
        pairs = [(raw_text(row, first), raw_text(row, second)) for row in rows]
    except BadRowError as error:
        raise KddaError(f"--data {data}: {error}") from None
    if not pairs:
        raise KddaError(f"--data {data}: no row to check the export on")
    return pairs


class _Logits(nn.Module):
    """A model as a graph has it: tensors in, the logits out."""

    def __init__(self, model: nn.Module, names: Sequence[str]):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        outputs = self.model(**inputs)
        return tuple(getattr(outputs, name) for name in self.names)


def _write(predictor: Predictor, out: Path, int8: bool, pairs: Sequence[tuple[str, str]]) -> None:
    """The graph, the config and the tokenizer."""
    assert isinstance(predictor.engine, TorchEngine)
    model, encoder = predictor.engine.model.cpu(), predictor.encoder
    inputs = encoder.pad([*predictor.windows(pairs[:1])] * 2)  # a batch of one would be taken for a constant
    if int8:
        smooth_linears(model.base_model, lambda: predictor.read(pairs[:CALIBRATION]))
    single = out / ("single.onnx" if int8 else GRAPH)
    _trace(model, inputs, OUTPUTS[predictor.task.name], single)
    if int8:
        _quantize(single, out / GRAPH, _bytes_of(model))
        for path in out.glob("single.onnx*"):
            path.unlink()
    with quietly():
        model.config.save_pretrained(out)
        encoder.tokenizer.save_pretrained(out)
    card = Path(predictor.name) / "README.md"
    if card.is_file():
        shutil.copy(card, out / card.name)


def _trace(model: nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str], path: Path) -> None:
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Logits(model, outputs),
                (),
                kwargs={"inputs": inputs},
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes={"inputs": dict.fromkeys(inputs, shape)},
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        program.save(path, external_data=_bytes_of(model) > EXTERNAL)
    except Exception as error:  # torch.export fails in a hundred ways on a forward it cannot follow
        kind = type(model).__name__
        raise KddaError(f"torch.onnx cannot export a {kind}: {' '.join(str(error).split())[:300]}") from error


def _bytes_of(model: nn.Module) -> int:
    return sum(own.numel() * own.element_size() for own in model.parameters())


def _quantize(single: Path, out: Path, size: int) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it advises a pre-processing that the exporter has done
    try:
        quantize_dynamic(
            single,
            out,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=size > EXTERNAL,
            extra_options={"MatMulConstBOnly": True},
        )
    finally:
        logging.getLogger().setLevel(level)


def _checked(predictor: Predictor, out: Path, int8: bool, pairs: Sequence[tuple[str, str]]) -> Exported:
    """Both read the same rows; the record that makes the folder whole is written last."""
    (out / RECORD).write_text("{}", encoding="utf-8")
    exported = load(str(out))
    difference = max(_difference(predictor, exported, pair) for pair in pairs)
    if not int8 and not difference <= TOLERANCE:
        raise KddaError(
            f"the export's logits differ from the checkpoint's by up to {difference:.2g}, more than {TOLERANCE}: it is "
            "not written; please report this model"
        )
    found = [own.shown(own.read(pairs)) for own in (predictor, exported)]
    same = sum(_gist(a) == _gist(b) for a, b in zip(*found, strict=True))
    size = sum(path.stat().st_size for path in out.glob(f"{GRAPH}*")) / 2**20
    record = Exported(predictor.name, int8, len(pairs), difference, 100 * same / len(pairs), round(size, 1))
    made = {name: version(name) for name in ("kdda", "torch", "transformers", "onnx", "onnxruntime")}
    (out / RECORD).write_text(json.dumps({**asdict(record), **made}, indent=2) + "\n", encoding="utf-8")
    return record


def _difference(a: Predictor, b: Predictor, pair: tuple[str, str]) -> float:
    """The largest difference of a logit, one window at a time, so that padding does not count."""
    gaps = []
    for window in a.windows([pair]):
        left, right = a.logits([window]), b.logits([window])
        gaps += [float((getattr(left, name) - getattr(right, name)).abs().max()) for name in OUTPUTS[a.task.name]]
    return max(gaps)


def _gist(own: Any) -> Any:
    return own.label if hasattr(own, "label") else (own.start, own.end)
