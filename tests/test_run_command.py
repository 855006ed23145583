import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
from conftest import ROOT, TINY
from filelock import FileLock

from lmbook import build, chapters, parameters
from lmbook.__main__ import _absolute, main
from lmbook.following import following
from lmdynamics.ground import progress
from lmdynamics.ground.paths import CACHE_VARIABLE
from lmdynamics.text.downloads import DATA_VARIABLE

DECLARED = """
scale: Literal["smoke", "demo"] = "demo"  # how large
epochs: int | None = None  # passes
rate: float = 20.0
fast: bool = False
corpus: str | None = None  # text
seeds: list[int] = [0, 1]
words: list[str] | None = None
units = 200  # without a type
"""


@pytest.fixture
def notebook():
    cell = nbformat.v4.new_code_cell(DECLARED, metadata={"tags": ["parameters"]})
    return nbformat.v4.new_notebook(cells=[cell])


def printed(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.output_type == "stream")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("scale", "smoke", "smoke"),
        ("epochs", "5", 5),
        ("epochs", "none", None),
        ("rate", "1e-2", 0.01),
        ("fast", "true", True),
        ("corpus", "5", "5"),
        ("corpus", "none", None),
        ("seeds", "3,4", [3, 4]),
        ("seeds", "[3, 4]", [3, 4]),
        ("words", "the, 'of'", ["the", "of"]),
        ("units", "100", 100),
    ],
)
def test_text_becomes_a_value_of_the_declared_type(notebook, name, text, value):
    assert parameters.parse(notebook, [(name, text)]) == {name: value}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("scale", "huge"),
        ("epochs", "five"),
        ("epochs", "1.5"),
        ("rate", "fast"),
        ("fast", "1"),
        ("seeds", "a,b"),
        ("units", "none"),
    ],
)
def test_text_of_another_type_is_refused(notebook, name, text):
    with pytest.raises(parameters.ParameterError, match=f"{name} needs .*, got '{text}'; there are:"):
        parameters.parse(notebook, [(name, text)])


def test_an_unknown_name_is_refused_with_the_list_of_those_that_there_are(notebook):
    with pytest.raises(parameters.ParameterError, match=r"no parameter epoch .*\n.*\nepochs  int \| None"):
        parameters.parse(notebook, [("epoch", "5")])


def test_a_parameter_is_listed_with_type_default_and_help(tiny_book, capsys):
    assert main(["run", str(tiny_book / "chapters" / "01_tiny.md"), "--list"]) == 0
    assert "epochs  int | None  = None    passes over the corpus" in capsys.readouterr().out


@pytest.mark.parametrize("given", [["nope", "3"], ["epochs", "many"]])
def test_a_refused_parameter_exits_with_2_and_runs_nothing(tiny_book, capsys, given):
    with pytest.raises(SystemExit) as exit_:
        main(["run", str(tiny_book / "chapters" / "01_tiny.md"), "-p", *given])
    assert exit_.value.code == 2
    assert "passes over the corpus" in capsys.readouterr().err
    assert not (tiny_book / "_build").exists()


def test_a_chapter_that_is_not_there_exits_with_2(tiny_book, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["run", str(tiny_book / "chapters" / "02_absent.md")])
    assert exit_.value.code == 2
    assert "02_absent.md" in capsys.readouterr().err


def refused(tiny_book, capsys, options, message):
    """That a call of the chapter is refused, and nothing was run."""
    with pytest.raises(SystemExit) as exit_:
        main(["run", str(tiny_book / "chapters" / "01_tiny.md"), *options])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tiny_book.rglob("*.ipynb"))


@pytest.mark.parametrize("output", ["out", "out.html", "."])
def test_an_output_that_is_no_notebook_exits_with_2_and_runs_nothing(tiny_book, capsys, output):
    refused(tiny_book, capsys, ["-o", output], "-o needs the name of a notebook, OUT.ipynb")


def test_an_output_without_a_name_is_refused(tiny_book, capsys):
    refused(tiny_book, capsys, ["-o", ""], "-o: invalid path value: ''")


