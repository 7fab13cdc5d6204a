"""Tiny checkpoints with heads, random but always the same, in the Hub's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    RobertaConfig,
    RobertaForQuestionAnswering,
    RobertaForSequenceClassification,
)

from tests.conftest import LABELS, make_tokenizer
from tests.text.phobert import make_phobert_tokenizer

NAMES = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SENTENCES = ["Hà_Nội là thủ_đô của Việt_Nam .", "Sông Hồng chảy qua Hà_Nội .", "Mưa lớn làm ngập đường ."]


def make_reader(folder: Path, sharp: float = 1.0, **config: Any) -> str:
    """A BERT that answers questions.

    Args:
        sharp: factor of its logits, so that answers do not hang on the last digit.
    """
    torch.manual_seed(0)
    model = BertForQuestionAnswering(BertConfig(vocab_size=40, max_position_embeddings=64, **SIZES, **config))
    model.qa_outputs.weight.data *= sharp
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return str(folder)


def make_judge(folder: Path, sharp: float = 1.0, always: str | None = None, **config: Any) -> str:
    """A BERT that labels pairs.

    Args:
        always: the only label that it gives.
    """
    torch.manual_seed(0)
    own = {**SIZES, "max_position_embeddings": 64, "vocab_size": 40, **NAMES, **config}
    model = BertForSequenceClassification(BertConfig(**own))
    model.classifier.weight.data *= sharp
    if always is not None:
        model.classifier.bias.data[LABELS.index(always)] = 100.0
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return str(folder)


def make_tagger(folder: Path) -> str:
    """A BERT that tags persons."""
    torch.manual_seed(0)
    labels = {"id2label": dict(enumerate(["O", "B-PER", "I-PER"]))}
    config = BertConfig(vocab_size=40, max_position_embeddings=64, **SIZES, **labels)
    BertForTokenClassification(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return str(folder)


def make_phobert_head(folder: Path, task: str) -> str:
    """A PhoBERT for reading or for inference, with the Hub's slow tokenizer."""
    torch.manual_seed(0)
    tokenizer = make_phobert_tokenizer(folder, SENTENCES)
    names = NAMES if task == "nli" else {}
    config = RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=258, **SIZES, **names)
    config.update({"tokenizer_class": "PhobertTokenizer"})
    {"qa": RobertaForQuestionAnswering, "nli": RobertaForSequenceClassification}[task](config).save_pretrained(folder)
    return str(folder)
