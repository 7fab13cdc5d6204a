"""An index on disk: a manifest and segments. What is added makes a new segment; none that is there is touched."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field

from kdda.embeddings.encoder import EmbeddingModel, MeanPoolingModel
from kdda.errors import KddaError
from kdda.retrieval.passages import OVERLAP, SIZE, Document, Passage, split
from kdda.retrieval.pool import TermExtractor, cores, term_reader
from kdda.retrieval.segments import Collected, Segment, Written, check_files, damaged, documents_of, write_segment
from kdda.runtime.files import write_atomically

MANIFEST = "index.json"  # written last: whoever finds it finds all that it names

FORMAT: Literal["kdda-index"] = "kdda-index"

VERSION = 1

STRICT = ConfigDict(extra="forbid", frozen=True)

ROWS = 50_000  # passages of a segment at most, so that memory does not grow with the corpus

AHEAD = 4096  # passages whose terms are read at once

WAIT = 20.0  # seconds for another writer

TELL = 15.0  # seconds between two lines of progress


class IndexSettings(BaseModel):
    """How an index reads passages and questions; decided when it is made.

    Attributes:
        segmenter: ``vi`` matches Vietnamese words, ``none`` syllables.
        size, overlap: of passages, in characters.
        dense: the model whose vectors passages have, if any.
    """

    model_config = STRICT
    segmenter: str = "vi"
    size: int = Field(SIZE, ge=100)
    overlap: int = Field(OVERLAP, ge=0)
    dense: str = ""


class Manifest(BaseModel):
    """What an index says of itself: how it reads, and which segments it has."""

    model_config = STRICT
    format: Literal["kdda-index"] = FORMAT
    version: int = VERSION
    settings: IndexSettings
    segments: list[Written] = []


@dataclass(frozen=True)
class Built:
    """What a writer has done."""

    documents: int
    passages: int
    known: int  # documents that were there already

    def __str__(self) -> str:
        known = f"; {self.known:,} were there already, by their id" if self.known else ""
        return f"{self.documents:,} documents, {self.passages:,} passages{known}"


class Writer:
    """Writes one index: one writer at a time, and the manifest last of all.

    Args:
        settings: of an index that is made; one that is added to has its own.
        embed: opens the model that gives vectors, by its name.
        processes: that segment words; as many as there are cores by default.
        say: told now and then how far it is.
    """

    def __init__(
        self,
        folder: Path,
        settings: IndexSettings | None = None,
        embed: Callable[[str], EmbeddingModel] = MeanPoolingModel.load,
        processes: int = 0,
        say: Callable[[str], object] = lambda _: None,
    ):
        self.folder, self.settings, self.embed = folder.absolute(), settings or IndexSettings(), embed
        self.processes, self.say = processes or cores(), say

    def build(self, documents: Iterable[Document], add: bool = False, wait: float = WAIT) -> Built:
        """Index documents into a new folder, or add them to the index that is there.

        Nothing of a folder changes before all is written: a writer that is killed leaves what there was.

        Raises:
            KddaError: an index is there and `add` was not asked for, no document, or another writer at work.
        """
        check_tools()
        try:
            with _alone(self.folder, wait):
                return self._build(documents, add)
        except OSError as error:
            raise KddaError(f"{error.filename or self.folder}: {error.strerror or error}") from error

    def _build(self, documents: Iterable[Document], add: bool) -> Built:
        before = self._before(add)
        known = documents_of(self.folder / own.name for own in before.segments)
        self._sweep(before)
        seen = Counter[str]()
        with term_reader(before.settings.segmenter, self.processes) as reader:
            new = list(self._segments(_new(documents, known, seen), before, reader))
        if not new and not before.segments:
            raise KddaError("the corpus is empty: no document holds any text, so there is nothing to index")
        after = before.model_copy(update={"segments": [*before.segments, *new]})
        write_atomically(self.folder / MANIFEST, after.model_dump_json(indent=1) + "\n")
        return Built(seen["new"], sum(own.passages for own in new), seen["known"])

    def _before(self, add: bool) -> Manifest:
        """The manifest to which segments are added."""
        there = (self.folder / MANIFEST).is_file()
        if there and not add:
            raise KddaError(f"{self.folder} holds an index already: --add adds to it, or choose another folder")
        if not there and add:
            raise KddaError(f"{self.folder} holds no index to add to: leave out --add to make one")
        if not there:
            strange = [own.name for own in self.folder.iterdir() if not own.name.startswith(("segment-", "."))]
            if strange:
                raise KddaError(f"{self.folder} holds {strange[0]}, and no index: choose a new or an empty folder")
            return Manifest(settings=self.settings)
        before = read_manifest(self.folder)
        for own in before.segments:  # before more is put beside them
            check_files(self.folder, own, whole=True)
        return before

    def _sweep(self, before: Manifest) -> None:
        """Remove what a killed writer has left: segments that no manifest names."""
        named = {own.name for own in before.segments}
        for path in self.folder.glob("segment-*"):
            if path.name not in named:
                shutil.rmtree(path)

    def _segments(self, documents: Iterable[Document], before: Manifest, reader: TermExtractor) -> Iterator[Written]:
        own, count = before.settings, len(before.segments)
        embedding_model = self.embed(own.dense) if own.dense else None
        passages = (passage for document in documents for passage in split(document, own.size, own.overlap))
        told = begun = time.monotonic()
        done = 0
        while chunk := list(islice(passages, ROWS)):
            count += 1
            found = Collected()
            for at in range(0, len(chunk), AHEAD):
                part = chunk[at : at + AHEAD]
                found.add(part, reader([_matched(passage) for passage in part]))
                done += len(part)
                if (now := time.monotonic()) - told >= TELL:
                    told = now
                    self.say(f"  {done:,} passages, {done / (now - begun):,.0f} passages/s")
            vectors = embedding_model.encode([passage.text for passage in chunk]) if embedding_model else None
            yield write_segment(self.folder / f"segment-{count:05}", found, vectors)


def _matched(passage: Passage) -> str:
    """What a question may match: a title says what a passage is about, which its text may not."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


