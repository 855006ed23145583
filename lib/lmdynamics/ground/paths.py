"""The folder for files that the library can make or fetch again."""

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_directory() -> Path:
    """Return the folder for downloads, corpora and trained runs; it need not exist yet.

    The environment variable ``LMDYNAMICS_CACHE`` names it; without that variable it is
    the system's own folder for caches.
    """
    folder = os.environ.get("LMDYNAMICS_CACHE")
    return Path(folder).expanduser().absolute() if folder else user_cache_path("lmdynamics")
