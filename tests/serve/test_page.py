"""The page in a real browser: each tab does its work, nothing comes from elsewhere, and texts stay texts."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kdda.errors import KddaError
from kdda.inference.predictor import Predictor
from kdda.retrieval.pipeline import Corpus
from kdda.serve import experiments
from kdda.serve.limits import Limits
from kdda.serve.page.markup import answer_html, passage_html, plain
from kdda.serve.page.pictures import TransportView
from kdda.serve.page.words import ENGLISH, VIETNAMESE, WORDS
from kdda.serve.site import Site, make_application
from kdda.tasks.qa import AnswerResult
from tests.conftest import make_model
from tests.report.test_report import write_run
from tests.retrieval.corpus import TEXTS, make_index
from tests.serve.live import Live, serving
from tests.serve.test_experiments import WAITING

CHROMIUM = "/usr/bin/chromium"
IDS = {"passage": "qa-context", "question": "qa-question"}
QUIET = "background-networking component-update sync"  # or it looks up hosts that are not there
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += [f"--disable-{name}" for name in QUIET.split()]
LOCAL_NETWORK = "LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,LocalNetworkAccessChecksWarn"
FLAGS += [f"--disable-features={LOCAL_NETWORK}"]  # a browser that lets any page send requests to this machine
FLAGS += ["--host-resolver-rules=MAP *.evil.test 127.0.0.1"]  # names that resolve to this machine
EVIL = "<script>document.title='evil'</script> <img src=x onerror=\"document.title='evil'\"> ${1+1} {{value}} `x` cat"
ATTACK = """async (servers) => {
  const event = JSON.stringify({data: ["hen runs", "English"], fn_index: 4, trigger_id: null, session_hash: "evil"});
  const results = [];
  const fetched = async (url, options) => {
    try {
      const response = await fetch(url, options);
      results.push(`${response.type} ${response.status} ${await response.text()}`);
    } catch (error) { results.push(`error ${error}`); }
  };
  for (const server of servers) {
    const join = `${server}/gradio_api/queue/join`;
    await fetched(join, {method: "POST", body: event});
    await fetched(join, {method: "POST", body: event, mode: "no-cors"});
    await fetched(join, {method: "POST", body: event, headers: {"Content-Type": "application/json"}});
    await fetched(`${server}/gradio_api/queue/data?session_hash=evil`, {mode: "no-cors"});
    await fetched(`${server}/config`, {});
  }
  return results;
}"""
DECOMPOSED = "Ha\u0300 No\u0323\u0302i cat"

browsed = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(CHROMIUM).is_file(), reason=f"no {CHROMIUM}: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def site(reader: Predictor, judge: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("page")
    for seed in (1, 2):
        write_run(folder / "runs", "student", seed, 0.5)
        write_run(folder / "runs", "student-kdda", seed, 0.8)
    shutil.copytree(folder / "runs/nli/student/seed-1", folder / "runs/nli/student/seed-3")
    (folder / "runs/nli/student/seed-3/predictions.jsonl").unlink()
    others = [make_model(folder / "teacher", seed=1), make_model(folder / "wide", width=32)]
    make_index(folder / "index")
    shown = {"runs": [folder / "runs"], "compare": others, "corpus": partial(Corpus.open, folder / "index")}
    with serving([reader, judge], Limits(characters=3_000), page=True, **shown) as own:
        yield own


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as own:
        started = own.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


class Visit:
    """A page that is open, and what it asked the network for."""

    def __init__(self, context: Any, url: str, first: str = "#qa-context"):
        self.context = context
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        with self.page.expect_response(re.compile("queue/data")):  # the page greets once its parts listen to clicks
            self.page.goto(url)
        self.page.wait_for_selector(f"{first} textarea, {first} input")

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def fill(self, **texts: str) -> None:
        for name, text in texts.items():
            self.page.fill(f"#{IDS.get(name, name)} textarea", text)

    def text(self, selector: str, pattern: str) -> str:
        """A part's text, once it reads as expected."""
        self.page.locator(selector).filter(has_text=re.compile(pattern)).first.wait_for(timeout=60_000)
        return str(self.page.inner_text(selector))


