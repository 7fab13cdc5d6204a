"""Checkpoints at work: predictions for texts and files, scores, exports."""
