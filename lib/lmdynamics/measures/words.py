"""Sums over the tokens of each word, and what they tell over words: means, classes, correlations.

Sums merge: text can be cut anywhere, and memory grows with the vocabulary, never with the text.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Int64, Real
from torch import Tensor

from lmdynamics.measures import bootstrap
from lmdynamics.measures.ranks import tied_ranks

Correlation = Literal["pearson", "log", "spearman"]
"""Pearson's, as in the thesis; Pearson's with the logarithm of the other value; Spearman's."""

_ROUNDING = 1e-12
"""What may be rounding in a mean over tokens, as a share of the largest."""


class WordSums:
    """Number and sum of some values over the tokens of each word.

    Parameters
    ----------
    words
        Size of the vocabulary.
    columns
        Names of the values.

    Examples
    --------
    >>> sums = WordSums(3, ["chi"])
    >>> sums.update(torch.tensor([0, 2, 2]), torch.tensor([[0.5], [0.1], [0.3]]))
    >>> sums.means()[:, 0]
    array([0.5, nan, 0.2])
    """

    def __init__(self, words: int, columns: Sequence[str]) -> None:
        self.words, self.columns = words, tuple(columns)
        self._counts, self._sums = torch.zeros(2, words, len(columns), dtype=torch.float64)
        self._undefined = torch.zeros(len(columns), dtype=torch.int64)

    def update(
        self,
        ids: Int[Tensor, " tokens"],
        values: Real[Tensor, "tokens columns"] | Bool[Tensor, "tokens columns"],
    ) -> None:
        """Add some tokens. A value that is not finite is counted as undefined, and otherwise left out.

        Raises
        ------
        ValueError
            If an id is outside the vocabulary, there are more or fewer columns than names, or values are
            complex.
        """
        if values.shape[1] != len(self.columns):
            raise ValueError(f"need the columns {', '.join(self.columns)}, got {values.shape[1]} columns")
        if values.is_complex():
            raise ValueError(f"need real values, got {values.dtype}")
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self.words:
            raise ValueError(f"need ids from 0 to {self.words - 1}, got {ids.min()} to {ids.max()}")
        values = values.detach().cpu().double()
        known, ids = values.isfinite(), ids.cpu().long()
        values = values.where(known, 0.0)
        self._counts.index_add_(0, ids, known.double())
        self._sums.index_add_(0, ids, values)
        self._undefined += (~known).sum(0)

    def merge(self, other: "WordSums") -> None:
        """Add the tokens that `other` has seen, which keeps its own.

        Raises
        ------
        ValueError
            If it is of another vocabulary or other columns.
        """
        if (self.words, self.columns) != (other.words, other.columns):
            raise ValueError(
                f"only sums of the same columns over {self.words} words merge, got {other.columns} over "
                f"{other.words} for {self.columns}"
            )
        self._counts += other._counts
        self._sums += other._sums
        self._undefined += other._undefined

    @property
    def undefined(self) -> dict[str, int]:
        """Number of values by column that were not finite."""
        return dict(zip(self.columns, self._undefined.tolist(), strict=True))

    def counts(self) -> Int64[np.ndarray, "words columns"]:
        """Return the number of tokens of each word with a value."""
        return self._counts.numpy().astype(np.int64)

    def means(self) -> Float[np.ndarray, "words columns"]:
        """Return the mean over the tokens of each word; NaN where there are none."""
        counts = self._counts.where(self._counts > 0, torch.nan)
        return (self._sums / counts).numpy()

    def overall(self) -> dict[str, float]:
        """Return the mean over all tokens by column; NaN without any."""
        means = self._sums.sum(0) / self._counts.sum(0)
        return dict(zip(self.columns, means.tolist(), strict=True))


