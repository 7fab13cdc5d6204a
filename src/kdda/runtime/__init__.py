"""What every process needs: distributed work, files, locks, progress, memory, the network."""
