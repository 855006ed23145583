"""Sums over tokens from which measures are read: updated block by block, merged in any order.

A corpus can be cut anywhere, over blocks, processes or machines, and the result is the same up to rounding.
Memory grows with the widths of the views, never with the tokens. All is summed in float64 about the mean so
far, so a mean far from zero costs no digits.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Block = Float[Tensor, "_ _"] | Float[np.ndarray, "_ _"]
"""Activations of one view, tokens × units; row i is the same token in every view."""

Pair = tuple[str, str]

_ROOM = 2**24
"""Values of a block that are held in float64 at once, over all its views: 128 MiB."""
_RENEWED = 2**15
"""Tokens that are summed about one origin; then sums are centred, and the next tokens set another."""


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

    Raises
    ------
    ValueError
        If there are no pairs.

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
        if not asked:
            raise ValueError("JointMoments needs at least one pair of views, got none")
        self.views = tuple(dict.fromkeys(name for pair in asked.values() for name in pair))
        self.pairs = tuple(({frozenset([name]): (name, name) for name in self.views} | asked).values())
        self._centred: _Sums | None = None
        self._latest: _Running | None = None

    @property
    def count(self) -> int:
        """Number of tokens so far."""
        return sum(part.count for part in (self._centred, self._latest) if part)

    @torch.no_grad()
    def update(self, blocks: Mapping[str, Block]) -> None:
        """Add a block of tokens, seen in every view.

        Raises
        ------
        ValueError
            If a view is missing or unknown, the block is empty, a view is not tokens × units, the views
            differ in their number of tokens, a view differs in width from the blocks before, or a value is
            not finite. Nothing is added then.
        """
        if blocks.keys() != set(self.views):
            raise ValueError(f"update needs the views {sorted(self.views)}, got {sorted(blocks)}")
        tensors = aligned(blocks)
        widths = {name: tensor.shape[1] for name, tensor in tensors.items()}
        self._check_widths(widths)
        rows = max(1, _ROOM // sum(widths.values()))
        for part in zip(*(tensor.split(rows) for tensor in tensors.values()), strict=True):
            chunk = dict(zip(tensors, part, strict=True))
            if self._latest is None:
                self._latest = _Running(chunk, self.pairs)
            self._latest.add(chunk)
            if self._latest.count >= _RENEWED:
                self._centre()

    def merge(self, other: "JointMoments") -> None:
        """Add the tokens that `other` has seen, which keeps its own.

        Raises
        ------
        ValueError
            If `other` compares other pairs, or the same in another order, or its views have other widths.
        """
        if set(self.pairs) != set(other.pairs):
            raise ValueError(f"only moments of the same pairs merge, got {other.pairs} for {self.pairs}")
        sums = other._centre()
        if sums:
            self._check_widths({name: len(mean) for name, mean in sums.means.items()})
            own = self._centre()
            self._centred = own.merged(sums) if own else sums

    def __getitem__(self, pair: Pair) -> TwoViews:
        a, b = pair
        sums = self._centre()
        if sums is None:
            raise ValueError(f"no tokens yet to compare {a!r} with {b!r}; update with a block first")
        if pair in self.pairs:
            return sums.two_views(a, b)
        if (b, a) in self.pairs:
            return _swapped(sums.two_views(b, a))
        raise KeyError(
            f"{a!r} with {b!r} is not among the pairs {self.pairs}; name it when making JointMoments"
        )

    def _centre(self) -> "_Sums | None":
        """All sums so far, about the means so far."""
        if self._latest:
            sums, self._latest = self._latest.centred(), None
            self._centred = self._centred.merged(sums) if self._centred else sums
        return self._centred

    def _check_widths(self, widths: dict[str, int]) -> None:
        before = self._latest.origins if self._latest else self._centred.means if self._centred else {}
        for name, vector in before.items():
            if widths[name] != len(vector):
                raise ValueError(f"view {name!r} has {len(vector)} units, got {widths[name]}")


class _Running:
    """Sums of chunks about one origin, added to in place: the mean of the first chunk, so near all others.

    Views stand side by side in one array, those with the same partners together, so that a view times all
    its partners is one product of matrices. Every view has one column more than it has units: see `_Sums`.
    """

    def __init__(self, chunk: dict[str, Tensor], pairs: tuple[Pair, ...]) -> None:
        self.count = 0
        self.origins = {name: values.mean(0, dtype=torch.float64) for name, values in chunk.items()}
        self._pairs = pairs
        partners: dict[str, set[str]] = {name: set() for name in chunk}
        for a, b in pairs:
            partners[a].add(b)
            partners[b].add(a)
        self._places: dict[str, slice] = {}
        width = 0
        for name in sorted(chunk, key=lambda name: (sorted(partners[name] - {name}), name)):
            self._places[name] = slice(width, width + len(self.origins[name]) + 1)
            width = self._places[name].stop
        zeros = next(iter(self.origins.values())).new_zeros
        self._totals, self._distances = zeros(width), zeros(len(chunk))
        self._products = [
            (first, columns, zeros(self._width(first), columns.stop - columns.start))
            for first in chunk
            for columns in self._runs(b for a, b in pairs if a == first)
        ]

    def add(self, chunk: dict[str, Tensor]) -> None:
        """Add one chunk, whose values are held in float64 meanwhile."""
        tokens = len(next(iter(chunk.values())))
        columns = self._totals.new_empty(tokens, len(self._totals))
        for at, (name, values) in enumerate(chunk.items()):
            own = columns[:, self._places[name]]
            shifted = torch.sub(values, self.origins[name], out=own[:, :-1])
            distances = torch.einsum("tu,tu->t", shifted, shifted)
            if not self.count:
                self._distances[at] = distances.mean()
            torch.sub(distances, self._distances[at], out=own[:, -1])
        self._totals += columns.sum(0)
        for first, seconds, products in self._products:
            products.addmm_(columns[:, self._places[first]].T, columns[:, seconds])
        self.count += tokens

    def centred(self) -> "_Sums":
        """The same about the means of all its tokens; these sums are used up."""
        means = self._totals / self.count
        shifts = {name: means[place][:-1] for name, place in self._places.items()}
        found: dict[Pair, Tensor] = {}
        while self._products:
            first, seconds, about = self._products.pop()
            about.addr_(means[self._places[first]], means[seconds], alpha=-self.count)
            for name in (b for a, b in self._pairs if a == first):
                place = self._places[name]
                if seconds.start <= place.start < seconds.stop:
                    part = about[:, place.start - seconds.start : place.stop - seconds.start].clone()
                    # squared distances from the mean, not the origin
                    part[-1] -= 2 * shifts[first] @ part[:-1]
                    part[:, -1] -= 2 * part[:, :-1] @ shifts[name]
                    found[first, name] = part
        return _Sums(
            self.count,
            {name: origin + shifts[name] for name, origin in self.origins.items()},
            {pair: found[pair] for pair in self._pairs},
        )

    def _width(self, name: str) -> int:
        return self._places[name].stop - self._places[name].start

    def _runs(self, names: Iterable[str]) -> list[slice]:
        """The columns of some views, as few slices as they make."""
        runs: list[slice] = []
        for place in sorted((self._places[name] for name in names), key=lambda place: place.start):
            if runs and runs[-1].stop == place.start:
                runs[-1] = slice(runs[-1].start, place.stop)
            else:
                runs.append(place)
        return runs


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
    made: dict[str, Moments] = field(default_factory=dict)
    """Moments of each view that was asked for: one object, so that what is derived of it is derived once."""

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
        if a not in self.made:
            scatter = self.products[a, a][:-1, :-1].cpu()
            fourth = self._fourth(a, a).item()
            self.made[a] = Moments(self.count, self.means[a].cpu(), scatter, fourth)
        return self.made[a]

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
        If a view is not tokens × units, the views differ in their number of tokens, there are none, or a
        value is not finite.
    """
    tensors = {name: _as_tensor(block) for name, block in blocks.items()}
    for name, tensor in tensors.items():
        if tensor.dim() != 2 or not tensor.shape[1]:
            raise ValueError(f"a view is tokens × units, got {tuple(tensor.shape)} for {name!r}")
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
