"""Jobs in, tables out: each job runs once, in parallel with others, and its tables are kept.

A job is one function of a module and its arguments: settings, one seed or one model. What it returns, one
tidy table or several by name, is kept in a folder named by the hash of what decides it: the function's code
with all that it reaches (`provenance.code_fingerprint`), and its arguments. A study is the concatenation of
its jobs. So a study that was killed goes on with the jobs that it lacks, and one more seed measures one seed.

The engine is joblib: processes on one machine, each job on one processor, so that numbers do not depend on
how many there are; threads where one GPU serves all; the workers of a Dask cluster where the environment
variable `LMDYNAMICS_CLUSTER` names its scheduler, or inside `joblib.parallel_config("dask")`. All of them
keep tables in the same cache directory, so on several machines it lies on a disk that they share. Nothing
else in the library knows of processes, threads, devices or clusters. Processes of this machine end with the
one that they work for, whatever ended that (`lifetime`); a cluster's workers finish the jobs that they have.
"""

import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import torch
from joblib.externals.loky import get_reusable_executor
from joblib.parallel import get_active_backend

from lmdynamics.ground import lifetime, storage
from lmdynamics.ground.paths import cache_directory
from lmdynamics.ground.provenance import (
    code_fingerprint,
    provenance,
    require_code,
    track,
    tracked_packages,
)

NOT_IN_NUMBERS = ("*",)  # who does the work, not what is done
CLUSTER = "LMDYNAMICS_CLUSTER"
"""Environment variable with the address of a Dask scheduler, such as ``tcp://head:8786``."""
THREADS = 4
"""Jobs that share one GPU."""
WINDOW = 16
"""Calls of a stream that each processor has at once: those that it waits for and those that wait for it."""

Table = pd.DataFrame
"""Tidy: one row per observation, named columns, no index."""
Tables = Mapping[str, pd.DataFrame]
Function = Callable[..., pd.DataFrame | Tables]


class TableError(ValueError):
    """An error about a damaged table."""


class Job(NamedTuple):
    """A function and its arguments."""

    function: Function
    arguments: tuple[Any, ...]

    @property
    def name(self) -> str:
        """A readable name, with which the folder's name begins."""
        return f"{self.function.__module__.split('.')[-1]}-{self.function.__name__}".replace("-_", "-")

    def folder(self, code: str) -> Path:
        """Return the folder of the job's tables, given the fingerprint of its function."""
        parts = [f"{self.function.__module__}.{self.function.__qualname__}", code, identity(self.arguments)]
        return cache_directory() / "tables" / f"{self.name}-{_hash(json.dumps(parts).encode())}"


class Cost(NamedTuple):
    """What a job took."""

    function: str
    """Its name."""
    seconds: float
    """Of one processor, when the job was done."""
    seed: int | None
    """That its rows name, if they do."""


_SPENT: ContextVar[list[Cost] | None] = ContextVar("spent", default=None)


