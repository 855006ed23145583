"""What sums over the tokens of each word tell is what other libraries find in the tokens themselves."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lmdynamics.measures import bootstrap, words
from lmdynamics.measures.words import (
    WordSums,
    coefficients,
    correlations,
    majority_class,
    matched,
    occurrences,
)

WORDS, COLUMNS = 9, ("chi", "gini", "norm")


def tokens(number=500, seed=0):
    """Ids and values of some tokens; word 8 never comes, word 7 once."""
    random = np.random.default_rng(seed)
    ids = random.integers(WORDS - 2, size=number)
    ids[17] = 7
    return torch.from_numpy(ids), torch.from_numpy(random.normal(size=(number, 3)) + ids[:, None])


def summed(*parts):
    sums = WordSums(WORDS, COLUMNS)
    for ids, values in parts:
        sums.update(ids, values)
    return sums


def by_word(ids, values):
    frame = pd.DataFrame(values.numpy()).where(np.isfinite(values.numpy())).groupby(ids.numpy())
    return frame, range(WORDS)


def assert_equal(one, other):
    assert (one.counts() == other.counts()).all()
    np.testing.assert_allclose(one.means(), other.means(), rtol=1e-12)
    assert one.overall() == pytest.approx(other.overall(), rel=1e-12)
    assert one.undefined == other.undefined


# Sums


def test_counts_and_means_are_those_of_the_tokens_of_each_word():
    ids, values = tokens()
    frame, words = by_word(ids, values)
    sums = summed((ids, values))
    assert (sums.counts() == frame.count().reindex(words, fill_value=0)).all(axis=None)
    np.testing.assert_allclose(sums.means(), frame.mean().reindex(words), rtol=1e-12)
    assert list(sums.overall()) == list(COLUMNS)
    np.testing.assert_allclose(list(sums.overall().values()), values.mean(0), rtol=1e-12)
    assert sums.undefined == dict.fromkeys(COLUMNS, 0)


def test_a_word_without_tokens_has_no_mean():
    assert np.isnan(summed(tokens()).means()).all(1).tolist() == [False] * 8 + [True]


def test_what_is_not_finite_is_counted_and_left_out_of_its_column_alone():
    ids, values = tokens()
    values[3, 0] = values[4, 0] = values[5, 2] = torch.nan
    values[6, 2], values[7, 2] = torch.inf, -torch.inf
    sums = summed((ids, values))
    frame, words = by_word(ids, values)
    assert sums.undefined == {"chi": 2, "gini": 0, "norm": 3}
    assert sums.counts().sum(0).tolist() == [498, 500, 497]
    np.testing.assert_allclose(sums.means(), frame.mean().reindex(words), rtol=1e-12)
    known = values.where(values.isfinite(), torch.nan)
    np.testing.assert_allclose(list(sums.overall().values()), known.nanmean(0), rtol=1e-12)


def test_without_tokens_there_is_no_mean():
    sums = summed((torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3)))
    assert sums.counts().sum() == 0
    assert np.isnan(list(sums.overall().values())).all()


@settings(deadline=None)
@given(st.lists(st.integers(0, 500), max_size=4), st.integers(0, 10**6))
def test_neither_cuts_nor_order_nor_merging_change_anything(cuts, seed):
    ids, values = tokens()
    values[11, 1] = torch.nan
    whole = summed((ids, values))
    order = torch.from_numpy(np.random.default_rng(seed).permutation(500))
    parts = [(ids[rows], values[rows]) for rows in order.tensor_split(sorted(cuts))]
    assert_equal(summed(*parts), whole)
    merged = summed()
    for part in parts:
        merged.merge(summed(part))
    assert_equal(merged, whole)


def test_merging_leaves_the_other_as_it_was():
    one, other, same = (summed(tokens(seed=seed)) for seed in (0, 1, 1))
    one.merge(other)
    one.update(*tokens(seed=2))
    assert_equal(other, same)


def test_values_of_less_precision_are_summed_in_float64():
    ids, values = tokens(4_000)
    low = (values + 1_000).float()
    assert_equal(summed((ids.int(), low.requires_grad_())), summed((ids, low.detach().double())))


@pytest.mark.parametrize("wrong", [-1, WORDS])
def test_a_word_outside_the_vocabulary_is_refused_and_nothing_is_added(wrong):
    ids, values = tokens()
    sums = summed((ids, values))
    ids = ids.clone()
    ids[3] = wrong
    with pytest.raises(ValueError, match=f"need ids from 0 to 8, got {min(wrong, 0)} to {max(wrong, 7)}"):
        sums.update(ids, values)
    assert_equal(sums, summed(tokens()))


def test_other_columns_and_other_vocabularies_are_refused():
    ids, values = tokens()
    with pytest.raises(ValueError, match="need the columns chi, gini, norm, got 2 columns"):
        summed((ids, values[:, :2]))
    for other in (WordSums(WORDS + 1, COLUMNS), WordSums(WORDS, ["chi", "norm", "gini"])):
        with pytest.raises(ValueError, match="only sums of the same columns over 9 words merge"):
            summed().merge(other)


# Correlations


def related(words=60, seed=0, noise=(0.2, 1.0, 3.0)):
    """Frequencies, and columns that fall with their logarithm."""
    random = np.random.default_rng(seed)
    frequency = np.ceil(np.exp(random.uniform(1, 8, words))).astype(np.int64)
    values = -np.log(frequency)[:, None] + random.normal(size=(words, 3)) * np.array(noise)
    return values, frequency


def with_gaps():
    values, frequency = related()
    values[::5, 0] = np.nan
    values[1::7, 2] = np.inf
    return values, frequency


METHODS = {
    "pearson": lambda x, y: stats.pearsonr(x, y).statistic,
    "log": lambda x, y: stats.pearsonr(x, np.log(y)).statistic,
    "spearman": lambda x, y: stats.spearmanr(x, y).statistic,
}


@pytest.mark.parametrize("how", METHODS)
@pytest.mark.parametrize("example", [related, with_gaps])
def test_correlations_are_those_of_scipy_over_the_words_that_a_column_has(how, example):
    values, frequency = example()
    found = correlations(values, frequency, COLUMNS, how=how)
    known = np.isfinite(values)
    expected = [METHODS[how](values[rows, n], frequency[rows]) for n, rows in enumerate(known.T)]
    assert found["column"].tolist() == list(COLUMNS)
    assert found["words"].tolist() == known.sum(0).tolist()
    np.testing.assert_allclose(found["correlation"], expected, rtol=1e-10)
    assert ((found["low"] < found["correlation"]) & (found["correlation"] < found["high"])).all()


def test_words_missing_in_one_column_change_nothing_in_another():
    one, other = (correlations(*example(), COLUMNS) for example in (related, with_gaps))
    assert one.loc[1, ["correlation", "low", "high"]].equals(other.loc[1, ["correlation", "low", "high"]])
    assert one["correlation"][0] != other["correlation"][0]


def test_ties_share_their_rank():
    values = np.array([[1.0, 1, 2, 2, 3, 0]]).T
    against = np.array([5, 4, 4, 4, 1, 9])
    (found,) = correlations(values, against, ["chi"], how="spearman")["correlation"]
    assert found == pytest.approx(stats.spearmanr(values[:, 0], against).statistic, rel=1e-12)


def test_values_that_only_rounding_tells_apart_tie_in_ranks():
    values, against = np.random.default_rng(0).integers(5, size=(40, 1)) * 0.1, np.arange(40)
    shaken = values * (1 + 1e-15 * np.random.default_rng(1).normal(size=values.shape))
    whole, other = (correlations(each, against, ["chi"], how="spearman") for each in (values, shaken))
    pd.testing.assert_frame_equal(whole, other, rtol=1e-12)
    assert whole["correlation"][0] == pytest.approx(stats.spearmanr(values[:, 0], against).statistic)


@given(st.integers(3, 30), st.floats(-1e6, 1e6).filter(lambda slope: abs(slope) > 1e-6), st.floats(-100, 100))
@settings(deadline=None, max_examples=50)
def test_what_lies_on_a_line_correlates_by_one_and_never_by_more(words, slope, shift):
    against = np.random.default_rng(words).normal(size=words)
    found = correlations(slope * against[:, None] + shift, against, ["chi"])
    assert found["correlation"].item() == pytest.approx(np.sign(slope), abs=1e-9)
    assert (found[["correlation", "low", "high"]].abs() <= 1).all(axis=None)


def test_far_from_zero_no_digits_are_lost():
    values, frequency = related()
    near, far = (correlations(each, frequency, COLUMNS) for each in (values, values + 1e6))
    np.testing.assert_allclose(far["correlation"], near["correlation"], rtol=1e-6)
    np.testing.assert_allclose(far["low"], near["low"], rtol=1e-6)


@pytest.mark.parametrize("how", METHODS)
def test_the_interval_of_a_strong_correlation_is_far_from_zero(how):
    found = correlations(*related(), COLUMNS, how=how)
    assert found["high"][0] < -0.4
    assert (found["low"] >= -1).all()


@pytest.mark.parametrize("how", METHODS)
def test_the_interval_of_independent_noise_contains_zero_in_most_samples(how):
    containing = 0
    for seed in range(50):
        random = np.random.default_rng(seed)
        values, against = random.normal(size=(100, 1)), random.integers(1, 1_000, size=100)
        found = correlations(values, against, ["chi"], how=how, seed=seed)
        containing += found["low"].item() < 0 < found["high"].item()
    assert 42 <= containing <= 50


def test_an_interval_is_as_wide_as_that_of_an_ordinary_bootstrap_of_words():
    values, frequency = related(300)
    found = correlations(values, frequency, COLUMNS, how="log")
    random = np.random.default_rng(1)
    drawn = random.integers(300, size=(1_000, 300))
    for n in range(3):
        ordinary = [np.corrcoef(values[rows, n], np.log(frequency[rows]))[0, 1] for rows in drawn]
        low, high = np.quantile(ordinary, [0.025, 0.975])
        assert (found["high"] - found["low"])[n] == pytest.approx(high - low, rel=0.3)
        assert found["low"][n] == pytest.approx(low, abs=0.3 * (high - low))


def test_a_seed_gives_the_same_interval_again_and_another_seed_another():
    one, same, other = (correlations(*related(), COLUMNS, seed=seed) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(one, same)
    pd.testing.assert_series_equal(one["correlation"], other["correlation"])
    assert (one["low"] != other["low"]).all()


def test_samples_without_the_only_word_that_differs_are_left_out_of_the_interval():
    found = correlations(np.array([[0.0, 0, 0, 1]]).T, np.array([1, 2, 3, 4]), ["chi"])
    assert found["correlation"].item() == pytest.approx(stats.pearsonr([0, 0, 0, 1], [1, 2, 3, 4]).statistic)
    assert 0 < found["low"].item() <= found["correlation"].item() <= found["high"].item()


def test_what_does_not_vary_is_refused_by_name():
    values, frequency = related()
    constant = values.copy()
    constant[:, 1] = 0.3
    with pytest.raises(ValueError, match=r"numbers that vary, got 60 words whose gini is 0\.3; measure more"):
        correlations(constant, frequency, COLUMNS)
    with pytest.raises(ValueError, match="numbers that vary, got 60 words whose other value is 7;"):
        correlations(values, np.full(60, 7), COLUMNS)
    values[10:, 2] = np.nan
    frequency[:10] = 2
    with pytest.raises(ValueError, match="got 10 words whose other value is 2;"):
        correlations(values, frequency, COLUMNS)


@pytest.mark.parametrize("words", [0, 2])
def test_fewer_than_three_words_are_refused(words):
    values, frequency = related()
    values[words:, 2] = np.nan
    with pytest.raises(ValueError, match=f"needs three words or more, got {words} with a norm"):
        correlations(values, frequency, COLUMNS)


# Coefficients


def explained(words=80):
    """A value of each word, and features of which it is a sum with noise; some words have none."""
    random = np.random.default_rng(0)
    features = {"closed class": random.integers(2, size=words), "frequency": random.normal(size=words)}
    values = 0.5 + 0.2 * features["closed class"] - 0.1 * features["frequency"]
    values += 0.05 * random.normal(size=words)
    values[::9] = np.nan
    return values, features


def test_coefficients_are_those_of_least_squares_with_a_constant():
    values, features = explained()
    table = coefficients(values, features)
    known = np.isfinite(values)
    design = sm.add_constant(np.column_stack(list(features.values()))[known])
    assert table["feature"].tolist() == list(features)
    np.testing.assert_allclose(
        table["coefficient"], sm.OLS(values[known], design).fit().params[1:], rtol=1e-9
    )
    assert ((table["low"] < table["coefficient"]) & (table["coefficient"] < table["high"])).all()


def test_intervals_of_coefficients_are_as_wide_as_robust_standard_errors_say():
    values, features = explained(800)
    known = np.isfinite(values)
    design = sm.add_constant(np.column_stack(list(features.values()))[known])
    errors = sm.OLS(values[known], design).fit(cov_type="HC0").bse[1:]
    table = coefficients(values, features)
    np.testing.assert_allclose((table["high"] - table["low"]) / (2 * 1.96), errors, rtol=0.2)


def test_a_value_that_is_a_sum_of_features_has_exactly_its_coefficients():
    _, features = explained()
    values = 2.0 + 0.25 * features["closed class"] - 3.0 * features["frequency"]
    for column in ("coefficient", "low", "high"):
        np.testing.assert_allclose(coefficients(values, features)[column], [0.25, -3], atol=1e-9)


def test_as_many_coefficients_as_words_are_refused():
    values, features = explained()
    values[3:] = np.nan
    with pytest.raises(ValueError, match="3 coefficients need more words, got 2"):
        coefficients(values, features)


# Occurrences and classes


def test_occurrences_count_up_within_each_word():
    assert occurrences(np.array([3, 1, 3, 3, 0, 1])).tolist() == [0, 0, 1, 2, 0, 1]
    assert occurrences(np.array([], np.int64)).tolist() == []


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 100))
def test_occurrences_are_in_reading_order_or_in_random_order_within_each_word(ids, seed):
    ids = np.array(ids, np.int64)
    in_order, random = occurrences(ids), occurrences(ids, seed=seed)
    for word in np.unique(ids):
        own = ids == word
        assert in_order[own].tolist() == list(range(own.sum()))
        assert sorted(random[own]) == list(range(own.sum()))
    assert (random == occurrences(ids, seed=seed)).all()


def test_every_token_is_equally_often_the_first_of_its_word():
    ids = np.array([2, 0, 2, 2, 0])
    first = np.mean([occurrences(ids, seed=seed) == 0 for seed in range(2_000)], axis=0)
    np.testing.assert_allclose(first, [1 / 3, 1 / 2, 1 / 3, 1 / 3, 1 / 2], atol=0.05)


def test_the_majority_is_more_than_half_of_all_tokens_of_a_word():
    ids = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 5])
    classes = np.array([4, 4, 1, 2, 0, 1, 1, -1, -1, 3, 3, -1, -1])
    # 0: two of three; 1: a tie; 2: half, the others have no class; 3: two of three; 4: none; 5: no class
    assert majority_class(ids, classes, words=6, least=1).tolist() == [4, -1, -1, 3, -1, -1]
    assert majority_class(ids, classes, words=6, least=0).tolist() == [4, -1, -1, 3, -1, -1]
    assert majority_class(ids, classes, words=6, least=2).tolist() == [4, -1, -1, 3, -1, -1]
    assert majority_class(ids, classes, words=6, least=3).tolist() == [-1] * 6


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 3)), max_size=60), st.integers(0, 4))
def test_the_majority_is_that_of_the_tokens_of_each_word_counted_one_by_one(pairs, least):
    ids, classes = np.array(pairs, np.int64).reshape(-1, 2).T
    found = majority_class(ids, classes, words=5, least=least)
    for word in range(5):
        own = classes[ids == word].tolist()
        clear = [kind for kind in range(4) if own.count(kind) > len(own) / 2 and own.count(kind) >= least]
        assert found[word] == (clear[0] if clear else -1)


# Matching


def ranges(frequencies, size):
    """Mean of each range of words that follow one another by frequency, the most frequent first."""
    falling = np.sort(frequencies)[::-1]
    return np.array([falling[begin : begin + size].mean() for begin in range(len(falling) - size + 1)])


frequencies = st.lists(st.integers(1, 300), min_size=3, max_size=15).map(np.array)


@given(frequencies, frequencies, st.integers(1, 3))
@settings(max_examples=200)
def test_matched_words_are_the_most_frequent_that_differ_by_a_hundredth_or_else_the_nearest(
    first, second, size
):
    at, other = matched(first, second, size)
    assert len(set(at.tolist())) == len(set(other.tolist())) == size
    for places, every in ((at, first), (other, second)):
        begin = (np.sort(every)[::-1] > every[places].max()).sum()
        falling = np.sort(every)[::-1]
        runs = [falling[n : n + size].tolist() for n in range(begin, len(every) - size + 1)]
        assert every[places].tolist() in runs, "in falling order, without a gap"
    means = first[at].mean(), second[other].mean()
    ours, theirs = ranges(first, size), ranges(second, size)
    apart = np.abs(np.log(ours[:, None] / theirs))
    found = abs(np.log(means[0] / means[1]))
    if apart.min() <= 0.01:
        assert found <= 0.01
        near = apart.min(1) <= 0.01
        assert means[0] == ours[near].max()
        assert means[1] == theirs[apart[ours == means[0]].min(0) <= 0.01].max()
    else:
        assert found == pytest.approx(apart.min(), rel=1e-12)


def test_matched_words_by_hand():
    first, second = np.array([5, 1000, 200, 10, 100]), np.array([9, 101, 200, 6, 3, 2])
    # 10 and 5 have exactly the mean of 9 and 6, but are rarer
    at, other = matched(first, second, 2)
    assert first[at].tolist() == [200, 100]
    assert second[other].tolist() == [200, 101]
    nearest = matched(np.array([8, 3]), np.array([100, 50]), 1)
    assert [places.tolist() for places in nearest] == [[0], [1]]


def test_too_few_words_to_match_are_refused():
    with pytest.raises(ValueError, match="need 3 words of each class, got 4 and 2"):
        matched(np.arange(1, 5), np.arange(1, 3), 3)


def test_a_word_counts_as_often_in_the_samples_of_a_group_as_in_those_of_all_words():
    rng = np.random.default_rng(4)
    values, against = rng.normal(size=60), rng.lognormal(size=60)
    group = np.arange(60) % 3 == 0
    weights = bootstrap.weights(60, np.random.default_rng(0))[:, group]
    table = words.correlations(np.where(group, values, np.nan)[:, None], against, ["value"])
    for n in (1, bootstrap.KEPT):
        counts = weights[n].astype(int)
        x, y = (np.repeat(each[group], counts) for each in (values, against))
        assert table.loc[0, f"correlation_sample_{n}"] == pytest.approx(stats.pearsonr(x, y)[0], abs=5e-5)
        assert table.loc[0, f"mean_sample_{n}"] == pytest.approx(x.mean(), rel=5e-4)
    assert table.loc[0, "mean"] == pytest.approx(values[group].mean())


def test_words_that_are_left_out_of_a_regression_do_not_change_how_often_others_count():
    rng = np.random.default_rng(5)
    values, feature = rng.normal(size=40), rng.normal(size=40)
    kept = np.arange(40) % 4 > 0
    table = words.coefficients(np.where(kept, values, np.nan), {"feature": feature})
    counts = bootstrap.weights(40, np.random.default_rng(0))[3, kept].astype(int)
    slope = stats.linregress(np.repeat(feature[kept], counts), np.repeat(values[kept], counts)).slope
    assert table.loc[0, "coefficient_sample_3"] == pytest.approx(slope, rel=5e-4)
