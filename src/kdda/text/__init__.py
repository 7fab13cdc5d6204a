"""Texts as models read them: word segmentation and encoding."""

from kdda.text.check import check_text
from kdda.text.encode import Encoder, Window, position_limit, used_ids
from kdda.text.pieces import Pieces
from kdda.text.segment import SEGMENTERS, Span, joined, segment

__all__ = [
    "SEGMENTERS",
    "Encoder",
    "Pieces",
    "Span",
    "Window",
    "check_text",
    "joined",
    "position_limit",
    "segment",
    "used_ids",
]
