"""Rows, from wherever they come, checked before anything is trained on them."""
