"""Documents read from files (.txt, .md, .jsonl; .gz, .zst), and the passages of them: size and overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kdda.data.fields import BadFieldError, check_surrogates, identifier, is_missing, shown
from kdda.data.json_text import BadJsonError, parse_line
from kdda.data.sources import format_of
from kdda.data.text_lines import text_lines, whole_text
from kdda.errors import KddaError, did_you_mean
from kdda.runtime.folders import what_is_near
from kdda.runtime.lock_files import lock_path
from kdda.runtime.text_files import printable
from kdda.text.letters import letter_bounds
from kdda.text.sentences import plain_sentences

SIZE, OVERLAP = 1000, 200  # characters: about 200 Vietnamese syllables, and two or three sentences

DOCUMENT_FIELDS = ("id", "text", "title", "source")


LETTER_LOOK = 50  # characters on each side of a cut in which the letter is looked for that it might divide


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
        begins_inside: whether it begins inside a sentence that was too long for one passage.
        ends_inside: whether it ends inside such a sentence.
    """

    document: str
    text: str
    start: int
    end: int
    title: str = ""
    source: str = ""
    begins_inside: bool = False
    ends_inside: bool = False

    def as_row(self) -> dict[str, Any]:
        """Its fields as an index stores them; of those with a sentence that was cut, the true ones alone."""
        row = asdict(self)
        for name in ("begins_inside", "ends_inside"):
            if not row[name]:
                del row[name]
        return row

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


class SentencePart(NamedTuple):
    """Where a sentence stands in its document, or a part of one that is longer than a passage.

    Attributes:
        begins_inside, ends_inside: whether the sentence goes on before it and behind it.
    """

    start: int
    end: int
    begins_inside: bool = False
    ends_inside: bool = False


def read_documents(
    path: Path, index: Path | None = None, say: Callable[[str], object] = lambda _: None
) -> Iterator[Document]:
    """The documents of a JSONL or plain text file, perhaps compressed, or a folder of such in the order of their names.

    Hidden files and folders inside a folder, whose names begin with a point, are no documents.

    Args:
        path: of the file or folder.
        index: the folder of the index that is made of them, which is no part of the corpus.
        say: receives a line about what was left out.

    Raises:
        KddaError: no such path, a file or line that cannot be read, or no document at all; the message names it.
    """
    name = printable(path)
    count = 0
    for document in _documents_of(path, index, say):
        count += 1
        yield document
    if not count:
        raise KddaError(f'"{name}": the corpus is empty: no document holds any text, so there is nothing to index')


def _documents_of(path: Path, index: Path | None, say: Callable[[str], object]) -> Iterator[Document]:
    """The documents of a file or folder, perhaps none; arguments and errors as of `read_documents`."""
    name = printable(path)
    if path.is_dir():
        yield from _read_folder(path, index, say)
    elif not path.is_file():
        near = what_is_near(path)
        raise KddaError(f'no file or folder "{name}"; a corpus is a folder of texts, a text file, or JSONL{near}')
    elif format_of(path) not in FILE_READERS:
        expected = ", ".join(FILE_READERS)
        raise KddaError(f'{name}: no reader for "{path.suffix}" files, expected one of: {expected}')
    else:
        yield from _read_file(path, printable(path.name))


def _read_folder(folder: Path, index: Path | None, say: Callable[[str], object]) -> Iterator[Document]:
    """The documents of all files below a folder; says how many were left out, and why."""
    files, hidden, of_index = _corpus_files(folder, index)
    if hidden:
        say(f"left out {len(hidden):,} hidden files, such as {printable(hidden[0])}")
    if of_index:
        say(f"left out {printable(index or folder)}: the index is no part of its corpus")
    if not files:
        expected = ", ".join(FILE_READERS)
        raise KddaError(f'"{printable(folder)}" holds no {expected} file: an index needs at least one document')
    for path in files:
        yield from _read_file(path, printable(path.relative_to(folder).as_posix()))


def _corpus_files(folder: Path, index: Path | None) -> tuple[list[Path], list[Path], list[Path]]:
    """The files below a folder that are documents, those that are hidden, and those of the index, in order of names."""
    files, hidden, of_index = [], [], []
    inner_index = None
    if index is not None and index.resolve() != folder.resolve() and index.resolve().is_relative_to(folder.resolve()):
        inner_index = index.resolve()
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        parts = path.relative_to(folder).parts
        if inner_index is not None and path.resolve() == lock_path(inner_index):
            continue
        if inner_index is not None and path.resolve().is_relative_to(inner_index):
            of_index.append(path)
        elif any(part.startswith(".") for part in parts):
            hidden.append(path)
        elif format_of(path) in FILE_READERS:
            files.append(path)
    return files, hidden, of_index


