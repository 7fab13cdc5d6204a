"""Students of experiments: one at a time in memory to be asked, and as a zip that is streamed (`GET /student.zip`)."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from fastapi import FastAPI
from starlette.responses import StreamingResponse

from kdda.errors import KddaError
from kdda.inference.predictor import Predictor, load
from kdda.serve.errors import HTTPError
from kdda.serve.experiments import Experiments

CHUNK = 2**20  # bytes of a file that are read at a time


class Students:
    """The students of a folder of experiments; the last one that was asked stays in memory.

    Args:
        experiments: whose finished runs they are.
        precision: as for `kdda.load`.
    """

    def __init__(self, experiments: Experiments, precision: str):
        """Keep where the students are; none is loaded yet."""
        self.experiments = experiments
        self.precision = precision
        self._lock = threading.Lock()
        self._loaded: tuple[Path, Predictor] | None = None

    def folder(self, name: str) -> Path:
        """The model's folder of a student.

        Raises:
            KddaError: no finished run has this name.
        """
        folder = self.experiments.students().get(name)
        if folder is None:
            raise KddaError(f'no student "{name}"')
        return folder

    def predictor(self, name: str) -> Predictor:
        """A student that predicts.

        Raises:
            KddaError: no such student, or a model that cannot be loaded.
        """
        folder = self.folder(name)
        with self._lock:
            if self._loaded is None or self._loaded[0] != folder:
                self._loaded = None  # before another one is in memory, too
                self._loaded = (folder, load(folder, precision=self.precision))
            return self._loaded[1]


class _Sink:
    """A file that is written to, and whose bytes are taken out as they come."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> int:
        """Append bytes; as many as were given."""
        self.written += data
        return len(data)

    def flush(self) -> None:
        """Nothing: the bytes are in memory."""

    def take(self) -> bytes:
        """The bytes since the last call."""
        data = bytes(self.written)
        self.written.clear()
        return data


def zip_parts(folder: Path, name: str) -> Iterator[bytes]:
    """The bytes of a zip of a folder's files, part by part; never more than a chunk of a file is in memory.

    Args:
        folder: whose files are taken, with those of the folders in it; links are left out.
        name: of the folder in the zip.
    """
    sink = _Sink()
    with ZipFile(sink, "w", ZIP_STORED) as archive:  # type: ignore[call-overload]  # weights can hardly be compressed
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            entry = ZipInfo.from_file(path, f"{name}/{path.relative_to(folder).as_posix()}", strict_timestamps=False)
            with path.open("rb") as file, archive.open(entry, "w") as member:
                while chunk := file.read(CHUNK):
                    member.write(chunk)
                    yield sink.take()
    yield sink.take()  # the zip's table of contents


def add_download(app: FastAPI, students: Students, route: str) -> None:
    """Add the route that gives a student, named by the parameter `name`, as a zip."""

    @app.get(route, include_in_schema=False)
    def download(name: str) -> StreamingResponse:
        """The zip of one of the students that there are now; a name is looked up among theirs, and is never a path."""
        try:
            folder = students.folder(name)
        except KddaError:
            raise HTTPError(404, "no finished run has this name") from None
        stem = re.sub(r"[^A-Za-z0-9.+-]+", "-", name)
        headers = {"Content-Disposition": f'attachment; filename="{stem}.zip"', "Cache-Control": "no-store"}
        return StreamingResponse(zip_parts(folder, stem), media_type="application/zip", headers=headers)
