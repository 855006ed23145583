"""Verdicts on made-up tables of made-up claims, whose verdict is known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lmdynamics.claims import Claims, OutOfReachError, Threshold, decide, verdict_counts, within
from lmdynamics.measures import bootstrap

LARGE = Threshold(0.3, tried=(0.1, 0.2, 0.52, 0.9), meaning="what is called large")
CLAIMS = Claims()


@CLAIMS.finding("section 1")
def large(t):
    """It is
    large.

    Margin: the mean.
    """
    return t["y"].mean()


@CLAIMS.finding("section 2")
def small(t, u):
    """It is <small>.

    Margin: a difference.
    """
    return u["y"].mean() - t["y"].mean()


@CLAIMS.finding("section 3")
def in_every_cell(cells):
    """It is large for every task.

    Margin: the mean, by layer and epoch.
    """
    return cells.groupby(["layer", "epoch"])["y"].mean()


@CLAIMS.finding("section 4")
def very_large(t, *, limit=LARGE):
    """It is very large.

    Margin: the mean less {limit}.
    """
    return t["y"].mean() - limit


def table(*values):
    return pd.DataFrame({"seed": range(len(values)), "y": values})


def cells_of(values):
    """A table of the values of some seeds (rows) and cells (columns)."""
    return pd.DataFrame(
        {"seed": seed, "layer": f"h{cell % 3}", "epoch": cell // 3, "y": value}
        for (seed, cell), value in np.ndenumerate(np.asarray(values, float))
    )


def outcome(values):
    return decide(CLAIMS["in_every_cell"], {"cells": cells_of(values)}).outcome


HIGH, LOW, AROUND_0 = table(0.5, 0.51, 0.52), table(-0.5, -0.51, -0.52), table(-0.5, 0.1, 0.5)


@pytest.mark.parametrize(
    ("values", "outcome"),
    [(HIGH, "holds"), (LOW, "does not hold"), (AROUND_0, "open"), (table(np.nan, np.nan), "out of reach")],
)
def test_a_claim_of_one_cell_holds_where_the_whole_interval_is_above_zero(values, outcome):
    assert decide(CLAIMS["large"], {"t": values}).outcome == outcome


def test_the_interval_of_a_mean_over_seeds_is_students():
    values = np.random.default_rng(1).normal(0.5, 1, 6)
    verdict = decide(CLAIMS["large"], {"t": table(*values)})
    low, high = stats.t.interval(0.95, 5, values.mean(), stats.sem(values))
    assert (verdict.low, verdict.high) == (pytest.approx(low), pytest.approx(high))
    (below,) = verdict.cells["below"]
    assert below == pytest.approx(stats.ttest_1samp(values, 0, alternative="less").pvalue)


def test_a_claim_holds_where_every_cell_does_and_fails_by_one_that_is_surely_below():
    noise = np.array([[-1], [0], [1]])
    assert outcome([[1, 2, 3, 4]] + 0.01 * noise) == "holds"
    assert outcome([[1, 2, 3, 0.001]] + 0.01 * noise) == "open"
    assert outcome([[1, 2, 3, -0.5]] + 0.01 * noise) == "does not hold"


def test_a_cell_below_zero_at_2_percent_alone_does_not_fail_a_claim_of_many_cells():
    # one cell's t of 5 seeds is at the 2 % point below, for one test enough, for four not
    unit = np.array([-1, -0.5, 0, 0.5, 1.0])
    at = stats.t.ppf(0.02, 4) * unit.std(ddof=1) / np.sqrt(5)
    alone = np.c_[unit + at]
    assert outcome(alone) == "does not hold"
    assert outcome(np.hstack([alone, np.ones((5, 3)) + 0.01 * unit[:, None]])) == "open"


def test_a_verdict_names_its_weakest_cell_and_counts_those_that_are_positive():
    seeds = np.array([[-1], [0], [1]])
    verdict = decide(CLAIMS["in_every_cell"], {"cells": cells_of([[1, 2, 3, -0.5]] + 0.01 * seeds)})
    assert (verdict.weakest, verdict.positive, len(verdict.cells)) == ("h0, epoch 1", 3, 4)
    assert verdict.margin == pytest.approx(-0.5)
    assert "3 of 4 are positive; weakest is h0, epoch 1: -0.500, 95 % interval -0.525 to" in verdict.numbers


def test_cells_without_a_number_are_none_and_cells_of_one_name_are_an_error():
    verdict = decide(CLAIMS["in_every_cell"], {"cells": cells_of([[1, np.nan], [1.1, np.nan]])})
    assert verdict.cells.index.tolist() == ["h0, epoch 0"]
    claims = Claims()

    @claims.finding("section 1")
    def twice(t):
        """It is.

        Margin: it.
        """
        return pd.Series([1.0, 2.0], index=["a", "a"])

    with pytest.raises(ValueError, match="cells of twice need names of their own, got a, a"):
        decide(claims["twice"], {"t": HIGH})


def test_within_gives_two_cells_for_each_number():
    cells = within(pd.Series({"a": 0.1, "b": -0.3}), 0.2)
    assert cells.round(6).to_dict() == {
        "a, not above": 0.1, "b, not above": 0.5, "a, not below": 0.3, "b, not below": -0.1,
    }  # fmt: skip


def false_shares(seeds, cells, correlation, mean=0.0, trials=1500):
    """How often a claim is said to hold, and not to hold, where each cell's mean is known."""
    rng = np.random.default_rng([seeds, cells, round(10 * correlation)])
    own = rng.normal(size=(trials, seeds, cells)) * np.sqrt(1 - correlation)
    values = mean + own + rng.normal(size=(trials, seeds, 1)) * np.sqrt(correlation)
    total, found = values.sum(axis=1), {"holds": 0, "does not hold": 0}
    for each, sums in zip(values, total, strict=True):
        without = (sums - each) / (seeds - 1)
        low, _, below = bootstrap.crossed(each.mean(axis=0), without, np.empty((0, cells)))
        found["holds"] += (low > 0).all()
        found["does not hold"] += (below < 0.025 / cells).any()
    return {name: count / trials for name, count in found.items()}


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(("cells", "correlation"), [(1, 0), (6, 0), (6, 0.8), (15, 0), (15, 0.8)])
def test_where_the_truth_is_zero_verdicts_are_false_in_at_most_3_percent(seeds, cells, correlation):
    trials = 1500
    shares = false_shares(seeds, cells, correlation, trials=trials)
    # at 3 % of these trials and two standard errors more
    assert max(shares.values()) <= 0.03 + 2 * np.sqrt(0.03 * 0.97 / trials)


