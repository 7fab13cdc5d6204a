"""What a teacher reads where the student reads its windows."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from kdda.tasks.base import TextSpan
from kdda.tasks.windows import ByRow, RowWindows, in_chunks
from kdda.text.encode import Encoder

READ = {"all": "", "text": " texts alone", "attended": " attended"}  # what stored states say of their tokens


class TeacherInputs:
    """What a teacher reads where the student reads its windows: a window of its own, or several, a row.

    Args:
        tokens: which of them count, as a recipe's `distill.tokens` says it.

    Attributes:
        rows: on disk where they are many.
        lengths: of each row, tokens that count.
        digest: of every token that is read.
    """

    def __init__(self, encoder: Encoder, text_spans: Sequence[TextSpan], tokens: str = "all"):
        self.encoder, self.tokens = encoder, tokens
        lengths, digest = array("i"), hashlib.sha256()

        def read(some: Sequence[TextSpan]) -> Iterator[RowWindows]:
            encoder.tokenize([text for excerpt in some for text in excerpt.texts])
            for windows in (_windows(encoder, excerpt) for excerpt in some):
                lengths.append(sum(map(len, self.kept(windows))))
                for window in windows:
                    digest.update(np.array([*window.ids, -1, window.context_start, -2], np.int32).tobytes())
                digest.update(b"|")
                yield windows

        self.rows = ByRow(in_chunks(text_spans, read))
        self.lengths: Int32[ndarray, " rows"] = np.array(lengths, np.int32)
        self.digest = digest.hexdigest() + READ[tokens]

    def kept(self, windows: RowWindows) -> list[list[int]]:
        """Which tokens of a row's windows count: in later ones the context's, since the question was heard."""
        first, *later = windows
        kept = [i for i, text in enumerate(first.is_text) if text or self.tokens != "text"]
        return [kept, *(list(range(own.context_start, own.context_start + own.context_length)) for own in later)]

    def stored_bytes(self, width: int) -> int:
        """That their stored states take, in bfloat16, and masses."""
        token = 2 * width + (4 if self.tokens == "attended" else 0)
        return token * int(self.lengths.sum(dtype=np.int64))


def _windows(encoder: Encoder, excerpt: TextSpan) -> RowWindows:
    if excerpt.span is None:
        return encoder.encode(*([text] for text in excerpt.texts))
    return encoder.windows(excerpt.texts, span=excerpt.span, overlap=0)
