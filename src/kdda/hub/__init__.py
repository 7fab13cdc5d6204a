"""What goes with a model to the Hugging Face Hub: its card, its licence, and the upload."""
