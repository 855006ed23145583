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
KEPT = 20
"""Number of them over which a table keeps its numbers, for intervals of what is computed of these."""
SAMPLE_COLUMN = r"(.+)_sample_(\d+)"
"""Name of a column that holds another over a sample."""


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


def sample_columns(name: str, values: Float[np.ndarray, "rows *axes"]) -> dict[str, np.ndarray | np.floating]:
    """A number over each of the first `KEPT` samples, to stand beside it in a table.

    Parameters
    ----------
    name
        Of the number's column.
    values
        The numbers of the data themselves, and below them those of each sample.

    Returns
    -------
    dict[str, numpy.ndarray or float]
        Columns `<name>_sample_<n>`, to four significant digits.
    """
    kept = values[1 : 1 + KEPT]
    with np.errstate(divide="ignore"):
        digits = np.nan_to_num(3 - np.floor(np.log10(np.abs(kept))), posinf=0)
    short = np.rint(kept * 10**digits) / 10**digits
    return {f"{name}_sample_{n}": each for n, each in enumerate(short, start=1)}


def crossed(
    values: Float[np.ndarray, " cells"],
    without: Float[np.ndarray, "seeds cells"],
    samples: Float[np.ndarray, "samples cells"],
) -> tuple[Float[np.ndarray, " cells"], Float[np.ndarray, " cells"], Float[np.ndarray, " cells"]]:
    """Ends of the 95 % intervals of numbers over seeds, and over examples, and how surely each is below 0.

    Parameters
    ----------
    values
        Computed of all seeds and examples.
    without
        Computed without each seed in turn; none where there are fewer than two.
    samples
        Computed of samples of the examples; may be none, and intervals are over seeds alone then.

    Returns
    -------
    low, high : numpy.ndarray
        Ends of the intervals; NaN for fewer than two seeds or where one number is missing.
    below : numpy.ndarray
        Probability, in [0, 1], of a number so low or lower where the truth is 0.

    References
    ----------
    Tukey 1958: Student's t of the pseudo-values of the jackknife. Satterthwaite 1946: its degrees of freedom
    where variances are added. What seeds and examples do together counts in both variances, so that intervals
    are, if anything, too wide.
    """
    seeds = len(without)
    if seeds < 2:
        return (np.full(len(values), np.nan),) * 3
    pseudo_values = seeds * values - (seeds - 1) * without
    variances = pseudo_values.var(axis=0, ddof=1) / seeds
    freedom: float | Float[np.ndarray, " cells"] = seeds - 1
    if len(samples) > 1:
        of_examples = samples.var(axis=0, ddof=1)
        with np.errstate(invalid="ignore"):
            parts = variances**2 / freedom + of_examples**2 / (len(samples) - 1)
            freedom = np.where(parts > 0, (variances + of_examples) ** 2 / parts, freedom)
        variances = variances + of_examples
    errors = np.sqrt(variances)
    half = stats.t.ppf(0.975, freedom) * errors
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(values == 0, 0.0, values / errors)
    below = np.where(np.isfinite(variances), stats.t.cdf(ratio, freedom), np.nan)
    return values - half, values + half, below
