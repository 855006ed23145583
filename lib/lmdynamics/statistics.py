"""Sums over tokens from which measures are read: updated block by block, merged in any order.

A corpus can be cut anywhere, over blocks, processes or machines, and the result is the same up to rounding.
Memory grows with the widths of the views, never with the tokens. All is summed in float64 about the mean so
far, so a mean far from zero costs no digits.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Block = Float[Tensor, "_ _"] | Float[np.ndarray, "_ _"]
"""Activations of one view, tokens × units; row i is the same token in every view."""

Pair = tuple[str, str]

_ROOM = 2**24
"""Values of a block that are held in float64 at once, over all its views: 128 MiB."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of one view.

    Attributes
    ----------
    count
        Number of tokens.
    mean
        Mean activation of each unit.
    scatter
        Sum over tokens of (x − mean)(x − mean)ᵀ: the covariance times `count`.
    fourth
        Sum over tokens of ‖x − mean‖⁴.
    """

    count: int
    mean: Float[Tensor, " units"]
    scatter: Float[Tensor, "units units"]
    fourth: float


@dataclass(frozen=True)
class TwoViews:
    """Moments of two views of the same tokens.

    Attributes
    ----------
    x, y
        Each view's own moments.
    cross
        Sum over tokens of (x − mean x)(y − mean y)ᵀ.
    fourth
        Sum over tokens of ‖x − mean x‖² ‖y − mean y‖².
    """

    x: Moments
    y: Moments
    cross: Float[Tensor, "x_units y_units"]
    fourth: float

    @property
    def count(self) -> int:
        """Number of tokens."""
        return self.x.count


class JointMoments:
    """Moments of named views of the same tokens, and of those pairs of them that are to be compared.

    A view's own moments are computed once, however many pairs it stands in. Sums stay on the device of the
    blocks; what is read from them comes to the CPU.

    Parameters
    ----------
    pairs
        Names of the views to compare, two by two; a view with itself is always there.

    Attributes
    ----------
    views
        Names of the views, in the order in which the pairs name them.
    pairs
        The pairs whose products are summed; each is read in either order.

    Examples
    --------
    >>> moments = JointMoments([("early", "late")])
    >>> for early, late in zip(torch.randn(3, 100, 2), torch.randn(3, 100, 5)):
    ...     moments.update({"early": early, "late": late})
    >>> moments.count, moments["early", "late"].cross.shape
    (300, torch.Size([2, 5]))
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        asked = {frozenset(pair): pair for pair in pairs}
        self.views = tuple(dict.fromkeys(name for pair in asked.values() for name in pair))
        self.pairs = tuple(({frozenset([name]): (name, name) for name in self.views} | asked).values())
        self._sums: _Sums | None = None

    @property
    def count(self) -> int:
        """Number of tokens so far."""
        return self._sums.count if self._sums else 0

    @torch.no_grad()
    def update(self, blocks: Mapping[str, Block]) -> None:
        """Add a block of tokens, seen in every view.

        Raises
        ------
        ValueError
            If a view is missing or unknown, the block is empty, the views differ in their number of tokens,
            a view differs in width from the blocks before, or a value is not finite. Nothing is added then.
        """
        if blocks.keys() != set(self.views):
            raise ValueError(f"update needs the views {sorted(self.views)}, got {sorted(blocks)}")
        tensors = aligned(blocks)
        widths = {name: tensor.shape[1] for name, tensor in tensors.items()}
        self._check_widths(widths)
        rows = max(1, _ROOM // sum(widths.values()))
        for chunk in zip(*(tensor.split(rows) for tensor in tensors.values()), strict=True):
            self._add(_Sums.of(dict(zip(tensors, chunk, strict=True)), self.pairs))

    def merge(self, other: "JointMoments") -> None:
        """Add the tokens that `other` has seen, which keeps its own.

        Raises
        ------
        ValueError
            If `other` compares other pairs, or its views have other widths.
        """
        if set(self.pairs) != set(other.pairs):
            raise ValueError(f"only moments of the same pairs merge, got {other.pairs} for {self.pairs}")
        if other._sums:
            self._check_widths({name: len(mean) for name, mean in other._sums.means.items()})
            self._add(other._sums)

    def __getitem__(self, pair: Pair) -> TwoViews:
        a, b = pair
        if self._sums is None:
            raise ValueError(f"no tokens yet to compare {a!r} with {b!r}; update with a block first")
        if pair in self.pairs:
            return self._sums.two_views(a, b)
        if (b, a) in self.pairs:
            return _swapped(self._sums.two_views(b, a))
        raise KeyError(
            f"{a!r} with {b!r} is not among the pairs {self.pairs}; name it when making JointMoments"
        )

    def _add(self, sums: "_Sums") -> None:
        self._sums = self._sums.merged(sums) if self._sums else sums

    def _check_widths(self, widths: dict[str, int]) -> None:
        if self._sums is None:
            return
        for name, mean in self._sums.means.items():
            if widths[name] != len(mean):
                raise ValueError(f"view {name!r} has {len(mean)} units, got {widths[name]}")


@dataclass(frozen=True)
class _Sums:
    """Counts, means and centred products of some tokens; never changed, only merged into new ones.

    Every view carries one column more than it has units: each token's squared distance from the mean,
    itself about its own mean. Fourth moments are then products of columns like any other, and where the
    mean moves, the new squared distances are linear in the old columns.
    """

    count: int
    means: dict[str, Tensor]
    products: dict[Pair, Tensor]

    @classmethod
    def of(cls, chunk: dict[str, Tensor], pairs: tuple[Pair, ...]) -> "_Sums":
        """Sum one chunk, whose values are held in float64 meanwhile."""
        means, columns = {}, {}
        for name, values in chunk.items():
            tokens, units = values.shape
            wide = values.to(torch.float64)
            means[name] = wide.mean(0)
            columns[name] = wide.new_empty(tokens, units + 1)
            centred = torch.sub(wide, means[name], out=columns[name][:, :-1])
            distances = torch.einsum("tu,tu->t", centred, centred)
            torch.sub(distances, distances.mean(), out=columns[name][:, -1])
        return cls(tokens, means, {(a, b): columns[a].T @ columns[b] for a, b in pairs})

    def merged(self, other: "_Sums") -> "_Sums":
        """Add sums: each about the common means, plus what lies between their means (Chan et al. 1979)."""
        count = self.count + other.count
        means = {a: torch.lerp(self.means[a], other.means[a], other.count / count) for a in self.means}
        gaps = {a: other._offset(a, means[a]) - self._offset(a, means[a]) for a in means}
        products = {
            (a, b): (self._about(a, b, means) + other._about(a, b, means)).addr_(
                gaps[a], gaps[b], alpha=self.count * other.count / count
            )
            for a, b in self.products
        }
        return _Sums(count, means, products)

    def two_views(self, a: str, b: str) -> TwoViews:
        """Moments of a pair, on the CPU."""
        return TwoViews(
            self._moments(a), self._moments(b), self.products[a, b][:-1, :-1].cpu(), self._fourth(a, b).item()
        )

    def _moments(self, a: str) -> Moments:
        scatter = self.products[a, a][:-1, :-1].cpu()
        return Moments(self.count, self.means[a].cpu(), scatter, self._fourth(a, a).item())

    def _fourth(self, a: str, b: str) -> Tensor:
        return self.products[a, b][-1, -1] + self.count * self._distance(a) * self._distance(b)

    def _distance(self, a: str) -> Tensor:
        """Mean squared distance from the mean."""
        return self.products[a, a][:-1, :-1].trace() / self.count

    def _offset(self, a: str, origin: Tensor) -> Tensor:
        """Mean of every column, where units and squared distances are taken from another origin."""
        shift = self.means[a] - origin
        return torch.cat([shift, (self._distance(a) + shift @ shift)[None]])

    def _about(self, a: str, b: str, origins: dict[str, Tensor]) -> Tensor:
        """Centred products of a pair, where squared distances are taken from other origins.

        ‖x − origin‖² = ‖x − mean‖² + 2 (mean − origin)·(x − mean) + constant.
        """
        product = self.products[a, b].clone()
        product[-1] += 2 * (self.means[a] - origins[a]) @ product[:-1]
        product[:, -1] += 2 * product[:, :-1] @ (self.means[b] - origins[b])
        return product


def _swapped(views: TwoViews) -> TwoViews:
    return TwoViews(views.y, views.x, views.cross.T, views.fourth)


def aligned(blocks: Mapping[str, Block]) -> dict[str, Tensor]:
    """Return views of the same tokens as tensors.

    Raises
    ------
    ValueError
        If the views differ in their number of tokens, there are none, or a value is not finite.
    """
    tensors = {name: _as_tensor(block) for name, block in blocks.items()}
    counts = {name: len(tensor) for name, tensor in tensors.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"views must show the same tokens, row by row; got {counts} tokens")
    if 0 in counts.values():
        raise ValueError("a block needs at least one token, got none")
    for name, tensor in tensors.items():
        _check_finite(name, tensor)
    return tensors


def _as_tensor(block: Block) -> Tensor:
    if isinstance(block, Tensor):
        return block
    return torch.from_numpy(np.require(block, requirements=["C", "W"]))  # a copy only of memory torch refuses


def _check_finite(name: str, tensor: Tensor) -> None:
    # The sum is a quick screen; it may overflow where every value is finite.
    if not (tensor.sum().isfinite() or tensor.isfinite().all()):
        token, unit = (~tensor.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"view {name!r} has {tensor[token, unit]} at token {token} of the block, unit {unit}; "
            "activations must be finite"
        )
