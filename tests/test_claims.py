"""Verdicts on made-up tables of made-up claims, whose verdict is known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lmdynamics.claims import Claim, Claims, decide, verdict_counts

MEAN = Claim(
    statement="It is large.",
    source="section 1",
    tables=("t",),
    margin=lambda table: table["y"].mean(),
    measured_as="the mean",
)
OTHER = Claim(
    statement="It is <small>.",
    source="section 2",
    tables=("t", "u"),
    margin=lambda table, other: other["y"].mean() - table["y"].mean(),
    measured_as="a difference",
)
CLAIMS = Claims(large=MEAN, small=OTHER)


def table(*values):
    return pd.DataFrame({"seed": range(len(values)), "y": values})


HIGH, LOW, AROUND_0 = table(0.5, 0.51, 0.52), table(-0.5, -0.51, -0.52), table(-0.5, 0.1, 0.5)


@pytest.mark.parametrize(
    ("values", "outcome"),
    [(HIGH, "holds"), (LOW, "does not hold"), (AROUND_0, "open"), (table(np.nan, np.nan), "not tested")],
)
def test_a_claim_holds_where_the_whole_interval_is_above_zero(values, outcome):
    assert decide(MEAN, {"t": values}).outcome == outcome


def test_the_interval_of_a_mean_over_seeds_is_students():
    values = np.random.default_rng(1).normal(0.5, 1, 6)
    verdict = decide(MEAN, {"t": table(*values)})
    low, high = stats.t.interval(0.95, 5, values.mean(), stats.sem(values))
    assert (verdict.low, verdict.high) == (pytest.approx(low), pytest.approx(high))


def test_intervals_of_margins_between_seeds_hold_the_truth_as_often_as_they_say():
    # each seed has a trait, and a pair of seeds is compared by the mean of their traits: pairs share seeds
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(400):
        traits = rng.normal(0, 1, 5)
        rows = [
            {"seed": a, "other_seed": b, "y": (traits[a] + traits[b]) / 2}
            for a in range(5)
            for b in range(5)
            if a != b
        ]
        verdict = decide(MEAN, {"t": pd.DataFrame(rows)})
        hits += verdict.low < 0 < verdict.high
    assert 0.92 < hits / 400 < 0.98


def test_a_single_seed_leaves_a_claim_open_whatever_its_margin():
    verdict = decide(MEAN, {"t": HIGH[:1]})
    assert verdict.outcome == "open"
    assert verdict.margin == 0.5
    assert "no interval over 1 seed." in verdict.numbers


def test_only_seeds_that_all_tables_have_and_that_have_something_to_decide_by_count():
    assert decide(OTHER, {"t": LOW, "u": HIGH[1:]}).seeds == 2
    without = Claim(**{**vars(MEAN), "among": lambda rows: rows[rows["seed"] > 0]})
    verdict = decide(without, {"t": HIGH})
    assert (verdict.seeds, verdict.margin) == (2, pytest.approx(0.515))


def test_a_margin_of_nothing_has_no_sign_of_its_own():
    verdict = decide(MEAN, {"t": table(-0.0, -0.0, -0.0)})
    assert "+0.000, 95 % interval +0.000 to +0.000" in verdict.numbers
    assert "-" not in verdict.numbers


def test_verdicts_of_a_paragraph_are_one_table_with_statements_sources_margins_and_intervals():
    shown = CLAIMS.verdicts({"t": LOW, "u": HIGH}, "small", "large")._repr_html_()
    assert shown.count("<tr") == 2
    assert shown.index("It is &lt;small&gt;.") < shown.index("It is large.")
    for part in ('class="holds"', 'class="does-not-hold"', "section 1", "+1.020", "95 % interval", "3 seeds"):
        assert part in shown


def test_the_verdict_table_has_a_row_for_each_claim_that_the_tables_decide():
    (row,) = CLAIMS.verdict_table({"t": HIGH, "v": LOW}).to_dict("records")
    assert (row["finding"], row["source"], row["verdict"], row["seeds"]) == (
        "It is large.", "section 1", "holds", 3
    )  # fmt: skip
    assert 0 < row["low"] < row["margin"] < row["high"]
    both = CLAIMS.verdict_table({"t": HIGH, "u": LOW})
    assert both["verdict"].tolist() == ["holds", "does not hold"]


def test_under_a_choice_that_lacks_a_table_there_is_a_dash_and_claims_that_none_decides_are_left_out():
    none = {"t": table(np.nan, np.nan)}
    under = CLAIMS.verdicts_under({"this": {"t": HIGH}, "that": {"u": LOW}, "none": none})
    assert under.to_dict("index") == {
        "It is large.": {"this": "holds (+0.510)", "that": "–", "none": "not tested"}
    }
    assert CLAIMS.verdicts_under({"none": none}).empty


def test_verdicts_are_counted_with_their_margins_or_without():
    counts = verdict_counts(
        {"a": ["holds (+0.5)", "holds", "–"], "b": ["does not hold (-0.1)", "not tested"]}
    )
    assert counts.to_dict("index") == {
        "a": {"holds": 2, "does not hold": 0, "open": 0, "not tested": 0},
        "b": {"holds": 0, "does not hold": 1, "open": 0, "not tested": 1},
    }


def test_unknown_claims_and_missing_tables_are_errors_that_list_what_there_is():
    with pytest.raises(ValueError, match="a claim is one of large, small, got x"):
        CLAIMS.verdicts({"t": HIGH}, "x", "large")
    with pytest.raises(ValueError, match="needs the table 'u', got t"):
        CLAIMS.verdicts({"t": HIGH}, "small")
