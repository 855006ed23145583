import json
import shutil
from pathlib import Path
from random import Random
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import jupytext
import nbformat
import pytest
import yaml
from conftest import ROOT, TINY, never

from lmbook import chapters, extension
from lmdynamics.ground import provenance
from lmdynamics.ground.storage import StorageError
from lmdynamics.text import downloads
from lmthesis import recorded

CONTENTS = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [CONTENTS["root"], *(entry["file"] for entry in CONTENTS["chapters"])]
EXECUTED = [page for page in PAGES if chapters.code_cells(chapters.read((ROOT / f"{page}.md").read_text()))]
CHAPTERS = [page for page in EXECUTED if Path(page).name[0].isdigit()]

# What a reader sees of a page. Hidden cells are opened first, so that what is folded away is looked at too.
LOOK = """() => {
  document.querySelectorAll('details').forEach(each => each.open = true);
  const page = document.querySelector('article');
  const figures = [...page.querySelectorAll('figure')];
  const drawn = 'img, svg.main-svg, table';
  const blank = image => !image.complete || image.naturalWidth === 0;
  return {
    text: page.innerText,
    figures: figures.length,
    empty: figures.filter(each => !each.querySelector(drawn)).map(each => each.id),
    broken: [...page.querySelectorAll('img')].filter(blank).map(each => each.alt),
    formulas: page.querySelectorAll('.math').length,
    rendered: page.querySelectorAll('.math mjx-container').length,
    stderr: [...page.querySelectorAll('.output.stderr, .output.traceback')].map(each => each.innerText),
    links: [...document.querySelectorAll('a[href]')].map(each => each.href),
  }
}"""
TOO_WIDE = "document.documentElement.scrollWidth - window.innerWidth"


