"""Verdicts on made-up tables of taggers and probes, whose verdict is known."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from lmdynamics import claims

TASKS = ("UDP POS", "PTB POS", "SEM (coarse)", "SEM (fine)", "topic")
OWN = TASKS[1:4]  # those with a text of their own
SEEDS, EPOCHS = range(3), range(5)


def trajectories(value, noise=0.001):
    """A table of likeness, a function of task, tagger, labels, layer, epoch and whether text is shared."""
    rng, rows = np.random.default_rng(0), []
    for seed, task, tagger, labels, layer, epoch, shared in product(
        SEEDS, TASKS, ("output", "input"), ("true", "shuffled"), ("e", "h1", "h2"), EPOCHS, (True, False)
    ):
        if shared or task in OWN:
            rows.append(
                {
                    "task": task,
                    "tagger": tagger,
                    "labels": labels,
                    "seed": seed,
                    "epoch": epoch,
                    "layer": layer,
                    "shared": shared,
                    "own": not shared or task not in OWN,
                    "svcca": value(task, tagger, labels, layer, epoch, shared) + rng.normal(0, noise),
                }
            )
    return {"trajectories": pd.DataFrame(rows)}


def as_in_the_paper(task, tagger, labels, layer, epoch, shared):
    if layer == "e":
        return 0.95 - 0.01 * epoch
    level = dict(zip(TASKS, (0.60, 0.55, 0.50, 0.45, 0.20), strict=True))[task]
    if tagger == "input":
        level += {"UDP POS": -0.2, "PTB POS": 0.05}.get(task, 0)
    if labels == "shuffled":
        level += 0.1 if task == "topic" else -0.1
    slope = 0.04 if task == "topic" else 0.01
    dip = 0.1 if layer == "h1" and epoch == 1 else 0
    return level + slope * epoch + dip + (0 if shared else 0.05)


def the_opposite(task, tagger, labels, layer, epoch, shared):
    if layer == "e":
        return 0.05 + 0.01 * epoch
    level = dict(zip(TASKS, (0.40, 0.20, 0.45, 0.50, 0.70), strict=True))[task]
    if tagger == "input":
        level += 0.1 if task == "UDP POS" else 0
    if labels == "shuffled":
        level -= 0.1
    slope = 0.001 if task == "topic" else 0.02
    return level + slope * (epoch if shared else -epoch) - (0 if shared else 0.05)


PAPER, OPPOSITE = trajectories(as_in_the_paper), trajectories(the_opposite)
OF_TRAJECTORIES = [name for name, claim in claims.CLAIMS.items() if claim.tables == ("trajectories",)]


@pytest.mark.parametrize("name", OF_TRAJECTORIES)
def test_a_table_as_in_the_paper_makes_every_claim_hold_and_its_opposite_none(name):
    assert claims.verdict(name, PAPER).outcome == "holds"
    assert claims.verdict(name, OPPOSITE).outcome == "does not hold"


@pytest.mark.parametrize(
    ("name", "margin"),
    [
        ("pos_nearest", 0.1),
        ("universal_pos_nearest", 0.05),
        ("topic_farthest", 0.45 - 0.2 - 0.12),
        ("topic_settles_last", 0.06 - 0.015 - 0.015),
        ("shuffled_topic_nearer", 0.1),
        ("encoder_falls", 0.03),
        ("encoder_nearest", 0.91 - 0.64),
        ("h1_dips_early", 0.1 - 0.04),
        ("fine_pos_nearest_for_input", 0.6 - 0.5),
        ("universal_pos_farther_for_input", 0.2),
        ("nearer_on_own_text", 0.05),
    ],
)
def test_margins_are_what_their_description_says(name, margin):
    assert claims.verdict(name, PAPER).margin == pytest.approx(margin, abs=0.006)


def test_without_semantic_tags_what_they_decide_is_not_tested():
    table = PAPER["trajectories"]
    without = {"trajectories": table[~table["task"].str.startswith("SEM")]}
    assert claims.verdict("pos_nearest", without).outcome == "not tested"
    assert claims.verdict("topic_farthest", without).outcome == "holds"


def test_where_all_tags_come_with_the_shared_text_its_own_text_is_not_tested():
    table = PAPER["trajectories"]
    without = {"trajectories": table[table["shared"]].assign(own=True)}
    for name in ("nearer_on_own_text", "same_shape_on_own_text"):
        assert claims.verdict(name, without).outcome == "not tested"


def probed(accuracy, changed):
    rows = [
        {
            "seed": seed,
            "epoch": epoch,
            "layer": layer,
            "task": task,
            "labels": "true",
            "predicts": "y[t]",
            "hidden": True,
            "accuracy": accuracy * epoch + 0.001 * seed,
        }
        for seed, epoch, layer, task in product(SEEDS, EPOCHS, ("e", "h1", "h2"), TASKS)
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


def test_probes_are_flat_where_a_layer_changes_more_than_they_do():
    verdict = claims.verdict("probes_stay_flat", probed(accuracy=0.01, changed=0.4))
    assert verdict.outcome == "holds"
    assert verdict.margin == pytest.approx(0.05 - 0.03, abs=0.002)
    for accuracy, changed in ((0.1, 0.4), (0.01, 0.02)):  # probes learn as well; nothing changes
        verdict = claims.verdict("probes_stay_flat", probed(accuracy, changed))
        assert verdict.outcome == "does not hold"


@pytest.mark.parametrize(("ceiling", "outcome"), [(0.7, "holds"), (0.6, "does not hold")])
def test_the_ceiling_is_above_the_nearest_tagger_in_every_recurrent_layer(ceiling, outcome):
    seeds = [
        {
            "comparison": "other seed",
            "seed": seed,
            "other_seed": other,
            "epoch": epoch,
            "layer": layer,
            "other_layer": layer,
            "svcca": ceiling + 0.1 * (layer == "h1") + 0.001 * seed,
        }
        for seed, other, epoch, layer in product(SEEDS, SEEDS, EPOCHS, ("e", "h1", "h2"))
        if seed != other
    ]
    verdict = claims.verdict("taggers_below_ceiling", {"similarities": pd.DataFrame(seeds), **PAPER})
    assert verdict.outcome == outcome
    assert verdict.margin == pytest.approx(ceiling - 0.64, abs=0.004)
