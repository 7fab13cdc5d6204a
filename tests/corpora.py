"""Helpers for tests of the embedded corpora: rows of a split, the scene of a row, accuracy of shallow models."""

import json
from collections.abc import Sequence
from typing import Any

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from kdda.data.sources import EMBEDDED_CORPORA


def corpus_rows(corpus: str, language: str, *splits: str) -> list[dict[str, Any]]:
    """The rows of these splits of an embedded corpus in JSONL, in order."""
    found = []
    for split in splits:
        text = (EMBEDDED_CORPORA / corpus / language / f"{split}.jsonl").read_text(encoding="utf-8")
        for line in text.splitlines():
            found.append(json.loads(line))
    return found


def scene(row: dict[str, Any]) -> str:
    """The id without its last part: rows of a scene share words and belong to one split."""
    return str(row["id"].rsplit("-", 1)[0])


def bag_of_words() -> Any:
    """Logistic regression over the presence of single words."""
    return make_pipeline(CountVectorizer(token_pattern=r"\w+", binary=True), LogisticRegression(C=0.3, max_iter=2000))


def accuracy_by_scenes(model: Any, inputs: Any, rows: Sequence[dict[str, Any]]) -> float:
    """Percentage right in ten folds, no scene in two of them, since rows of a scene share words."""
    labels, groups = [row["label"] for row in rows], [scene(row) for row in rows]
    return 100 * float(cross_val_score(model, inputs, labels, groups=groups, cv=GroupKFold(10)).mean())
