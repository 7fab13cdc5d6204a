"""Texts as models read them: word segmentation and encoding."""

from kdda.text.check import check_text
from kdda.text.encode import Encoder, Window, position_limit, used_ids
from kdda.text.pieces import Pieces
from kdda.text.segment import SEGMENTERS, Span, forget_words, joined, segment
from kdda.text.sentences import plain_sentences, sentences
from kdda.text.terms import Terms, terms_of, terms_of_all

__all__ = [
    "SEGMENTERS",
    "Encoder",
    "Pieces",
    "Span",
    "Terms",
    "Window",
    "check_text",
    "forget_words",
    "joined",
    "plain_sentences",
    "position_limit",
    "segment",
    "sentences",
    "terms_of",
    "terms_of_all",
    "used_ids",
]
