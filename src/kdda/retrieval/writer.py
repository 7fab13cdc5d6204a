"""Writing an index: new segments (of at most 50,000 passages) for added documents, a lock, and progress lines."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from filelock import Timeout

from kdda.embeddings.encoder import EmbeddingModel, MeanPoolingModel
from kdda.errors import DiskFullError, KddaError
from kdda.retrieval.index import MANIFEST, IndexSettings, Manifest, check_bm25s, check_dense_model, read_manifest
from kdda.retrieval.passages import Document, Passage, split
from kdda.retrieval.pool import TermExtractor, cores, term_extractor
from kdda.retrieval.segments import SegmentContents, SegmentEntry, check_files, read_document_ids, write_segment
from kdda.runtime.files import write_atomically
from kdda.runtime.folders import check_folder, is_disk_full
from kdda.runtime.live import has_receiver, tell_count
from kdda.runtime.lock_files import lock_of
from kdda.runtime.numbers import count_of

SEGMENT_PASSAGES = 50_000  # passages of a segment at most, so that memory does not grow with the corpus

EXTRACT_PASSAGES = 4096  # passages whose terms are extracted at once

LOCK_SECONDS = 20.0  # to wait for another writer

PROGRESS_SECONDS = 15.0  # between two lines of progress


@dataclass(frozen=True)
class IndexSummary:
    """What a writer has added.

    Attributes:
        documents, passages: that were added.
        known: documents that were skipped, since the index holds their ids.
    """

    documents: int
    passages: int
    known: int

    def __str__(self) -> str:
        """What `kdda index` prints."""
        text = f"{count_of(self.documents, 'document')}, {count_of(self.passages, 'passage')}"
        if self.known:
            text += f"; skipped {count_of(self.known, 'document')} whose id the index already holds"
        return text


class IndexWriter:
    """Writes an index: one writer at a time, and the manifest last.

    Args:
        folder: of the index.
        settings: of a new index; one that is added to keeps its settings.
        embed: loads the dense model by its name.
        processes: for word segmentation; as many as there are cores by default.
        say: receives lines of progress.
    """

    def __init__(
        self,
        folder: Path,
        settings: IndexSettings | None = None,
        embed: Callable[[str], EmbeddingModel] = MeanPoolingModel.load,
        processes: int = 0,
        say: Callable[[str], object] = lambda _: None,
    ):
        self.folder = folder.absolute()
        self.settings = settings or IndexSettings()
        self.embed = embed
        self.processes = processes or cores()
        self.say = say

    def build(self, documents: Iterable[Document], add: bool = False, wait: float = LOCK_SECONDS) -> IndexSummary:
        """Index documents into a new folder, or add them to an existing index.

        Nothing in the folder changes before everything is written: a writer that is killed leaves the index as it was.

        Args:
            add: whether the index exists.
            wait: seconds for another writer to finish.

        Raises:
            KddaError: an index exists and `add` is false, or the reverse; no document; another writer at work; or a
                dense model with other weights than those that made the vectors of the index.
        """
        check_bm25s()
        check_folder(self.folder)
        try:
            with _only_writer(self.folder, wait):
                return self._build(documents, add)
        except OSError as error:
            if is_disk_full(error):
                raise DiskFullError(
                    f"the disk is full ({error}): an index that was in {self.folder} is as it was; make room, and give "
                    "the same command again"
                ) from error
            raise KddaError(f"{error.filename or self.folder}: {error.strerror or error}") from error

    def _build(self, documents: Iterable[Document], add: bool) -> IndexSummary:
        """`build` under the lock: extract terms, write new segments, then the manifest that names them."""
        manifest = self._intact_manifest() if add else self._new_manifest()
        model = self._load_model(manifest)
        if model is not None and not add:
            settings = manifest.settings.model_copy(update={"dense": model.name})
            manifest = manifest.model_copy(update={"settings": settings, "dense_fingerprint": model.fingerprint})
        known = read_document_ids(self.folder / entry.name for entry in manifest.segments)
        self._remove_unnamed_segments(manifest)
        counts = Counter[str]()
        with term_extractor(manifest.settings.segmenter, self.processes) as extract:
            new_documents = _skip_known(documents, known, counts)
            new = list(self._segments(new_documents, manifest, extract, model))
        if not new and not manifest.segments:
            raise KddaError("the corpus is empty: no document holds any text, so there is nothing to index")
        manifest = manifest.model_copy(update={"segments": [*manifest.segments, *new]})
        write_atomically(self.folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
        passages = sum(entry.passages for entry in new)
        return IndexSummary(counts["new"], passages, counts["known"])

    def _new_manifest(self) -> Manifest:
        """The manifest of a new index, in a folder that is new or empty."""
        if (self.folder / MANIFEST).is_file():
            raise KddaError(f"{self.folder} holds an index already: --add adds to it, or choose another folder")
        for path in self.folder.iterdir():
            if not path.name.startswith(("segment-", ".")):
                raise KddaError(f"{self.folder} holds {path.name}, and no index: choose a new or an empty folder")
        return Manifest(settings=self.settings)

    def _intact_manifest(self) -> Manifest:
        """The manifest of an index whose files are intact."""
        if not (self.folder / MANIFEST).is_file():
            raise KddaError(f"{self.folder} holds no index to add to: leave out --add to make one")
        manifest = read_manifest(self.folder)
        for entry in manifest.segments:
            check_files(self.folder, entry, whole=True)
        return manifest

    def _load_model(self, manifest: Manifest) -> EmbeddingModel | None:
        """The dense model, which must be the one that made the vectors of existing segments."""
        name = manifest.settings.dense
        if not name:
            return None
        model = self.embed(name)
        if manifest.dense_fingerprint:
            check_dense_model(self.folder, name, manifest.dense_fingerprint, model.name, model.fingerprint)
        return model

    def _remove_unnamed_segments(self, manifest: Manifest) -> None:
        """Remove segments that a killed writer left, which no manifest names."""
        names = {entry.name for entry in manifest.segments}
        for path in self.folder.glob("segment-*"):
            if path.name not in names:
                shutil.rmtree(path)

    def _segments(
        self, documents: Iterable[Document], manifest: Manifest, extract: TermExtractor, model: EmbeddingModel | None
    ) -> Iterator[SegmentEntry]:
        """Write documents as new segments, numbered after those of the manifest, and yield the entry of each."""
        passages = _split_all(documents, manifest.settings)
        number = len(manifest.segments)
        progress = _Progress(self.say)
        while chunk := list(islice(passages, SEGMENT_PASSAGES)):
            number += 1
            contents = SegmentContents()
            for start in range(0, len(chunk), EXTRACT_PASSAGES):
                part = chunk[start : start + EXTRACT_PASSAGES]
                contents.add(part, extract([passage.indexed_text for passage in part]))
                progress.advance(len(part))
            vectors = None
            if model is not None:
                vectors = model.encode([passage.text for passage in chunk])
            yield write_segment(self.folder / f"segment-{number:05}", contents, vectors)


class _Progress:
    """Tells the live picture how many passages are done; where none is drawn, says so now and then."""

    def __init__(self, say: Callable[[str], object]):
        self.say = say
        self.started = self.last = time.monotonic()
        self.done = 0
        tell_count(0, None, "passages")

    def advance(self, passages: int) -> None:
        """Count passages that are done; without a picture, a line with the rate every `PROGRESS_SECONDS`."""
        self.done += passages
        tell_count(self.done, None, "passages")
        now = time.monotonic()
        if not has_receiver() and now - self.last >= PROGRESS_SECONDS:
            self.last = now
            rate = self.done / (now - self.started)
            self.say(f"  {count_of(self.done, 'passage')}, {rate:,.0f} passages/s")


def _split_all(documents: Iterable[Document], settings: IndexSettings) -> Iterator[Passage]:
    """The passages of all documents, read one document at a time."""
    for document in documents:
        yield from split(document, settings.size, settings.overlap)


def _skip_known(documents: Iterable[Document], known: set[str], counts: Counter[str]) -> Iterator[Document]:
    """Documents whose id is not known yet; counts the new and the known ones."""
    for document in documents:
        if document.id in known:
            counts["known"] += 1
            continue
        counts["new"] += 1
        known.add(document.id)
        yield document


@contextmanager
def _only_writer(folder: Path, wait: float) -> Iterator[None]:
    """One writer at a time; a second one waits, and is then refused. A new folder that stays empty is removed."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with lock_of(folder).acquire(timeout=wait):
            is_new = not folder.exists()
            folder.mkdir(exist_ok=True)
            try:
                yield
            finally:
                if is_new and not any(folder.iterdir()):
                    folder.rmdir()
    except Timeout:
        raise KddaError(
            f"another process is writing {folder}; nothing was changed: try again when it is done"
        ) from None
