"""Verdicts on made-up tables of layers, taggers and probes, whose verdict is known."""

from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest

from lmdynamics import claims
from lmdynamics.claims import decide
from lmthesis.chapter_4 import page
from lmthesis.chapter_4.claims import CLAIMS


def least(verdict):
    """The smallest margin."""
    return verdict.cells["margin"].min()


LAYERS = ("e", "h1", "h2")
TASKS = ("UDP POS", "PTB POS", "SEM (coarse)", "SEM (fine)", "topic")
OWN = TASKS[1:4]  # those with a text of their own
SEEDS, EPOCHS = range(3), range(5)
LONG, SHORT = 400, 100  # tokens; the fewer, the more alike all seems


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


LAYERS_AS_IN_THE_PAPER = made_up(
    final=lambda epoch, layer: 0.5 + 0.1 * epoch + 0.05 * (layer == "h2"),
    other_seed=lambda epoch, layer: 0.4 + 0.05 * epoch,
    other_layer=lambda epoch, pair: 0.3 + 0.02 * epoch - 0.1 * (pair == ("e", "h2")),
)
LAYERS_OPPOSITE = made_up(
    final=lambda epoch, layer: 0.5 + 0.1 * epoch + 0.05 * (layer == "h1"),
    other_seed=lambda epoch, layer: 0.9 - 0.01 * epoch,
    other_layer=lambda epoch, pair: 0.99 - 0.01 * epoch + 0.02 * (pair == ("e", "h2")),
)
NOISE = made_up(*[lambda *_: 0.8] * 3, noise=0.05)
OF_SIMILARITIES = [name for name, claim in CLAIMS.items() if claim.tables == ("similarities",)]


@pytest.mark.parametrize("name", OF_SIMILARITIES)
def test_similarities_as_in_the_paper_make_every_claim_hold_and_their_opposite_none(name):
    assert decide(CLAIMS[name], LAYERS_AS_IN_THE_PAPER).outcome == "holds"
    assert decide(CLAIMS[name], LAYERS_OPPOSITE).outcome == "does not hold"


@pytest.mark.parametrize("name", [*OF_SIMILARITIES])
@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_leave_claims_about_pairs_of_seeds_open_and_break_none(name, seeds):
    table = LAYERS_AS_IN_THE_PAPER["similarities"]
    few = {"similarities": table[(table["seed"] < seeds) & (table["other_seed"] < seeds)]}
    of_seeds = name.startswith("seeds") or name == "layers_differ_more_than_seeds"
    expected = "open" if seeds == 2 or not of_seeds else "out of reach"
    assert decide(CLAIMS[name], few).outcome == ("holds" if seeds == 2 and not of_seeds else expected)


@pytest.mark.parametrize("name", ["h2_settles_before_h1", "seeds_share_far_from_all"])
def test_noise_around_zero_leaves_a_claim_open(name):
    assert decide(CLAIMS[name], NOISE).outcome == "open"


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
def test_margins_between_layers_are_what_their_description_says(name, margin):
    assert least(decide(CLAIMS[name], LAYERS_AS_IN_THE_PAPER)) == pytest.approx(margin, abs=0.005)


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
    verdict = decide(CLAIMS["loss_dips_when_rescaled"], tables)
    assert verdict.margin == pytest.approx((0.5 + 0.399) / 2)


def test_a_loss_that_only_returns_to_where_it_was_has_not_dipped():
    tables = losses([[9, 5, 5.4, 5.1], [9, 5, 5.4, 5.11]], rescaled=[2, 2])
    assert decide(CLAIMS["loss_dips_when_rescaled"], tables).margin < 0


def test_without_a_rescaling_that_is_followed_by_an_epoch_the_dip_is_out_of_reach():
    tables = losses([[9, 5, 4], [9, 5, 4]], rescaled=[None, 2])
    verdict = decide(CLAIMS["loss_dips_when_rescaled"], tables)
    assert verdict.outcome == "out of reach"
    assert "no step was rescaled before the last epoch" in verdict.numbers


def test_seeds_without_a_rescaling_do_not_count_towards_the_interval():
    curves = [[9, 5, 5, 4.5], [9, 6, 6, 5.4], [9, 5, 4, 3]]
    assert decide(CLAIMS["loss_dips_when_rescaled"], losses(curves, rescaled=[2, 2, None])).seeds == 2


