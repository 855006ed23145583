"""Sums over pairs give what other libraries find in the pairs themselves, and intervals over sentences."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from lmdynamics.measures import bootstrap
from lmdynamics.measures.pairs import CLASSES, FEATURES, LEVELS, MOST_EDGES, Pairs, PairSums

DISTANCE = 4
SUBSETS = [levels for n in range(4) for levels in combinations(LEVELS, n)]


def made_up(*, pairs=600, sentences=60, seed=0, shared=1.0, edges=15):
    """Pairs whose values depend on all that is known of them, and on the sentence."""
    random = np.random.default_rng(seed)
    sequential = random.integers(1, DISTANCE + 1, size=pairs)
    classes = random.integers(3, size=pairs)
    left, right = (random.integers(1, 5_000, size=pairs) for _ in range(2))
    syntactic = random.integers(1, edges + 1, size=pairs)
    of_sentence = np.sort(random.integers(sentences, size=pairs))
    values = 0.5 - 0.1 * sequential + 0.03 * syntactic + 0.2 * (classes == 0) - 0.1 * np.log(left)
    values += shared * random.normal(size=sentences)[of_sentence] + 0.3 * random.normal(size=pairs)
    return Pairs(sequential, syntactic, classes, left, right, of_sentence, values)


def taken(pairs, kept, *, begin=0):
    """Some of the pairs, their sentences numbered from another one."""
    columns = {name: column[kept] for name, column in vars(pairs).items()}
    return Pairs(**columns | {"sentences": columns["sentences"] - begin})


def summed(*blocks, seed=0):
    sums = PairSums(DISTANCE, seed=seed)
    for block in blocks:
        sums.update(block)
    return sums


def frame(pairs):
    """The pairs as a table, with the columns of `FEATURES` and `LEVELS`."""
    table = pd.DataFrame(vars(pairs))
    table["syntactic distance"] = table["syntactic"].astype(float)
    table["syntactic"] = table["syntactic"].clip(upper=MOST_EDGES)
    for code, name in enumerate(CLASSES[:2]):
        table[f"both {name}"] = (table["classes"] == code).astype(float)
    for side in ("left", "right"):
        table[f"frequency, {side}"] = table[side].astype(float)
        table[f"log frequency, {side}"] = np.log(table[side])
    table["classes"] = [CLASSES[code] for code in table["classes"]]
    return table


def least_squares(table, *features):
    """Coefficients by statsmodels, with a dummy for each distance."""
    dummies = pd.get_dummies(table["sequential"], dtype=float)
    found = sm.OLS(table["values"], pd.concat([dummies, table[list(features)]], axis=1)).fit()
    return found.params[list(features)].to_numpy()


def ordinary(table, of_table, *, samples=1_000, seed=1):
    """Ends of the interval of some numbers over whole sentences drawn with replacement."""
    random = np.random.default_rng(seed)
    rows = list(table.groupby("sentences").indices.values())
    drawn = random.integers(len(rows), size=(samples, len(rows)))
    found = [of_table(table.iloc[np.concatenate([rows[n] for n in each])]) for each in drawn]
    return np.quantile(found, [0.025, 0.975], axis=0)


@pytest.mark.parametrize("levels", SUBSETS, ids=" ".join)
def test_means_are_those_of_the_pairs_grouped_by_any_levels(levels):
    pairs = made_up()
    found = summed(pairs).means(*levels)
    table = frame(pairs).assign(all=0)
    expected = table.groupby(list(levels) or "all")["values"].agg(["count", "mean"]).reset_index()
    samples = [f"mean_sample_{n}" for n in range(1, bootstrap.KEPT + 1)]
    assert found.columns.tolist() == [*levels, "pairs", "mean", "low", "high", *samples]
    assert found["pairs"].sum() == 600
    if levels:
        merged = expected.merge(found, on=list(levels), suffixes=("_expected", ""))
    else:
        merged = expected.assign(**found, mean_expected=expected["mean"])
    assert len(merged) == len(found) == len(expected)
    assert merged["pairs"].tolist() == merged["count"].tolist()
    np.testing.assert_allclose(merged["mean"], merged["mean_expected"], rtol=1e-12)


def test_levels_may_be_named_in_any_order():
    sums = summed(made_up())
    pd.testing.assert_frame_equal(sums.means("classes", "sequential"), sums.means("sequential", "classes"))


def test_pairs_of_many_edges_are_counted_at_the_most_but_weigh_as_they_are():
    pairs = made_up(pairs=50, edges=40)
    sums = summed(pairs)
    (last,) = sums.means("syntactic").query("syntactic == @MOST_EDGES")["pairs"]
    assert last == (pairs.syntactic >= MOST_EDGES).sum() > 20
    assert sums.means("syntactic")["syntactic"].max() == MOST_EDGES
    expected = stats.pearsonr(pairs.syntactic, pairs.values).statistic
    assert sums.correlations()["correlation"][0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("features", [FEATURES, FEATURES[:5], FEATURES[3:4], FEATURES[::-1], FEATURES[1:3]])
def test_coefficients_are_those_of_least_squares_with_a_constant_for_each_distance(features):
    pairs = made_up()
    found = summed(pairs).coefficients(*features)
    assert found["feature"].tolist() == list(features)
    np.testing.assert_allclose(found["coefficient"], least_squares(frame(pairs), *features), rtol=1e-6)


def test_a_value_that_is_a_sum_of_features_has_exactly_its_coefficients():
    pairs = made_up()
    values = pairs.sequential**2 + 0.25 * pairs.syntactic - 3.0 * (pairs.classes == 1)
    found = summed(replace(pairs, values=values)).coefficients(*FEATURES[:5])
    for column in ("coefficient", "low", "high"):
        np.testing.assert_allclose(found[column], [0.25, 0, -3, 0, 0], atol=1e-9)


def test_coefficients_need_not_have_every_distance():
    pairs = made_up()
    some = taken(pairs, pairs.sequential % 2 == 0)
    found = summed(some).coefficients("syntactic distance", "both open")
    expected = least_squares(frame(some), "syntactic distance", "both open")
    np.testing.assert_allclose(found["coefficient"], expected, rtol=1e-9)


@pytest.mark.parametrize("classes", [[0], [1], [0, 1]])
def test_where_classes_cannot_be_told_from_the_constants_the_solution_is_the_smallest(classes):
    pairs = made_up(pairs=2_000)
    some = taken(pairs, np.isin(pairs.classes, classes))
    table, chosen = frame(some), list(FEATURES[:5])
    design = np.column_stack([pd.get_dummies(table["sequential"], dtype=float), table[chosen]])
    expected = np.linalg.lstsq(design, table["values"])[0][DISTANCE:]
    found = summed(some).coefficients(*chosen)
    np.testing.assert_allclose(found["coefficient"], expected, atol=1e-6)
    assert (found[["low", "high"]].abs() < 10).all(axis=None)


def test_correlations_are_pearsons():
    pairs = made_up()
    table = frame(pairs)
    found = summed(pairs).correlations()
    assert found["feature"].tolist() == list(FEATURES)
    expected = [stats.pearsonr(table[feature], table["values"]).statistic for feature in FEATURES]
    np.testing.assert_allclose(found["correlation"], expected, rtol=1e-9)
    columns = ["values", *FEATURES]
    left = table[columns] - table.groupby("sequential")[columns].transform("mean")
    within = [stats.pearsonr(left[feature], left["values"]).statistic for feature in FEATURES]
    np.testing.assert_allclose(found["within"], within, rtol=1e-9)
    assert (found["within_low"] < found["within"]).all()
    assert (found["within"] < found["within_high"]).all()


@pytest.mark.parametrize("frequency", [1, 7, 4_999])
def test_a_feature_that_does_not_vary_has_no_correlation(frequency):
    pairs = made_up()
    same = replace(pairs, left=np.full_like(pairs.left, frequency), classes=np.full_like(pairs.classes, 1))
    found = summed(same).correlations().set_index("feature")
    constant = ["both open", "both closed", "log frequency, left", "frequency, left"]
    assert found.loc[constant, ["correlation", "low", "high"]].isna().all(axis=None)
    assert found.drop(constant).notna().all(axis=None)


def test_values_that_do_not_vary_correlate_with_nothing():
    pairs = made_up()
    found = summed(replace(pairs, values=np.full(600, 0.3))).correlations()
    assert found[["correlation", "low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("read", "of_table"),
    [
        (lambda sums: sums.means(), lambda table: [table["values"].mean()]),
        (
            lambda sums: sums.means("sequential"),
            lambda table: table.groupby("sequential")["values"].mean().to_numpy(),
        ),
        (
            lambda sums: sums.correlations(),
            lambda table: np.corrcoef(table[["values", *FEATURES]].T)[0, 1:],
        ),
        (
            lambda sums: sums.coefficients("syntactic distance", "both open", "log frequency, left"),
            lambda table: np.linalg.lstsq(
                np.column_stack(
                    [
                        table["sequential"].to_numpy()[:, None] == np.arange(1, DISTANCE + 1),
                        table[["syntactic distance", "both open", "log frequency, left"]],
                    ]
                ),
                table["values"],
            )[0][DISTANCE:],
        ),
    ],
    ids=["mean", "means", "correlations", "coefficients"],
)
def test_intervals_are_as_wide_as_those_of_an_ordinary_bootstrap_of_sentences(read, of_table):
    pairs = made_up(pairs=1_200, sentences=120)
    found = read(summed(pairs))
    low, high = ordinary(frame(pairs), of_table, samples=500)
    widths = (found["high"] - found["low"]) / (high - low)
    assert widths.between(0.7, 1.4).all()
    assert widths.mean() == pytest.approx(1, abs=0.15)
    middle = (found["high"] + found["low"] - high - low) / 2
    assert (middle.abs() < 0.2 * (high - low)).all()


def test_an_interval_knows_that_pairs_of_one_sentence_are_alike():
    pairs = made_up(pairs=1_200, sentences=60)
    apart = replace(pairs, sentences=np.arange(1_200))

    def width(pairs):
        found = summed(pairs).means()
        return (found["high"] - found["low"]).item()

    assert width(apart) == pytest.approx(2 * 1.96 * pairs.values.std() / np.sqrt(1_200), rel=0.15)
    assert width(pairs) > 3 * width(apart)


def test_pairs_of_one_sentence_have_no_interval_but_their_mean():
    pairs = made_up(pairs=30, sentences=1)
    found = summed(pairs).means()
    assert (found["low"].item(), found["high"].item()) == pytest.approx((pairs.values.mean(),) * 2)


def test_the_order_of_pairs_does_not_matter():
    pairs = made_up()
    shuffled = taken(pairs, np.random.default_rng(1).permutation(600))
    for read in (
        lambda s: s.means(*LEVELS),
        lambda s: s.correlations(),
        lambda s: s.coefficients(*FEATURES[:5]),
    ):
        pd.testing.assert_frame_equal(read(summed(shuffled)), read(summed(pairs)), rtol=1e-6)


def halves():
    pairs = made_up(pairs=1_200, sentences=120)
    early = pairs.sentences < 60
    return pairs, taken(pairs, early), taken(pairs, ~early, begin=60)


def merged_halves():
    whole, first, second = halves()
    one, other = summed(first, seed=1), summed(second, seed=2)
    one.merge(other)
    return whole, one


@pytest.mark.parametrize("together", [lambda: (halves()[0], summed(*halves()[1:])), merged_halves])
def test_halves_after_each_other_or_merged_are_the_whole(together):
    pairs, found = together()
    whole = summed(pairs)
    for read, number in (
        (lambda sums: sums.means(*LEVELS), "mean"),
        (lambda sums: sums.means("sequential"), "mean"),
        (lambda sums: sums.coefficients(*FEATURES[:5]), "coefficient"),
        (lambda sums: sums.correlations(), "correlation"),
    ):
        ours, theirs = read(found), read(whole)
        ends = [name for name in ours if name.endswith(("low", "high")) or "_sample_" in name]
        pd.testing.assert_frame_equal(ours.drop(columns=ends), theirs.drop(columns=ends), rtol=1e-6)
        np.testing.assert_allclose(ours[number], theirs[number], rtol=1e-6)
    ours, theirs = (sums.means("sequential") for sums in (found, whole))
    widths = (ours["high"] - ours["low"]) / (theirs["high"] - theirs["low"])
    assert widths.between(0.8, 1.25).all()
    assert (ours["low"] != theirs["low"]).all()


def test_merging_leaves_the_other_as_it_was():
    _, first, second = halves()
    one, other = summed(first, seed=1), summed(second, seed=2)
    before = other.means(*LEVELS)
    one.merge(other)
    one.update(second)
    pd.testing.assert_frame_equal(other.means(*LEVELS), before)
    assert one.means()["pairs"].item() == len(first.values) + 2 * len(second.values)


def test_an_update_without_pairs_changes_nothing():
    pairs = made_up()
    none = taken(pairs, np.zeros(600, bool))
    one, other = summed(pairs, pairs), summed(none, pairs, none, pairs, none)
    pd.testing.assert_frame_equal(one.means(*LEVELS), other.means(*LEVELS))
    pd.testing.assert_frame_equal(one.correlations(), other.correlations())


def test_sums_without_pairs_have_no_means_and_no_correlations():
    for levels in SUBSETS:
        assert len(PairSums(DISTANCE).means(*levels)) == 0
    assert PairSums(DISTANCE).correlations()["correlation"].isna().all()


def test_a_seed_gives_the_same_interval_again_and_another_seed_another():
    pairs = made_up()
    one, same, other = (summed(pairs, seed=seed).means("classes") for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(one, same)
    assert (one["low"] != other["low"]).all()
    pd.testing.assert_series_equal(one["mean"], other["mean"])


def test_a_sentence_without_pairs_stands_among_the_others():
    pairs = made_up()
    spaced = replace(pairs, sentences=2 * pairs.sentences)
    assert summed(spaced).means()["mean"].item() == pytest.approx(pairs.values.mean(), rel=1e-12)


def test_values_of_less_precision_are_summed_in_float64():
    pairs = made_up(pairs=4_000, sentences=3)
    low = replace(pairs, values=(pairs.values + 1_000).astype(np.float32))
    exact = replace(low, values=low.values.astype(np.float64))
    pd.testing.assert_frame_equal(summed(low).means(), summed(exact).means(), rtol=1e-14)
    pd.testing.assert_frame_equal(summed(low).correlations(), summed(exact).correlations(), rtol=1e-14)


def test_sums_up_to_another_distance_do_not_merge():
    with pytest.raises(ValueError, match="up to 4 words apart, got 5"):
        PairSums(4).merge(PairSums(5, seed=1))


def test_levels_and_features_that_mean_nothing_are_refused():
    sums = summed(made_up())
    with pytest.raises(
        ValueError, match="levels are sequential, syntactic, classes, got edges, sequential distance"
    ):
        sums.means("classes", "sequential distance", "edges")
    with pytest.raises(ValueError, match=r"features are syntactic distance, both open, .*, got 'sequential'"):
        sums.coefficients("both open", "sequential")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("sequential", 5, "sequential distances are from 1 to 4, got from 1 to 5"),
        ("sequential", 0, "sequential distances are from 1 to 4, got from 0 to 4"),
        ("syntactic", 0, "syntactic distances are from 1"),
        ("classes", 3, "classes are from 0 to 2, got from 0 to 3"),
        ("left", 0, "frequencies are from 1 to inf, got from 0"),
        ("values", np.nan, "values must be finite, got nan in row 7"),
    ],
)
def test_a_pair_that_cannot_be_is_refused_and_adds_nothing(column, value, message):
    pairs = made_up()
    sums = summed(pairs)
    before = sums.means(*LEVELS)
    spoilt = getattr(pairs, column).copy()
    spoilt[7] = value
    with pytest.raises(ValueError, match=message):
        sums.update(replace(pairs, **{column: spoilt}))
    pd.testing.assert_frame_equal(sums.means(*LEVELS), before)


def test_means_over_samples_are_of_the_sentences_as_often_as_each_counts():
    pairs = made_up()
    found = summed(pairs).means()
    counts = bootstrap.weights(int(pairs.sentences.max()) + 1, np.random.default_rng(0))[2]
    of_pairs = counts[pairs.sentences]
    expected = (of_pairs * pairs.values).sum() / of_pairs.sum()
    assert found.loc[0, "mean_sample_2"] == pytest.approx(expected, rel=5e-4)
