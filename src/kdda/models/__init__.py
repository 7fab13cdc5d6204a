"""Checkpoints: loading them from anywhere, heads, devices, vocabularies."""