def trajectories(value, noise=0.001):
    """A table of likeness: a function of task, tagger, labels, layer, epoch, and whether text is shared.

    One task's own text is as long as the shared one, the others' is shorter.
    """
    rng, rows = np.random.default_rng(0), []
    for task in TASKS:
        readings = [(True, task not in OWN, LONG)]
        if task in OWN:
            tokens = LONG if task == OWN[0] else SHORT
            readings += [(False, True, tokens)] + [(False, False, tokens)] * (tokens == SHORT)
        for seed, tagger, labels, layer, epoch, (shared, own, tokens) in product(
            SEEDS, ("output", "input"), ("true", "shuffled"), ("e", "h1", "h2"), EPOCHS, readings
        ):
            likeness = value(task, tagger, labels, layer, epoch, shared or not own)
            rows.append(
                {
                    "task": task,
                    "tagger": tagger,
                    "labels": labels,
                    "seed": seed,
                    "epoch": epoch,
                    "layer": layer,
                    "corpus": "own" if own and not shared else "shared",
                    "shared": shared,
                    "own": own,
                    "tokens": tokens,
                    "svcca": likeness + 0.2 * (tokens == SHORT) + rng.normal(0, noise),
                }
            )
    return {"trajectories": pd.DataFrame(rows)}


SOON, LATER, LAST = (1, 0.5, 1, 0, 0), (1, 0.5, 1, 0.5, 0), (1, 0.8, 1, 0.8, 0)
"""Distance from the end, by epoch."""


def as_in_the_paper(task, tagger, labels, layer, epoch, shared):
    if layer == "e":
        return 0.95 - 0.01 * epoch
    level = dict(zip(TASKS, (0.60, 0.55, 0.50, 0.45, 0.20), strict=True))[task]
    if tagger == "input":
        level += {"UDP POS": -0.2, "PTB POS": 0.05}.get(task, 0)
    if labels == "shuffled":
        level += 0.1 if task == "topic" else -0.1
    away = {"UDP POS": SOON, "topic": LAST}.get(task, LATER)[epoch]
    return level - 0.06 * away + (0 if shared else 0.05)


def the_opposite(task, tagger, labels, layer, epoch, shared):
    if layer == "e":
        return 0.05 + 0.01 * epoch
    level = dict(zip(TASKS, (0.40, 0.20, 0.45, 0.50, 0.70), strict=True))[task]
    if tagger == "input":
        level += 0.1 if task == "UDP POS" else 0
    if labels == "shuffled":
        level -= 0.1
    away = {"UDP POS": LAST, "topic": SOON}.get(task, LATER)[epoch]
    return level + 0.06 * (away if shared else -away) - (0 if shared else 0.1)


PAPER, OPPOSITE = trajectories(as_in_the_paper), trajectories(the_opposite)
OF_TRAJECTORIES = [name for name, claim in CLAIMS.items() if claim.tables == ("trajectories",)]


@pytest.mark.parametrize("name", OF_TRAJECTORIES)
def test_a_table_as_in_the_paper_makes_every_claim_hold_and_its_opposite_none(name):
    assert decide(CLAIMS[name], PAPER).outcome == "holds"
    assert decide(CLAIMS[name], OPPOSITE).outcome == "does not hold"


@pytest.mark.parametrize(
    ("name", "margin"),
    [
        ("recurrent_layers_grow_alike", 0.03),
        ("pos_settles_first", 0.5 - 0.375),
        ("pos_nearest", 0.1),
        ("universal_pos_nearest", 0.05),
        ("topic_farthest", 0.45 - 0.2),
        ("topic_settles_last", 0.65 - 0.5),
        ("shuffled_topic_nearer", 0.1),
        ("encoder_falls", 0.03),
        ("encoder_nearest", 0.91 - 0.6),
        ("h1_dips_early", 0.06 * 0.2),
        ("h1_rises_after", 0.06),
        ("fine_pos_nearest_for_input", 0.6 - 0.5),
        ("universal_pos_loses_most_for_input", 0.2),
        ("nearer_on_own_text", 0.05),
        ("same_shape_on_own_text", 0.5),
    ],
)
def test_margins_are_what_their_description_says(name, margin):
    assert least(decide(CLAIMS[name], PAPER)) == pytest.approx(margin, abs=0.02 * margin + 0.004)


def test_without_semantic_tags_what_they_decide_is_out_of_reach():
    table = PAPER["trajectories"]
    without = {"trajectories": table[~table["task"].str.startswith("SEM")]}
    assert decide(CLAIMS["pos_nearest"], without).outcome == "out of reach"
    assert decide(CLAIMS["topic_farthest"], without).outcome == "holds"


def test_where_all_tags_come_with_the_shared_text_its_own_text_is_out_of_reach():
    table = PAPER["trajectories"]
    without = {"trajectories": table[table["shared"]].assign(own=True)}
    for name in ("nearer_on_own_text", "same_shape_on_own_text"):
        assert decide(CLAIMS[name], without).outcome == "out of reach"


def test_a_task_that_falls_as_much_as_another_does_not_lose_most():
    table = PAPER["trajectories"].copy()
    table.loc[(table["tagger"] == "input") & (table["task"] == "SEM (fine)"), "svcca"] -= 0.3
    verdict = decide(CLAIMS["universal_pos_loses_most_for_input"], {"trajectories": table})
    assert verdict.outcome == "does not hold"
    assert least(verdict) == pytest.approx(-0.1, abs=0.004)


