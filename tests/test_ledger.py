"""The ledger of made-up records of a made-up chapter, and what README, pages and record have in common."""

import re
from dataclasses import asdict, replace
from functools import partial

import pandas as pd
import pytest
from conftest import ROOT

from lmbook import chapters
from lmdynamics.claims import Claims, OutOfReachError
from lmthesis import findings, html, ledger, places, recorded
from lmthesis.chapter_5 import settings

MARKUP = "<img src=x onerror=ran> $x$"
CLAIMS = Claims()


@CLAIMS.finding(f"thesis chapter 5, {MARKUP}")
def large(t):
    """It is large.

    Margin: the mean, by task.

    Reported: near 0.64.
    """
    return t.groupby("task")["y"].mean()


@CLAIMS.finding("thesis chapter 5")
def falls(t):
    """It falls in the end.

    Margin: fall after the first rescaling.
    """
    if not t["rescaled"].any():
        raise OutOfReachError("no step was rescaled <yet>")
    return t["y"].mean() - 0.1


@CLAIMS.finding("beyond the thesis")
def other(u):
    """Another table says it.

    Margin: the mean.
    """
    return u["y"].mean()


def tables(scale, tokens, values, *, rescaled=False, names=("t", "u"), task="a", seed=0):
    """Tables of one seed."""
    rows = pd.DataFrame({"seed": seed, "task": [task, "b"], "y": values, "rescaled": rescaled})
    ran = pd.DataFrame([{"scale": scale, "tokens_read": tokens, "seed": seed, "date": "2026-11-27"}])
    properties = pd.DataFrame([{"property": f"corpus of {scale}", "this run": MARKUP}])
    return {**dict.fromkeys(names, rows), "ran": ran, "properties": properties}


def record(folder, scale, tokens, seeds, values, *, training=None, **which):
    """Write slices of chapter 5, each value with a little noise of its seed."""
    for seed in range(seeds):
        own = replace(settings.scale(scale), seeds=(seed,))
        noisy = [value + 0.001 * seed for value in values]
        contents = {
            f"{name}.csv": table.to_csv(index=False).encode()
            for name, table in tables(scale, tokens, noisy, seed=seed, **which).items()
        }
        about = {"settings": asdict(own), "date": f"day {seed}", "command": "", "seconds": 1800.0}
        about["chapter"] = "chapter_5"
        home = folder / f"chapter_5-{scale}" / f"seed-{seed}"
        home.mkdir(parents=True)
        for name, content in contents.items():
            (home / name).write_bytes(content)
        about |= {"completed_by": None} | ({"seconds_of_training": training} if training else {})
        (home / recorded.ABOUT).write_bytes(recorded._sealed(about, contents))


@pytest.fixture
def records(tmp_path, monkeypatch):
    """Where a chapter with these claims is recorded at three scales."""
    monkeypatch.setattr(findings, "chapters", lambda: {"chapter_5": CLAIMS})
    page = tmp_path / "chapters" / "05_made_up.md"
    page.parent.mkdir()
    page.write_text(PAGE)
    monkeypatch.setattr(places, "by_finding", partial(places.by_finding, page.parent))
    record(tmp_path, "desktop", 52_400_000, 4, (0.2, -0.3), rescaled=True, names=("t",))
    record(tmp_path, "demo", 1_050_447, 3, (0.5, 0.4))
    record(tmp_path, "smoke", 1_000, 2, (9.0, 9.0))
    return tmp_path


PAGE = """
from lmthesis.chapter_5.claims import CLAIMS, MORE

(sec-one)=
## One

CLAIMS.verdicts(results, "large")

    name: fig-two

CLAIMS.verdicts(
    results,
    "falls",
    "large",
)
"""


