"""The task `tag`: labels of spans of a text (named entities, rude words): by words, windows, scores, route /tag."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int, Int16, Int64
from numpy import ndarray
from pydantic import Field
from torch import Tensor

from kdda.data.examples import Example, LabelledSpan, RowConverter, Schema, TaggedExample
from kdda.data.sources import Row
from kdda.data.tag_schemes import (
    BARE,
    OUTSIDE,
    SCHEMES,
    BadTagError,
    Run,
    bio_tags,
    guess_scheme,
    labels_of,
    output_names,
    parse_tags,
    runs,
)
from kdda.data.tagged_rows import TagFormat, row_labels, tagged_converter, untagged_converter
from kdda.errors import KddaError, unknown_choice
from kdda.metrics.entities import SpanCounts, f1_standard_error, total
from kdda.runtime.numbers import count_of
from kdda.tasks.base import DIGITS, PageWords, Prediction, Result, Task
from kdda.tasks.features import Features, TextSpan, spans_of_windows
from kdda.tasks.places import LogitPlaces
from kdda.tasks.windows import Windows, in_chunks
from kdda.tasks.word_units import WordUnits
from kdda.text.encode import TEXT_COUNTS, Encoder, Window

IGNORED = -100  # the target of a token that the loss leaves out, as torch's cross-entropy has it

UNDERSCORES = ("keep", "spaces")

WHOLE_TEXT = 2**30  # tokens of context on the side of a window where the text itself ends

NO_SPANS = "(no spans)"

CUT = "gold spans that the tokens cannot give exactly"  # counted while texts are encoded


@dataclass(frozen=True)
class TagPrediction(Prediction):
    """The predicted spans, the golds, and their counts.

    Attributes:
        golds, predicted: dicts of text, start, end and label; predicted ones with their probability.
        f1: of the row's spans, from 0 to 1; 1 where there are neither golds nor predicted ones.
        spans: predicted ones and golds, which is what the row's F1 counts in that of all rows.
        oracle_f1, oracle_spans: the same of the spans that the golds become by way of the model's tokens.
    """

    golds: list[dict[str, Any]]
    predicted: list[dict[str, Any]]
    f1: float
    spans: int
    oracle_f1: float
    oracle_spans: int


@dataclass(frozen=True)
class TaggedSpan:
    """A span of the text, which is `text[start:end]`."""

    text: str
    start: int
    end: int
    label: str
    probability: Annotated[float, Field(description="The mean over its words of the probability of their tags.")]


@dataclass(frozen=True)
class TagResult(Result):
    """The labelled spans of a text, in their order, without overlap."""

    spans: list[TaggedSpan]

    @property
    def decision(self) -> list[tuple[int, int, str]]:
        """Places and labels: what two models must agree on."""
        places = []
        for span in self.spans:
            places.append((span.start, span.end, span.label))
        return places

    def __str__(self) -> str:
        """One line a span, as `kdda predict` prints it."""
        lines = []
        for span in self.spans:
            lines.append(f"{span.probability:7.1%}  {span.label}  {span.text}  ({span.start} to {span.end})")
        return "\n".join(lines) or NO_SPANS


class TokenTags(NamedTuple):
    """The likeliest tag of each token of a window's text, as its number among the labels, and its probability."""

    tags: Int16[ndarray, " tokens"]
    probabilities: Float32[ndarray, " tokens"]


class TokenTargets:
    """The gold tags of all windows' tokens, one after the other: 2 bytes a token."""

    def __init__(self, windows: Iterator[Int16[ndarray, " tokens"]]):
        """Keep the tags of each window's tokens, special tokens included."""
        tags, ends = array("h"), array("q")  # which grow in place: a list of arrays would take many times their bytes
        for window in windows:
            tags.frombytes(window.tobytes())
            ends.append(len(tags))
        self.tags = np.frombuffer(tags, np.int16)
        self.ends = np.frombuffer(ends, np.int64)

    def of(self, window: int) -> Int16[ndarray, " tokens"]:
        """The tags of one window's tokens."""
        start = self.ends[window - 1] if window else 0
        return self.tags[start : self.ends[window]]


