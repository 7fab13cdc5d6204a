"""Clients that hang, send too much, go away, come too often or have no token; a server that is told to stop."""

import base64
import gc
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from kdda.cli.shared import main
from kdda.errors import KddaError
from kdda.inference.predictor import Predictor
from kdda.serve.batching import Batcher
from kdda.serve.limits import Limits
from kdda.serve.site import Site, is_loopback, run_site
from tests.heads import make_reader
from tests.serve.live import PAIR, Held, Live, serving, until

TOKEN = "0123456789abcdef-Token"
REQUEST = b"POST /answer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


def closed(client: socket.socket) -> bytes:
    """All that a server sends until it closes the connection."""
    client.settimeout(60)
    found = b""
    try:
        while part := client.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def test_fifty_megabytes_are_refused_and_not_kept(live: Live) -> None:
    gc.collect()
    before = psutil.Process().memory_info().rss
    block = b"x" * 2**20
    with socket.create_connection(("127.0.0.1", live.port)) as client:
        client.sendall(REQUEST + b"Content-Length: 52428800\r\n\r\n")
        status = client.recv(65536)  # before anything is sent
        peak = 0
        for _ in range(50):
            client.sendall(block)
            peak = max(peak, psutil.Process().memory_info().rss - before)
    assert b" 413 " in status.split(b"\r\n")[0] and peak < 20 * 2**20


def test_a_body_without_a_length_is_refused_where_it_grows_too_large(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.port)) as client:
        client.sendall(REQUEST + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(50):
                client.sendall(b"100000\r\n" + b"x" * 2**20 + b"\r\n")
            status = client.recv(65536)
        except ConnectionError:
            status = b"HTTP/1.1 413 gone"
    assert b" 413 " in status.split(b"\r\n")[0]
    assert live.ask("POST", "/answer", PAIR).status == 200


@pytest.mark.parametrize("length", [b"-5", b"abc", b"9" * 40])
def test_a_length_that_is_none_is_refused(live: Live, length: bytes) -> None:
    with socket.create_connection(("127.0.0.1", live.port)) as client:
        client.sendall(REQUEST + b"Content-Length: " + length + b"\r\n\r\n")
        assert re.match(rb"HTTP/1.1 (400|413) ", client.recv(65536))


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", b""),
        (b"POST /answ", b""),
        (REQUEST, b""),
        (REQUEST + b"Content-Length: 99\r\n\r\n{", b" 408 "),
    ],
)
def test_a_client_that_hangs_is_hung_up_on(reader: Predictor, sent: bytes, said: bytes) -> None:
    with serving([reader], Limits(seconds=0.3)) as own, socket.create_connection(("127.0.0.1", own.port)) as client:
        client.sendall(sent)
        assert own.ask("POST", "/answer", PAIR).status == 200  # others are served meanwhile
        assert said in closed(client)


def test_headers_without_an_end_are_hung_up_on(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.port)) as client:
        try:
            client.sendall(b"GET / HTTP/1.1\r\n")
            for _ in range(50):
                client.sendall(b"X: " + b"y" * 4096 + b"\r\n")
        except ConnectionError:
            pass
        closed(client)
    assert live.ask("POST", "/answer", PAIR).status == 200


