"""Print the table of benchmarks: `python -m benchmarks`, with the names of suites for some of them.

Suites that take hours are run where they are named alone.
"""

import argparse
import ast
import importlib
import pkgutil
import platform
import sys
import traceback
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import joblib
import torch

import benchmarks
from benchmarks._timing import Row

TABLE = "{:<76} {:>10} {:>12} {:>8}  {:<8} {}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run suites one after another; the exit status is 1 where one of them failed."""
    known = suites()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Print the table of benchmarks."
    )
    parser.add_argument("--tiny", action="store_true", help="only try that they run, in seconds")
    parser.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        type=change,
        metavar="NAME=VALUE",
        help="another value of a suite's size, such as epochs=1",
    )
    parser.add_argument(
        "suites", nargs="*", metavar="suite", help=f"{', '.join(known)}; all where none is given"
    )
    given = parser.parse_args(arguments)
    if unknown := set(given.suites).difference(known):
        parser.error(f"no suite named {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    print(f"{processor()}, {joblib.cpu_count()} cores; PyTorch {torch.__version__}")
    print(TABLE.format(*Row._fields), flush=True)
    succeeded = [
        run(suite, tiny=given.tiny, changes=dict(given.changes), named=suite in given.suites)
        for suite in given.suites or known
    ]
    return 0 if all(succeeded) else 1


def change(text: str) -> tuple[str, Any]:
    """Name and value of `NAME=VALUE`, the value as Python writes it or else as text."""
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise argparse.ArgumentTypeError(f"needs NAME=VALUE, got {text}")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


def suites() -> list[str]:
    """Names of all suites: the modules of this folder, less those that begin with _."""
    return sorted(
        module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name[0] != "_"
    )


def run(suite: str, *, tiny: bool, changes: dict[str, Any], named: bool) -> bool:
    """Print the rows of a suite as they come, and why it failed where it did; whether it succeeded.

    Parameters
    ----------
    suite
        Its name.
    tiny
        Whether to run it at its tiny size.
    changes
        Other values of fields of its size.
    named
        Whether it was asked for by name.
    """
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    try:
        module = importlib.import_module(f"benchmarks.{suite}")
        if getattr(module, "HOURS", False) and not (tiny or named):
            print(f"{suite} takes hours: python -m benchmarks {suite}", flush=True)
            return True
        size = changed(module.TINY if tiny else module.FULL, changes)
        for row in module.rows(size):
            numbers = (f"{number:.3g}" for number in (row.ours, row.alternative, row.ratio))
            print(TABLE.format(row.name, *numbers, row.unit, row.target).rstrip(), flush=True)
    except Exception:
        print(f"the suite {suite} failed:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        return False
    finally:
        torch.set_num_threads(threads)  # the next suite may want them all
    return True


def changed(size: Any, changes: dict[str, Any]) -> Any:
    """A size with other values of some of its fields.

    Raises
    ------
    ValueError
        If it has no such field.
    """
    if not changes:
        return size
    known = [field.name for field in fields(size)]
    if unknown := sorted(set(changes) - set(known)):
        raise ValueError(f"this suite's size has {', '.join(known)}, got {', '.join(unknown)}")
    return replace(size, **changes)


def processor() -> str:
    """Name of this machine's processor, as exactly as the system knows it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


if __name__ == "__main__":
    sys.exit(main())