def correlations(
    values: Float[np.ndarray, "words columns"],
    against: Float[np.ndarray, " words"] | Int[np.ndarray, " words"],
    columns: Sequence[str],
    *,
    how: Correlation = "pearson",
    seed: int = 0,
) -> pd.DataFrame:
    """Correlation over words of some values with another, such as frequency (thesis chapter 6, section 3).

    Parameters
    ----------
    values
        Of each word; a word is left out of the columns where it is NaN.
    against
        The other value of each word, positive where its logarithm is taken.
    columns
        Names of the columns of `values`.
    how
        Which correlation.
    seed
        Of the bootstrap samples of words.

    Returns
    -------
    pandas.DataFrame
        One row per column: `column`, number of `words`, their `mean`, `correlation` in [-1, 1], and `low` and
        `high`, the ends of its 95 % interval over bootstrap samples of words; mean and correlation also over
        some samples, see `bootstrap.sample_columns`. For Spearman's, ranks are those among all words in every
        sample. A word counts as often in a sample for every call with as many words and the same seed.

    Raises
    ------
    ValueError
        If a column has fewer than three words or does not vary, or the other value does not or is not finite.
    """
    if how not in get_args(Correlation):
        raise ValueError(f"a correlation is one of {', '.join(get_args(Correlation))}, got {how!r}")
    values = np.asarray(values, float)
    known = np.isfinite(values)
    with np.errstate(divide="ignore", invalid="ignore"):  # told below
        y = np.log(against) if how == "log" else np.asarray(against, float)
    unknown = known.any(1) & ~np.isfinite(y)
    if unknown.any():
        needed = "positive numbers for a logarithm" if how == "log" else "finite numbers"
        raise ValueError(
            f"a correlation needs {needed}, got {against[unknown][0]:g} as the other value of a word; "
            "leave it out"
        )
    for column, name in enumerate(columns):
        _check_varies(name, values[known[:, column], column], y[known[:, column]])
    x, y = np.where(known, values, np.nan), np.where(known, y[:, None], np.nan)
    means = np.nanmean(x, axis=0)
    deviations = np.nan_to_num(x - means)
    if how == "spearman":
        x, y = map(_ranks, (x, y))
    # about the mean, where rounding costs least
    x, y = (np.nan_to_num(each - np.nanmean(each, axis=0)) for each in (x, y))
    weights = bootstrap.weights(len(x), np.random.default_rng(seed))
    count, x1, y1, xx, yy, xy = (weights @ each for each in (known.astype(float), x, y, x * x, y * y, x * y))
    count = np.maximum(count, 1)
    sample_means = means + weights @ deviations / count
    spreads = xx - x1 * x1 / count, yy - y1 * y1 / count
    samples = bootstrap.correlation(xy - x1 * y1 / count, spreads, (xx, yy))
    low, high = bootstrap.interval(samples)
    return pd.DataFrame(
        {
            "column": columns,
            "words": known.sum(0),
            "mean": means,
            "correlation": samples[0],
            "low": low,
            "high": high,
            **bootstrap.sample_columns("correlation", samples),
            **bootstrap.sample_columns("mean", sample_means),
        }
    )


def _ranks(values: Float[np.ndarray, "words columns"]) -> Float[np.ndarray, "words columns"]:
    """Return the ranks in each column, NaN where the value is; what only rounding tells apart ties."""
    ranks = np.full(values.shape, np.nan)
    for column, ranks_of_column in zip(values.T, ranks.T, strict=True):
        known = np.isfinite(column)
        ranks_of_column[known] = tied_ranks(column[known], _ROUNDING * np.abs(column[known]).max())
    return ranks


def _check_varies(name: str, values: np.ndarray, against: np.ndarray) -> None:
    if len(values) < 3:
        raise ValueError(f"a correlation needs three words or more, got {len(values)} with a {name}")
    for what, numbers in ((name, values), ("other value", against)):
        if np.ptp(numbers) <= _ROUNDING * np.abs(numbers).max():
            raise ValueError(
                f"a correlation needs numbers that vary, got {len(numbers)} words whose {what} is "
                f"{numbers[0]:g}; measure more text or leave it out"
            )


def coefficients(
    values: Float[np.ndarray, " words"], features: Mapping[str, np.ndarray], *, seed: int = 0
) -> pd.DataFrame:
    """Least squares of a value of each word on some features and a constant.

    Parameters
    ----------
    values
        Of each word; a word is left out where it is NaN.
    features
        By name, one number for each word.
    seed
        Of the bootstrap samples of words.

    Returns
    -------
    pandas.DataFrame
        One row per feature: `coefficient`, in units of the value per unit of the feature, and `low` and
        `high`, the ends of its 95 % interval over bootstrap samples of words; also over some samples, see
        `bootstrap.sample_columns`.

    Raises
    ------
    ValueError
        If there are no more words than coefficients, or a feature is not finite.
    """
    known = np.isfinite(values)
    for name, each in features.items():
        if not np.isfinite(each[known]).all():
            raise ValueError(
                f"coefficients need finite features, got others of {name!r}; leave the words out"
            )
    columns = np.column_stack([np.ones(known.sum()), *(each[known] for each in features.values())])
    if len(columns) <= columns.shape[1]:
        raise ValueError(f"{columns.shape[1]} coefficients need more words, got {len(columns)}")
    weights = bootstrap.weights(len(values), np.random.default_rng(seed))[:, known]
    squares = np.einsum("rw,wi,wj->rij", weights, columns, columns, optimize=True)
    with_value = weights @ (columns * values[known, None])
    samples = bootstrap.least_squares(squares, with_value)[:, 1:]
    low, high = bootstrap.interval(samples)
    return pd.DataFrame(
        {
            "feature": list(features),
            "coefficient": samples[0],
            "low": low,
            "high": high,
            **bootstrap.sample_columns("coefficient", samples),
        }
    )