@dataclass(frozen=True)
class Tagging(Task):
    """Labels of spans of one text. A head gives every token a tag in BIO, whatever scheme the rows have.

    Args:
        scheme: of the rows' tags, a key of `SCHEMES`; None for what each row's tags look like.
        label: of spans and tags that name none, such as positions of characters.
        underscores: "keep", or "spaces" where words are segmented Vietnamese (``Hà_Nội``).
    """

    fields: tuple[str, ...] = ("text",)
    _: KW_ONLY
    scheme: str | None = None
    label: str = BARE
    underscores: str = "keep"
    metric: str = "f1"
    scores: tuple[str, ...] = ("precision", "recall", "f1")
    methods: tuple[str, ...] = ("tag",)
    route: str = "/tag"
    summary: str = "Label spans of a text: their characters, labels and probabilities"

    head: ClassVar[str] = "token-classification"
    gold_fields: ClassVar[tuple[str, ...] | None] = ("tokens", "tags", "spans")
    labelled: ClassVar[bool] = True
    states_read: ClassVar[Literal["all tokens"]] = "all tokens"
    logits_of: ClassVar[Literal["token"]] = "token"
    compares_token_logits: ClassVar[bool] = True
    response_type: ClassVar[type] = TagResult
    result_key: ClassVar[str] = "spans"
    pipeline_tag: ClassVar[str] = "token-classification"
    row_score: ClassVar[Literal["f1"]] = "f1"
    row_weight: ClassVar[str] = "spans"
    page_view: ClassVar[Literal["spans"]] = "spans"
    purpose: ClassVar[str] = "labels spans of texts"
    distillation: ClassVar[Mapping[str, Any]] = {"objective": "kd-logits", "lambda": 1.0}  # best in tagging
    option_names: ClassVar[tuple[str, ...]] = ("scheme", "label", "underscores")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.fields) != 1:
            raise KddaError(f'task "{self.name}": got {count_of(len(self.fields), "field")}, expected one text')

    # -- options and labels

    def check_option(self, name: str, value: Any) -> Any:
        """The value of an option.

        Raises:
            KddaError: a value that the option cannot have.
        """
        field = f"task_options.{name}"
        if name == "scheme" and value is not None and value not in SCHEMES:
            raise KddaError(unknown_choice(field, str(value), SCHEMES))
        if name == "underscores" and value not in UNDERSCORES:
            raise KddaError(unknown_choice(field, str(value), UNDERSCORES))
        if name == "label" and (not isinstance(value, str) or value.strip() in ("", OUTSIDE)):
            raise KddaError(f"{field}: got {value!r}, expected the name of a label")
        return value

    @property
    def form(self) -> TagFormat:
        """How rows are read."""
        return TagFormat(self.scheme, self.label, self.underscores)

    def row_labels(self, row: Row, schema: Schema) -> list[str]:
        """The labels of a row's spans, and `OUTSIDE`, which a head has too.

        Raises:
            BadRowError: a row that cannot be read.
        """
        return [OUTSIDE, *row_labels(row, schema, self.form)]

    def head_labels(self, labels: Sequence[str]) -> list[str]:
        """The tags of labels, ``O`` first; tags among them count for their labels."""
        return output_names(labels)

    def ordered_labels(self, labels: Sequence[str]) -> list[str]:
        """The tags of labels in the order of a head's outputs: ``O``, then two a label, by the alphabet."""
        return output_names(sorted(labels_of(labels)))

    def check_outputs(self, config: Any, name: str) -> None:
        """Refuse a head whose labels are no tags."""
        names = [str(label) for label in config.id2label.values()]
        try:
            parse_tags(names)
        except BadTagError:
            names = []
        if OUTSIDE not in names or len(names) < 2:
            labels = ", ".join(map(str, config.id2label.values()))
            raise KddaError(
                f'"{name}": the labels of its head ({labels}) are no tags, expected O, B-LABEL, I-LABEL, …: write '
                "id2label into its config.json, in the order of its outputs"
            )

    # -- from rows to predictions

    def convert(self, schema: Schema) -> RowConverter:
        """The function that makes a `TaggedExample` of a row."""
        return tagged_converter(schema, self.form)

    def convert_unlabelled(self, schema: Schema) -> RowConverter:
        """The same of a row without spans or tags: its text, or the text that its words make."""
        return untagged_converter(schema, self.form)

    def encode(self, examples: Sequence[Example], encoder: Encoder) -> Features:
        """Texts with as many windows as they take; counts gold spans that the tokens cannot give."""

        def read(chunk: Sequence[Example]) -> Iterator[list[Window]]:
            """The windows of each example of a chunk."""
            encoder.tokenize([example.texts[0] for example in chunk])  # all at once: fast tokenizers use every core
            for example in chunk:
                windows = encoder.windows(example.texts, count_as=TEXT_COUNTS)
                golds = _golds(example)
                if golds:
                    possible = set(_oracle(WordUnits(windows[0].parts[0]), golds))
                    encoder.counts[CUT] += len(set(golds) - possible)
                yield windows

        return Features(examples, Windows(in_chunks(examples, read)))

    def text_spans(self, features: Features) -> Sequence[TextSpan]:
        """The text of each window, and the characters of it that the window holds."""
        return spans_of_windows(features)

    def targets(self, features: Features, labels: Sequence[str]) -> dict[str, TokenTargets]:
        """The number of the gold tag of each word's first token; `IGNORED` for all other tokens."""
        return {"labels": TokenTargets(_gold_tags(features, _places(labels)))}

    def batch_targets(
        self, targets: Mapping[str, Any], windows: Sequence[int], tokens: int
    ) -> dict[str, Int[Tensor, "windows tokens"]]:
        """The tags of some windows' tokens, `IGNORED` at padding; arguments as in `Task.batch_targets`."""
        tags = np.full((len(windows), tokens), IGNORED, np.int64)
        for row, window in enumerate(windows):
            known = targets["labels"].of(window)
            tags[row, : len(known)] = known
        return {"labels": torch.from_numpy(tags)}

    def count_targets(self, targets: Mapping[str, Any], items: Sequence[int]) -> int:
        """How many words of some windows have a gold tag, over which the loss is the mean."""
        count = 0
        for window in items:
            count += int((targets["labels"].of(window) != IGNORED).sum())
        return count

    # -- logits that are compared with a teacher's

    def logit_places(self, window: Window) -> LogitPlaces:
        """The first token of each word that begins in the window, where it is trained and decoded; the word's span."""
        units = WordUnits(window.parts[0])
        start, stop = window.ranges[0]
        here = (units.tokens >= start) & (units.tokens < stop)
        characters = np.stack([units.starts, units.ends], axis=1)
        return LogitPlaces(units.tokens[here] - start + window.context_start, characters[here])

    def labels_inside(self, labels: Sequence[str]) -> tuple[int, ...]:
        """For each tag that of a later word of its span: of ``B-PER`` that of ``I-PER``; itself for the others."""
        places = _places(labels)
        inside = []
        for tag, place in places.items():
            prefix, _, label = tag.partition("-")
            later = f"I-{label}" if prefix == "B" else tag
            inside.append(places.get(later, place))
        return tuple(inside)

    def candidates(self, outputs: Any, windows: Sequence[Window]) -> list[TokenTags]:
        """The likeliest tag of each token of a window's text, with its probability."""
        probabilities, tags = outputs.logits.float().softmax(dim=-1).max(dim=-1)
        shares = probabilities.cpu().numpy()
        numbers = tags.cpu().numpy().astype(np.int16)
        chosen = []
        for row, window in enumerate(windows):
            text = slice(window.context_start, window.context_start + window.context_length)
            chosen.append(TokenTags(numbers[row, text].copy(), shares[row, text].copy()))
        return chosen

    def decode(
        self, features: Features, candidates: Sequence[TokenTags], labels: Sequence[str], language: str
    ) -> list[TagPrediction]:
        """The spans of each example, over all its windows, beside its golds."""
        remaining = iter(candidates)
        predictions = []
        for example, windows in zip(features.examples, features.windows.by_row, strict=True):
            tags = _joined(windows, list(islice(remaining, len(windows))))
            predictions.append(_prediction(example, windows[0], tags, labels))
        return predictions

    # -- scores and results

    def score(self, predictions: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
        """Precision, recall and F1 of all spans and of each label's, what the tokens allow, and F1's standard error."""
        rows = list(map(_checked, predictions))
        counts = [_counts(row) for row in rows]
        whole = total(counts)
        scores: dict[str, Any] = {
            "rows": len(rows),
            "precision": whole.precision,
            "recall": whole.recall,
            "f1": whole.f1,
            "oracle_f1": _oracle_f1(rows),
            "spans": whole.gold,
            "standard_error": f1_standard_error(counts),
        }
        by_label: dict[str, dict[str, float]] = {"per_label": {}, "per_label_precision": {}, "per_label_recall": {}}
        for label in labels_of(labels):
            of_label = total(_counts(row, label) for row in rows)
            by_label["per_label"][label] = of_label.f1
            by_label["per_label_precision"][label] = of_label.precision
            by_label["per_label_recall"][label] = of_label.recall
        return scores | by_label

    def eval_prediction(
        self, predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> tuple[list[list[str]], list[list[str]]]:
        """Predicted and gold BIO tags, one a character of a row up to its last span, as `seqeval` takes lists of tags.

        Its entities are then the spans, whatever the tokens are.
        """
        predicted = []
        golds = []
        for row in map(_checked, predictions):
            length = max([0, *(span["end"] for span in (*row.golds, *row.predicted))])
            predicted.append(bio_tags(length, list(map(_as_run, row.predicted))))
            golds.append(bio_tags(length, list(map(_as_run, row.golds))))
        return predicted, golds

    def result(self, prediction: Prediction, best: int = 5) -> TagResult:
        """The spans, without golds."""
        return TagResult([TaggedSpan(**span) for span in _checked(prediction).predicted])


def _checked(prediction: Prediction) -> TagPrediction:
    """The same prediction, known to the type checker as one of this task."""
    assert isinstance(prediction, TagPrediction)
    return prediction


def _golds(example: Example) -> tuple[LabelledSpan, ...]:
    """The gold spans of an example; none of one that is only to be labelled."""
    return example.spans if isinstance(example, TaggedExample) else ()


def _places(labels: Sequence[str]) -> dict[str, int]:
    """Tag → its number among the outputs of the head."""
    places = {}
    for place, tag in enumerate(labels):
        places[tag] = place
    return places


def _oracle(units: WordUnits, golds: Sequence[LabelledSpan]) -> list[LabelledSpan]:
    """The spans that gold ones become by way of the words of a model's tokens: the best that it can give."""
    return units.spans(units.runs(golds))


def _gold_tags(features: Features, places: Mapping[str, int]) -> Iterator[Int16[ndarray, " tokens"]]:
    """The targets of each window's tokens.

    A window in which no word begins would have no target, and its loss would be no number: its first token, a special
    one or not, is then to be `OUTSIDE`.
    """
    for example, windows in zip(features.examples, features.windows.by_row, strict=True):
        units = WordUnits(windows[0].parts[0])
        tags = np.full(len(windows[0].parts[0]), IGNORED, np.int16)
        numbers = [places[tag] for tag in bio_tags(len(units), units.runs(_golds(example)))]
        tags[units.tokens] = numbers
        for window in windows:
            start, stop = window.ranges[0]
            targets = np.full(len(window), IGNORED, np.int16)
            targets[window.context_start : window.context_start + stop - start] = tags[start:stop]
            if (targets == IGNORED).all():
                targets[0] = places[OUTSIDE]
            yield targets


def _joined(windows: Sequence[Window], candidates: Sequence[TokenTags]) -> TokenTags:
    """The tags of all tokens of a text, each by the window where it has most context: on its shorter side.

    A side where the text itself ends counts as long. Of windows alike the first decides.
    """
    count = len(windows[0].parts[0])
    tags = np.zeros(count, np.int16)
    probabilities = np.zeros(count, np.float32)
    most = np.full(count, -1, np.int64)
    for window, candidate in zip(windows, candidates, strict=True):
        start, stop = window.ranges[0]
        context = _context(start, stop, count)
        better = context > most[start:stop]
        most[start:stop][better] = context[better]
        tags[start:stop][better] = candidate.tags[better]
        probabilities[start:stop][better] = candidate.probabilities[better]
    return TokenTags(tags, probabilities)


def _context(start: int, stop: int, count: int) -> Int64[ndarray, " tokens"]:
    """Tokens on the shorter side of each token of a window.

    Args:
        start, stop: the window's tokens of the text.
        count: all tokens of the text.
    """
    places = np.arange(stop - start)
    before = places + WHOLE_TEXT * (start == 0)
    after = places[::-1] + WHOLE_TEXT * (stop == count)
    return np.minimum(before, after)


def _prediction(example: Example, window: Window, tokens: TokenTags, labels: Sequence[str]) -> TagPrediction:
    """The prediction for one example.

    Args:
        window: one of the example's, all of which share its tokens.
        tokens: the tags of all of these.
    """
    units = WordUnits(window.parts[0])
    numbers = tokens.tags[units.tokens].tolist()
    shares = tokens.probabilities[units.tokens]
    tagged_runs = runs(parse_tags([labels[number] for number in numbers], guess_scheme(labels)))
    spans = units.spans(tagged_runs)
    predicted = []
    for run, span in zip(tagged_runs, spans, strict=True):
        probability = round(float(shares[run.first : run.stop].mean()), DIGITS)
        predicted.append({**_as_dict(span, units.text), "probability": probability})
    golds = _golds(example)
    counts, oracle = SpanCounts.of(spans, golds), SpanCounts.of(_oracle(units, golds), golds)
    return TagPrediction(
        id=example.id,
        group=example.group,
        golds=[_as_dict(gold, units.text) for gold in golds],
        predicted=predicted,
        f1=_row_f1(counts),
        spans=counts.weight,
        oracle_f1=_row_f1(oracle),
        oracle_spans=oracle.weight,
    )


def _as_dict(span: LabelledSpan, text: str) -> dict[str, Any]:
    """A span with its characters."""
    return {"text": text[span.start : span.end], **span._asdict()}


def _as_run(span: Mapping[str, Any]) -> Run:
    """A span's characters as a run."""
    return Run(span["start"], span["end"], span["label"])


def _row_f1(counts: SpanCounts) -> float:
    """A row's F1, from 0 to 1; 1 where neither gold nor predicted spans are."""
    return counts.f1 / 100 if counts.weight else 1.0


def _counts(row: TagPrediction, label: str | None = None) -> SpanCounts:
    """A row's counts, of all labels or of one."""
    sides = []
    for spans in (row.predicted, row.golds):
        sides.append([_as_run(span) for span in spans if label in (None, span["label"])])
    return SpanCounts.of(*sides)


def _oracle_f1(rows: Sequence[TagPrediction]) -> float:
    """The F1 that the tokens allow at best, in per cent; 0 without any gold span."""
    shares = 0.0
    weights = 0
    for row in rows:
        shares += row.oracle_f1 * row.oracle_spans
        weights += row.oracle_spans
    return 100 * shares / weights if weights else 0.0


TAG = Tagging(
    "tag",
    samples=("Bà Trần Thị Hoa dạy học ở Cần Thơ từ năm 2015.",),
    export_rows=("entities/vi/test", "entities/en/dev"),
    page_words={
        "vi": PageWords(
            tab="Gắn nhãn",
            button="Gắn nhãn",
            fields={"text": "Văn bản"},
            labels={"per": "người", "loc": "địa điểm", "org": "tổ chức", "date": "ngày tháng"},
        ),
        "en": PageWords(tab="Tag", button="Tag the text", fields={"text": "Text"}),
    },
)
