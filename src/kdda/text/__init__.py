"""Texts as models read them: word segmentation, tokens with their places, windows."""
