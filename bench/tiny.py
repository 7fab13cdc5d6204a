"""Tiny models, rows and recipes of the tests, for --quick and for measurements that rows or processes decide."""

import sys
from pathlib import Path

import torch
import yaml
from transformers import BertConfig, BertModel

sys.path.insert(0, str(Path(__file__).parents[1]))

_threads = torch.get_num_threads()

from tests.conftest import LABELS, Bench, make_model, make_tokenizer, write_rows  # noqa: E402
from tests.text.phobert import make_phobert_tokenizer  # noqa: E402

torch.set_num_threads(_threads)  # which the tests' set to 1 when they are imported

__all__ = [
    "LABELS", "Bench", "make_model", "make_phobert_tokenizer", "make_tokenizer", "tiny_models", "tiny_recipe",
    "write_rows",
]  # fmt: skip

CONFIG = BertConfig(
    vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
)  # of transformers' 512 positions, which example scripts pad to


def tiny_models(folder: Path) -> dict[str, str]:
    """Folders of random encoders of 16 dimensions: `student`, and teachers `vi` and `en`."""
    models = {}
    for seed, name in enumerate(("student", "vi", "en")):
        models[name] = str(folder / f"tiny-{name}")
        torch.manual_seed(seed)
        BertModel(CONFIG).save_pretrained(models[name])
        make_tokenizer().save_pretrained(models[name])
    return models


def tiny_recipe(task: str, folder: Path) -> str:
    """A recipe like mini-nli or mini-qa with tiny models on few of their rows; its path."""
    models = tiny_models(folder)
    student = models.pop("student")
    limits = {"train": 32, "dev": 8, "test": 8}
    values = {
        "extends": f"mini-{task}",
        "student": student,
        "teachers": {language: {"model": name} for language, name in models.items()},
        "data": {language: {"limit": limits} for language in models},
        "training": {"epochs": 1, "max_length": 60, "stride": 10, "batch_size": 8},
        "seeds": [1],
    }
    path = folder / f"tiny-{task}.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return str(path)
