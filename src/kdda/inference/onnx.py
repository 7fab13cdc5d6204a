"""`kdda export`: ONNX graphs, int8 by choice, each checked on 128 real rows: logits within 1e-3 of the checkpoint's."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdda.data.examples import BadRowError, Schema
from kdda.data.sources import Source, read_rows, sample
from kdda.errors import KddaError, unknown_choice
from kdda.inference.columns import missing_columns, with_columns_in_training
from kdda.inference.engines import RECORD, TorchEngine, runtime
from kdda.inference.predictor import Predictor, load
from kdda.models.load import GRAPH, is_exported, quietly
from kdda.models.smoothing import smooth_linears
from kdda.runtime.folders import is_disk_full
from kdda.runtime.live import tell_stage
from kdda.runtime.numbers import count_of
from kdda.runtime.shorten import shorten
from kdda.tasks.base import Task

FORMATS = ("onnx",)

ROWS = 128  # that an export is checked on

CALIBRATION = 64  # of them, on which the largest inputs of its layers are measured

TOLERANCE = 1e-3  # of logits, between torch and onnxruntime in single precision

EXTERNAL = 1.5e9  # bytes of weights from which they have a file beside the graph: protobuf ends at 2 GB

LONGEST_CAUSE = 200  # columns of the exporter's error in a message

LIBRARIES = ("kdda", "torch", "transformers", "onnx", "onnxruntime")  # whose versions an export's record has

Texts = tuple[str, ...]  # of one row, in the order of the task's fields


@dataclass(frozen=True)
class Exported:
    """How well an export agrees with its checkpoint.

    Attributes:
        source: the checkpoint.
        rows: that both have read.
        max_logit_difference: over all real tokens of all windows.
        agreement: the share of rows with the same answer or label, in per cent.
        megabytes: of the graph with its weights.
    """

    source: str
    int8: bool
    rows: int
    max_logit_difference: float
    agreement: float
    megabytes: float

    def __str__(self) -> str:
        """What `kdda export` prints: the check of the graph and its size."""
        same = round(self.rows * self.agreement / 100)
        return (
            f"{count_of(self.rows, 'real row')} read by both: largest difference of a logit "
            f"{self.max_logit_difference:.2g}, {same} of {self.rows} answers or labels the same "
            f"({self.agreement:.1f} %)"
        )


def export(
    name: str,
    out: Path,
    form: str = "onnx",
    int8: bool = False,
    data: str | Source = "",
    task: str | Task | None = None,
    task_options: Mapping[str, Any] | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
) -> Exported:
    """Write a checkpoint as a folder that `load` runs in onnxruntime, and check how well both agree.

    Args:
        name: a checkpoint: a folder, or a Hub id.
        out: a new folder, or an empty one.
        form: ``onnx``.
        int8: weights of the matrix products in 8 bits, activations quantized at run time.
        data: a file with rows to check on, or a `Source`; embedded corpora of the task by default.
        task: a task or its name; the model's by default.
        task_options: options of the task, instead of those that the checkpoint stores; the export stores them.
        columns: task field → the column of `data`, where they differ; several of a field that holds a list.

    Raises:
        KddaError: a folder that is not empty, a model without a head, onnxruntime missing, no rows to check on, or, in
            single precision, an export whose logits differ by more than `TOLERANCE`.
    """
    if form not in FORMATS:
        raise KddaError(unknown_choice("--format", form, FORMATS))
    _check_tools()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise KddaError(f"{out} exists and is not empty; choose another folder, or delete it")
    if is_exported(name):
        raise KddaError(f'"{name}" is an export already; give its checkpoint')
    predictor = load(name, task=task, precision="fp32", task_options=task_options)
    if task_options:
        predictor.engine.config.update({"kdda_task": predictor.task.name, **predictor.task.settings()})
    rows = _real_rows(predictor, data, Schema(columns=columns or {}))
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _write(predictor, part, int8, rows)
        record = _check(predictor, part, int8, rows)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    if out.is_dir():
        out.rmdir()
    part.replace(out)
    return record


def _check_tools() -> None:
    """Refuse to export where onnxruntime, onnx or onnxscript is not installed."""
    runtime()
    for package in ("onnx", "onnxscript"):
        if find_spec(package) is None:
            raise KddaError('export needs onnx and onnxscript: pip install "kdda[export]"')


def _real_rows(predictor: Predictor, data: str | Source, schema: Schema) -> list[Texts]:
    """Texts to check on, the same every time; `schema` says which columns of `data` they are in."""
    task = predictor.task
    config = predictor.engine.config
    sources = [Source(f"embedded:{corpus}") for corpus in task.export_rows]
    if data:
        sources = [data if isinstance(data, Source) else Source(data)]
    if not sources:
        raise KddaError(f'task "{task.name}" has no embedded rows to check the export on: give --data FILE')
    task.check_columns(schema.columns)
    texts: list[Texts] = []
    for source in sources:
        for row in sample(read_rows(source), ROWS // len(sources), "check"):
            schema = with_columns_in_training(schema, config, task, row)
            try:
                texts.append(task.texts_of_row(row, schema))
            except BadRowError as error:
                place = f"--data {row.where}"
                refusal = missing_columns(place, schema, config, task, row, predictor.labels)
                raise refusal or KddaError(f"{place}: {error}") from None
    if not texts:
        raise KddaError(f"--data {sources[0].name}: no row to check the export on")
    return texts


class _Logits(nn.Module):
    """A model as a graph takes it: from tensors to the logits.

    Args:
        names: of the outputs, such as ``start_logits`` and ``end_logits``.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]):
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """The named outputs for a batch of ids and masks."""
        outputs = self.model(**inputs)
        return tuple(getattr(outputs, name) for name in self.names)


