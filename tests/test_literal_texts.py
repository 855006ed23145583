"""Texts that anybody can name, such as a corpus or its words, are shown as they are written and no more."""

import ast
import json
import re

import matplotlib as mpl
import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from conftest import ROOT
from IPython.core.formatters import format_display_data
from matplotlib import pyplot as plt

from lmbook import chapters
from lmdynamics import plots
from lmthesis import html, recorded
from lmthesis.chapter_5 import figures
from lmthesis.chapter_5.study import measured_once

mpl.use("agg")
MARKUP = (
    '<img class=made src=x onerror="window.ran=1"><script>window.ran=1</script></script>'
    r'<b class=made>$\href{javascript:ran}{x}$</b> &lt; <a class=made href="https://made.example">$$</a>'
)
PAGES = ("04_similarity", "05_interdependence", "06_sparsity")
DECIDES = re.compile(r"\bCLAIMS\.|\bclaims\.|\bfindings\.|\bpage\.under")
"""Cells that show verdicts, whose texts are the book's own."""
DRAWS = re.compile(r"\b(plt|plots|figures|fig|ax|axes|rows)\b")


# Where HTML is made


def made_elsewhere(source):
    """What makes HTML of tables and texts, and is neither `lmthesis.html` nor a class that a page shows."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr="style" | "to_html" as name):
                found.add(name)
            case ast.ImportFrom(module="IPython.display", names=names):
                found |= {each.name for each in names}
            case ast.ImportFrom(module="pandas.io.formats.style"):
                found.add("Styler")
    return found


def sources():
    for path in sorted((ROOT / "lib").rglob("*.py")):
        if path != ROOT / "lib" / "lmthesis" / "html.py":
            yield path.relative_to(ROOT).as_posix(), path.read_text()
    for path in sorted((ROOT / "chapters").glob("*.md")):
        yield (
            path.name,
            "\n".join(cell.source for cell in chapters.code_cells(chapters.read(path.read_text()))),
        )


def test_html_of_tables_and_texts_is_made_in_one_place():
    found = {name: made_elsewhere(source) for name, source in sources()}
    found.pop("lib/lmbook/chapters.py")  # plotly's
    assert {name: each for name, each in found.items() if each} == {}


def test_a_styler_that_is_made_elsewhere_is_found():
    assert made_elsewhere("table.style.hide()") == {"style"}
    assert made_elsewhere("from IPython.display import Markdown\nMarkdown(text)") == {"Markdown"}
    assert made_elsewhere("html.table(frame).to_html()") == {"to_html"}


def test_cells_and_names_of_a_table_are_escaped_wherever_they_stand():
    index = pd.MultiIndex.from_tuples([(MARKUP, 1)], names=[f"a{MARKUP}", None])
    columns = pd.Index([f"b{MARKUP}", "share"], name=f"c{MARKUP}")
    frame = pd.DataFrame([[f"d{MARKUP}", 0.5]], index=index, columns=columns)
    shown = html.table(frame, formats={"share": "{:.0%}"}, index=True, classes="dataframe").to_html()
    assert "<img" not in shown
    assert shown.count("&lt;img") == 5
    assert "50%" in shown
    assert 'class="dataframe tex2jax_ignore mathjax_ignore"' in shown
    assert "&lt;img" not in html.table(frame[["share"]]).to_html().replace(f"c{MARKUP}", "")


def test_a_paragraph_and_its_command_are_escaped():
    shown = html.Paragraph(MARKUP, MARKUP)._repr_html_()
    assert shown.count("&lt;img") == 2
    assert "<img" not in shown


def test_the_top_of_a_page_is_escaped():
    ran = pd.DataFrame([{"scale": MARKUP, "tokens_read": 1, "seed": MARKUP, "date": MARKUP}])
    shown = recorded.Top(ran, "run")._repr_html_()
    assert shown.count("&lt;img") == 3
    assert "<img" not in shown


# On pages, in a browser


def with_markup(name):
    """Recorded tables of a chapter, and made-up ones of words, with markup in every text from elsewhere."""
    tables = dict(recorded.read(f"chapter_{int(name[:2])}", "demo").tables)
    for each in tables.values():
        for column in {"corpus", "this run", "tags", "text"} & set(each):
            if column != "text" or "part" not in each:  # samples of made-up languages
                each[column] = f"{column}: {MARKUP}"
    words = [f"{word} {MARKUP}" for word in ("one", "two", "three")]
    if name == "04_similarity":
        tables["example"] = pd.DataFrame({"token": words, "topic": f"title: {MARKUP}", "PTB POS *": words})
    if name == "05_interdependence":
        tables |= measured_once(recorded.RESULTS)
        row = dict.fromkeys(("text", "treebank", "machine", "command"), f"ran: {MARKUP}")
        tables["gold_ran"] = tables["gold_ran"].assign(**row)
        tables["shown"] = sentence_table(words)
    if name == "06_sparsity":
        about = {"side": "target", "seed": 0, "tokens": 9, "gradient h2": 0.5}
        tables["words"] = pd.DataFrame(
            [{**about, "word": word, "epoch": epoch} for word in range(3) for epoch in (0, 1)]
        )
        tables["vocabulary"] = pd.DataFrame(
            {"word": range(3), "text": words, "frequency": [9, 8, 7], "class": "open"}
        )
    return tables


def sentence_table(words):
    """Rows of `english.shown` for one sentence."""
    rows = [
        {
            "sentence": 1,
            "left": left,
            "right": right,
            "left_word": words[left],
            "right_word": words[right],
            "left_head": 0,
            "right_head": 0,
            "interdependence": left + right / 10,
        }
        for left in range(len(words))
        for right in range(left + 1, len(words))
    ]
    return pd.DataFrame(rows)


def outputs(code, names):
    """What a notebook would show of a cell; of one that draws on paper nothing, nor is that run."""
    statements = ast.parse(code).body
    if "plt.subplots" in code:
        plain = [each for each in statements if isinstance(each, ast.Assign)]
        statements = [each for each in plain if not DRAWS.search(ast.unparse(each))]
    last = ast.unparse(statements.pop()) if isinstance((statements or [None])[-1], ast.Expr) else "None"
    exec(compile(ast.Module(statements, []), "cell", "exec"), names)
    if (value := eval(last, names)) is None:
        return []
    data = {chapters.PLOTLY: json.loads(value.to_json())} if isinstance(value, go.Figure) else None
    return [nbformat.v4.new_output("display_data", data or format_display_data(value)[0])]


@pytest.fixture(scope="module")
def shown():
    """The code cells of all chapters, less verdicts, with what they show of texts with markup."""
    said = nbformat.v4.new_output("stream", name="stderr", text=MARKUP)
    cells = [nbformat.v4.new_code_cell(f"corpus = {MARKUP!r}", outputs=[said])]  # as papermill puts it there
    with pytest.MonkeyPatch.context() as patch:
        for name in PAGES:
            patch.setattr(recorded, "results", lambda *_, name=name, **__: with_markup(name))
            names = {"__name__": "__main__"}
            for cell in chapters.code_cells(chapters.read((ROOT / "chapters" / f"{name}.md").read_text())):
                if not DECIDES.search(cell.source):
                    made = outputs(cell.source, names)
                    cells += [nbformat.v4.new_code_cell(cell.source, outputs=made)]
    return cells


LOOK = """async () => {
  const hovered = [];
  for (const figure of document.querySelectorAll('.plotly-graph-div')) {
    for (const trace of figure._fullData) if (trace.visible === true && trace.hovertemplate) {
      const cell = {xval: trace.x ? trace.x[0] : 1, yval: trace.y ? trace.y[0] : 0};
      const point = [{curveNumber: trace.index, pointNumber: 0}];
      Plotly.Fx.hover(figure, trace.type === 'heatmap' ? cell : point, trace.xaxis + trace.yaxis);
      await new Promise(done => setTimeout(done, 100));
      hovered.push(...[...figure.querySelectorAll('.hoverlayer text')].map(each => each.textContent));
    }
  }
  const typeset = '.cell_output mjx-container, [class$=math-group]';
  const made = `.made, [src=x], svg a, svg [style*=bold] [style*=bold], ${typeset}`;
  return {
    made: [...document.querySelectorAll(made)].map(each => each.outerHTML).concat(window.ran || []),
    tables: [...document.querySelectorAll('article table')].map(each => each.textContent).join(' '),
    page: document.querySelector('article').textContent,
    drawn: [...document.querySelectorAll('svg text')].map(each => each.textContent),
    hovered: hovered,
  }
}"""


@pytest.fixture
def page(shown, tiny_book, command, browser):
    """A page of all these cells, as `lmbook run` builds it, in a browser."""
    cells = "".join(f"\n```{{code-cell}} ipython3\n{cell.source}\n```\n" for cell in shown)
    text = f"---\nkernelspec: {{name: python3, display_name: Python 3}}\n---\n# Markup\n\n$x$\n{cells}"
    run = chapters.read(text)
    for cell, made in zip(chapters.code_cells(run), shown, strict=True):
        cell.outputs = made.outputs
    run.metadata.papermill = {"duration": 1.0, "parameters": {}}
    (tiny_book / "chapters" / "01_tiny.md").write_text(text)
    chapters.write(run, tiny_book / "executed.ipynb")
    built = command(
        f"jupyter-book build {tiny_book} -q", cwd="/", LMBOOK_EXECUTED=f"{tiny_book / 'executed.ipynb'}"
    )
    assert built.returncode == 0, built.stderr
    page = browser.new_page()
    page.goto((tiny_book / "_build" / "html" / "chapters" / "01_tiny.html").as_uri(), wait_until="load")
    page.wait_for_selector("mjx-container")
    page.wait_for_timeout(500)
    yield page
    page.close()


@pytest.mark.browser
def test_no_page_makes_anything_of_texts_with_markup_and_each_stands_there_as_it_is_written(page):
    found = page.evaluate(LOOK)
    assert found["made"] == []
    assert found["tables"].count(MARKUP) > 50
    assert f"Models of ran: {MARKUP}" in found["page"]
    assert found["page"].count(f"corpus = {MARKUP!r}") == 1
    assert {"one <img class=made src…", "two <img class=made src…"} <= set(found["drawn"])
    one, two = f"one {MARKUP}", f"two {MARKUP}"
    assert f"{one} … {two}interdependence 0.100joined by an edge" in found["hovered"]
    assert f"{two} (8 tokens), epoch 0χ 0.5000" in found["hovered"]
    assert f"{two}, 8 tokensχ 0.5000" in found["hovered"]


# On paper


WORDS = ("$$", "$", "$x^$", r"a\$b$", r"\frac", "^", "_", "a_b", "50%", "{}", "&lt;", "<b>", "😀", "é", "")
"""What Matplotlib's font can draw, and what it would take for mathematics."""


