"""Documents read from files (.txt, .md, .jsonl), and the passages that they are split into: size and overlap."""

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

DOCUMENT_FIELDS = ("id", "text", "title", "source")


@dataclass(frozen=True)
class Document:
    """A text with a unique id.

    Attributes:
        title: matched with every passage of the document, if it has one.
        source: where the text comes from, to be shown with answers.
    """

    id: str
    text: str
    title: str = ""
    source: str = ""


@dataclass(frozen=True)
class Passage:
    """A slice of a document: `text == document.text[start:end]`, to the character.

    Attributes:
        document: the document's id.
    """

    document: str
    text: str
    start: int
    end: int
    title: str = ""
    source: str = ""

    @property
    def key(self) -> tuple[str, int, int]:
        """Document, start and end, which identify a passage."""
        return self.document, self.start, self.end

    @property
    def indexed_text(self) -> str:
        """What a question may match: the title says what a passage is about, which its text may not."""
        if not self.title:
            return self.text
        return f"{self.title}\n{self.text}"


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a JSONL file, a plain text file, or a folder of such files in the order of their names.

    Raises:
        KddaError: no such path, or a file or line that cannot be read; the message names it.
    """
    if path.is_dir():
        yield from _read_folder(path)
    elif not path.is_file():
        raise KddaError(f'no file or folder "{path}"; a corpus is a folder of texts, a text file, or JSONL')
    elif path.suffix.lower() not in FILE_READERS:
        expected = ", ".join(FILE_READERS)
        raise KddaError(f'{path}: no reader for "{path.suffix}" files, expected one of: {expected}')
    else:
        yield from _read_file(path, path.name)


def _read_folder(folder: Path) -> Iterator[Document]:
    """The documents of all readable files of a folder and its subfolders."""
    files = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in FILE_READERS and path.is_file():
            files.append(path)
    if not files:
        raise KddaError(f'"{folder}" holds no {", ".join(FILE_READERS)} file: an index needs at least one document')
    for path in files:
        yield from _read_file(path, path.relative_to(folder).as_posix())


def _read_file(path: Path, name: str) -> Iterator[Document]:
    """The documents of a file, by the reader of its suffix; `name` begins their ids."""
    return FILE_READERS[path.suffix.lower()](path, name)


def split(document: Document, size: int = SIZE, overlap: int = OVERLAP) -> Iterator[Passage]:
    """Split a document into passages of whole sentences, which end with a paragraph where they can.

    A passage that ends inside a paragraph shares its last sentences with the next one, so that an answer near the
    boundary is whole in one of them. Only a sentence longer than `size` is cut.

    Args:
        size: characters of a passage at most.
        overlap: characters of the shared sentences at most.

    >>> text = "Một câu. Hai câu. Ba câu."
    >>> [passage.text for passage in split(Document("d", text), size=17, overlap=8)]
    ['Một câu. Hai câu.', 'Hai câu. Ba câu.']
    """
    text = document.text
    spans: list[Span] = []  # the sentences of the passage that is being collected
    for start, end in _sentence_parts(text, size):
        if spans and (end - spans[0][0] > size or _paragraph_ends(text, spans, start, size)):
            yield _passage(document, spans)
            spans = _shared(text, spans, (start, end), size, overlap)
        spans.append((start, end))
    if spans:
        yield _passage(document, spans)


def _sentence_parts(text: str, size: int) -> Iterator[Span]:
    """Sentences; those longer than a passage in parts."""
    for start, end in plain_sentences(text):
        while end - start > size:
            cut = _cut(text, start, start + size)
            yield start, cut
            start = cut
            if text[cut].isspace():
                start += _leading_spaces(text[cut:end])
        if start < end:
            yield start, end


def _leading_spaces(text: str) -> int:
    """The number of white-space characters that a text begins with."""
    return len(text) - len(text.lstrip())


def _cut(text: str, start: int, limit: int) -> int:
    """The last white space before a limit; without one, the limit, but not between a letter and its marks."""
    for position in range(limit, start + (limit - start) // 2, -1):
        if text[position].isspace():
            return position
    while limit - start > 1 and unicodedata.combining(text[limit]):
        limit -= 1
    return limit


def _paragraph_ends(text: str, spans: list[Span], start: int, size: int) -> bool:
    """Whether a paragraph has ended that fills half a passage."""
    last = spans[-1][1]
    is_long_enough = last - spans[0][0] >= size // 2
    return is_long_enough and text.count("\n", last, start) > 1


def _shared(text: str, spans: list[Span], following: Span, size: int, overlap: int) -> list[Span]:
    """The last sentences of a passage that the next one repeats; none if a paragraph ends between both.

    Args:
        spans: the passage's sentences.
        following: the next passage's first new sentence, with which they must fit into `size` characters.
    """
    end = spans[-1][1]
    if text.count("\n", end, following[0]) > 1:
        return []
    return [span for span in spans[1:] if end - span[0] <= overlap and following[1] - span[0] <= size]


def _passage(document: Document, spans: list[Span]) -> Passage:
    """The passage from the first of some sentences to the last."""
    start, end = spans[0][0], spans[-1][1]
    return Passage(document.id, document.text[start:end], start, end, document.title, document.source)


def _read_text(path: Path, name: str) -> Iterator[Document]:
    """A text file as one document; none if it is empty."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise KddaError(
            f"{path}: not UTF-8 (byte 0x{error.object[error.start]:02x} at {error.start}); "
            f"convert it first, for example: iconv -f WINDOWS-1258 -t UTF-8 {path.name}"
        ) from None
    if text.strip():
        yield Document(name, text, _markdown_title(text), name)


def _markdown_title(text: str) -> str:
    """The heading of the first line; empty without one."""
    first = text.lstrip().partition("\n")[0]
    if not first.startswith("#"):
        return ""
    return first.lstrip("#").strip()


def _read_jsonl(path: Path, name: str) -> Iterator[Document]:
    """One document a line; a document without an id is called by file name and line number."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                where = f"{path}:{number}"
                yield _document(_parse_row(line, where), where, f"{name}:{number}")


def _parse_row(line: bytes, where: str) -> dict[str, Any]:
    """The JSON object of a line; `where` (file:line) begins messages."""
    fields = ", ".join(DOCUMENT_FIELDS)
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise KddaError(f"{where}: not UTF-8 (byte 0x{line[error.start]:02x}); convert the file first") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise KddaError(f"{where}: not JSON ({error}); a line is one document with {fields}") from None
    if not isinstance(row, dict):
        raise KddaError(f"{where}: got {type(row).__name__}, expected an object with {fields}")
    return row


def _document(row: dict[str, Any], where: str, name: str) -> Document:
    """A document from a JSON object; `name` is its id where the object has none."""
    text = row.get("text")
    if "text" not in row:
        raise KddaError(f'{where}: no "text", which holds a document\'s text{did_you_mean("text", row)}')
    if not isinstance(text, str) or not text.strip():
        raise KddaError(f'{where}: got text {text!r:.40}, expected a document\'s text under "text"')
    return Document(str(row.get("id", name)), text, str(row.get("title") or ""), str(row.get("source") or name))


FILE_READERS: dict[str, Callable[[Path, str], Iterator[Document]]] = {
    ".txt": _read_text,
    ".md": _read_text,
    ".jsonl": _read_jsonl,
}
