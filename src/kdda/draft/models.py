"""Which student and teachers a draft names: mini models, or base ones of the Hub beside an accelerator and a network.

Training settings that go with each kind, and `max_length` by the tokens of the rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdda.errors import KddaError
from kdda.models.families import position_limit
from kdda.models.load import load_config, load_tokenizer
from kdda.models.mini.multilingual import multilingual
from kdda.models.resolve import resolve
from kdda.runtime.device import compute_device
from kdda.runtime.network import hub_is_reachable
from kdda.runtime.numbers import ceil_div

# Language → its teacher that comes with kdda's packages.
TEACHERS = {"vi": "mini/vietnamese", "en": "mini/english", "id": "mini/indonesian"}

STUDENT = "mini/multilingual"

# The same at base size, from the Hub: those of the paper.
HUB_TEACHERS = {"vi": "vinai/phobert-base", "en": "FacebookAI/roberta-base"}

HUB_STUDENT = "FacebookAI/xlm-roberta-base"

# Rows that a mini model's recipe draws, so that three arms end in minutes on two cores: reading's take longer.
MINI_LIMITS = {"train": 800, "dev": 200, "test": 1000}
MINI_READING_LIMITS = {"train": 500, "dev": 100, "test": 300}

ROUND_TO = 16  # tokens of `max_length`

SHORTEST, LONGEST = 32, 512

CHARACTERS_PER_TOKEN = 3.5  # of a tokenizer that is not here: a rough figure for Latin letters

SHARE_UNCUT = 0.98  # of the rows, which are to fit into a window


@dataclass(frozen=True)
class Models:
    """A draft's student and teachers.

    Attributes:
        teachers: language → the model's name.
        reason: why these.
    """

    student: str
    teachers: dict[str, str]
    reason: str

    @property
    def is_mini(self) -> bool:
        """Whether the student is a mini model, which needs other training settings than a base one."""
        return self.student.startswith("mini/")


def choose_models(languages: Sequence[str], student: str, teachers: dict[str, str]) -> Models:
    """The models of a draft.

    Args:
        languages: of its rows.
        student: that the user names; empty for a default.
        teachers: those that the user names, by language; others have a default where there is one.

    Raises:
        KddaError: a model that the user names is a file, or a folder without a model.
    """
    for name in (student, *teachers.values()):
        if name:
            resolve(name)
    defaults = TEACHERS
    reason = "it comes with pip and trains on a CPU"
    if student:
        reason = "named by --student"
        if not student.startswith("mini/"):  # of another width, perhaps
            defaults = {}
    elif _can_use_the_hub():
        student = HUB_STUDENT
        defaults = HUB_TEACHERS
        reason = "an accelerator and the Hub are there"
    else:
        student = STUDENT
    chosen = {}
    for language in languages:
        name = teachers.get(language, defaults.get(language, ""))
        if name:
            chosen[language] = name
    return Models(student, chosen, reason)


def _can_use_the_hub() -> bool:
    """Whether models of base size can be fetched and trained here."""
    if compute_device().type == "cpu" or os.environ.get("HF_HUB_OFFLINE"):
        return False
    return hub_is_reachable()


def needs_download(name: str) -> bool:
    """Whether a model is on the Hub, and its files are not in the local cache."""
    folder = resolve(name)
    if folder is None or folder != name or Path(folder).is_dir():
        return False
    from huggingface_hub import try_to_load_from_cache

    return not isinstance(try_to_load_from_cache(name, "config.json"), str)


def training_settings(models: Models, is_reading: bool) -> dict[str, Any]:
    """Fields of a recipe's `training` that suit the student, without `max_length`."""
    if not models.is_mini:
        return {"learning_rate": 2.0e-5, "epochs": 2, "batch_size": 32}
    if is_reading:
        settings = {"learning_rate": 1.0e-4, "epochs": 1, "batch_size": 4, "head": "standardized"}
        return {**settings, "attention_dropout": 0.0}
    return {"learning_rate": 1.0e-4, "epochs": 2, "batch_size": 8, "head": "standardized"}


def token_counts(student: str, texts: Iterable[Sequence[str]]) -> tuple[list[int], str]:
    """How many tokens of the student each row has, special tokens included, and how they were counted.

    Args:
        texts: of each row, in the order in which a model reads them.
    """
    try:
        if resolve(student) is None:
            tokenizer: Any = multilingual().tokenizer
        elif needs_download(student):
            raise KddaError(student)
        else:
            tokenizer, _ = load_tokenizer(student)
    except KddaError:
        counts = []
        for row in texts:
            counts.append(2 + int(sum(map(len, row)) / CHARACTERS_PER_TOKEN))
        return counts, "estimated from characters, since the student's tokenizer is not here"
    counts = []
    for row in texts:
        counts.append(1 + sum(len(tokenizer(text, verbose=False)["input_ids"]) - 1 for text in row))
    return counts, "counted with the student's tokenizer"


def longest_window(student: str) -> int:
    """The largest `max_length` that a draft gives a student: what its positions allow."""
    try:
        if needs_download(student):
            return LONGEST
        return max(min(LONGEST, position_limit(load_config(student))), SHORTEST // 4)
    except KddaError:
        return LONGEST


def window_for(counts: Sequence[int], longest: int) -> int:
    """A `max_length` into which nearly all rows fit.

    >>> window_for([10, 12, 30], 512), window_for([40] * 99 + [700], 512), window_for([900], 256)
    (32, 48, 256)
    """
    ordered = sorted(counts) or [SHORTEST]
    needed = ordered[min(int(len(ordered) * SHARE_UNCUT), len(ordered) - 1)]
    rounded = ceil_div(needed, ROUND_TO) * ROUND_TO
    return min(max(rounded, SHORTEST), longest)
