"""Results as HTML. Every text of a user passes through `plain`, so that it stays text."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

from kdda.report.render import TABLE_STYLE
from kdda.serve.page.words import Words
from kdda.tasks.choose import ChoiceResult
from kdda.tasks.classification import LabelResult
from kdda.tasks.classify import LabelSetResult
from kdda.tasks.qa import AnswerResult
from kdda.tasks.similarity import SimilarityResult
from kdda.tasks.tag import TagResult

# The page's component reads its content as a template, too: the characters of its syntax are escaped.
TEMPLATE = str.maketrans({"$": "&#36;", "{": "&#123;", "}": "&#125;", "`": "&#96;", "\\": "&#92;"})


def plain(text: str) -> str:
    """A text, escaped for browsers and templates.

    >>> plain("<b>${x}")
    '&lt;b&gt;&#36;&#123;x&#125;'
    """
    return html.escape(text).translate(TEMPLATE)


def message(text: str) -> str:
    """A line that tells a person why there is no result."""
    return f'<p class="message" role="status">{plain(text)}</p>'


def result_html(view: str, result: Any, texts: Sequence[str], words: Words, glosses: Mapping[str, str]) -> str:
    """A task's result.

    Args:
        view: the task's `page_view`.
        texts: the row's, in the order of the task's fields.
        glosses: label name → what it means.
    """
    if view == "passage":
        return answer_html(result, texts[-1], words)
    if view == "spans":
        return spans_html(result, texts[-1], words, glosses)
    if view == "bars":
        return label_html(result, glosses)
    if view == "options":
        return options_html(result)
    if view == "number":
        return number_html(result)
    return f'<pre class="prediction" role="status">{plain(str(result))}</pre>'


def answer_html(result: AnswerResult, context: str, words: Words) -> str:
    """The passage with the answer marked; other candidates are marked in it while their line has pointer or focus."""
    others = [candidate for candidate in result.candidates[1:] if candidate["text"]]
    answer = plain(result.text or words.nothing)
    return (
        f'<div class="prediction"><p class="answer" role="status"><strong>{answer}</strong> '
        f'<span class="share">{result.score:.1%}</span></p>'
        f'<p class="passage">{_passage(context, result, others)}</p>{_candidates_html(others, words)}</div>'
    )


def _candidates_html(candidates: Sequence[Mapping[str, Any]], words: Words) -> str:
    """The other answers as a list; line k lights up the parts of the passage with class sk (`STYLE`)."""
    if not candidates:
        return ""
    rows = ""
    for k, candidate in enumerate(candidates, 1):
        share = f'<span class="share">{candidate["probability"]:.1%}</span>'
        rows += f'<li class="k{k}" tabindex="0">{share} {plain(candidate["text"])}</li>'
    return f'<p class="hint">{plain(words.others)}</p><ol class="others">{rows}</ol>'


def passage_html(answer: Mapping[str, Any], around: tuple[str, str], words: Words) -> str:
    """One answer of a corpus: its score in brackets, its source, and its passage with the answer marked.

    Args:
        answer: its text, score and source.
        around: the passage before and behind the answer, with "…" where it is cut out of a sentence.
    """
    before, after = map(plain, around)
    marked = plain(answer["answer"])
    return (
        f'<div class="prediction"><p class="answer"><strong>{plain(answer["answer"])}</strong> '
        f'<span class="share">({answer["score"]:.2f})</span></p>'
        f'<p class="hint">{plain(words.source.format(source=answer["source"]))}</p>'
        f'<p class="passage">{before}<mark>{marked}</mark>{after}</p></div>'
    )


def _passage(context: str, result: AnswerResult, others: Sequence[Mapping[str, Any]]) -> str:
    """The context in parts, so that no candidate begins or ends within a part; number 0 is the answer."""
    spans = [(result.start, result.end)]
    hints = [""]
    for candidate in others:
        spans.append((candidate["start"], candidate["end"]))
        hints.append(f"{candidate['probability']:.1%} {candidate['text']}")
    edges = sorted({0, len(context), *chain.from_iterable(spans)})
    parts = []
    for start, end in pairwise(edges):
        covering = [k for k, span in enumerate(spans) if span[0] <= start and end <= span[1]]
        parts.append(_part(context[start:end], covering, hints))
    return "".join(parts)


def _part(text: str, covering: Sequence[int], hints: Sequence[str]) -> str:
    """A part of the context, marked for the candidates that cover it."""
    html_text = plain(text)
    others = [k for k in covering if k]
    if others:
        title = plain("\n".join(map(hints.__getitem__, others)))
        classes = " ".join(map("s{}".format, others))
        html_text = f'<span class="other {classes}" title="{title}">{html_text}</span>'
    if 0 in covering:
        return f"<mark>{html_text}</mark>"
    return html_text


def spans_html(result: TagResult, text: str, words: Words, glosses: Mapping[str, str]) -> str:
    """The text with its spans marked, each with its label in words behind it, and a table of the spans.

    The label stands beside every span, in brackets, so that nothing depends on colour.
    """
    if not result.spans:
        return (
            f'<div class="prediction"><p class="passage" role="status">{plain(text)}</p>{message(words.no_spans)}</div>'
        )
    marked = ""
    rows = ""
    end = 0
    for span in result.spans:
        label = plain(span.label)
        gloss = plain(glosses.get(span.label.lower(), ""))
        named = f"{label}, {gloss}" if gloss else label
        marked += plain(text[end : span.start])
        marked += f'<mark>{plain(span.text)} <small class="tag">[{label}]</small></mark>'
        rows += f'<li>{plain(span.text)} <span class="share">{named}, {span.probability:.1%}</span></li>'
        end = span.end
    marked += plain(text[end:])
    return f'<div class="prediction"><p class="passage" role="status">{marked}</p><ul class="spans">{rows}</ul></div>'


def label_html(result: LabelResult | LabelSetResult, glosses: Mapping[str, str]) -> str:
    """A bar for each label; those of predicted labels are dark.

    Args:
        glosses: label name → what it means.
    """
    rows = ""
    for name, share in result.probabilities.items():
        rows += _bar(name, glosses.get(name.lower(), ""), share, name in result.chosen)
    return f'<div class="bars" role="status">{rows}</div>'


def options_html(result: ChoiceResult) -> str:
    """A bar for each option, in their order."""
    rows = ""
    for number, (option, share) in enumerate(zip(result.options, result.probabilities, strict=True)):
        rows += _bar(option, "", share, number == result.choice)
    return f'<div class="bars" role="status">{rows}</div>'


def number_html(result: SimilarityResult) -> str:
    """A similarity as a number, and as a bar from 0 to 1."""
    return (
        '<div class="bars" role="status"><div class="bar best">'
        f'<span class="name"><strong>{result.similarity:.2f}</strong></span><span class="track">'
        f'<span class="fill" style="width:{100 * max(0.0, result.similarity):.1f}%"></span></span></div></div>'
    )


def _bar(name: str, gloss: str, share: float, best: bool) -> str:
    """One label's row: its name, a bar as wide as its probability, and the probability."""
    label = plain(name)
    if gloss:
        label = f"{plain(gloss)} <small>{label}</small>"
    return (
        f'<div class="bar{" best" if best else ""}"><span class="name">{label}</span>'
        f'<span class="track"><span class="fill" style="width:{100 * share:.1f}%"></span></span>'
        f'<span class="share">{share:.1%}</span></div>'
    )