def _write(predictor: Predictor, out: Path, int8: bool, rows: Sequence[Texts]) -> None:
    """Write the graph, the config, the tokenizer and the model card of a checkpoint into a folder.

    Args:
        rows: real ones, whose first is traced; with `int8`, layers are smoothed on some of them before.
    """
    assert isinstance(predictor.engine, TorchEngine)
    model, encoder = predictor.engine.model.cpu(), predictor.encoder
    windows = list(predictor.windows(rows[:1]))
    inputs = encoder.pad(windows + windows)  # a batch of one would become a constant of the graph
    if int8:
        tell_stage("inputs of the layers")
        smooth_linears(model.base_model, lambda: predictor.read(rows[:CALIBRATION]))
    single = out / ("single.onnx" if int8 else GRAPH)
    tell_stage("writing the graph")
    _trace(model, inputs, predictor.task.outputs, single)
    if int8:
        tell_stage("8-bit weights")
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
    """Write a model as an ONNX graph for any number of texts and tokens.

    Args:
        inputs: an example batch.
        outputs: names of the model's outputs that the graph gives.

    Raises:
        KddaError: torch cannot trace this architecture.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        try:
            with _plain_attention(model):
                program = _traced(model, inputs, outputs)
        except Exception:  # an architecture may be traced with its own attention alone
            program = _traced(model, inputs, outputs)
        program.save(path, external_data=_bytes_of(model) > EXTERNAL)
    except Exception as error:  # torch.export has exceptions of many kinds for a forward that it cannot trace
        if is_disk_full(error):
            raise
        kind = type(model).__name__
        raise KddaError(f"torch.onnx cannot export a {kind}: {_first_cause(error)}") from error


def _traced(model: nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str]) -> Any:
    """The graph of a model; arguments as for `_trace`."""
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
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
    return program


@contextmanager
def _plain_attention(model: nn.Module) -> Iterator[None]:
    """Let a model compute attention by products and a softmax inside the block.

    torch's fused attention becomes a graph that also replaces NaN, as texts without tokens would have, which there are
    none of: a quarter of the time of long windows in 8 bits.
    """
    configs: dict[int, Any] = {id(part.config): part.config for part in model.modules() if hasattr(part, "config")}
    before = [(config, config._attn_implementation) for config in configs.values()]
    for config, _ in before:
        config._attn_implementation = "eager"
    try:
        yield
    finally:
        for config, implementation in before:  # a model's config before those of its parts, which it sets, too
            config._attn_implementation = implementation


def _first_cause(error: BaseException) -> str:
    """What went wrong first, in a line: torch's exporter wraps it in advice to developers, with codes for colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {shorten(lines[0], LONGEST_CAUSE)}" if lines else type(error).__name__


def _bytes_of(model: nn.Module) -> int:
    """Bytes of a model's weights."""
    return sum(weight.nbytes for weight in model.parameters())


def _quantize(single: Path, out: Path, size: int) -> None:
    """Write a graph of single precision again with 8-bit weights of its matrix products.

    Args:
        size: bytes of the weights in single precision.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it recommends a pre-processing that the exporter has done
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


def _check(predictor: Predictor, out: Path, int8: bool, rows: Sequence[Texts]) -> Exported:
    """Let both read the same rows, and write the record that marks the folder as complete."""
    record_path = out / RECORD
    record_path.write_text("{}", encoding="utf-8")  # or else the folder could not be loaded
    tell_stage(f"both read {count_of(len(rows), 'row')}")
    exported = load(str(out), task=predictor.task)
    difference = _largest_difference(predictor, exported, rows)
    if not int8 and not difference <= TOLERANCE:
        raise KddaError(
            f"the export's logits differ from the checkpoint's by up to {difference:.2g}, more than {TOLERANCE}: it is "
            "not written; please report this model"
        )
    expected = predictor.results(predictor.read(rows))
    results = exported.results(exported.read(rows))
    same = 0
    for ours, theirs in zip(expected, results, strict=True):
        same += ours.decision == theirs.decision
    size = 0
    for path in out.glob(f"{GRAPH}*"):
        size += path.stat().st_size
    record = Exported(predictor.name, int8, len(rows), difference, 100 * same / len(rows), round(size / 2**20, 1))
    versions = {name: version(name) for name in LIBRARIES}
    record_path.write_text(
        json.dumps({**asdict(record), **versions}, indent=2, allow_nan=False) + "\n", encoding="utf-8"
    )
    return record


def _largest_difference(checkpoint: Predictor, exported: Predictor, rows: Sequence[Texts]) -> float:
    """The largest difference of a logit, one window at a time, so that padding does not count; NaN if any is."""
    differences = []
    for window in checkpoint.windows(rows):
        ours = checkpoint.logits([window])
        theirs = exported.logits([window])
        for name in checkpoint.task.outputs:
            differences.append((getattr(ours, name) - getattr(theirs, name)).abs().max())
    return float(torch.stack(differences).max())
