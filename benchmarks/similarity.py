"""SVCCA of 191,000 tokens in two layers of 200: time beside its matrix product, memory beside the tokens."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from benchmarks.timing import Row, peak_memory, row, seconds
from lmdynamics.measures.moments import JointMoments
from lmdynamics.measures.similarity import svcca

TOKENS, UNITS, BLOCK = 191_000, 200, 8_192


def made(tokens: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of two float32 layers with a common cause, their units of unequal variance."""
    generator = torch.Generator().manual_seed(0)
    mix_x, mix_y = torch.randn(2, UNITS, UNITS, generator=generator) * torch.logspace(0, -2, UNITS)[:, None]
    for start in range(0, tokens, BLOCK):
        cause, noise = torch.randn(2, min(BLOCK, tokens - start), UNITS, generator=generator)
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


def rows() -> list[Row]:
    """Measure; about a minute on a machine that does nothing else."""
    x, y = (torch.cat(blocks) for blocks in zip(*made(TOKENS), strict=True))
    both = torch.cat([x, y], 1).double()

    def ours() -> float:
        return streamed(zip(x.split(BLOCK), y.split(BLOCK), strict=True))

    values: list[float] = []
    slow = seconds(lambda: values.append(usual_recipe(x.numpy(), y.numpy())))
    fast = min(seconds(lambda: values.append(ours())) for _ in range(2))
    if np.ptp(values) > 1e-3:
        raise RuntimeError(f"the contenders do not compute the same number: {values}")
    label = f"SVCCA of {TOKENS:,} x {UNITS}, against "
    few, some, many = (
        peak_memory("from benchmarks.similarity import made, streamed", f"streamed(made({tokens}))")
        for tokens in (50_000, TOKENS, 800_000)
    )
    return [
        row(label + "its float64 product (torch)", ours, lambda: both.T @ both, repeats=11, target="<= 3"),
        # NumPy computes one triangle of a matrix times its own transpose: half of the operations
        row(
            label + "one triangle of it (NumPy)",
            ours,
            lambda: both.numpy().T @ both.numpy(),
            repeats=11,
            target="<= 3",
        ),
        Row(label + "the usual NumPy recipe, once", fast, slow, fast / slow, "s", ""),
        Row(f"peak memory at {TOKENS:,} tokens, against 50,000", some, few, some / few, "MiB", "<= 1.2"),
        Row("peak memory at 800,000 tokens, against 50,000", many, few, many / few, "MiB", "<= 1.2"),
    ]


if __name__ == "__main__":
    for measured in rows():
        print(measured)
