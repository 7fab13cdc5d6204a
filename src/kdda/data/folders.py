"""Folders of data sets as sources: which files are the splits train, dev (``validation``), test; shards; saved sets.

`SPLIT_NAMES`: how files and folders name the splits.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from kdda.errors import InsteadError, KddaError, unknown_choice
from kdda.runtime.folders import listing
from kdda.runtime.text_files import printable

# A split → the words that name it in the names of files, in the order in which they are looked for.
SPLIT_NAMES: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "dev": ("dev", "development", "validation", "valid", "val"),
    "test": ("test", "testing", "eval"),
}

NAMED_FILES = 6  # of a folder, in a message

SAVED = "dataset_dict.json"  # what `DatasetDict.save_to_disk` writes beside a folder for each split

SAVED_SPLIT = "state.json"  # what `Dataset.save_to_disk` writes

# The end of a shard's name: train-00000-of-00002
SHARD = re.compile(r"^(?P<split>.+)-(?P<number>\d+)-of-(?P<count>\d+)$")


def split_folder(name: str) -> tuple[Path, str] | None:
    """The folder and the split of a source ``folder:split``, or of a folder alone, with no split; None of other names.

    >>> split_folder(".:dev")
    (PosixPath('.'), 'dev')
    """
    if Path(name).is_dir():
        return Path(name), ""
    folder, colon, split = name.rpartition(":")
    if colon and Path(folder).is_dir():
        return Path(folder), split
    return None


def is_saved_dataset(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` has written a folder: one split, whose rows are Arrow files."""
    return (folder / SAVED_SPLIT).is_file() and not (folder / SAVED).is_file()


def split_of(name: str) -> str:
    """The split that a file's or folder's name tells; empty where it tells none.

    >>> split_of("UIT_ViNLI_1.0_dev.jsonl"), split_of("train-00000-of-00002.parquet"), split_of("rows.csv")
    ('dev', 'train', '')
    """
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    for split, names in SPLIT_NAMES.items():
        if any(word in names for word in words):
            return split
    return ""


def files_of_split(folder: Path, split: str, formats: Collection[str]) -> list[Path]:
    """The files of a folder that are a split: one, or all shards of one; or the folder of a saved split.

    They are looked for in the folder itself and in its folder ``data``.

    Args:
        split: as a recipe names it, or as the folder's files do.
        formats: extensions of files that are read.

    Raises:
        KddaError: no such split, several files that could be it, or a shard that is missing.
    """
    places = [folder]
    if (folder / "data").is_dir():
        places.append(folder / "data")
    if (folder / SAVED).is_file():
        return [_saved_split(folder, split)]
    candidates = []
    for place in places:
        for path in sorted(place.iterdir()):
            if path.is_file() and is_format(path, formats) and is_of_split(path.name, split):
                candidates.append(path)
    name = printable(folder)
    if not candidates:
        splits = _splits_in(places, formats)
        if splits and not split:
            raise _names_no_split(folder, splits)
        raise KddaError(_no_split(folder, split, splits))
    exact = [path for path in candidates if _first_stem(path) in (split, *SPLIT_NAMES.get(split, ()))]
    if len(exact) == 1:
        return exact
    if len(candidates) > 1 and not split:
        raise not_one_file(folder, formats)
    if len(candidates) > 1 and not all(SHARD.match(_first_stem(path)) for path in candidates):
        names = ", ".join(printable(path.name) for path in candidates)
        raise KddaError(f'{name}: several files could be the split "{split}": {names}; name one of them as the source')
    if SHARD.match(_first_stem(candidates[0])):
        _check_shards(candidates, name)
    return candidates


def not_one_file(folder: Path, formats: Collection[str], before: str = "") -> KddaError:
    """The refusal of a folder in the place of one file; names the files in it that are of one of some formats.

    Args:
        formats: extensions of files that are read.
        before: what the message begins with.
    """
    files = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and is_format(path, formats):
            files.append(path)
    name = printable(folder)
    if not files:
        return KddaError(f"{before}{without_rows(folder, formats)}")
    names = ", ".join(printable(path.name) for path in files[:NAMED_FILES])
    if len(files) > NAMED_FILES:
        names += f" and {len(files) - NAMED_FILES:,} more"
    return InsteadError(
        f"{before}{name} is a folder, expected one file: name one of {names}", str(folder), str(files[0])
    )


def without_rows(folder: Path, formats: Collection[str]) -> str:
    """What a message says of a folder in which no file is of one of some formats, given by their extensions."""
    known = ", ".join(formats)
    return f"{printable(folder)} is a folder without a file of rows ({known}); it holds {listing(folder)}"


def is_format(path: Path, formats: Collection[str]) -> bool:
    """Whether a file's name ends in one of some extensions, whatever compression stands behind it."""
    name = path.name.lower()
    for compression in (".gz", ".zst"):
        name = name.removesuffix(compression)
    return Path(name).suffix in formats


def is_of_split(name: str, split: str) -> bool:
    """Whether a file's name tells a split, by the split's name or by another word for it."""
    return split_of(name) == split or split in SPLIT_NAMES.get(split_of(name), ())


def _first_stem(path: Path) -> str:
    """A file's name without its extensions."""
    return path.name.partition(".")[0].lower()


def _saved_split(folder: Path, split: str) -> Path:
    """The folder of a split that `DatasetDict.save_to_disk` wrote."""
    saved = sorted(path.name for path in folder.iterdir() if is_saved_dataset(path))
    for name in (split, *SPLIT_NAMES.get(split, ())):
        if name in saved:
            return folder / name
    raise KddaError(_no_split(folder, split, saved))


def _splits_in(places: Iterable[Path], formats: Collection[str]) -> list[str]:
    """The splits that files of some folders tell by their names."""
    splits = set()
    for place in places:
        for path in place.iterdir():
            if path.is_file() and is_format(path, formats) and split_of(path.name):
                splits.add(split_of(path.name))
    return sorted(splits)


def _no_split(folder: Path, split: str, splits: Sequence[str]) -> str:
    """The message about a folder without a split that is asked for; `splits` are those that it has."""
    name = printable(folder)
    if not splits:
        return f"{name}: a folder without files whose names tell train, dev (validation) or test"
    return unknown_choice(f"{name}: split", split, splits)


def _names_no_split(folder: Path, splits: Sequence[str]) -> KddaError:
    """The refusal of a folder alone, of which a split must be named; `splits` are those that it has."""
    first = f"{folder}:{splits[0]}"
    name = printable(folder)
    message = f"{name}: a folder; name a split of it: {printable(first)} (it has {', '.join(splits)})"
    return InsteadError(message, str(folder), first)


def _check_shards(paths: Sequence[Path], name: str) -> None:
    """Refuse shards of which some are missing, or that belong to several splits; `name` is the folder's."""
    counts = set()
    numbers = set()
    for path in paths:
        match = SHARD.match(_first_stem(path))
        assert match is not None  # the caller has checked
        counts.add(int(match["count"]))
        numbers.add(int(match["number"]))
    expected = max(counts)
    missing = sorted(set(range(expected)) - numbers)
    if len(counts) > 1 or len(paths) > expected:
        raise KddaError(f"{name}: shards of several splits or downloads: {', '.join(path.name for path in paths)}")
    if missing:
        raise KddaError(f"{name}: of {expected} shards {len(missing)} are missing, the first is number {missing[0]}")