def occurrences(ids: Int[np.ndarray, " tokens"], *, seed: int | None = None) -> Int64[np.ndarray, " tokens"]:
    """Return which occurrence of its word each token is, from 0: in reading order, or in random order."""
    order = np.arange(len(ids)) if seed is None else np.random.default_rng(seed).permutation(len(ids))
    by_word = order[np.argsort(ids[order], kind="stable")]
    begins = np.searchsorted(ids[by_word], ids[by_word])
    numbers = np.empty(len(ids), np.int64)
    numbers[by_word] = np.arange(len(ids)) - begins
    return numbers


def majority_class(
    ids: Int[np.ndarray, " tokens"],
    classes: Int[np.ndarray, " tokens"],
    *,
    words: int,
    least: int,
) -> Int64[np.ndarray, " words"]:
    """The class of most tokens of each word.

    Parameters
    ----------
    ids
        The words of some text.
    classes
        The class of each token, negative for one without.
    words
        Size of the vocabulary.
    least
        Tokens of that class that a word needs.

    Returns
    -------
    numpy.ndarray
        -1 for words of which no more than half of the tokens, or fewer than `least`, are of one class.

    Raises
    ------
    ValueError
        If an id is outside the vocabulary.

    References
    ----------
    Thesis chapter 6, section 3, "The Role of Part of Speech".
    """
    if len(ids) and not 0 <= ids.min() <= ids.max() < words:
        raise ValueError(f"need ids from 0 to {words - 1}, got {ids.min()} to {ids.max()}")
    ids, classes = ids.astype(np.int64), classes.astype(np.int64)
    kinds = int(classes.max(initial=0)) + 1
    own = classes >= 0
    table = np.bincount(ids[own] * kinds + classes[own], minlength=words * kinds)
    table = table.reshape(words, kinds)
    best = table.argmax(1)
    most = table[np.arange(words), best]
    clear = (2 * most > np.bincount(ids, minlength=words)) & (most >= least)
    return np.where(clear, best, -1)


def matched(
    first: Int[np.ndarray, " first"], second: Int[np.ndarray, " second"], size: int
) -> tuple[Int64[np.ndarray, " size"], Int64[np.ndarray, " size"]]:
    """Equally many words of two classes, about equally frequent on average.

    From each class, words that follow one another when sorted by frequency (thesis chapter 6, section 3). Of
    the pairs of such ranges whose mean frequencies differ by a hundredth at most, that with the most frequent
    words; if there is none, the pair that differs least.

    Parameters
    ----------
    first, second
        Frequencies, in tokens, of the words of each class.
    size
        Words to take of each.

    Returns
    -------
    tuple of numpy.ndarray
        Places of the words in `first` and in `second`.

    Raises
    ------
    ValueError
        If a class has fewer words, or `size` is none.
    """
    if size < 1:
        raise ValueError(f"need one word or more of each class, got {size}")
    if min(len(first), len(second)) < size:
        raise ValueError(f"need {size} words of each class, got {len(first)} and {len(second)}")
    orders = [np.argsort(-each, kind="stable") for each in (first, second)]
    means = [
        np.lib.stride_tricks.sliding_window_view(each[order], size).mean(1)
        for each, order in zip((first, second), orders, strict=True)
    ]
    logs = [np.log(np.maximum(each, np.finfo(float).tiny)) for each in means]
    apart = np.abs(logs[0][:, None] - logs[1])
    near = np.argwhere(apart <= 0.01)
    begins = (
        near[np.argmax(means[0][near[:, 0]])] if len(near) else np.unravel_index(apart.argmin(), apart.shape)
    )
    at, other = (order[begin : begin + size] for order, begin in zip(orders, begins, strict=True))
    return at, other
