"""Models that can be observed, their training, and their runs on disk."""
