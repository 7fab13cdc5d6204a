"""One segment of an index: passages, and how often each term occurs in each of them. Never changed once written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32, Int32, Integer
from numpy import ndarray
from pydantic import BaseModel, ConfigDict, Field

from kdda.errors import KddaError
from kdda.retrieval.passages import Passage
from kdda.retrieval.terms import Terms

PASSAGES, OFFSETS, LENGTHS, DOCUMENTS = "passages.jsonl", "offsets.npy", "lengths.npy", "documents.json"

VECTORS = "vectors.npy"

READ_WHOLE = 16 * 2**20  # bytes: of larger files an opened index checks the size alone

Vectors = Float32[ndarray, "passages width"]

FoundT = TypeVar("FoundT")


class FileSaid(BaseModel):
    """What a file was when it was written."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    bytes: int
    sha256: str


class Written(BaseModel):
    """What the manifest says of a segment."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^segment-[0-9]+$")
    passages: int
    files: dict[str, FileSaid]


class Collected:
    """What a segment is made of: passages, and the ids of their terms, which take a tenth of the terms' memory."""

    def __init__(self) -> None:
        self.passages: list[Passage] = []
        self.ids: list[Int32[ndarray, "_"]] = []
        self.vocabulary: dict[str, int] = {}

    def add(self, passages: Sequence[Passage], terms: Sequence[Terms]) -> None:
        known = self.vocabulary
        self.passages += passages
        self.ids += [
            np.fromiter((known.setdefault(term, len(known)) for term in own), np.int32, len(own)) for own in terms
        ]


def write_segment(folder: Path, found: Collected, vectors: Vectors | None) -> Written:
    """Write a segment into a new folder; returns what the manifest says of it."""
    from kdda.retrieval.counts import write_counts

    folder.mkdir(parents=True)
    offsets = [0]
    with (folder / PASSAGES).open("wb") as file:
        for passage in found.passages:
            offsets.append(offsets[-1] + file.write(json.dumps(asdict(passage), ensure_ascii=False).encode() + b"\n"))
    np.save(folder / OFFSETS, np.array(offsets, np.int64), allow_pickle=False)
    np.save(folder / LENGTHS, np.array([len(own) for own in found.ids], np.int32), allow_pickle=False)
    documents = list(dict.fromkeys(passage.document for passage in found.passages))
    (folder / DOCUMENTS).write_text(json.dumps(documents, ensure_ascii=False), encoding="utf-8")
    write_counts(folder, found.ids, found.vocabulary)
    if vectors is not None:
        np.save(folder / VECTORS, vectors.astype(np.float16), allow_pickle=False)
    files = {own.name: FileSaid(bytes=own.stat().st_size, sha256=sha256(own)) for own in sorted(folder.iterdir())}
    return Written(name=folder.name, passages=len(found.passages), files=files)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_files(index: Path, written: Written, whole: bool = False) -> None:
    """Hold a segment's files against what the manifest says of them.

    Args:
        whole: read large ones, too.

    Raises:
        KddaError: a file that is missing, cut or changed.
    """
    folder = index / written.name
    for name, said in written.files.items():
        path = folder / Path(name).name
        found = path.stat().st_size if path.is_file() else None
        if found is None:
            raise damaged(folder, f"{name} is missing")
        if found != said.bytes:
            raise damaged(folder, f"{name} has {found:,} bytes, and {said.bytes:,} were written")
        if (whole or found <= READ_WHOLE) and sha256(path) != said.sha256:
            raise damaged(folder, f"{name} is not what was written")


def damaged(folder: Path, what: str) -> KddaError:
    return KddaError(f"the index is damaged: {folder}: {what}; delete it and index the corpus again")


@dataclass(frozen=True, eq=False)
class Segment:
    """A segment that is open.

    Attributes:
        first: the number of its first passage in the whole index.
        lengths: terms of each passage.
    """

    folder: Path
    first: int
    lengths: Int32[ndarray, " passages"]
    vocabulary: Mapping[str, int]
    counts: Mapping[str, Any]
    offsets: Integer[ndarray, " offsets"]
    lines: Any  # of passages.jsonl, as bytes on disk
    vectors: Any  # [passages, width] on disk; None without

    @classmethod
    def open(cls, folder: Path, first: int) -> Segment:
        """Map a segment's files; only its vocabulary is read whole.

        Raises:
            KddaError: files that numpy cannot read as they are.
        """
        from kdda.retrieval.counts import open_counts

        try:
            counts = open_counts(folder)
            lengths, offsets = _mapped(folder / LENGTHS), _mapped(folder / OFFSETS)
            lines = np.memmap(folder / PASSAGES, np.uint8, "r")
            vectors = _mapped(folder / VECTORS) if (folder / VECTORS).is_file() else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise damaged(folder, str(error)) from error
        return cls(folder, first, np.asarray(lengths), counts.vocab_dict, counts.scores, offsets, lines, vectors)

    def __len__(self) -> int:
        return len(self.lengths)

    def occurrences(self, term: str) -> tuple[Integer[ndarray, " found"], Integer[ndarray, " found"]]:
        """The passages that hold a term, and how often each does."""
        at = self.vocabulary.get(term)
        if at is None:
            return np.empty(0, np.int32), np.empty(0, np.uint16)
        start, end = self.counts["indptr"][at], self.counts["indptr"][at + 1]
        return self.counts["indices"][start:end], self.counts["data"][start:end]

    def frequency(self, term: str) -> int:
        """How many passages hold a term."""
        at = self.vocabulary.get(term)
        return 0 if at is None else int(self.counts["indptr"][at + 1] - self.counts["indptr"][at])

    def passage(self, number: int) -> Passage:
        """A passage by its number in the segment."""
        start, end = self.offsets[number], self.offsets[number + 1]
        return self.guarded(partial(_passage, self.lines[start:end]))

    def guarded(self, work: Callable[[], FoundT]) -> FoundT:
        """Do what reads large files, which are not read whole when the index is opened."""
        try:
            return work()
        except (IndexError, ValueError, TypeError) as error:
            raise damaged(self.folder, str(error)) from error


def _passage(line: Any) -> Passage:
    return Passage(**json.loads(line.tobytes()))


def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def documents_of(folders: Iterable[Path]) -> set[str]:
    """The documents that some segments hold."""
    return {name for own in folders for name in json.loads((own / DOCUMENTS).read_text(encoding="utf-8"))}
