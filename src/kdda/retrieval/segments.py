"""One segment of an index: passages, and how often each term occurs in each of them. Never changed once written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32, Int32, Integer
from numpy import ndarray
from pydantic import BaseModel, ConfigDict, Field

from kdda.errors import KddaError
from kdda.retrieval.file_rows import FileRows
from kdda.retrieval.passages import Passage
from kdda.retrieval.terms import Terms

# Files of a segment
PASSAGES_FILE = "passages.jsonl"
OFFSETS_FILE = "offsets.npy"  # where each passage's line begins in passages.jsonl
LENGTHS_FILE = "lengths.npy"  # terms of each passage
DOCUMENTS_FILE = "documents.json"  # ids of documents
VECTORS_FILE = "vectors.npy"

READ_WHOLE = 16 * 2**20  # bytes: larger files are checked by their size alone when an index is opened

Vectors = Float32[ndarray, "passages width"]

ResultT = TypeVar("ResultT")


class FileEntry(BaseModel):
    """Size and digest of a file as it was written."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    bytes: int
    sha256: str


class SegmentEntry(BaseModel):
    """A segment in the manifest of its index."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^segment-[0-9]+$")
    passages: int
    files: dict[str, FileEntry]


class SegmentContents:
    """What a segment is written from: passages, and the ids of their terms, a tenth of the terms' memory."""

    def __init__(self) -> None:
        self.passages: list[Passage] = []
        self.ids: list[Int32[ndarray, "_"]] = []
        self.vocabulary: dict[str, int] = {}

    def add(self, passages: Sequence[Passage], terms: Sequence[Terms]) -> None:
        """Add passages with the terms of each."""
        self.passages += passages
        for passage_terms in terms:
            ids = [self._id(term) for term in passage_terms]
            self.ids.append(np.array(ids, np.int32))

    def _id(self, term: str) -> int:
        """The id of a term; a new term gets the next number."""
        return self.vocabulary.setdefault(term, len(self.vocabulary))


