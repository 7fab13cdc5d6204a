"""Sequences of rows on disk: Arrow batches of 256 rows or 256 KiB, 64 batches in memory, a nameless file in TMPDIR."""

from __future__ import annotations

import pickle
import tempfile
from abc import abstractmethod
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, overload

from kdda.errors import DiskFullError, KddaError
from kdda.runtime.folders import is_disk_full

T = TypeVar("T")

# A batch is written once it reaches one of these two.
ROWS_PER_BATCH = 256

BYTES_PER_BATCH = 256 * 2**10  # of packed rows

CACHED_BATCHES = 64  # batches that stay in memory, so that small data is read from disk once


class SequenceBase(Sequence[T]):
    """A sequence that needs `__len__` and `item` alone; its slices are lists."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def item(self, index: int) -> T:
        """The item at 0 ≤ index < length."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        """The item at an index, which may be negative, or a list of the items of a slice."""
        if isinstance(index, slice):
            return [self.item(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"{index} of {len(self)}")
        return self.item(index % len(self))

    def __iter__(self) -> Iterator[T]:
        return map(self.item, range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Whether another sequence, of any type, has equal items in the same order."""
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class LazySequence(SequenceBase[T]):
    """A sequence whose items are made on access and not stored.

    Args:
        count: the number of items.
        make: the item at an index.

    >>> LazySequence(3, str)[1:]
    ['1', '2']
    """

    def __init__(self, count: int, make: Callable[[int], T]):
        self._count = count
        self._make = make

    def __len__(self) -> int:
        return self._count

    def item(self, index: int) -> T:
        return self._make(index)


class DiskSequence(SequenceBase[T]):
    """A sequence that is written once to a temporary Arrow file and read back by the batch, in any order.

    The file has no name (`TMPDIR` sets the disk it is on), so it disappears with the process, however that ends. It is
    read through a handle and not mapped: mapped pages would count as this process' memory. The last items, fewer than a
    batch, stay in memory as they are; a short sequence is not written at all.

    An item is written as bytes and not in types of Arrow, since rows of JSON differ in their fields and may hold
    strings that are not UTF-8. A subclass with a shorter form than pickle's overrides `pack` and `unpack`.

    Args:
        items: read once.

    Raises:
        KddaError: the disk is full.

    >>> squares = DiskSequence(i * i for i in range(1000))
    >>> len(squares), squares[30], squares[-1], squares[2:4]
    (1000, 900, 998001, [4, 9])
    """

    def __init__(self, items: Iterable[T]):
        self._starts: list[int] = []  # index of the first item of each batch on disk
        self._written = 0  # items on disk
        self._file: Any = None
        self._reader: Any = None  # pyarrow's, of that file; None while nothing is on disk
        self._batches: OrderedDict[int, Any] = OrderedDict()  # batches in memory, the most recently used one last
        self._tail = self._write(items)  # the last items, which are not on disk

    def pack(self, item: T) -> bytes:
        """An item as it is written."""
        return pickle.dumps(item)

    def unpack(self, packed: bytes) -> T:
        """The item that `pack` wrote."""
        item: T = pickle.loads(packed)
        return item

    def __len__(self) -> int:
        return self._written + len(self._tail)

    def item(self, index: int) -> T:
        if index >= self._written:
            return self._tail[index - self._written]
        k = bisect_right(self._starts, index) - 1  # the last batch that begins at or before the index
        return self.unpack(self._batch(k)[index - self._starts[k]].as_py())

    def __iter__(self) -> Iterator[T]:
        for k in range(len(self._starts)):
            yield from map(self.unpack, self._batch(k).to_pylist())
        yield from self._tail

    def _write(self, items: Iterable[T]) -> list[T]:
        """Write whole batches; returns the last items, which do not fill one."""
        pending: list[T] = []
        packed: list[bytes] = []
        size = 0
        writer = None
        for item in items:
            pending.append(item)
            packed.append(self.pack(item))
            size += len(packed[-1])
            if len(packed) == ROWS_PER_BATCH or size >= BYTES_PER_BATCH:
                writer = writer or self._open_writer()
                _write_batch(writer, packed)
                self._starts.append(self._written)
                self._written += len(packed)
                pending, packed = [], []
                size = 0
        if writer is not None:
            writer.close()
            self._reader = _open_reader(self._file)
        return pending

    def _open_writer(self) -> Any:
        """pyarrow's writer of batches into a new temporary file, which stays open for reading."""
        import pyarrow

        self._file = tempfile.TemporaryFile(prefix="kdda-")  # noqa: SIM115 - it is closed when nothing refers to it
        return pyarrow.ipc.new_file(self._file, _schema())

    def _batch(self, k: int) -> Any:
        """The k-th batch, from the cache or from disk; the one not used for longest leaves the cache."""
        if k in self._batches:
            self._batches.move_to_end(k)
            return self._batches[k]
        batch = self._reader.get_batch(k).column(0)  # of packed items: the only column
        self._batches[k] = batch
        if len(self._batches) > CACHED_BATCHES:
            self._batches.popitem(last=False)
        return batch


def _schema() -> Any:
    """Of the Arrow file: one column of bytes, an item a row."""
    import pyarrow

    return pyarrow.schema([("row", pyarrow.binary())])


def _open_reader(file: Any) -> Any:
    """pyarrow's reader of a temporary file whose writer is closed."""
    import pyarrow

    file.flush()
    return pyarrow.ipc.open_file(file)


def _write_batch(writer: Any, packed: list[bytes]) -> None:
    """Append packed items as one batch.

    Raises:
        KddaError: the disk is full, or cannot be written.
    """
    import pyarrow

    batch = [pyarrow.array(packed, pyarrow.binary())]
    try:
        writer.write_batch(pyarrow.record_batch(batch, schema=_schema()))
    except OSError as error:
        kind = DiskFullError if is_disk_full(error) else KddaError
        raise kind(
            f"rows could not be written to {tempfile.gettempdir()} ({error}); free some space there, or set the "
            "environment variable TMPDIR to a folder on a larger disk"
        ) from None
