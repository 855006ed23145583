"""Pairs of words of one sentence: where they stand, what they are, and sums over them that merge.

The sums are kept for the sentences as they are and for bootstrap samples of them, so that every number read
from them has an interval, however much text they were collected over.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import sparse

from lmdynamics.measures import bootstrap

CLASSES = ("open", "closed", "mixed")
"""Of a pair of words: both of open classes, both of closed ones, one of each."""
MOST_EDGES = 12
"""Pairs farther apart on the tree are counted with those at this distance."""
LEVELS = ("sequential", "syntactic", "classes")
"""What a stratum is made of."""
FEATURES = (
    "syntactic distance",
    "both open",
    "both closed",
    "log frequency, left",
    "log frequency, right",
    "frequency, left",
    "frequency, right",
)
"""Of a pair, beside its sequential distance."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Some pairs of words, one row each."""

    sequential: Int[np.ndarray, " pairs"]
    """Words from the left to the right one, from 1."""
    syntactic: Int[np.ndarray, " pairs"]
    """Edges between them on the tree of their sentence."""
    classes: Int[np.ndarray, " pairs"]
    """Index into `CLASSES`."""
    left: Int[np.ndarray, " pairs"]
    """Frequency of the left word, in tokens, at least 1."""
    right: Int[np.ndarray, " pairs"]
    """Frequency of the right word."""
    sentences: Int[np.ndarray, " pairs"]
    """Number of the sentence, from 0, in this block."""
    values: Float[np.ndarray, " pairs"]
    """What was measured of the pair."""


