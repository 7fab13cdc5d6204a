"""Lock files: removed on release, and still one holder at a time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import Timeout

from kdda.runtime.lock_files import is_locked, lock_of

fcntl = pytest.importorskip("fcntl")  # which Windows has not: the library's locks do this there


def test_a_released_lock_leaves_no_file(tmp_path: Path) -> None:
    with lock_of(tmp_path / "out"):
        assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]
        assert is_locked(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_lock_file_that_a_killed_process_left_is_free_and_goes(tmp_path: Path) -> None:
    (tmp_path / ".out.lock").touch()
    assert not is_locked(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_removed_while_a_process_waited_for_it_locks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (lock_of(tmp_path / "out") for _ in range(3))
    first.acquire()
    lock_descriptor = fcntl.flock

    def lock_after_release(descriptor: int, operation: int) -> None:
        """The first lock is released between the second one's opening of its file and its locking."""
        monkeypatch.setattr(fcntl, "flock", lock_descriptor)
        first.release()
        lock_descriptor(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_after_release)
    second.acquire(timeout=5)
    with pytest.raises(Timeout):
        third.acquire(timeout=0)
    second.release()
    with third.acquire(timeout=0):
        pass


def test_a_lock_does_not_remove_the_file_of_another_after_its_folder_was_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    first = lock_of(folder / "out")
    first.acquire()
    (folder / ".out.lock").unlink()
    with lock_of(folder / "out").acquire(timeout=5):
        first.release()
        assert is_locked(folder / "out")


def test_threads_that_race_for_one_lock_hold_it_one_at_a_time(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("0")

    def add_one(_: int) -> None:
        with lock_of(count).acquire(poll_interval=0.0001):
            count.write_text(str(int(count.read_text()) + 1))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add_one, range(200)))
    assert count.read_text() == "200"
    assert list(tmp_path.iterdir()) == [count]
