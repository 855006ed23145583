from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import TINY

from lmbook import build, chapters, extension, pages
from lmbook.__main__ import main

NO_SOURCE = TINY.replace('source: str = "run"  # run, or recorded\n', "").replace(", source)", ")")
OTHER = TINY.replace("# A tiny chapter", "# Another chapter").replace("source)", "source, 2)")
LAST, FIRST = "chapters/01_tiny", "chapters/02_other"  # the root of the book is run last


def with_code(text, code):
    """A page with more code in its last cell."""
    return text.replace("print(scale", f"{code}\nprint(scale")


@pytest.fixture
def two_pages(tiny_book):
    """A book of two pages with code."""
    (tiny_book / f"{FIRST}.md").write_text(OTHER)
    contents = tiny_book / "_toc.yml"
    contents.write_text(contents.read_text().replace("chapters:\n", f"chapters:\n  - file: {FIRST}\n"))
    return tiny_book


class Executed:
    """In place of running pages: notes what would be run, and fails where it is told to."""

    def __init__(self):
        self.calls = []
        self.fails = lambda label, values: False

    def __call__(self, notebook, values, *, root, label, rescue):
        self.calls.append((label, values))
        if self.fails(label, values):
            raise chapters.ChapterError(f"{label} failed. In a cell:\nFileNotFoundError: not recorded")
        return notebook


@pytest.fixture
def executed(monkeypatch):
    stub = Executed()
    monkeypatch.setattr(chapters, "execute", stub)
    return stub


@pytest.fixture
def rendered(monkeypatch, two_pages):
    """In place of Jupyter Book: the sources and options that it is given, and the builds that are to warn."""
    calls, warn = [], set()

    def render(root, *asked):
        place = root / "_build" / "html" / "index.html"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        calls.append(asked)
        return len(calls) not in warn

    monkeypatch.setattr(build, "_rendered", render)
    return SimpleNamespace(calls=calls, warn=warn)


HTML = "_build/html/chapters"


def sources(folder):
    """Where the numbers on the two pages come from."""
    texts = [(folder / f"{Path(name).name}.html").read_text() for name in (FIRST, LAST)]
    return [source for text in texts for source in pages.SOURCES if f"demo None {source}" in text]


def kept(root):
    return {path: path.stat().st_mtime_ns for path in (root / ".cache" / "executed").iterdir()}


@pytest.mark.slow
def test_pages_show_the_record_until_each_is_replaced_by_its_run(two_pages, command):
    copy = "import shutil\nif source == 'run':\n    shutil.copytree('_build/html/chapters', 'seen_by_{}')"
    (two_pages / f"{FIRST}.md").write_text(with_code(OTHER, copy.format("first")))
    (two_pages / f"{LAST}.md").write_text(with_code(TINY, copy.format("last")))
    run = command("python -m lmbook build", cwd=two_pages)
    assert run.returncode == 0, run.stderr
    place = (two_pages / "_build" / "html" / "index.html").as_uri()
    assert run.stdout.splitlines() == [
        f"The book so far: {place}",
        "Open it now; chapters are being run and will replace these pages.",
        f"{FIRST} was run: its page is replaced.",
        f"{LAST} was run: its page is replaced.",
        f"The book: {place}",
    ]
    assert sources(two_pages / "seen_by_first") == ["recorded", "recorded"]
    assert sources(two_pages / "seen_by_last") == ["run", "recorded"]
    assert sources(two_pages / HTML) == ["run", "run"]

    runs, written = kept(two_pages), (two_pages / HTML / "01_tiny.html").stat()
    again = command("python -m lmbook build", cwd=two_pages)
    assert (again.returncode, again.stdout, again.stderr) == (0, f"The book: {place}\n", "")
    assert kept(two_pages) == runs
    assert (two_pages / HTML / "01_tiny.html").stat().st_mtime_ns == written.st_mtime_ns


KILL = """
import os
from pathlib import Path

if source == "run" and not Path("killed").exists():
    Path("killed").touch()
    os.kill(os.getppid(), 9)
"""


@pytest.mark.slow
def test_a_build_that_was_killed_goes_on_with_the_pages_that_it_lacks(two_pages, command):
    (two_pages / f"{LAST}.md").write_text(with_code(TINY, KILL))
    killed = command("python -m lmbook build", cwd=two_pages)
    assert killed.returncode == -9
    assert sources(two_pages / HTML) == ["run", "recorded"]
    runs = kept(two_pages)

    went_on = command("python -m lmbook build", cwd=two_pages)
    assert went_on.returncode == 0, went_on.stderr
    assert FIRST not in went_on.stdout
    assert sources(two_pages / HTML) == ["run", "run"]
    assert len(kept(two_pages)) == len(runs) + 1
    assert runs.items() <= kept(two_pages).items()