class PairSums:
    """Counts, sums and products over pairs, in all and in each bootstrap sample of sentences.

    Parameters
    ----------
    distance
        The longest sequential distance.
    seed
        Of the bootstrap samples.
    """

    def __init__(self, distance: int, *, seed: int = 0) -> None:
        self.distance = distance
        self._shape = (distance, MOST_EDGES, len(CLASSES))
        self._random = np.random.default_rng(seed)
        strata, columns = int(np.prod(self._shape)), distance + len(FEATURES) + 1
        self._counts, self._totals = (np.zeros((1 + bootstrap.SAMPLES, strata)) for _ in range(2))
        self._products = np.zeros((1 + bootstrap.SAMPLES, columns, columns))

    def update(self, pairs: Pairs) -> None:
        """Add the pairs of some whole sentences.

        Raises
        ------
        ValueError
            If a distance is below 1 or the sequential one beyond the longest, a class is none of `CLASSES`, a
            frequency below 1, or a value not finite. Nothing is added then.
        """
        for name, column, least, most in (
            ("sequential distances", pairs.sequential, 1, self.distance),
            ("syntactic distances", pairs.syntactic, 1, np.inf),
            ("classes", pairs.classes, 0, len(CLASSES) - 1),
            ("frequencies", np.minimum(pairs.left, pairs.right), 1, np.inf),
        ):
            if ((column < least) | (column > most)).any():
                raise ValueError(
                    f"{name} are from {least} to {most}, got from {column.min()} to {column.max()}"
                )
        if not np.isfinite(pairs.values).all():
            row = np.flatnonzero(~np.isfinite(pairs.values))[0]
            raise ValueError(f"values must be finite, got {pairs.values[row]} in row {row}")
        sentences = int(pairs.sentences.max()) + 1 if len(pairs.values) else 0
        if not sentences:
            return
        weights = bootstrap.weights(sentences, self._random)
        edges = np.minimum(pairs.syntactic, MOST_EDGES) - 1
        stratum = np.ravel_multi_index((pairs.sequential - 1, edges, pairs.classes), self._shape)
        for sums, values in (
            (self._counts, np.ones(len(stratum))),
            (self._totals, pairs.values.astype(np.float64)),
        ):
            of_sentence = sparse.coo_array(
                (values, (pairs.sentences, stratum)), shape=(sentences, sums.shape[1])
            )
            sums += (of_sentence.T.tocsr() @ weights.T).T
        columns = self._columns(pairs)
        order = np.argsort(pairs.sentences, kind="stable")
        begins = np.searchsorted(pairs.sentences[order], np.arange(sentences + 1))
        products = np.stack(
            [columns[order[begin:end]].T @ columns[order[begin:end]] for begin, end in pairwise(begins)]
        )
        self._products += np.tensordot(weights, products, axes=1)

    def merge(self, other: "PairSums") -> None:
        """Add the pairs of other sentences, which `other` has seen.

        Raises
        ------
        ValueError
            If it goes up to another distance.
        """
        if other.distance != self.distance:
            raise ValueError(f"sums over pairs up to {self.distance} words apart, got {other.distance}")
        self._counts += other._counts
        self._totals += other._totals
        self._products += other._products

    def _columns(self, pairs: Pairs) -> np.ndarray:
        """Dummies for the sequential distance, `FEATURES`, and the value."""
        return np.column_stack(
            [
                pairs.sequential[:, None] == np.arange(1, self.distance + 1),
                pairs.syntactic,
                pairs.classes == CLASSES.index("open"),
                pairs.classes == CLASSES.index("closed"),
                np.log(pairs.left),
                np.log(pairs.right),
                pairs.left,
                pairs.right,
                pairs.values,
            ]
        ).astype(np.float64)

    def means(self, *levels: str) -> pd.DataFrame:
        """Mean value by some of `LEVELS`.

        Returns
        -------
        pandas.DataFrame
            One row per stratum that has pairs: the levels, the number of `pairs`, their `mean`, and `low` and
            `high`, the ends of its 95 % interval over bootstrap samples of sentences; also over some samples,
            see `bootstrap.sample_columns`.

        Raises
        ------
        ValueError
            If a level is unknown.
        """
        if unknown := set(levels) - set(LEVELS):
            raise ValueError(f"levels are {', '.join(LEVELS)}, got {', '.join(sorted(unknown))}")
        others = tuple(1 + n for n, level in enumerate(LEVELS) if level not in levels)
        counts, totals = (sums.reshape(-1, *self._shape).sum(others) for sums in (self._counts, self._totals))
        if not levels:
            counts, totals = counts[:, None], totals[:, None]
        places = np.nonzero(counts[0])
        counts, totals = counts[:, *places], totals[:, *places]
        with np.errstate(invalid="ignore"):
            means = totals / counts
        kept = [level for level in LEVELS if level in levels]
        table = pd.DataFrame(dict(zip(kept, places, strict=bool(kept))))
        for level in kept:
            table[level] = table[level].map(CLASSES.__getitem__) if level == "classes" else table[level] + 1
        low, high = bootstrap.interval(means)
        table = table.assign(pairs=counts[0].astype(int), mean=means[0], low=low, high=high)
        return table.assign(**bootstrap.sample_columns("mean", means))

    def coefficients(self, *features: str) -> pd.DataFrame:
        """Least squares of the value on some of `FEATURES` and a constant of its own for each distance.

        Returns
        -------
        pandas.DataFrame
            One row per feature: `coefficient`, in units of the value per unit of the feature, `low`, `high`;
            also over some samples.
        """
        chosen = [self._place(feature) for feature in features]
        present = np.flatnonzero(np.diagonal(self._products[0])[: self.distance])
        columns = np.array([*present, *chosen])
        squares = self._products[:, columns[:, None], columns]
        with_value = self._products[:, columns, -1]
        samples = bootstrap.least_squares(squares, with_value)[:, len(present) :]
        low, high = bootstrap.interval(samples)
        table = pd.DataFrame({"feature": features, "coefficient": samples[0], "low": low, "high": high})
        return table.assign(**bootstrap.sample_columns("coefficient", samples))

    def correlations(self) -> pd.DataFrame:
        """Pearson correlation of the value with each of `FEATURES`, alone and within sequential distances.

        Returns
        -------
        pandas.DataFrame
            One row per feature: `correlation`, `low`, `high` over all pairs, and `within`, `within_low`,
            `within_high` of what is left of feature and value after taking off their means at each
            sequential distance; NaN where nothing varies. Both also over some samples.
        """
        counts = np.diagonal(self._products, axis1=1, axis2=2)[:, : self.distance]
        sums = self._products[:, : self.distance]
        # of all pairs, or of those at each distance
        for_all = counts.sum(1)[:, None], sums.sum(1)[:, None]
        rows = []
        for feature in FEATURES:
            at = self._place(feature)
            row: dict[str, object] = {"feature": feature}
            over_samples: dict[str, object] = {}
            for name, low_high, (count, sums_of) in (
                ("correlation", ("low", "high"), for_all),
                ("within", ("within_low", "within_high"), (counts, sums)),
            ):
                samples = self._correlation(at, count, sums_of)
                row |= {name: samples[0], **dict(zip(low_high, bootstrap.interval(samples), strict=True))}
                over_samples |= bootstrap.sample_columns(name, samples)
            rows.append(row | over_samples)
        return pd.DataFrame(rows)

    def _correlation(
        self,
        at: int,
        counts: Float[np.ndarray, "rows groups"],
        sums: Float[np.ndarray, "rows groups columns"],
    ) -> Float[np.ndarray, " rows"]:
        """Of a feature with the value, less their means in each group of pairs; NaN where nothing varies."""
        own = sums[:, :, [at, -1]]
        means = np.divide(own, counts[..., None], out=np.zeros_like(own), where=counts[..., None] > 0)
        products = self._products[:, [at, -1]][:, :, [at, -1]]
        centred = products - np.einsum("rga,rgb->rab", own, means)
        spreads, squares = ((each[:, 0, 0], each[:, 1, 1]) for each in (centred, products))
        return bootstrap.correlation(centred[:, 0, 1], spreads, squares)

    def _place(self, feature: str) -> int:
        if feature not in FEATURES:
            raise ValueError(f"features are {', '.join(FEATURES)}, got {feature!r}")
        return self.distance + FEATURES.index(feature)
