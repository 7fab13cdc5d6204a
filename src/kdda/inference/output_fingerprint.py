"""The fingerprint beside an output of `kdda predict` (OUT.fingerprint.json): its input, model and settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kdda.errors import KddaError
from kdda.inference.predictor import Predictor
from kdda.runtime.files import write_atomically

BLOCK = 2**20  # bytes of the input that are read at once


@dataclass(frozen=True)
class OutputFingerprint:
    """What an output was made from.

    Attributes:
        input_bytes: the length of the input; further rows may have been added to it since.
        input_sha256: of these bytes.
        model: a digest of the weights, or of an export's files.
        settings: what else decides the predictions, such as the task, the labels and the precision.
    """

    input_bytes: int
    input_sha256: str
    model: str
    settings: dict[str, Any]

    @classmethod
    def of(
        cls,
        predictor: Predictor,
        source: Path,
        columns: Mapping[str, str | Sequence[str]],
        header: Sequence[str],
    ) -> OutputFingerprint:
        """That of the predictions of a file's rows as it is now.

        Args:
            columns: of the file, by field of the task.
            header: names of its columns, where it has no line of names.
        """
        size = source.stat().st_size
        encoder = predictor.encoder
        settings = {
            "task": predictor.task.name,
            "labels": predictor.labels,
            "precision": predictor.engine.precision,
            "max_length": encoder.max_length,
            "overlap": encoder.overlap,
            "segmenter": encoder.segmenter,
            "columns": dict(columns),
            "header": list(header),
            **predictor.task.settings(),
        }
        return cls(size, _sha256(source, size), predictor.engine.fingerprint(), settings)

    def differences(self, other: OutputFingerprint, source: Path) -> list[str]:
        """What of this earlier fingerprint another one has otherwise, in words.

        Args:
            source: the input of the other one, which may be this one's with further rows.
        """
        differences = []
        is_longer = other.input_bytes >= self.input_bytes
        if not is_longer or _sha256(source, self.input_bytes) != self.input_sha256:
            differences.append("another input")
        if other.model != self.model:
            differences.append("another model")
        for name, value in self.settings.items():
            if other.settings.get(name) != value:
                differences.append(f"{name} {value!r}" if value else f"no {name}")
        return differences

    def write(self, out: Path) -> None:
        """Put the fingerprint beside an output."""
        write_atomically(
            fingerprint_path(out), json.dumps(asdict(self), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        )


def fingerprint_path(out: Path) -> Path:
    """Where the fingerprint of an output is."""
    return out.with_name(f"{out.name}.fingerprint.json")


def check_same(out: Path, new: OutputFingerprint, source: Path) -> None:
    """Refuse an output that holds predictions and was made from something else than now, or from what is not known.

    Raises:
        KddaError: names what differs.
    """
    path = fingerprint_path(out)
    if not path.is_file():
        raise KddaError(f"{out} has no {path.name} beside it, so what it was made from is not known; {_advice(out)}")
    try:
        old = OutputFingerprint(**json.loads(path.read_text(encoding="utf-8")))
        differences = old.differences(new, source)
    except (ValueError, TypeError, AttributeError):
        raise KddaError(f"{path} is not what kdda wrote; {_advice(out)}") from None
    if differences:
        raise KddaError(f"{out} holds predictions of {', '.join(differences)}; {_advice(out)}")


def _advice(out: Path) -> str:
    """What a user may do about an output that is refused."""
    return f"choose another --output, or delete {out.name}"


def _sha256(path: Path, size: int) -> str:
    """The digest of a file's first bytes."""
    digest = hashlib.sha256()
    left = size
    with path.open("rb") as file:
        while left > 0:
            block = file.read(min(BLOCK, left))
            if not block:
                break
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()
