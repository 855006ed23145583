"""A file with all that many runs are trained from, small enough to travel to a machine with a GPU.

Ids are kept as the smallest integers that hold them, compressed, and each distinct text, list of words and
list of classes once. What is read from the file is what was packed: runs have the same names.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from lmdynamics.ground import storage
from lmdynamics.models.recurrent import ModelSettings
from lmdynamics.models.runs import RunSettings
from lmdynamics.models.training import TrainingSettings
from lmdynamics.text.streams import Examples, Parts

Job = tuple[RunSettings, Parts]
"""What a run is trained from."""
_CONTENTS = "contents.json"


class PackError(ValueError):
    """A file that holds no pack, or a damaged one."""


def pack(jobs: Sequence[Job], path: Path) -> None:
    """Write what runs are trained from into one file.

    Raises
    ------
    ValueError
        If there is nothing to pack.
    lmdynamics.ground.storage.StorageError
        If the file cannot be written.
    """
    if not jobs:
        raise ValueError("need runs to pack, got none; name a scale that trains some")
    columns: _Columns = {}
    names: dict[tuple[str, ...], int] = {}
    records = [
        {
            **asdict(replace(settings, words=(), classes=())),
            "words": names.setdefault(tuple(settings.words), len(names)),
            "classes": names.setdefault(tuple(settings.classes), len(names)),
            "parts": [_record(examples, columns) for examples in parts],
        }
        for settings, parts in jobs
    ]
    contents = {"runs": records, "names": [list(each) for each in names]}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(_CONTENTS, json.dumps(contents))
        for number, column in columns.values():
            with archive.open(f"{number}.npy", "w") as file:
                np.save(file, column, allow_pickle=False)
    storage.write(path, buffer.getvalue())


def read(path: Path) -> list[Job]:
    """Return what runs are trained from, as it was packed.

    Raises
    ------
    PackError
        If the file holds no whole pack.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            contents = json.loads(archive.read(_CONTENTS))
            columns = {
                int(name.removesuffix(".npy")): np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
                for name in archive.namelist()
                if name != _CONTENTS
            }
            names = [tuple(each) for each in contents["names"]]
            return list(_jobs(contents["runs"], names, columns))
    except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise PackError(f"{path} holds no whole pack ({error}); pack again, and copy it whole") from error


_Columns = dict[tuple[str, bytes], tuple[int, np.ndarray]]
"""Distinct columns by type and content, each with its number."""


def _record(examples: Examples | None, columns: _Columns) -> dict[str, Any] | None:
    """Keep the columns of examples, and return their numbers and types."""
    if examples is None:
        return None
    inputs, targets = examples
    texts = [inputs, targets]
    if len(inputs) == len(targets) > 0 and np.array_equal(inputs[1:], targets[:-1]):
        texts = [np.append(inputs, targets[-1:])]  # the next word: one text is both
    numbers = []
    for text in map(_smallest, texts):
        key = (text.dtype.str, text.tobytes())
        numbers.append(columns.setdefault(key, (len(columns), text))[0])
    return {"columns": numbers, "types": [inputs.dtype.str, targets.dtype.str]}


def _smallest(column: Integer[np.ndarray, " tokens"]) -> Integer[np.ndarray, " tokens"]:
    """Return a column as the smallest integers that hold it."""
    low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
    return column.astype(np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high)))


def _jobs(
    records: Sequence[dict[str, Any]], names: Sequence[tuple[str, ...]], columns: dict[int, np.ndarray]
) -> Iterator[Job]:
    for record in records:
        parts = [_examples(each, columns) for each in record.pop("parts")]
        yield (
            RunSettings(
                **{
                    **record,
                    "model": ModelSettings(**record["model"]),
                    "training": TrainingSettings(**record["training"]),
                    "words": names[record["words"]],
                    "classes": names[record["classes"]],
                }
            ),
            Parts(*parts),  # type: ignore[arg-type]
        )


def _examples(record: dict[str, Any] | None, columns: dict[int, np.ndarray]) -> Examples | None:
    if record is None:
        return None
    ids = [columns[number] for number in record["columns"]]
    inputs, targets = ids if len(ids) == 2 else (ids[0][:-1], ids[0][1:])
    return Examples(
        *(each.astype(kind) for each, kind in zip((inputs, targets), record["types"], strict=True))
    )
