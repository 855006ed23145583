"""How similar two views of the same tokens are: CCA, SVCCA, PWCCA, CKA and RSA.

Every measure takes two arrays, tokens × units with row i the same token in both, or what
`moments.JointMoments` has summed of two views: ``svcca(x, y)`` or ``svcca(moments["early", "late"])``.
Both give the same number. RSA alone needs the arrays.

All but RSA centre each unit about its mean over tokens; all compute in float64. Canonical correlations are
read from covariances, where a direction counts as absent if its variance is below 1e-12 of the largest: what
float64 products cannot tell from none. Duplicated, combined and constant units therefore change nothing. A
unit counts as constant if its standard deviation is below 1e-12 of its mean. What rounding lifts above 1 is
set to 1.

Centred, n tokens leave n − 1 dimensions, and any two subspaces whose directions are more together meet: so
many correlations are 1 by counting. Where that would be all, a measure raises; where it is some, it warns
(`FewTokensWarning`).

*Chance* is what unrelated Gaussian views score. It depends on widths and tokens, so compare values at equal
numbers of both only.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.distance import pdist
from torch import Tensor

from lmdynamics.measures.moments import ABSENT, Block, JointMoments, Moments, TwoViews, aligned
from lmdynamics.measures.ranks import tied_ranks

Rule = Literal["variance", "singular_values"]
Distance = Literal["euclidean", "correlation", "cosine"]

_MOST_TOKENS = 10_000  # RSA then compares 50 million pairs, 400 MB a side


class FewTokensWarning(UserWarning):
    """Some canonical correlations are 1 by counting: there are too few tokens for so many directions."""


def canonical_correlations(x: Block | TwoViews, y: Block | None = None) -> Float[Tensor, " directions"]:
    """Correlations of the canonical directions, largest first.

    Unchanged by shifts and by any invertible linear map of either side.

    Parameters
    ----------
    x, y
        Two arrays; or the moments of two views, as `x` alone.

    Returns
    -------
    Float[Tensor, " directions"]
        As many as the lower of the two ranks, each in [0, 1].

    Raises
    ------
    ValueError
        If rows do not align, a value is not finite or its square beyond float64, a side does not vary, or
        there are not at least two more tokens than units of either side: with fewer all correlations can be 1
        whatever the data.

    Warns
    -----
    FewTokensWarning
        If both sides together have more directions than there are tokens but one, says how many correlations
        are 1 whatever the data.

    References
    ----------
    Hotelling 1936; from orthonormal bases as in Björck and Golub 1973.
    """
    views = _for_correlation(x, y)
    return _correlations(_common(views, _whitening(views.x), _whitening(views.y)))


def cca(x: Block | TwoViews, y: Block | None = None) -> float:
    """Mean canonical correlation, all directions counting the same.

    Parameters, invariances, errors and warnings are those of `canonical_correlations`.

    Returns
    -------
    float
        In [0, 1]; 1 where the side of lower rank is a linear map of the other. Chance: 0.85 (equal widths)
        to 1 (very different ones) times sqrt(units of the wider side / tokens).

    References
    ----------
    Raghu et al. 2017, section 2, without the truncation.
    """
    views = _for_correlation(x, y)
    return _correlations(_common(views, _whitening(views.x), _whitening(views.y))).mean().item()


def svcca(
    x: Block | TwoViews, y: Block | None = None, *, variance: float = 0.99, rule: Rule = "variance"
) -> float:
    """Mean canonical correlation of the subspaces that hold most variance.

    Each side keeps the fewest leading singular directions that explain the wanted share; the mean is over
    as many canonical correlations as the side that keeps fewer has directions. Unchanged by shifts, by
    rotations and by one scale for all units of a side; not by every linear map, since directions are kept
    by their variance.

    Parameters
    ----------
    x, y
        Two arrays; or the moments of two views, as `x` alone.
    variance
        Share of each side that its kept directions explain, in (0, 1]; 1 keeps all that varies.
    rule
        What the share is of: ``"variance"``, the sum of squared singular values, or ``"singular_values"``,
        the sum of singular values themselves, as the tutorial of google/svcca counts, which keeps more
        directions.

    Returns
    -------
    float
        In [0, 1]; 1 for identical views. Chance: as for `cca`, with the kept directions in place of the
        units.

    Raises
    ------
    ValueError
        As `canonical_correlations` does; or for a share outside (0, 1] or an unknown rule.

    Warns
    -----
    FewTokensWarning
        If the kept directions of both sides are more than the tokens but one.

    References
    ----------
    Raghu et al. 2017, section 2; Saphra 2021, chapter 4.
    """
    views, x_basis, y_basis = _bases(x, y, variance, rule)
    return _correlations(_common(views, x_basis, y_basis)).mean().item()


def directions(
    x: Block | TwoViews, y: Block | None = None, *, variance: float = 0.99, rule: Rule = "variance"
) -> tuple[int, int]:
    """How many directions of either side `svcca` keeps; it averages over the smaller number.

    Where the variance gathers in a few directions, few are compared, and those the strongest: values of
    `svcca` say the same only where these numbers are alike. Parameters and errors are those of `svcca`.

    Returns
    -------
    tuple of two int
        For `x` and for `y`, each at least 1.
    """
    x_basis, y_basis = _bases(x, y, variance, rule)[1:]
    return x_basis.shape[1], y_basis.shape[1]


def pwcca(x: Block | TwoViews, y: Block | None = None) -> float:
    """Mean canonical correlation, each direction weighted by how much of the first side it accounts for.

    The weight of a direction is the sum over the units of `x` of |⟨h, unit⟩|, where h is the direction's
    canonical variate of `x`: one value per token, of length 1. So it is the variates that are orthonormal,
    not the coefficients, and swapping the sides gives another number. Unchanged by shifts, by one scale for
    all units of `x`, and by any invertible map of `y`. Where some correlations are equal but not all, their
    variates are not unique, nor is the result. Parameters, errors and warnings are those of
    `canonical_correlations`.

    Returns
    -------
    float
        In [0, 1]; 1 where the side of lower rank is a linear map of the other. Chance: near that of `cca`.

    References
    ----------
    Morcos et al. 2018, section 2.2.
    """
    views = _for_correlation(x, y)
    basis = _whitening(views.x)
    directions, correlations, _ = torch.linalg.svd(
        _common(views, basis, _whitening(views.y)), full_matrices=False
    )
    weights = (directions.T @ basis.T @ views.x.scatter).abs().sum(1)
    return min(1.0, (weights @ correlations.clamp(max=1) / weights.sum()).item())


def cka(x: Block | TwoViews, y: Block | None = None) -> float:
    """Linear centred kernel alignment: ‖xᵀy‖² / (‖xᵀx‖ ‖yᵀy‖) in Frobenius norms of centred views.

    Unchanged by shifts, by rotations and by one scale for all units of a side. Directions count by their
    variance, so a few of large variance may decide. Defined for fewer tokens than units too.

    Parameters
    ----------
    x, y
        Two arrays; or the moments of two views, as `x` alone.

    Returns
    -------
    float
        In [0, 1]; 1 for identical views. Chance: sqrt(x units × y units) / tokens for uncorrelated units of
        equal variance, less otherwise.

    Raises
    ------
    ValueError
        If rows do not align, a value is not finite, a side does not vary, or the fourth powers of its numbers
        are too small or too large for float64.

    References
    ----------
    Kornblith et al. 2019, section 3.
    """
    views = _two_views(x, y)
    product, x_norm, y_norm = (
        products.square().sum().item() for products in (views.cross, views.x.scatter, views.y.scatter)
    )
    if not 0 < x_norm * y_norm < math.inf:
        raise ValueError(
            f"cka needs fourth powers that float64 can hold, got sums of {x_norm:.1g} for x and {y_norm:.1g} "
            "for y; scale the views"
        )
    return min(1.0, product / (x_norm * y_norm) ** 0.5)


def rsa(
    x: Block,
    y: Block,
    *,
    distance: Distance = "euclidean",
    sample: int | None = None,
    seed: int = 0,
) -> float:
    """Spearman correlation of the distances between all pairs of tokens.

    Distances that are equal up to rounding in float64 tie, and take their mean rank. Euclidean distances are
    unchanged by shifts and rotations and their ranks by one scale for all units of a side. The other two
    compare the directions of tokens, from the origin as it stands (cosine) or after taking each token's mean
    over units away (correlation): units are not centred.

    Parameters
    ----------
    x, y
        Two arrays.
    distance
        Between tokens of one side: ``"euclidean"``, ``"cosine"`` (1 − cosine) or ``"correlation"`` (1 −
        Pearson).
    sample
        How many tokens to compare, drawn without replacement; None for all, of which there may be 10,000.
    seed
        Of the draw.

    Returns
    -------
    float
        In [-1, 1]; 1 where the distances have one order. Chance: 0.

    Raises
    ------
    ValueError
        If rows do not align, a value is not finite, there are fewer than 3 tokens or too many, a sample is
        larger than its source, a side has no two different distances, or a distance is not defined or beyond
        float64.

    References
    ----------
    Kriegeskorte et al. 2008.
    """
    sides = aligned({"x": x, "y": y})
    if sample is not None:
        tokens = len(sides["x"])
        if not 3 <= sample <= tokens:
            raise ValueError(f"a sample is of 3 or more of the {tokens:,} tokens, got {sample:,}")
        rows = np.random.default_rng(seed).choice(tokens, sample, replace=False)
        sides = {name: side[rows] for name, side in sides.items()}
    x_ranks, y_ranks = (_ranks(name, side, distance) for name, side in sides.items())
    return float(np.clip(x_ranks @ y_ranks, -1, 1))


def ranked_distances(x: Block, *, distance: Distance = "euclidean") -> Float[np.ndarray, " pairs"]:
    """What `rsa` compares of one view, where many views of the same tokens are to be compared.

    Returns
    -------
    Float[np.ndarray, " pairs"]
        Ranks of the distances between all pairs of tokens, centred and of length 1: the inner product of
        those of two views is their `rsa`.

    Raises
    ------
    ValueError
        As `rsa` does.
    """
    return _ranks("x", aligned({"x": x})["x"], distance)


def _bases(
    x: Block | TwoViews, y: Block | None, variance: float, rule: Rule
) -> tuple[TwoViews, Float[Tensor, "x_units x_kept"], Float[Tensor, "y_units y_kept"]]:
    """The two views, and of each an orthonormal basis of the directions that SVCCA keeps."""
    if not 0 < variance <= 1:
        raise ValueError(f"variance must be a share in (0, 1], got {variance}")
    if rule not in get_args(Rule):
        raise ValueError(f"rule must be one of {get_args(Rule)}, got {rule!r}")
    views = _for_correlation(x, y)
    return views, _kept(views.x, variance, rule), _kept(views.y, variance, rule)


def _two_views(x: Block | TwoViews, y: Block | None) -> TwoViews:
    """Moments of both sides, each of which varies."""
    if isinstance(x, TwoViews) and y is None:
        views = x
    elif not isinstance(x, TwoViews) and y is not None:
        moments = JointMoments([("x", "y")])
        moments.update({"x": x, "y": y})
        views = moments["x", "y"]
    else:
        raise TypeError(
            "similarity is between two arrays, or of the moments of two views as the only argument"
        )
    for name, side in (("x", views.x), ("y", views.y)):
        if not side.scatter.isfinite().all():
            raise ValueError(f"{name} needs numbers whose squares float64 can sum; scale it")
        if not _deviations(side).any():
            raise ValueError(f"{name} does not vary: all units are constant over its {side.count} tokens")
    return views


def _for_correlation(x: Block | TwoViews, y: Block | None) -> TwoViews:
    views = _two_views(x, y)
    units = max(views.cross.shape)
    if views.count < units + 2:
        raise ValueError(
            "canonical correlations need at least two more tokens than units, "
            f"got {views.count} tokens for {units} units, where all are 1 by counting; sample more sentences"
        )
    return views


def _deviations(side: Moments) -> Float[Tensor, " units"]:
    """Root of each unit's summed squares; 0 where that is rounding only."""
    deviations = side.scatter.diagonal().sqrt()
    return deviations.where(deviations > ABSENT * side.count**0.5 * side.mean.abs(), 0)