@pytest.fixture(scope="module")
def context(browser: Any) -> Iterator[Any]:
    """What the pages of one person share, a cache among it."""
    own = browser.new_context(locale="vi-VN")
    yield own
    own.close()


@pytest.fixture
def visit(context: Any, site: Live) -> Iterator[Visit]:
    own = Visit(context, site.url)
    yield own
    assert own.errors == []
    own.page.close()


class TestInABrowser:
    pytestmark = browsed

    def test_a_question_is_answered_in_the_passage(self, visit: Visit, reader: Predictor, tmp_path: Path) -> None:
        visit.fill(passage="dog runs very cat sleeps", question="cat")
        visit.page.click("#qa-button")
        visit.page.wait_for_selector("#qa-result mark")
        found = reader.answer("cat", "dog runs very cat sleeps")
        assert "".join(visit.page.locator("#qa-result mark").all_inner_texts()) == found.text
        assert visit.page.inner_text("#qa-result .passage") == "dog runs very cat sleeps"
        first = visit.page.locator("#qa-result li").first
        visit.page.locator("#qa-question textarea").press("Tab")
        before = visit.page.locator("#qa-result .s1").first.evaluate("own => getComputedStyle(own).backgroundColor")
        first.focus()
        after = visit.page.locator("#qa-result .s1").first.evaluate("own => getComputedStyle(own).backgroundColor")
        assert before != after == "rgb(158, 203, 255)"
        visit.page.screenshot(path=tmp_path / "ask.png")
        assert (tmp_path / "ask.png").stat().st_size > 10_000

    def test_script_tags_and_templates_stay_text(self, visit: Visit) -> None:
        title = visit.page.title()
        visit.fill(passage=EVIL, question=EVIL)
        visit.page.click("#qa-button")
        visit.page.wait_for_selector("#qa-result .passage")
        assert visit.page.inner_text("#qa-result .passage") == EVIL
        assert visit.page.locator("#qa-result script, #qa-result img").count() == 0
        assert visit.page.title() == title

    def test_combining_marks_survive_the_round_trip(self, visit: Visit) -> None:
        visit.fill(passage=DECOMPOSED, question="cat")
        visit.page.click("#qa-button")
        visit.page.wait_for_selector("#qa-result .passage")
        assert visit.page.text_content("#qa-result .passage") == DECOMPOSED

    def test_a_pair_gets_a_bar_a_label_by_keyboard_alone(self, visit: Visit, judge: Predictor) -> None:
        visit.page.get_by_role("tab", name="Hỏi đáp").focus()
        visit.page.keyboard.press("Tab")
        visit.page.keyboard.press("Enter")
        visit.page.locator("#nli-premise textarea").focus()
        visit.page.keyboard.press("Control+A")
        visit.page.keyboard.type("cat sleeps")
        visit.page.keyboard.press("Tab")
        visit.page.keyboard.press("Control+A")
        visit.page.keyboard.type("dog runs")
        visit.page.keyboard.press("Enter")
        said = visit.text("#nli-result", "%")
        best = visit.page.inner_text("#nli-result .best")
        assert judge.entails("cat sleeps", "dog runs").label in best and "mâu thuẫn" in said

    def test_the_corpus_answers_with_its_sources(self, visit: Visit) -> None:
        visit.tab("Hỏi kho văn bản")
        answers = visit.page.locator("#corpus-answers").filter(has_text=re.compile("hens"))
        for _ in range(10):  # a text that is filled in while the page still starts is not always taken
            visit.page.fill("#corpus-question textarea", "hen runs")
            visit.page.click("#corpus-button")
            visit.page.wait_for_selector("#corpus-answers mark")
            if answers.count():
                break
        shown = visit.text("#corpus-answers", "hens")
        assert "Nguồn: hens.txt" in shown and "Điểm trong ngoặc: 0.5 ×" in shown
        assert TEXTS["hens"] in visit.page.locator("#corpus-answers .passage").all_inner_texts()

    def test_the_slider_sharpens_the_plan(self, visit: Visit) -> None:
        visit.tab("Vận chuyển")
        visit.page.click("#second input")
        visit.page.get_by_role("option", name=re.compile("teacher$")).click()
        visit.fill(sentence="cat sleeps very dog")
        visit.page.click("#draw-button")
        visit.page.wait_for_selector("#plan svg")
        assert visit.page.locator("#plan svg").count() == 2 and "cat" in visit.page.inner_text("#plan")
        slider = visit.page.locator("#epsilon input[type=range]")
        slider.focus()
        slider.press("Home")
        sharp = visit.text("#plan", "ε = 0.001")
        assert "sleeps" in sharp
        slider.press("End")
        assert "ε = 3.16" in visit.text("#plan", "ε = 3.16")

    def test_a_sentence_is_compared_at_several_layers(self, visit: Visit) -> None:
        visit.tab("Vận chuyển")
        visit.page.click("#second input")
        visit.page.get_by_role("option", name=re.compile("teacher$")).click()
        visit.page.locator("#depths").get_by_label("0", exact=True).check()
        visit.page.locator("#depths").get_by_label("½").check()
        visit.fill(sentence="cat sleeps")
        visit.page.click("#draw-button")
        assert "Tầng 0/2 so với tầng 0/2" in visit.text("#plan", "Tầng 2/2")
        assert visit.page.locator("#plan svg").count() == 6

    def test_models_of_two_widths_are_told_apart(self, visit: Visit) -> None:
        visit.tab("Vận chuyển")
        visit.page.click("#second input")
        visit.page.get_by_role("option", name=re.compile("wide$")).click()
        visit.page.click("#draw-button")
        assert "số chiều khác nhau" in visit.text("#plan", "chiều")

    def test_training_shows_tables_and_curves_and_what_is_unfinished(self, visit: Visit) -> None:
        visit.tab("Huấn luyện")
        visit.page.click("#show-button")
        said = visit.text("#report", "accuracy")
        assert "student-kdda" in said and "Chưa chạy xong" in said
        assert visit.page.locator("#report svg").count() >= 3 and visit.page.locator("#report table").count() >= 3

    def test_the_interface_speaks_both_languages(self, visit: Visit) -> None:
        visit.page.get_by_label("English").click()
        visit.page.get_by_role("tab", name="Transport").wait_for()
        assert visit.text("#qa-button", "Answer") == "Answer"  # the parts of a page change one after another
        visit.page.wait_for_function("document.documentElement.lang == 'en'")
        visit.fill(passage=" ", question="cat")
        visit.page.click("#qa-button")
        assert "fill in every field" in visit.text("#qa-result", "field")
        visit.page.get_by_label("Tiếng Việt").click()
        visit.text("#qa-button", "Trả lời")
        visit.page.click("#qa-button")
        assert "điền đủ" in visit.text("#qa-result", "điền")

    def test_a_browser_that_asks_for_english_gets_it(self, browser: Any, site: Live) -> None:
        own = Visit(browser.new_context(locale="en-GB"), site.url)
        own.page.get_by_role("tab", name="Transport").wait_for()
        own.context.close()

    def test_what_is_too_long_is_said(self, visit: Visit) -> None:
        visit.fill(passage="cat " * 1000, question="cat")
        visit.page.click("#qa-button")
        assert "3,000" in visit.text("#qa-result", "3,000")

    def test_it_fits_a_phone(self, browser: Any, site: Live) -> None:
        own = Visit(browser.new_context(viewport={"width": 360, "height": 640}), site.url)
        own.text("#qa-button", "Answer")  # a button that moves while the page turns English is not hit by a click
        own.page.click("#qa-button")
        own.page.wait_for_selector("#qa-result .passage")
        assert own.page.evaluate("document.documentElement.scrollWidth") <= 360
        own.context.close()

    def test_nothing_is_loaded_from_elsewhere(self, visit: Visit, site: Live) -> None:
        visit.page.click("#qa-button")
        visit.page.wait_for_selector("#qa-result .passage")
        outside = [url for url in visit.asked if not url.startswith((site.url, "data:", "blob:"))]
        assert outside == [] and len(visit.asked) > 10

    def test_a_page_of_another_origin_reads_and_asks_nothing(self, browser: Any, site: Live) -> None:
        context = browser.new_context()
        page = context.new_page()
        rebound = page.goto(f"http://rebound.evil.test:{site.port}/")
        assert rebound is not None and rebound.status == 403
        results = page.evaluate(ATTACK, [f"http://rebound.evil.test:{site.port}"])  # its own origin, as it reads it
        assert results and all("403" in result for result in results), results
        page.route("http://page.evil.test/", lambda route: route.fulfill(body="<title>evil</title>"))
        page.goto("http://page.evil.test/")
        before = site.metric('kdda_requests_total{path="other",status="200"}')
        refused = site.metric('kdda_requests_total{path="other",status="403"}')
        addresses = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "rebound.evil.test"]
        results = page.evaluate(ATTACK, [f"http://{address}:{site.port}" for address in addresses])
        assert all("error" in result or result.startswith("opaque 0") for result in results), results
        assert len(results) == 5 * len(addresses)
        assert site.metric('kdda_requests_total{path="other",status="200"}') == before
        assert site.metric('kdda_requests_total{path="other",status="403"}') > refused
        context.close()

    def test_an_open_page_does_not_keep_a_server_from_stopping(self, browser: Any, judge: Predictor) -> None:
        with serving([judge], Limits(seconds=50.0), page=True) as own:
            opened = Visit(browser.new_context(locale="vi-VN"), own.url, "#nli-premise")
            opened.page.click("#nli-button")
            opened.text("#nli-result", "%")
            assert opened.page.get_by_role("tab", name="Hỏi đáp", exact=True).count() == 0  # no model answers here
        opened.context.close()