def test_a_page_that_fails_is_named_and_the_others_are_run(two_pages, rendered, executed, capsys):
    executed.fails = lambda label, values: label == FIRST
    assert build.build(two_pages) == 1
    assert executed.calls == [(FIRST, {}), (LAST, {})]
    said = capsys.readouterr()
    assert f"{FIRST} failed. In a cell:" in said.err
    assert f"Failed, or edited while it was run: {FIRST}." in said.err
    assert said.out.count("its page is replaced") == 1
    assert said.out.splitlines()[-1].startswith("The book: file://")


def test_a_page_that_was_edited_while_it_was_run_is_named(two_pages, rendered, monkeypatch, capsys):
    def execute(notebook, values, *, label, root, rescue):
        (root / f"{label}.md").write_text(with_code(TINY, "2"))
        return notebook

    monkeypatch.setattr(chapters, "execute", execute)
    assert build.build(two_pages) == 1
    assert f"{FIRST}, {LAST}. The same command tries again." in capsys.readouterr().err


def test_a_page_is_run_anew_when_its_text_was_edited_before_its_turn(
    two_pages, rendered, executed, monkeypatch
):
    seen = []

    def execute(notebook, values, *, label, root, rescue):
        seen.append(chapters.code_cells(notebook)[-1].source)
        (root / f"{LAST}.md").write_text(with_code(TINY, "2"))
        return notebook

    monkeypatch.setattr(chapters, "execute", execute)
    assert build.build(two_pages) == 0
    assert [source.count("\n2\n") for source in seen] == [0, 1]


def test_all_is_read_again_where_a_page_had_warned_before_its_turn(two_pages, rendered, executed):
    rendered.warn.add(1)
    assert build.build(two_pages) == 0
    assert rendered.calls == [("ready",)] * 3 + [("ready", "--all")]


@pytest.mark.parametrize("builds", [{3}, {1, 4}])
def test_a_warning_fails_the_build(two_pages, rendered, executed, builds):
    rendered.warn.update(builds | {4})
    assert build.build(two_pages) == 1


def test_a_warning_where_nothing_is_left_to_run_fails_the_build_at_once(two_pages, rendered, executed):
    build.build(two_pages)
    rendered.warn.add(4)
    assert build.build(two_pages) == 1
    assert len(rendered.calls) == 4


@pytest.mark.parametrize("source", ["recorded", "ready"])
def test_a_book_of_the_record_alone_runs_nothing(two_pages, rendered, executed, monkeypatch, source):
    monkeypatch.setenv(pages.SOURCE, source)
    assert build.build(two_pages) == 0
    assert rendered.calls == [(source,)]
    assert executed.calls == []


def test_nothing_is_run_where_the_first_step_leaves_no_book(two_pages, executed, monkeypatch, capsys):
    monkeypatch.setattr(build, "_rendered", lambda *_: False)
    assert build.build(two_pages) == 1
    assert executed.calls == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("variable", "choices"),
    [(pages.SOURCE, "run, recorded, ready"), (pages.SCALE, "smoke, demo, desktop, gpu, thesis")],
)
def test_an_unknown_source_or_scale_is_refused_with_the_choices(
    tiny_book, monkeypatch, capsys, variable, choices
):
    monkeypatch.chdir(tiny_book)
    monkeypatch.setenv(variable, "memory")
    with pytest.raises(SystemExit) as exit_:
        main(["build"])
    assert exit_.value.code == 2
    refusal = f"{variable} needs one of {choices}, got 'memory'"
    assert refusal in capsys.readouterr().err
    with pytest.raises(extension.ConfigError, match=refusal):
        extension._require_known_variables(SimpleNamespace())


def test_a_build_that_another_process_started_ends_with_it(monkeypatch):
    ended = []
    monkeypatch.setattr(extension.lifetime, "end_with", ended.append)
    extension._end_with_parent(SimpleNamespace())
    monkeypatch.setenv(extension.PARENT, "7")
    extension._end_with_parent(SimpleNamespace())
    assert ended == [7]


def test_a_folder_without_a_book_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(["build"])
    assert exit_.value.code == 2
    assert "no _config.yml in any folder above it" in capsys.readouterr().err


def test_a_build_that_is_interrupted_says_how_to_go_on(tiny_book, monkeypatch, capsys):
    def interrupted(root):
        raise KeyboardInterrupt

    monkeypatch.chdir(tiny_book)
    monkeypatch.setattr(build, "build", interrupted)
    assert main(["build"]) == 130
    assert "The same command goes on from here." in capsys.readouterr().err