_BASES: WeakKeyDictionary[Moments, dict[Any, Tensor]] = WeakKeyDictionary()
"""What was derived of a view, for as long as its moments live: one view is compared with many."""


def _once(side: Moments, key: Any, derive: Callable[[], Tensor]) -> Tensor:
    bases = _BASES.setdefault(side, {})
    if key not in bases:
        bases[key] = derive()
    return bases[key]


def _kept(side: Moments, share: float, rule: Rule) -> Float[Tensor, "units kept"]:
    return _once(side, (share, rule), lambda: _leading(side.scatter, share, rule))


def _whitening(side: Moments) -> Float[Tensor, "units kept"]:
    """Coefficients of an orthonormal basis of all that varies.

    Units are scaled to equal variance first, so that their scales cost no digits.
    """

    def derive() -> Tensor:
        deviations = _deviations(side)
        scale = torch.where(deviations > 0, 1 / deviations, 0)
        return scale[:, None] * _leading(scale[:, None] * side.scatter * scale, 1.0, "variance")

    return _once(side, "whitening", derive)


def _leading(scatter: Float[Tensor, "units units"], share: float, rule: Rule) -> Float[Tensor, "units kept"]:
    """Coefficients of an orthonormal basis of the fewest principal directions that hold the share."""
    variances, directions = (part.flip(-1) for part in torch.linalg.eigh(scatter))
    variances = variances[variances > ABSENT * variances[0]]
    counted = variances if rule == "variance" else variances.sqrt()
    below = counted.cumsum(0) / counted.sum() < share
    kept = min(int(below.sum()) + 1, len(variances)) if share < 1 else len(variances)
    return directions[:, :kept] / variances[:kept].sqrt()


