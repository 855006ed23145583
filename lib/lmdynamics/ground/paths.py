"""Where the library keeps what it can make or fetch again."""

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_directory() -> Path:
    """The folder for downloads, read corpora and trained runs; it need not exist yet.

    The environment variable ``LMDYNAMICS_CACHE`` names it; without one it is
    the system's own place for caches.
    """
    named = os.environ.get("LMDYNAMICS_CACHE")
    return Path(named).expanduser() if named else user_cache_path("lmdynamics")