def test_a_client_that_has_gone_is_not_read(held: Held) -> None:
    with serving([held], Limits(batch=1)) as own, ThreadPoolExecutor(2) as pool:
        first = pool.submit(own.ask, "POST", "/answer", PAIR)
        until(lambda: _taken(held))
        client = socket.create_connection(("127.0.0.1", own.port))
        body = b'{"question": "gone", "context": "gone"}'
        client.sendall(REQUEST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        until(lambda: own.metric("kdda_waiting") == 1)
        client.close()
        until(lambda: own.metric('kdda_requests_total{path="/answer",status="499"}') == 1)
        held.open.set()
        assert first.result().status == 200
        assert own.ask("POST", "/answer", PAIR).status == 200
        assert own.metric("kdda_given_up_total") == 1
    assert all(pair[0] != "gone" for batch in held.seen for pair in batch)


def _taken(held: Held) -> bool:
    """Whether a batch has left the queue for the model, which holds it."""
    return held.asked > 0


def test_more_than_may_wait_are_told_to_come_again(held: Held) -> None:
    with serving([held], Limits(batch=1, queue=3)) as own, ThreadPoolExecutor(12) as pool:
        first = pool.submit(own.ask, "POST", "/answer", PAIR)
        until(lambda: _taken(held))
        waiting = [first, *(pool.submit(own.ask, "POST", "/answer", PAIR) for _ in range(11))]
        until(lambda: own.metric('kdda_requests_total{path="/answer",status="429"}') == 8)
        held.open.set()
        replies = [own.result() for own in waiting]
    assert sorted(own.status for own in replies) == [200] * 4 + [429] * 8
    assert all(int(own.headers["retry-after"]) >= 1 for own in replies if own.status == 429)


def test_those_who_have_gone_leave_their_places_to_those_who_come(held: Held) -> None:
    with serving([held], Limits(batch=1, queue=2, seconds=0.5)) as own, ThreadPoolExecutor(2) as pool:
        assert own.ask("POST", "/answer", PAIR).status == 504  # the model is at this one until it is let go
        waiting = pool.map(lambda _: own.ask("POST", "/answer", PAIR).status, range(2))
        assert list(waiting) == [504] * 2 and own.metric("kdda_waiting") == 2
        assert own.ask("POST", "/answer", PAIR).status == 504  # it found a place: no 429
        assert own.metric("kdda_given_up_total") == 2
        held.open.set()


def test_a_request_is_given_up_when_its_time_is_up(held: Held) -> None:
    with serving([held], Limits(seconds=0.3)) as own:
        found = own.ask("POST", "/answer", PAIR)
        assert found.status == 504 and "0.3 seconds" in found.json["detail"]
        held.open.set()
        assert own.ask("POST", "/answer", PAIR).status == 200


def test_one_text_that_breaks_the_model_does_not_break_its_neighbours(held: Held) -> None:
    read = Predictor.read

    def breaks(self: Predictor, pairs: list[tuple[str, str]]) -> object:
        if any(question == "break" for question, _ in pairs):
            raise RuntimeError("broken")
        return read(self, pairs)

    Held.__bases__[0].read, kept = breaks, read  # type: ignore[method-assign]
    try:
        with serving([held], Limits(batch=8)) as own, ThreadPoolExecutor(8) as pool:
            first = pool.submit(own.ask, "POST", "/answer", PAIR)
            until(lambda: _taken(held))
            names = ["cat", "break", "dog", "hen", "fish"]
            waiting = [pool.submit(own.ask, "POST", "/answer", {**PAIR, "question": name}) for name in names]
            until(lambda: own.metric("kdda_waiting") == 5)
            held.open.set()
            assert first.result().status == 200
            assert [reply.result().status for reply in waiting] == [200, 500, 200, 200, 200]
            assert own.ask("GET", "/health").status == 200
    finally:
        Held.__bases__[0].read = kept  # type: ignore[method-assign]


def test_half_of_those_who_ask_are_read_while_the_other_half_wait(held: Held) -> None:
    with serving([held], Limits()) as own, ThreadPoolExecutor(9) as pool:
        first = pool.submit(own.ask, "POST", "/answer", PAIR)
        until(lambda: _taken(held))
        waiting = [pool.submit(own.ask, "POST", "/answer", PAIR) for _ in range(8)]
        until(lambda: own.metric("kdda_waiting") == 8)
        held.open.set()
        assert [reply.result().status for reply in (first, *waiting)] == [200] * 9
    # half of the 8 who wait and the 1 who was answered; then those who are left, fewer than half of 3 and 5 together
    assert [len(batch) for batch in held.seen] == [1, 5, 3]


@pytest.mark.slow
def test_memory_stays_flat_over_many_requests(live: Live) -> None:
    def ask(count: int) -> int:
        for i in range(count):
            live.ask("POST", "/answer", {"question": "cat", "context": f"cat sleeps {i} " * 20})
        gc.collect()
        return int(psutil.Process().memory_info().rss)

    ask(150)
    before = ask(10)
    assert ask(300) - before < 16 * 2**20


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        ("Basic " + base64.b64encode(f"anyone:{TOKEN}".encode()).decode(), 200),
        ("Basic " + base64.b64encode(f"{TOKEN}:".encode()).decode(), 401),
        ("Basic ====", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        ("Bearer ", 401),
        (TOKEN, 401),
        ("Bearer \xe9", 401),
    ],
)
def test_only_who_holds_the_token_is_let_in(guarded: Live, header: str | None, status: int) -> None:
    headers = {"Authorization": header} if header else {}
    found = guarded.ask("POST", "/answer", PAIR, headers)
    assert found.status == status and TOKEN not in str(found.headers)
    assert guarded.ask("GET", "/health").status == 200
    if status == 401:
        assert found.headers["www-authenticate"] == "Bearer"
        browser = guarded.ask("GET", "/", headers={**headers, "Accept": "text/html"})
        assert browser.status == 401 and browser.headers["www-authenticate"].startswith("Basic")


@pytest.fixture(scope="module")
def guarded(reader: Predictor):  # type: ignore[no-untyped-def]
    with serving([reader], Limits(), token=TOKEN) as own:
        yield own


