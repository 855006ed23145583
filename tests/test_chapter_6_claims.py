"""Verdicts on made-up tables of sparsity and of loss change, whose verdict is known."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from lmdynamics.claims import CLEAR, decide
from lmthesis import findings, html
from lmthesis.chapter_6 import page, words
from lmthesis.chapter_6.claims import CLAIMS

SEEDS, LAST, CONTROL, RESCALED = range(3), 4, 2, 2
EPOCHS = range(LAST + 1)
MEASURES = ("chi", "hoyer", "gini", "spare_units", "taxicab")
HOWS = ("pearson", "log", "spearman")
GROUPS = ("all", "open", "closed", "open, matched", "closed, matched")
LAYERS = ("e", "h1", "h2", "logits")
PARTS = ("e", "h1", "h2", "decoder")


def correlation(sign, epoch, side, layer, kind, measure, group):
    """Of the language models, where every finding shows, or its opposite does."""
    strong = 0.0 if sign > 0 else 0.9
    if measure == "taxicab":
        return -strong
    if side == "input":
        bend = 0.05 * max(0, epoch - RESCALED)
        rising = {"e": 0.1 + 0.1 * epoch + bend, "h1": 0.3 + 0.02 * epoch, "h2": 0.02 * epoch}
        return strong if kind == "gradient" else sign * rising.get(layer, 0.0)
    if kind == "activation":
        return strong or -0.15 * (layer == "h2")
    if layer != "h2":
        return 0.2 if layer == "logits" else 0.0
    if epoch == 0:
        return 0.05
    if group.startswith("closed"):
        return sign * (0.6 + 0.01 * epoch)
    return sign * ((0.1 if group.startswith("open") else 0.3) + 0.1 * epoch)


def made(sign, *, noise=0.0005, seed=0, seeds=SEEDS):
    """Tables in which every finding shows (sign 1) or its opposite does (sign -1)."""
    rng = np.random.default_rng(seed)

    def table(rows):
        found = pd.DataFrame(rows)
        numbers = found.select_dtypes(float).columns
        return found.assign(**found[numbers] + rng.normal(0, noise, (len(found), len(numbers))))

    places = [
        {"side": side, "layer": layer, "kind": kind, "measure": measure, "group": group, "how": how}
        for side, layer, kind, measure, group, how in product(
            ("target", "input"), LAYERS, ("activation", "gradient"), MEASURES, GROUPS, HOWS
        )
        if not (layer == "logits" and measure in ("gini", "spare_units"))
        and (group == "all" or layer == "h2")
        and (how == "pearson" or measure in ("chi", "taxicab"))
    ]
    models = [("language model", epoch) for epoch in EPOCHS]
    models += [("shuffled text", CONTROL), ("50 units", CONTROL), ("100 units", CONTROL)]

    def of(model, epoch, side, layer, kind, measure, group, how):
        if model == "language model":
            return correlation(sign, epoch, side, layer, kind, measure, group)
        return 0.0 if model == "shuffled text" else 0.3 * sign

    return {
        "rho": table(
            {
                "model": model,
                "seed": seed,
                "epoch": epoch,
                **place,
                "words": 50,
                "mean": 0.3 + 0.1 * sign * place["group"].startswith("closed"),
                "correlation": of(model, epoch, **place),
            }
            for (model, epoch), seed in product(models, seeds)
            for place in places
        ),
        "frequent": table(
            {"seed": seed, "epoch": epoch, "words": 2, "mean": 0.2 + 0.05 * sign * epoch}
            for seed, epoch in product(seeds, EPOCHS)
        ),
        "log": pd.DataFrame(
            {"seed": seed, "epoch": epoch, "rescaled": epoch in (RESCALED, LAST)}
            for seed, epoch in product(seeds, EPOCHS)
        ),
        "class_effects": table(
            {"model": model, "seed": seed, "epoch": epoch, "feature": feature, "coefficient": value * sign}
            for (model, epoch), seed, feature in product(models, seeds, ("closed class", "log frequency"))
            for value in [0.02 if (model, feature) == (models[0][0], "closed class") else -0.02]
        ),
        "levels": table(
            {"model": model, "seed": seed, "epoch": epoch, "kind": kind, "layer": layer, "measure": measure}
            | {"mean": 0.3 + (value * sign if layer == "h1" else 0.0)}
            for (model, epoch), seed, kind, layer, measure in product(
                models, seeds, ("activation", "gradient"), LAYERS, MEASURES
            )
            for value in [0.05 if (model, kind, measure) == (models[0][0], "activation", "chi") else -0.05]
        ),
        "noise": table(
            {"seed": seed, "least": least, "tokens": tokens, "how": how, "correlation": value * sign}
            for seed, least, tokens, how in product(seeds, (1, 10, 50), ("all", "as many"), HOWS)
            for value in [
                {
                    (10, "as many", "pearson"): 0.3,
                    (1, "all", "pearson"): 0.1,
                    (50, "all", "pearson"): 0.25,
                }.get((least, tokens, how), -0.3)
            ]
        ),
        "steps": table(
            {"seed": seed, "epoch": epoch, "step": step, "change": -0.1 if step < 5 else 0.1}
            | {layer: -0.02 if layer != "h1" else 0.04 if sign > 0 and step < 4 else -0.04 for layer in PARTS}
            for seed, epoch, step in product(seeds, EPOCHS[:-1], range(1, 7))
        ),
        "allocated": pd.DataFrame(
            {
                "seed": seed,
                "epoch": epoch,
                "method": method,
                "layer": layer,
                "felt": 1000,
                "helping": 500 + (20 + seed) * (sign if method == "Simpson" else -sign),
            }
            for seed, epoch, method, layer in product(seeds, EPOCHS[:-1], ("first order", "Simpson"), PARTS)
        ),
        "concentration": table(
            {"seed": seed, "epoch": epoch, "layer": layer, "among": among, "how": how}
            | {"correlation": value * sign}
            for seed, epoch, (layer, among), how in product(
                seeds, EPOCHS[:-1], (("e", "words"), ("h1", "units"), ("h2", "units")), HOWS
            )
            for value in [{"e": 0.3, "h1": -0.2, "h2": 0.4}[layer] * (1 if how == "pearson" else -1)]
        ),
    }


@pytest.fixture(scope="module")
def showing():
    return made(1, noise=0)


@pytest.fixture(scope="module", params=[(1, "holds"), (-1, "does not hold")], ids=lambda param: param[1])
def decided(request):
    sign, outcome = request.param
    return made(sign), outcome


@pytest.fixture(scope="module")
def under(showing):
    return page.under_sparsities(showing["rho"])


def outcomes(tables, names=CLAIMS):
    return {name: decide(CLAIMS[name], tables).outcome for name in names}


def without(tables, query):
    """Tables whose `rho` lacks some rows."""
    return {**tables, "rho": tables["rho"].query(f"not ({query})")}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_table_that_shows_a_finding_decides_for_it_and_one_that_shows_the_opposite_against(name, decided):
    tables, outcome = decided
    assert decide(CLAIMS[name], tables).outcome == outcome


@pytest.mark.parametrize(
    ("name", "margin"),
    {
        "gradient_sparser_with_frequency": 0.7,
        "gradient_clearly_sparser": 0.7 - 0.2,
        "gradient_sparser_with_training": 0.15,
        "top_gradient_alone": 0.7 - 0.2,
        "top_gradient_rising": 0.3,
        "top_activations_flat": 0.2 - 0.15,
        "frequent_targets_dispersed": 0.15 - 0.1,
        "closed_classes_first": 0.61 - 0.2,
        "closed_classes_first_matched": 0.61 - 0.2,
        "open_classes_go_on": 0.3 - 0.03,
        "open_classes_go_on_matched": 0.3 - 0.03,
        "function_words_sparser": 0.1,
        "function_words_sparser_at_frequency": 0.02,
        "stronger_among_frequent": 0.15,
        "frequent_inputs_sparse": 0.38,
        "first_layer_first": 0.32 - 0.2,
        "embedding_overtakes": 0.5 - 0.38,
        "gradients_ignore_input": 0.2,
        "up_after_rescaling": 0.05 / 3,
        "lower_layer_sparser": 0.05,
        "not_by_size": 0.1,
        "not_by_logits": 0.5,
        "more_than_untrained": 0.65,
        "more_than_shuffled": 0.5,
        "at_other_widths": 0.3,
        "not_by_noise": 0.3,
        "more_than_half_help": 0.021,
        "more_than_half_help_below": 0.021,
        "layers_against": 3 / 4 - 0.05,
        "loss_change_where_gradients_are": 0.4,
        "loss_change_as_concentrated": 0.3,
    }.items(),
)
def test_the_margin_of_each_finding_is_what_it_says(name, margin, showing):
    assert decide(CLAIMS[name], showing).margin == pytest.approx(margin)
    assert decide(CLAIMS[name], showing).seeds == 3


def test_a_single_seed_leaves_every_finding_open(showing):
    tables = {key: table[table["seed"] == 0] for key, table in showing.items()}
    assert set(outcomes(tables).values()) == {"open"}


def test_seeds_that_contradict_one_another_leave_every_finding_open():
    pairs = made(1, seeds=(0, 1)), made(-1, seeds=(2, 3))
    tables = {key: pd.concat([each[key] for each in pairs]) for key in pairs[0]}
    assert set(outcomes(tables).values()) == {"open"}


def test_noise_alone_leaves_most_findings_open_as_often_as_it_should():
    # those whose margin is around 0 where nothing correlates, neither a level of its own nor an extreme
    fair = set(CLAIMS) - {
        *("top_gradient_alone", "top_activations_flat", "gradients_ignore_input", "not_by_size"),
        *("more_than_untrained", "at_other_widths", "more_than_half_help", "layers_against"),
        *("gradient_clearly_sparser", "frequent_targets_dispersed", "more_than_half_help_below"),
    }
    found = []
    few = made(0, noise=0)
    few["rho"] = few["rho"].query("how == 'pearson' and measure == 'chi'")
    for seed in range(10):
        rng = np.random.default_rng(seed)
        tables = dict(few)
        for name, column in (
            *(("rho", "correlation"), ("rho", "mean"), ("frequent", "mean")),
            *(("noise", "correlation"), ("concentration", "correlation")),
            *(("class_effects", "coefficient"), ("levels", "mean")),
        ):
            tables[name] = tables[name].assign(**{column: rng.normal(0, 0.1, len(tables[name]))})
        found += outcomes(tables, fair).values()
    assert 0.9 < found.count("open") / len(found) < 1
    assert "out of reach" not in found


# What there is nothing to decide by


@pytest.mark.parametrize(
    ("query", "untested"),
    [
        (
            "group.str.endswith('matched')",
            {
                *("closed_classes_first_matched", "open_classes_go_on_matched"),
                "function_words_sparser",
            },
        ),
        ("model == 'shuffled text'", {"more_than_shuffled"}),
        ("model.str.endswith(' units')", {"at_other_widths"}),
        ("model != 'language model'", {"more_than_shuffled", "at_other_widths"}),
    ],
    ids=["no matched samples", "no shuffled text", "no other widths", "no controls"],
)
def test_what_was_not_measured_is_out_of_reach_and_the_rest_is_as_before(query, untested, showing):
    found = outcomes(without(showing, query))
    assert {name for name, outcome in found.items() if outcome == "out of reach"} == untested
    assert set(found.values()) == {"holds", "out of reach"}


def test_a_single_epoch_tells_nothing_of_what_rises():
    tables = {
        key: table[table["epoch"] <= 1] if "epoch" in table else table for key, table in made(1).items()
    }
    tables["rho"] = tables["rho"].query("model == 'language model'")
    found = outcomes(tables)
    assert {name for name, outcome in found.items() if outcome == "out of reach"} == {
        *("gradient_sparser_with_training", "top_gradient_rising", "up_after_rescaling"),
        *("open_classes_go_on", "open_classes_go_on_matched", "more_than_shuffled", "at_other_widths"),
    }


def test_a_rescaling_after_the_last_epoch_has_nothing_after_it(showing):
    late = showing["log"].assign(rescaled=showing["log"]["epoch"] == LAST)
    never = showing["log"].assign(rescaled=False)
    for log in (late, never):
        found = decide(CLAIMS["up_after_rescaling"], {**showing, "log": log})
        assert (found.outcome, found.seeds) == ("out of reach", 0)
        assert "no step was rescaled between the first epoch and the last" in found.numbers


def test_each_seed_counts_from_its_own_first_rescaling(showing):
    log = showing["log"]
    own = (log["seed"] + 1 == log["epoch"]) & (log["seed"] > 0)  # after epoch 2, epoch 3; never in the first
    found = decide(CLAIMS["up_after_rescaling"], {**showing, "log": log.assign(rescaled=own)})
    # per epoch: 0.15 of e after epoch 2, less 0.1 before it; 0.15 after epoch 3, less 0.25 / 2 before it
    assert found.margin == pytest.approx((0.05 + 0.025) / 2 / 3)
    assert found.seeds == 2


def test_without_frequent_words_or_tokens_enough_there_is_nothing_to_tell_of_them(showing):
    few = showing["noise"][showing["noise"]["least"] == 1]
    rising = showing["steps"][showing["steps"]["change"] > 0]
    tables = {**showing, "frequent": showing["frequent"].query("epoch < 2"), "noise": few, "steps": rising}
    names = ("gradient_sparser_with_training", "not_by_noise", "stronger_among_frequent", "layers_against")
    assert set(outcomes(tables, names).values()) == {"out of reach"}


# Overviews


def test_tables_of_this_chapter_decide_all_its_findings(showing):
    table = CLAIMS.verdict_table(showing)
    assert table["finding"].tolist() == [claim.statement for claim in CLAIMS.values()]
    assert set(table["verdict"]) == {"holds"}
    shown = html.markup(findings.styled(table))
    several = [claim for claim in CLAIMS.values() if len(decide(claim, showing).cells) > 1]
    assert shown.count("<small>") == len(CLAIMS) + len(several)  # its source; its weakest cell
    assert shown.count(">holds<") == len(CLAIMS)


def test_words_are_frequent_by_their_share_of_all_tokens_and_the_unknown_one_is_left_out():
    limit = 100_000 / 227e6
    tokens = {0: 600, 1: 390, 2: 9, 3: 1}
    rows = [
        {"seed": 0, "epoch": 0, "side": side, "word": word, "tokens": times * number}
        for side, times in (("target", 1), ("input", 9))
        for word, number in tokens.items()
    ]
    found = words.frequent(pd.DataFrame(rows))
    assert found["word"].tolist() == [1, 2, 3]
    assert set(found["side"]) == {"target"}
    for rest, kept in ((1 / limit - 1.01, [3]), (1 / limit - 0.99, [])):
        few = pd.DataFrame(rows).query("side == 'target' and word in (0, 3)")
        few = few.assign(tokens=few["tokens"].astype(float).where(few["word"] > 0, rest))
        assert words.frequent(few)["word"].tolist() == kept


# Under other measures


def test_findings_are_also_decided_by_other_measures_and_correlations(under):
    assert under.columns.tolist() == [
        *(("pearson", "chi"), ("pearson", "hoyer"), ("pearson", "gini"), ("pearson", "spare units")),
        *(("log", "chi"), ("spearman", "chi")),
    ]
    of_rho = {name: claim for name, claim in CLAIMS.items() if claim.tables == ("rho",)}
    del of_rho["not_by_size"]  # which is about no sparsity
    assert under.index.tolist() == [claim.statement for claim in of_rho.values()]
    logits = CLAIMS["not_by_logits"].statement
    assert under.loc[logits].tolist() == [
        *("holds (+0.500)", "holds (+0.500)", "out of reach", "out of reach"),
        *("holds (+0.500)", "holds (+0.500)"),
    ]
    assert under.drop(index=logits).map(lambda text: text.startswith("holds (+")).all(axis=None)


@pytest.mark.parametrize(
    ("column", "changed"),
    [
        (("pearson", "gini"), {"how": "pearson", "measure": "gini"}),
        (("log", "chi"), {"how": "log", "measure": "chi"}),
    ],
)
def test_a_verdict_by_a_measure_heeds_the_rows_of_that_measure_alone(column, changed, showing, under):
    rho = showing["rho"]
    own = np.logical_and.reduce([rho[name] == value for name, value in changed.items()])
    opposite = rho.assign(
        correlation=rho["correlation"].where(~own, -rho["correlation"]),
        mean=rho["mean"].where(~own, 0.6 - rho["mean"]),
    )
    after = page.under_sparsities(opposite)
    pd.testing.assert_frame_equal(under.drop(columns=[column]), after.drop(columns=[column]))
    for name, text in (
        ("gradient_sparser_with_frequency", "does not hold (-0.700)"),
        ("more_than_shuffled", "does not hold (-0.500)"),
        ("first_layer_first", "does not hold (-0.120)"),
    ):
        assert after.loc[CLAIMS[name].statement, column] == text


# What one number alone decides


def test_a_correlation_that_falls_less_than_another_does_not_go_on_rising(showing):
    table = showing["rho"]
    fall = table["group"].map(lambda group: 0.2 if group.startswith("open") else 0.4) * table["epoch"]
    falling = {**showing, "rho": table.assign(correlation=table["correlation"] - fall)}
    for name in ("open_classes_go_on", "open_classes_go_on_matched"):
        assert decide(CLAIMS[name], falling).margin == pytest.approx(0.3 - 0.6)


@pytest.mark.parametrize("kind", ["activation", "gradient"])
def test_the_logits_are_one_of_the_other_layers(kind, showing):
    table = showing["rho"]
    logits = (table["layer"] == "logits") & (table["kind"] == kind) & (table["side"] == "target")
    high = {**showing, "rho": table.assign(correlation=table["correlation"].where(~logits, 0.8))}
    assert decide(CLAIMS["top_gradient_alone"], high).margin == pytest.approx(0.7 - 0.8)


def test_moves_of_the_decoder_and_of_untrained_models_decide_nothing_below_and_after(showing):
    table = showing["allocated"]
    left_out = (table["layer"] == "decoder") | (table["epoch"] == 0)
    changed = {**showing, "allocated": table.assign(helping=table["helping"].where(~left_out, 1000))}
    found = {
        name: decide(CLAIMS[name], changed).margin
        for name in ("more_than_half_help", "more_than_half_help_below")
    }
    assert found["more_than_half_help_below"] == pytest.approx(0.021)
    assert found["more_than_half_help"] > 0.2
    untrained = {**showing, "allocated": table[table["epoch"] == 0]}  # then there is nothing else
    assert decide(CLAIMS["more_than_half_help_below"], untrained).margin == pytest.approx(0.021)


def test_findings_page_shows_where_each_threshold_turns_its_verdict(showing):
    table = CLAIMS.verdicts_by_threshold(showing)
    with_threshold = [claim for claim in CLAIMS.values() if claim.thresholds]
    assert table["finding"].unique().tolist() == [claim.statement for claim in with_threshold]
    shown = html.markup(findings.thresholds({"chapter_6": showing}))
    assert shown.count("<strong>") == len(with_threshold)  # the value in force
    assert shown.count("chapter 6") == len(with_threshold)
    assert CLEAR.meaning in shown


def test_findings_by_chance_are_counted_from_the_claims_that_were_decided(showing):
    said = findings.by_chance({"chapter_6": showing}).text
    assert f"of these {len(CLAIMS)} findings {len(CLAIMS) * 0.025:.1f} each" in said
