"""An index on disk, open to be searched: its manifest with its settings, its segments, and checks of its model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from kdda.errors import KddaError
from kdda.retrieval.passages import OVERLAP, SIZE, Passage
from kdda.retrieval.segments import Segment, SegmentEntry, check_files, damaged

MANIFEST = "index.json"  # written last: where it is, everything that it names is complete

FORMAT: Literal["kdda-index"] = "kdda-index"

VERSION = 2  # 1 had no fingerprint of the dense model

STRICT = ConfigDict(extra="forbid", frozen=True)


class IndexSettings(BaseModel):
    """How an index reads passages and questions; chosen when it is created.

    Attributes:
        segmenter: ``vi`` matches Vietnamese words beside syllables, ``none`` syllables alone.
        size: characters of a passage at most.
        overlap: characters that two passages share at most.
        dense: the name of the model whose vectors passages have; empty for an index without vectors.
    """

    model_config = STRICT
    segmenter: str = "vi"
    size: int = Field(SIZE, ge=100)
    overlap: int = Field(OVERLAP, ge=0)
    dense: str = ""


class Manifest(BaseModel):
    """The contents of index.json.

    Attributes:
        dense_fingerprint: of the weights of the dense model; empty without one.
    """

    model_config = STRICT
    format: Literal["kdda-index"] = FORMAT
    version: int = VERSION
    settings: IndexSettings
    dense_fingerprint: str = ""
    segments: list[SegmentEntry] = []


class Index:
    """An index that is open to be searched. It stays as it was opened, whatever is added meanwhile.

    Attributes:
        settings: how it reads passages and questions.
        dense_fingerprint: of the weights that made its vectors.
    """

    def __init__(self, folder: Path, settings: IndexSettings, segments: Sequence[Segment], dense_fingerprint: str = ""):
        self.folder = folder
        self.settings = settings
        self.segments = segments
        self.dense_fingerprint = dense_fingerprint

    @classmethod
    def open(cls, folder: Path) -> Index:
        """Open an index; its arrays stay on disk.

        Raises:
            KddaError: no index, a damaged or unfinished one, or one of another version.
        """
        check_bm25s()
        manifest = read_manifest(folder)
        segments: list[Segment] = []
        first = 0
        for entry in manifest.segments:
            check_files(folder, entry)
            segment = Segment.open(folder / entry.name, first)
            segments.append(segment)
            first += len(segment)
        return cls(folder, manifest.settings, segments, manifest.dense_fingerprint)

    def __len__(self) -> int:
        return sum(map(len, self.segments))

    def passage(self, number: int) -> Passage:
        """A passage by its number in the whole index."""
        for segment in reversed(self.segments):
            if segment.first <= number:
                return segment.passage(number - segment.first)
        raise IndexError(f"passage {number} of {len(self)}")

    def passages(self) -> Iterator[Passage]:
        """All passages in their order, for example to be sent to a cluster."""
        for number in range(len(self)):
            yield self.passage(number)


def check_dense_model(folder: Path, name: str, fingerprint: str, model_name: str, model_fingerprint: str) -> None:
    """Refuse a model that did not make the vectors of an index.

    Args:
        folder: of the index.
        name, fingerprint: of the model that made its vectors.
        model_name, model_fingerprint: of the model that encodes questions or further passages.

    Raises:
        KddaError: another model, or other weights under the same name.
    """
    if name != model_name:
        raise KddaError(f'{folder} holds vectors of "{name}", not of "{model_name}"')
    if fingerprint != model_fingerprint:
        raise KddaError(
            f'{folder} holds vectors of "{name}" with other weights (fingerprint {fingerprint}; the model now has '
            f"{model_fingerprint}): index the corpus again, or restore the model that made it"
        )


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an index.

    Raises:
        KddaError: there is none, it is damaged, or of another version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise KddaError(f'"{folder}" is no index: {_why_no_manifest(folder)}')
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["version"]
        if content["format"] == FORMAT and version != VERSION:
            raise KddaError(f"{path}: an index of version {version}; this kdda reads version {VERSION}: index again")
        return Manifest.model_validate(content)
    except (ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise damaged(folder, f"{MANIFEST} cannot be read ({reason:.100})") from error


def _why_no_manifest(folder: Path) -> str:
    """The end of a message: what a folder without a manifest is, and what to do."""
    if folder.is_dir() and any(folder.glob("segment-*")):
        return "its writer did not finish: index again"
    return "kdda index CORPUS OUT makes one"


def check_bm25s() -> None:
    """Refuse to go on without bm25s, which only those need who index a corpus.

    Raises:
        KddaError: it is not installed.
    """
    try:
        import bm25s  # noqa: F401
    except ImportError:
        raise KddaError('an index needs bm25s: pip install "kdda[systems]"') from None
