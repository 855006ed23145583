"""Chapters as notebooks: read from their text, run by papermill, kept so that nothing is run twice.

What a run is kept under changes with the code cells, the parameters, every definition of the library and of
the book's experiments that the cells reach, the recorded results that they can read, the tagged corpora at
hand if they tag, the figures that they link to, and the versions of Python, NumPy and PyTorch; prose does not
count.
"""

import ast
import copy
import hashlib
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import nbformat
import papermill
import plotly.io
from IPython.core.inputtransformer2 import TransformerManager
from jupytext.myst import myst_to_notebook
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.models import Parameter
from papermill.translators import PythonTranslator, papermill_translators

from lmbook import parameters as declarations
from lmbook.following import following
from lmdynamics.ground import provenance, storage
from lmdynamics.ground.paths import CACHE_VARIABLE, named_by
from lmdynamics.text.downloads import DATA_VARIABLE, DownloadError
from lmthesis.values import checked

JUPYTER = Path(__file__).with_name("jupyter")
"""The kernel of the book, and how JupyterLab opens a chapter."""
EXPERIMENTS = "lmthesis"
"""The package of the book's experiments; results that it recorded are read by its module `recorded` alone."""
INJECTED = "injected-parameters"
PLOTLY = "application/vnd.plotly.v1+json"


class ChapterError(Exception):
    """A cell raised (the message holds it and its traceback), the kernel died, or a kept run is damaged."""


class _Translator(PythonTranslator):
    """Papermill's own overlooks parameters of a type such as `int | None`, then calls them unknown."""

    @classmethod
    def inspect(cls, cell: NotebookNode) -> list[Parameter]:
        found = declarations.declared(nbformat.v4.new_notebook(cells=[cell]))
        return [Parameter(p.name, p.type, p.default, p.help) for p in found.values()]


papermill_translators.register("python", _Translator)


def read(text: str) -> NotebookNode:
    """Return a chapter, or a page without code, as a notebook that has not been run."""
    notebook = myst_to_notebook(text, add_source_map=True)
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])
    if code_cells(notebook):
        notebook.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells of a notebook, without the one in which papermill puts parameters."""
    return [c for c in notebook.cells if c.cell_type == "code" and INJECTED not in c.metadata.get("tags", [])]


def project_root(path: Path) -> Path:
    """Return the nearest folder at or above a path that holds the book's `_config.yml`.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    for folder in (path.resolve(), *path.resolve().parents):
        if (folder / "_config.yml").is_file():
            return folder
    raise FileNotFoundError(
        f"need a chapter inside a book, got {path} with no _config.yml in any folder above it"
    )


def cache_folder(root: Path) -> Path:
    """Return the folder of what is kept between runs: `LMDYNAMICS_CACHE`, else `.cache` in the project."""
    return named_by(CACHE_VARIABLE) or root / ".cache"


def key(notebook: NotebookNode, parameters: dict[str, Any]) -> str:
    """Return the name of a run, less the corpora at hand: 16 hexadecimal digits of what else decides it."""
    code = _python(notebook)
    depends_on = {
        "cells": [cell.source for cell in code_cells(notebook)],
        "parameters": parameters,
        "library": provenance.text_fingerprint(code),  # as its files are: a kernel imports them anew
        "recorded": _recorded(_reached(code)),
        "places": _places(_reached(code)),
        "versions": [sys.version_info[:2], version("numpy"), version("torch")],
    }
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:16]


def check(notebook: NotebookNode, parameters: dict[str, Any]) -> None:
    """Refuse, before anything is run, what a page would refuse in its first cell.

    Parameters
    ----------
    notebook
        A page that may import the settings of a chapter.
    parameters
        Values of some of the parameters that it declares.

    Raises
    ------
    lmbook.parameters.ParameterError
        If there is no such source or scale, or the chapter's settings refuse a value or a combination.
    """
    from lmthesis import recorded, scales

    declared = declarations.declared(notebook)
    values = {name: ast.literal_eval(each.default) for name, each in declared.items()} | parameters
    modules = {name for name in provenance.imported_modules(_python(notebook)) if name.endswith(".settings")}
    try:
        for name, known in (("source", recorded.SOURCES), ("scale", scales.NAMES)):
            if name in values:
                checked(name, Literal[known], values[name])
        for settings in map(importlib.import_module, sorted(modules)):
            settings.scale(values["scale"], **scales.given(values, settings.Settings))
    except ValueError as error:
        raise declarations.ParameterError(str(error)) from None


