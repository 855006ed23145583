"""The book in two steps: at once from recorded results, then page by page from runs.

The second step goes by nothing but which runs are kept, so it may be killed at any moment and begun again.
"""

import os
import subprocess
import sys
from pathlib import Path

from lmbook import chapters, extension, pages

_STRICT = ("-W", "-n", "--keep-going", "-q")  # warnings are errors, all of them shown, and nothing else


def build(root: Path) -> int:
    """Build the book and say where it is; without the second step where `LMBOOK_SOURCE` forbids runs.

    Returns
    -------
    int
        Exit status: 0 when all pages are shown as wanted and nothing warned, otherwise 1.

    Raises
    ------
    lmbook.parameters.ParameterError
        If `LMBOOK_SOURCE` or `LMBOOK_SCALE` is unknown.
    """
    pages.book_scale()
    source = pages.book_source() or pages.RUN
    place = root / "_build" / "html" / "index.html"
    succeeded = _rendered(root, pages.READY if source == pages.RUN else source)
    if not place.exists():
        return 1
    if source == pages.RUN and _without_a_run(root):
        _say(f"The book so far: {place.as_uri()}")
        _say("Open it now; chapters are being run and will replace these pages.")
        succeeded = _run_pages(root, succeeded)
    _say(f"The book: {place.as_uri()}")
    return 0 if succeeded else 1


def _run_pages(root: Path, succeeded: bool) -> bool:
    """Run one page after another, each shown as soon as it is done; tell whether nothing failed or warned."""
    for name in pages.with_code(root):
        notebook = pages.read(root, name)
        if pages.run_path(notebook, root):
            continue
        try:
            chapters.executed(notebook, pages.book_parameters(notebook, pages.RUN), root=root, label=name)
        except chapters.ChapterError as failure:
            print(f"\n{failure}\n", file=sys.stderr)
            continue
        succeeded &= _rendered(root, pages.READY)
        _say(f"{name} was run: its page is replaced.")
    if missing := _without_a_run(root):
        print(
            f"Failed, or edited while it was run: {', '.join(missing)}. The same command tries again.",
            file=sys.stderr,
        )
        return False
    # A page that was still without its figures made others warn that refer to them.
    return succeeded or _rendered(root, pages.READY, "--all")


def _without_a_run(root: Path) -> list[str]:
    return [name for name in pages.with_code(root) if pages.run_path(pages.read(root, name), root) is None]


def _rendered(root: Path, source: str, *options: str) -> bool:
    """Build all pages that changed; tell whether nothing failed or warned."""
    program = Path(sys.executable).with_name("jupyter-book")
    own = {pages.SOURCE: source, extension.PARENT: str(os.getpid())}
    build = subprocess.run(
        [program, "build", root, *_STRICT, *options],
        env=os.environ | chapters.variables(root) | own,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    return build.returncode == 0


def _say(text: str) -> None:
    print(text, flush=True)  # at once, also where it is not a terminal
