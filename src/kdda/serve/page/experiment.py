"""The Experiment tab: choose, plan, start, watch, stop; results; download and ask a student. Refreshed every 10 s."""

from __future__ import annotations

import hmac
import secrets
import threading
from typing import Any

from kdda.errors import KddaError
from kdda.inference.predictor import task_of_model
from kdda.serve import experiments
from kdda.serve.experiments import BusyError, Experiments, State
from kdda.serve.limits import Limits
from kdda.serve.page.components import Components
from kdda.serve.page.experiment_view import download_html, plan_html, signature, state_html
from kdda.serve.page.fields import button_label, field_label, lines_of_box, page_words, row_of, sample_texts
from kdda.serve.page.markup import message, plain, result_html
from kdda.serve.page.pictures import training_html
from kdda.serve.page.words import Words, words_of
from kdda.serve.students import Students
from kdda.tasks.base import Task

REFRESH_SECONDS = 10.0  # between two looks at an experiment that runs

BOXES = 4  # of a student's task, at most

FIRST = "mini-nli"  # chosen where no experiment has run yet, and the folder has no recipe

WATCHED = (experiments.RUNNING, experiments.STOPPING, experiments.ELSEWHERE)  # states that change by themselves


class ExperimentTab:
    """The components of the tab and what they do.

    Args:
        experiments: what may be chosen and started.
        students: what can be downloaded and asked.
        components: makes the page's components.
        limits: of texts.
    """

    def __init__(self, experiments: Experiments, students: Students, components: Components, limits: Limits):
        """Make the token that starts and stops must bring, which only this server's page can know."""
        self.experiments = experiments
        self.students = students
        self.components = components
        self.limits = limits
        self._form_token = secrets.token_urlsafe(32)
        self._drawing = threading.Lock()
        self._drawn: dict[tuple[str, str, str], str] = {}  # the results that were drawn last: one experiment's

    def build(self, gr: Any, language: Any) -> None:
        """The tab, from the recipe down to the results, which are the longest part."""
        make = self.components
        first = self._first()
        recipe = make.dropdown(
            gr, list(self.experiments.choices()), first, lambda words: words.recipe, "recipe", allow_custom_value=True
        )
        token = gr.Textbox(self._form_token, visible=False)
        shown = gr.Textbox("", visible=False)  # which results the browser shows
        with gr.Row():
            plan = make.button(gr, lambda words: words.plan, "experiment-plan", "secondary")
            start = make.button(gr, lambda words: words.start, "experiment-start")
            stop = make.button(gr, lambda words: words.stop, "experiment-stop", "secondary")
        state = gr.HTML(elem_id="experiment-state")
        planned = gr.HTML(elem_id="experiment-plan")
        timer = gr.Timer(REFRESH_SECONDS, active=False)
        student = self._build_student(gr, language)
        results = gr.HTML(elem_id="experiment-results")
        inputs = [recipe, shown, student, language]
        outputs = [state, results, shown, student, timer]
        make.on(recipe.input, self.choose, inputs, [*outputs, planned])
        make.on(plan.click, self.plan, [recipe, language], planned, concurrency=1, show_progress="full")
        make.on(start.click, self.start, [token, *inputs], outputs)
        make.on(stop.click, self.stop, [token, *inputs], outputs)
        make.on(timer.tick, self.look, inputs, outputs, show_progress="hidden")
        make.on_load.append((self.open, inputs, [recipe, *outputs]))
        make.on_language.append((self.look, inputs, outputs))

    def _build_student(self, gr: Any, language: Any) -> Any:
        """The part of the tab for a trained student; returns the list of students."""
        make = self.components
        heading = gr.HTML(_heading(words_of(None)))
        make.translate(heading, "value", _heading)
        student = make.dropdown(gr, [], None, lambda words: words.student, "student", allow_custom_value=True)
        link = gr.HTML(elem_id="student-download")
        boxes = []
        for number in range(BOXES):
            boxes.append(gr.Textbox(visible=False, max_lines=20, elem_id=f"student-{number}"))
        button = gr.Button(visible=False, variant="primary", elem_id="student-button")
        output = gr.HTML(elem_id="student-result")
        make.on(student.change, self.choose_student, [student, language], [link, output, button, *boxes])
        make.on_language.append((self.translate_student, [student, language], [link, button, *boxes]))
        make.on(button.click, self.ask, [student, language, *boxes], output)
        for box in boxes:
            make.on(box.submit, self.ask, [student, language, *boxes], output)
        return student

    # -- what the components do

    def open(self, name: str | None, shown: str | None, student: str | None, language: str | None) -> list[Any]:
        """What a browser shows first: the experiment that runs, among the recipes that there are now."""
        import gradio as gr

        chosen = self._first()
        recipe = gr.update(choices=list(self.experiments.choices()), value=chosen)
        return [recipe, *self.look(chosen, "", student, language)]

    def choose(self, name: str | None, shown: str | None, student: str | None, language: str | None) -> list[Any]:
        """Another experiment: its state and results, and no plan."""
        return [*self.look(name, "", student, language), ""]

    def look(
        self, name: str | None, shown: str | None, student: str | None, language: str | None, problem: str = ""
    ) -> list[Any]:
        """An experiment's state, and its results and students where they are not those that are shown.

        Args:
            name: of the experiment.
            shown: which results the browser shows, as this function has told it.
            student: that is chosen.
            problem: a sentence that is shown first.

        Returns:
            Updates of: the state, the results, which of them are shown, the students, the timer.
        """
        import gradio as gr

        words = words_of(language)
        try:
            choice = self.experiments.choice(name or "")
            state = self.experiments.state(choice.name)
        except KddaError as error:
            return [message(problem or str(error)), "", "", gr.skip(), gr.Timer(active=False)]
        html = self._other_html(choice.name, words) + state_html(state, words)
        if problem:
            html = message(problem) + html
        timer = gr.Timer(active=state.kind in WATCHED)
        now = f"{choice.name} {words.code} {signature(choice.out)}"
        if now == shown:
            return [html, gr.skip(), gr.skip(), gr.skip(), timer]
        return [html, self._results(choice.name, state, now, words), now, self._students(choice.name, student), timer]

    def plan(self, name: str | None, language: str | None) -> str:
        """What `kdda plan` says of an experiment."""
        words = words_of(language)
        try:
            return plan_html(self.experiments.plan(name or "", words.code))
        except KddaError as error:
            return message(str(error))

    def start(
        self, token: str | None, name: str | None, shown: str | None, student: str | None, language: str | None
    ) -> list[Any]:
        """Start or continue an experiment; after the token, the inputs of `look`."""
        words = words_of(language)
        problem = ""
        if not self._is_from_page(token):
            return self.look(name, shown, student, language, words.expired)
        try:
            self.experiments.start(name or "", words.code)
        except BusyError as busy:
            problem = words.busy_experiment.format(name=busy.name)
        except KddaError as error:
            problem = str(error)
        return self.look(name, shown, student, language, problem)

    def stop(
        self, token: str | None, name: str | None, shown: str | None, student: str | None, language: str | None
    ) -> list[Any]:
        """Stop an experiment, so that it can be continued; after the token, the inputs of `look`."""
        if not self._is_from_page(token):
            return self.look(name, shown, student, language, words_of(language).expired)
        problem = ""
        try:
            self.experiments.stop(name or "")
        except KddaError as error:
            problem = str(error)
        return self.look(name, shown, student, language, problem)

    def choose_student(self, name: str | None, language: str | None) -> list[Any]:
        """The link to a student's zip, an empty result, the button and the text boxes of its task."""
        import gradio as gr

        words = words_of(language)
        hidden = [gr.update(visible=False) for _ in range(1 + BOXES)]
        if not name:
            return [message(words.no_student), "", *hidden]
        try:
            task = task_of_model(str(self.students.folder(name)))
        except KddaError as error:
            return [message(str(error)), "", *hidden]
        link = download_html(name, words)
        if len(task.fields) > BOXES:
            return [link, message(words.many_fields), *hidden]
        button = gr.update(value=button_label(task, words), visible=True)
        return [link, "", button, *_box_updates(task, words)]

    def translate_student(self, name: str | None, language: str | None) -> list[Any]:
        """The link, the button and the labels of the text boxes in another language; texts stay."""
        link, _result, button, *boxes = self.choose_student(name, language)
        for box in boxes:
            box.pop("value", None)
        return [link, button, *boxes]

    def ask(self, name: str | None, language: str | None, *texts: str | None) -> str:
        """A student's prediction for the texts of the boxes."""
        words = words_of(language)
        if not name:
            return message(words.no_student)
        try:
            predictor = self.students.predictor(name)
            task = predictor.task
            fields = page_words(task, words).fields
            row = row_of(task, dict(zip(fields, texts, strict=False)), self.limits.characters, words)
            results = predictor.results(predictor.read([row]))
        except KddaError as error:
            return message(str(error))
        return result_html(task.page_view, results[0], row, words, page_words(task, words).labels)

    # -- what they are made of

    def _first(self) -> str:
        """The experiment that a browser shows first: the one that runs, one that has run, a file, or `FIRST`."""
        choices = self.experiments.choices()
        running = self.experiments.running()
        if running in choices:
            return running
        for choice in choices.values():
            if choice.out.is_dir():
                return choice.name
        first = next(iter(choices.values()))
        is_file = first.recipe != first.name
        return first.name if is_file or FIRST not in choices else FIRST

    def _other_html(self, name: str, words: Words) -> str:
        """A line that names the experiment that runs, where it is another one."""
        running = self.experiments.running()
        if not running or running == name:
            return ""
        return f'<p class="hint">{plain(words.running_now.format(name=running))}</p>'

    def _results(self, name: str, state: State, now: str, words: Words) -> str:
        """The report and the curves of an experiment's runs; nothing before its first run.

        Args:
            now: what the results are of; the same results are drawn once for all browsers.
        """
        if not state.entries:
            return ""
        out = self.experiments.choice(name).out
        key = (name, words.code, now)
        with self._drawing:
            if key not in self._drawn:
                html = f"<h2>{plain(words.results)}</h2>{training_html(str(out), [out], words)}"
                self._drawn = {key: html}
            return self._drawn[key]

    def _students(self, name: str, chosen: str | None) -> Any:
        """An update of the list of students: those of an experiment; the last one is chosen, where none of them is."""
        import gradio as gr

        students = self.experiments.students_of(name)
        if chosen not in students:
            chosen = students[-1] if students else None
        return gr.update(choices=students, value=chosen)

    def _is_from_page(self, token: str | None) -> bool:
        """Whether an event brings the token that this server has given to its page."""
        return hmac.compare_digest((token or "").encode(), self._form_token.encode())


def _heading(words: Words) -> str:
    """What can be done with the students, above the list of them."""
    return f'<h2>{plain(words.students)}</h2><p class="hint">{plain(words.student_hint)}</p>'


def _box_updates(task: Task, words: Words) -> list[Any]:
    """Updates of the text boxes, so that they are those of a task."""
    import gradio as gr

    fields = list(page_words(task, words).fields)
    samples = sample_texts(task)
    updates = []
    for field in fields:
        lines = lines_of_box(task, field, is_last=field == fields[-1])
        label = field_label(task, field, words)
        updates.append(gr.update(visible=True, label=label, value=samples.get(field, ""), lines=lines))
    while len(updates) < BOXES:
        updates.append(gr.update(visible=False))
    return updates
