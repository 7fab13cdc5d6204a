"""Passages, an index of them, retrievers, and answers out of many passages."""