@pytest.mark.parametrize(("cells", "correlation"), [(1, 0), (6, 0), (6, 0.8), (15, 0.8)])
def test_a_finding_true_by_two_deviations_in_all_cells_is_found_by_five_seeds_in_most_cases(
    cells, correlation
):
    assert false_shares(5, cells, correlation, mean=2)["holds"] > 0.5


def test_the_rule_of_the_simulation_is_that_of_verdicts():
    rng = np.random.default_rng(5)
    for shift in (-2, 0, 2):
        values = rng.normal(shift, 1, (5, 4))
        without = (values.sum(axis=0) - values) / 4
        low, high, below = bootstrap.crossed(values.mean(axis=0), without, np.empty((0, 4)))
        verdict = decide(CLAIMS["in_every_cell"], {"cells": cells_of(values)})
        table = verdict.cells.sort_index()
        order = np.argsort(["h0, epoch 0", "h1, epoch 0", "h2, epoch 0", "h0, epoch 1"])
        np.testing.assert_allclose(table[["low", "high", "below"]], np.c_[low, high, below][order])


def crossed_means(rng, *, seeds=5, examples=40):
    """Means of seeds over examples, which vary as much, and over samples of these."""
    values = rng.normal(size=(seeds, 1)) + rng.normal(size=examples) * np.sqrt(examples)
    weights = bootstrap.weights(examples, rng)[: bootstrap.KEPT + 1]
    return values @ weights.T / weights.sum(axis=1)


def test_intervals_over_seeds_and_examples_hold_the_truth_where_those_over_seeds_alone_do_not():
    rng, hits = np.random.default_rng(6), {"both": 0, "seeds alone": 0}
    for _ in range(1000):
        means = crossed_means(rng)
        own, samples = means[:, 0], means.mean(axis=0)[1:, None]
        without = (own.sum() - own)[:, None] / 4
        for name, each in (("both", samples), ("seeds alone", samples[:0])):
            low, high, _ = bootstrap.crossed(own.mean(keepdims=True), without, each)
            hits[name] += low[0] < 0 < high[0]
    assert 0.94 < hits["both"] / 1000 < 0.99
    assert hits["seeds alone"] / 1000 < 0.85


def test_a_verdict_is_over_the_samples_that_a_table_holds():
    means = crossed_means(np.random.default_rng(7))
    t = pd.DataFrame({"seed": range(5), "y": means[:, 0], **bootstrap.sample_columns("y", means.T)})
    verdict = decide(CLAIMS["large"], {"t": t})
    assert verdict.examples
    assert "over 5 seeds and resampled examples" in verdict.numbers
    own = means[:, 0]
    ends = bootstrap.crossed(
        own.mean(keepdims=True), (own.sum() - own)[:, None] / 4, means.mean(axis=0)[1:, None]
    )
    assert (verdict.low, verdict.high) == pytest.approx((ends[0][0], ends[1][0]), abs=2e-3)


