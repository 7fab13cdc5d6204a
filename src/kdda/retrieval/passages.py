"""Documents, and the passages they are cut into: one document after another, whatever their number."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdda.errors import KddaError, did_you_mean
from kdda.text.segment import Span
from kdda.text.sentences import plain_sentences

SIZE, OVERLAP = 1000, 200  # characters: about 200 Vietnamese syllables, and two or three sentences

FIELDS = ("id", "text", "title", "source")


@dataclass(frozen=True)
class Document:
    """A text, where it came from, and a name that no other has."""

    id: str
    text: str
    title: str = ""
    source: str = ""


@dataclass(frozen=True)
class Passage:
    """A slice of a document: `text == document.text[start:end]`, to the character."""

    document: str
    text: str
    start: int
    end: int
    title: str = ""
    source: str = ""

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells it from all other passages."""
        return self.document, self.start, self.end


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a JSONL file, a plain text file, or a folder of such, in the order of their names.

    Raises:
        KddaError: nothing there, or a file or a line that cannot be read; says which.
    """
    if path.is_dir():
        files = [own for own in sorted(path.rglob("*")) if own.suffix.lower() in READERS and own.is_file()]
        if not files:
            raise KddaError(f'"{path}" holds no {", ".join(READERS)} file: an index needs at least one document')
        for own in files:
            yield from READERS[own.suffix.lower()](own, own.relative_to(path).as_posix())
    elif not path.is_file():
        raise KddaError(f'no file or folder "{path}"; a corpus is a folder of texts, a text file, or JSONL')
    elif path.suffix.lower() not in READERS:
        raise KddaError(f'{path}: no reader for "{path.suffix}" files; there are {", ".join(READERS)}')
    else:
        yield from READERS[path.suffix.lower()](path, path.name)


def split(document: Document, size: int = SIZE, overlap: int = OVERLAP) -> Iterator[Passage]:
    """A document's passages: whole sentences, `size` characters at most, which end with a paragraph where they can.

    A passage that ends inside a paragraph shares sentences of at most `overlap` characters with the next one, so that
    what is said across the cut stands whole in one of them. Only a sentence longer than `size` is cut.

    >>> text = "Một câu. Hai câu. Ba câu."
    >>> [own.text for own in split(Document("d", text), size=17, overlap=8)]
    ['Một câu. Hai câu.', 'Hai câu. Ba câu.']
    """
    held: list[Span] = []
    for start, end in _units(document.text, size):
        if held and (end - held[0][0] > size or _paragraph_ends(document.text, held, start, size)):
            yield _passage(document, held)
            held = _shared(document.text, held, (start, end), size, overlap)
        held.append((start, end))
    if held:
        yield _passage(document, held)


def _units(text: str, size: int) -> Iterator[Span]:
    """Sentences, those longer than a passage in parts."""
    for start, end in plain_sentences(text):
        while end - start > size:
            at = _cut(text, start, start + size)
            yield start, at
            start = at + len(text[at:end]) - len(text[at:end].lstrip()) if text[at].isspace() else at
        if start < end:
            yield start, end


def _cut(text: str, start: int, limit: int) -> int:
    """The last white space before a limit; without one, the limit, but not between a letter and its marks."""
    for at in range(limit, start + (limit - start) // 2, -1):
        if text[at].isspace():
            return at
    while limit - start > 1 and unicodedata.combining(text[limit]):
        limit -= 1
    return limit


def _paragraph_ends(text: str, held: list[Span], start: int, size: int) -> bool:
    """Whether a paragraph has ended that fills half a passage."""
    last = held[-1][1]
    return last - held[0][0] >= size // 2 and text.count("\n", last, start) > 1


def _shared(text: str, held: list[Span], coming: Span, size: int, overlap: int) -> list[Span]:
    """The last sentences of a passage that the next one repeats."""
    if text.count("\n", held[-1][1], coming[0]) > 1:
        return []
    end = held[-1][1]
    return [own for own in held[1:] if end - own[0] <= overlap and coming[1] - own[0] <= size]


def _passage(document: Document, held: list[Span]) -> Passage:
    start, end = held[0][0], held[-1][1]
    return Passage(document.id, document.text[start:end], start, end, document.title, document.source)


def _plain(path: Path, name: str) -> Iterator[Document]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise KddaError(
            f"{path}: not UTF-8 (byte 0x{error.object[error.start]:02x} at {error.start}); "
            f"convert it first, for example: iconv -f WINDOWS-1258 -t UTF-8 {path.name}"
        ) from None
    if text.strip():
        yield Document(name, text, _title(text), name)


def _title(text: str) -> str:
    """A heading of Markdown in the first line, if there is one."""
    first = text.lstrip().partition("\n")[0]
    return first.lstrip("#").strip() if first.startswith("#") else ""


def _jsonl(path: Path, name: str) -> Iterator[Document]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _document(_row(line, f"{path}:{number}"), f"{path}:{number}", f"{name}:{number}")


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise KddaError(f"{where}: not UTF-8 (byte 0x{line[error.start]:02x}); convert the file first") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise KddaError(f"{where}: not JSON ({error}); a line is one document with {', '.join(FIELDS)}") from None
    if not isinstance(row, dict):
        raise KddaError(f"{where}: found {type(row).__name__}, expected an object with {', '.join(FIELDS)}")
    return row


def _document(row: dict[str, Any], where: str, name: str) -> Document:
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        found = f"text {text!r:.40}" if "text" in row else f"no text{did_you_mean('text', row)}"
        raise KddaError(f'{where}: found {found}, expected a document\'s text under "text"')
    return Document(str(row.get("id", name)), text, str(row.get("title") or ""), str(row.get("source") or name))


READERS: dict[str, Callable[[Path, str], Iterator[Document]]] = {".txt": _plain, ".md": _plain, ".jsonl": _jsonl}
