"""The Transport and Training tabs: their drawings as HTML, and the limit of 400 characters a sentence."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from kdda.errors import KddaError, unknown_choice
from kdda.recipe.schema import ModelSpec, Recipe
from kdda.report.build import report
from kdda.report.collect import unfinished_folders
from kdda.report.figures import loss_curves
from kdda.report.render import Figure, html_parts
from kdda.runs.folder import read_run
from kdda.serve.page.markup import message, plain, svg_html
from kdda.serve.page.words import Words
from kdda.visualize.plan_figures import plan_figures, short_names
from kdda.visualize.transport_plan import SentenceStates, StateReader, TransportPlan, plan_between

CACHED_SENTENCES = 32  # whose states stay in memory, so that a change of ε does not run the models again

OPEN_MODELS = 4  # beside those that the server was started with: students of runs, before and after their training

NO_RUN = "—"  # the choice of no run on the Transport tab

MAX_CHARACTERS = 400  # of a sentence on the Transport tab


class Side(NamedTuple):
    """A model as one side of a plan.

    Attributes:
        model: a mini model, a folder or a Hub id.
        name: what the page calls it.
        heading: when it was so, of a student before or after its training; else "".
        layers: that stay of the model; all by default.
    """

    model: str
    name: str
    heading: str = ""
    layers: Any = None


class TransportView:
    """Transport plans between models that the server was started with, and students of finished runs.

    Models are opened when they are first chosen, and the states of the last sentences stay in memory.

    Args:
        models: that may be chosen.
        trained: gives the students of finished runs that there are now: what the page calls each → its model's folder.
    """

    def __init__(self, models: Sequence[str], trained: Callable[[], dict[str, Path]] = dict):
        """Keep the names; no model is opened yet."""
        self.models = list(dict.fromkeys(models))
        self.trained = trained
        self._readers: OrderedDict[tuple[str, str], StateReader] = OrderedDict()
        self._recent: OrderedDict[tuple[Any, ...], list[SentenceStates]] = OrderedDict()
        self._one_at_a_time = threading.Lock()

    def html(
        self,
        first: str,
        second: str,
        run: str,
        sentence: str,
        epsilon: float,
        depths: Sequence[float],
        words: Words,
    ) -> str:
        """The plans' pictures, or a message that says why there are none.

        Args:
            first, second: names of models.
            run: a student of a finished run, whose model before and after its training take the place of the first
                model, side by side; `NO_RUN` for none.
            depths: of the layers whose states are compared, from 0 to 1.
        """
        if len(sentence) > MAX_CHARACTERS:
            return message(words.too_long.format(limit=MAX_CHARACTERS))
        if not sentence.strip() or not depths:
            return message(words.empty)
        try:
            sides = self._before_and_after(run, words) if run != NO_RUN else [self._side(first)]
            others = self._states(self._side(second), sentence, depths)
            columns = [_columns(side, self._states(side, sentence, depths), others, epsilon, words) for side in sides]
        except KddaError as error:
            return message(str(error))
        cells = ""
        for row in zip(*columns, strict=True):  # a row a depth, with a cell for each side
            cells += "".join(row)
        return f'<div class="plans sides-{len(sides)}">{cells}</div>'

    def _side(self, name: str) -> Side:
        """One of the models that the server was started with.

        Raises:
            KddaError: it is none of them.
        """
        if name not in self.models:
            raise KddaError(unknown_choice("model", name, self.models))
        return Side(name, name)

    def _before_and_after(self, name: str, words: Words) -> list[Side]:
        """The model that a run's student was before its training, and the student.

        Raises:
            KddaError: no finished run has this name, or its recipe cannot be read.
        """
        trained = self.trained()
        if name not in trained:
            raise KddaError(unknown_choice("run", name, trained))
        folder = trained[name]
        start = _start_of(folder.parent)
        before = Side(start.model, start.model, words.before, start.layers)
        return [before, Side(str(folder), name, words.after)]

    def _states(self, side: Side, sentence: str, depths: Sequence[float]) -> list[SentenceStates]:
        """A sentence's states by a model at some depths, from memory where it was among the last."""
        with self._one_at_a_time:
            key = (side.model, str(side.layers), sentence, tuple(depths))
            if key not in self._recent:
                self._recent[key] = self._reader(side).read_at(sentence, depths)
            self._recent.move_to_end(key)
            while len(self._recent) > CACHED_SENTENCES:
                self._recent.popitem(last=False)
            return self._recent[key]

    def _reader(self, side: Side) -> StateReader:
        """The opened model of a side; the last `OPEN_MODELS` of students and the models of the server stay open."""
        key = (side.model, str(side.layers))
        if key not in self._readers:
            self._readers[key] = StateReader.open(side.model, side.layers)
        self._readers.move_to_end(key)
        while len(self._readers) > len(self.models) + OPEN_MODELS:
            self._readers.popitem(last=False)
        return self._readers[key]


def _start_of(folder: Path) -> ModelSpec:
    """The model that the student of a run was before it was trained, with the layers that stayed of it.

    Raises:
        KddaError: the run's recipe cannot be read.
    """
    run = read_run(folder)
    try:
        return Recipe.model_validate(run.recipe).student_of(run.arm)
    except (ValueError, KeyError):
        raise KddaError(f"{folder}: its recipe does not say which model its student was before") from None


def _columns(
    side: Side, states: Sequence[SentenceStates], others: Sequence[SentenceStates], epsilon: float, words: Words
) -> list[str]:
    """The cells of one side's column: for each depth a heading, the facts of the plan and its pictures, or a message.

    Args:
        states, others: of both models at the same depths.
    """
    cells = []
    for own, other in zip(states, others, strict=True):
        own = replace(own, name=side.name)
        parts = [side.heading] if side.heading else []
        if own.layers:
            numbers = {"first": own.layer, "of_first": own.layers, "second": other.layer, "of_second": other.layers}
            parts.append(words.layers.format(**numbers))
        heading = ": ".join(parts)
        cell = f"<h3>{plain(heading[:1].upper() + heading[1:])}</h3>" if heading else ""
        if own.states.shape[1] != other.states.shape[1]:
            cell += message(words.widths)
        else:
            plan = plan_between(own, other, epsilon)
            cell += _facts(plan, words) + "".join(map(figure_html, _figures(plan)))
        cells.append(f"<section>{cell}</section>")
    return cells


def _figures(plan: TransportPlan) -> list[Figure]:
    """The plan's heat map and lines, with ε at three digits."""
    first, second = plan.first, plan.second
    epsilon = float(f"{plan.epsilon:.3g}")
    return plan_figures(first.tokens, second.tokens, plan.shares, (first.name, second.name), epsilon)


def _facts(plan: TransportPlan, words: Words) -> str:
    """How many tokens each model reads, and the cost of the plan."""
    counts = []
    names = short_names(plan.first.name, plan.second.name)
    for name, side in zip(names, (plan.first, plan.second), strict=True):
        counts.append(words.reads.format(name=name, count=len(side.tokens)))
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
