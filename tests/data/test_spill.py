"""Sequences on disk are the sequences that were written."""

import gc
import random
import threading
import weakref
from pathlib import Path
from zlib import crc32

import pytest

from kdda.data.examples import Schema, check_rows, labelled_converter
from kdda.data.sources import Row, Source, read_rows, sample
from kdda.errors import KddaError
from kdda.runtime.disk_sequence import BYTES_PER_BATCH, CACHED_BATCHES, ROWS_PER_BATCH, DiskSequence


@pytest.mark.parametrize(
    "count", [0, 1, ROWS_PER_BATCH - 1, ROWS_PER_BATCH, ROWS_PER_BATCH + 1, 10 * ROWS_PER_BATCH + 7]
)
def test_items_come_back_in_their_order_and_by_number(count: int) -> None:
    items = [(i, "x" * (i % 7), "\ud800") for i in range(count)]
    found = DiskSequence(iter(items))
    assert list(found) == items == found[:] and found == items and len(found) == count
    assert found[1::3] == items[1::3] and found[::-1] == items[::-1]
    for i in random.Random(0).choices(range(-count, count), k=50 * bool(count)):
        assert found[i] == items[i]
    with pytest.raises(IndexError):
        found[count]


def test_large_items_fill_a_batch_sooner() -> None:
    items = [bytes([i]) * (BYTES_PER_BATCH // 3) for i in range(20)]
    found = DiskSequence(items)
    assert list(found) == items and found[17] == items[17]
    assert len(found._starts) > 5


def test_no_more_batches_stay_in_memory_than_are_said() -> None:
    found = DiskSequence(range(ROWS_PER_BATCH * (CACHED_BATCHES + 20)))
    assert sum(found) == sum(range(len(found))) and len(found._batches) == CACHED_BATCHES


def test_a_spilled_sequence_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = DiskSequence(range(1000))
    assert found[500] == 500 and not list(tmp_path.iterdir())
    closed = threading.Event()
    weakref.finalize(found._file, closed.set)
    del found
    gc.collect()
    assert closed.wait(60)  # pyarrow's reading thread may hold the file a moment longer than the caller does


def test_a_full_disk_is_answered_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.record_batch", full)
    with pytest.raises(KddaError, match="TMPDIR"):
        DiskSequence(range(1000))


def test_a_sample_is_what_random_sample_draws_of_a_list(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"n": {i}}}\n' for i in range(2000)), encoding="utf-8")
    rows = read_rows(Source(str(path)))
    assert list(sample(rows, 700, "vi")) == random.Random(crc32(b"vi")).sample(list(rows), 700)


def test_repeated_ids_are_numbered_in_their_order_however_many_there_are() -> None:
    names = [f"q{i % 300}" for i in range(1000)]
    rows = [Row(f"f:{i}", {"id": name, "a": "x", "label": "l"}) for i, name in enumerate(names)]
    found = check_rows(rows, labelled_converter(["a"], Schema(("l",))))
    times: dict[str, int] = {}
    want = []
    for name in names:
        times[name] = times.get(name, 0) + 1
        want.append(name if times[name] == 1 else f"{name}#{times[name]}")
    assert [own.id for own in found.examples] == want
    assert found.repaired["ids repeated, numbered"] == 700
