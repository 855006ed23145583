"""Jobs in, tables out: each job is done once, kept by itself, and done side by side with others.

A job is one function of a module and its arguments: settings, one seed or one model. What it returns, one
tidy table or several by name, is kept in a folder named by the hash of what decides it: the function's code
with all that it reaches (`provenance.code_fingerprint`), and its arguments. A study is the concatenation of
its jobs. So a study that was killed goes on with the jobs that it lacks, and one more seed measures one seed.

The engine is joblib: processes on one machine, each job on one processor, so that numbers do not depend on
how many there are; threads where one GPU serves all; the workers of a Dask cluster where the environment
variable `LMDYNAMICS_CLUSTER` names its scheduler, or inside `joblib.parallel_config("dask")`. All of them
keep tables in the same cache directory, so on several machines it lies on a disk that they share. Nothing
else in the library knows of processes, threads, devices or clusters.
"""

import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from joblib.externals.loky import get_reusable_executor
from joblib.parallel import get_active_backend

from lmdynamics.ground.paths import cache_directory
from lmdynamics.ground.provenance import code_fingerprint, provenance, require_code

NOT_IN_NUMBERS = ("*",)  # who does the work, not what is done
CLUSTER = "LMDYNAMICS_CLUSTER"
"""Environment variable with the address of a Dask scheduler, such as ``tcp://head:8786``."""
THREADS = 4
"""Jobs that share one GPU."""

Table = pd.DataFrame
"""Tidy: one row per observation, named columns, no index."""
Tables = Mapping[str, pd.DataFrame]
Function = Callable[..., pd.DataFrame | Tables]


class TableError(ValueError):
    """A kept table is damaged."""


class Job(NamedTuple):
    """One function and its arguments."""

    function: Function
    arguments: tuple[Any, ...]

    @property
    def name(self) -> str:
        """For people: the folder's name begins with it."""
        return f"{self.function.__module__.split('.')[-1]}-{self.function.__name__}".replace("-_", "-")

    def folder(self, code: str) -> Path:
        """Where what it returns is kept, given the fingerprint of its function."""
        decides = [f"{self.function.__module__}.{self.function.__qualname__}", code, identity(self.arguments)]
        return cache_directory() / "tables" / f"{self.name}-{_hash(json.dumps(decides).encode())}"


