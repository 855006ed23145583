"""What holds of the claims of every chapter."""

import pytest

from lmthesis import findings

CHAPTERS = findings.chapters()


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_rule_of_verdict_has_a_date(name):
    claims = CHAPTERS[name]
    dated = {finding for finding, rule in claims._dates if rule == claims[finding].rule}
    assert dated == set(claims), "run: python -m lmthesis.findings"


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_claim_says_what_it_is_and_where_it_stands(name):
    for claim in CHAPTERS[name].values():
        assert claim.statement.endswith(".")
        assert claim.measured_as
        assert claim.source.startswith(("thesis chapter", "beyond the thesis", "suggested in", "a control"))
        assert claim.tables
