"""Samples weigh as a bootstrap's do, and intervals are those that other libraries and formulas give."""

import numpy as np
import pytest
from scipy import stats

from lmdynamics.measures import bootstrap

ROWS = 1 + bootstrap.SAMPLES


def drawn(count, seed=0):
    return bootstrap.weights(count, np.random.default_rng(seed))


def repeated(weights, *columns):
    """The values of one sample, each as often as it stands there."""
    return [np.repeat(column, weights.astype(int), axis=0) for column in columns]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# Samples


def test_the_first_row_is_the_data_and_the_others_weigh_by_poisson_variables_of_mean_one():
    weights = drawn(1_000)
    assert weights.shape == (ROWS, 1_000) == (201, 1_000)
    assert (weights[0] == 1).all()
    shares = np.bincount(weights[1:].astype(int).ravel(), minlength=4)[:4] / weights[1:].size
    np.testing.assert_allclose(shares, stats.poisson.pmf(range(4), 1), atol=0.01)


def test_a_generator_goes_on_and_a_seed_begins_anew():
    random = np.random.default_rng(3)
    first, second = (bootstrap.weights(50, random) for _ in range(2))
    assert (first == drawn(50, seed=3)).all()
    assert (first != second).any()


# Intervals over samples


def test_the_interval_of_a_mean_is_that_of_its_normal_distribution():
    values = normal(2_000)
    weights = drawn(2_000)
    low, high = bootstrap.interval(weights @ values / weights.sum(1))
    half = 1.96 * values.std() / np.sqrt(2_000)
    assert low == pytest.approx(values.mean() - half, abs=0.3 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.3 * half)


@pytest.mark.parametrize("axes", [(), (3,), (2, 3), (0,)])
def test_an_interval_has_the_percentiles_of_each_number_and_leaves_the_data_out(axes):
    values = normal(ROWS, *axes)
    values[0] = 1e6
    ends = bootstrap.interval(values)
    assert ends.shape == (2, *axes)
    np.testing.assert_allclose(ends, np.percentile(values[1:], [2.5, 97.5], axis=0), rtol=1e-12)


def test_samples_in_which_a_number_is_missing_are_left_out_of_its_interval_alone():
    values = normal(ROWS, 3)
    values[1:51, 1] = values[:, 2] = np.nan
    low, high = bootstrap.interval(values)
    assert [low[0], high[0]] == pytest.approx(np.quantile(values[1:, 0], [0.025, 0.975]))
    assert [low[1], high[1]] == pytest.approx(np.quantile(values[51:, 1], [0.025, 0.975]))
    assert np.isnan([low[2], high[2]]).all()


# Statistics of all samples at once


def correlations_of(weights, x, y):
    """Correlations in each sample, from its sums."""
    count, sums = weights.sum(1), [weights @ each for each in (x, y, x * x, y * y, x * y)]
    spreads = sums[2] - sums[0] ** 2 / count, sums[3] - sums[1] ** 2 / count
    return bootstrap.correlation(sums[4] - sums[0] * sums[1] / count, spreads, (sums[2], sums[3]))


def test_correlations_are_pearsons_of_each_sample_with_its_values_repeated():
    x, y = normal(2, 40)
    weights = drawn(40)
    expected = [stats.pearsonr(*repeated(each, x, x + y)).statistic for each in weights]
    np.testing.assert_allclose(correlations_of(weights, x, x + y), expected, rtol=1e-9)


def test_a_sample_in_which_nothing_varies_has_no_correlation():
    x, y = np.array([0.0, 0, 0, 1]), np.array([1.0, 2, 3, 4])
    weights = drawn(4)
    weights = weights[weights.sum(1) > 0]
    lacking = [min(map(np.ptp, repeated(each, x, y))) == 0 for each in weights]
    assert 0 < sum(lacking) < len(weights)
    assert np.isnan(correlations_of(weights, x, y)).tolist() == lacking


