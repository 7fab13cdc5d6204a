"""Fine-tuning, with teachers or without."""
