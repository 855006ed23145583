"""SVCCA of 191,000 tokens in two layers of 200: time beside its matrix product, memory beside the tokens."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks._timing import Row, peak_memory, row, seconds
from lmdynamics.measures.moments import JointMoments
from lmdynamics.measures.similarity import svcca


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is compared, and how often."""

    tokens: int = 191_000
    units: int = 200  # of each layer
    block: int = 8_192  # tokens that are summed at once
    few: int = 50_000  # tokens of the memory that others are set beside
    many: tuple[int, ...] = (191_000, 800_000)
    repeats: int = 11
    processes: int = 3  # for each peak of memory


FULL = Size()
TINY = Size(tokens=2_000, units=8, block=300, few=500, many=(2_000,), repeats=1, processes=1)


def made(tokens: int, units: int, block: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of two float32 layers with a common cause, their units of unequal variance."""
    generator = torch.Generator().manual_seed(0)
    mix_x, mix_y = torch.randn(2, units, units, generator=generator) * torch.logspace(0, -2, units)[:, None]
    for start in range(0, tokens, block):
        cause, noise = torch.randn(2, min(block, tokens - start), units, generator=generator)
        yield cause @ mix_x, (cause + 0.5 * noise) @ mix_y


def streamed(blocks: Iterator[tuple[Tensor, Tensor]]) -> float:
    """Sum the blocks as they come, then compare."""
    moments = JointMoments([("x", "y")])
    for x, y in blocks:
        moments.update({"x": x, "y": y})
    return svcca(moments["x", "y"])


def usual_recipe(x: np.ndarray, y: np.ndarray) -> float:
    """Centre, decompose and truncate each layer, orthonormalise what is kept, compare."""
    kept = []
    for view in (x, y):
        u, s, _ = np.linalg.svd(view - view.mean(0), full_matrices=False)
        directions = np.searchsorted(np.cumsum(s**2) / np.sum(s**2), 0.99) + 1
        kept.append(np.linalg.qr(u[:, :directions] * s[:directions])[0])
    return np.linalg.svd(kept[0].T @ kept[1], compute_uv=False).mean()


def rows(size: Size = FULL) -> Iterator[Row]:
    """Measure; about a minute on a machine that does nothing else."""
    blocks = made(size.tokens, size.units, size.block)
    x, y = (torch.cat(each) for each in zip(*blocks, strict=True))
    both = torch.cat([x, y], 1).double()

    def ours() -> float:
        return streamed(zip(x.split(size.block), y.split(size.block), strict=True))

    values: list[float] = []
    slow = seconds(lambda: values.append(usual_recipe(x.numpy(), y.numpy())))
    fast = min(seconds(lambda: values.append(ours())) for _ in range(2))
    if np.ptp(values) > 1e-3:
        raise RuntimeError(f"the contenders do not compute the same number: {values}")
    label = f"SVCCA of {size.tokens:,} x {size.units}, against "
    yield row(
        label + "its float64 product (torch)",
        ours,
        lambda: both.T @ both,
        repeats=size.repeats,
        target="<= 3",
    )
    # NumPy computes one triangle of a matrix times its own transpose: half of the operations
    yield row(
        label + "one triangle of it (NumPy)",
        ours,
        lambda: both.numpy().T @ both.numpy(),
        repeats=size.repeats,
        target="<= 3",
    )
    yield Row(label + "the usual NumPy recipe, once", fast, slow, fast / slow, "s", "")
    few = peak(size.few, size)
    for tokens in size.many:
        more = peak(tokens, size)
        name = f"peak memory at {tokens:,} tokens, against {size.few:,}"
        yield Row(name, more, few, more / few, "MiB", "<= 1.2")


def peak(tokens: int, size: Size) -> float:
    """Largest memory, in MiB, of a comparison of so many tokens."""
    return peak_memory(
        "from benchmarks.similarity import made, streamed",
        f"streamed(made({tokens}, {size.units}, {size.block}))",
        processes=size.processes,
    )
