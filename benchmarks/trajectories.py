"""All comparisons of a chapter at once: checkpoints of a language model beside taggers, on the same tokens.

Each view stands in many comparisons, and is summed and decomposed once. The alternatives take each pair of
arrays anew; they are timed on some pairs and scaled up to all.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks._timing import Row, row
from benchmarks.similarity import usual_recipe
from lmdynamics.measures.moments import JointMoments
from lmdynamics.measures.similarity import svcca


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is compared, and how often."""

    tokens: int = 20_000
    units: int = 200
    block: int = 2_000  # tokens that are summed at once
    checkpoints: int = 9
    taggers: int = 20
    tried: int = 6  # pairs that the alternatives are timed on
    repeats: int = 3


FULL = Size()
TINY = Size(tokens=1_000, units=8, block=300, checkpoints=2, taggers=3, tried=2, repeats=1)


def rows(size: Size = FULL) -> Iterator[Row]:
    """Measure; about a minute on a machine that does nothing else."""
    generator = torch.Generator().manual_seed(0)
    cause = torch.randn(size.tokens, size.units, generator=generator)
    mixes = torch.logspace(0, -2, size.units)[:, None]
    views = {
        name: (cause + 0.5 * torch.randn(size.tokens, size.units, generator=generator))
        @ (torch.randn(size.units, size.units, generator=generator) * mixes)
        for name in (
            *(f"epoch {n}" for n in range(size.checkpoints)),
            *(f"tagger {n}" for n in range(size.taggers)),
        )
    }
    names = list(views)
    pairs = list(itertools.product(names[: size.checkpoints], names[size.checkpoints :]))
    tried = pairs[: size.tried]

    def ours() -> list[float]:
        moments = JointMoments(pairs)
        for start in range(0, size.tokens, size.block):
            moments.update({name: view[start : start + size.block] for name, view in views.items()})
        return [svcca(moments[pair]) for pair in pairs]

    def anew() -> list[float]:
        return [usual_recipe(views[a].numpy(), views[b].numpy()) for a, b in tried]

    def own_anew() -> list[float]:
        return [svcca(views[a], views[b]) for a, b in tried]

    wide = {name: view.double() for name, view in views.items()}

    def products() -> None:
        for a, b in itertools.chain(pairs, zip(names, names, strict=True)):
            torch.mm(wide[a].T, wide[b])

    if np.ptp([ours()[: len(tried)], anew(), own_anew()], axis=0).max() > 1e-3:
        raise RuntimeError("the contenders do not compute the same numbers")
    label = f"SVCCA of {size.checkpoints} x {size.taggers} pairs, {size.tokens:,} x {size.units}, against "
    for what, alternative, target in (
        ("the usual recipe on each pair", anew, "<= 0.1"),
        ("svcca(x, y) on each pair", own_anew, ""),
    ):
        share = len(tried) / len(pairs)
        yield row(label + what, ours, alternative, repeats=size.repeats, share=share, target=target)
    yield row(label + "its float64 products (torch)", ours, products, repeats=size.repeats)
