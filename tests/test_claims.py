"""Verdicts on made-up tables, whose verdict is known."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lmthesis import findings as claims
from lmthesis.findings import Claim

LAYERS = ("e", "h1", "h2")
SEEDS, EPOCHS = range(3), range(5)


def made_up(final, other_seed, other_layer, noise=0.001):
    """A table of similarities: each a function of epoch and layer or layers, with a little noise per seed."""
    rng = np.random.default_rng(0)
    rows = []

    def add(kind, seed, epoch, layer, other, value):
        value += rng.normal(0, noise)
        rows.append(
            {
                "comparison": kind,
                "seed": seed,
                "epoch": epoch,
                "layer": layer,
                "other_seed": other[0],
                "other_epoch": other[1],
                "other_layer": other[2],
                "svcca": value,
            }
        )

    for seed in SEEDS:
        for epoch in EPOCHS:
            for layer in LAYERS:
                add("final", seed, epoch, layer, (seed, EPOCHS[-1], layer), final(epoch, layer))
                for other in set(SEEDS) - {seed}:
                    add(
                        "other seed", seed, epoch, layer, (other, EPOCHS[-1], layer), other_seed(epoch, layer)
                    )
            for pair in [*pairwise(LAYERS), ("e", "h2")]:
                add("other layer", seed, epoch, pair[0], (seed, epoch, pair[1]), other_layer(epoch, pair))
    return {"similarities": pd.DataFrame(rows)}


AS_IN_THE_PAPER = made_up(
    final=lambda epoch, layer: 0.5 + 0.1 * epoch + 0.05 * (layer == "h2"),
    other_seed=lambda epoch, layer: 0.4 + 0.05 * epoch,
    other_layer=lambda epoch, pair: 0.3 + 0.02 * epoch - 0.1 * (pair == ("e", "h2")),
)
THE_OPPOSITE = made_up(
    final=lambda epoch, layer: 0.5 + 0.1 * epoch + 0.05 * (layer == "h1"),
    other_seed=lambda epoch, layer: 0.9 - 0.01 * epoch,
    other_layer=lambda epoch, pair: 0.99 - 0.01 * epoch + 0.02 * (pair == ("e", "h2")),
)
NOISE = made_up(*[lambda *_: 0.8] * 3, noise=0.05)
OF_SIMILARITIES = [name for name, claim in claims.CLAIMS.items() if claim.tables == ("similarities",)]


@pytest.mark.parametrize("name", OF_SIMILARITIES)
def test_a_table_as_in_the_paper_makes_every_claim_hold_and_its_opposite_none(name):
    assert claims.verdict(name, AS_IN_THE_PAPER).outcome == "holds"
    assert claims.verdict(name, THE_OPPOSITE).outcome == "does not hold"


@pytest.mark.parametrize("name", ["h2_settles_before_h1", "seeds_share_far_from_all"])
def test_noise_around_zero_leaves_a_claim_open(name):
    assert claims.verdict(name, NOISE).outcome == "open"


@pytest.mark.parametrize(
    ("name", "margin"),
    [
        ("h2_settles_before_h1", 0.05),
        ("seeds_share_far_from_all", 0.8 - 0.6),
        ("seeds_grow_alike", 0.15),
        ("near_layers_are_more_alike", 0.1),
        ("layers_differ_more_than_seeds", 0.6 - 0.38),
        ("layers_grow_alike", 0.06),
    ],
)
def test_margins_are_what_their_description_says(name, margin):
    assert claims.verdict(name, AS_IN_THE_PAPER).margin == pytest.approx(margin, abs=0.005)


def losses(test_loss, rescaled):
    return {
        "losses": pd.DataFrame(
            [
                {
                    "seed": seed,
                    "epoch": epoch,
                    "test_loss": loss + 0.001 * seed * epoch,
                    "rescaled": at == epoch,
                }
                for seed, (curve, at) in enumerate(zip(test_loss, rescaled, strict=True))
                for epoch, loss in enumerate(curve)
            ]
        )
    }


def test_the_dip_is_how_far_loss_falls_below_its_best_after_a_rescaling():
    tables = losses([[9, 5, 5.4, 4.5], [9, 6, 5.6, 5.6]], rescaled=[2, 1])
    verdict = claims.verdict("loss_dips_when_rescaled", tables)
    assert verdict.margin == pytest.approx((0.5 + 0.399) / 2)


def test_a_loss_that_only_returns_to_where_it_was_has_not_dipped():
    tables = losses([[9, 5, 5.4, 5.1], [9, 5, 5.4, 5.11]], rescaled=[2, 2])
    assert claims.verdict("loss_dips_when_rescaled", tables).margin < 0


def test_without_a_rescaling_that_is_followed_by_an_epoch_the_dip_is_not_tested():
    tables = losses([[9, 5, 4], [9, 5, 4]], rescaled=[None, 2])
    verdict = claims.verdict("loss_dips_when_rescaled", tables)
    assert verdict.outcome == "not tested"
    assert "nothing in this run" in verdict.numbers


def test_seeds_without_a_rescaling_do_not_count_towards_the_interval():
    curves = [[9, 5, 5, 4.5], [9, 6, 6, 5.4], [9, 5, 4, 3]]
    assert claims.verdict("loss_dips_when_rescaled", losses(curves, rescaled=[2, 2, None])).seeds == 2


MEAN = Claim(
    statement="s", source="s", tables=("t",), margin=lambda table: table["y"].mean(), measured_as="m"
)


def test_the_interval_of_a_mean_over_seeds_is_students():
    values = np.random.default_rng(1).normal(0.5, 1, 6)
    verdict = claims.judged(MEAN, {"t": pd.DataFrame({"seed": range(6), "y": values})})
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
        verdict = claims.judged(MEAN, {"t": pd.DataFrame(rows)})
        hits += verdict.low < 0 < verdict.high
    assert 0.92 < hits / 400 < 0.98


def test_a_single_seed_leaves_a_claim_open_whatever_its_margin():
    table = AS_IN_THE_PAPER["similarities"]
    verdict = claims.verdict("h2_settles_before_h1", {"similarities": table[table["seed"] == 0]})
    assert verdict.outcome == "open"
    assert verdict.margin > 0
    assert "no interval over 1 seed." in verdict.numbers


def test_a_verdict_shows_outcome_statement_source_margin_and_interval():
    shown = claims.verdict("layers_grow_alike", AS_IN_THE_PAPER)._repr_html_()
    for part in ("Holds.", "grow more alike", "figure 5", "+0.0", "95 % interval", "3 seeds"):
        assert part in shown


def test_the_overview_has_a_row_for_each_claim_that_the_tables_decide():
    table = claims.overview(AS_IN_THE_PAPER)
    assert table["finding"].tolist() == [claims.CLAIMS[name].statement for name in OF_SIMILARITIES]
    assert set(table["verdict"]) == {"holds"}


def test_unknown_claims_and_missing_tables_are_errors_that_list_what_there_is():
    with pytest.raises(ValueError, match=r"a claim is one of .*layers_grow_alike.*, got 'x'"):
        claims.verdict("x", {})
    with pytest.raises(ValueError, match="needs the table 'losses', got similarities"):
        claims.verdict("loss_dips_when_rescaled", AS_IN_THE_PAPER)


def test_a_margin_of_nothing_has_no_sign_of_its_own():
    verdict = claims.judged(MEAN, {"t": pd.DataFrame({"seed": range(3), "y": [-0.0, -0.0, -0.0]})})
    assert "+0.000, 95 % interval +0.000 to +0.000" in verdict.numbers
    assert "-" not in verdict.numbers
