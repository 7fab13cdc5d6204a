"""By which names a server answers, and whose pages may call it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from kdda.errors import KddaError
from kdda.inference.predictor import Predictor
from kdda.serve.errors import HTTPError
from kdda.serve.hosts import AllowedHosts
from kdda.serve.limits import Limits
from tests.serve.live import PAIR, Live, serving


def refused(hosts: AllowedHosts, host: str | None, method: str = "GET", **headers: str) -> bool:
    """Whether a request is refused; headers with _ for -."""
    sent = {} if host is None else {b"host": host.encode("latin-1")}
    for name, value in headers.items():
        sent[name.replace("_", "-").encode()] = value.encode()
    try:
        hosts.check(method, sent)
    except HTTPError as error:
        assert error.status == 403
        return True
    return False


@pytest.mark.parametrize(
    "host", ["localhost:8000", "LOCALHOST", "127.0.0.1:8000", "127.0.0.1", "[::1]:8000", "127.9.9.9:1"]
)
def test_a_server_on_loopback_answers_by_the_names_of_loopback(host: str) -> None:
    assert not refused(AllowedHosts.of("127.0.0.1"), host)


@pytest.mark.parametrize(
    "host",
    [
        None, "", "evil.test:8000", "localhost.evil.test", "127.0.0.1.evil.test", "127.0.0.1@evil.test", "a@127.0.0.1",
        "[::ffff:127.0.0.1]:8000", "[::ffff:7f00:1]", "0.0.0.0:8000", "[::]:8000", "10.0.0.1", "127.1", "0x7f.1",
        "2130706433", "017700000001", "127.0.0.1:8000, evil.test", "127.0.0.1:8000/", "127.0.0.1 ", "127.0.0.1:",
        "localhost.", "localhost:80800000", "[::1", "::1", "\xe9vil.test", "localhost\x00", "http://localhost",
    ],
)  # fmt: skip
def test_a_server_on_loopback_answers_by_no_other_name(host: str | None) -> None:
    assert refused(AllowedHosts.of("127.0.0.1"), host)


@pytest.mark.parametrize(
    "origin",
    [
        "null", "", "http://evil.test", "http://evil.test:8000", "http://127.0.0.1:9000", "http://localhost:8000",
        "https://127.0.0.1:8000/", "http://127.0.0.1:8000.evil.test", "http://127.0.0.1:8000@evil.test",
        "http://[::ffff:127.0.0.1]:8000", "file://", "chrome-extension://abc", "http://127.0.0.1:8000 http://evil.test",
        "127.0.0.1:8000", "ftp://127.0.0.1:8000",
    ],
)  # fmt: skip
def test_pages_of_other_origins_are_refused(origin: str) -> None:
    assert refused(AllowedHosts.of("127.0.0.1"), "127.0.0.1:8000", "POST", origin=origin)


def test_the_servers_page_may_call_it() -> None:
    hosts = AllowedHosts.of("127.0.0.1")
    assert not refused(hosts, "127.0.0.1:8000", "POST", origin="http://127.0.0.1:8000")
    assert not refused(hosts, "localhost", "POST", origin="http://localhost")
    assert not refused(hosts, "[::1]:9", "POST", origin="http://[::1]:9")
    assert not refused(hosts, "localhost", sec_fetch_site="same-origin", sec_fetch_mode="cors")
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert not refused(hosts, "localhost", **link)
    assert refused(hosts, "localhost", **{**link, "sec_fetch_dest": "iframe"})
    assert refused(hosts, "localhost", "POST", **link)
    assert refused(hosts, "localhost", sec_fetch_site="same-site", sec_fetch_mode="no-cors", sec_fetch_dest="script")


def test_further_hosts_are_named() -> None:
    hosts = AllowedHosts.of("127.0.0.1", ["Demo.example.org", "thư-viện.vn:8443"])
    assert not refused(hosts, "demo.example.org", "POST", origin="https://demo.example.org")
    assert not refused(hosts, "127.0.0.1:8000", "POST", origin="https://demo.example.org")  # a proxy changed Host
    assert not refused(hosts, "xn--th-vin-4zb3960d.vn:8443")
    assert refused(hosts, "127.0.0.1:8000", "POST", origin="https://demo.example.org:3000")
    assert refused(hosts, "evil.example.org") and refused(hosts, "127.0.0.1", "POST", origin="http://x.vn")


@pytest.mark.parametrize("name", ["", "http://a.b", "a b", "a/b", "*", "a:b", "a@b", "[::1", "x\ud800"])
def test_a_further_host_is_a_name(name: str) -> None:
    with pytest.raises(KddaError, match="--allow-host"):
        AllowedHosts.of("127.0.0.1", [name])


def test_a_server_on_all_addresses_answers_by_addresses_and_given_names() -> None:
    hosts = AllowedHosts.of("0.0.0.0", ["demo.lan"])
    for host in ("10.1.2.3:8000", "[fe80::1]:8000", "localhost", "127.0.0.1", "demo.lan", "0.0.0.0:8000"):
        assert not refused(hosts, host), host
    for host in ("evil.test", "[::ffff:10.1.2.3]", "224.0.0.1"):
        assert refused(hosts, host), host
    assert refused(AllowedHosts(frozenset({"demo.lan"}), "none"), "127.0.0.1")


def test_every_route_checks_host_and_origin(live: Live) -> None:
    for method, path in (("POST", "/answer"), ("GET", "/health"), ("GET", "/metrics"), ("GET", "/docs"), ("GET", "/x")):
        for headers in ({"Host": "evil.test"}, {"Origin": "http://evil.test"}):
            reply = live.ask(method, path, PAIR if method == "POST" else None, headers)
            assert reply.status == 403 and "access-control-allow-origin" not in reply.headers, path


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"])
def test_what_any_page_may_send_is_no_json(live: Live, kind: str) -> None:
    assert live.ask("POST", "/answer", PAIR, {"Content-Type": kind}).status == 415
    assert live.ask("POST", "/answer", PAIR, {"Content-Type": "application/json; charset=utf-8"}).status == 200


def test_head_answers_where_get_does(live: Live) -> None:
    for path in ("/health", "/docs", "/openapi.json", "/nowhere", "/answer"):
        head, get = live.ask("HEAD", path), live.ask("GET", path)
        assert (head.status, head.body) == (get.status, b""), path
        assert head.headers.get("content-length") == get.headers.get("content-length"), path


OPEN = [
    "GET /", "GET /assets/path", "GET /config", "GET /favicon.ico", "GET /gradio_api/queue/data", "GET /robots.txt",
    "GET /static/path", "GET /theme.css", "HEAD /", "POST /gradio_api/queue/join",
]  # fmt: skip


@pytest.fixture(scope="module")
def page(reader: Predictor) -> Iterator[Live]:
    """A server with a page."""
    with serving([reader], Limits(), page=True) as server:
        yield server


def routes(router: Any) -> Iterator[str]:
    """Every method and path of an application and of the routers that it includes, with a value for each parameter."""
    for route in router.routes:
        if hasattr(route, "path"):
            path = re.sub(r"{(\w+)(:path)?}", lambda match: match[1], route.path)
            for method in route.methods:
                yield f"{method} {path}"
        else:
            yield from routes(route.original_router)


def test_the_open_routes_of_the_page_are_these(page: Live) -> None:
    import gradio as gr

    everything = set(routes(gr.routes.App.create_app(gr.Blocks())))
    assert len(everything) > 50
    answered = set()
    for name in sorted(everything):
        method, path = name.split()
        for prefix in ("", "/gradio_api"):
            reply = page.ask(method, prefix + path, {} if method == "POST" else None)
            is_closed = reply.status in (404, 405) and re.search(
                rb"nothing is here; expected one of: .*/health|only|^$", reply.body
            )
            if not is_closed:
                answered.add(f"{method} {prefix}{path}")
    assert sorted(answered - {"GET /openapi.json", "HEAD /openapi.json"}) == OPEN


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://127.0.0.1:{port}/health", "/gradio_api/file=/etc/passwd", "/file=/etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1:{port}/", "/gradio_api/stream/a/b/c/playlist.m3u8",
        "/gradio_api//file=/etc/passwd", "//gradio_api/file=/etc/passwd", "/%67radio_api/file=/etc/passwd",
        "/static/../../../../../../etc/passwd", "/static/%2e%2e/%2e%2e/index.html", "/assets/..%2f..%2findex.html",
        "/assets//etc/passwd", "/static/fonts/%00", "/gradio_api/queue/join", "/GRADIO_API/file=/etc/passwd",
        "/gradio_api/heartbeat/x", "/gradio_api/info", "/config/", "/?deep_link=../../../etc",
        "http://127.0.0.1:{port}/gradio_api/file=/etc/passwd",
    ],
)  # fmt: skip
def test_nothing_else_of_the_page_answers(page: Live, path: str) -> None:
    reply = page.ask("GET", path.format(port=page.port))
    assert reply.status in (404, 405) or (path.startswith("/?") and b"root:" not in reply.body)


FILE = {"path": "http://127.0.0.1:{port}/health", "meta": {"_type": "gradio.FileData"}}
PLAN: dict[str, Any] = {"fn_index": 4, "trigger_id": None, "session_hash": "abc"}
PLAN["data"] = [None, None, "—", "a", ["1", "½"], 0, "English"]  # models, run, sentence, depths, log₁₀ ε, language
EVENT = {"data": ["cat", "cat runs", "English"], "fn_index": 0, "trigger_id": None, "session_hash": "abc"}


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ({**EVENT, "data": [FILE, "cat", "English"]}, "application/json", 422),
        ({**EVENT, "data": [[FILE], ["cat"], "English"]}, "application/json", 422),
        ({**EVENT, "data": {"a": FILE}}, "application/json", 422),
        ({**EVENT, "data": ["a"] * 1000}, "application/json", 422),
        ({**EVENT, "session_hash": "../x"}, "application/json", 422),
        ({**EVENT, "session_hash": None}, "application/json", 422),
        ({**EVENT, "fn_index": "0"}, "application/json", 422),
        ({**EVENT, "fn_index": 999}, "application/json", 422),
        ({**EVENT, "fn_index": -1}, "application/json", 422),
        ({**EVENT, "fn_index": True}, "application/json", 422),
        ({**EVENT, "data": ["a"]}, "application/json", 422),
        ({**EVENT, "data": ["a", "b", "no language"]}, "application/json", 422),
        ({**EVENT, "data": ["a", "b\ud800", "English"]}, "application/json", 422),
        ({**EVENT, "data": [1, "b", "English"]}, "application/json", 422),
        ({**PLAN, "data": [*PLAN["data"][:5], None, "English"]}, "application/json", 422),
        ({**PLAN, "data": [*PLAN["data"][:4], ["1", "2"], 0, "English"]}, "application/json", 422),
        ({**PLAN, "data": [*PLAN["data"][:4], ["1"] * 9, 0, "English"]}, "application/json", 422),
        ({**PLAN, "data": [*PLAN["data"][:4], [["1"]], 0, "English"]}, "application/json", 422),
        ({**PLAN, "data": [*PLAN["data"][:4], "1", 0, "English"]}, "application/json", 422),
        ({**PLAN, "data": [None, None, FILE, *PLAN["data"][3:]]}, "application/json", 422),
        (PLAN, "application/json", 200),
        ({**EVENT, "trigger_id": FILE}, "application/json", 422),
        (b"[" * 50_000, "application/json", 400),
        (b'{"data": [1e999]}', "application/json", 422),
        (b"9" * 5000, "application/json", 400),
        (b"", "application/json", 400),
        (EVENT, "application/json", 200),
        (EVENT, "text/plain", 415),
        (EVENT, "application/x-www-form-urlencoded", 415),
    ],
)
def test_no_event_makes_the_server_open_a_connection(page: Live, body: Any, kind: str, status: int) -> None:
    before = page.metric('kdda_requests_total{path="/health"')
    text = body if isinstance(body, bytes) else json.dumps(body).replace("{port}", str(page.port)).encode()
    assert page.ask("POST", "/gradio_api/queue/join", text, {"Content-Type": kind}).status == status
    assert page.metric('kdda_requests_total{path="/health"') == before


def test_other_origins_reach_no_route_of_the_page(page: Live) -> None:
    for headers in ({"Host": "evil.test"}, {"Origin": "http://evil.test"}, {"Origin": "null"}):
        assert page.ask("POST", "/gradio_api/queue/join", EVENT, headers).status == 403
        assert page.ask("GET", "/gradio_api/queue/data?session_hash=abc", headers=headers).status == 403
        assert page.ask("GET", "/", headers=headers).status == 403
    assert page.ask("OPTIONS", "/gradio_api/queue/join", headers={"Origin": "http://evil.test"}).status == 403
