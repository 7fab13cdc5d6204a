"""The HTTP interface keeps its own description, and says what is wrong with a request without repeating it."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

import kdda
from kdda.errors import KddaError
from kdda.inference.predictor import Predictor
from kdda.serve.limits import Limits
from kdda.serve.site import Site, make_application, run_site
from kdda.text.segmenters import SEGMENTERS
from tests.heads import make_judge, make_phobert_head, make_reader
from tests.serve.live import CLAIM, PAIR, Live, serving, until


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "mode"),
    [
        *((path, GenerationMode.POSITIVE) for path in ("/answer", "/entails", "/health", "/metrics")),
        *((path, GenerationMode.NEGATIVE) for path in ("/answer", "/entails")),
    ],
)
def test_every_response_is_as_the_openapi_description_says(live: Live, path: str, mode: GenerationMode) -> None:
    described = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    operations = [own.ok() for own in described.get_all_operations()]
    operation = next(own for own in operations if own.path == path)

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate()

    check()


def test_answers_and_labels_are_the_predictors_own(live: Live, reader: Predictor, judge: Predictor) -> None:
    found, alone = live.ask("POST", "/answer", PAIR).json, reader.answer(PAIR["question"], PAIR["context"])
    assert (found["answer"], found["start"], found["end"]) == (alone.text, alone.start, alone.end)
    assert found["score"] == pytest.approx(alone.score, abs=1e-5) and len(found["candidates"]) == 5
    label = live.ask("POST", "/entails", CLAIM).json
    assert label["label"] == judge.entails(*CLAIM.values()).label and sum(
        label["probabilities"].values()
    ) == pytest.approx(1)


@pytest.mark.parametrize(
    "text", ["Ha\u0300 No\u0323\u0302i", "<script>alert(1)</script>", "👩‍👩‍👧", "a\x00b", "\u202eabc", "\u200b"]
)
def test_any_text_survives_the_round_trip(live: Live, text: str) -> None:
    found = live.ask("POST", "/answer", {"question": "cat", "context": f"cat {text} dog"})
    assert found.status == 200
    assert all(own["text"] == f"cat {text} dog"[own["start"] : own["end"]] for own in found.json["candidates"])


WRONG: list[tuple[Any, int, str]] = [
    (b"not json", 422, "json_invalid"),
    (b"[" * 50_000, 400, "parsing the body"),
    (b"", 422, "missing"),
    (b"null", 422, "body"),
    (b'{"question": "cat", "context": "\xff"}', 400, "parsing the body"),
    (b'{"question": "\\ud800", "context": "dog"}', 422, "string_unicode"),
    (b'{"question": ' + b"9" * 5000 + b', "context": "dog"}', 400, "parsing the body"),
    ({"question": "cat"}, 422, "context"),
    ({"question": "cat", "contxt": "dog"}, 422, "contxt"),
    ({"question": 5, "context": "dog"}, 422, "string_type"),
    ({"question": " \u2003\x1c", "context": "dog"}, 422, "question"),
    ({"question": "cat", "context": "dog " * 501}, 422, "string_too_long"),
    ({"question": "cat", "context": None}, 422, "context"),
    ({"question": ["cat"], "context": ["dog"]}, 422, "question"),
]


@pytest.mark.parametrize(("body", "status", "said"), WRONG)
def test_a_wrong_request_is_told_what_is_wrong(live: Live, body: Any, status: int, said: str) -> None:
    found = live.ask("POST", "/answer", body)
    assert (found.status, said in found.body.decode()) == (status, True), found.body
    assert len(found.body) < 1000  # what was sent is not sent back


def test_a_path_says_which_method_it_takes(live: Live) -> None:
    for method, path in (("GET", "/answer"), ("PUT", "/entails"), ("POST", "/health"), ("DELETE", "/metrics")):
        found = live.ask(method, path)
        assert found.status == 405 and found.headers["allow"] in ("GET", "POST")


def test_a_server_of_one_model_says_what_it_has(judge: Predictor) -> None:
    with serving([judge], Limits()) as own:
        found = own.ask("POST", "/answer", PAIR)
        assert found.status == 404 and "/entails" in found.json["detail"]
        assert own.ask("GET", "/health").json == {"status": "ok", "routes": {"nli": "/entails"}}


def test_two_models_for_one_task_are_refused(judge: Predictor) -> None:
    with pytest.raises(KddaError, match="of one task"):
        make_application(Site(["a"], Limits(), page=False), [judge, judge])


@pytest.mark.parametrize("again", ["models/a", "./models/a"])
def test_a_model_that_is_named_twice_is_refused_before_it_is_loaded(again: str) -> None:
    with pytest.raises(KddaError, match="arguments 1 and 3 are one model"):
        run_site(Site(["models/a", "b", again], Limits(), port=0))


def test_a_mistyped_folder_of_runs_is_answered_with_what_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs/nli").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for wrong, meant in {"rums": "runs", "nli": "runs/nli"}.items():
        with pytest.raises(KddaError, match=f'--runs: no folder "{wrong}".*did you mean "{meant}"'):
            run_site(Site(["models/a"], Limits(), port=0, runs=[Path(wrong)]))


def test_requests_of_many_clients_are_read_together_and_answered_each_its_own(live: Live, reader: Predictor) -> None:
    words = ["cat", "dog", "hen", "fish", "runs", "sleeps", "not", "very"]
    asked = [{"question": "cat", "context": " ".join(words[i % 8 :] + words[: i % 8])} for i in range(64)]
    expected = {own["context"]: reader.answer("cat", own["context"]).text for own in asked[:8]}
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda own: live.ask("POST", "/answer", own).json["answer"], asked))
    assert found == [expected[own["context"]] for own in asked]


def test_counters_are_what_prometheus_reads(live: Live) -> None:
    before = live.metric('kdda_requests_total{path="/answer",status="200"}')
    live.ask("POST", "/answer", PAIR)
    live.ask("GET", "/nowhere/at/all")
    assert live.metric('kdda_requests_total{path="/answer",status="200"}') == before + 1
    assert live.metric('kdda_requests_total{path="other",status="404"}') >= 1
    assert live.ask("GET", "/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")


def test_the_docs_need_nothing_from_elsewhere(live: Live) -> None:
    page = live.ask("GET", "/docs").body.decode()
    assert "POST /answer" in page and "2,000 characters" in page and "429" in page
    assert "http" not in page.replace(live.url, "") and "<script" not in page
    assert json.loads(live.ask("GET", "/openapi.json").body)["openapi"].startswith("3.")


@pytest.mark.parametrize(("make", "path", "body"), [(make_reader, "/answer", PAIR), (make_judge, "/entails", CLAIM)])
def test_logits_that_are_not_finite_are_told_as_an_error_of_the_model(
    make: Any, path: str, body: Any, tmp_path: Path
) -> None:
    broken: Any = kdda.load(make(tmp_path))
    for weight in broken.engine.model.parameters():
        weight.data.fill_(float("nan"))
    with serving([broken], Limits()) as own:
        reply = own.ask("POST", path, body)
        assert reply.status == 500 and reply.headers["content-type"] == "application/json"
        assert "logits are not finite (nan or inf): its weights are broken" in reply.json["detail"]
        health = own.ask("GET", "/health")
        assert health.status == 503 and "not finite" in health.json["status"]


def test_a_text_without_spaces_is_segmented_in_parts_while_others_are_answered(
    judge: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = kdda.load(make_phobert_head(tmp_path, "qa"))
    segmenter, lengths = SEGMENTERS["vi"], []
    began, go_on = threading.Event(), threading.Event()

    def held(text: str) -> Any:
        lengths.append(len(text))
        began.set()
        go_on.wait(60)
        return segmenter(text)

    with serving([reader, judge], Limits()) as own, ThreadPoolExecutor(2) as pool:
        monkeypatch.setitem(SEGMENTERS, "vi", held)
        long = pool.submit(own.ask, "POST", "/answer", {"question": "Ở đâu?", "context": "ngủ" * 8_333 + "x"})
        until(began.is_set)
        neighbour = pool.submit(own.ask, "POST", "/answer", PAIR)
        until(lambda: own.metric("kdda_waiting") == 1)
        assert own.ask("GET", "/health").status == 200
        assert own.ask("POST", "/entails", CLAIM).status == 200
        assert not long.done() and not neighbour.done()
        go_on.set()
        assert (long.result().status, neighbour.result().status) == (200, 200)
    assert max(lengths) <= 400 and sum(lengths) >= 25_000


def test_a_server_without_a_page_says_at_every_other_path_which_routes_it_has(live: Live) -> None:
    at_page = live.ask("GET", "/")
    assert at_page.status == 404 and "the page is off (--no-page)" in at_page.json["detail"]
    elsewhere = live.ask("GET", "/nowhere/at/all")
    assert elsewhere.status == 404 and elsewhere.json["detail"].startswith("nothing is here; expected one of: ")
    for route in ("/answer", "/entails", "/health", "/docs"):
        assert route in at_page.json["detail"] and route in elsewhere.json["detail"]
    assert live.ask("POST", "/openapi.json").status == 405


def test_a_page_is_served_without_a_model(tmp_path: Path) -> None:
    with serving([], Limits(), page=True, runs=[tmp_path]) as own:
        assert own.ask("GET", "/health").json == {"status": "ok", "routes": {}}
        assert own.ask("GET", "/").status == 200
        refused = own.ask("POST", "/answer", PAIR)
        assert refused.status == 404 and "the page alone" in refused.json["detail"]


def test_a_server_with_nothing_to_serve_is_refused() -> None:
    for site in (Site([], Limits()), Site([], Limits(), runs=[Path()], page=False)):
        with pytest.raises(KddaError, match="nothing to serve"):
            run_site(site)
