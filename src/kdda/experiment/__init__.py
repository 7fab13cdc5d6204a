"""Experiments: a recipe planned, checked against its models and data, run, and compared."""