def _common(
    views: TwoViews, x_basis: Float[Tensor, "x_units x_kept"], y_basis: Float[Tensor, "y_units y_kept"]
) -> Float[Tensor, "x_kept y_kept"]:
    """Products of both orthonormal bases, whose singular values are the canonical correlations."""
    x_kept, y_kept = x_basis.shape[1], y_basis.shape[1]
    counted = x_kept + y_kept - (views.count - 1)
    if counted > 0:
        warnings.warn(
            f"{counted} of {min(x_kept, y_kept)} canonical correlations are 1 by counting, since "
            f"{views.count} tokens are few for {x_kept} and {y_kept} directions; sample more sentences",
            FewTokensWarning,
            stacklevel=3,
        )
    return x_basis.T @ views.cross @ y_basis


def _correlations(common: Float[Tensor, "x_kept y_kept"]) -> Float[Tensor, " directions"]:
    return torch.linalg.svdvals(common).clamp(max=1)


def _ranks(name: str, side: Float[Tensor, "tokens units"], distance: Distance) -> Float[np.ndarray, " pairs"]:
    """Ranks of all distances, centred and of length 1."""
    if distance not in get_args(Distance):
        raise ValueError(f"distance must be one of {get_args(Distance)}, got {distance!r}")
    if not 3 <= len(side) <= _MOST_TOKENS:
        raise ValueError(
            f"rsa compares each pair of 3 to {_MOST_TOKENS:,} tokens, got {len(side):,}; "
            "take fewer or more of the text's"
        )
    ranks = tied_ranks(*_distances(name, side, distance))
    ranks -= ranks.mean()
    return ranks / np.linalg.norm(ranks)


