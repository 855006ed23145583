"""Intervals: over bootstrap samples of sentences or words, and over seeds.

A number has an interval over sentences if it is computed of many samples of them. In each sample a sentence
stands as often as a Poisson variable with mean 1 says, which for many sentences is the bootstrap (Hanley and
MacGibbon 2006), and needs no sentence twice: all samples are weighted sums. Arrays have one row for the data
themselves, and below it one for each sample.
"""

import warnings

import numpy as np
from jaxtyping import Float
from scipy import stats

SAMPLES = 200
"""Number of bootstrap samples."""


def weights(count: int, random: np.random.Generator) -> Float[np.ndarray, "rows {count}"]:
    """How often each of some sentences or words stands in the data, which is once, and in each sample."""
    return np.concatenate([np.ones((1, count)), random.poisson(size=(SAMPLES, count))])


def interval(values: Float[np.ndarray, "rows *axes"]) -> Float[np.ndarray, "2 *axes"]:
    """Ends of the 95 % interval of each number over the samples, without those in which it is NaN."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of NaN in all samples
        return np.nanquantile(values[1:], [0.025, 0.975], axis=0).reshape(2, *values.shape[1:])


def correlation(
    products: Float[np.ndarray, "*axes"],
    spreads: tuple[Float[np.ndarray, "*axes"], Float[np.ndarray, "*axes"]],
    squares: tuple[Float[np.ndarray, "*axes"], Float[np.ndarray, "*axes"]],
) -> Float[np.ndarray, "*axes"]:
    """Pearson's correlations from sums.

    Parameters
    ----------
    products
        Sums of products of two variables about their means.
    spreads
        Sums of squares of each about its mean.
    squares
        The same before the mean was taken off, beside which less than 1e-12 is rounding.

    Returns
    -------
    numpy.ndarray
        In [-1, 1]; NaN where a variable does not vary, as in a sample without the only word that differs.
    """
    varies = np.logical_and(*(left > 1e-12 * all_ for left, all_ in zip(spreads, squares, strict=True)))
    ratios = np.full(products.shape, np.nan)
    np.divide(products, np.sqrt(np.abs(spreads[0] * spreads[1])), out=ratios, where=varies)
    return ratios.clip(-1, 1)  # beyond which rounding may take it


def least_squares(
    squares: Float[np.ndarray, "rows features features"], products: Float[np.ndarray, "rows features"]
) -> Float[np.ndarray, "rows features"]:
    """Coefficients from products of features with one another and with the value.

    Of several solutions, as in a sample that lacks a class altogether, it is the smallest.
    """
    return np.einsum("rij,rj->ri", np.linalg.pinv(squares, hermitian=True), products)


def half_interval(values: Float[np.ndarray, " seeds"]) -> float:
    """Half of the 95 % interval of a mean over seeds; NaN for fewer than two or where one is missing."""
    count = len(values)
    if count < 2:
        return np.nan
    return float(stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))


def jackknife(value: float, without: Float[np.ndarray, " seeds"]) -> tuple[float, float]:
    """Ends of the 95 % interval over seeds of a number; NaN for fewer than two seeds.

    Parameters
    ----------
    value
        Computed of all seeds.
    without
        Computed without each seed in turn.

    References
    ----------
    Tukey 1958: Student's t of the pseudo-values.
    """
    seeds = len(without)
    half = half_interval(seeds * value - (seeds - 1) * without)
    return value - half, value + half