def _new(documents: Iterable[Document], known: set[str], seen: Counter[str]) -> Iterator[Document]:
    """Documents whose id is not known yet, and counts of both."""
    for document in documents:
        which = "known" if document.id in known else "new"
        seen[which] += 1
        if which == "new":
            known.add(document.id)
            yield document


class Index:
    """An index that is open to be searched. It stays as it was opened, whatever is added meanwhile."""

    def __init__(self, folder: Path, settings: IndexSettings, segments: Sequence[Segment]):
        self.folder, self.settings, self.segments = folder, settings, segments

    @classmethod
    def open(cls, folder: Path) -> Index:
        """Open an index; its arrays stay on disk.

        Raises:
            KddaError: no index, a damaged or unfinished one, or one of another version.
        """
        check_tools()
        manifest = read_manifest(folder)
        segments: list[Segment] = []
        for own in manifest.segments:
            check_files(folder, own)
            segments.append(Segment.open(folder / own.name, sum(map(len, segments))))
        return cls(folder, manifest.settings, segments)

    def __len__(self) -> int:
        return sum(map(len, self.segments))

    def passage(self, number: int) -> Passage:
        """A passage by its number in the whole index."""
        own = next(own for own in reversed(self.segments) if own.first <= number)
        return own.passage(number - own.first)


def read_manifest(folder: Path) -> Manifest:
    """What an index says of itself.

    Raises:
        KddaError: there is none, or it is of another version or cut.
    """
    path = folder / MANIFEST
    if not path.is_file():
        begun = folder.is_dir() and any(folder.glob("segment-*"))
        why = "its writer did not finish: index again" if begun else "kdda index CORPUS OUT makes one"
        raise KddaError(f'"{folder}" is no index: {why}')
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        version = said["version"]
        if said["format"] == FORMAT and version != VERSION:
            raise KddaError(f"{path}: an index of version {version}; this kdda reads version {VERSION}: index again")
        return Manifest.model_validate(said)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(folder, f"{MANIFEST} cannot be read ({' '.join(str(error).split()):.100})") from error


def check_tools() -> None:
    """Searching by words needs bm25s, which only those need who index."""
    try:
        import bm25s  # noqa: F401
    except ImportError:
        raise KddaError('an index needs bm25s: pip install "kdda[systems]"') from None


@contextmanager
def _alone(folder: Path, wait: float) -> Iterator[None]:
    """One writer at a time; a second one waits a while, and is then refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KddaError(f"{folder} cannot be made: {error.strerror}") from error
    try:
        with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=wait):
            yield
    except Timeout:
        raise KddaError(
            f"another process is writing {folder}; nothing was changed: try again when it is done"
        ) from None