TINY_PAGE = chapters.read(TINY)
RUN, AT_SMOKE, RECORDED = {"scale": "smoke"}, {"scale": "smoke", "source": "recorded"}, {"source": "recorded"}


@pytest.fixture
def show(tiny_book, executed, monkeypatch):
    """With which parameters a page is shown in a book at smoke scale that shows what is ready."""
    monkeypatch.setenv(pages.SOURCE, "ready")
    monkeypatch.setenv(pages.SCALE, "smoke")

    def show(notebook=TINY_PAGE):
        path = pages.shown(notebook, root=tiny_book, label="tiny")
        places = {chapters.stored(notebook, each, root=tiny_book): each for each in (RUN, AT_SMOKE, RECORDED)}
        return path and places[path]

    return show


def test_what_is_ready_is_the_run_where_one_is_kept(show, tiny_book):
    chapters.executed(TINY_PAGE, RUN, root=tiny_book, label="tiny")
    assert show() == RUN


def test_what_is_ready_before_a_run_is_the_record_at_its_scale(show, executed):
    assert [show(), show()] == [AT_SMOKE, AT_SMOKE]
    assert executed.calls == [("tiny", AT_SMOKE)]


def test_what_is_ready_where_the_scale_was_not_recorded_is_the_record_at_the_scale_of_the_page(
    show, executed, capsys
):
    executed.fails = lambda label, values: "scale" in values
    assert [show(), show()] == [RECORDED, RECORDED]
    assert executed.calls == [("tiny", AT_SMOKE), ("tiny", RECORDED)]
    assert capsys.readouterr().err == (
        "tiny cannot be shown with scale smoke, source recorded before it has been run: "
        "FileNotFoundError: not recorded\n"
    )


def test_nothing_is_ready_of_a_page_that_was_never_recorded(show, executed):
    executed.fails = lambda label, values: True
    assert show() is None


def test_a_page_that_has_no_record_is_not_run_to_be_ready(show, executed):
    assert show(chapters.read(NO_SOURCE)) is None
    assert executed.calls == []


def test_a_page_is_shown_anew_when_it_is_run(show, executed, tiny_book):
    show()
    before = pages.state(TINY_PAGE, tiny_book)
    chapters.executed(TINY_PAGE, RUN, root=tiny_book, label="tiny")
    assert pages.state(TINY_PAGE, tiny_book) != before


def test_a_page_without_a_record_is_run_when_runs_are_no_longer_left_out(show, tiny_book, monkeypatch):
    notebook = chapters.read(NO_SOURCE)
    ready = pages.state(notebook, tiny_book)
    monkeypatch.delenv(pages.SOURCE)
    assert pages.state(notebook, tiny_book) != ready


@pytest.mark.parametrize(
    ("scale", "source", "given"),
    [
        ("", None, {}),
        ("smoke", None, {"scale": "smoke"}),
        ("demo", "run", {}),
        ("demo", "recorded", {"source": "recorded"}),
    ],
)
def test_a_page_is_given_only_what_it_does_not_have_by_default(monkeypatch, scale, source, given):
    monkeypatch.setenv(pages.SCALE, scale)
    assert pages.book_parameters(TINY_PAGE, source) == given


def test_a_page_without_such_parameters_is_given_none(monkeypatch):
    monkeypatch.setenv(pages.SCALE, "smoke")
    text = NO_SOURCE.replace("scale: str", "size: str")
    assert pages.book_parameters(chapters.read(text), "recorded") == {}


def test_a_page_whose_parameters_are_no_python_is_given_none(monkeypatch):
    monkeypatch.setenv(pages.SCALE, "smoke")
    broken = chapters.read(TINY.replace("epochs: int", "epochs int"))
    assert pages.book_parameters(broken, "recorded") == {}


def test_pages_with_code_are_listed_in_the_order_of_the_book_with_its_root_at_the_end(two_pages):
    assert pages.with_code(two_pages) == [FIRST, LAST]


def test_a_page_without_outputs_says_so():
    shown = pages.without_outputs(TINY_PAGE)
    assert [cell.source[:8] for cell in shown.cells[:2]] == ["# A tiny", ":::{note"]
    assert len(shown.metadata.source_map) == len(shown.cells) == len(TINY_PAGE.cells) + 1


def test_pages_are_all_read_again_after_a_build_that_was_cut_short(tmp_path):
    app, env = SimpleNamespace(outdir=tmp_path), SimpleNamespace(found_docs={"one"})
    nothing_new = {"added": {"one"}, "changed": set(), "removed": set()}
    asked = []
    for exception in (None, KeyboardInterrupt(), None, None):
        asked.append(extension._outdated(app, env, **nothing_new))
        extension._note_the_end(app, exception)
    assert asked == [[], [], ["one"], []]