@pytest.fixture(scope="module")
def seen(book, browser):
    """What each page of the book shows, and what it asked for, by the page's name."""
    found = {}
    for name in PAGES:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        errors, requests = [], []
        page.on(
            "console", lambda message, to=errors: to.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error, to=errors: to.append(str(error)))
        page.on("request", lambda request, to=requests: to.append(request.url))
        page.goto((book / f"{name}.html").as_uri(), wait_until="load")
        page.wait_for_timeout(1500)  # MathJax and Plotly draw after the page has loaded
        found[name] = page.evaluate(LOOK) | {"errors": errors, "requests": requests}
        widths = {}
        for width in (390, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(300)
            widths[width] = page.evaluate(TOO_WIDE)
        found[name]["too_wide"] = {width: by for width, by in widths.items() if by > 0}
        page.close()
    return found


@pytest.mark.browser
@pytest.mark.parametrize("name", CHAPTERS)
def test_each_chapter_has_figures_and_none_is_empty(seen, name):
    assert seen[name]["figures"] > 0
    assert seen[name]["empty"] == []


@pytest.mark.browser
@pytest.mark.parametrize("name", CHAPTERS)
def test_all_mathematics_is_rendered(seen, name):
    assert seen[name]["formulas"] > 0
    assert seen[name]["rendered"] == seen[name]["formulas"]
    assert "\\(" not in seen[name]["text"]


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_no_page_has_an_error_or_a_broken_image(seen, name):
    assert seen[name]["errors"] == []
    assert seen[name]["broken"] == []


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_no_page_asks_another_host_for_anything(seen, name):
    assert {urlsplit(url).scheme for url in seen[name]["requests"]} <= {"file", "data", "blob"}


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_no_page_shows_a_traceback_or_a_warning(seen, name):
    assert seen[name]["stderr"] == []
    for trouble in ("Traceback", "Warning:", "object at 0x", "<Figure size"):
        assert trouble not in seen[name]["text"]


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wider_than_its_window(seen, name):
    assert seen[name]["too_wide"] == {}


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_all_links_within_the_book_lead_somewhere(seen, name):
    targets = {urlsplit(link) for link in seen[name]["links"] if link.startswith("file:")}
    files = {target: Path(unquote(target.path)) for target in targets}
    assert [str(file) for file in files.values() if not file.exists()] == []
    pages = {file: file.read_text() for file in files.values() if file.suffix == ".html"}
    anchors = [(file, target.fragment) for target, file in files.items() if target.fragment and file in pages]
    assert [
        f"{file}#{anchor}" for file, anchor in anchors if f'id="{unquote(anchor)}"' not in pages[file]
    ] == []


@pytest.mark.browser
def test_search_finds_a_chapter_from_disk(book, browser):
    page = browser.new_page()
    page.goto(f"{(book / 'search.html').as_uri()}?q=language")
    page.wait_for_selector("#search-results li a", timeout=10_000)
    found = page.locator("#search-results li a").all_inner_texts()
    page.close()
    assert any("language model" in title for title in found)


def test_each_page_with_code_offers_its_executed_notebook(book):
    for name in EXECUTED:
        offered = json.loads((book / "_sources" / f"{name}.ipynb").read_text())
        assert any(cell.get("outputs") for cell in offered["cells"])
        assert f"_sources/{name}.ipynb" in (book / f"{name}.html").read_text()


def test_the_page_of_execution_times_has_a_row_for_each_page_with_code(book):
    text = (book / "chapters" / "execution-times.html").read_text()
    assert text.count("papermill</p>") == len(EXECUTED)


def key(text, parameters=None):
    return chapters.key(chapters.read(text), parameters or {})


def test_prose_and_captions_keep_what_a_run_is_kept_under():
    edited = TINY.replace("The square of", "Here the square of").replace(
        "ipython3\n\n", "ipython3\n:tags: [x]\n\n"
    )
    assert edited != TINY
    assert key(edited) == key(TINY)


def test_code_and_parameters_change_what_a_run_is_kept_under():
    assert len({key(TINY), key(TINY.replace("print(scale", "print(2, scale")), key(TINY, {"epochs": 5})}) == 3


MODULES = {
    "__init__": "",
    "recorded": "def load(chapter):\n    return chapter",
    "findings": """
import lmthesis
from lmthesis import recorded


def results():
    return recorded.load(lmthesis.__path__)


def styled(table):
    return table
""",
    "chapter_1/__init__": "",
    "chapter_1/study": """
from lmthesis import recorded
from lmthesis.chapter_1.layers import measured


def study():
    \"\"\"All.\"\"\"
    return measured(), recorded.load("chapter_1")


def unused():
    return 2
""",
    "chapter_1/layers": "def measured():\n    return 1  # why",
    "chapter_2/__init__": "",
    "chapter_2/study": "def study():\n    return 3",
}
STUDY = TINY.replace("print(scale", "from lmthesis.chapter_1 import study\n\nstudy.study()\nprint(scale")


@pytest.fixture
def experiments(tmp_path, monkeypatch):
    """Small experiments in place of the book's; chapter 1 reads its recorded results, chapter 2 none."""
    folder = tmp_path / "lmthesis"
    for name, text in MODULES.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(provenance, "_FOLDERS", {**provenance._FOLDERS, "lmthesis": folder})
    return folder


@pytest.mark.parametrize(
    ("module", "old", "new", "runs_again"),
    [
        ("chapter_1/study", '"chapter_1"', '"chapter_2"', True),
        ("chapter_1/layers", "return 1", "return 2", True),
        ("recorded", "return chapter", "return None", True),
        ("chapter_1/layers", "  # why", "", False),
        ("chapter_1/study", "All.", "Everything.", False),
        ("chapter_1/study", "return 2", "return 3", False),
        ("chapter_2/study", "return 3", "return 4", False),
        ("findings", "return table", "return None", False),
    ],
)
def test_a_page_is_run_again_after_an_edit_of_what_its_cells_reach_and_of_nothing_else(
    experiments, module, old, new, runs_again
):
    before, path = key(STUDY), experiments / f"{module}.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert (key(STUDY) != before) == runs_again


TAGGING = TINY.replace("print(scale", "from lmdynamics.text import tasks\n\ntasks.load\nprint(scale")
PMB = [name for name in downloads.SOURCES if "pmb" in name]


@pytest.fixture
def without_corpora(tmp_path, monkeypatch):
    """A book's folder whose cache holds no corpus."""
    monkeypatch.delenv("LMDYNAMICS_DATA", raising=False)
    monkeypatch.delenv("LMDYNAMICS_CACHE", raising=False)
    return tmp_path


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_chapter_that_tags_is_run_again_when_a_corpus_has_come_to_hand(without_corpora, monkeypatch):
    root = without_corpora
    places = [[chapters.stored(chapters.read(text), {}, root=root) for text in (TAGGING, TINY)]]
    put(root / "placed", "gmb/ner_dataset.csv.xz")
    monkeypatch.setenv("LMDYNAMICS_DATA", str(root / "placed"))
    places.append([chapters.stored(chapters.read(text), {}, root=root) for text in (TAGGING, TINY)])
    put(root / ".cache" / "downloads", *PMB)
    places.append([chapters.stored(chapters.read(text), {}, root=root) for text in (TAGGING, TINY)])
    tagging, tiny = zip(*places, strict=True)
    assert [path.stem.partition("-")[2] for path in tagging] == ["", "gmb", "gmb-pmb"]
    assert len(set(tiny)) == 1


def test_a_corpus_that_a_run_downloads_itself_runs_it_once(without_corpora, monkeypatch):
    root, runs = without_corpora, []

    def execute(notebook, parameters, **_):
        runs.append(1)
        put(root / ".cache" / "downloads", *PMB)
        return notebook

    monkeypatch.setattr(chapters, "execute", execute)
    kept = [chapters.executed(chapters.read(TAGGING), {}, root=root, label="tagging") for _ in range(2)]
    assert kept == [chapters.stored(chapters.read(TAGGING), {}, root=root)] * 2
    assert len(runs) == 1


def test_a_run_is_kept_under_the_code_before_it(without_corpora, monkeypatch):
    notebook = chapters.read(TINY)
    before = chapters.stored(notebook, {}, root=without_corpora)

    def execute(notebook, parameters, **_):
        monkeypatch.setattr(provenance, "text_fingerprint", lambda source: "edited")
        return notebook

    monkeypatch.setattr(chapters, "execute", execute)
    assert chapters.executed(notebook, {}, root=without_corpora, label="tiny") == before


@pytest.fixture
def kept_run(without_corpora, monkeypatch):
    """Where a run of a chapter is kept that printed something."""
    printed = nbformat.v4.new_output("stream", name="stdout", text="h1 0.125\nh2 é 0.25\n")

    def execute(notebook, parameters, **_):
        chapters.code_cells(notebook)[-1].outputs = [printed]
        return notebook

    monkeypatch.setattr(chapters, "execute", execute)
    return chapters.executed(chapters.read(TINY), {}, root=without_corpora, label="tiny")


def test_a_kept_run_comes_back_as_it_was_written(kept_run):
    (output,) = chapters.code_cells(chapters.load(kept_run))[-1].outputs
    assert output.text == "h1 0.125\nh2 é 0.25\n"
    assert [path.name for path in kept_run.parent.iterdir()] == [kept_run.name]


def test_a_damaged_byte_of_a_kept_run_is_an_error_that_names_it(kept_run):
    content, random = kept_run.read_bytes(), Random(0)
    flipped = [
        content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]
        for at in range(0, len(content), 7)
    ]
    for damaged in (b"", b"{}", content[:-1], content[:-40], content + b" ", *flipped):
        kept_run.write_bytes(damaged)
        with pytest.raises(
            chapters.ChapterError, match=rf"{kept_run} is damaged .*; delete it, and the chapter"
        ):
            chapters.load(kept_run)


