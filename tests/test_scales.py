"""Scales by name, and what of them a page can exchange."""

import math
from dataclasses import fields, replace
from importlib import import_module
from itertools import product
from pathlib import Path
from symtable import symtable
from typing import get_args, get_origin, get_type_hints

import papermill.cli
import pytest

from lmbook import chapters, parameters
from lmdynamics.ground import provenance
from lmdynamics.models.training import TrainingSettings
from lmdynamics.observe import activations
from lmdynamics.text import corpora
from lmthesis import recorded, scales
from lmthesis.chapter_4 import settings
from lmthesis.chapter_6 import settings as settings_6
from lmthesis.chapter_6 import words


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


CHAPTERS = [import_module(f"lmthesis.{name}.settings") for name in recorded.chapters()]
FIELDS = [
    pytest.param(chapter, name, kind, id=f"{chapter.__name__.split('.')[1]}-{name}")
    for chapter in CHAPTERS
    for name, kind in get_type_hints(chapter.Settings, include_extras=True).items()
    if name != "name"
]
NEVER = {"a": 1}, b"1", math.nan, "", " ", "1,x"
WRONG = {
    int: (0, -1, 1.5, "1.5", "x", True, "1e99", math.inf, [1, 2]),
    float: (-1, "x", True, math.inf, "nan", [0.1, 0.2]),
    bool: (2, "x", [True, False]),
    str: (5, True, ["a", "b"]),
}
"""Values that no setting of a type has, but for a number that is in its range."""


def base(kind):
    """The type of one value."""
    while get_args(kind):
        kind = get_args(kind)[0]
    return str if isinstance(kind, str) else kind


@pytest.mark.parametrize(("chapter", "name", "kind"), FIELDS)
def test_each_setting_refuses_other_types_and_what_is_out_of_its_range_by_its_name(chapter, name, kind):
    wrong = [*NEVER, *WRONG[base(kind)]]
    if get_origin(kind) is tuple:
        wrong = [[], "0,0", [[1]], *(each for each in wrong if each != [1, 2])]
    if name in ("seeds", "dropout", "rule_dropout"):
        wrong.remove(0) if 0 in wrong else None
    if base(kind) is str:
        wrong.remove("1,x")
    for value in wrong:
        with pytest.raises(ValueError, match=f"^{name} needs "):
            chapter.scale("smoke", **{name: value})


@pytest.mark.parametrize(("chapter", "name", "kind"), FIELDS)
def test_each_setting_is_read_from_text_as_the_value_that_it_names(chapter, name, kind):
    value = getattr(chapter.scale("demo"), name)
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    assert chapter.scale("demo", **{name: text}) == chapter.scale("demo")


@pytest.mark.parametrize(
    ("chapter", "given", "message"),
    [
        (4, {"corpus": "gmb"}, "^corpus needs text .*got 'gmb' .*take one of wikipedia-sample,"),
        (5, {"corpus": "pmb"}, "^corpus needs text .*got 'pmb'"),
        (4, {"compared_tokens": 41}, "^compared_tokens needs 42 or more, for layers of 40 units, got 41"),
        (4, {"seeds": [1000]}, "^seeds needs .* from 0 to 999"),
        (
            5,
            {"lengths": [1, 500]},
            "^lengths needs numbers from 1 to 48, for 2,000 language_tokens to hold 40",
        ),
        (5, {"lengths": [10**9]}, "^lengths needs numbers from 1 to 48"),
        (5, {"lengths": [40]}, "^lengths needs other numbers than 40: .* fill"),
        (5, {"phrases": 21}, "^lengths needs other numbers than 1: 20 types make 20 phrases"),
        (5, {"rarer": [40]}, "^rarer needs numbers below rules, 40, got"),
        (6, {"widths": [40]}, "^widths needs other numbers than units, 40, got"),
        (6, {"sample": 39}, "^sample needs a token for each stream of batch, 40, got 39"),
        (6, {"tokens": 39}, "^tokens needs a whole number from 40 to 1,000,000,000 or none, got 39"),
    ],
)
def test_what_a_chapter_cannot_combine_is_refused_with_what_it_can(chapter, given, message):
    with pytest.raises(ValueError, match=message):
        import_module(f"lmthesis.chapter_{chapter}.settings").scale("smoke", **given)


def test_settings_know_the_streams_and_parts_of_a_text():
    assert settings.scale("smoke", units=2, compared_tokens=activations.STREAMS).compared_tokens == 20
    assert settings_6.scale("smoke", tokens=words.STREAMS).tokens == 40
    assert get_args(settings_6.Part) == corpora.PARTS


def test_corpora_without_parts_of_speech_are_those_with_other_tags():
    readers = {name: source() for name, source in corpora._KNOWN.items()}
    tagged = {name: reader.tags for name, reader in readers.items() if reader.tags}
    assert {name for name, tags in tagged.items() if "pos" not in tags} == set(scales.WITHOUT_POS)


def test_all_chapters_have_the_same_scales():
    assert {tuple(chapter.SCALES) for chapter in CHAPTERS} == {scales.NAMES}


def test_an_unknown_scale_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match="scale needs one of smoke, demo, desktop, gpu, thesis, got 'huge'"):
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


GIVEN = ["", "0", "-1", "1,1", "50,51", "2.0", "1.5", "x", "none", "100", "1e30", "99999999999999999999"]


def parameters_of(page):
    """The chapter's settings, and parameters of a page that are some of them."""
    notebook = chapters.read(page.read_text())
    modules = provenance.imported_modules(chapters._python(notebook))
    (module,) = (import_module(name) for name in modules if name.endswith(".settings"))
    names = {field.name for field in fields(module.Settings)}
    return notebook, module, [name for name in parameters.declared(notebook) if name in names]


PAGES = sorted((Path(__file__).parents[1] / "chapters").glob("[0-9]*.md"))


def outcome(settings_of, given):
    """The settings, or what is said of what was given."""
    try:
        return settings_of(given)
    except ValueError as error:
        return str(error).splitlines()[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_whatever_a_parameter_of_a_page_is_given_both_ways_of_running_read_or_refuse_it(page):
    """Our command reads text by the page's declaration, papermill as it likes; both ask the settings."""
    notebook, module, names = parameters_of(page)
    assert names
    for name, text in product(names, GIVEN):
        given = papermill.cli._resolve_type(text)
        ours = outcome(lambda each: module.scale("demo", **parameters.parse(notebook, [each])), (name, text))
        theirs = outcome(lambda each: module.scale("demo", **each), {name: given})
        if isinstance(ours, str) or isinstance(theirs, str):
            assert not isinstance(theirs, module.Settings)
            assert f"{name} needs " in str(theirs)
            # papermill takes some text for a number
            assert f"{name} needs " in str(ours) or not isinstance(given, str)
        else:
            assert ours == theirs


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
