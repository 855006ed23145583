"""Scales by name, and what of them a page can exchange."""

from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from symtable import symtable

import pytest

from lmbook import chapters
from lmdynamics.ground import provenance
from lmdynamics.models.training import TrainingSettings
from lmthesis import scales
from lmthesis.chapter_4 import settings


def test_a_scale_is_varied_only_where_asked():
    varied = settings.scale("demo", corpus="wikitext-2", epochs=3, seeds=[7], min_count=5, topics=None)
    assert (varied.text.corpus, varied.text.min_count) == ("wikitext-2", 5)
    assert (varied.training.epochs, varied.seeds) == (3, (7,))
    kept = replace(settings.DEMO, corpus="wikitext-2", epochs=3, seeds=(7,), min_count=5)
    assert varied == kept
    assert settings.scale("demo") == settings.DEMO


def test_the_scales_differ_from_the_thesis_only_where_they_say():
    assert settings.THESIS.training == TrainingSettings()
    assert settings.DEMO.model == settings.THESIS.model
    assert replace(settings.DEMO.training, epochs=50) == settings.THESIS.training


def test_parameters_of_a_page_are_those_that_are_settings():
    page = {"scale": "demo", "source": "run", "topics": 3, "seeds": None, "np": object()}
    assert scales.given(page, settings.Settings) == {"topics": 3, "seeds": None}


@pytest.mark.parametrize("seeds", [[], [0, 0], [-1]])
def test_seeds_are_different_and_at_least_0(seeds):
    with pytest.raises(ValueError, match="seeds are one or more different integers from 0 on"):
        settings.scale("demo", seeds=seeds)


def test_an_unknown_scale_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match="one of smoke, demo, desktop, thesis, got 'huge'"):
        settings.scale("huge")


def test_an_unknown_setting_is_an_error_that_lists_the_known():
    known = ", ".join(field.name for field in fields(settings.Settings))
    with pytest.raises(ValueError, match=f"one of {known}, got words"):
        settings.scale("demo", words=3)


def test_taggers_and_probes_take_their_own_settings_of_a_scale():
    scale = settings.scale("thesis", tagger_epochs=3, topics=7, probe_epochs=2)
    assert (scale.tasks.epochs, scale.tasks.topics, scale.tasks.tokens) == (3, 7, None)
    assert [(each.hidden, each.epochs) for each in scale.probes] == [(True, 2), (False, 2)]
    assert scale.training.epochs == 50


PAGES = sorted((Path(__file__).parents[1] / "chapters").glob("[0-9]*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_no_cell_of_a_page_but_that_of_parameters_binds_the_name_of_a_setting(page):
    """Such a cell, run again after it, would hand its value on as a setting."""
    cells = chapters.code_cells(chapters.read(page.read_text()))
    modules = provenance.imported_modules("\n".join(cell.source for cell in cells))
    (settings_module,) = (name for name in modules if name.endswith(".settings"))
    names = {field.name for field in fields(import_module(settings_module).Settings)}
    bound = {
        symbol.get_name()
        for cell in cells
        if "parameters" not in cell.metadata.tags
        for symbol in symtable(cell.source, page.stem, "exec").get_symbols()
        if symbol.is_assigned()
    }
    assert not bound & names
