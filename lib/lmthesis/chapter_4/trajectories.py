"""Chapter 4, second half: what a language model shares with taggers, over training.

The layers of a language model after each epoch are compared with those of taggers that are trained already,
on the same tokens: *e* with *e*, *h1* and *h2* with a tagger's only LSTM layer, *h1* (thesis chapter 4,
figures 8 to 11). The language model and the taggers of one seed are compared with each other.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int32

from lmdynamics.ground.grid import cached
from lmdynamics.ground.progress import Progress
from lmdynamics.measures import similarity
from lmdynamics.measures.moments import JointMoments, Pair
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.observe import activations
from lmthesis.chapter_4 import layers as similarity_study
from lmthesis.chapter_4.taggers import Key, Taggers
from lmthesis.language_models import parallel

BESIDE = {"e": "e", "h1": "h1", "h2": "h1"}
"""The tagger's layer that each layer of a language model is compared with."""
MEASURES = ("svcca", "svcca_singular_values", "pwcca", "cka", "rsa")
"""Columns of a trajectory: SVCCA under both of its rules, PWCCA, linear CKA, RSA. All but the last come from
moments alone, and stand in the tables of `studies.similarity` too."""
RSA_TOKENS = 500
"""Tokens drawn for RSA, which compares each two of them."""


def trajectories(found: Taggers) -> pd.DataFrame:
    """Return how alike language models and taggers are, after each epoch of the language model.

    Returns
    -------
    pandas.DataFrame
        One row per comparison: `task, tagger, labels, seed, epoch, layer`; the `corpus` whose test part both
        read, whether all taggers are compared on it (`shared`), whether the tagger was trained on it
        (`own`); the number of `tokens`; `MEASURES`. Rows with
        the labels `permuted` are what chance gives: the language model's tokens in random order.
        A tagger of other text than the language model's is compared on its own too, and where that has fewer
        tokens, on as many of the language model's (neither `shared` nor `own`).
        `seconds` is what reading the measures took, `svcca_seconds` the first of them alone, and
        `observing_seconds` what running all models of a seed over a text and summing moments took.
    """
    names = [*(run.folder.name for run in found.models.runs), *found.names]
    seeds = [run.settings["seed"] for run in found.models.runs]

    def compute() -> pd.DataFrame:
        grid = product(_readings(found), seeds)
        return pd.concat(parallel(_of_seed, ((found, *each) for each in grid)), ignore_index=True)

    return cached(
        "trajectories", [names, found.models.epochs, found.models.compared_tokens], compute, code=__name__
    )


@dataclass(frozen=True)
class _Reading:
    """Tokens on which language models are compared with some taggers."""

    corpus: str
    ids: Int32[np.ndarray, " tokens"]
    tasks: tuple[str, ...]
    """Whose taggers."""
    shared: bool
    own: bool
    """Whether taggers of a text of their own read that text here."""


def _readings(found: Taggers) -> Iterator[_Reading]:
    ids = found.models.compared(found.shared)
    name = found.shared.corpus.name
    yield _Reading(name, ids, tuple(found.tasks), shared=True, own=False)
    for text in found.texts.values():
        if text is not found.shared:
            names = tuple(task.name for task in found.tasks.values() if task.text is text)
            both = found.models.compared(text), ids
            tokens = min(map(len, both)) // activations.STREAMS * activations.STREAMS
            own, beside = (activations.spread(each, tokens) for each in both)
            yield _Reading(text.corpus.name, own, names, shared=False, own=True)
            if tokens < len(ids):
                yield _Reading(name, beside, names, shared=False, own=False)


class _Comparison(NamedTuple):
    key: Key
    epoch: int
    layer: str
    permuted: bool = False

    @property
    def views(self) -> Pair:
        model = f"{self.layer} at epoch {self.epoch}"
        return f"{model}, permuted" if self.permuted else model, f"{BESIDE[self.layer]} of {self.key}"


