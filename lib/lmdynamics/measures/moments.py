"""Sums over tokens from which measures are read: updated block by block, merged in any order.

A corpus can be cut anywhere, over blocks, processes or machines, and the result is the same up to rounding.
Memory grows with the widths of the views, never with the tokens. All is summed in float64, each block about
its own mean, and means are kept as they differ from one token: so neither a mean far from zero nor a token
far from all others costs digits, wherever the text is cut.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

Block = Real[Tensor, "_ _"] | Bool[Tensor, "_ _"] | Real[np.ndarray, "_ _"] | Bool[np.ndarray, "_ _"]
"""Activations of one view, tokens × units; row i is the same token in every view. Of any real numbers: those
of no floating type count as float64, and no graph of gradients is kept."""

Pair = tuple[str, str]

ABSENT = 1e-12
"""What float64 products cannot tell from none, as a share: of a unit's mean, its standard deviation."""
_FLOATING = (np.float16, np.float32, np.float64)
"""Of arrays that PyTorch takes as they are."""
_SUMMED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
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
    """

    count: int
    mean: Float[Tensor, " units"]
    scatter: Float[Tensor, "units units"]


@dataclass(frozen=True)
class TwoViews:
    """Moments of two views of the same tokens.

    Attributes
    ----------
    x, y
        Each view's own moments.
    cross
        Sum over tokens of (x − mean x)(y − mean y)ᵀ.
    """

    x: Moments
    y: Moments
    cross: Float[Tensor, "x_units y_units"]

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
    count
        Number of tokens so far.

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
        self.count = 0
        # the first token of each view, from which its mean and those of blocks are counted
        self._origins: dict[str, Tensor] = {}
        self._means: dict[str, Tensor] = {}
        self._products: dict[Pair, Tensor] = {}
        # one object for a view and its tokens so far, so that what is derived of it is derived once
        self._moments: dict[str, Moments] = {}

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
        if not self.count:
            self._begin({name: tensor[0].double() for name, tensor in tensors.items()})
        rows = max(1, _ROOM // sum(widths.values()))
        for part in zip(*(tensor.split(rows) for tensor in tensors.values()), strict=True):
            centred = {name: values - self._origins[name] for name, values in zip(tensors, part, strict=True)}
            means = {name: values.mean(0) for name, values in centred.items()}
            for name, values in centred.items():
                values -= means[name]
            self._join(len(part[0]), means)
            for (a, b), product in self._products.items():
                product.addmm_(centred[a].T, centred[b])

    def merge(self, other: "JointMoments") -> None:
        """Add the tokens that `other` has seen, which keeps its own.

        Raises
        ------
        ValueError
            If `other` compares other pairs, or the same in another order, or its views have other widths.
        """
        if set(self.pairs) != set(other.pairs):
            raise ValueError(f"only moments of the same pairs merge, got {other.pairs} for {self.pairs}")
        if other.count:
            self._check_widths({name: len(mean) for name, mean in other._means.items()})
            if not self.count:
                self._begin(other._origins)
            means = {
                name: mean + (other._origins[name] - self._origins[name])
                for name, mean in other._means.items()
            }
            self._join(other.count, means)
            for pair, product in self._products.items():
                product += other._products[pair]

    def __getitem__(self, pair: Pair) -> TwoViews:
        a, b = pair
        if not self.count:
            raise ValueError(f"no tokens yet to compare {a!r} with {b!r}; update with a block first")
        if pair in self._products:
            cross = self._products[a, b]
        elif (b, a) in self._products:
            cross = self._products[b, a].T
        else:
            raise KeyError(
                f"{a!r} with {b!r} is not among the pairs {self.pairs}; name it when making JointMoments"
            )
        return TwoViews(self._of_view(a), self._of_view(b), _on_cpu(cross))

    def _of_view(self, name: str) -> Moments:
        if name not in self._moments:
            mean, scatter = self._origins[name] + self._means[name], self._products[name, name]
            self._moments[name] = Moments(self.count, _on_cpu(mean), _on_cpu(scatter))
        return self._moments[name]

    def _begin(self, origins: Mapping[str, Float[Tensor, " _"]]) -> None:
        self._origins = {name: origin.clone() for name, origin in origins.items()}
        self._means = {name: torch.zeros_like(origin) for name, origin in origins.items()}
        self._products = {
            (a, b): origins[a].new_zeros(len(origins[a]), len(origins[b])) for a, b in self.pairs
        }

    def _join(self, count: int, means: dict[str, Tensor]) -> None:
        """Move to the mean of these tokens and the others, whose own products are still to be added.

        Products about the common mean are those of both sides about their own means, and what lies between
        these means (Chan et al. 1979).
        """
        total = self.count + count
        gaps = {name: means[name] - mean for name, mean in self._means.items()}
        for (a, b), product in self._products.items():
            product.addr_(gaps[a], gaps[b], alpha=self.count * count / total)
        for name, mean in self._means.items():
            mean.lerp_(means[name], count / total)
        self.count = total
        self._moments.clear()

    def _check_widths(self, widths: dict[str, int]) -> None:
        for name, mean in self._means.items():
            if widths[name] != len(mean):
                raise ValueError(f"view {name!r} has {len(mean)} units, got {widths[name]}")


def aligned(blocks: Mapping[str, Block]) -> dict[str, Tensor]:
    """Return views of the same tokens as tensors of a floating type, without a graph.

    Raises
    ------
    ValueError
        If a view is not tokens × units of real numbers, the views differ in their number of tokens, there are
        none, or a value is not finite.
    """
    tensors = {name: _as_tensor(name, block) for name, block in blocks.items()}
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


def _on_cpu(values: Tensor) -> Tensor:
    """A copy that later tokens do not change."""
    return values.to("cpu", copy=True)


def _as_tensor(name: str, block: Block) -> Tensor:
    if isinstance(block, Tensor):
        tensor = block.detach()
    else:
        array = np.asarray(block)
        if array.dtype.kind not in "biufc":
            raise ValueError(f"a view is of real numbers, got {array.dtype} for {name!r}")
        native = array.dtype.newbyteorder("=")
        dtype = native if native.kind == "c" or native in _FLOATING else np.float64
        # a copy only of memory that torch refuses
        tensor = torch.from_numpy(np.require(array, dtype, ["C", "W"]))
    if tensor.is_complex():
        raise ValueError(f"a view is of real numbers, got {tensor.dtype} for {name!r}; take the parts apart")
    return tensor if tensor.dtype in _SUMMED else tensor.double()


def _check_finite(name: str, tensor: Tensor) -> None:
    # The sum is a quick screen; it may overflow where every value is finite.
    if not (tensor.sum().isfinite() or tensor.isfinite().all()):
        token, unit = (~tensor.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"view {name!r} has {tensor[token, unit]} at token {token} of the block, unit {unit}; "
            "activations must be finite"
        )