def test_a_run_that_cannot_be_kept_is_an_error_that_names_it_before_it_begins(without_corpora, monkeypatch):
    monkeypatch.setattr(chapters, "execute", never)
    (without_corpora / ".cache").touch()
    with pytest.raises(
        StorageError, match=r"could not write .*\.cache/executed/\w+\.ipynb.*LMDYNAMICS_CACHE"
    ):
        chapters.executed(chapters.read(TINY), {}, root=without_corpora, label="tiny")


def test_a_folder_of_corpora_that_is_none_is_left_for_a_cell_to_name(without_corpora, monkeypatch):
    monkeypatch.setenv("LMDYNAMICS_DATA", str(without_corpora / "absent"))
    assert "-" not in chapters.stored(chapters.read(TAGGING), {}, root=without_corpora).stem


@pytest.mark.parametrize(
    ("code", "chapter", "runs_again"),
    [
        ("from lmthesis.chapter_1 import study\n\nstudy.study()", "chapter_1", True),
        ("from lmthesis.chapter_1 import study\n\nstudy.study()", "chapter_12", False),
        ("from lmthesis.chapter_1 import study\n\nstudy.unused()", "chapter_1", False),
        ("from lmthesis.chapter_2 import study\n\nstudy.study()", "chapter_2", False),
        ("from lmthesis import findings\n\nfindings.results()", "chapter_2", True),
        ("from lmthesis import findings, recorded\n\nfindings.styled(recorded.load)", "chapter_2", False),
    ],
)
def test_a_page_is_run_again_when_recorded_results_change_that_it_can_read(
    experiments, tmp_path, monkeypatch, code, chapter, runs_again
):
    monkeypatch.setattr(recorded, "RESULTS", tmp_path)
    page, table = TINY.replace("print(", f"{code}\nprint("), tmp_path / f"{chapter}-demo" / "rule.csv"
    table.parent.mkdir()
    table.write_text("1")
    before = key(page)
    table.write_text("2")
    assert (key(page) != before) == runs_again


ABSENT = "from lmthesis.absent import study\n\nstudy()"


def test_a_cell_may_hold_magics_and_mistakes(experiments):
    magic = STUDY.replace("study.study()", "%matplotlib inline\nstudy.study()")
    assert key(magic) != key(STUDY.replace("study.study()", "this is no Python"))


