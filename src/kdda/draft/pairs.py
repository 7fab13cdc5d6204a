"""Files of two texts a row: inference (`recognise_inference`) and similarity (`recognise_similarity`)."""

from __future__ import annotations

from dataclasses import dataclass

from kdda.draft.columns import Recognised, label_column, pair_columns, text_columns
from kdda.draft.names import HYPOTHESES, NO_LABEL, SCORES, inference_label, is_called
from kdda.draft.tables import FileTable
from kdda.tasks.nli import NLI

MOST_INFERENCE_LABELS = 4  # values of a column that may be inference's three labels, and one that says none


@dataclass(frozen=True)
class InferenceLabels:
    """What the values of a column are as labels of inference.

    Attributes:
        label_map: value → the label, or None of values that say none.
        unknown: the other values, which may be labels under names or numbers that nothing tells.
    """

    label_map: dict[str, str | None]
    unknown: tuple[str, ...]

    @property
    def known(self) -> set[str]:
        """The labels of inference that values are known to be."""
        return {label for label in self.label_map.values() if label}


def recognise_inference(table: FileTable) -> Recognised | None:
    """Natural language inference: two texts, and labels that say entailment, neutral, contradiction.

    Labels whose meaning nothing tells are those of inference where the user names the task, or a column the hypothesis.
    """
    label = label_column(table)
    if not label:
        return None
    labels = _inference_labels(table, label)
    pair = _inference_pair(table, labels)
    if pair is None or not (len(labels.known) >= 2 or _may_be_inference(table, pair, labels)):
        return None
    unknown = labels.unknown
    if len(labels.known) >= 2:  # beside labels with names a number may be one, and another name is a slip of one row
        unknown = tuple(filter(str.isdigit, unknown))
    columns = {"premise": pair[0], "hypothesis": pair[1], "label": label}
    values = ", ".join(f'"{value}"' for value in table.values[label])
    reasons = (f"{pair[0]} and {pair[1]} are two texts", f"{label} has {values}")
    return Recognised("nli", columns, labels.label_map, unknown=unknown, reasons=reasons)


def _inference_pair(table: FileTable, labels: InferenceLabels) -> tuple[str, str] | None:
    """The premise and the hypothesis: by their names; beside inference's labels also the only two columns of texts."""
    pair = pair_columns(table)
    if pair is None and (len(labels.known) >= 2 or table.wishes.task == "nli"):
        texts = text_columns(table)
        if len(texts) == 2:
            return texts[0], texts[1]
    return pair


def _may_be_inference(table: FileTable, pair: tuple[str, str], labels: InferenceLabels) -> bool:
    """Whether labels that nothing tells are to be asked for, since the file or the user speaks of inference."""
    if table.wishes.task == "nli":
        return 0 < len(labels.unknown) <= MOST_INFERENCE_LABELS
    if not is_called(pair[1], HYPOTHESES):
        return False
    are_numbers = any(map(str.isdigit, labels.unknown))
    return are_numbers or (not labels.known and len(labels.unknown) == len(NLI.labels))


def _inference_labels(table: FileTable, column: str) -> InferenceLabels:
    """What each value of a column is as a label of inference, by the user's word or by its usual names."""
    label_map: dict[str, str | None] = {}
    unknown = []
    for value in sorted(table.values[column]):
        meaning = table.wishes.meaning(value)
        if meaning is None or meaning in NLI.labels:
            label_map[value] = meaning
        elif inference_label(meaning):
            label_map[value] = inference_label(meaning)
        elif meaning.lower() in NO_LABEL:
            label_map[value] = None
        else:
            unknown.append(value)
    return InferenceLabels(label_map, tuple(unknown))


def why_not_inference(table: FileTable) -> str:
    """Why a file with two texts a row, or with inference's labels, is not for inference; empty of any other file."""
    label, pair = label_column(table), pair_columns(table)
    if not label:
        return ""
    labels = _inference_labels(table, label)
    if pair is None:
        texts = text_columns(table)
        if len(labels.known) < 2 or len(texts) < 2:
            return ""
        names = ", ".join(texts)
        return f"not nli, since nothing tells which of {names} are the two: --columns premise=…,hypothesis=… does"
    speaks_of_it = labels.known or is_called(pair[1], HYPOTHESES) or len(labels.unknown) == len(NLI.labels)
    if not speaks_of_it:
        return ""
    known = " and ".join(sorted(labels.known)) or "none"
    return (
        f"not nli, since of its labels (entailment, neutral, contradiction) {label} has {known}: if it is, "
        "--task nli, and --labels says what the values mean"
    )


def recognise_similarity(table: FileTable) -> Recognised | None:
    """Two texts, and a number that says how alike they are."""
    pair, score = pair_columns(table), table.first_of(SCORES)
    if pair is None or not score:
        return None
    numbers = table.numbers(score)
    is_scale = any(not number.is_integer() for number in numbers) or len(set(numbers)) > 5
    if not numbers or not (is_scale or not is_called(score, ("label", "labels"))):
        return None
    top = max(numbers)
    highest = next((limit for limit in (1, 5, 10, 100) if top <= limit), top)
    lowest = min(0, *numbers)
    columns = {"sentence1": pair[0], "sentence2": pair[1], "score": score}
    options = {"range": [lowest, highest]}
    reasons = (f"{pair[0]} and {pair[1]} are two texts", f"{score} has numbers up to {top:g}")
    return Recognised("similarity", columns, task_options=options, reasons=reasons)
