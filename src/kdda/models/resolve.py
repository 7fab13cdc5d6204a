"""Where the name of a model points to, and a one-line message where it cannot be opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kdda.errors import KddaError, unknown_choice
from kdda.models.mini.english import english_folder
from kdda.models.mini.multilingual import multilingual
from kdda.models.mini.weights import MiniWeights
from kdda.models.mini.word_level import indonesian, vietnamese
from kdda.models.no_model import refuse_missing_path
from kdda.runtime.folders import what_is_near
from kdda.runtime.network import hub_is_reachable

Opened = TypeVar("Opened")

# Mini models that are built in memory; mini/english is an ordinary folder inside its package.
BUILT_IN_MEMORY: dict[str, Callable[[], MiniWeights]] = {
    "mini/multilingual": multilingual,
    "mini/vietnamese": vietnamese,
    "mini/indonesian": indonesian,
}

MINI = ("mini/multilingual", "mini/english", "mini/vietnamese", "mini/indonesian")


def resolve(name: str) -> str | None:
    """What transformers can open: a folder or a Hub id; `None` for mini models that are built in memory.

    Raises:
        KddaError: no such mini model or folder, or a file or folder that is no model.
    """
    if name in BUILT_IN_MEMORY:
        return None
    if name == "mini/english":
        return str(english_folder())
    if name.startswith("mini/"):
        raise KddaError(unknown_choice("mini model", name, MINI))
    refuse_missing_path(name)
    if Path(name).is_dir():
        return name
    hub_is_reachable()  # where it is not, the Hub's libraries are told to read their local cache alone, without waiting
    return name


def open_or_explain(open_part: Callable[[], Opened], name: str) -> Opened:
    """Call one of transformers' openers; a failure becomes a message about the model of this name.

    Raises:
        KddaError: the checkpoint cannot be read.
    """
    try:
        return open_part()
    except KddaError:
        raise
    except Exception as error:  # safetensors, json, OSError, ValueError: all mean that the checkpoint cannot be read
        raise KddaError(_explanation(name, error)) from error


def _explanation(name: str, error: Exception) -> str:
    """The message for a checkpoint that could not be opened: a folder, or a Hub id."""
    reason = _reason(error)
    if Path(name).is_dir():
        pickled = sorted(Path(name).glob("*.bin"))
        advice = f"; kdda convert {name} OUT writes {pickled[0].name} as safetensors" if pickled else ""
        return f'"{name}" is damaged or not a checkpoint ({type(error).__name__}: {reason}){advice}'
    return (
        f'"{name}" is neither a local folder, nor a mini model ({", ".join(MINI)}), nor could it be read from the '
        f"Hub with safetensors weights: {reason}; with a network connection, `hf download {name}` stores it for later"
        f"{what_is_near(Path(name))}"
    )


def _reason(error: Exception) -> str:
    """The reason in an error of transformers, in one line of at most 300 characters."""
    reason = " ".join(str(error).split())[:300]
    if reason.startswith("We couldn't connect"):
        return "the Hub cannot be reached, and its local cache lacks this model"
    if "sentencepiece" in reason or "tiktoken" in reason:
        return f'its tokenizer is a SentencePiece file: pip install "kdda[sentencepiece]" ({reason[:80]})'
    return reason
