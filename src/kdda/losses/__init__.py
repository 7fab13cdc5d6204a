"""Distillation objectives and the loss that adds them to a task."""
