"""Tidy tables of results, computed once: one row per observation, named columns, no index."""

import hashlib
import io
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

    The name of its file ends in the hash of its bytes.

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
    home, begin = folder or cache_directory() / "tables", f"{name}-{_hash(key.encode())}"
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / f"{begin}.lock"):
        for path in home.glob(f"{begin}-*.parquet"):
            return _read(path)
        table = compute()
        content = table.to_parquet(index=False)
        being_written = home / f"{begin}.part"
        being_written.write_bytes(content)
        being_written.replace(home / f"{begin}-{_hash(content)}.parquet")
    return table


def _read(path: Path) -> pd.DataFrame:
    try:
        content = path.read_bytes()
        if not path.stem.endswith(found := _hash(content)):
            raise ValueError(f"its name should end in the hash of its bytes, {found}")
        return pd.read_parquet(io.BytesIO(content))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is a damaged table ({error}); delete it and run again") from error


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
