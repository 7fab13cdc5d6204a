"""Tiny models, rows and recipes of the tests, for --quick and for measurements that rows or processes decide."""

import sys
from pathlib import Path

import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

_threads = torch.get_num_threads()

from tests.conftest import LABELS, Bench, make_model, make_tokenizer, write_rows  # noqa: E402
from tests.text.phobert import make_phobert_tokenizer  # noqa: E402

torch.set_num_threads(_threads)  # which the tests' set to 1 when they are imported

__all__ = [
    "LABELS", "Bench", "make_model", "make_phobert_tokenizer", "make_tokenizer", "tiny_recipe", "write_rows",
]  # fmt: skip


def tiny_recipe(task: str, folder: Path) -> str:
    """A recipe like mini-nli or mini-qa with random models of 16 dimensions on few of their rows; its path."""
    names = {name: make_model(folder / f"tiny-{name}", seed=seed) for seed, name in enumerate(("student", "vi", "en"))}
    student = names.pop("student")
    limits = {"train": 32, "dev": 8, "test": 8}
    values = {
        "extends": f"mini-{task}",
        "student": student,
        "teachers": names,
        "data": {language: {"limit": limits} for language in names},
        "training": {"epochs": 1, "max_length": 60, "stride": 10, "batch_size": 8},
        "seeds": [1],
    }
    path = folder / f"tiny-{task}.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return str(path)