def test_what_stands_beside_a_magic_or_a_mistake_is_followed(experiments):
    texts = [STUDY.replace("study.study()", "%matplotlib inline\nstudy.study()")]
    texts += [f"{STUDY}\n```{{code-cell}} ipython3\n{cell}\n```\n" for cell in ("no Python", ABSENT)]
    before = list(map(key, texts))
    (experiments / "chapter_1" / "layers.py").write_text("def measured():\n    return 2")
    assert not set(map(key, texts)) & set(before)


def test_parameters_of_a_run_are_shown_after_those_that_they_override():
    notebook = chapters.read(TINY)
    run = chapters.read(TINY)
    injected = chapters.read(TINY).cells[1]
    injected.metadata.tags = ["injected-parameters"]
    injected.source = "epochs = 5"
    run.cells.insert(2, injected)
    page = chapters.merged(notebook, run)
    assert [cell.source[:6] for cell in page.cells] == ["# A ti", "scale:", "epochs", "from l"]
    assert len(page.metadata.source_map) == 4


def test_a_plotly_figure_is_drawn_without_a_script_of_its_own():
    notebook, run = chapters.read(TINY), chapters.read(TINY)
    figure = {"data": [{"type": "scatter", "y": [1, 2]}], "layout": {}}
    output = {"output_type": "display_data", "data": {chapters.PLOTLY: figure}, "metadata": {}}
    run.cells[2].outputs = [chapters.NotebookNode(output)]
    (shown,) = chapters.merged(notebook, run).cells[2].outputs
    assert "Plotly.newPlot" in shown.data["text/html"]
    assert len(shown.data["text/html"]) < 10_000


def test_scripts_that_were_copied_in_part_or_are_old_are_copied_again(tmp_path):
    app = SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(format="html"))
    script = tmp_path / "_static" / "plotly.min.js"
    script.parent.mkdir()
    script.write_text("of another version")
    extension._copy_scripts(app, None)
    assert script.stat().st_size > 10**6
    mathjax = script.parent / "mathjax"
    assert (mathjax / "tex-mml-chtml.js").exists()
    assert list(mathjax.rglob("*.woff"))


def build(command, book, options="", **variables):
    return command(f"jupyter-book build {book} -q {options}", cwd="/", **variables)


@pytest.mark.parametrize("page", sorted((ROOT / "chapters").glob("*.md")), ids=lambda path: path.stem)
def test_saving_a_page_in_its_editor_rewrites_nothing(page, tmp_path):
    """JupyterLab names the kernel that it has started, and the language; then jupytext writes the text."""
    for path in (page, page.with_name("jupytext.toml")):
        shutil.copy(path, tmp_path)
    editor = jupytext.TextFileContentsManager(root_dir=str(tmp_path))
    model = editor.get(page.name, type="notebook")
    kernel = json.loads((chapters.JUPYTER / "kernels" / "python3" / "kernel.json").read_text())
    metadata = model["content"]["metadata"]
    metadata["kernelspec"] = {"name": "python3"} | {key: kernel[key] for key in ("display_name", "language")}
    metadata["language_info"] = {"name": "python", "version": "3.13"}
    editor.save(model, page.name)
    assert (tmp_path / page.name).read_text() == page.read_text(), "run: make format"


def test_a_book_is_built_from_any_folder_and_only_what_changed_is_run_again(tiny_book, command):
    beside = tiny_book / "chapters" / "01_tiny.ipynb"  # as jupytext makes it, or papermill
    beside.write_text(nbformat.writes(chapters.read(TINY)))
    chapter, kept = tiny_book / "chapters" / "01_tiny.md", tiny_book / ".cache" / "executed"
    page = tiny_book / "_build" / "html" / "chapters" / "01_tiny.html"
    first = build(command, tiny_book, "-W -n")
    assert first.returncode == 0, first.stderr
    assert "01_tiny: running" in first.stderr
    (run,) = kept.iterdir()

    chapter.write_text(TINY.replace("The square of", "Indeed the square of"))
    assert "running" not in build(command, tiny_book).stderr
    assert "Indeed the square of" in page.read_text()
    assert "demo None" in page.read_text()

    build(command, tiny_book, LMBOOK_SCALE="smoke")
    assert "smoke None" in page.read_text()
    assert len(list(kept.iterdir())) == 2

    assert "running" not in build(command, tiny_book).stderr
    assert "demo None" in page.read_text()
    assert run.exists()


def test_a_failing_cell_fails_the_build_once_and_keeps_nothing(tiny_book, command):
    (tiny_book / "chapters" / "01_tiny.md").write_text(TINY.replace("print(scale, epochs, source)", "1 / 0"))
    for options in ("", "-W -n --keep-going"):
        failed = build(command, tiny_book, options)
        assert failed.returncode == 1
        assert failed.stderr.count("ZeroDivisionError: division by zero") == 1
        assert "chapters/01_tiny failed" in failed.stderr
    assert not list((tiny_book / ".cache" / "executed").rglob("*.ipynb"))
