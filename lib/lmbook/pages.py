"""What the book shows of each page: with which parameters, and which run of it.

Two environment variables hold for all pages that declare such a parameter. `LMBOOK_SCALE` is their `scale`.
`LMBOOK_SOURCE` is their `source`: `run` computes what a page shows, `recorded` takes it from recorded
results; without it each page's own default holds. A third one, `ready`, computes nothing: it shows the run of
a page where one is kept, the record until then (at the page's own scale where the wanted one was not
recorded), and a page without either as its text alone.
"""

import copy
import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from sphinx_external_toc.parsing import parse_toc_yaml

from lmbook import chapters, parameters
from lmthesis import scales

SCALE, SOURCE = "LMBOOK_SCALE", "LMBOOK_SOURCE"
RUN, RECORDED, READY = SOURCES = ("run", "recorded", "ready")

_WITHOUT_OUTPUTS = """\
:::{note}
This page has not been run yet: figures, tables and numbers are missing. `make book` runs it.
:::"""


def book_source() -> str | None:
    """Return what `LMBOOK_SOURCE` says, None where it says nothing.

    Raises
    ------
    lmbook.parameters.ParameterError
        If it is not one of `SOURCES`.
    """
    return _one_of(SOURCES, SOURCE)


def book_scale() -> str | None:
    """Return what `LMBOOK_SCALE` says, None where it says nothing.

    Raises
    ------
    lmbook.parameters.ParameterError
        If it is not one of `lmthesis.scales.NAMES`.
    """
    return _one_of(scales.NAMES, SCALE)


def with_code(root: Path) -> list[str]:
    """Return the names of the pages with code, in the book's order; the root, which sums up, comes last."""
    contents = parse_toc_yaml(root / "_toc.yml")
    names = [name for name in contents if name != contents.root.docname] + [contents.root.docname]
    return [name for name in names if _path(root, name).is_file() and chapters.code_cells(read(root, name))]


def read(root: Path, name: str) -> NotebookNode:
    """Return a page of the book as a notebook that has not been run."""
    return chapters.read(_path(root, name).read_text(encoding="utf-8"))


def book_parameters(notebook: NotebookNode, source: str | None) -> dict[str, Any]:
    """Return the parameters of a page in this book, less those that the page itself has by default."""
    known = _declared(notebook)
    wanted = {"scale": book_scale(), "source": source}
    given = [(name, value) for name, value in wanted.items() if value and name in known]
    values = parameters.parse(notebook, given) if given else {}
    return {name: value for name, value in values.items() if repr(value) != known[name].default}


def run_path(notebook: NotebookNode, root: Path) -> Path | None:
    """Return where the run of a page is kept that computes what it shows, None where it has not been run."""
    path = chapters.stored(notebook, book_parameters(notebook, RUN), root=root)
    return path if path.exists() else None


def state(notebook: NotebookNode, root: Path) -> str:
    """Return a text that changes where the book would show another run of a page, or none any longer."""
    places = [chapters.stored(notebook, each, root=root) for each in _choices(notebook)]
    kept = next((str(path) for path in places if path.exists()), None)
    return kept or f"{book_source()}: none at {', '.join(map(str, places))}"


def shown(notebook: NotebookNode, *, root: Path, label: str) -> Path | None:
    """Return where the run is kept that the book shows of a page, running it first if it is not.

    Returns
    -------
    pathlib.Path or None
        None where `LMBOOK_SOURCE` is `ready` and there is neither a run nor a record.

    Raises
    ------
    lmbook.chapters.ChapterError
        If a cell raises or the kernel dies, unless `LMBOOK_SOURCE` is `ready`: then standard error says why
        there is no record.
    """
    choices = _choices(notebook)
    for values in choices:
        path = chapters.stored(notebook, values, root=root)
        if path.exists():
            return path
    if book_source() != READY:
        return chapters.executed(notebook, choices[0], root=root, label=label)
    for values in choices[1:]:
        try:
            return chapters.executed(notebook, values, root=root, label=label)
        except chapters.ChapterError as error:
            given = ", ".join(f"{name} {value}" for name, value in values.items())
            reason = str(error).splitlines()[-1]
            print(f"{label} cannot be shown with {given} before it has been run: {reason}", file=sys.stderr)
    return None


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    """Return a page as its text alone, which says so."""
    page = copy.deepcopy(notebook)
    note = nbformat.v4.new_markdown_cell(_WITHOUT_OUTPUTS, metadata={"tags": []})
    page.cells.insert(1, note)
    page.metadata.source_map.insert(1, page.metadata.source_map[0])
    return page


def _one_of(known: tuple[str, ...], variable: str) -> str | None:
    """Return what an environment variable says; an empty one says nothing."""
    said = os.environ.get(variable) or None
    if said is not None and said not in known:
        raise parameters.ParameterError(f"{variable} needs one of {', '.join(known)}, got {said!r}")
    return said


def _choices(notebook: NotebookNode) -> list[dict[str, Any]]:
    """Return the parameters with which the book can show a page, best first; `ready` never runs the first."""
    source = book_source()
    if source != READY:
        return [book_parameters(notebook, source)]
    run = book_parameters(notebook, RUN)
    if "source" not in _declared(notebook):
        return [run]
    recorded = book_parameters(notebook, RECORDED)
    at_own_scale = {name: value for name, value in recorded.items() if name != "scale"}
    return [run, recorded, *([at_own_scale] if at_own_scale != recorded else [])]


def _declared(notebook: NotebookNode) -> dict[str, parameters.Parameter]:
    """Return the parameters of a page; none where their cell is no Python, which fails when it is run."""
    try:
        return parameters.declared(notebook)
    except SyntaxError:
        return {}


def _path(root: Path, name: str) -> Path:
    return root / f"{name}.md"
