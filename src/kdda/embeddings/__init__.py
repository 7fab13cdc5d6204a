"""Sentence embeddings, and their evaluation by translation retrieval."""
