"""All comparisons of a chapter at once: checkpoints of a language model beside taggers, on the same tokens.

Each view stands in many comparisons, and is summed and decomposed once. The alternatives take each pair of
arrays anew; they are timed on some pairs and scaled up to all.
"""

import itertools

import numpy as np
import torch

from benchmarks.similarity import usual_recipe
from benchmarks.timing import Row, row, seconds
from lmdynamics.measures.moments import JointMoments
from lmdynamics.measures.similarity import svcca

TOKENS, UNITS, BLOCK = 20_000, 200, 2_000
CHECKPOINTS, TAGGERS = 9, 20
TRIED = 6  # pairs that the alternatives are timed on


def rows() -> list[Row]:
    """Measure; about a minute on a machine that does nothing else."""
    generator = torch.Generator().manual_seed(0)
    cause = torch.randn(TOKENS, UNITS, generator=generator)
    mixes = torch.logspace(0, -2, UNITS)[:, None]
    views = {
        name: (cause + 0.5 * torch.randn(TOKENS, UNITS, generator=generator))
        @ (torch.randn(UNITS, UNITS, generator=generator) * mixes)
        for name in (*(f"epoch {n}" for n in range(CHECKPOINTS)), *(f"tagger {n}" for n in range(TAGGERS)))
    }
    names = list(views)
    pairs = list(itertools.product(names[:CHECKPOINTS], names[CHECKPOINTS:]))
    scale = len(pairs) / TRIED

    def ours() -> list[float]:
        moments = JointMoments(pairs)
        for start in range(0, TOKENS, BLOCK):
            moments.update({name: view[start : start + BLOCK] for name, view in views.items()})
        return [svcca(moments[pair]) for pair in pairs]

    def anew() -> list[float]:
        return [usual_recipe(views[a].numpy(), views[b].numpy()) for a, b in pairs[:TRIED]]

    def own_anew() -> list[float]:
        return [svcca(views[a], views[b]) for a, b in pairs[:TRIED]]

    wide = {name: view.double() for name, view in views.items()}

    def products() -> None:
        for a, b in itertools.chain(pairs, zip(names, names, strict=True)):
            torch.mm(wide[a].T, wide[b])

    if np.ptp([ours()[:TRIED], anew(), own_anew()], axis=0).max() > 1e-3:
        raise RuntimeError("the contenders do not compute the same numbers")
    fast = min(seconds(ours) for _ in range(3))
    recipe, own = (scale * min(seconds(each) for _ in range(2)) for each in (anew, own_anew))
    label = f"SVCCA of {CHECKPOINTS} x {TAGGERS} pairs, {TOKENS:,} x {UNITS}, against "
    return [
        Row(label + "the usual recipe on each pair", fast, recipe, fast / recipe, "s", "<= 0.1"),
        Row(label + "svcca(x, y) on each pair", fast, own, fast / own, "s", ""),
        row(label + "its float64 products (torch)", ours, products, repeats=3),
    ]


if __name__ == "__main__":
    for measured in rows():
        print(measured)
