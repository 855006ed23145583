"""Paths that users name, and the folder for files that the library can make or fetch again."""

import os
from pathlib import Path

from platformdirs import user_cache_path

CACHE_VARIABLE = "LMDYNAMICS_CACHE"
"""The environment variable that names the cache."""


def cache_directory() -> Path:
    """Return the folder for downloads, corpora and trained runs; it need not exist yet.

    The environment variable ``LMDYNAMICS_CACHE`` names it; without that variable it is
    the system's own folder for caches.
    """
    return named_by(CACHE_VARIABLE) or user_cache_path("lmdynamics")


def named_by(variable: str) -> Path | None:
    """Return the whole path that an environment variable holds; None where it is empty or absent.

    A relative path is one from where this process stands, `~` the user's home.
    """
    name = os.environ.get(variable)
    return Path(name).expanduser().absolute() if name else None


def path(name: str | Path) -> Path:
    """Return the path that somebody names.

    Raises
    ------
    ValueError
        If the name is empty, which Python takes for the folder where the process stands.
    """
    if name == "":
        raise ValueError("a path needs a name, got ''; the folder where you stand is '.'")
    return Path(name)
