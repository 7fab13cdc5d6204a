"""What is found, as HTML. Every text of a user passes through `plain`, so that it stays text."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from kdda.report.render import TABLE_STYLE
from kdda.serve.page.words import Words
from kdda.tasks.classification import LabelResult
from kdda.tasks.qa import AnswerResult

# The page's component reads its content as a template, too: what a template would take for its own is spelt out.
TEMPLATE = str.maketrans({"$": "&#36;", "{": "&#123;", "}": "&#125;", "`": "&#96;", "\\": "&#92;"})


def plain(text: str) -> str:
    """A text that no browser and no template takes for anything else.

    >>> plain("<b>${x}")
    '&lt;b&gt;&#36;&#123;x&#125;'
    """
    return html.escape(text).translate(TEMPLATE)


def message(text: str) -> str:
    return f'<p class="message" role="status">{plain(text)}</p>'


def answer_html(found: AnswerResult, context: str, words: Words) -> str:
    """The passage with the answer marked; the others show themselves in it when they are pointed at or focused."""
    others = [own for own in found.candidates[1:] if own["text"]]
    said = plain(found.text) if found.text else plain(words.nothing)
    rows = "".join(
        f'<li class="k{k}" tabindex="0"><span class="share">{own["probability"]:.1%}</span> {plain(own["text"])}</li>'
        for k, own in enumerate(others, 1)
    )
    listed = f'<p class="hint">{plain(words.others)}</p><ol class="others">{rows}</ol>' if others else ""
    return (
        f'<div class="found"><p class="said" role="status"><strong>{said}</strong> '
        f'<span class="share">{found.score:.1%}</span></p>'
        f'<p class="passage">{_passage(context, found, others)}</p>{listed}</div>'
    )


def passage_html(found: Mapping[str, Any], words: Words) -> str:
    """One answer of a corpus: where it comes from, and its passage with the answer marked."""
    text, start, end = found["passage"], found["start"], found["end"]
    return (
        f'<div class="found"><p class="said"><strong>{plain(found["answer"])}</strong> '
        f'<span class="share">{found["score"]:.2f}</span></p>'
        f'<p class="hint">{plain(words.source.format(source=found["source"]))}</p>'
        f'<p class="passage">{plain(text[:start])}<mark>{plain(text[start:end])}</mark>{plain(text[end:])}</p></div>'
    )


def _passage(context: str, found: AnswerResult, others: Sequence[dict[str, Any]]) -> str:
    spans = [(found.start, found.end), *((own["start"], own["end"]) for own in others)]
    hints = ["", *(f"{own['probability']:.1%} {own['text']}" for own in others)]
    edges = sorted({0, len(context), *(edge for span in spans for edge in span)})
    parts = []
    for a, b in pairwise(edges):  # no answer begins or ends within
        covering = [k for k, (start, end) in enumerate(spans) if start <= a and b <= end]
        parts.append(_part(context[a:b], covering, hints))
    return "".join(parts)


def _part(text: str, covering: Sequence[int], hints: Sequence[str]) -> str:
    others = [k for k in covering if k]
    shown = plain(text)
    if others:
        title = plain("\n".join(hints[k] for k in others))
        shown = f'<span class="other {" ".join(f"s{k}" for k in others)}" title="{title}">{shown}</span>'
    return f"<mark>{shown}</mark>" if 0 in covering else shown


def label_html(found: LabelResult, words: Words) -> str:
    """A bar a label."""
    rows = "".join(_bar(name, share, name == found.label, words) for name, share in found.probabilities.items())
    return f'<div class="bars" role="status">{rows}</div>'


def _bar(name: str, share: float, best: bool, words: Words) -> str:
    gloss = words.labels.get(name.lower(), "")
    shown = f"{plain(gloss)} <small>{plain(name)}</small>" if gloss else plain(name)
    return (
        f'<div class="bar{" best" if best else ""}"><span class="name">{shown}</span>'
        f'<span class="track"><span class="fill" style="width:{100 * share:.1f}%"></span></span>'
        f'<span class="share">{share:.1%}</span></div>'
    )


def svg_html(svg: str) -> str:
    """A drawing in a box that scrolls by itself, so that the page never does."""
    return f'<div class="drawing" tabindex="0">{svg.translate({ord("$"): "&#36;", ord("`"): "&#96;"})}</div>'


STYLE = """
.gradio-container { width: 100% !important; max-width: 62rem !important; margin: 0 auto !important }
.gradio-container main { width: 100% }
.found .passage { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.8 }
.found .said { font-size: 1.15rem; overflow-wrap: anywhere }
.found mark { background: #ffe08a; color: #1a1a1a; border-radius: 3px; padding: .1em 0 }
.found ol.others { margin: 0; padding: 0; list-style: none }
.found ol.others li { padding: .35rem .5rem; border-radius: 4px; cursor: default; overflow-wrap: anywhere }
.found ol.others li:hover, .found ol.others li:focus { background: #8882; outline: 2px solid #1f6feb }
.found .other:hover { outline: 2px solid #1f6feb }
.share { font-variant-numeric: tabular-nums; opacity: .8 } .hint { opacity: .8; margin: .8rem 0 .2rem }
.bar { display: grid; grid-template-columns: minmax(7rem, 14rem) 1fr 4rem; gap: .6rem }
.bar { align-items: center; margin: .4rem 0 }
.bar .track { background: #8883; border-radius: 4px; height: 1.1rem } .bar .share { text-align: right }
.bar .fill { display: block; background: #6b8fd6; border-radius: 4px; height: 100% }
.bar.best .fill { background: #1f4e9c } .bar.best .name { font-weight: 600 }
.drawing { overflow-x: auto; background: #fff; border-radius: 6px; padding: .5rem; margin: .5rem 0 }
.drawing svg { max-width: none; height: auto } .message { padding: .4rem 0 }
.report { --paper: var(--background-fill-primary, #fff) }
button:focus-visible, [role=tab]:focus-visible { outline: 3px solid #1f6feb !important; outline-offset: 2px }
@media (max-width: 40rem) { .bar { grid-template-columns: 1fr 3.5rem } .bar .track { grid-column: 1 / -1; order: 3 } }
"""
STYLE += TABLE_STYLE + "".join(
    f".found:has(.k{k}:hover) .s{k}, .found:has(.k{k}:focus) .s{k} {{ background: #9ecbff; color: #1a1a1a }}\n"
    for k in range(1, 21)
)
