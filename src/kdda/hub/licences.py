"""Licences of models: a table by name, else a local card's; the words of a card's warning about one (AGPL, NC)."""

from __future__ import annotations

import re
from pathlib import Path

UNKNOWN = "unknown"  # stands for a licence that nobody has stated

# Of the models of the built-in recipes; a Hub model's card is not downloaded for its licence alone.
LICENCES = {
    "mini/multilingual": "mit",
    "mini/english": "apache-2.0",
    "mini/vietnamese": "mit",
    "mini/indonesian": "mit",
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
    """A model's licence: from `LICENCES`, or from the metadata of a local model card, else ``unknown``.

    Args:
        name: a mini model, a folder or a Hub id.
    """
    if name in LICENCES:
        return LICENCES[name]
    card = Path(name) / "README.md"
    if not card.is_file():
        return UNKNOWN
    from huggingface_hub import ModelCard

    return str(ModelCard.load(card).data.get("license") or UNKNOWN)  # the card's YAML head


def warning_of(licence: str) -> str:
    """What a licence requires of whoever redistributes a model that was made with one under it; "" if that is little.

    >>> warning_of("agpl-3.0")
    'licence agpl-3.0: whoever serves a model made of it must offer its source under the same licence'
    >>> warning_of("mit")
    ''
    """
    lower = licence.lower()
    if "agpl" in lower:
        return f"licence {licence}: whoever serves a model made of it must offer its source under the same licence"
    if re.search(r"\bnc\b|non-?commercial|research", lower):
        return f"licence {licence}: a model made of it is not for commercial use"
    if lower == UNKNOWN:
        return "its licence is not known; ask its makers before you redistribute a model made of it"
    return ""
