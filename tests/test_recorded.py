from pathlib import Path

import pytest

from lmdynamics import claims, recorded

RESULTS = Path(__file__).parents[1] / "data" / "results"
HOMES = sorted(path.parent for path in RESULTS.glob("*/about.json"))


@pytest.mark.parametrize("home", HOMES, ids=lambda home: home.name)
def test_recorded_tables_still_decide_every_claim_of_their_study(home):
    study, _, size = home.name.rpartition("-")
    found = recorded.load(study, size, RESULTS)
    verdicts = claims.overview(found.tables)
    assert len(verdicts) == sum(set(claim.tables) <= found.tables.keys() for claim in claims.CLAIMS.values())
    assert set(verdicts["verdict"]) <= {"holds", "does not hold", "open", "not tested"}
    assert (verdicts["seeds"] >= 2).mean() > 0.9
    assert {"settings", "code", "date", "machine", "torch"} <= found.about.keys()


def test_the_picture_of_the_readme_is_a_recorded_one():
    assert "data/results/chapter_4-demo/settling.svg" in (RESULTS.parents[1] / "README.md").read_text()
    assert (RESULTS / "chapter_4-demo" / "settling.svg").read_text().lstrip().startswith("<?xml")
