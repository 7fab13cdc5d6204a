"""Texts as models read them: word segmentation and encoding."""

from kdda.text.check import check_text
from kdda.text.encode import Encoder, Window, position_limit, used_ids
from kdda.text.pieces import Pieces
from kdda.text.segment import SEGMENTERS, Span, forget_words, joined, segment
from kdda.text.sentences import plain_sentences, sentences

__all__ = [
    "SEGMENTERS",
    "Encoder",
    "Pieces",
    "Span",
    "Window",
    "check_text",
    "forget_words",
    "joined",
    "plain_sentences",
    "position_limit",
    "segment",
    "sentences",
    "used_ids",
]
