"""Lines of progress for long work, at most one every tenth of a second.

Lines go to the file that the environment variable `LMDYNAMICS_PROGRESS` names, where it is set: the book's
runner follows that file, since what a notebook prints would land on its page. Elsewhere they go to standard
error: one line that overwrites itself in a terminal, a plain line now and then in a log. Worker processes
inherit the variable.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

NOT_IN_NUMBERS = ("*",)  # how far the work is
VARIABLE = "LMDYNAMICS_PROGRESS"


@runtime_checkable
class Stream(Protocol):
    """The methods of a text stream that a line of progress uses."""

    def write(self, text: str, /) -> object:
        """Write a text."""

    def flush(self) -> object:
        """Show the text written so far."""

    def isatty(self) -> bool:
        """Tell whether this is a terminal."""


class Line:
    """A line of progress, overwritten in a terminal and repeated in a log.

    Parameters
    ----------
    stream
        Where to write, or the path of a file to append to.
    seconds
        Shortest time between two lines; None for 0.1 in a terminal, 0.5 in a file, 10 elsewhere.
    clock
        Seconds since any fixed moment.
    """

    def __init__(
        self,
        stream: Stream | Path,
        *,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._overwrites = not isinstance(stream, Path) and stream.isatty()
        default = 0.5 if isinstance(stream, Path) else 0.1 if self._overwrites else 10.0
        self._seconds = default if seconds is None else seconds
        self._clock = clock
        self._next = -float("inf")

    def show(self, text: str) -> bool:
        """Show the text, unless the line before is too recent; return whether it was shown."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self._seconds
        if self._overwrites:
            self._write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
        else:
            self._write(f"{text}\n")
        return True

    def clear(self) -> None:
        """Erase the line, in a terminal."""
        if self._overwrites:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        if isinstance(self._stream, Path):
            # A file that cannot be written must never stop the work.
            with suppress(OSError), self._stream.open("a", encoding="utf-8") as file:
                file.write(text)
        else:
            self._stream.write(text)
            self._stream.flush()


class Progress:
    """Progress of one long piece of work, to be used in a `with` statement.

    Parameters
    ----------
    label
        What is being done: "LM, seed 1".
    total
        How much of it there is.
    unit
        What is counted, in the plural.
    done
        How much was done before, as when a run is resumed.
    clock
        Seconds since any fixed moment.

    Examples
    --------
    >>> with Progress("LM, seed 1", 480_000) as progress:
    ...     progress.advance(1_400, note="epoch 1 of 10")
    """

    def __init__(
        self,
        label: str,
        total: int,
        *,
        unit: str = "tokens",
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = done
        self._done_before = done
        self._clock = clock
        self._start_time = clock()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        clear()

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """Add an amount of work done and report it; the note (epoch, loss) follows the label."""
        self.done += amount
        report(self.text(note))

    def text(self, note: str = "") -> str:
        """Return the current line: label, note, done of total, rate, time left."""
        rate = (self.done - self._done_before) / max(self._clock() - self._start_time, 1e-9)
        left = f", {_duration((self.total - self.done) / rate)} left" if rate > 0 else ""
        label = f"{self.label}, {note}" if note else self.label
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        return f"{label}: {self.done:,} of {self.total:,} {self.unit}, {speed} {self.unit}/s{left}"


def report(text: str) -> None:
    """Show one line of progress, unless the line before is too recent."""
    _line().show(text)


def clear() -> None:
    """Erase the line of progress, in a terminal."""
    _line().clear()


_lines: dict[str | Stream, Line] = {}


def _line() -> Line:
    """Return the line for the current target, which may change between two calls."""
    path = os.environ.get(VARIABLE)
    target = path or sys.stderr
    line = _lines.get(target)
    if line is None:  # of several threads each may make one
        _lines.clear()
        line = _lines[target] = Line(Path(path) if path else sys.stderr)
    return line


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
