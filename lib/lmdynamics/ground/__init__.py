"""What everything else stands on: where things are kept, progress, provenance, and the grid of jobs."""