@pytest.fixture
def lab(tmp_path: Path, judge: Predictor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """A server of experiments, one of which has a finished run; a started one waits to be stopped."""
    monkeypatch.setattr(experiments, "PROGRAM", WAITING)
    run = write_run(tmp_path / "lab" / "toy", "student", 1, 0.5)
    shutil.copytree(judge.name, run / "model")
    (tmp_path / "lab" / "toy.yaml").write_text("task: nli")
    with serving([], Limits(), page=True, experiments=tmp_path / "lab") as server:
        yield server


class TestExperimentsInABrowser:
    pytestmark = browsed

    def test_an_experiment_is_started_stopped_downloaded_and_asked(self, browser: Any, lab: Live) -> None:
        own = Visit(browser.new_context(locale="vi-VN", viewport={"width": 375, "height": 800}), lab.url, "#recipe")
        assert own.page.input_value("#recipe input") == "toy"
        own.text("#experiment-state", "Đã dừng")
        assert "accuracy" in own.text("#experiment-results", "student")
        start = own.page.locator("#experiment-start-button")
        start.focus()
        own.page.keyboard.press("Enter")
        own.text("#experiment-state", "Đang chạy, bắt đầu lúc")
        own.page.click("#experiment-stop-button")
        own.text("#experiment-state", "Đang dừng|Đã dừng")
        own.page.locator("#student-0 textarea").fill("cat sleeps")
        own.page.click("#student-button")
        assert "%" in own.text("#student-result", "%")
        with own.page.expect_download() as download:
            own.page.click("a.download")
        assert download.value.suggested_filename == "toy-student-seed-1.zip"
        assert own.page.evaluate("document.documentElement.scrollWidth") <= 375
        assert own.errors == []
        own.context.close()


@pytest.mark.slow
def test_the_page_gives_no_files_and_takes_none(site: Live) -> None:
    for path in (str(Path(__file__)), "/etc/passwd", "README.md"):
        assert site.ask("GET", f"/gradio_api/file={path}").status in (403, 404)
    form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nhello\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert site.ask("POST", "/gradio_api/upload", form, headers).status == 404


@pytest.mark.parametrize("text", [EVIL, DECOMPOSED, "", " \n ", "\u202e\x00"])
def test_markup_shows_the_passage_to_the_character(text: str) -> None:
    context = f"{text}answer{text}"
    start = len(text)
    own = {"text": "answer", "start": start, "end": start + 6, "probability": 0.5}
    candidates = [own, {**own, "text": text + "answer", "start": 0}, {**own, "text": "swer", "start": start + 2}]
    html = answer_html(AnswerResult("answer", start, start + 6, 0.5, candidates, None), context, WORDS[ENGLISH])
    passage = re.search(r'<p class="passage">(.*?)</p><p class="hint">', html, re.S)
    assert passage and re.sub(r"</?(mark|span)[^>]*>", "", passage[1]) == plain(context)
    assert "<script" not in html and "${" not in html and "{{" not in html


@pytest.mark.parametrize("text", [EVIL, DECOMPOSED, "", " \n ", "\u202e\x00"])
def test_markup_shows_a_corpus_passage_to_the_character(text: str) -> None:
    passage, start = f"{text}answer{text}", len(text)
    found = {"answer": "answer", "score": 0.5, "source": text, "passage": passage, "start": start, "end": start + 6}
    html = passage_html(found, (f"…{text}", text), WORDS[VIETNAMESE])
    shown = re.search(r'<p class="passage">(.*?)</p></div>', html, re.S)
    assert shown and re.sub(r"</?mark>", "", shown[1]) == plain(f"…{passage}")
    assert "(0.50)" in html and "<script" not in html and "${" not in html and "{{" not in html


def test_a_corpus_needs_a_model_that_answers(judge: Predictor, tmp_path: Path) -> None:
    make_index(tmp_path / "index")
    site = Site([judge.name], Limits(), corpus=partial(Corpus.open, tmp_path / "index"))
    with pytest.raises(KddaError, match="--index needs a model that answers"):
        make_application(site, [judge])


def test_a_corpus_without_the_page_is_refused(judge: Predictor, tmp_path: Path) -> None:
    make_index(tmp_path / "index")
    site = Site([judge.name], Limits(), corpus=partial(Corpus.open, tmp_path / "index"), page=False)
    with pytest.raises(KddaError, match="leave out --no-page"):
        make_application(site, [judge])


def test_both_languages_say_everything_and_no_more() -> None:
    ours, theirs = WORDS[VIETNAMESE], WORDS[ENGLISH]
    for name, said in vars(ours).items():
        other = getattr(theirs, name)
        assert said and other, name
        if isinstance(said, str):
            assert sorted(re.findall(r"{\w+}", said)) == sorted(re.findall(r"{\w+}", other)), name


def trained_run(folder: Path) -> TransportView:
    """A view of one finished run, whose student has one of the layers of the model that it was before."""
    start = make_model(folder / "start", seed=3)
    run = write_run(folder, "student", 1, 0.5, student={"model": start, "layers": [1]}, data={})
    make_model(run / "model", layers=1, seed=4)
    teacher = make_model(folder / "teacher", seed=5)
    return TransportView([teacher], lambda: {"toy: student/seed-1": run / "model"})


def test_a_student_is_shown_before_and_after_its_training(tmp_path: Path) -> None:
    view = trained_run(tmp_path)
    shown = partial(view.html, "", view.models[0], sentence="cat sleeps", epsilon=0.03, words=WORDS[ENGLISH])
    html = shown("toy: student/seed-1", depths=[0.0, 1.0])
    assert html.count("<section>") == 4 and html.count("<svg") == 8
    headings = re.findall("<h3>(.*?)</h3>", html)
    assert headings[:2] == ["Before training: layer 0/1 and layer 0/2", "After training: layer 0/1 and layer 0/2"]
    assert headings[2:] == ["Before training: layer 1/1 and layer 2/2", "After training: layer 1/1 and layer 2/2"]
    costs = re.findall(r"OT = ([\d.]+)", html)
    assert len(set(costs)) == 4  # two models, two depths
    assert "expected one of: toy" in shown("../../etc", depths=[1.0])
    assert "fill in every field" in shown("toy: student/seed-1", depths=[])


def test_a_run_whose_recipe_names_no_student_is_told(tmp_path: Path) -> None:
    run = write_run(tmp_path, "student", 1, 0.5)
    view = TransportView([make_model(tmp_path / "teacher")], lambda: {"toy": run / "model"})
    html = view.html("", view.models[0], "toy", "cat", 0.03, [1.0], WORDS[ENGLISH])
    assert "does not say which model its student was before" in html