def pixels(text, **how):
    figure = plt.figure(figsize=(2, 0.5))
    figure.text(0.1, 0.3, text, **how)
    figure.canvas.draw()
    drawn = np.asarray(figure.canvas.buffer_rgba()).copy()
    plt.close(figure)
    return drawn


@pytest.mark.parametrize("word", WORDS)
def test_matplotlib_draws_each_character_of_a_word(word):
    np.testing.assert_array_equal(pixels(plots.literal(word)), pixels(word, parse_math=False))


def test_characters_that_the_font_lacks_are_drawn_as_boxes():
    assert plots.literal("a中\x00\n日b") == "a□□□□b"
    pixels(plots.literal("中"))  # without a warning, which would be an error


def test_a_font_that_has_a_character_draws_it(monkeypatch):
    assert plots.literal("𝒜") == "□"
    monkeypatch.setitem(mpl.rcParams, "font.family", ["sans-serif", "STIXGeneral"])
    assert plots.literal("𝒜") == "𝒜"


def test_a_long_word_is_cut_where_it_is_asked_and_keeps_no_half_of_an_escape():
    assert plots.literal("$" * 30, longest=4) == r"\$\$\$…"
    assert plots.literal_html("<" * 30, longest=3) == "&lt;&lt;…"
    assert plots.literal("abcd", longest=4) == "abcd"


def test_a_group_that_begins_with_an_underscore_is_in_the_legend():
    table = pd.DataFrame({"seed": 0, "tokens_read": [0, 1], "layer": "_orig_mod.$h$", "cka": [0.1, 0.2]})
    figure, ax = plt.subplots()
    plots.over_training(table, ax, y="cka", by="layer", colours={"_orig_mod.$h$": "red", "h2": "blue"})
    (label,) = (text.get_text() for text in ax.get_legend().get_texts())
    assert label == plots.literal("_orig_mod.$h$")
    figure.canvas.draw()
    plt.close(figure)


def test_a_sentence_of_any_words_is_drawn():
    figure, axes = plt.subplots(2, 1)
    words = [word for word in WORDS if word] + ["中", "w" * 200]
    _, below = figures.sentence(sentence_table(words), axes)
    assert [label.get_text() for label in below.get_yticklabels()] == [
        plots.literal(word, longest=figures.LONGEST_WORD) for word in words
    ]
    figure.canvas.draw()
    plt.close(figure)