def probed(accuracy, changed, predicts=("y[t]", "y[t+1]")):
    rows = [
        {
            "seed": seed,
            "epoch": epoch,
            "layer": layer,
            "task": task,
            "labels": "true",
            "predicts": what,
            "hidden": True,
            "accuracy": (accuracy[epoch] if what in predicts else 0) + 0.001 * seed,
        }
        for seed, epoch, layer, task, what in product(
            SEEDS, EPOCHS, ("e", "h1", "h2"), TASKS, ("y[t]", "y[t+1]")
        )
    ]
    similarities = [
        {
            "comparison": "final",
            "seed": seed,
            "other_seed": seed,
            "epoch": epoch,
            "layer": layer,
            "other_layer": layer,
            "svcca": 1 - changed * (1 - epoch / EPOCHS[-1]) + 0.001 * seed,
        }
        for seed, epoch, layer in product(SEEDS, EPOCHS, ("e", "h1", "h2"))
    ]
    return {"probes": pd.DataFrame(rows), "similarities": pd.DataFrame(similarities)}


SLOW = (0.3, 0.61, 0.62, 0.63, 0.64)


def test_probes_are_flat_where_a_layer_changes_more_than_they_do():
    verdict = decide(CLAIMS["probes_stay_flat"], probed(SLOW, changed=0.4))
    assert verdict.outcome == "holds"
    assert least(verdict) == pytest.approx(0.05 - 0.03, abs=0.002)


@pytest.mark.parametrize(
    "tables",
    [
        probed((0.3, 0.4, 0.5, 0.6, 0.7), changed=0.4),
        probed((0.3, 0.4, 0.5, 0.6, 0.7), changed=0.4, predicts=("y[t+1]",)),
        probed((0.3, 0.6, 0.7, 0.5, 0.6), changed=0.4),
        probed(SLOW, changed=0.02),
    ],
    ids=["probes learn", "of the word to come alone", "they swing and return", "nothing changes"],
)
def test_probes_are_not_flat_where(tables):
    assert decide(CLAIMS["probes_stay_flat"], tables).outcome == "does not hold"


@pytest.mark.parametrize(("ceiling", "outcome"), [(0.7, "holds"), (0.5, "does not hold")])
def test_the_ceiling_is_above_the_nearest_tagger_in_every_recurrent_layer(ceiling, outcome):
    seeds = [
        {
            "comparison": "other seed",
            "seed": seed,
            "other_seed": other,
            "layer": layer,
            "svcca": ceiling + 0.1 * (layer == "h1") + 0.001 * seed,
        }
        for seed, other, layer in product(SEEDS, SEEDS, ("e", "h1", "h2"))
        if seed != other
    ]
    verdict = decide(CLAIMS["taggers_below_ceiling"], {"ceiling": pd.DataFrame(seeds), **PAPER})
    assert verdict.outcome == outcome
    assert least(verdict) == pytest.approx(ceiling - 0.6, abs=0.004)
    two = {"ceiling": pd.DataFrame(seeds).query("seed < 2 and other_seed < 2"), **PAPER}
    assert decide(CLAIMS["taggers_below_ceiling"], two).outcome == "open"  # without either no pair is left


@pytest.mark.parametrize(("seconds", "outcome"), [(100, "holds"), (10, "does not hold")])
def test_probing_takes_longer_than_one_pass_over_each_text_and_svcca(seconds, outcome):
    compared = PAPER["trajectories"].assign(observing_seconds=10.0, svcca_seconds=0.0)
    probes = pd.DataFrame(
        {"corpus": "shared", "seed": seed, "epoch": epoch, "seconds": seconds + 0.1 * seed}
        for seed, epoch in product(SEEDS, EPOCHS)
    )
    verdict = decide(CLAIMS["probing_takes_longer"], {"trajectories": compared, "probes": probes})
    assert verdict.outcome == outcome
    assert verdict.margin == pytest.approx(seconds / 40 - 1, abs=0.01)  # four readings of a seed


def test_claims_are_decided_by_another_measure_where_the_table_has_it():
    table = PAPER["trajectories"].assign(cka=OPPOSITE["trajectories"]["svcca"])
    under = page.under_measures({"trajectories": table})
    assert set(under.index) == {CLAIMS[name].statement for name in OF_TRAJECTORIES}
    row = under.loc[CLAIMS["topic_farthest"].statement]
    assert row["svcca"].startswith("holds")
    assert row["cka"].startswith("does not hold")
    assert row["rsa"] == "–"
    counts = claims.verdict_counts(under.to_dict("list"))
    assert counts.loc["svcca"].tolist() == [len(under), 0, 0, 0]
    assert counts.loc["cka", "does not hold"] == len(under)
    assert counts.loc["rsa"].sum() == 0