def test_an_output_below_a_file_or_beside_one_of_its_name_is_refused(tiny_book, capsys):
    (tiny_book / "taken").touch()
    below, beside = tiny_book / "taken" / "out.ipynb", tiny_book / "taken.ipynb"
    refused(tiny_book, capsys, ["-o", str(below)], "-o needs a place that can be written")
    refused(
        tiny_book, capsys, ["-o", str(beside)], f"the folder {tiny_book / 'taken'} can be made, got a file"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["-p", "scale", "huge"], "scale needs one of smoke, demo, desktop, gpu, thesis, got 'huge'"),
        (["-p", "source", "memory"], "source needs one of run, recorded, got 'memory'"),
        (["-p", "epochs", "3", "-p", "epochs", "4"], "epochs needs one value, got several"),
        (["-p", "scale", ""], "scale needs str, got ''"),
    ],
)
def test_a_value_that_no_page_can_have_is_refused(tiny_book, capsys, given, message):
    refused(tiny_book, capsys, given, message)


def test_a_value_that_the_settings_of_the_chapter_refuse_is_refused_before_anything_runs(tiny_book, capsys):
    (tiny_book / "chapters" / "01_tiny.md").write_text(
        TINY.replace("print(scale", "from lmthesis.chapter_6 import settings\nprint(scale")
    )
    refused(tiny_book, capsys, ["-p", "epochs", "0"], "epochs needs a whole number from 1 to")


@pytest.mark.parametrize("corpus", ["absent", "", "demo"])
def test_a_corpus_that_is_not_there_is_refused_also_where_the_project_has_one(
    tiny_book, capsys, monkeypatch, corpus
):
    (tiny_book / "absent").mkdir()
    (tiny_book / "elsewhere").mkdir()
    monkeypatch.chdir(tiny_book / "elsewhere")
    (tiny_book / "chapters" / "01_tiny.md").write_text(
        TINY.replace("epochs: int | None = None", "corpus: str | None = None")
    )
    refused(tiny_book, capsys, ["-p", "corpus", corpus], "corpus needs")


def test_what_is_no_text_of_a_chapter_is_refused(tiny_book, capsys):
    notebook = tiny_book / "chapters" / "01_tiny.txt"
    notebook.touch()
    with pytest.raises(SystemExit) as exit_:
        main(["run", str(notebook)])
    assert exit_.value.code == 2
    assert "need the text of a chapter, chapters/....md, got" in capsys.readouterr().err


def test_only_a_corpus_that_is_a_path_is_seen_from_where_the_command_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("demo", "wikitext-2", "mytext"):
        Path(name).mkdir()
    known = {"scale": "demo", "corpus": "wikitext-2"}
    assert _absolute(known, Path("elsewhere")) == known
    assert _absolute({"corpus": "mytext"}, Path("elsewhere")) == {"corpus": str(tmp_path / "mytext")}
    assert _absolute({"corpus": "mytext"}, tmp_path) == {"corpus": "mytext"}
    gone = {"corpus": "gone", "source": "recorded"}
    assert _absolute(gone, tmp_path) == gone


@pytest.mark.parametrize("variable", [CACHE_VARIABLE, DATA_VARIABLE])
def test_kernels_are_told_whole_paths_and_no_longer_after(tmp_path, monkeypatch, variable):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "mine")
    with chapters.environment(Path("elsewhere")):
        assert os.environ[variable] == str(tmp_path / "mine")
    assert os.environ[variable] == "mine"


def test_an_empty_variable_names_no_folder(tmp_path, monkeypatch):
    for variable in (CACHE_VARIABLE, DATA_VARIABLE):
        monkeypatch.setenv(variable, "")
    assert chapters.variables(tmp_path)[CACHE_VARIABLE] == str(tmp_path / ".cache")
    assert DATA_VARIABLE not in chapters.variables(tmp_path)


def test_jupyterlab_is_told_the_same_whatever_the_folders_are_called(tiny_book, monkeypatch):
    root = tiny_book.rename(tiny_book.with_name("a book's (name)"))
    monkeypatch.chdir(root)
    monkeypatch.setenv(DATA_VARIABLE, "my corpora")
    seen = []
    monkeypatch.setattr(os, "execve", lambda *call: seen.append(call))
    main(["notebook"])
    ((program, arguments, variables),) = seen
    assert program == Path(sys.executable).with_name("jupyter-lab")
    assert arguments[1:] == [str(root / "chapters")]
    assert variables[CACHE_VARIABLE] == str(root / ".cache")
    assert variables[DATA_VARIABLE] == str(root / "my corpora")
    assert chapters.JUPYTER / "labconfig" in Path(variables["JUPYTER_CONFIG_PATH"]).iterdir()