def shown(records, **how):
    """The table of the chapter: a row of texts for each finding, below the heads of its columns."""
    page = ledger.by_scale("smoke", **{"source": "recorded", "folder": records, **how}).chapter("chapter_5")
    rows = re.findall(r"<tr>(.*?)</tr>", page._repr_html_().partition("</table>")[0], re.DOTALL)
    cells = [re.split(r"</t[hd]>", row)[:-1] for row in rows]
    return [[" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in row] for row in cells]


def test_a_column_is_a_scale_that_is_recorded_the_smallest_first_and_smoke_never(records):
    assert shown(records)[0] == ["finding", "demo 1.05M tokens 3 seeds", "desktop 52.4M tokens 4 seeds"]


def test_a_cell_says_verdict_positive_cells_and_the_weakest_with_its_margin_and_interval(records):
    _, large, falls, _ = shown(records)
    assert large[1:] == [
        "holds 2 of 2 cells b: +0.401 +0.399 to +0.403",
        "does not hold 1 of 2 cells b: -0.298 -0.301 to -0.296",
    ]
    assert falls[2] == "does not hold -0.148 -0.151 to -0.146"


def test_what_is_out_of_reach_of_a_scale_says_why(records):
    _, _, falls, other = shown(records)
    assert falls[1] == "out of reach no step was rescaled &lt;yet&gt;"
    assert other[2] == "out of reach it lacks the table u"
    assert other[1].startswith("holds +")


def test_a_finding_stands_beside_its_source_what_that_reports_and_where_it_is_decided(records):
    _, large, falls, other = shown(records)
    assert large[0] == (
        "It is large. thesis chapter 5, &lt;img src=x onerror=ran&gt; $x$; reported: near 0.64 · our section"
    )
    assert falls[0] == "It falls in the end. thesis chapter 5 · our figure"
    assert other[0] == "Another table says it. beyond the thesis"
    page = ledger.by_scale("demo", source="recorded", folder=records).chapter("chapter_5")._repr_html_()
    assert re.findall(r'href="(.*?)"', page) == ["05_made_up.html#sec-one", "05_made_up.html#fig-two"]


def test_a_run_is_a_column_of_its_own_before_the_record_of_its_scale(records, monkeypatch):
    run = pd.DataFrame({"seed": [0, 1], "task": "a", "y": 0.7, "rescaled": True})
    ran = pd.DataFrame({"scale": "desktop", "tokens_read": 2000, "seed": [0, 1]})
    properties = pd.DataFrame({"property": ["corpus"]})
    one = {"t": run, "u": run, "ran": ran, "properties": properties}
    monkeypatch.setattr(findings, "results", lambda scale_name: {"chapter_5": one})
    heads, large, *_ = shown(records, source="run")
    assert [head.split(" ")[0] for head in heads] == ["finding", "demo", "desktop,", "desktop"]
    assert heads[2] == "desktop, this run 2K tokens 2 seeds"
    assert large[2] == "holds a: +0.700 +0.700 to +0.700"
    whole = ledger.by_scale("desktop", folder=records)
    assert whole.largest["chapter_5"]["ran"]["tokens_read"].unique().tolist() == [52_400_000]


def test_counts_are_by_chapter_and_scale_and_in_all(records, monkeypatch):
    whole = ledger.by_scale("demo", source="recorded", folder=records)
    both = ledger.Ledger({"chapter_5": whole.columns["chapter_5"], "chapter_6": whole.columns["chapter_5"]})
    counts = both.counts().data
    assert counts.index.tolist() == [
        (name, scale) for name in ("chapter 5", "chapter 6", "in all") for scale in ("demo", "desktop")
    ]
    assert counts.loc[("chapter 5", "demo")].tolist() == [2, 0, 0, 1]
    assert counts.loc[("in all", "desktop")].tolist() == [0, 4, 0, 2]


def test_a_finding_of_fewer_seeds_than_its_scale_and_one_seed_alone_are_told(records):
    few = tables("gpu", 9, (1.0, 2.0))
    (column,) = ledger.Ledger({"chapter_5": [ledger.Column(CLAIMS, few)]}).columns["chapter_5"]
    assert "1 seed<" in column.head
    assert column.cell(column.verdicts[0]).endswith("2 of 2 cells<br>a: +1.000<br>no interval</small>")
    more = few | {"ran": pd.concat([few["ran"], few["ran"].assign(seed=1)])}
    column = ledger.Column(CLAIMS, more)
    assert column.cell(column.verdicts[0]).endswith("no interval<br>1 seed</small>")


def test_a_rule_that_changed_since_the_record_is_told_in_its_cell(tmp_path):
    rules = pd.DataFrame([{"finding": "large", "fingerprint": "0123456789abcdef"}])
    column = ledger.Column(CLAIMS, tables("demo", 9, (1.0, 2.0)) | {"rules": rules})
    large, falls, _ = (column.cell(each) for each in column.verdicts)
    assert large.endswith("<br>changed after this was recorded under rule 0123456</small>")
    assert falls.endswith("<br>made after this was recorded</small>")


def test_texts_of_the_ledger_are_escaped(monkeypatch):
    every = tables(MARKUP, 9, (1.0, 2.0), task=MARKUP)
    whole = ledger.Ledger({"chapter_5": [ledger.Column(CLAIMS, every)]})
    page = whole.chapter("chapter_5")._repr_html_() + html.markup(whole.counts())
    assert "<img" not in page
    # source; head; weakest cell; what ran, its name, its property and its value; counts of chapter and all
    assert page.count("&lt;img") == 8
    assert "mathjax_ignore" in page
    assert 'class="dataframe findings ledger tex2jax_ignore mathjax_ignore"' in page


def test_nothing_recorded_is_an_error_that_says_how_to_record_it(records):
    with pytest.raises(FileNotFoundError, match=r"record it: python -m lmthesis\.recorded chapter_5 demo$"):
        ledger.by_scale("demo", source="recorded", folder=records / "chapters")
    with pytest.raises(FileNotFoundError, match=r"got none; record them: python -m lmthesis\.recorded all"):
        ledger.summary(records / "chapters")
    with pytest.raises(ValueError, match="a source is one of run, recorded, got 'cache'"):
        ledger.by_scale("demo", source="cache", folder=records)


# In all


def test_the_summary_is_of_the_largest_scale(records):
    assert ledger.summary(records) == (
        "The largest recorded scale of chapter 5 is desktop: 52.4M tokens read by each language model, "
        "4 seeds, 2 hours. Of 3 findings 0 hold, 2 do not hold, 0 are open and 1 out of reach."
    )
    record(records, "gpu", 150_000_000, 5, (0.5, 0.5), training=7200.0)
    assert "is gpu: 150M tokens" in ledger.summary(records)
    assert (
        "5 seeds, 10 hours of training, summed over each chapter's models, and 2.5 of measuring. Of 3"
        in ledger.summary(records)
    )
    assert ledger.lead(records).text == ledger.summary(records)


def test_a_call_that_wrote_several_slices_took_its_time_once(records, monkeypatch):
    study = recorded.read("chapter_5", "desktop", folder=records)
    slices = tuple(about | {"date": "one day"} for about in study.slices)
    monkeypatch.setattr(recorded, "read", lambda *_, **__: replace(study, slices=slices))
    assert "4 seeds, 0.5 hours." in ledger.summary(records)


def test_chapters_of_one_scale_are_summed_up_together_and_others_apart(records, monkeypatch):
    studies = {
        name: recorded.read("chapter_5", scale, folder=records)
        for name, scale in (("chapter_4", "desktop"), ("chapter_5", "demo"), ("chapter_6", "desktop"))
    }
    studies["chapter_6"].tables["ran"]["tokens_read"] = 70_000_000
    scales = {"chapter_4": ("demo", "desktop"), "chapter_5": ("demo",), "chapter_6": ("desktop",)}
    monkeypatch.setattr(findings, "chapters", lambda: dict.fromkeys(scales, CLAIMS))
    monkeypatch.setattr(recorded, "scale_names", lambda name, folder: scales[name])
    monkeypatch.setattr(recorded, "read", lambda name, scale, folder: studies[name])
    both, alone = ledger.summary(records).split("reach. ")
    assert both.startswith("The largest recorded scale of chapters 4 and 6 is desktop: 52.4M to 70M tokens")
    assert "4 seeds, 2 hours. Of 6 findings 0 hold, 4 do not" in both
    assert alone.startswith("The largest recorded scale of chapter 5 is demo: 1.05M tokens")


def test_the_sentence_of_a_readme_is_written_between_its_marks(records):
    path = records / "README.md"
    path.write_text("# A\n\n<!-- recorded -->\nold\n<!-- /recorded -->\n\nB \\1\n")
    ledger.write_readme(path, records)
    said = f"# A\n\n<!-- recorded -->\n{ledger.summary(records)}\n<!-- /recorded -->\n\nB \\1\n"
    assert path.read_text() == said
    ledger.write_readme(path, records)
    assert path.read_text() == said
    path.write_text("# A\n")
    with pytest.raises(ValueError, match=r"README\.md needs one line between <!-- recorded --> and .* got 0"):
        ledger.write_readme(path, records)
    assert path.read_text() == "# A\n"


# What stands in this checkout


def test_the_sentence_of_our_readme_is_that_of_the_record():
    (said,) = ledger._SENTENCE.findall(ledger.README.read_text())
    assert said == ledger.summary(), "run: python -m lmthesis.ledger"


def test_every_chapter_with_claims_has_a_heading_and_its_table_on_the_page_of_findings():
    cells = chapters.read((ROOT / "chapters" / "findings.md").read_text()).cells
    sources = [cell.source for cell in cells]
    for name in findings.chapters():
        at = sources.index(f'by_scale.chapter("{name}")')
        assert sources[at - 1].startswith(f"## {name.replace('_', ' ').capitalize()}\n")


def test_every_finding_is_decided_at_a_figure_or_section_of_its_chapters_page():
    known = places.by_finding()
    assert known.keys() == {(name, claim) for name, claims in findings.chapters().items() for claim in claims}
    for (chapter, _), place in known.items():
        assert int(place.page[:2]) == int(chapter.removeprefix("chapter_"))


def test_a_finding_needs_a_named_figure_or_section(tmp_path):
    text = PAGE.replace("(sec-one)=\n", "")
    (tmp_path / "05_made_up.md").write_text(text)
    with pytest.raises(ValueError, match=r"needs a figure with a name before .*\(sec-costs\)="):
        places.by_finding(tmp_path)


def test_a_section_without_a_name_ends_the_one_before_it(tmp_path):
    text = PAGE.replace('CLAIMS.verdicts(results, "large")\n', "## Next\n\nCLAIMS.verdicts(results, 'x')\n")
    (tmp_path / "05_made_up.md").write_text(text)
    with pytest.raises(ValueError, match="needs a figure with a name before"):
        places.by_finding(tmp_path)


HERE = """
from lmthesis.chapter_5.claims import CLAIMS

(sec-one)=
## One

{verdict}

```{code-cell} ipython3
---
mystnb:
  figure:
    name: fig-two
    caption: A line.
---
from IPython.display import SVG
SVG('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>')
```
"""


def test_a_place_is_one_of_the_page_as_it_is_built(tiny_book, command):
    page = tiny_book / "chapters" / "01_tiny.md"
    page.write_text(page.read_text() + HERE.replace("{verdict}", 'CLAIMS.verdicts(results, "large")'))
    with page.open("a") as file:
        file.write('\nCLAIMS.verdicts(results, "falls")\n')
    built = command(f"jupyter-book build {tiny_book} -q -W -n --keep-going", cwd="/")
    assert built.returncode == 0, built.stderr
    known = places.by_finding(page.parent)
    assert {place.kind for place in known.values()} == {"section", "figure"}
    for place in known.values():
        file, _, anchor = place.address.partition("#")
        assert f'id="{anchor}"' in (tiny_book / "_build" / "html" / "chapters" / file).read_text()


def test_the_page_of_findings_is_run_again_when_it_would_link_to_another_place(tmp_path, monkeypatch):
    notebook = chapters.read((ROOT / "chapters" / "findings.md").read_text())
    other = chapters.read((ROOT / "chapters" / "06_sparsity.md").read_text())
    (tmp_path / "05_made_up.md").write_text(PAGE)
    monkeypatch.setattr(places, "by_finding", partial(places.by_finding, tmp_path))
    before = chapters.key(notebook, {}), chapters.key(other, {})
    (tmp_path / "05_made_up.md").write_text(PAGE + "more words\n")
    assert (chapters.key(notebook, {}), chapters.key(other, {})) == before
    (tmp_path / "05_made_up.md").write_text(PAGE.replace("fig-two", "fig-three"))
    assert chapters.key(notebook, {}) != before[0]
    assert chapters.key(other, {}) == before[1]