@dataclass
class _Seen:
    """What is kept of the layers of several models over a text."""

    moments: JointMoments
    drawn: dict[str, list[torch.Tensor]]
    """Rows of each view for RSA, block by block."""
    seconds: float


def _of_seed(found: Taggers, reading: _Reading, seed: int) -> pd.DataFrame:
    """All comparisons of one seed on some tokens."""
    run, last = found.models.of_seed(seed), found.models.epochs
    keys = [key for key in found.runs if key.seed == seed and key.task in reading.tasks]
    layers = run.model(0).layers
    comparisons = [_Comparison(*each) for each in product(keys, range(last + 1), layers)]
    comparisons += [
        _Comparison(key, last, layer, permuted=True)
        for key, layer in product(keys, layers)
        if key.labels == "true"
    ]
    models = {epoch: run.model(epoch) for epoch in range(last + 1)}
    tagged = {key: found.model(key) for key in keys}
    seen = _seen(models, tagged, reading.ids, comparisons, seed)
    ranks = {view: similarity.ranked_distances(torch.cat(rows)) for view, rows in seen.drawn.items()}
    rows = []
    with Progress(
        f"measuring similarity on {reading.corpus}, seed {seed}", len(comparisons), unit="pairs"
    ) as progress:
        for comparison in comparisons:
            measured = _measured(seen.moments, ranks, comparison)
            about = {
                **comparison.key._asdict(),
                "labels": "permuted" if comparison.permuted else comparison.key.labels,
                "epoch": comparison.epoch,
                "layer": comparison.layer,
                "corpus": reading.corpus,
                "shared": reading.shared,
                "own": reading.own or found.tasks[comparison.key.task].text is found.shared,
                "tokens": seen.moments.count,
            }
            rows.append({**about, **measured, "observing_seconds": seen.seconds})
            progress.advance(1)
    return pd.DataFrame(rows)


def _seen(
    models: dict[int, RecurrentModel],
    tagged: dict[Key, RecurrentModel],
    ids: np.ndarray,
    comparisons: Iterable[_Comparison],
    seed: int,
) -> _Seen:
    """Run all models over a text side by side."""
    begun = time.perf_counter()
    moments = JointMoments(comparison.views for comparison in comparisons)
    seen = _Seen(moments, {view: [] for view in moments.views}, 0.0)
    chosen = np.zeros(len(ids), bool)
    chosen[np.random.default_rng(seed).permutation(len(ids))[:RSA_TOKENS]] = True
    shuffle = torch.Generator().manual_seed(seed)
    every = {f"at epoch {epoch}": model for epoch, model in models.items()}
    every |= {f"of {key}": model for key, model in tagged.items()}
    streams = {which: activations.blocks(model, ids) for which, model in every.items()}
    with Progress(f"running {len(streams)} models, seed {seed}", len(ids)) as progress:
        for blocks in zip(*streams.values(), strict=True):
            tokens = blocks[0].tokens
            views = {
                f"{layer} {which}": rows
                for which, block in zip(streams, blocks, strict=True)
                for layer, rows in block.layers.items()
            }
            order = torch.randperm(len(tokens), generator=shuffle)
            views |= {f"{view}, permuted": rows[order] for view, rows in views.items() if " at " in view}
            here = {view: views[view] for view in moments.views}
            moments.update(here)
            kept = torch.from_numpy(chosen[tokens])
            for view, rows in here.items():
                seen.drawn[view].append(rows[kept])
            progress.advance(len(tokens))
    seen.seconds = time.perf_counter() - begun
    return seen


def _measured(
    moments: JointMoments, ranks: dict[str, np.ndarray], comparison: _Comparison
) -> dict[str, float]:
    begun = time.perf_counter()
    x, y = (ranks[view] for view in comparison.views)
    measures = {**similarity_study.measured(moments[comparison.views]), "rsa": float(np.clip(x @ y, -1, 1))}
    return {**measures, "seconds": time.perf_counter() - begun}
