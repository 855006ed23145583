"""How much of a vector rests on few of its units: χ, and three other measures of the same.

All look at absolute values, take vectors along the last axis, do not change when a vector is scaled or its
units are put in another order, and are greater the sparser the vector is. A vector of zeros has no sparsity,
nor has one with a value that is not finite: the result is NaN.

Vectors may be of any real numbers. Half precision is computed, and returned, in float32, since a sum of
squares soon leaves its range; integers and booleans in float64. No graph of gradients is kept.
"""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

Values = Real[Tensor, "*axes units"] | Bool[Tensor, "*axes units"]
"""Vectors of at least one unit."""

_SMALLEST = 1e-12  # squares of units may be too small for float32 where a norm is below this

SHARE = 0.9
"""Of the mass, that the units which `spare_units` does not count hold."""


def norms(values: Values) -> tuple[Float[Tensor, "*axes"], Float[Tensor, "*axes"]]:
    """Taxicab norm ‖v‖₁ and Euclidean norm ‖v‖₂, in float64: no square is too small or too large."""
    values = _floating(values)
    taxicab, euclidean = (torch.linalg.vector_norm(values, order, dim=-1).double() for order in (1, 2))
    unsafe = (euclidean < _SMALLEST) | (euclidean > 1 / _SMALLEST)
    if unsafe.any():
        rows = values[unsafe].double()
        largest = rows.abs().amax(-1).clamp(min=torch.finfo(torch.float64).tiny)
        rows = rows / largest[..., None]
        taxicab[unsafe], euclidean[unsafe] = (
            largest * torch.linalg.vector_norm(rows, order, dim=-1) for order in (1, 2)
        )
    return taxicab, euclidean


def chi(values: Values) -> Float[Tensor, "*axes"]:
    """Euclidean over taxicab norm, ‖v‖₂ / ‖v‖₁.

    Returns
    -------
    torch.Tensor
        From 1/√units, where all units are equal in size, to 1, where one unit holds everything. Of
        independent normal units it is near √(π / (2 units)).

    References
    ----------
    Thesis chapter 6, section 2 (Repetti et al. 2015).
    """
    taxicab, euclidean = norms(values)
    return (euclidean / taxicab).to(_precision(values))


def hoyer(values: Values) -> Float[Tensor, "*axes"]:
    """χ, stretched so that its range does not depend on the number of units: (√n − 1/χ) / (√n − 1).

    Returns
    -------
    torch.Tensor
        From 0, where all units are equal in size, to 1, where one unit holds everything; NaN for one unit.

    References
    ----------
    Hoyer 2004, section 3.1.
    """
    return stretched(chi(values), values.shape[-1])


def stretched(chi: Float[Tensor, "*axes"], units: int) -> Float[Tensor, "*axes"]:
    """Hoyer's measure from χ and the number of units; NaN for fewer than two."""
    root = math.sqrt(units)
    return (root - 1 / chi) / (root - 1) if root > 1 else torch.full_like(chi, torch.nan)


def gini(values: Values) -> Float[Tensor, "*axes"]:
    """Gini index of the absolute values.

    Returns
    -------
    torch.Tensor
        From 0, where all units are equal in size, to 1 − 1/units, where one unit holds everything.

    References
    ----------
    Hurley and Rickard 2009, equation 5.
    """
    rising = _sorted(values)
    units = values.shape[-1]
    weights = (units - torch.arange(1, units + 1).to(rising) + 0.5) / units
    return 1 - 2 * (rising @ weights) / rising.sum(-1)


def spare_units(values: Values) -> Float[Tensor, "*axes"]:
    """Share of the units that are not needed to hold 90 % (`SHARE`) of the sum of absolute values.

    The unit at which the sum is reached counts in part, so that the measure is continuous.

    Returns
    -------
    torch.Tensor
        From 0.1, where all units are equal in size, to 1 − 0.9/units, where one unit holds everything.
    """
    rising = _sorted(values)
    held = rising.cumsum(-1)
    wanted = (1 - SHARE) * rising.sum(-1, keepdim=True)
    last = (held <= wanted).sum(-1, keepdim=True).clamp(max=rising.shape[-1] - 1)
    unit = rising.gather(-1, last)
    into = 1 - (held.gather(-1, last) - wanted) / unit  # NaN where all is zero
    return ((last + into) / rising.shape[-1])[..., 0]


MEASURES = {"chi": chi, "hoyer": hoyer, "gini": gini, "spare_units": spare_units}
"""By name."""


def _sorted(values: Values) -> Float[Tensor, "*axes units"]:
    """Sizes over the largest, in rising order; on a CPU by NumPy, which takes a thirtieth of the time."""
    sizes = _floating(values).abs()
    rising = torch.from_numpy(np.sort(sizes.numpy(), axis=-1)) if sizes.is_cpu else sizes.sort(-1).values
    return rising / rising[..., -1:]


def _floating(values: Values) -> Float[Tensor, "*axes units"]:
    """The values without a graph, in a precision that can hold their sum."""
    if not values.dim() or not values.shape[-1]:
        raise ValueError(f"sparsity needs vectors of at least one unit, got shape {tuple(values.shape)}")
    if values.is_complex():
        raise ValueError(f"sparsity needs real numbers, got {values.dtype}; take their sizes")
    return values.detach().to(_precision(values))


def _precision(values: Values) -> torch.dtype:
    single = values.is_floating_point() and values.dtype != torch.float64
    return torch.float32 if single else torch.float64
