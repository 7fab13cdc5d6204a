"""Texts as models read them: word segmentation and encoding."""

from kdda.text.encode import Encoder, Features, position_limit
from kdda.text.segment import SEGMENTERS, joined_words, segment

__all__ = ["SEGMENTERS", "Encoder", "Features", "joined_words", "position_limit", "segment"]
