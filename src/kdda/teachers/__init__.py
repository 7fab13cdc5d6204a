"""Teachers' hidden states: computed once, stored, and read back by row."""
