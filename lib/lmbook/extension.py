"""The Sphinx extension of the book: each page is run as it is read, and none needs another host.

What Sphinx notes as read it never writes again, even where it was killed before it had written the page. So a
file stands beside the pages while they are built, and a build that finds it there reads all of them again.
"""

import os
import shutil
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import nbformat
from docutils.nodes import document
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ConfigError

from lmbook import chapters, pages, parameters
from lmdynamics.ground import lifetime

UNFINISHED = ".unfinished"
EXECUTED = "LMBOOK_EXECUTED"  # a notebook that was run already, and is to be shown as it is
PARENT = "LMBOOK_PARENT"  # number of the process with which this build is to end


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the hooks."""
    app.connect("builder-inited", _end_with_parent)
    app.connect("builder-inited", _require_known_variables)
    app.connect("builder-inited", _add_style)
    app.connect("env-get-outdated", _outdated)
    app.connect("source-read", _read)
    app.connect("html-page-context", _offer_notebook, priority=400)  # before the theme makes its buttons
    app.connect("html-page-context", _stay_local, priority=900)  # after everybody has added scripts
    app.connect("build-finished", _copy_scripts)
    app.connect("build-finished", _fail_after_a_failed_chapter)
    app.connect("build-finished", _note_the_end)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _end_with_parent(app: Sphinx) -> None:
    if parent := os.environ.get(PARENT):
        lifetime.end_with(int(parent))


def _require_known_variables(app: Sphinx) -> None:
    try:
        pages.book_source()
        pages.book_scale()
    except parameters.ParameterError as error:
        raise ConfigError(str(error)) from None


def _add_style(app: Sphinx) -> None:
    app.config.html_static_path.append(str(files("lmbook") / "static"))
    app.add_css_file("book.css")


def _outdated(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """Return the pages of which another run would be shown than when they were last read, or written."""
    unfinished = Path(app.outdir, UNFINISHED)
    if unfinished.exists():
        return list(env.found_docs)
    unfinished.touch()
    return [
        name
        for name in env.found_docs - added - changed
        if _note(env, name).get("state") != _state(app, name)
    ]


def _state(app: Sphinx, docname: str) -> str | None:
    """Return what tells whether another run of a page would be shown; None where there is nothing to run."""
    notebook = chapters.read(Path(app.env.doc2path(docname)).read_text(encoding="utf-8"))
    return pages.state(notebook, Path(app.srcdir)) if chapters.code_cells(notebook) else None


def _read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace a chapter's text by its executed notebook, which the parser then reads as one."""
    notebook = chapters.read(source[0])
    if chapters.code_cells(notebook):
        notebook = _executed(app, docname, notebook)
    source[0] = nbformat.writes(notebook)


def _executed(app: Sphinx, docname: str, notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    root = Path(app.srcdir)
    try:
        path = _given() or pages.shown(notebook, root=root, label=docname)
        run = chapters.load(path) if path else None
    except chapters.ChapterError as failure:
        print(f"\n{failure}\n", file=sys.stderr)
        _note_run(app.env, docname, succeeded=False, runtime=None, when=time.time())
        return pages.without_outputs(notebook)
    if path is None or run is None:
        _note(app.env, docname)["state"] = pages.state(notebook, root)
        return pages.without_outputs(notebook)
    _note(app.env, docname).update(state=str(path), run=str(path))
    runtime, when = run.metadata.papermill.duration, path.stat().st_mtime
    recorded = run.metadata.papermill.parameters.get("source") == pages.RECORDED
    method = "papermill, recorded results" if recorded else "papermill"
    _note_run(app.env, docname, succeeded=True, runtime=runtime, when=when, method=method)
    return chapters.merged(notebook, run)


def _given() -> Path | None:
    """Return the notebook that was run already and is to be shown as it is, if there is one."""
    path = os.environ.get(EXECUTED)
    return Path(path) if path else None


def _note(env: BuildEnvironment, docname: str) -> dict[str, Any]:
    return NbMetadataCollector.get_doc_data(env)[docname]


def _note_run(
    env: BuildEnvironment,
    docname: str,
    *,
    succeeded: bool,
    runtime: float | None,
    when: float,
    method: str = "papermill",
) -> None:
    """Give the table of execution times its row."""
    row = {"mtime": when, "runtime": runtime, "method": method, "succeeded": succeeded}
    NbMetadataCollector.set_exec_data(env, docname, {**row, "error": None, "traceback": None})


def _offer_notebook(
    app: Sphinx, pagename: str, template: str, context: dict, doctree: document | None
) -> None:
    path = doctree is not None and _note(app.env, pagename).get("run")
    if path:
        offered = Path(app.outdir, "_sources", f"{pagename}.ipynb")
        offered.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, offered)
        context["ipynb_source"] = f"{pagename}.ipynb"


def _stay_local(app: Sphinx, pagename: str, template: str, context: dict, doctree: document | None) -> None:
    """Drop Thebe, which loads itself from elsewhere; add Plotly's script where there is a figure for it."""
    for kind in ("script_files", "css_files"):
        context[kind][:] = [file for file in context[kind] if not _is_thebe(file)]
    if "plotly-graph-div" in context.get("body", ""):
        app.add_js_file("plotly.min.js")


def _is_thebe(file: Any) -> bool:
    return "thebe" in f"{file} {getattr(file, 'attributes', {}).get('body', '')}".lower()


def _copy_scripts(app: Sphinx, exception: Exception | None) -> None:
    """Take MathJax and Plotly from their Python packages; as static files every page would load them.

    They are copied at each build, which takes no time, so that none is missing, cut short or old.
    """
    static = Path(app.outdir, "_static")
    if exception or app.builder.format != "html":
        return
    shutil.copy(str(files("plotly") / "package_data" / "plotly.min.js"), static)
    mathjax, fonts = Path(str(files("mathjax"))) / "static" / "mathjax" / "es5", "output/chtml/fonts/woff-v2"
    shutil.copytree(mathjax / fonts, static / "mathjax" / fonts, dirs_exist_ok=True)
    shutil.copy(mathjax / "tex-mml-chtml.js", static / "mathjax")


def _fail_after_a_failed_chapter(app: Sphinx, exception: Exception | None) -> None:
    runs = [data.get("exec_data") for data in NbMetadataCollector.get_doc_data(app.env).values()]
    if any(run and not run["succeeded"] for run in runs):
        app.statuscode = 1


def _note_the_end(app: Sphinx, exception: Exception | None) -> None:
    if exception is None:
        Path(app.outdir, UNFINISHED).unlink(missing_ok=True)