def test_samples_of_examples_that_do_not_vary_leave_the_interval_over_seeds():
    t = HIGH.assign(y_sample_1=HIGH["y"], y_sample_2=HIGH["y"])
    with_samples, without = (decide(CLAIMS["large"], {"t": each}) for each in (t, HIGH))
    assert (with_samples.low, with_samples.high) == pytest.approx((without.low, without.high))


def test_columns_of_samples_hold_the_first_ones_to_four_digits():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(bootstrap.SAMPLES + 1, 3)) * [1, 1e-6, 0]
    columns = bootstrap.sample_columns("mean", values)
    assert list(columns) == [f"mean_sample_{n}" for n in range(1, bootstrap.KEPT + 1)]
    np.testing.assert_allclose(np.array([*columns.values()]), values[1 : bootstrap.KEPT + 1], rtol=5.1e-4)


def test_intervals_of_margins_between_seeds_hold_the_truth_as_often_as_they_say():
    # each seed has a trait, and a pair of seeds is compared by the mean of their traits: pairs share seeds
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(250):
        traits = rng.normal(0, 1, 5)
        rows = [
            {"seed": a, "other_seed": b, "y": (traits[a] + traits[b]) / 2}
            for a in range(5)
            for b in range(5)
            if a != b
        ]
        verdict = decide(CLAIMS["large"], {"t": pd.DataFrame(rows)})
        hits += verdict.low < 0 < verdict.high
    assert 0.92 < hits / 250 < 0.98


def test_a_single_seed_leaves_a_claim_open_whatever_its_margin():
    verdict = decide(CLAIMS["large"], {"t": HIGH[:1]})
    assert verdict.outcome == "open"
    assert verdict.margin == 0.5
    assert "no interval over 1 seed." in verdict.numbers


def test_only_seeds_that_all_tables_have_and_that_have_something_to_decide_by_count():
    assert decide(CLAIMS["small"], {"t": LOW, "u": HIGH[1:]}).seeds == 2
    claims = Claims()

    @claims.finding("section 1", rows=lambda rows: rows[rows["seed"] > 0])
    def later(t):
        """It is large later.

        Margin: the mean.
        """
        return t["y"].mean()

    verdict = decide(claims["later"], {"t": HIGH})
    assert (verdict.seeds, verdict.margin) == (2, pytest.approx(0.515))


def test_what_a_run_cannot_have_is_out_of_reach_and_says_why():
    claims = Claims()

    @claims.finding("section 1")
    def rises(t):
        """It rises.

        Margin: the rise.
        """
        raise OutOfReachError("one epoch was trained")

    verdict = decide(claims["rises"], {"t": HIGH})
    assert (verdict.outcome, verdict.seeds, len(verdict.cells)) == ("out of reach", 0, 0)
    assert verdict.numbers == "Out of reach: one epoch was trained."
    assert verdict.brief == "out of reach"


def test_a_margin_of_nothing_has_no_sign_of_its_own():
    verdict = decide(CLAIMS["large"], {"t": table(-0.0, -0.0, -0.0)})
    assert "+0.000, 95 % interval +0.000 to +0.000" in verdict.numbers
    assert "-" not in verdict.numbers


def test_verdicts_of_a_paragraph_are_one_table_with_statements_sources_margins_and_intervals():
    shown = CLAIMS.verdicts({"t": LOW, "u": HIGH}, "small", "large")._repr_html_()
    assert shown.count("<tr") == 2
    assert shown.index("It is &lt;small&gt;.") < shown.index("It is large.")
    for part in ('class="holds"', 'class="does-not-hold"', "section 1", "+1.020", "95 % interval", "3 seeds"):
        assert part in shown


def test_the_verdict_table_has_a_row_for_each_claim_that_the_tables_decide():
    row, other = CLAIMS.verdict_table({"t": HIGH, "v": LOW}).to_dict("records")
    assert (row["finding"], row["source"], row["verdict"], row["seeds"]) == (
        "It is large.", "section 1", "holds", 3
    )  # fmt: skip
    assert 0 < row["low"] < row["margin"] < row["high"]
    assert (row["positive"], row["cells"], row["weakest"]) == (1, 1, "")
    assert other["finding"] == "It is very large."
    both = CLAIMS.verdict_table({"t": HIGH, "u": LOW})
    assert both["verdict"].tolist() == ["holds", "does not hold", "holds"]


def test_under_a_choice_that_lacks_a_table_there_is_a_dash_and_claims_that_none_decides_are_left_out():
    none = {"t": table(np.nan, np.nan)}
    choices = {"this": {"t": HIGH}, "that": {"u": LOW}, "none": none}
    under = CLAIMS.verdicts_under(choices, "large", "small")
    assert under.to_dict("index") == {
        "It is large.": {"this": "holds (+0.510)", "that": "–", "none": "out of reach"}
    }
    assert len(CLAIMS.verdicts_under(choices)) == 2
    assert CLAIMS.verdicts_under({"none": none}).empty