def stored(notebook: NotebookNode, parameters: dict[str, Any], *, root: Path) -> Path:
    """Return where the run of a chapter is kept, whether or not there is one yet."""
    return _place(notebook, key(notebook, parameters), root)


def execute(
    notebook: NotebookNode, parameters: dict[str, Any], *, root: Path, label: str, rescue: Path
) -> NotebookNode:
    """Run a chapter from the project's root and return it with its outputs; progress goes to the terminal.

    Parameters
    ----------
    notebook
        The chapter.
    parameters
        Values of some of its parameters.
    root
        The project.
    label
        What the chapter is called in the terminal.
    rescue
        Where the notebook goes as far as it ran, where it does not run to its end.

    Raises
    ------
    ChapterError
        If a cell raises or the kernel dies; says where the notebook is.
    """
    with environment(root), following(label), tempfile.TemporaryDirectory() as folder:
        partial = Path(folder) / "chapter.ipynb"  # papermill writes it after each cell
        try:
            run = papermill.execute_notebook(
                notebook, str(partial), parameters, kernel_name="python3", cwd=str(root), progress_bar=False
            )
        except BaseException as error:
            rescued = _rescued(partial, rescue)
            if not isinstance(error, PapermillExecutionError | DeadKernelError):
                raise
            raise ChapterError(
                f"{label} failed; {rescued}. {str(error).strip().strip('-').strip()}"
            ) from None
    run.metadata.papermill.output_path = None  # it is gone
    return run


def _rescued(partial: Path, rescue: Path) -> str:
    """Keep what papermill has written of a notebook, and say where."""
    if not partial.exists():
        return "nothing was run"
    try:
        keep(nbformat.read(partial, as_version=4), rescue)
    except ChapterError as error:
        return str(error)
    return f"as far as it ran, it is {rescue}"


def executed(notebook: NotebookNode, parameters: dict[str, Any], *, root: Path, label: str) -> Path:
    """Return where a chapter's run is kept, running it first if it is not.

    Raises
    ------
    ChapterError
        If a cell raises or the kernel dies.
    lmdynamics.ground.storage.StorageError
        If the run cannot be kept, where that is known before it begins.
    """
    under = key(notebook, parameters)  # of the code before the run, which may be edited meanwhile
    path = _place(notebook, under, root)
    if not path.exists():
        storage.require_place(path)  # before hours of work
        rescue = cache_folder(root) / "failed" / f"{Path(label).name}.ipynb"
        run = execute(notebook, parameters, root=root, label=label, rescue=rescue)
        path = _place(notebook, under, root)  # with the corpora after it, which may have downloaded some
        keep(run, path)
    return path


