"""Optimum's onnxruntime models in turns with the programs of bench/use.py, in the Python that has them.

    python -m venv optimum && optimum/bin/pip install "optimum-onnx[onnxruntime]" "transformers<4.58" sentencepiece
    python bench/use.py --reader MODEL --judge MODEL --optimum optimum/bin/python

Optimum-onnx 0.1 needs an older transformers than kdda, so it has an environment of its own, in which this file runs as
a process. It exports the checkpoint and quantizes the export as optimum's documentation does, and then predicts all
rows whenever it is asked to, in their order, in batches of 32 padded to the longest.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

SIZE = 32
PRECISIONS = ("fp32", "int8")


class Optimum:
    """The process, as bench/use.py has it.

    Args:
        python: of the environment with optimum-onnx.
        order: `model`, a folder; `task`, nli or qa; `rows`, pairs of texts; `longest`, tokens of a row at most.
        folder: where the exports go.
    """

    def __init__(self, python: str, order: dict[str, Any], folder: Path):
        command = [python, __file__, json.dumps({**order, "rows": [], "folder": str(folder)})]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._ask(order["rows"])

    def ways(self) -> dict[str, Callable[[], list[int]]]:
        """Name → predicts all rows, and returns the number of each row's likeliest label (none in reading)."""
        return {
            "optimum, onnxruntime, batches of 32": partial(self._ask, "fp32"),
            "optimum, onnxruntime in 8 bits, batches of 32": partial(self._ask, "int8"),
        }

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(60)

    def _ask(self, what: object) -> list[int]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the Python of --optimum ended with code {self.process.wait()}")
        answer: list[int] = json.loads(line)
        return answer


def exported(order: dict[str, Any]) -> dict[str, Any]:
    """Precision → the checkpoint as optimum exports it, and as it quantizes the export for AVX-512."""
    from optimum.onnxruntime import (  # type: ignore[import-not-found]
        ORTModelForQuestionAnswering,
        ORTModelForSequenceClassification,
        ORTQuantizer,
    )
    from optimum.onnxruntime.configuration import AutoQuantizationConfig  # type: ignore[import-not-found]

    kind = ORTModelForQuestionAnswering if order["task"] == "qa" else ORTModelForSequenceClassification
    single, small = Path(order["folder"], "fp32"), Path(order["folder"], "int8")
    kind.from_pretrained(order["model"], export=True).save_pretrained(single)
    settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
    ORTQuantizer.from_pretrained(single).quantize(save_dir=small, quantization_config=settings)
    models = {}
    for precision, folder in zip(PRECISIONS, (single, small), strict=True):
        models[precision] = kind.from_pretrained(folder)
    return models


def predict(model: Any, tokenizer: Any, rows: Sequence[Sequence[str]], task: str, longest: int) -> list[int]:
    """The number of each row's likeliest label; none in reading, whose starts and ends are found and dropped."""
    labels: list[int] = []
    cut = "only_second" if task == "qa" else True
    for start in range(0, len(rows), SIZE):
        sides = zip(*rows[start : start + SIZE], strict=True)
        options: Any = {"truncation": cut, "max_length": longest, "padding": True, "return_tensors": "pt"}
        outputs = model(**tokenizer(*map(list, sides), **options))
        if task == "qa":
            list(zip(outputs.start_logits.argmax(-1).tolist(), outputs.end_logits.argmax(-1).tolist(), strict=True))
        else:
            labels += outputs.logits.argmax(-1).tolist()
    return labels


def main() -> None:
    from transformers import PreTrainedTokenizerFast

    order = json.loads(sys.argv[1])
    folder = Path(order["model"])
    names = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    pad = names["pad_token"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token=pad)
    answers = sys.stdout
    sys.stdout = sys.stderr  # what the libraries print
    models = exported(order)
    rows = json.loads(sys.stdin.readline())
    print(json.dumps([]), file=answers, flush=True)
    for line in sys.stdin:
        labels = predict(models[json.loads(line)], tokenizer, rows, order["task"], order["longest"])
        print(json.dumps(labels), file=answers, flush=True)


if __name__ == "__main__":
    main()
