"""The Transport and Training tabs: their drawings as HTML, and the limit of 400 characters a sentence."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from kdda.errors import KddaError, unknown_choice
from kdda.report.build import report
from kdda.report.collect import unfinished_folders
from kdda.report.figures import loss_curves
from kdda.report.render import Figure, html_parts
from kdda.runs.folder import read_run
from kdda.serve.page.markup import message, plain, svg_html
from kdda.serve.page.words import Words
from kdda.visualize.plan_figures import plan_figures
from kdda.visualize.transport_plan import SentenceStates, StateReader, TransportPlan, plan_between

CACHED_SENTENCES = 32  # whose states stay in memory, so that a change of ε does not run the models again

MAX_CHARACTERS = 400  # of a sentence on the Transport tab


class TransportView:
    """Transport plans between served models.

    Models are opened when they are first chosen, and the states of the last sentences stay in memory.

    Args:
        models: that may be chosen.
    """

    def __init__(self, models: Sequence[str]):
        """Keep the names; no model is opened yet."""
        self.models = list(dict.fromkeys(models))
        self._readers: dict[str, StateReader] = {}
        self._recent: OrderedDict[tuple[str, str], SentenceStates] = OrderedDict()
        self._one_at_a_time = threading.Lock()

    def html(self, first: str, second: str, sentence: str, epsilon: float, words: Words) -> str:
        """Both pictures of the plan, or a message that says why there are none."""
        if len(sentence) > MAX_CHARACTERS:
            return message(words.too_long.format(limit=MAX_CHARACTERS))
        if not sentence.strip():
            return message(words.empty)
        try:
            states, others = self._states(first, sentence), self._states(second, sentence)
            if states.states.shape[1] != others.states.shape[1]:
                return message(words.widths)
            plan = plan_between(states, others, epsilon)
        except KddaError as error:
            return message(str(error))
        return _facts(plan, words) + "".join(map(figure_html, _figures(plan)))

    def _states(self, name: str, sentence: str) -> SentenceStates:
        """A sentence's states by a served model, from memory where it was among the last."""
        if name not in self.models:  # only those that the server was started with
            raise KddaError(unknown_choice("model", name, self.models))
        with self._one_at_a_time:
            key = (name, sentence)
            if key not in self._recent:
                self._recent[key] = self._reader(name).read(sentence)
            self._recent.move_to_end(key)
            while len(self._recent) > CACHED_SENTENCES:
                self._recent.popitem(last=False)
            return self._recent[key]

    def _reader(self, name: str) -> StateReader:
        """The opened model of a name; it stays open."""
        if name not in self._readers:
            self._readers[name] = StateReader.open(name)
        return self._readers[name]


def _figures(plan: TransportPlan) -> list[Figure]:
    """The plan's heat map and lines, with ε at three digits."""
    first, second = plan.first, plan.second
    epsilon = float(f"{plan.epsilon:.3g}")
    return plan_figures(first.tokens, second.tokens, plan.shares, (first.name, second.name), epsilon)


def _facts(plan: TransportPlan, words: Words) -> str:
    """How many tokens each model reads, and the cost of the plan."""
    counts = [words.reads.format(name=side.name, count=len(side.tokens)) for side in (plan.first, plan.second)]
    return f'<p class="hint" role="status">{plain("; ".join(counts))}; OT = {plan.cost:.4f}, ε = {plan.epsilon:.3g}</p>'


def figure_html(figure: Figure) -> str:
    """A figure's SVG as HTML."""
    return svg_html(figure.svg)


def training_html(folder: str, folders: Sequence[Path], words: Words) -> str:
    """Tables and figures of a folder's finished runs, and the curves so far of its unfinished ones.

    Args:
        folder: one of `folders`, as text.
        folders: those that the server was started with.
    """
    known = {str(path): path for path in folders}
    if folder not in known:
        return message(words.no_runs)
    return f'<div class="report">{_finished_html(known[folder])}{_unfinished_html(known[folder], words)}</div>'


def _finished_html(folder: Path) -> str:
    """The report of a folder's finished runs, or why there is none."""
    try:
        return html_parts(report([folder]))
    except KddaError as error:
        return message(str(error))


def _unfinished_html(folder: Path, words: Words) -> str:
    """The curves of runs that have not finished, under a heading; nothing where all have."""
    runs, messages = [], []
    for path in unfinished_folders([folder]):
        if path.name.startswith("seed-"):
            try:
                runs.append(read_run(path))
            except KddaError as error:
                messages.append(message(str(error)))
    drawings = [*messages, *map(figure_html, loss_curves(runs))]
    return f"<h2>{plain(words.unfinished)}</h2>{''.join(drawings)}" if drawings else ""
