"""`Components`: text boxes, buttons and events of the page's tabs, and what each of them says in both languages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdda.serve.page.words import Words, words_of

SLOW_EVENTS = 2  # worked on at once, where each takes a model or draws a picture

Say = Callable[[Words], str]  # a text of the page, in a given language


class Components:
    """Makes components whose texts follow the page's language, and lets events call functions.

    Attributes:
        texts: component, its property, and what it says.
        on_load: what is called when a browser opens the page: a function, its inputs, its outputs.
        on_language: what is called when the page's language changes, in the same form.
    """

    def __init__(self) -> None:
        """Begin without components."""
        self.texts: list[tuple[Any, str, Say]] = []
        self.on_load: list[tuple[Callable[..., Any], Any, Any]] = []
        self.on_language: list[tuple[Callable[..., Any], Any, Any]] = []

    def translate(self, component: Any, name: str, text: Say) -> None:
        """Change a component's property with the page's language."""
        self.texts.append((component, name, text))

    def in_language(self, language: str) -> list[Any]:
        """Updates of all components with texts, in the order of `texts`, when the language changes."""
        import gradio as gr

        words = words_of(language)
        return [gr.update(**{name: text(words)}) for _, name, text in self.texts]

    def textbox(self, gr: Any, value: str, label: Say, name: str, lines: int = 1) -> Any:
        """A text box of so many lines, whose label follows the page's language; `name` is its id in the page."""
        textbox = gr.Textbox(value, label=label(words_of(None)), lines=lines, max_lines=20, elem_id=name)
        self.translate(textbox, "label", label)
        return textbox

    def button(self, gr: Any, label: Say, name: str, variant: str = "primary") -> Any:
        """A button whose text follows the page's language."""
        button = gr.Button(label(words_of(None)), variant=variant, elem_id=f"{name}-button")
        self.translate(button, "value", label)
        return button

    def dropdown(self, gr: Any, names: list[str], value: str | None, label: Say, name: str, **options: Any) -> Any:
        """A list of names to choose from, whose label follows the page's language."""
        dropdown = gr.Dropdown(names, value=value, label=label(words_of(None)), elem_id=name, **options)
        self.translate(dropdown, "label", label)
        return dropdown

    @staticmethod
    def on(
        event: Any, work: Callable[..., Any], inputs: Any, outputs: Any, concurrency: int = SLOW_EVENTS, **options: Any
    ) -> None:
        """Let an event call `work`: at most `concurrency` calls at once, and no entry in gradio's public interface."""
        defaults = {"api_visibility": "private", "show_progress": "minimal", "concurrency_limit": concurrency}
        event(work, inputs, outputs, **{**defaults, **options})