def test_make_works_in_a_folder_with_a_space_in_its_name(tmp_path):
    """A stand-in for Python says what it is called with."""
    folder, cache = tmp_path / "a book", tmp_path / "a cache"
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / "chapters").mkdir()
    (cache / "executed").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "hatch_build.py"):
        shutil.copy(ROOT / name, folder)
    python = folder / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$PWD: $*"\n')
    python.chmod(0o755)
    (folder / ".venv" / "installed").touch()
    run = subprocess.run(
        ["make", "notebook", "clean"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), CACHE_VARIABLE: "~/a cache"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, f"{folder}: -m lmbook notebook\n"), run.stderr
    assert not (cache / "executed").exists()
    assert cache.exists()


def test_a_run_leaves_the_executed_notebook_and_its_page(tiny_book, command):
    run = command("python -m lmbook run chapters/01_tiny.md -p epochs 5", cwd=tiny_book)
    assert run.returncode == 0, run.stderr
    executed = tiny_book / "_build" / "runs" / "01_tiny.ipynb"
    page = tiny_book / "_build" / "runs" / "01_tiny" / "chapters" / "01_tiny.html"
    assert str(executed) in run.stdout
    assert str(page) in run.stdout
    assert printed(nbformat.read(executed, as_version=4)) == "demo 5 run\n"
    assert "demo 5" in page.read_text()
    assert (page.parents[1] / "_static" / "mathjax" / "tex-mml-chtml.js").exists()


def test_progress_is_shown_with_the_chapter_in_front(monkeypatch, capsys):
    monkeypatch.setattr(progress, "Line", partial(progress.Line, seconds=0.0))
    with following("04_similarity"):
        Path(os.environ[progress.VARIABLE]).write_text("epoch 1 of 3\nepoch 2 of 3\n")
        time.sleep(0.5)
    assert capsys.readouterr().err.splitlines()[-1] == "04_similarity: epoch 2 of 3"


def test_a_failing_cell_exits_with_1_shows_its_traceback_once_and_leaves_the_notebook(tiny_book, command):
    chapter = tiny_book / "chapters" / "deeper" / "01_tiny.md"
    chapter.parent.mkdir()
    chapter.write_text(TINY.replace("print(scale, epochs, source)", "print(scale)\n1 / 0"))
    run = command("python -m lmbook run chapters/deeper/01_tiny.md -o new/out.ipynb", cwd=tiny_book)
    assert run.returncode == 1
    assert run.stderr.count("ZeroDivisionError: division by zero") == 1
    kept = tiny_book / "new" / "out.ipynb"
    assert f"as far as it ran, it is {kept}" in run.stderr
    assert printed(nbformat.read(kept, as_version=4)) == "demo\n"


def full(notebook, path):
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


@pytest.fixture
def a_run(monkeypatch):
    """In place of running a chapter: it has been run."""
    monkeypatch.setattr(chapters, "execute", lambda notebook, *_, **__: notebook)


def test_a_notebook_for_which_there_is_no_room_any_more_is_kept_elsewhere(
    tiny_book, monkeypatch, capsys, a_run
):
    monkeypatch.setattr(chapters, "write", full)
    monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix: str(tiny_book))
    output = tiny_book / "_build" / "runs" / "01_tiny.ipynb"
    assert main(["run", str(tiny_book / "chapters" / "01_tiny.md")]) == 1
    said = capsys.readouterr().err
    kept = tiny_book / "01_tiny.ipynb"
    needed = f"{output} cannot be written (No space left on device): it needs {kept.stat().st_size:,} bytes"
    assert needed in said
    assert f"the executed notebook is {kept}" in said
    assert len(nbformat.read(kept, as_version=4).cells) == 3


