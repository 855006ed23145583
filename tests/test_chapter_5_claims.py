"""Verdicts on made-up tables of interdependence and of scaffolds, whose verdict is known."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from lmdynamics.claims import decide
from lmdynamics.observe.decomposition import BIAS, INTERACTIONS
from lmthesis.chapter_5 import page
from lmthesis.chapter_5.claims import CLAIMS, of_common_epochs, slopes

SEEDS, EPOCHS, LENGTHS = range(3), range(4), (2, 4, 8)
COMPARED = (1, 3)
"""Epochs for which every convention was measured."""


def made(sign, noise=0.0005):
    """Tables in which every finding shows (sign 1) or its opposite does (sign -1)."""
    rng = np.random.default_rng(0)

    def table(rows):
        found = pd.DataFrame(rows)
        numbers = found.select_dtypes(float).columns
        return found.assign(**found[numbers] + rng.normal(0, noise, (len(found), len(numbers))))

    conventions = [
        {"seed": seed, "epoch": epoch, "bias": bias, "interactions": interactions}
        for seed, epoch, bias, interactions in product(SEEDS, EPOCHS, BIAS, INTERACTIONS)
        if epoch in COMPARED or (bias, interactions) == (BIAS[0], INTERACTIONS[0])
    ]
    models = [
        {"length": length, "familiar": familiar, "rules": rules, "seed": seed}
        for length, familiar, rules, seed in product(LENGTHS, (False, True), (10, 400), SEEDS)
        if rules == 400 or not familiar
    ]
    trees = 0.9 if sign > 0 else 0.1

    def learnt(model, epoch, domain):
        first = 1 if model["familiar"] == (sign > 0) else 3
        known = 0.2 if epoch >= first else 0.0
        if not model["familiar"]:
            return known if domain == "in" or sign > 0 else 0.0
        return known if domain == "in" else 0.01 if sign > 0 else known + 0.1

    return {
        "by_distance": table(
            {**about, "sequential": d, "pairs": 500, "mean": 0.5 - 0.04 * d * sign}
            for about in conventions
            for d in range(1, 6)
        ),
        "strata": table(
            {
                **about,
                "sequential": d,
                "syntactic": s,
                "classes": kind,
                "pairs": 500,
                "mean": 0.5 - 0.02 * s * d * sign,
            }
            for about in conventions
            for d, s, kind in product(range(1, 4), range(1, 6), ("open", "closed", "mixed"))
        ),
        "effects": table(
            {**about, "feature": "syntactic distance", "coefficient": -0.01 * sign} for about in conventions
        ),
        "correlations": table(
            {
                **about,
                "feature": feature,
                "correlation": 0.05,
                "within": 0.05 if sign > 0 else -0.6,
            }
            for about in conventions
            for feature in ("frequency, left", "frequency, right", "log frequency, left")
        ),
        "attachment": table(
            {**about, "weights": weights, "found": found}
            for about in conventions
            for weights, found in (
                ("interdependence", trees),
                ("interdependence, less its mean at the distance", 0.3 + 0.02 * sign * about["epoch"]),
                ("nearest neighbours", 0.5),
                ("random", 0.1),
            )
        ),
        "rule": table(
            {**model, "domain": domain, "epoch": epoch, "omega": learnt(model, epoch, domain)}
            for model, domain, epoch in product(models, ("in", "out"), EPOCHS)
        ),
        "decomposed": table(
            {
                **model,
                "domain": domain,
                **about,
                "omega_from_alpha": 0.06 * about["epoch"]
                + 0.05 * sign * model["familiar"]
                - 0.005 * sign * model["length"] * (model["rules"] == 10),
                "omega_from_scaffold": 0.05 - 0.1 * sign * (model["rules"] == 10),
                "interdependence": 0.5 + sign * model["familiar"] * (0.1 + 0.05 * about["epoch"]),
            }
            for model, domain, about in product(models, ("in", "out"), conventions)
            if about["seed"] == model["seed"]
        ),
        "consumed": table(
            {
                **model,
                "domain": "in",
                "bias": bias,
                "interactions": interactions,
                "symbols": n,
                "omega": 0.5
                + 0.1 * sign * (not model["familiar"])
                + 0.05 * n * (model["familiar"] == (sign > 0)),
            }
            for model, bias, interactions in product(models, BIAS, INTERACTIONS)
            for n in range(model["length"] + 1)
        ),
        "gradients": table(
            {
                **model,
                "epoch": epoch,
                "offset": n,
                "whole": 1.0 - 0.3 * sign * model["familiar"],
                "of_omega": 0.1,
            }
            for model, epoch in product(models, EPOCHS)
            for n in range(model["length"] + 1)
        ),
    }


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize(("sign", "outcome"), [(1, "holds"), (-1, "does not hold")])
def test_a_table_that_shows_a_finding_decides_for_it_and_one_that_shows_the_opposite_against(
    name, sign, outcome
):
    assert decide(CLAIMS[name], made(sign)).outcome == outcome


@pytest.mark.parametrize("name", CLAIMS)
def test_a_single_seed_leaves_a_finding_open(name):
    tables = {key: table[table["seed"] == 0] for key, table in made(1).items()}
    assert decide(CLAIMS[name], tables).outcome == "open"


def test_the_margin_of_a_slope_is_the_fall_of_each_edge_as_a_share_of_the_mean():
    found = decide(CLAIMS["interdependence_falls_with_edges_open"], made(1, noise=0))
    # at d words apart, 0.02 d of a mean of 0.5 - 0.06 d
    assert found.margin == pytest.approx(np.mean([0.02 * d / (0.5 - 0.06 * d) for d in (1, 2, 3)]))


def test_slopes_weigh_a_stratum_by_its_pairs_and_leave_out_small_ones():
    about = {"seed": 0, "epoch": 1, "bias": "in_focus", "interactions": "irrelevant"}
    cells = pd.DataFrame(
        [
            {**about, "sequential": d, "syntactic": s, "classes": "open", "pairs": pairs, "mean": mean}
            for d, s, pairs, mean in [
                (3, 1, 1000, 0.4), (3, 2, 1000, 0.3), (3, 3, 200, 0.3), (3, 4, 99, 9.0),
                (4, 1, 500, 0.4), (4, 2, 500, 0.3), (4, 3, 99, 0.2),
            ]
        ]
    )  # fmt: skip
    (row,) = slopes(cells).itertuples()
    weights = np.array([1000, 1000, 200])
    x, y = np.array([1, 2, 3]), np.array([0.4, 0.3, 0.3])
    x, y = x - np.average(x, weights=weights), y - np.average(y, weights=weights)
    assert (row.sequential, row.slope) == (
        3,
        pytest.approx((weights * x * y).sum() / (weights * x * x).sum()),
    )


def test_findings_by_decomposition_are_also_decided_under_every_other_convention():
    tables = made(1, noise=0)
    for name, column in (("by_distance", "mean"), ("decomposed", "interdependence")):
        table = tables[name]
        other = (table["bias"] == "irrelevant") & (table["interactions"] == "source")
        tables[name] = table.assign(**{column: table[column].where(~other, 1 - table[column])})
    found = page.under_conventions(tables)
    assert found.shape == (14, len(BIAS) * len(INTERACTIONS))
    assert CLAIMS["trees_are_learnt"].statement not in found.index  # no untrained model to compare
    for name, margin in (
        ("interdependence_falls_with_distance", 1),
        ("familiar_more_interdependent", 0.2),  # of 0.15 after epoch 1 and 0.25 after epoch 3
        ("familiar_grows_interdependent", 1),
    ):
        row = found.loc[CLAIMS[name].statement]
        assert row["in focus", "irrelevant"] == f"holds (+{margin:.3f})"
        assert row["irrelevant", "source"] == f"does not hold (-{margin:.3f})"


def test_conventions_are_compared_by_the_epochs_that_all_of_them_have():
    tables = made(1, noise=0)
    # unfamiliar languages take until epoch 2, which is not among those compared
    statement = CLAIMS["alpha_alone_sooner"].statement
    assert decide(CLAIMS["alpha_alone_sooner"], tables).margin == 2 - 1
    assert set(page.under_conventions(tables).loc[statement]) == {"holds (+2.000)"}
    assert set(of_common_epochs(tables["decomposed"])["epoch"]) == set(COMPARED)


def test_a_rule_that_is_never_learnt_takes_an_epoch_more_than_there_are():
    tables = made(1, noise=0)
    rule = tables["rule"]
    tables["rule"] = rule.assign(omega=rule["omega"].where(rule["familiar"], 0.0))
    assert decide(CLAIMS["familiar_sooner_in_domain"], tables).margin == EPOCHS[-1] + 1 - 1


def test_what_generalises_for_one_epoch_only_has_not_never_generalised():
    tables = made(1, noise=0)
    rule = tables["rule"]
    once = (rule["epoch"] == 1) & (rule["domain"] == "out") & (rule["length"] == 2) & rule["familiar"]
    tables["rule"] = rule.assign(omega=rule["omega"].where(~once, 0.4))
    verdict = decide(CLAIMS["familiar_never_generalises"], tables)
    assert verdict.outcome == "does not hold"
    assert verdict.margin == pytest.approx(0.1 - 0.4)


def test_with_one_length_there_is_no_longer_rule_and_no_inside_of_a_scaffold_of_one_symbol():
    tables = made(1)
    one = {"decomposed": tables["decomposed"].query("length == 4")}
    assert decide(CLAIMS["longer_rules_need_more"], one).outcome == "out of reach"
    short = {"gradients": tables["gradients"].assign(length=1).query("offset <= 1")}
    assert decide(CLAIMS["familiar_smaller_gradients"], short).outcome == "out of reach"