def table(function: Function, calls: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    """Return one table from jobs that return one each, row after row in the order of the calls.

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
    TypeError
        If an argument has no identity.
    RuntimeError
        If the function was edited since this process imported it: other processes would run it as it is now.
    """
    (found,) = tables(function, calls).values()
    return found


def tables(function: Function, calls: Iterable[tuple[Any, ...]]) -> dict[str, pd.DataFrame]:
    """Return tables by name from jobs that return several each. Parameters and errors are those of `table`.

    A table that some jobs do not return is put together from those that do.
    """
    jobs, code = [Job(function, tuple(call)) for call in calls], code_fingerprint(function)
    homes = [job.folder(code) for job in jobs]
    missing = {home: job for home, job in zip(homes, jobs, strict=True) if not home.exists()}
    results(_keep, [(*job, code, home) for home, job in missing.items()], code_of=function)
    parts = [_read(home) for home in homes]
    names = dict.fromkeys(name for each in parts for name in each)
    return {name: _joined([each[name] for each in parts if name in each]) for name in names}


def results(
    function: Callable[..., Any],
    calls: Iterable[tuple[Any, ...]],
    *,
    code_of: Callable[..., Any] | None = None,
) -> list[Any]:
    """Call a function with each tuple of arguments, side by side, and return what it returns, in order.

    Nothing is kept: for functions that keep their own, such as `runs.train`.

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
    watched = code_of or function
    work = [joblib.delayed(_on_one)(function, each, watched, code_fingerprint(watched)) for each in calls]
    if not work:
        return []
    with _engine(len(work)) as parallel:
        return parallel(work)


def stream(function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Yield what a function returns for each tuple of arguments, in order, while others are still at work.

    Processes of this machine share the calls as soon as there is a second one; the calls are asked for as
    they are needed, so that they need not fit into memory.
    """
    calls = iter(calls)
    begun = list(itertools.islice(calls, 2))
    work = (joblib.delayed(function)(*each) for each in itertools.chain(begun, calls))
    yield from joblib.Parallel(n_jobs=1 if len(begun) < 2 else -1, return_as="generator")(work)
    get_reusable_executor().shutdown()


def device(name: str = "auto") -> torch.device:
    """Return the device of that name; `auto` is CUDA where there is one, else the CPU.

    Raises
    ------
    ValueError
        If the name is another, or CUDA is asked for and absent.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.partition(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"a device is auto, cpu or cuda, got {name!r}")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"need a CUDA device for {name!r}, found none; use 'cpu' or 'auto'")
    return torch.device(name)


def identity(value: Any) -> Any:
    """Return what tells an argument of a job from others, as plain lists, dicts, texts and numbers.

    Plain values are themselves; arrays are the hash of their values; an object with a `fingerprint` is that;
    other dataclasses and named tuples are their fields.

    Raises
    ------
    TypeError
        If the argument is nothing of these.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case np.generic():
            return value.item()
        case Path():
            return str(value)
        case np.ndarray():
            return [str(value.dtype), list(value.shape), _hash(np.ascontiguousarray(value).tobytes())]
        case pd.DataFrame():
            return _hash(value.to_parquet(index=False))
        case object(fingerprint=str() as fingerprint):
            return [type(value).__name__, fingerprint]
        case tuple() if hasattr(value, "_asdict"):
            return [type(value).__name__, identity(value._asdict())]
        case list() | tuple():
            return [identity(each) for each in value]
        case Mapping():
            return [[identity(key), identity(each)] for key, each in value.items()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return [type(value).__name__, identity(fields)]
    raise TypeError(
        f"an argument of a job needs an identity, got {type(value).__name__}; give it an attribute "
        "`fingerprint`, a text that changes with its value, or hand on plain values, arrays, tables and "
        "dataclasses of them"
    )


@contextlib.contextmanager
def _engine(jobs: int) -> Iterator[joblib.Parallel]:
    """What runs so many jobs: a cluster that was named, one GPU, or the processors of this machine."""
    if address := os.environ.get(CLUSTER):
        with _client(address), joblib.parallel_config("dask", wait_for_workers_timeout=60):
            yield joblib.Parallel()
        return
    backend, asked = get_active_backend()
    if type(backend).__name__ == "DaskDistributedBackend":
        yield joblib.Parallel()
    elif torch.cuda.is_available():
        yield joblib.Parallel(n_jobs=min(jobs, THREADS), backend="threading")
    else:
        yield joblib.Parallel(n_jobs=min(jobs, asked if asked and asked > 1 else joblib.cpu_count()))
        get_reusable_executor().shutdown()  # idle workers hold memory, and warn when the interpreter ends


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{CLUSTER}={address} needs the package distributed; pip install 'lmdynamics[cluster]'"
        ) from error
    return Client(address)


def _on_one(
    function: Callable[..., Any], arguments: Sequence[Any], watched: Callable[..., Any], code: str
) -> Any:
    """One call, on one processor."""
    require_code(code, watched)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(*arguments)
    finally:
        torch.set_num_threads(before)


def _keep(function: Function, arguments: tuple[Any, ...], code: str, home: Path) -> None:
    """Do a job and keep what it returns, unless another process has done so meanwhile."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home}.lock"):
        if home.exists():
            return
        begun = time.monotonic()
        returned = function(*arguments)
        found = {"table": returned} if isinstance(returned, pd.DataFrame) else dict(returned)
        contents = {name: each.to_parquet(index=False) for name, each in found.items()}
        about = {
            "function": f"{function.__module__}.{function.__qualname__}",
            "code": code,
            "arguments": identity(arguments),
            "tables": {name: _hash(content) for name, content in contents.items()},
            "seconds": round(time.monotonic() - begun, 3),
            **provenance(),
        }
        with tempfile.TemporaryDirectory(prefix=".being-written-", dir=home.parent) as folder:
            whole = Path(folder, home.name)
            whole.mkdir()
            for name, content in contents.items():
                (whole / f"{name}.parquet").write_bytes(content)
            (whole / "job.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            whole.rename(home)  # whole or not at all


def _read(home: Path) -> dict[str, pd.DataFrame]:
    """The tables of a job that was done."""
    found = {}
    try:
        about = json.loads((home / "job.json").read_text(encoding="utf-8"))
        for name, wanted in about["tables"].items():
            content = (home / f"{name}.parquet").read_bytes()
            if _hash(content) != wanted:
                raise ValueError(f"the hash of {name}.parquet is not the one in job.json")
            found[name] = pd.read_parquet(io.BytesIO(content))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise TableError(f"{home} holds damaged tables ({error}); delete it and run again") from error
    return found


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [each for each in parts if len(each)] or parts[
        :1
    ]  # empty ones would change the types of columns
    return pd.concat(filled, ignore_index=True)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
