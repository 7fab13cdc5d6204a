"""How fast texts are encoded into windows, and logits decoded into answers, on one core.

    python bench/reading.py            # writes the table of docs/reading.md; about half a minute

The texts are the embedded reading corpus, six questions a passage. Tokens are cached by content within an encoder, so
every repeat starts with a new encoder and an empty cache of the segmenter. PhoBERT's tokenizer is trained on the corpus
(the real one needs a download); its code is otherwise the same.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core means one core

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from kdda.data.examples import Example, Schema, check_rows  # noqa: E402
from kdda.data.questions import question_converter  # noqa: E402
from kdda.data.sources import Source, read_rows  # noqa: E402
from kdda.models.load import load_checkpoint  # noqa: E402
from kdda.tasks.base import Features  # noqa: E402
from kdda.tasks.qa import QA  # noqa: E402
from kdda.text.encode import Encoder  # noqa: E402
from kdda.text.segment import _segment, segmented_text  # noqa: E402
from tests.text.phobert import make_phobert_tokenizer  # noqa: E402

MARKERS = ("<!-- bench:start -->", "<!-- bench:end -->")
REPEATS = 3


def corpus(language: str) -> Sequence[Example]:
    rows = read_rows(Source(f"embedded:reading/{language}/train"))
    return check_rows(rows, question_converter(Schema())).examples


def rate(run: Callable[[], int]) -> float:
    """Windows a second, of the fastest repeat."""
    best = 0.0
    for _ in range(REPEATS):
        _segment.cache_clear()
        start = time.perf_counter()
        windows = run()
        best = max(best, windows / (time.perf_counter() - start))
    return best


def encoding(make: Callable[[], Encoder], examples: Sequence[Example], pad: bool = True) -> Callable[[], int]:
    def run() -> int:
        encoder = make()
        windows = QA.encode(examples, encoder).windows
        for start in range(0, len(windows) if pad else 0, 32):
            encoder.pad(windows[start : start + 32])
        return len(windows)

    return run


def decoding(features: Features) -> Callable[[], int]:
    width = max(map(len, features.windows))
    shape = (len(features.windows), width)
    generator = torch.Generator().manual_seed(0)
    outputs: Any = SimpleNamespace(
        start_logits=torch.randn(shape, generator=generator), end_logits=torch.randn(shape, generator=generator)
    )

    def run() -> int:
        QA.score(QA.decode(features, QA.candidates(outputs, features.windows), [], "vi"), [])
        return len(features.windows)

    return run


def measure() -> list[tuple[str, float]]:
    vi, en = corpus("vi"), corpus("en")
    multilingual, english = load_checkpoint("mini/multilingual", layers=1), load_checkpoint("mini/english")
    with tempfile.TemporaryDirectory() as folder:
        sentences = [segmented_text(context, "vi").text for context in {example.group for example in vi}]
        phobert = make_phobert_tokenizer(Path(folder), sentences)
        short, long = partial(multilingual.encoder, 128, 32), partial(multilingual.encoder, 256)
        return [
            ("XLM-R's tokenizer, Vietnamese, windows of 256", rate(encoding(long, vi))),
            ("XLM-R's tokenizer, Vietnamese, windows of 128", rate(encoding(short, vi))),
            ("BERT's tokenizer, English, windows of 256", rate(encoding(lambda: english.encoder(256), en))),
            ("PhoBERT's tokenizer, segmentation included", rate(encoding(lambda: Encoder(phobert, "vi", 256), vi))),
            ("decoding and scoring, windows of 256", rate(decoding(QA.encode(vi, long())))),
            ("decoding and scoring, windows of 128", rate(decoding(QA.encode(vi, short())))),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where reading.md is")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [f"| {name} | {windows:,.0f} |" for name, windows in measure()]
    table = "\n".join(["| step, one core | windows/s |", "|---|---:|", *rows])
    print(table)
    page = arguments.docs / "reading.md"
    before, rest = page.read_text(encoding="utf-8").split(MARKERS[0])
    after = rest.split(MARKERS[1])[1]
    command = "`python bench/reading.py` (its PhoBERT has a vocabulary trained on the corpus):"
    page.write_text(f"{before}{MARKERS[0]}\n{command}\n\n{table}\n{MARKERS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
