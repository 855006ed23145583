"""Run one chapter with other parameters: `python -m lmbook run chapters/<chapter>.md -p epochs 5`.

Or build the whole book: `python -m lmbook build`, at once from recorded results, then page by page from runs.
Or open the chapters in JupyterLab: `python -m lmbook notebook`.

Exit status: 0 when all was run and its pages were built, 1 when a cell failed or, in the whole book,
something warned, 2 when the call was refused.
"""

import argparse
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from nbformat import NotebookNode

from lmbook import build, chapters, extension, pages, parameters
from lmdynamics.ground import storage
from lmdynamics.ground.paths import path
from lmdynamics.text import corpora

_SPACE = 2**26
"""Bytes for a notebook and its page, with the scripts that they need."""


class RefusedError(Exception):
    """A call that cannot be carried out, before anything was done."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser, call = _parsed(arguments)
    try:
        with _signals_as_interrupts():
            status: int = call.command(call)
    except RefusedError as error:
        parser.exit(2, f"lmbook {call.name}: {error}\n")
    except KeyboardInterrupt as interrupt:
        logging.getLogger("asyncio").disabled = True  # it would report the cell that was cut off
        with suppress(OSError):  # the terminal may be gone
            print("\nStopped. The same command goes on from here.", file=sys.stderr)
        (number,) = interrupt.args or (signal.SIGINT,)
        return 128 + int(number)  # as shells have it
    return status


@contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """Stop in order, kernel first, at SIGTERM and SIGHUP as at Ctrl-C; when asked again, at once."""
    heeded = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) == signal.SIG_DFL]

    def interrupt(number: int, frame: object) -> None:
        for each in heeded:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt(number)

    for each in heeded:  # not those that nohup has turned off
        signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each in heeded:
            signal.signal(each, signal.SIG_DFL)


def _build(call: argparse.Namespace) -> int:
    try:
        return build.build(chapters.project_root(Path.cwd()))
    except (FileNotFoundError, storage.StorageError, parameters.ParameterError) as error:
        raise RefusedError(error) from None


def _notebook(call: argparse.Namespace) -> int:
    """Become JupyterLab, whose kernels are those of the book."""
    try:
        root = chapters.project_root(Path.cwd())
    except FileNotFoundError as error:
        raise RefusedError(error) from None
    config = [str(chapters.JUPYTER), os.environ.get("JUPYTER_CONFIG_PATH")]
    own = chapters.variables(root) | {"JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, config))}
    program = Path(sys.executable).with_name("jupyter-lab")
    os.execve(program, [program.name, str(root / "chapters")], os.environ | own)


def _run(call: argparse.Namespace) -> int:
    try:
        root = chapters.project_root(call.chapter)
        notebook = _notebook_of(call.chapter)
        if call.list:
            print(parameters.table(parameters.declared(notebook)))
            return 0
        values = _absolute(parameters.parse(notebook, call.parameters), root)
        chapters.check(notebook, values)
        output = _usable(call.output or root / "_build" / "runs" / f"{call.chapter.stem}.ipynb")
    except (OSError, parameters.ParameterError) as error:
        raise RefusedError(error) from None
    try:
        run = chapters.execute(notebook, values, root=root, label=call.chapter.stem, rescue=output)
        chapters.keep(run, output)
        print(f"notebook: {output}")
        print(f"page:     {_page(call.chapter.resolve(), output, root)}")
    except (chapters.ChapterError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"no page beside {output}: {error}", file=sys.stderr)
        return 1
    return 0


def _notebook_of(chapter: Path) -> NotebookNode:
    """Return the notebook of a chapter's text; raises OSError or ParameterError."""
    if chapter.suffix != ".md":
        raise RefusedError(f"need the text of a chapter, chapters/....md, got {str(chapter)!r}")
    notebook = chapters.read(chapter.read_text(encoding="utf-8"))
    try:
        parameters.declared(notebook)
    except SyntaxError as error:
        raise RefusedError(f"the parameters of {chapter} are no Python ({error})") from None
    return notebook


def _usable(output: Path) -> Path:
    """Return the whole path of a notebook that can be written, with its page in a folder beside it.

    Raises
    ------
    RefusedError
        If it has another suffix, something else is in its place, or the place cannot be written or is full.
    """
    output, page = output.absolute(), output.absolute().with_suffix("")
    if output.suffix != ".ipynb" or output.is_dir():
        raise RefusedError(f"-o needs the name of a notebook, OUT.ipynb, got {output}")
    if page.exists() and not page.is_dir():
        raise RefusedError(f"-o needs a place where the folder {page} can be made, got a file of that name")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output.parent).close()
    except OSError as error:
        raise RefusedError(f"-o needs a place that can be written, got {output} ({error.strerror})") from None
    if (free := shutil.disk_usage(output.parent).free) < _SPACE:
        raise RefusedError(
            f"{output} and its page need {_SPACE:,} bytes, got {free:,}; make room, or choose -o"
        )
    return output


def _parsed(arguments: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(prog="python -m lmbook", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="name")
    commands.add_parser("build", help="build the whole book").set_defaults(command=_build)
    commands.add_parser("notebook", help="open the chapters in JupyterLab").set_defaults(command=_notebook)
    run = commands.add_parser("run", help="run one chapter")
    run.set_defaults(command=_run)
    run.add_argument("chapter", type=path, help="the chapter's text, chapters/....md")
    run.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="give one parameter another value; a list as 0,1,2",
    )
    run.add_argument(
        "-o", dest="output", type=path, metavar="OUT.ipynb", help="where the executed notebook goes"
    )
    run.add_argument("--list", action="store_true", help="list the chapter's parameters and stop")
    return parser, parser.parse_args(arguments)


def _absolute(values: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return the values with a path to a corpus as seen from the project's root, where chapters run.

    Raises
    ------
    lmbook.parameters.ParameterError
        If a corpus to be read is neither known nor a path.
    """
    corpus = values.get("corpus")
    if corpus is None or corpus in corpora.NAMES:
        return values
    if not Path(corpus).exists() and values.get("source") != pages.RECORDED:
        raise parameters.ParameterError(
            f"corpus needs one of {', '.join(corpora.NAMES)}, a folder of .txt files or a MediaWiki dump, "
            f"got {corpus!r}, and there is no {Path(corpus).absolute()}"
        )
    return values if Path.cwd() == root else values | {"corpus": str(Path(corpus).absolute())}


def _page(chapter: Path, executed: Path, root: Path) -> Path:
    """Build the page of an executed chapter, with its bibliography, beside the notebook; return its path."""
    with tempfile.TemporaryDirectory() as folder:
        book = Path(folder)
        names = [chapter.relative_to(root), Path("chapters/references.md")]
        for name in (*names, Path("_config.yml"), Path("references.bib")):
            (book / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, book / name)
        contents = {"format": "jb-article", "root": str(names[0]), "sections": [{"file": str(names[1])}]}
        (book / "_toc.yml").write_text(yaml.safe_dump(contents))
        subprocess.run(
            [Path(sys.executable).with_name("jupyter-book"), "build", "-qq", book],
            env=os.environ
            | {extension.EXECUTED: str(executed), extension.PARENT: str(os.getpid())}
            | {pages.SCALE: "", pages.SOURCE: ""},  # of the whole book
            check=True,
            stdout=subprocess.DEVNULL,
        )
        html = executed.with_suffix("")
        shutil.copytree(book / "_build" / "html", html, dirs_exist_ok=True)
    return html / names[0].with_suffix(".html")


if __name__ == "__main__":
    sys.exit(main())