@pytest.mark.parametrize(
    ("host", "name", "value", "said"),
    [
        ("0.0.0.0", "", "", "a token is needed"),
        ("::", "", "", "a token is needed"),
        ("0.0.0.0", "KDDA_TEST", "", "holds nothing"),
        ("127.0.0.1", "KDDA_TEST", "short", "5 characters, expected 16"),
        ("127.0.0.1", "KDDA_TEST", "with space in the token", "no header"),
        ("127.0.0.1", "KDDA_TEST", "mật-khẩu-rất-là-dài", "no header"),
        ("no.such.host.invalid", "", "", "no address"),
    ],
)
def test_no_one_serves_the_world_without_a_token(
    host: str, name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDDA_TEST", value)
    with pytest.raises(KddaError, match=said):
        _ = Site(["m"], Limits(), host, token_env=name).token


def test_loopback_is_all_of_it_and_nothing_else() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9")] == [True] * 4
    assert not is_loopback("0.0.0.0") and not is_loopback("10.0.0.1")


def test_other_models_are_looked_for_before_the_server_starts(reader: Predictor) -> None:
    with pytest.raises(KddaError, match="no folder"):
        run_site(Site([reader.name], Limits(), port=0, compare=["./no/such"]))


def test_a_port_that_is_taken_is_said_before_models_are_loaded(
    live: Live, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["kdda", "serve", "/no/model", "--port", str(live.port)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and f"--port {live.port}" in capsys.readouterr().err


@pytest.mark.slow
def test_sigterm_under_load_finishes_what_was_taken(tmp_path: Path) -> None:
    command = ["serve", make_reader(tmp_path / "qa"), "--port", "0", "--batch", "1", "--no-page", "--timeout", "120"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "kdda", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    try:
        assert process.stdout is not None
        own = Live(int(re.search(r":(\d+)/", process.stdout.readline())[1]))  # type: ignore[index]
        until(lambda: _answers(own))
        long = {"question": "cat", "context": "cat sleeps " * 2000}
        with ThreadPoolExecutor(12) as pool:
            taken = [pool.submit(own.ask, "POST", "/answer", long) for _ in range(12)]
            until(lambda: own.metric("kdda_waiting") >= 8)
            process.send_signal(signal.SIGTERM)
            assert [reply.result().status for reply in taken] == [200] * 12
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0 and "Traceback" not in err and "finished" in err, err
        assert not _answers(own)
    finally:
        process.kill()


def _answers(own: Live) -> bool:
    try:
        return own.ask("GET", "/health").status == 200
    except OSError:
        time.sleep(0.05)
        return False


@pytest.mark.parametrize("closes", [True, False])
def test_a_body_that_is_too_large_is_answered_to_clients_that_send_all_of_it_first(live: Live, closes: bool) -> None:
    body = b"x" * (8 * 2**20)
    head = REQUEST + b"Content-Length: %d\r\n" % len(body) + b"Connection: close\r\n" * closes
    with socket.create_connection(("127.0.0.1", live.port)) as client:
        client.sendall(head + b"\r\n" + body)
        assert b" 413 " in client.recv(65536).split(b"\r\n")[0]
    for host in (b"evil.test", b"127.0.0.1"):
        request = urllib.request.Request(f"{live.url}/answer", body, {"Host": host.decode()})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=60)
        assert refused.value.code == (403 if host == b"evil.test" else 413)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 0.0, -1.0, 1e9])
def test_a_timeout_is_a_number_of_seconds(seconds: float) -> None:
    with pytest.raises(KddaError, match="--timeout: got"):
        Limits(seconds=seconds)


@pytest.mark.parametrize("failure", [RuntimeError("broken"), SystemExit(3), StopIteration(), MemoryError(), "too few"])
def test_a_batch_that_fails_ends_nothing_and_health_is_true(
    held: Held, failure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def results(self: Predictor, read: Any) -> list[Any]:
        if isinstance(failure, str):
            return []
        raise failure

    held.open.set()
    with serving([held], Limits(seconds=5.0)) as own:
        with monkeypatch.context() as patch:
            patch.setattr(Predictor, "results", results)
            reply = own.ask("POST", "/answer", PAIR)
            assert reply.status == 500 and "the model failed" in reply.json["detail"]
            health = own.ask("GET", "/health")
            assert health.status == 503 and "the model failed" in health.json["status"]
        assert own.ask("GET", "/health").json["status"] == "ok"
        assert own.ask("POST", "/answer", PAIR).status == 200


@pytest.mark.parametrize("broken", ["_next_batch", "_read", "_outcomes"])
def test_a_hand_over_that_fails_ends_nothing(reader: Predictor, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> Any:
        raise OSError("no")

    with serving([reader], Limits(seconds=5.0)) as own:
        with monkeypatch.context() as patch:
            patch.setattr(Batcher, broken, fail)
            assert own.ask("POST", "/answer", PAIR).status == 500
            assert own.ask("GET", "/health").status == 503
        assert own.ask("POST", "/answer", PAIR).status == 200
        assert own.ask("GET", "/health").status == 200


def test_a_batch_that_takes_too_long_is_told_by_health(held: Held) -> None:
    with serving([held], Limits(seconds=0.3)) as own:
        assert own.ask("POST", "/answer", PAIR).status == 504
        until(lambda: own.ask("GET", "/health").status == 503)
        assert "seconds so far" in own.ask("GET", "/health").json["status"]
        held.open.set()
        until(lambda: own.ask("GET", "/health").status == 200)
