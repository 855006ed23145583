"""Progress of a chapter, followed from outside its kernel and shown in the terminal."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmdynamics.ground import progress


@contextmanager
def following(label: str) -> Iterator[None]:
    """Show on standard error what kernels started meanwhile report as progress, the label in front."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "progress"
        path.touch()
        before = os.environ.get(progress.VARIABLE)
        os.environ[progress.VARIABLE] = str(path)
        stop = threading.Event()
        thread = threading.Thread(target=_show, args=(path, label, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            if before is None:
                del os.environ[progress.VARIABLE]
            else:
                os.environ[progress.VARIABLE] = before


def _show(path: Path, label: str, stop: threading.Event) -> None:
    line = progress.Line(sys.stderr)
    latest, shown = "running", ""
    with path.open(encoding="utf-8") as file:
        while not stop.is_set():
            latest = (file.read().splitlines() or [latest])[-1]
            if latest != shown and line.show(f"{label}: {latest}"):
                shown = latest
            stop.wait(0.2)
    line.clear()