def test_a_run_without_room_for_its_notebook_is_refused(tiny_book, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    refused(tiny_book, capsys, [], "need 67,108,864 bytes, got 1,000; make room, or choose -o")


def test_a_deeper_chapter_leaves_its_page_too(tiny_book, monkeypatch, capsys, a_run):
    chapter = tiny_book / "chapters" / "deeper" / "01_tiny.md"
    chapter.parent.mkdir()
    chapter.write_text(TINY)

    def build(arguments, **_):
        book = arguments[-1]
        assert (book / "chapters" / "deeper" / "01_tiny.md").exists()
        (book / "_build" / "html").mkdir(parents=True)

    monkeypatch.setattr(subprocess, "run", build)
    assert main(["run", str(chapter)]) == 0
    assert "01_tiny/chapters/deeper/01_tiny.html" in capsys.readouterr().out


def test_a_path_means_what_it_means_where_it_was_typed(tiny_book, monkeypatch):
    (tiny_book / "elsewhere" / "text").mkdir(parents=True)
    monkeypatch.chdir(tiny_book / "elsewhere")
    seen = {}
    monkeypatch.setattr(chapters, "execute", lambda notebook, values, **_: seen.update(values) or notebook)
    monkeypatch.setattr("lmbook.__main__._page", lambda *_: None)
    source = TINY.replace("epochs: int | None = None", "corpus: str | None = None")
    (tiny_book / "chapters" / "01_tiny.md").write_text(source)
    main(["run", "../chapters/01_tiny.md", "-p", "corpus", "text", "-p", "scale", "demo"])
    assert seen == {"corpus": str(tiny_book / "elsewhere" / "text"), "scale": "demo"}


LOCKED = """
import time
from pathlib import Path

from filelock import FileLock


def locked(name: str) -> None:
    with FileLock(f"{name}.lock"):
        Path(name).touch()
        time.sleep(600)
"""
IN_WORKERS = """
from lmdynamics.ground import grid
import locked

grid.results(locked.locked, [("one",), ("other",)])
"""
IN_THE_KERNEL = """
from pathlib import Path
import locked

Path("other").touch()
locked.locked("one")
"""


@pytest.fixture
def adopting():
    """Orphans are adopted by this process and not by process 1, as a desktop's systemd does."""
    adopt = partial(ctypes.CDLL(None).prctl, 36)  # PR_SET_CHILD_SUBREAPER
    assert adopt(1, 0, 0, 0) == 0
    yield
    adopt(0, 0, 0, 0)


def processes(mark):
    """The numbers of those that have a variable of that value in their environment."""
    found = []
    for each in psutil.process_iter():
        with suppress(psutil.Error):
            if each.status() != psutil.STATUS_ZOMBIE and each.environ().get("MARK") == mark:
                found.append(each.pid)
    return found


def wait(until, *, seconds):
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")
@pytest.mark.parametrize(
    ("line", "code", "end", "status"),
    [
        ("python -m lmbook run chapters/01_tiny.md", IN_WORKERS, signal.SIGTERM, 128 + signal.SIGTERM),
        ("papermill chapters/01_tiny.md out.ipynb", IN_THE_KERNEL, signal.SIGKILL, -signal.SIGKILL),
    ],
    ids=["lmbook", "papermill"],
)
def test_whatever_ends_a_run_nothing_of_it_goes_on(tiny_book, adopting, line, code, end, status):
    (tiny_book / "locked.py").write_text(LOCKED)
    (tiny_book / "chapters" / "01_tiny.md").write_text(TINY.replace("print(scale", f"{code}\nprint(scale"))
    program, *rest = line.split()
    run = subprocess.Popen(
        [Path(sys.executable).with_name(program), *rest],
        cwd=tiny_book,
        env={**os.environ, "MARK": str(tiny_book)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait(lambda: all((tiny_book / name).exists() for name in ("one", "other")), seconds=90)
    run.send_signal(end)
    assert run.wait(10) == status
    wait(lambda: not processes(str(tiny_book)), seconds=10)
    for name in ("one", "other"):
        FileLock(tiny_book / f"{name}.lock").acquire(timeout=0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_asked_to_end_says_how_to_go_on(tiny_book, monkeypatch, capsys, number):
    monkeypatch.setattr(chapters, "execute", lambda *_, **__: os.kill(os.getpid(), number))
    before = signal.signal(number, signal.SIG_DFL)  # which nohup turns off
    try:
        assert main(["run", str(tiny_book / "chapters" / "01_tiny.md")]) == 128 + number
        assert "The same command goes on from here." in capsys.readouterr().err
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_a_signal_that_was_turned_off_stays_so(tiny_book, monkeypatch):
    """As nohup does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(build, "build", lambda root: os.kill(os.getpid(), signal.SIGHUP) or 0)
    monkeypatch.chdir(tiny_book)
    try:
        assert main(["build"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_plain_papermill_runs_a_chapter(tiny_book, command):
    run = command("papermill chapters/01_tiny.md out.ipynb -p epochs 5", cwd=tiny_book)
    assert run.returncode == 0, run.stderr
    assert "Warning" not in run.stderr
    assert "unknown parameter" not in run.stderr
    assert printed(nbformat.read(tiny_book / "out.ipynb", as_version=4)) == "demo 5 run\n"
