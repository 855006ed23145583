"""The base of the library: the cache folder, progress, provenance, and the grid of jobs."""
