"""Tables and figures from run folders alone; nothing here imports torch."""