def _distances(
    name: str, side: Float[Tensor, "tokens units"], distance: Distance
) -> tuple[Float[np.ndarray, " pairs"], float]:
    """Distances between all pairs of tokens, and how much of them may be rounding."""
    tokens = side.to("cpu", torch.float64).numpy()
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # told below
        distances = pdist(tokens, distance)
        directions = tokens - tokens.mean(1, keepdims=True) if distance == "correlation" else tokens
        lengths, sizes = (np.linalg.norm(each, axis=1) for each in (directions, tokens))
    if np.isinf(sizes).any() or np.isinf(distances).any():
        raise ValueError(
            f"{distance} distance needs numbers whose squares float64 can hold, got up to "
            f"{np.abs(tokens).max():.1g} in {name}; scale it"
        )
    if distance != "euclidean" and (lengths <= ABSENT * sizes).any():
        raise ValueError(
            f"{distance} distance is not defined for a token of {name} whose units are all equal or 0"
        )
    # of a sum over units of products, and of the units themselves
    rounding = np.finfo(np.float64).eps * (tokens.shape[1] + 4)
    rounding *= sizes.max() if distance == "euclidean" else 1
    if np.ptp(distances) <= rounding:
        raise ValueError(f"{name} does not vary: all of its tokens are equally far apart")
    return distances, rounding
