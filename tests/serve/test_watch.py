"""`kdda run --watch`: a page beside the run, which refuses what it cannot do before anything starts."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdda.runtime.wording import translated_by
from kdda.serve.limits import Limits
from kdda.serve.page.words import ENGLISH, VIETNAMESE, preferred
from kdda.serve.watch import Watch
from tests.conftest import Bench
from tests.forks import FORKS
from tests.report.test_report import write_run
from tests.serve.live import serving, until


def answer_with_folder(listening: socket.socket, folder: Path, language: str) -> None:
    """In the place of the page: the folder's name for everyone who connects."""
    while True:
        connection, _ = listening.accept()
        connection.sendall(folder.name.encode())
        connection.close()


def fail(listening: socket.socket, folder: Path, language: str) -> None:
    """In the place of a page that cannot start."""
    os._exit(3)


def in_place_of_the_page(monkeypatch: pytest.MonkeyPatch, call: Callable[[socket.socket, Path, str], None]) -> None:
    monkeypatch.setattr("kdda.serve.watch.serve_runs", call)
    monkeypatch.setattr("kdda.serve.watch.get_context", lambda _: FORKS)


def read_from(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        return connection.recv(100).decode()


def tabs_of(config: Any) -> list[str]:
    """The titles of a page's tabs as it is sent."""
    return [part["props"]["label"] for part in config["components"] if part["type"] == "tabitem"]


def test_a_page_is_sent_in_the_language_in_which_the_server_prints(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "student", 1, 0.5)
    with (
        translated_by(str, "vi"),
        serving([], Limits(), page=True, runs=[tmp_path / "runs"], watch=True) as live,
    ):
        config = live.ask("GET", "/config").json
        assert tabs_of(config) == ["Huấn luyện"]
        assert (preferred(""), preferred("en-GB")) == (VIETNAMESE, ENGLISH)


def test_the_page_of_a_watched_run_is_its_training_tab_which_renews_itself(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "student", 1, 0.5)
    with serving([], Limits(), page=True, runs=[tmp_path / "runs"], watch=True) as live:
        config = live.ask("GET", "/config").json
    assert tabs_of(config) == ["Training"]
    (timer,) = [part for part in config["components"] if part["type"] == "timer"]
    (report,) = [part for part in config["components"] if part["props"].get("elem_id") == "report"]
    fills = {
        tuple(target)
        for event in config["dependencies"]
        if report["id"] in event["outputs"]
        for target in event["targets"]
    }
    assert (timer["id"], "tick") in fills and any(name == "load" for _, name in fills)


def test_a_page_begins_with_its_folder_and_ends_with_its_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_place_of_the_page(monkeypatch, answer_with_folder)
    with Watch(0) as page:
        port = int(re.findall(r"\d+", page.url)[-1])
        page.start(tmp_path / "nli")  # which is made
        assert read_from(port) == "nli" and page.exit_code is None
    with pytest.raises(ConnectionRefusedError):
        read_from(port)


def test_a_run_names_its_page_and_is_not_taken_down_by_one_that_fails(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.values["training"]["epochs"] = 1
    in_place_of_the_page(monkeypatch, fail)
    start = Watch.start

    def start_and_wait(watch: Watch, folder: Path) -> None:
        start(watch, folder)
        until(lambda: watch.exit_code is not None)

    monkeypatch.setattr(Watch, "start", start_and_wait)  # the page has ended before the run has
    code, text, _ = command(
        "run", bench.write(), "--out", bench.folder / "runs", "--arms", "student", "--watch", 0, "--quiet"
    )
    assert code == 0 and "| student |" in text.replace("  ", "")
    assert re.search(r"The runs while they are trained: http://127\.0\.0\.1:\d+/\n", text)
    assert "WARNING: the page of --watch ended early (exit code 3)" in text


def test_a_port_that_is_taken_is_refused_before_anything_starts(bench: Bench, command: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, errors = command("run", bench.write(), "--out", bench.folder / "runs", "--watch", port)
    assert code == 2 and f"--watch {port}: 127.0.0.1 cannot be bound" in errors
    assert command("run", bench.write(), "--out", bench.folder / "runs", "--watch", 65536)[0] == 2
    assert not (bench.folder / "runs").exists()


def test_without_the_packages_of_the_server_it_is_said_what_to_install(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdda.serve.packages.find_spec", lambda _: None)
    code, _, errors = command("run", bench.write(), "--out", bench.folder / "runs", "--watch", 0)
    assert code == 2 and '--watch needs fastapi: pip install "kdda[serve]"' in errors
    assert not (bench.folder / "runs").exists()