def test_verdicts_over_values_of_a_threshold_show_where_they_turn():
    rows = CLAIMS.verdicts_by_threshold({"t": HIGH})
    assert rows["verdict"].tolist() == ["holds"] * 3 + ["open", "does not hold"]
    assert rows["tried"].tolist() == [0.1, 0.2, 0.3, 0.52, 0.9]
    assert set(rows["value"]) == {0.3}
    assert set(rows["meaning"]) == {"what is called large"}
    assert CLAIMS["very_large"].measured_as == "the mean less 0.3"


def test_a_rule_has_a_date_from_when_it_was_registered_and_is_another_after_an_edit(tmp_path):
    claims = Claims(dates=tmp_path / "rules.csv")
    claims.finding("section 1")(large)
    assert "not dated yet" in claims.verdicts({"t": HIGH}, "large")._repr_html_()
    assert claims.register("2026-01-31") == 1
    assert claims.register("2026-02-01") == 0
    rule = claims["large"].rule
    shown = claims.verdicts({"t": HIGH}, "large")._repr_html_()
    assert f"Rule {rule[:7]} of 2026-01-31." in shown
    recorded = claims.rule_table()
    assert recorded.to_dict("records") == [{"finding": "large", "fingerprint": rule}]
    assert "changed" not in claims.verdicts({"t": HIGH, "rules": recorded}, "large")._repr_html_()
    before = recorded.assign(fingerprint="0123456789abcdef")
    shown = claims.verdicts({"t": HIGH, "rules": before}, "large")._repr_html_()
    assert "changed after this was recorded under rule 0123456" in shown
    table = claims.verdict_table({"t": HIGH, "rules": recorded[:0]})
    assert "made after this was recorded" in table.loc[0, "rule"]


def test_the_rule_is_the_code_of_the_margin_and_of_the_deciding_and_nothing_that_shows_it():
    from lmdynamics.claims import Claim, Verdict
    from lmdynamics.ground.provenance import reached

    names = {each.name for each in reached(large, decide, without=(Claim, Claims, Verdict))}
    assert {"large", "decide", "_outcome", "crossed", "ERROR"} <= names
    assert not {"Verdict", "Verdicts", "_row", "Claims", "verdict_counts"} & names
    assert CLAIMS["large"].rule != CLAIMS["small"].rule


def test_what_the_source_reports_stands_beside_the_section():
    claims = Claims()

    @claims.finding("section 1")
    def large(t):
        """It is large.

        Margin: the mean.

        Reported: near
        <0.64>.
        """
        return t["y"].mean()

    claim = claims["large"]
    assert (claim.statement, claim.measured_as, claim.reported) == ("It is large.", "the mean", "near <0.64>")
    assert claim.origin == "section 1; reported: near <0.64>"
    assert CLAIMS["large"].origin == "section 1"
    shown = claims.verdicts({"t": HIGH}, "large")._repr_html_()
    assert "(section 1; reported: near &lt;0.64&gt;)" in shown
    assert claims.verdict_table({"t": HIGH}).loc[0, "source"] == claim.origin


def test_a_source_reports_one_thing_at_most():
    def large(t):
        """It is large.

        Margin: the mean.

        Reported: 1.

        Reported: 2.
        """

    with pytest.raises(ValueError, match="at most one may begin with 'Reported:'"):
        Claims().finding("section 1")(large)


def test_a_claim_needs_a_statement_what_its_margin_is_and_a_name_of_its_own():
    claims = Claims()

    def nothing(t):
        """It is large."""

    with pytest.raises(ValueError, match="docstring of nothing needs a statement, and a paragraph"):
        claims.finding("section 1")(nothing)
    claims.finding("section 1")(large)
    with pytest.raises(ValueError, match="got 'large' twice"):
        claims.finding("section 1")(large)
    with pytest.raises(ValueError, match="no file of dates"):
        claims.register("2026-01-31")


def test_verdicts_are_counted_with_their_margins_or_without():
    counts = verdict_counts(
        {"a": ["holds (+0.5)", "holds", "–"], "b": ["does not hold (-0.1)", "out of reach"]}
    )
    assert counts.to_dict("index") == {
        "a": {"holds": 2, "does not hold": 0, "open": 0, "out of reach": 0},
        "b": {"holds": 0, "does not hold": 1, "open": 0, "out of reach": 1},
    }


def test_unknown_claims_and_missing_tables_are_errors_that_list_what_there_is():
    with pytest.raises(ValueError, match="a claim is one of large, small, in_every_cell, very_large, got x"):
        CLAIMS.verdicts({"t": HIGH}, "x", "large")
    with pytest.raises(ValueError, match="needs the table 'u', got t"):
        CLAIMS.verdicts({"t": HIGH}, "small")