def keep(notebook: NotebookNode, path: Path) -> None:
    """Write an executed notebook; where its place cannot be written, among temporary files.

    Raises
    ------
    ChapterError
        If its place cannot be written: names it, what it needs, and where the notebook is instead.
    """
    try:
        write(notebook, path)
    except OSError as error:
        text = nbformat.writes(notebook)
        instead = Path(tempfile.mkdtemp(prefix="lmbook-")) / path.name
        instead.write_text(text, encoding="utf-8")
        raise ChapterError(
            f"{path} cannot be written ({error.strerror or error}): it needs {len(text.encode()):,} bytes; "
            f"until there is room, the executed notebook is {instead}"
        ) from error


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook whole or not at all, with the SHA-256 of its text less that of the checksum itself.

    Raises
    ------
    lmdynamics.ground.storage.StorageError
        If it cannot be written.
    """
    digest = hashlib.sha256(_sealed(notebook, "")).hexdigest()
    storage.write(path, _sealed(notebook, digest))


def load(path: Path) -> NotebookNode:
    """Return a notebook as `write` has kept it.

    Raises
    ------
    ChapterError
        If it is damaged.
    """
    content = path.read_bytes()
    try:
        digest = json.loads(content)["metadata"]["lmbook"]["sha256"]
        if hashlib.sha256(content.replace(digest.encode(), b"", 1)).hexdigest() != digest:
            raise ValueError("its SHA-256 is not the one in its metadata")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ChapterError(f"{path} is damaged ({error}); delete it, and the chapter is run again") from error
    return nbformat.reads(content.decode(), as_version=4)


def merged(notebook: NotebookNode, run: NotebookNode) -> NotebookNode:
    """Return a chapter's text as it is now with the outputs of its run, made ready for a page.

    The cell in which papermill put parameters stays, after the one that it overrides and hidden if that is.
    """
    page = copy.deepcopy(notebook)
    for cell, ran in zip(code_cells(page), code_cells(run), strict=True):
        cell.execution_count = ran.execution_count
        cell.outputs = [_for_a_page(output) for output in ran.outputs]
    tagged = [i for i, cell in enumerate(page.cells) if declarations.TAG in cell.metadata.tags]
    for injected in (cell for cell in run.cells if INJECTED in cell.metadata.get("tags", [])):
        at = tagged[0]
        injected.metadata.tags = [INJECTED, *page.cells[at].metadata.tags]
        page.cells.insert(at + 1, injected)
        page.metadata.source_map.insert(at + 1, page.metadata.source_map[at])
    return page


@contextmanager
def environment(root: Path) -> Iterator[None]:
    """Set what a kernel needs to know: `variables`, and figures as data."""
    before = dict(os.environ)
    own = variables(root) | {"PLOTLY_RENDERER": before.get("PLOTLY_RENDERER") or "plotly_mimetype"}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            del os.environ[name]
            os.environ.update({name: before[name]} if name in before else {})


def _sealed(notebook: NotebookNode, digest: str) -> bytes:
    """Return the text of a notebook with a checksum in its metadata."""
    metadata = NotebookNode({**notebook.metadata, "lmbook": {"sha256": digest}})
    return (nbformat.writes(NotebookNode({**notebook, "metadata": metadata})) + "\n").encode()


def variables(root: Path) -> dict[str, str]:
    """Return what environment variables are to hold in a kernel of the book, wherever it starts.

    Returns
    -------
    dict[str, str]
        By name: the folders of the cache and of corpora as whole paths, from where this process stands; and
        where Jupyter finds a kernel that ends with the process that starts it.
    """
    jupyter = [str(JUPYTER), os.environ.get("JUPYTER_PATH")]
    own = {
        CACHE_VARIABLE: str(cache_folder(root)),
        "JUPYTER_PATH": os.pathsep.join(filter(None, jupyter)),
    }
    data = named_by(DATA_VARIABLE)
    return own | ({DATA_VARIABLE: str(data)} if data else {})


def _place(notebook: NotebookNode, under: str, root: Path) -> Path:
    """Return the file of a run; its name ends in the corpora at hand that a chapter with tasks would miss."""
    found = []
    if "lmdynamics.text.tasks" in _reached(_python(notebook)):
        from lmdynamics.text import corpora, tasks

        with environment(root), suppress(DownloadError):  # where there is no such folder, cells say so
            found = [name for name in tasks.CORPORA if corpora.at_hand(name)]
    return cache_folder(root) / "executed" / f"{'-'.join([under, *found])}.ipynb"


def _python(notebook: NotebookNode) -> str:
    """Return the code cells as one source text without those that are no Python: these fail when run."""
    provenance.track(EXPERIMENTS)
    found = []
    for cell in code_cells(notebook):
        with suppress(SyntaxError):
            source = TransformerManager().transform_cell(cell.source)  # magics as calls
            ast.parse(source)
            found.append(source)
    return "\n".join(found)


def _reached(code: str) -> set[str]:
    """Return the modules of which some code reaches a definition."""
    return {definition.module for definition in provenance.text_reaches(code)}


def _recorded(reached: set[str]) -> dict[str, str]:
    """Return digests of the recorded results of the chapters whose modules are reached, by file."""
    if f"{EXPERIMENTS}.recorded" not in reached:
        return {}
    from lmthesis.recorded import RESULTS

    names = {module.removeprefix(f"{EXPERIMENTS}.").partition(".")[0] for module in reached}
    folders = [folder for folder in RESULTS.glob("*") if folder.name.partition("-")[0] in names]
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(RESULTS).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }


def _places(reached: set[str]) -> list[list[str]]:
    """Return where pages decide findings, if the module is reached that links to there."""
    if f"{EXPERIMENTS}.places" not in reached:
        return []
    from lmthesis import places

    return [[*finding, place.address] for finding, place in sorted(places.by_finding().items())]


def _for_a_page(output: NotebookNode) -> NotebookNode:
    """Return an output with a Plotly figure drawn as HTML, for which a page has the script."""
    figure = output.get("data", {}).get(PLOTLY)
    if figure is None:
        return output
    html = plotly.io.to_html(
        figure,
        config={"displaylogo": False, "responsive": True},
        full_html=False,
        include_plotlyjs=False,
        auto_play=False,
        validate=False,
    )
    return nbformat.v4.new_output("display_data", {"text/html": html})
