"""Models that can be observed, how they are trained, and their runs on disk."""
