"""Chapter 4, second half: what a language model shares with taggers, over training.

The layers of a language model after each epoch are compared with those of taggers that are trained already,
on the same tokens: *e* with *e*, *h1* and *h2* with a tagger's only LSTM layer, *h1* (thesis chapter 4,
figures 8 to 11). The language model and the taggers of one seed are compared with each other.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int

from lmdynamics.ground import grid
from lmdynamics.ground.progress import Progress
from lmdynamics.measures import similarity
from lmdynamics.measures.moments import JointMoments, Pair
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.runs import Run
from lmdynamics.observe import activations
from lmthesis import language_models
from lmthesis.chapter_4 import layers
from lmthesis.chapter_4.taggers import Key, Taggers

BESIDE = {"e": "e", "h1": "h1", "h2": "h1"}
"""The tagger's layer that each layer of a language model is compared with."""
MEASURES = (*layers.MEASURES, "rsa")
"""Columns of a trajectory; all but RSA come from moments alone, and stand in the tables of `layers` too."""
RSA_TOKENS = 500
"""Tokens drawn for RSA, which compares each two of them."""


class Reading(NamedTuple):
    """Tokens on which language models are compared with some taggers."""

    corpus: str
    """Its name."""
    ids: Int[np.ndarray, " tokens"]
    tasks: tuple[str, ...]
    """Whose taggers."""
    own: tuple[str, ...]
    """Those among them whose taggers were trained on this corpus."""
    shared: bool
    """Whether all taggers are compared on these tokens."""


class Trained(NamedTuple):
    """A run up to an epoch; on disk it may hold more."""

    run: Run
    epochs: int