def table(function: Function, calls: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    """Return the rows of all jobs as one table, in the order of the calls; each job returns one table.

    Parameters
    ----------
    function
        Of a module in a file; annotated, since its code is followed through its annotations.
    calls
        The arguments of each job. Each must have an `identity`.

    Raises
    ------
    TableError
        If a kept table is damaged.
    lmdynamics.ground.storage.StorageError
        If a table cannot be kept, such as on a full disk.
    TypeError
        If an argument has no identity.
    ValueError
        If there are no calls, or a job returns several tables.
    RuntimeError
        If the function was edited since this process imported it: other processes would run it as it is now;
        or if the workers of a cluster keep their tables elsewhere.
    """
    by_name = tables(function, calls)
    if len(by_name) != 1:
        raise ValueError(
            f"need calls of {function.__name__} that return one table each, got {len(by_name)} tables; use "
            "`tables` where there are several, and no call at all where there are none"
        )
    return next(iter(by_name.values()))


def tables(function: Function, calls: Iterable[tuple[Any, ...]]) -> dict[str, pd.DataFrame]:
    """Return the rows of all jobs as tables by name; each job returns several tables.

    A table that some jobs do not return has the rows of those that do. Parameters and errors are those of
    `table`.
    """
    jobs, code = [Job(function, tuple(call)) for call in calls], code_fingerprint(function)
    folders = [job.folder(code) for job in jobs]
    missing = {folder: job for folder, job in zip(folders, jobs, strict=True) if not folder.exists()}
    results(_keep, [(*job, code, folder) for folder, job in missing.items()], code_of=function)
    if absent := [folder for folder in missing if not folder.exists()]:
        raise RuntimeError(
            f"need one cache directory for all workers, got no {absent[0]} here after the job was done; let "
            "LMDYNAMICS_CACHE name the same folder of a disk that they share"
        )
    parts = []
    for folder in folders:
        seconds, part = _read(folder)
        parts.append(part)
        if (spent := _SPENT.get()) is not None:
            spent.append(Cost(function.__name__, seconds, _seed(part)))
    names = dict.fromkeys(name for each in parts for name in each)
    return {name: _concatenation([each[name] for each in parts if name in each]) for name in names}


@contextlib.contextmanager
def costs() -> Iterator[list[Cost]]:
    """Collect what jobs took when they were done, of all jobs whose tables are read meanwhile."""
    spent: list[Cost] = []
    token = _SPENT.set(spent)
    try:
        yield spent
    finally:
        _SPENT.reset(token)


def results(
    function: Callable[..., Any],
    calls: Iterable[tuple[Any, ...]],
    *,
    code_of: Callable[..., Any] | None = None,
) -> list[Any]:
    """Call a function with each tuple of arguments, in parallel, and return the results in order.

    The results are not kept: for functions that keep their own, such as `runs.train`.

    Parameters
    ----------
    function
        Of a module in a file.
    calls
        The arguments of each call.
    code_of
        The function whose code must be the same in every process; None for `function`.

    Raises
    ------
    RuntimeError
        If that code was edited since this process imported it.
    """
    calls = list(calls)
    code_owner = code_of or function
    code, packages = code_fingerprint(code_owner), tracked_packages()
    work = [joblib.delayed(_on_one)(function, each, code_owner, code, packages) for each in calls]
    if not work:
        return []
    with _engine(len(work)) as parallel:
        return parallel(work)


def stream(function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Yield the result of a function for each tuple of arguments, in order, as soon as it is ready.

    Processes of this machine share the calls as soon as there is a second one. The calls are taken
    `WINDOW` a processor at a time, and the next when all results of these were taken, so that neither calls
    nor results need fit into memory.
    """
    calls = iter(calls)
    first_calls = list(itertools.islice(calls, 2))
    calls = itertools.chain(first_calls, calls)
    processes = 1 if len(first_calls) < 2 else joblib.cpu_count()
    try:
        with joblib.Parallel(n_jobs=processes, return_as="generator", **_worker_life()) as parallel:
            while window := list(itertools.islice(calls, WINDOW * processes)):
                yield from parallel(joblib.delayed(function)(*each) for each in window)
    finally:
        get_reusable_executor().shutdown()


def thread_stream(
    function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], *, threads: int
) -> Iterator[Any]:
    """Yield the result of a function for each tuple of arguments, in order, from threads of this process.

    For calls that wait, such as downloads; all arguments are taken first. An error ends the stream: calls
    that run are waited for, the others do not begin.
    """
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda call: function(*call), calls)


@contextlib.contextmanager
def gpu_stream(place: torch.device) -> Iterator[None]:
    """Have a GPU do this thread's work beside that of other threads; elsewhere, change nothing."""
    if place.type == "cuda":
        with torch.cuda.device(place), torch.cuda.stream(torch.cuda.Stream(place)):
            yield
    else:
        yield


def device(name: str = "auto") -> torch.device:
    """Return the device of that name; `auto` is CUDA where there is one, else the CPU.

    Raises
    ------
    ValueError
        If there is no such name, or no CUDA device where the name needs one.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.partition(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"a device is auto, cpu or cuda, got {name!r}; use one of these")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"need a CUDA device for {name!r}, got none; use 'cpu' or 'auto'")
    return torch.device(name)


def identity(value: Any) -> Any:
    """Return the identity of a job's argument, as plain lists, texts and numbers.

    Plain values are themselves; arrays and tables are the hash of their values (tables without their index);
    an object with a `fingerprint` is that; other dataclasses and named tuples are their fields.

    Raises
    ------
    TypeError
        If the argument is none of these.
    """
    match value:
        case None | bool() | int() | float() | str() if not isinstance(value, np.generic):
            return value
        case np.generic() if isinstance(value.item(), bool | int | float | str):
            return {"scalar": [str(value.dtype), value.item()]}
        case Path():
            return {"path": str(value)}
        case np.ndarray() if not value.dtype.hasobject and not isinstance(value, np.ma.MaskedArray):
            content = np.ascontiguousarray(value).tobytes()
            return {"array": [str(value.dtype), list(value.shape), _hash(content)]}
        case pd.DataFrame():
            return {"table": _hash(value.to_parquet(index=False))}
        case object(fingerprint=str() as fingerprint):
            return {"type": _type_name(value), "fingerprint": fingerprint}
        case tuple() if hasattr(value, "_asdict"):
            return {"type": _type_name(value), "fields": identity(value._asdict())}
        case list() | tuple():
            return [identity(each) for each in value]
        case Mapping():
            return {"mapping": [[identity(key), identity(each)] for key, each in value.items()]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return {"type": _type_name(value), "fields": identity(fields)}
    raise TypeError(
        f"an argument of a job needs an identity, got {type(value).__name__}; give it an attribute "
        "`fingerprint`, a text that changes with its value, or hand on plain values, arrays, tables and "
        "dataclasses of them"
    )


@contextlib.contextmanager
def _engine(jobs: int) -> Iterator[joblib.Parallel]:
    """Yield the engine for a number of jobs: a cluster, one GPU, or the processors of this machine."""
    if address := os.environ.get(CLUSTER):
        with _client(address), joblib.parallel_config("dask", wait_for_workers_timeout=60):
            yield joblib.Parallel()
        return
    backend, asked = get_active_backend()
    if type(backend).__name__ == "DaskDistributedBackend":
        yield joblib.Parallel()
    elif backend.nesting_level:  # within a job, which has one processor
        yield joblib.Parallel(n_jobs=1)
    elif torch.cuda.is_available():
        yield joblib.Parallel(n_jobs=min(jobs, THREADS), backend="threading")
    else:
        processes = joblib.cpu_count() if asked in (None, 1) else joblib.effective_n_jobs(asked)
        try:
            yield joblib.Parallel(n_jobs=min(jobs, processes), **_worker_life())
        finally:
            get_reusable_executor().shutdown()  # idle workers hold memory, and warn when the interpreter ends


def _worker_life() -> dict[str, Any]:
    """What lets processes that work for this one end with it."""
    return {"initializer": lifetime.end_with, "initargs": (os.getpid(),)}


def _type_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{CLUSTER}={address} needs the package distributed; pip install 'lmdynamics[cluster]'"
        ) from error
    return Client(address)


def _on_one(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    code_owner: Callable[..., Any],
    code: str,
    packages: Sequence[str],
) -> Any:
    """Call a function on one processor."""
    for package in packages:
        track(package)
    require_code(code, code_owner)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(*arguments)
    finally:
        torch.set_num_threads(before)


def _keep(function: Function, arguments: tuple[Any, ...], code: str, folder: Path) -> None:
    """Run a job and keep its tables, unless another process has kept them meanwhile."""
    with storage.lock_unless_there(folder, label=Job(function, arguments).name) as missing:
        if not missing:
            return
        start = time.monotonic()
        result = function(*arguments)
        require_code(code, function)  # it may have imported more
        parts = {"table": result} if isinstance(result, pd.DataFrame) else dict(result)
        contents = {f"{name}.parquet": each.to_parquet(index=False) for name, each in parts.items()}
        about = {
            "function": f"{function.__module__}.{function.__qualname__}",
            "code": code,
            "arguments": identity(arguments),
            "tables": {name: _hash(contents[f"{name}.parquet"]) for name in parts},
            "seconds": round(time.monotonic() - start, 3),
            **provenance(),
        }
        storage.write_folder(folder, {**contents, "job.json": (json.dumps(about, indent=1) + "\n").encode()})


def _seed(part: Tables) -> int | None:
    """The seed that the rows of a job's first table name."""
    first = next(iter(part.values()), pd.DataFrame())
    return int(first["seed"].iloc[0]) if "seed" in first and len(first) else None


def _read(folder: Path) -> tuple[float, dict[str, pd.DataFrame]]:
    """Return how many seconds a kept job took, and its tables."""
    parts = {}
    try:
        about = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        for name, digest in about["tables"].items():
            content = (folder / f"{name}.parquet").read_bytes()
            if _hash(content) != digest:
                raise ValueError(f"the hash of {name}.parquet is not the one in job.json")
            parts[name] = pd.read_parquet(io.BytesIO(content))
        seconds = float(about["seconds"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise TableError(f"{folder} holds damaged tables ({error}); delete it and run again") from error
    return seconds, parts


def _concatenation(parts: list[pd.DataFrame]) -> pd.DataFrame:
    rows = [each for each in parts if len(each)]  # empty tables would change the types of columns
    return pd.concat(rows or parts[:1], ignore_index=True)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