def _read_file(path: Path, name: str) -> Iterator[Document]:
    """The documents of a file, by the reader of its suffix; `name` begins their ids."""
    return FILE_READERS[format_of(path)](path, name)


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
    parts: list[SentencePart] = []  # of the passage that is being collected
    for part in _sentence_parts(text, size):
        if parts and (part.end - parts[0].start > size or _paragraph_ends(text, parts, part.start, size)):
            yield _passage(document, parts)
            parts = _shared(text, parts, part, size, overlap)
        parts.append(part)
    if parts:
        yield _passage(document, parts)


def _sentence_parts(text: str, size: int) -> Iterator[SentencePart]:
    """Sentences; those longer than a passage in parts."""
    for begin, end in plain_sentences(text):
        start = begin
        while end - start > size:
            cut = _cut(text, start, start + size)
            yield SentencePart(start, cut, begins_inside=start > begin, ends_inside=True)
            start = cut
            if text[cut].isspace():
                start += _leading_spaces(text[cut:end])
        if start < end:
            yield SentencePart(start, end, begins_inside=start > begin)


def _leading_spaces(text: str) -> int:
    """The number of white-space characters that a text begins with."""
    return len(text) - len(text.lstrip())


def _cut(text: str, start: int, limit: int) -> int:
    """The last white space before a limit, in the second half; without one, the limit, but not inside a letter."""
    for position in range(limit, start + (limit - start) // 2, -1):
        if text[position].isspace():
            return position
    first = max(start, limit - LETTER_LOOK)
    bounds = letter_bounds(text[first : limit + LETTER_LOOK])
    if bounds is None:
        return limit
    begins, _ = bounds
    begin = first + int(begins[limit - first])  # of the letter at the limit
    return begin if begin > start else limit


def _paragraph_ends(text: str, parts: list[SentencePart], start: int, size: int) -> bool:
    """Whether a paragraph has ended that fills half a passage."""
    last = parts[-1].end
    is_long_enough = last - parts[0].start >= size // 2
    return is_long_enough and text.count("\n", last, start) > 1


def _shared(
    text: str, parts: list[SentencePart], following: SentencePart, size: int, overlap: int
) -> list[SentencePart]:
    """The last sentences of a passage that the next one repeats; none if a paragraph ends between both.

    Args:
        parts: the passage's sentences.
        following: the next passage's first new sentence, with which they must fit into `size` characters.
    """
    end = parts[-1].end
    if text.count("\n", end, following.start) > 1:
        return []
    return [part for part in parts[1:] if end - part.start <= overlap and following.end - part.start <= size]


def _passage(document: Document, parts: list[SentencePart]) -> Passage:
    """The passage from the first of some sentences to the last."""
    first, last = parts[0], parts[-1]
    return Passage(
        document.id,
        document.text[first.start : last.end],
        first.start,
        last.end,
        document.title,
        document.source,
        first.begins_inside,
        last.ends_inside,
    )


def _read_text(path: Path, name: str) -> Iterator[Document]:
    """The document that a text file is; none where the file is empty."""
    text = whole_text(path, may_be_page=True)
    if text.strip():
        yield Document(name, text, _markdown_title(text), name)


def _markdown_title(text: str) -> str:
    """The heading of the first line; empty without one."""
    first = text.lstrip().partition("\n")[0]
    if not first.startswith("#"):
        return ""
    return first.lstrip("#").strip()


def _read_jsonl(path: Path, name: str) -> Iterator[Document]:
    """The documents of a file with one JSON object a line."""
    for number, line in enumerate(text_lines(path), 1):
        if line.strip():
            try:
                yield _document(_parse_row(line), f"{name}:{number}")
            except (BadFieldError, BadJsonError) as error:
                raise KddaError(f"{printable(path)}:{number}: {error}") from None


def _parse_row(line: str) -> dict[str, Any]:
    """The object that a line holds.

    Raises:
        BadJsonError: it is no JSON.
        BadFieldError: it is no object.
    """
    row = parse_line(line)
    if not isinstance(row, dict):
        raise BadFieldError(f"got {type(row).__name__}, expected an object with {', '.join(DOCUMENT_FIELDS)}")
    return row


def _document(row: dict[str, Any], name: str) -> Document:
    """The document of a row.

    Args:
        name: its place, which is its id and its source where it has none.

    Raises:
        BadFieldError: no text, or a text with an unpaired surrogate in any field.
    """
    text = row.get("text")
    if "text" not in row:
        raise BadFieldError(f'no "text", which holds a document\'s text{did_you_mean("text", row)}')
    if not isinstance(text, str) or not text.strip():
        raise BadFieldError(f'got text {shown(text)}, expected a document\'s text under "text"')
    check_surrogates(text)
    title, source = _optional_text(row.get("title")), _optional_text(row.get("source"))
    return Document(identifier(row.get("id"), name), text, title, source or name)


def _optional_text(value: Any) -> str:
    """A field's text; empty where it says nothing."""
    if is_missing(value):
        return ""
    text = str(value)
    check_surrogates(text)
    return text


FILE_READERS: dict[str, Callable[[Path, str], Iterator[Document]]] = {
    ".txt": _read_text,
    ".md": _read_text,
    ".jsonl": _read_jsonl,
}
