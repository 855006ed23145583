"""Times taken in turns, so that a machine that is busy now and then is busy for every contender."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_PEAK = """
from pathlib import Path
{imports}
{call}
status = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in status if line.startswith("VmHWM")))  # KiB
"""


class Row(NamedTuple):
    """One line of the table: what was measured beside an alternative."""

    name: str
    ours: float
    alternative: float
    ratio: float  # ours / alternative; of times taken in turns, the median of the turns' ratios
    unit: str
    target: str  # of the ratio; empty where nothing was promised


def row(
    name: str,
    ours: Callable[[], object],
    alternative: Callable[[], object],
    *,
    repeats: int,
    share: float = 1.0,
    target: str = "",
) -> Row:
    """Time two contenders in turns, each once unmeasured before; medians over the turns.

    Where the alternative does only a share of the work, its times are scaled up to the whole.
    """
    ours(), alternative()
    turns = [(seconds(ours), seconds(alternative) / share) for _ in range(repeats)]
    mine, theirs = (statistics.median(times) for times in zip(*turns, strict=True))
    return Row(name, mine, theirs, statistics.median(a / b for a, b in turns), "s", target)


def seconds(contender: Callable[[], object]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    contender()
    return time.perf_counter() - start


def peak_memory(imports: str, call: str, *, processes: int) -> float:
    """Largest resident memory, in MiB, of a fresh process that imports and calls something (Linux).

    The median of several processes: how the allocator's threads fall out differs by tens of MiB.
    """
    # not the resource module: its peak is the parent's where that was larger before the fork
    command = [sys.executable, "-c", _PEAK.format(imports=imports, call=call)]
    root = Path(__file__).parents[1]
    runs = [
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root)
        for _ in range(processes)
    ]
    return statistics.median(int(run.stdout) for run in runs) / 1024