def write_segment(folder: Path, contents: SegmentContents, vectors: Vectors | None) -> SegmentEntry:
    """Write a segment into a new folder.

    Args:
        vectors: of the passages, stored as float16; `None` for an index without.

    Returns:
        The segment's entry for the manifest.
    """
    from kdda.retrieval.counts import write_counts

    folder.mkdir(parents=True)
    offsets = _write_passages(folder / PASSAGES_FILE, contents.passages)
    lengths = list(map(len, contents.ids))
    np.save(folder / OFFSETS_FILE, np.array(offsets, np.int64), allow_pickle=False)
    np.save(folder / LENGTHS_FILE, np.array(lengths, np.int32), allow_pickle=False)
    documents = list(dict.fromkeys(passage.document for passage in contents.passages))
    (folder / DOCUMENTS_FILE).write_text(json.dumps(documents, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    write_counts(folder, contents.ids, contents.vocabulary)
    if vectors is not None:
        np.save(folder / VECTORS_FILE, vectors.astype(np.float16), allow_pickle=False)
    files = {path.name: _file_entry(path) for path in sorted(folder.iterdir())}
    return SegmentEntry(name=folder.name, passages=len(contents.passages), files=files)


def _write_passages(path: Path, passages: Sequence[Passage]) -> list[int]:
    """Write one JSON object a line; returns where each line begins, and where the last one ends."""
    offsets = [0]
    with path.open("wb") as file:
        for passage in passages:
            line = json.dumps(passage.as_row(), ensure_ascii=False, allow_nan=False).encode() + b"\n"
            offsets.append(offsets[-1] + file.write(line))
    return offsets


def _file_entry(path: Path) -> FileEntry:
    """Size and digest of a file, for the manifest."""
    return FileEntry(bytes=path.stat().st_size, sha256=sha256(path))


def sha256(path: Path) -> str:
    """The digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_files(index: Path, entry: SegmentEntry, whole: bool = False) -> None:
    """Compare a segment's files with the manifest.

    Args:
        index: the folder of the index.
        whole: read large files as well.

    Raises:
        KddaError: a file that is missing, cut or changed.
    """
    folder = index / entry.name
    for name, expected in entry.files.items():
        path = folder / Path(name).name
        if not path.is_file():
            raise damaged(folder, f"{name} is missing")
        size = path.stat().st_size
        if size != expected.bytes:
            raise damaged(folder, f"{name} has {size:,} bytes, and {expected.bytes:,} were written")
        if (whole or size <= READ_WHOLE) and sha256(path) != expected.sha256:
            raise damaged(folder, f"{name} is not what was written")


def damaged(folder: Path, reason: str) -> KddaError:
    """The error for an index that is not as it was written."""
    return KddaError(f"the index is damaged: {folder}: {reason}; delete it and index the corpus again")


@dataclass(frozen=True, eq=False)
class Segment:
    """An open segment.

    Attributes:
        first: the number of its first passage in the whole index.
        lengths: the number of terms of each passage.
        vocabulary: term → column of `counts`.
        counts: the sparse matrix in compressed columns: ``indptr``, which is mapped, and `FileRows` of ``indices``
            (rows of the matrix) and ``data``.
        offsets: where each passage's line begins in `lines`; mapped.
        lines: the bytes of passages.jsonl, as `FileRows`.
        vectors: [passages, width] as `FileRows`; `None` without.
    """

    folder: Path
    first: int
    lengths: Int32[ndarray, " passages"]
    vocabulary: Mapping[str, int]
    counts: Mapping[str, Any]
    offsets: Integer[ndarray, " offsets"]
    lines: Any
    vectors: Any

    @classmethod
    def open(cls, folder: Path, first: int) -> Segment:
        """Open a segment's files; only its vocabulary is read whole.

        Raises:
            KddaError: files that numpy cannot read.
        """
        try:
            return cls._map(folder, first)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise damaged(folder, str(error)) from error

    @classmethod
    def _map(cls, folder: Path, first: int) -> Segment:
        """`open`, with the errors of numpy and bm25s as they are."""
        from kdda.retrieval.counts import open_counts

        counts = open_counts(folder)
        vectors = None
        if (folder / VECTORS_FILE).is_file():
            vectors = FileRows(_map_array(folder / VECTORS_FILE))
        return cls(
            folder,
            first,
            lengths=np.asarray(_map_array(folder / LENGTHS_FILE)),
            vocabulary=counts.vocab_dict,
            counts={
                "indptr": counts.scores["indptr"],
                "indices": FileRows(counts.scores["indices"]),
                "data": FileRows(counts.scores["data"]),
            },
            offsets=_map_array(folder / OFFSETS_FILE),
            lines=FileRows(np.memmap(folder / PASSAGES_FILE, np.uint8, "r")),
            vectors=vectors,
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def occurrences(self, term: str) -> tuple[Integer[ndarray, " passages"], Integer[ndarray, " passages"]]:
        """The passages that contain a term, and its count in each."""
        start, end = self._column(term)
        return self.counts["indices"][start:end], self.counts["data"][start:end]

    def frequency(self, term: str) -> int:
        """The number of passages that contain a term."""
        start, end = self._column(term)
        return end - start

    def _column(self, term: str) -> tuple[int, int]:
        """Where a term's column begins and ends; an empty one for a term that is not in the vocabulary."""
        column = self.vocabulary.get(term)
        if column is None:
            return 0, 0
        pointers = self.counts["indptr"]
        return int(pointers[column]), int(pointers[column + 1])

    def passage(self, number: int) -> Passage:
        """A passage by its number in the segment."""
        start, end = int(self.offsets[number]), int(self.offsets[number + 1])
        return self.guarded(lambda: _parse_passage(self.lines[start:end]))

    def guarded(self, read: Callable[[], ResultT]) -> ResultT:
        """Call a function that reads large files, which are not read whole when the index is opened.

        Raises:
            KddaError: the files are damaged.
        """
        try:
            return read()
        except (IndexError, ValueError, TypeError) as error:
            raise damaged(self.folder, str(error)) from error


def _parse_passage(line: Any) -> Passage:
    """A passage from its line of passages.jsonl, an array of bytes."""
    return Passage(**json.loads(line.tobytes()))


def _map_array(path: Path) -> Any:
    """An array that stays on disk until its parts are read."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


def read_document_ids(folders: Iterable[Path]) -> set[str]:
    """The ids of all documents of some segments."""
    ids = set[str]()
    for folder in folders:
        ids.update(json.loads((folder / DOCUMENTS_FILE).read_text(encoding="utf-8")))
    return ids
