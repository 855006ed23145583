"""Intervals: over seeds, and over resampled sentences and words."""

import numpy as np
from jaxtyping import Float
from scipy import stats


def half_interval(values: Float[np.ndarray, " seeds"]) -> float:
    """Half of the 95 % interval of a mean over seeds; NaN for fewer than two or where one is missing."""
    count = len(values)
    if count < 2:
        return np.nan
    return float(stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))
