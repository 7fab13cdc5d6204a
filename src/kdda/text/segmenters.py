"""Word segmenters by name (`SEGMENTERS`): none, vi (the same as underthesea), pyvi, vncorenlp, and what each needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from kdda.errors import KddaError

VNCORENLP_FOLDER = "KDDA_VNCORENLP"  # the environment variable that names the folder of VnCoreNLP's files

VNCORENLP_FILES = ("VnCoreNLP-1.2.jar", "models/wordsegmenter/vi-vocab", "models/wordsegmenter/wordsegmenter.rdr")


def _underthesea(text: str) -> list[str]:
    """Words by underthesea's conditional random field, spelt as they are in the text."""
    try:
        from underthesea import word_tokenize  # imported here, since it takes 2 to 4 s
    except ImportError:
        raise KddaError('Vietnamese word segmentation needs underthesea: pip install "kdda[vi]"') from None
    # By default underthesea respells words (hoá → hòa), which then are not slices of the text.
    words: list[str] = word_tokenize(text, use_token_normalize=False)
    return words


def _pyvi(text: str) -> list[str]:
    """Words by pyvi's conditional random field, which joins syllables by ``_``."""
    try:
        from pyvi import ViTokenizer
    except ImportError:
        raise KddaError('segmenter "pyvi" needs pyvi: pip install "kdda[pyvi]"') from None
    joined: str = ViTokenizer.tokenize(text)
    return joined.split()


def _vncorenlp(text: str) -> list[str]:
    """Words by VnCoreNLP's RDRSegmenter, which PhoBERT was trained on; it joins syllables by ``_``."""
    words = []
    for line in text.splitlines():
        if line.strip():
            for sentence in _vncorenlp_model().word_segment(line):
                words += sentence.split()
    return words


@cache
def _vncorenlp_model() -> Any:
    """VnCoreNLP in a Java machine that this process starts once.

    Raises:
        KddaError: Java, py_vncorenlp or the model files are missing; the message says which.
    """
    folder = Path(os.environ.get(VNCORENLP_FOLDER, "~/.cache/kdda/vncorenlp")).expanduser().resolve()
    missing = []
    if not shutil.which("java"):
        missing.append("Java 8 or later (no java on the PATH)")
    try:
        import py_vncorenlp
    except ImportError:
        missing.append('py_vncorenlp (pip install "kdda[vncorenlp]")')
    absent = []
    for name in VNCORENLP_FILES:
        if not (folder / name).is_file():
            absent.append(name)
    if absent:
        missing.append(
            f"in {folder} (or the folder that {VNCORENLP_FOLDER} names): {', '.join(absent)} (from "
            "https://github.com/vncorenlp/VnCoreNLP)"
        )
    if missing:
        raise KddaError(f'segmenter "vncorenlp" needs {"; ".join(missing)}')
    working_folder = Path.cwd()
    try:
        return py_vncorenlp.VnCoreNLP(annotators=["wseg"], save_dir=str(folder))
    except Exception as error:  # of Java: a damaged file, no memory for its machine
        raise KddaError(f'segmenter "vncorenlp" does not start from {folder}: {error}') from None
    finally:
        os.chdir(working_folder)  # py_vncorenlp changes to the folder of its files


# A function takes a text and gives its words in order; syllables of a word may be joined by white space or by "_".
SEGMENTERS: dict[str, Callable[[str], list[str]]] = {
    "none": str.split,
    "vi": _underthesea,
    "underthesea": _underthesea,
    "pyvi": _pyvi,
    "vncorenlp": _vncorenlp,
}
