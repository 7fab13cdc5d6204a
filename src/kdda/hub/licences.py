"""What models say of their licence, and what it asks of whoever passes on a model that is made of them."""

from __future__ import annotations

import re
from pathlib import Path

# What the models of the built-in recipes say of themselves; a Hub model's card is not fetched for its licence alone.
LICENCES = {
    "mini/multilingual": "mit",
    "mini/english": "apache-2.0",
    "mini/vietnamese": "mit",
    "FacebookAI/xlm-roberta-base": "mit",
    "FacebookAI/xlm-roberta-large": "mit",
    "FacebookAI/roberta-base": "mit",
    "FacebookAI/roberta-large": "mit",
    "vinai/phobert-base": "mit",
    "vinai/phobert-large": "mit",
    "vinai/phobert-base-v2": "agpl-3.0",
    "uitnlp/CafeBERT": "apache-2.0",
    "uitnlp/visobert": "for research only",
}


def licence(name: str) -> str:
    """The licence that a model names for itself: one that is known here, or the metadata of a local model card."""
    if name in LICENCES:
        return LICENCES[name]
    card = Path(name) / "README.md"
    if not card.is_file():
        return "unknown"
    from huggingface_hub import ModelCard

    return str(ModelCard.load(card).data.get("license") or "unknown")


def warning_of(licence: str) -> str:
    """What a licence asks of whoever passes a model on, where that is much; models inherit it from what they learnt of.

    >>> warning_of("agpl-3.0")
    'licence agpl-3.0: whoever serves a model made of it must offer its source under the same licence'
    >>> warning_of("mit")
    ''
    """
    said = licence.lower()
    if "agpl" in said:
        return f"licence {licence}: whoever serves a model made of it must offer its source under the same licence"
    if re.search(r"\bnc\b|non-?commercial|research", said):
        return f"licence {licence}: a model made of it is not for commercial use"
    return (
        "its licence is not known; ask its makers before you pass a model on that is made of it"
        if (said == "unknown")
        else ""
    )