def test_a_constant_that_rounding_moves_does_not_vary():
    x, y = np.full(40, 0.1), normal(40)
    assert np.isnan(correlations_of(drawn(40), x, y)).all()


def test_no_correlation_is_beyond_one():
    for seed in range(20):
        x = normal(30, seed=seed)
        assert np.abs(correlations_of(drawn(30), x, 3 * x + 1e-9)).max() <= 1


def test_coefficients_are_those_of_least_squares_on_each_sample():
    features, value = normal(40, 3), normal(40, seed=1)
    weights = drawn(40)
    squares = np.einsum("rw,wi,wj->rij", weights, features, features)
    coefficients = bootstrap.least_squares(squares, weights @ (features * value[:, None]))
    for each, ours in zip(weights, coefficients, strict=True):
        expected = np.linalg.lstsq(*repeated(each, features, value))[0]
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-9)


def test_of_several_solutions_the_smallest_is_taken():
    features = np.ones((1, 2))
    (coefficients,) = bootstrap.least_squares((features.T @ features)[None], 6 * features)
    assert coefficients == pytest.approx([3, 3])


# Intervals over seeds


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_half_an_interval_is_that_of_students_t(seeds):
    values = normal(seeds)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert bootstrap.half_interval(values) == pytest.approx((high - low) / 2)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.nan, 2.0]])
def test_too_few_seeds_and_missing_ones_have_no_interval(values):
    assert np.isnan(bootstrap.half_interval(np.array(values)))


def over_seeds(values, without):
    """The interval of one number over seeds alone."""
    low, high, below = bootstrap.crossed(np.array([values]), np.array(without).reshape(-1, 1), NO_SAMPLES)
    return low[0], high[0], below[0]


NO_SAMPLES = np.empty((0, 1))


def test_the_jackknife_of_a_mean_is_the_usual_interval():
    values = normal(5)
    low, high, below = over_seeds(values.mean(), [np.delete(values, seed).mean() for seed in range(5)])
    assert (low, high) == pytest.approx(stats.ttest_1samp(values, 0).confidence_interval(0.95))
    assert below == pytest.approx(stats.ttest_1samp(values, 0, alternative="less").pvalue)


def test_the_jackknife_is_about_the_number_itself_and_as_wide_as_pseudo_values_differ():
    values = normal(6)
    without = np.array([np.delete(values, seed).std() for seed in range(6)])
    low, high, _ = over_seeds(values.std(), without)
    pseudo = 6 * values.std() - 5 * without
    assert (low + high) / 2 == pytest.approx(values.std())
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 5) * stats.sem(pseudo))


@pytest.mark.parametrize("without", [[], [2.0]])
def test_one_seed_has_no_interval(without):
    assert np.isnan(over_seeds(2.0, without)).all()


def test_a_number_that_no_seed_changes_is_surely_on_its_side_of_zero():
    values = np.array([1.0, -1.0, 0.0])
    low, high, below = bootstrap.crossed(values, np.tile(values, (3, 1)), np.empty((0, 3)))
    assert low.tolist() == high.tolist() == [1, -1, 0]
    assert below.tolist() == [1, 0, 0.5]


def test_variances_over_seeds_and_examples_add_with_satterthwaites_degrees_of_freedom():
    rng = np.random.default_rng(3)
    seeds, samples = rng.normal(size=4), rng.normal(0, 0.4, size=bootstrap.KEPT)
    without = [np.delete(seeds, seed).mean() for seed in range(4)]
    low, high, _ = bootstrap.crossed(seeds.mean(keepdims=True), np.array(without)[:, None], samples[:, None])
    first, second = seeds.var(ddof=1) / 4, samples.var(ddof=1)
    freedom = (first + second) ** 2 / (first**2 / 3 + second**2 / (bootstrap.KEPT - 1))
    half = stats.t.ppf(0.975, freedom) * np.sqrt(first + second)
    assert (low[0], high[0]) == pytest.approx((seeds.mean() - half, seeds.mean() + half))
