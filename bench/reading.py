"""How fast texts are encoded into windows, and logits decoded into answers, on one core.

    python bench/reading.py --write docs/reading.md      # about half a minute

The texts are the embedded reading corpus, six questions a passage. Tokens are cached by content within an encoder, so
every repeat starts with a new encoder and an empty cache of the segmenter. An encoder's first text is not timed, since
the check of offsets reads the vocabulary then, once a tokenizer. PhoBERT's tokenizer is trained on the corpus (the real
one needs a download); its code is otherwise the same.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core means one core

import torch
from aims import publish
from page import arguments, machine, table
from tiny import make_phobert_tokenizer

from kdda.data.examples import Example, Schema, check_rows
from kdda.data.questions import question_converter
from kdda.data.sources import Source, read_rows
from kdda.models.load import load_checkpoint
from kdda.tasks.features import Features
from kdda.tasks.qa import QA
from kdda.text.encode import Encoder
from kdda.text.segment import _segment, segmented_text

REPEATS = 3
QUICK_ROWS = 32


def corpus(language: str) -> Sequence[Example]:
    rows = read_rows(Source(f"embedded:reading/{language}/train"))
    return check_rows(rows, question_converter(Schema())).examples


def rate(prepare: Callable[[], Callable[[], int]]) -> float:
    """Windows a second, of the fastest repeat.

    Args:
        prepare: makes what is timed.
    """
    best = 0.0
    for _ in range(REPEATS):
        run = prepare()
        _segment.cache_clear()
        start = time.perf_counter()
        windows = run()
        best = max(best, windows / (time.perf_counter() - start))
    return best


def encoding(make: Callable[[], Encoder], examples: Sequence[Example]) -> Callable[[], Callable[[], int]]:
    def prepare() -> Callable[[], int]:
        encoder = make()
        encoder.tokenize(["."])

        def run() -> int:
            windows = QA.encode(examples, encoder).windows
            for start in range(0, len(windows), 32):
                encoder.pad(windows[start : start + 32])
            return len(windows)

        return run

    return prepare


def decoding(features: Features) -> Callable[[], Callable[[], int]]:
    width = max(map(len, features.windows))
    shape = (len(features.windows), width)
    generator = torch.Generator().manual_seed(0)
    outputs: Any = SimpleNamespace(
        start_logits=torch.randn(shape, generator=generator), end_logits=torch.randn(shape, generator=generator)
    )

    def run() -> int:
        QA.score(QA.decode(features, QA.candidates(outputs, features.windows), [], "vi"), [])
        return len(features.windows)

    return lambda: run


def measure(most: int | None) -> list[tuple[str, float]]:
    """Each step with its windows a second, on so many questions of each language at most."""
    vi, en = corpus("vi")[:most], corpus("en")[:most]
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
    parser = arguments(__doc__, "docs/reading.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, windows in measure(QUICK_ROWS if options.quick else None):
        rows.append((name, f"{windows:,.0f}"))
    publish(options, "reading", [machine(), "", *table(("step, one core", "windows/s"), rows)])


if __name__ == "__main__":
    main()
