"""What a teacher reads where the student reads its windows: its windows, which tokens count, bytes of states."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int32
from numpy import ndarray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kdda.recipe.schema import has_masses
from kdda.tasks.base import Task
from kdda.tasks.features import TextSpan
from kdda.tasks.places import LogitPlaces, PaddedLogitPlaces
from kdda.tasks.windows import ByRow, RowWindows, in_chunks
from kdda.teachers.shards import bytes_of_state
from kdda.text.encode import Encoder
from kdda.text.places import token_places

# How choices of tokens without masses are told apart in a digest; "all" came first and has no mark. Masses have their
# names.
DIGEST_MARKS = {"all": "", "text": " texts alone"}


class TeacherInputs:
    """The same texts as the student's windows, through the teacher's tokenizer: a window a row, or several.

    Args:
        encoder: the teacher's; not kept, nor is its tokenizer.
        spans: what each window of the student reads.
        tokens: which tokens count: those of the ``text`` (no specials), or by any other value of `distill.tokens` all.
        places: whether `padded_places` gives the places of the tokens that count.
        token_task: the task, where logits of its tokens are compared; else None.

    Attributes:
        padding: makes batches of windows.
        rows: windows of each row, on disk where there are many.
        lengths: tokens of each row that count.
        digest: of every token that is read.
    """

    def __init__(
        self,
        encoder: Encoder,
        spans: Sequence[TextSpan],
        tokens: str = "all",
        places: bool = False,
        token_task: Task | None = None,
    ):
        self.padding, self.tokens, self.gives_places = encoder.padding, tokens, places
        self.token_task = token_task
        self._counted = array("i")
        self._characters = array(
            "i"
        )  # of each row's last text, the first on its line of places and that after the last
        self._sha = hashlib.sha256()
        self.rows = ByRow(in_chunks(spans, partial(self._read, encoder)))
        self.lengths: Int32[ndarray, " rows"] = np.array(self._counted, np.int32)
        self.digest = self._sha.hexdigest() + DIGEST_MARKS.get(tokens, f" {tokens}")

    def counted_tokens(self, windows: RowWindows) -> list[list[int]]:
        """Positions of the tokens that count, a list a window.

        A row's later windows repeat the question, which counts once: of them only the context's tokens count.
        """
        first, *later = windows
        positions = []  # of the first window
        for position, is_text in enumerate(first.is_text):
            if is_text or self.tokens != "text":
                positions.append(position)
        counted = [positions]
        for window in later:
            counted.append(list(range(window.context_start, window.context_start + window.context_length)))
        return counted

    def padded_places(self, rows: Sequence[int]) -> Float[Tensor, "rows tokens 2"] | None:
        """The places of some rows' tokens that count, 0 and 0 at padding; None where nobody reads them."""
        if not self.gives_places:
            return None
        places = []
        for row in rows:
            windows = self.rows[row]
            start, end = self._characters[2 * row : 2 * row + 2]
            of_row = []
            for window, counted in zip(windows, self.counted_tokens(windows), strict=True):
                of_row.append(token_places(window, (start, end))[counted])
            places.append(torch.from_numpy(np.concatenate(of_row)))
        return pad_sequence(places, batch_first=True)

    def logit_places(self, rows: Sequence[int]) -> PaddedLogitPlaces | None:
        """Where some rows' logits of tokens are compared, by numbers among the tokens that count; None where not."""
        if self.token_task is None:
            return None
        places = []
        for row in rows:
            places.append(self._logit_places(self.rows[row], self.token_task))
        return PaddedLogitPlaces.of(places)

    def _logit_places(self, windows: RowWindows, task: Task) -> LogitPlaces:
        """Where the logits of one row's tokens are compared, all its windows joined; tokens as in `logit_places`.

        Places before the text, which stand for "nowhere in this window", hold for a row of one window alone.
        """
        tokens = []
        characters = []
        tokens_before = 0  # that count, of the windows so far
        for window, counted in zip(windows, self.counted_tokens(windows), strict=True):
            of_window = task.logit_places(window)
            is_known = np.isin(of_window.tokens, counted)
            if len(windows) > 1:
                is_known &= of_window.characters[:, 0] >= 0
            tokens.append(tokens_before + np.searchsorted(counted, of_window.tokens[is_known]))
            characters.append(of_window.characters[is_known])
            tokens_before += len(counted)
        return LogitPlaces(np.concatenate(tokens), np.concatenate(characters))

    def stored_bytes(self, width: int, labels: int = 0, stored_in: str = "bf16") -> int:
        """Bytes that stored states of one layer take, with float32 masses where tokens have them.

        Args:
            width: of a state.
            stored_in: precision of stored states: ``bf16`` or ``int8``.
            labels: of which each token has a logit in float32, where those are compared.
        """
        bytes_a_token = bytes_of_state(width, stored_in)
        if has_masses(self.tokens):
            bytes_a_token += 4
        if self.token_task is not None:
            bytes_a_token += 4 * labels
        return bytes_a_token * int(self.lengths.sum(dtype=np.int64))

    def _read(self, encoder: Encoder, spans: Sequence[TextSpan]) -> Iterator[RowWindows]:
        """The windows of some rows, one after another; their tokens are counted and added to the digest meanwhile."""
        texts: list[str] = []
        for span in spans:
            texts += span.texts
        encoder.tokenize(texts)
        for span in spans:
            windows = _windows_of(encoder, span)
            self._characters.extend(span.characters)
            self._counted.append(sum(map(len, self.counted_tokens(windows))))
            for window in windows:
                # −1 and −2, which are no token ids, end the ids and the window
                self._sha.update(np.array([*window.ids, -1, window.context_start, -2], np.int32).tobytes())
            self._sha.update(b"|")  # ends the row
            yield windows


def _windows_of(encoder: Encoder, span: TextSpan) -> RowWindows:
    """The teacher's windows of what one window of the student reads.

    Args:
        span: its texts, and where `span.span` is set, the characters of the last text (a context) that are read.
    """
    if span.span is None:
        columns = [[text] for text in span.texts]  # one row, a column a text
        return encoder.encode(*columns)
    return encoder.windows(span.texts, span=span.span, overlap=0)