def trajectory_table(taggers: Taggers, compared_tokens: int | None) -> pd.DataFrame:
    """Return how alike language models and taggers are, after each epoch of the language model.

    Parameters
    ----------
    taggers
        Taggers, and language models.
    compared_tokens
        Spread over each test part, on which they are compared; None for all.

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
    models = taggers.models
    jobs = []
    for reading, run in product(_readings(taggers, compared_tokens), models.runs):
        beside = {
            key: Trained(tagger, taggers.epochs[key.task])
            for key, tagger in taggers.runs.items()
            if key.seed == run.settings["seed"] and key.task in reading.tasks
        }
        jobs.append((Trained(run, models.epochs), beside, reading))
    return grid.table(trajectories, jobs)


def early_table(taggers: Taggers, compared_tokens: int | None) -> pd.DataFrame:
    """Return how alike language models and output taggers are within the first epoch.

    Returns
    -------
    pandas.DataFrame
        Rows as in `trajectory_table`, of output taggers with true labels on the tokens that are shared, with
        `steps` and `tokens_read`.
    """
    models, jobs = taggers.models, []
    reading = next(_readings(taggers, compared_tokens))
    for run in models.runs:
        beside = {
            key: Trained(tagger, taggers.epochs[key.task])
            for key, tagger in taggers.runs.items()
            if key[1:] == ("output", "true", run.settings["seed"])
        }
        jobs.append((run, beside, reading))
    return grid.table(early_trajectories, jobs)


def _readings(taggers: Taggers, compared_tokens: int | None) -> Iterator[Reading]:
    shared = taggers.shared
    ids, name = activations.spread(shared.test.ids, compared_tokens), shared.corpus.name
    on_shared = tuple(task.name for task in taggers.tasks.values() if task.text is shared)
    yield Reading(name, ids, tuple(taggers.tasks), on_shared, shared=True)
    for text in taggers.texts.values():
        if text is not shared:
            names = tuple(task.name for task in taggers.tasks.values() if task.text is text)
            both = activations.spread(text.test.ids, compared_tokens), ids
            tokens = min(map(len, both)) // activations.STREAMS * activations.STREAMS
            own, beside = (activations.spread(each, tokens) for each in both)
            yield Reading(text.corpus.name, own, names, names, shared=False)
            if tokens < len(ids):
                yield Reading(name, beside, names, (), shared=False)


class _Comparison(NamedTuple):
    key: Key
    epoch: float | int
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


def trajectories(language_model: Trained, taggers: Mapping[Key, Trained], reading: Reading) -> pd.DataFrame:
    """Return how alike one language model is to the taggers of its seed: rows of `trajectory_table`.

    Parameters
    ----------
    language_model
        From epoch 0 on.
    taggers
        As they are at their end.
    reading
        The tokens that all of them read.
    """
    run, last = language_model
    names = run.model(0).layers
    comparisons = [_Comparison(*each) for each in product(taggers, range(last + 1), names)]
    comparisons += [
        _Comparison(key, last, layer, permuted=True)
        for key, layer in product(taggers, names)
        if key.labels == "true"
    ]
    models: dict[float | int, RecurrentModel] = {epoch: run.model(epoch) for epoch in range(last + 1)}
    return _compared(models, taggers, reading, comparisons, run.settings["seed"])


def early_trajectories(run: Run, taggers: Mapping[Key, Trained], reading: Reading) -> pd.DataFrame:
    """Return how alike one language model is to taggers at its snapshots: rows of `early_table`.

    Parameters
    ----------
    run
        The language model.
    taggers
        As they are at their end.
    reading
        The tokens that all of them read.
    """
    moments = language_models.early(run)
    if not moments:
        return pd.DataFrame(columns=["seed", "epoch", "steps", "tokens_read", "layer", *MEASURES])
    models = {moment.epoch: run.at(moment) for moment in moments}
    comparisons = [_Comparison(*each) for each in product(taggers, models, run.model(0).layers)]
    table = _compared(models, taggers, reading, comparisons, run.settings["seed"])
    return table.merge(
        pd.DataFrame([language_models.about(run, moment) for moment in moments]), on=["seed", "epoch"]
    )


def _compared(
    models: dict[float | int, RecurrentModel],
    taggers: Mapping[Key, Trained],
    reading: Reading,
    comparisons: list[_Comparison],
    seed: int,
) -> pd.DataFrame:
    """Run all models over a text and measure each comparison."""
    trained = {key: tagger.run.model(tagger.epochs) for key, tagger in taggers.items()}
    seen = _seen(models, trained, reading.ids, comparisons, seed)
    ranks = {view: similarity.ranked_distances(torch.cat(rows)) for view, rows in seen.drawn.items()}
    rows = []
    with Progress(
        f"measuring similarity on {reading.corpus}, seed {seed}", len(comparisons), unit="pairs"
    ) as progress:
        for comparison in comparisons:
            key = comparison.key
            about = {
                **key._asdict(),
                "labels": "permuted" if comparison.permuted else key.labels,
                "epoch": comparison.epoch,
                "layer": comparison.layer,
                "corpus": reading.corpus,
                "shared": reading.shared,
                "own": key.task in reading.own,
                "tokens": seen.moments.count,
            }
            rows.append(about | _similarities(seen, ranks, comparison))
            progress.advance(1)
    return pd.DataFrame(rows)


def _seen(
    models: dict[float | int, RecurrentModel],
    taggers: dict[Key, RecurrentModel],
    ids: Int[np.ndarray, " tokens"],
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
    every |= {f"of {key}": model for key, model in taggers.items()}
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


def _similarities(seen: _Seen, ranks: Mapping[str, np.ndarray], comparison: _Comparison) -> dict[str, float]:
    """`MEASURES` of a comparison, and seconds."""
    begun = time.perf_counter()
    x, y = (ranks[view] for view in comparison.views)
    of_moments = layers.similarities(seen.moments[comparison.views])
    return {
        **of_moments,
        "rsa": float(np.clip(x @ y, -1, 1)),
        "seconds": time.perf_counter() - begun,
        "observing_seconds": seen.seconds,
    }
