"""Numbers that the text of a page repeats are those of the code."""

import inspect

import pytest
from conftest import ROOT

from lmbook import chapters
from lmdynamics import claims, plots
from lmdynamics.measures import similarity, sparsity
from lmthesis.axis import CHECKPOINTS
from lmthesis.chapter_5.claims import LEAST_PAIRS
from lmthesis.chapter_6.claims import WEAK
from lmthesis.chapter_6.words import FREQUENT

VARIANCE = f"{100 * inspect.signature(similarity.svcca).parameters['variance'].default:g} %"
FIRST, LAST = map(plots.short, CHECKPOINTS.values())
REPEATED = [
    ("04_similarity", f"that together hold {VARIANCE} of its variance"),
    ("04_similarity", f"for which {VARIANCE} of the variance need so many"),
    ("04_similarity", f"the rule is {VARIANCE} of the *variance*"),
    ("06_sparsity", f"hold {100 * sparsity.SHARE:g} % of the mass"),
    ("06_sparsity", f"as much of the tokens as {FREQUENT * 227e6:,.0f} of the paper's 227 million do"),
    ("findings", f"the thesis's first checkpoint comes after {FIRST} tokens, its last after {LAST}."),
]
SHOWN = [
    ("05_interdependence", f"{LEAST_PAIRS} pairs"),
    ("06_sparsity", f"{WEAK} is the paper's"),
    ("06_sparsity", f"{claims.CLEAR} is ours"),
]
"""What figures and verdicts show, so that the text need not repeat it."""


def text(page):
    """All words of a page, captions included, on one line."""
    cells = chapters.read((ROOT / "chapters" / f"{page}.md").read_text()).cells
    captions = [cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "") for cell in cells]
    prose = [cell.source for cell in cells if cell.cell_type == "markdown"]
    return " ".join(" ".join([*prose, *captions]).split())


@pytest.mark.parametrize(("page", "said"), REPEATED)
def test_a_page_repeats_numbers_of_the_code_as_they_are(page, said):
    assert said in text(page)


@pytest.mark.parametrize(("page", "said"), SHOWN)
def test_a_page_leaves_thresholds_to_what_shows_them(page, said):
    assert said not in text(page)
