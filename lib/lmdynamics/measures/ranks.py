"""Ranks of numbers that were computed: what only rounding tells apart ties."""

import numpy as np
from jaxtyping import Float


def tied_ranks(values: Float[np.ndarray, " values"], rounding: float) -> Float[np.ndarray, " values"]:
    """Ranks from 1; values no farther apart than their rounding take the mean of theirs.

    Parameters
    ----------
    values
        Finite numbers, at least one.
    rounding
        How far apart rounding may have brought two equal values; positive. A chain of values, each that near
        to the next, is cut wherever it is longer than that from end to end.
    """
    order = np.argsort(values)
    rising = values[order]
    first = np.concatenate([[True], np.diff(rising) > rounding])
    beyond_first = rising - np.maximum.accumulate(np.where(first, rising, rising[0]))
    first[1:] |= np.diff(beyond_first // rounding) > 0
    tie = np.cumsum(first) - 1
    sizes = np.bincount(tie)
    ranks = np.empty(len(values))
    ranks[order] = (np.cumsum(sizes) - (sizes - 1) / 2)[tie]
    return ranks
