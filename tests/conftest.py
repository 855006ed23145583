import os
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
CHROMIUM = Path("/usr/bin/chromium")

TINY = """\
---
jupytext: {text_representation: {format_name: myst}}
kernelspec: {name: python3, display_name: Python 3, language: python}
---
# A tiny chapter

The square of $x$ is $x^2$.

```{code-cell} ipython3
:tags: [parameters]
scale: str = "demo"  # how large everything is
source: str = "run"  # run, or recorded
epochs: int | None = None  # passes over the corpus
```

```{code-cell} ipython3
from lmdynamics.ground import progress

progress.report("halfway")
print(scale, epochs, source)
```
"""


def only(table, **values):
    """Rows of a table that have these values in these columns."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def one_after_another(function, arguments):
    """In this process, where shapes are checked, and on one processor, as `language_models.parallel` does."""
    # not at the top: what is imported before the tests are set up goes unchecked
    from lmthesis import language_models

    return [language_models._on_one(function, each) for each in arguments]


def article(number, title, words):
    """An article of an extracted dump, its title among its words."""
    text = " ".join(["word"] * (words - len(title.split())))
    head = f'<doc id="{number}" url="http://en.wikipedia.org/wiki?curid={number}" title="{title}">'
    return f"{head}\n{title}\n\n{text}\n\n</doc>\n".encode()


def never(*arguments, **settings):
    raise AssertionError("nothing is left to compute")


def closure(requirements: list[str]) -> list[Distribution]:
    """Distributions that some requirements need, those that these need, and so on, as installed here."""
    waiting, done = [Requirement(line) for line in requirements], set()
    while waiting:
        needed = waiting.pop()
        for extra in {"", *needed.extras}:
            if (needed.name, extra) not in done:
                done.add((needed.name, extra))
                lines = map(Requirement, distribution(needed.name).requires or [])
                waiting += [r for r in lines if not r.marker or r.marker.evaluate({"extra": extra})]
    return [distribution(name) for name, extra in done if not extra]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A cache of its own, so that everything is really computed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMDYNAMICS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def tiny_book(tmp_path, monkeypatch) -> Path:
    """A book of one small chapter with the checkout's own configuration, and a cache of its own."""
    monkeypatch.delenv("LMDYNAMICS_CACHE", raising=False)
    monkeypatch.delenv("LMBOOK_SCALE", raising=False)
    monkeypatch.delenv("LMBOOK_SOURCE", raising=False)
    for name in ("_config.yml", "references.bib"):
        shutil.copy(ROOT / name, tmp_path)
    chapters = tmp_path / "chapters"
    chapters.mkdir()
    shutil.copy(ROOT / "chapters" / "references.md", chapters)
    (chapters / "01_tiny.md").write_text(TINY)
    toc = "format: jb-book\nroot: chapters/01_tiny\nchapters:\n  - file: chapters/references\n"
    (tmp_path / "_toc.yml").write_text(toc)
    return tmp_path


@pytest.fixture
def command():
    """Run a program of this environment in a folder; its exit status and output are what it returns."""

    def run(line, *, cwd, **variables) -> subprocess.CompletedProcess:
        program, *rest = shlex.split(line)
        return subprocess.run(
            [str(Path(sys.executable).with_name(program)), *rest],
            cwd=cwd,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def book(tmp_path_factory) -> Path:
    """The HTML of the whole book at smoke scale, built from nothing with warnings as errors."""
    folder = tmp_path_factory.mktemp("book")
    build = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("jupyter-book")), "build", str(ROOT)),
            *("--path-output", str(folder), "-W", "-n", "--keep-going", "-q"),
        ],
        env={
            **os.environ,
            "LMBOOK_SCALE": "smoke",
            "LMBOOK_SOURCE": "run",
            "LMDYNAMICS_CACHE": str(folder / "cache"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    return folder / "_build" / "html"


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium."""
    if not CHROMIUM.exists():
        reason = f"need Debian's chromium at {CHROMIUM} to open the book; apt-get install chromium"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    quiet += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=quiet)
        yield chromium
        chromium.close()