def svg_html(svg: str) -> str:
    """A drawing in a box that scrolls, so that the page need not."""
    return f'<div class="drawing" tabindex="0">{svg.translate({ord("$"): "&#36;", ord("`"): "&#96;"})}</div>'


STYLE = """
.gradio-container { width: 100% !important; max-width: 62rem !important; margin: 0 auto !important }
.gradio-container main { width: 100% }
.prediction .passage { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.8 }
.prediction .answer { font-size: 1.15rem; overflow-wrap: anywhere }
.prediction mark { background: #ffe08a; color: #1a1a1a; border-radius: 3px; padding: .1em 0 }
.prediction mark .tag { font-weight: 600 } .prediction ul.spans { padding-left: 1.2rem }
.prediction ol.others { margin: 0; padding: 0; list-style: none }
.prediction ol.others li { padding: .35rem .5rem; border-radius: 4px; cursor: default; overflow-wrap: anywhere }
.prediction ol.others li:hover, .prediction ol.others li:focus { background: #8882; outline: 2px solid #1f6feb }
.prediction .other:hover { outline: 2px solid #1f6feb }
.share { font-variant-numeric: tabular-nums; opacity: .8 } .hint { opacity: .8; margin: .8rem 0 .2rem }
.bar { display: grid; grid-template-columns: minmax(7rem, 14rem) 1fr 4rem; gap: .6rem }
.bar { align-items: center; margin: .4rem 0 }
.bar .track { background: #8883; border-radius: 4px; height: 1.1rem } .bar .share { text-align: right }
.bar .fill { display: block; background: #6b8fd6; border-radius: 4px; height: 100% }
.bar.best .fill { background: #1f4e9c } .bar.best .name { font-weight: 600 }
.drawing { overflow-x: auto; background: #fff; border-radius: 6px; padding: .5rem; margin: .5rem 0 }
.drawing svg { max-width: none; height: auto } .message { padding: .4rem 0 }
.report { --paper: var(--background-fill-primary, #fff) }
.report table, .report tr, .report th, .report td { border: 0 !important }
.report td { border-bottom: 1px solid #8884 !important } .report thead th { border-bottom: 2px solid #888 !important }
.report th:first-child, .report td:first-child { border-right: 1px solid #8884 !important }
.plans { display: grid; gap: 1rem } .plans section { min-width: 0 }
@media (min-width: 60rem) { .plans.sides-2 { grid-template-columns: 1fr 1fr } .plans.sides-2 svg { zoom: .75 } }
@media (max-width: 40rem) { .plans svg { zoom: .75 } }
.runs .report td.words, .runs .report th { min-width: 0 }
@media (max-width: 40rem) {
  .runs table { font-size: .85em } .runs .report th, .runs .report td { padding: .3rem .25rem }
  .runs .report th:first-child, .runs .report td:first-child { min-width: 5rem }
}
.plan .warning { border-left: 4px solid #d97706; padding-left: .6rem } .plan p { overflow-wrap: anywhere }
pre.log { overflow: auto; max-height: 20rem; font-size: .85rem; white-space: pre-wrap; overflow-wrap: anywhere }
summary { cursor: pointer; padding: .4rem 0 }
a.download { display: inline-block; padding: .5rem 1rem; border: 1px solid currentColor; border-radius: 6px }
button:focus-visible, [role=tab]:focus-visible { outline: 3px solid #1f6feb !important; outline-offset: 2px }
summary:focus-visible, a:focus-visible { outline: 3px solid #1f6feb !important; outline-offset: 2px }
@media (max-width: 40rem) { .bar { grid-template-columns: 1fr 3.5rem } .bar .track { grid-column: 1 / -1; order: 3 } }
"""
STYLE += TABLE_STYLE + "".join(
    f".prediction:has(.k{k}:hover) .s{k}, .prediction:has(.k{k}:focus) .s{k} "
    "{ background: #9ecbff; color: #1a1a1a }\n"
    for k in range(1, 21)
)
