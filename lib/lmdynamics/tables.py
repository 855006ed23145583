"""Tidy tables of results, computed once: one row per observation, named columns, no index."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from lmdynamics.paths import cache_directory
from lmdynamics.provenance import code_fingerprint


def cached(
    name: str, depends_on: Any, compute: Callable[[], pd.DataFrame], *, code: str, folder: Path | None = None
) -> pd.DataFrame:
    """Return a table from the cache, or compute and keep it.

    Parameters
    ----------
    name
        Of the table, for people: the file's name begins with it.
    depends_on
        Everything but code that decides the numbers, as plain lists, dicts, texts and numbers.
    compute
        Makes the table.
    code
        Module whose code, with all that it imports of this package, makes the numbers.
    folder
        Where tables are kept; None for `tables` in the cache directory.

    Raises
    ------
    ValueError
        If the kept table is damaged.
    """
    key = json.dumps([depends_on, code_fingerprint(code)], sort_keys=True)
    path = folder or cache_directory() / "tables"
    path /= f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if path.exists():
            try:
                return pd.read_parquet(path)
            except (OSError, ValueError) as error:
                raise ValueError(f"{path} is a damaged table ({error}); delete it and run again") from error
        table = compute()
        being_written = path.with_suffix(".part")
        table.to_parquet(being_written, index=False)
        being_written.replace(path)
    return table
