"""The page's TransportView and Training: drawings of plans and of run folders."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from kdda.errors import KddaError
from kdda.report.build import report
from kdda.report.figures import curves
from kdda.report.render import Figure, html_parts
from kdda.runs.folder import RECIPE, is_complete, read_run
from kdda.serve.page.markup import message, plain, svg_html
from kdda.serve.page.words import Words
from kdda.visualize.plan_figures import plan_figures
from kdda.visualize.transport_plan import SentenceStates, StateReader, TransportPlan, plan_between

SENTENCES = 32  # whose states are kept, so that the slider solves alone

LONGEST = 400  # characters of a sentence


class TransportView:
    """Models that are opened when they are first looked at, and the sentences they have read last."""

    def __init__(self, models: Sequence[str]):
        self.models = list(dict.fromkeys(models))
        self._readers: dict[str, StateReader] = {}
        self._read: OrderedDict[tuple[str, str], SentenceStates] = OrderedDict()
        self._one_at_a_time = threading.Lock()

    def html(self, first: str, second: str, sentence: str, epsilon: float, words: Words) -> str:
        """Both pictures of the plan, or what stands in their way."""
        try:
            if len(sentence) > LONGEST:
                return message(words.too_long.format(limit=LONGEST))
            if not sentence.strip():
                return message(words.both)
            own, other = self._states(first, sentence), self._states(second, sentence)
            if own.states.shape[1] != other.states.shape[1]:
                return message(words.widths)
            plan = plan_between(own, other, epsilon)
        except KddaError as mistake:
            return message(str(mistake))
        return _facts(plan, words) + "".join(svg_html(own.svg) for own in _figures(plan))

    def _states(self, name: str, sentence: str) -> SentenceStates:
        if name not in self.models:  # only those that the server was started with
            raise KddaError(f'"{name}" is not served here; there is {", ".join(self.models)}')
        with self._one_at_a_time:
            key = (name, sentence)
            if key not in self._read:
                if name not in self._readers:
                    self._readers[name] = StateReader.open(name)
                self._read[key] = self._readers[name].read(sentence)
            self._read.move_to_end(key)
            while len(self._read) > SENTENCES:
                self._read.popitem(last=False)
            return self._read[key]


def _figures(plan: TransportPlan) -> list[Figure]:
    first, second = plan.first, plan.second
    return [
        *plan_figures(first.tokens, second.tokens, plan.shares, (first.name, second.name), float(f"{plan.epsilon:.3g}"))
    ]


def _facts(plan: TransportPlan, words: Words) -> str:
    said = [words.reads.format(name=own.name, count=len(own.tokens)) for own in (plan.first, plan.second)]
    return f'<p class="hint" role="status">{plain("; ".join(said))}; OT = {plan.cost:.4f}, ε = {plan.epsilon:.3g}</p>'


def training_html(folder: str, folders: Sequence[Path], words: Words) -> str:
    """Tables and curves of a folder's runs; of unfinished ones the curves so far."""
    known = {str(own): own for own in folders}
    if folder not in known:
        return message(words.no_runs)
    try:
        finished = html_parts(report([known[folder]]))
    except KddaError as mistake:
        finished = message(str(mistake))
    begun = [path.parent for path in sorted(known[folder].rglob(RECIPE)) if not is_complete(path.parent)]
    rest = "".join(svg_html(own.svg) for own in curves([read_run(path) for path in begun if path.name[:5] == "seed-"]))
    title = f"<h2>{plain(words.unfinished)}</h2>" if rest else ""
    return f'<div class="report">{finished}{title}{rest}</div>'
