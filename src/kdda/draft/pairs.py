"""Files of two texts a row: inference (`recognise_inference`) and similarity (`recognise_similarity`)."""

from __future__ import annotations

from collections.abc import Mapping

from kdda.draft.columns import Recognised, label_column, pair_columns
from kdda.draft.names import INFERENCE_LABELS, NO_LABEL, SCORES
from kdda.draft.tables import FileTable


def recognise_inference(table: FileTable) -> Recognised | None:
    """Natural language inference: two texts, and labels that say entailment, neutral, contradiction."""
    pair = pair_columns(table)
    label = label_column(table)
    if pair is None or not label:
        return None
    label_map, numbers = _inference_labels(table.values[label])
    known = {name for name in label_map.values() if name}
    called_so = any(name in table.by_lower_name for name in ("hypothesis", "hypo"))
    if len(known) < 2 and not (called_so and numbers):
        return None
    columns = {"premise": pair[0], "hypothesis": pair[1], "label": label}
    values = ", ".join(f'"{value}"' for value in table.values[label])
    reasons = (f"{pair[0]} and {pair[1]} are two texts", f"{label} has {values}")
    return Recognised("nli", columns, label_map, numbers=numbers, reasons=reasons)


def _inference_labels(counts: Mapping[str, int]) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """What each value of a label is, in the order of the values, and the values that are numbers."""
    label_map: dict[str, str | None] = {}
    numbers = []
    for value in sorted(counts):
        if value.lower() in INFERENCE_LABELS:
            label_map[value] = INFERENCE_LABELS[value.lower()]
        elif value.lower() in NO_LABEL:
            label_map[value] = None
        elif value.isdigit():
            numbers.append(value)
    return label_map, tuple(numbers)


def recognise_similarity(table: FileTable) -> Recognised | None:
    """Two texts, and a number that says how alike they are."""
    pair, score = pair_columns(table), table.first_of(SCORES)
    if pair is None or not score:
        return None
    numbers = table.numbers(score)
    is_scale = any(not number.is_integer() for number in numbers) or len(set(numbers)) > 5
    if not numbers or not (is_scale or "scor" in score.lower() or "simil" in score.lower()):
        return None
    top = max(numbers)
    highest = next((limit for limit in (1, 5, 10, 100) if top <= limit), top)
    lowest = min(0, *numbers)
    columns = {"sentence1": pair[0], "sentence2": pair[1], "score": score}
    options = {"range": [lowest, highest]}
    reasons = (f"{pair[0]} and {pair[1]} are two texts", f"{score} has numbers up to {top:g}")
    return Recognised("similarity", columns, task_options=options, reasons=reasons)
