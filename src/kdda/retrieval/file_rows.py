"""Rows of an array on disk, read through a handle: mapped pages would count as this process's memory."""

from __future__ import annotations

import weakref
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy import ndarray


class FileRows:
    """An array on disk whose slices are read when they are asked for, each into a new array.

    The file stays open, so that it can be read after it was deleted or replaced. Threads may read at the same time.

    Args:
        mapped: where the array is, as `numpy.load` or `numpy.memmap` has mapped it; none of its pages is touched.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(np.arange(10, dtype=np.int16).tobytes())
    ...     file.flush()
    ...     FileRows(np.memmap(file.name, np.int16, "r"))[2:5].tolist()
    [2, 3, 4]
    """

    def __init__(self, mapped: np.memmap[Any, Any]):
        self.dtype = mapped.dtype
        self.shape = mapped.shape
        self._row_bytes = mapped.dtype.itemsize * int(np.prod(mapped.shape[1:]))
        self._begin = mapped.offset  # of the first row, in bytes: behind the header of a .npy file
        self._file = Path(str(mapped.filename)).open("rb", buffering=0)  # noqa: SIM115 - it stays open
        weakref.finalize(self, self._file.close)  # when nothing refers to the array any more
        self._lock = Lock()  # between seeking and reading

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: slice) -> ndarray:
        """Consecutive rows.

        Raises:
            ValueError: the file has become shorter since it was opened.
        """
        start, stop, _ = rows.indices(len(self))
        values = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        with self._lock:
            self._file.seek(self._begin + start * self._row_bytes)
            read = self._file.readinto(values.reshape(-1).view(np.uint8).data)
        if read != values.nbytes:
            raise ValueError(f"{read} bytes at row {start}, and {values.nbytes} were written")
        return values
