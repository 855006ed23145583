"""Chapter 4, first half: how alike the layers of language models are, over training, seeds and layers.

A layer at an epoch is compared with

- `final`: the same layer of the same model after the last epoch (thesis figure 3);
- `other seed`: the same layer of a model from another seed, after the last epoch (figure 4);
- `other layer`: another layer of the same model at the same epoch (figure 5);
- `other epoch`: the same layer of the same model at each other epoch;
- `permuted`: the rows of its own final state in random order: what chance gives.

All are measured on the same tokens of a test part, from moments that are summed in one pass over them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int

from lmdynamics.ground import grid
from lmdynamics.ground.progress import Progress
from lmdynamics.measures import similarity
from lmdynamics.measures.moments import JointMoments, TwoViews
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.runs import Run
from lmdynamics.observe import activations
from lmthesis import language_models
from lmthesis.language_models import LanguageModels

View = tuple[int, float | int, str]
"""Seed, epoch and layer."""
Models = dict[tuple[int, float | int], RecurrentModel]
"""By seed and epoch."""
OTHER_SEED = "other seed"
"""The comparison of two models; all others are of one."""
MEASURES: dict[str, Callable[[TwoViews], float]] = {
    "svcca": similarity.svcca,
    "svcca_singular_values": partial(similarity.svcca, rule="singular_values"),
    "pwcca": similarity.pwcca,
    "cka": similarity.cka,
}
"""What is read from the moments of two views, by column; the chapter's own first."""
COLUMNS = (
    "comparison", "seed", "epoch", "layer", "other_seed", "other_epoch", "other_layer", "tokens", *MEASURES,
    "directions", "svcca_seconds", "seconds", "observing_seconds",
)  # fmt: skip
"""Of the tables of this module."""


def similarity_table(models: LanguageModels, ids: Int[np.ndarray, " tokens"]) -> pd.DataFrame:
    """Return how alike both sides are of all comparisons that the chapter draws.

    Parameters
    ----------
    models
        The language models.
    ids
        Tokens on which they are compared.

    Returns
    -------
    pandas.DataFrame
        One row per comparison: `comparison` (see the module), `seed, epoch, layer`, the other side as
        `other_seed, other_epoch, other_layer`, `tokens` that were compared, and what `similarities` returns;
        `observing_seconds` that it took to run the models of one seed, or of two for `other seed`, and to sum
        moments.
    """
    of_models = grid.table(within_model, [(run, models.epochs, ids) for run in models.runs])
    of_pairs = pair_table(models, ids)
    return pd.concat([of_models, of_pairs], ignore_index=True) if len(of_pairs) else of_models


def early_table(models: LanguageModels, ids: Int[np.ndarray, " tokens"]) -> pd.DataFrame:
    """Return how alike layers are within the first epoch: with their final state, by chance, with each other.

    Returns
    -------
    pandas.DataFrame
        Rows as in `similarity_table`, of the comparisons `final`, `permuted` and `other layer`, with `steps`
        and `tokens_read`.
    """
    return grid.table(within_first_epoch, [(run, models.epochs, ids) for run in models.runs])


def within_first_epoch(run: Run, last: int, ids: Int[np.ndarray, " tokens"]) -> pd.DataFrame:
    """Return how alike layers of one model are at its snapshots: rows of `early_table`.

    Parameters
    ----------
    run, last
        The model, and the epoch of its final state.
    ids
        Tokens on which it is compared with itself.
    """
    seed, moments = run.settings["seed"], language_models.early(run)
    if not moments:
        return pd.DataFrame(columns=[*COLUMNS, "steps", "tokens_read"])
    loaded: Models = {(seed, moment.epoch): run.at(moment) for moment in moments}
    loaded[seed, last] = run.model(last)
    comparisons: list[tuple[str, View, View]] = []
    for moment in moments:
        here = {layer: (seed, moment.epoch, layer) for layer in loaded[seed, last].layers}
        for layer, view in here.items():
            comparisons += [(kind, view, (seed, last, layer)) for kind in ("final", "permuted")]
        comparisons += [("other layer", here[a], here[b]) for a, b in combinations(here, 2)]
    table = _compared(
        loaded, comparisons, ids, seed=seed, about=f"layers within the first epoch, seed {seed}"
    )
    moment_table = pd.DataFrame([language_models.about(run, moment) for moment in moments])
    return table.merge(moment_table, on=["seed", "epoch"])


def pair_table(models: LanguageModels, ids: Int[np.ndarray, " tokens"]) -> pd.DataFrame:
    """Return the rows of `similarity_table` that compare models of two seeds."""
    return _between(models, range(models.epochs + 1), ids)


def ceiling_table(models: LanguageModels, ids: Int[np.ndarray, " tokens"]) -> pd.DataFrame:
    """Return how alike each layer is in models of two seeds after their last epoch, on any tokens.

    Returns
    -------
    pandas.DataFrame
        Rows as in `similarity_table`, of the comparison `other seed`; none where there is one seed.
    """
    return _between(models, [models.epochs], ids)


def _between(models: LanguageModels, epochs: Sequence[int], ids: Int[np.ndarray, " tokens"]) -> pd.DataFrame:
    """Rows of the comparison `other seed`, of all pairs of models."""
    by_seed = sorted(models.runs, key=lambda run: int(run.settings["seed"]))  # a pair is one job in any order
    jobs = [(*pair, tuple(epochs), models.epochs, ids) for pair in combinations(by_seed, 2)]
    return grid.table(between_models, jobs) if jobs else pd.DataFrame(columns=COLUMNS)


def within_model(run: Run, last: int, ids: Int[np.ndarray, " tokens"]) -> pd.DataFrame:
    """Return how alike layers and epochs of one model are: rows of `similarity_table`.

    Parameters
    ----------
    run, last
        The model, from epoch 0 to this one.
    ids
        Tokens on which it is compared with itself.
    """
    seed = run.settings["seed"]
    loaded: Models = {(seed, epoch): run.model(epoch) for epoch in range(last + 1)}
    comparisons = list(_within(seed, last, loaded[seed, last].layers))
    return _compared(loaded, comparisons, ids, seed=seed, about=f"comparing layers, seed {seed}")


def between_models(
    one: Run, other: Run, epochs: tuple[int, ...], last: int, ids: Int[np.ndarray, " tokens"]
) -> pd.DataFrame:
    """Return how alike each layer is in two models: rows of `similarity_table`, in both directions.

    Parameters
    ----------
    one, other
        The models.
    epochs
        Of either, which are compared
    last
        with the other one after this epoch.
    ids
        Tokens on which they are compared.
    """
    runs = {run.settings["seed"]: run for run in (one, other)}
    needed = sorted({*epochs, last})
    loaded: Models = {(seed, epoch): run.model(epoch) for seed, run in runs.items() for epoch in needed}
    seeds = tuple(runs)
    comparisons = [
        (OTHER_SEED, (here, epoch, layer), (there, last, layer))
        for here, there in (seeds, seeds[::-1])
        for layer in loaded[here, last].layers
        for epoch in epochs
    ]
    about = f"comparing layers, seeds {seeds[0]} and {seeds[1]}"
    return _compared(loaded, comparisons, ids, seed=seeds[0], about=about)


def similarities(views: TwoViews) -> dict[str, float]:
    """What moments tell of two views.

    Returns
    -------
    dict[str, float]
        Each of `MEASURES`, in [0, 1]; `directions`: those that SVCCA averages over; `svcca_seconds` that
        reading the first took, and `seconds` for all.
    """
    begun, seconds, values = time.perf_counter(), {}, {}
    for name, measure in MEASURES.items():
        values[name] = measure(views)
        seconds[name] = time.perf_counter() - begun
    values["directions"] = min(similarity.directions(views))
    return {**values, "svcca_seconds": seconds["svcca"], "seconds": time.perf_counter() - begun}


def _within(seed: int, last: int, layers: Sequence[str]) -> Iterator[tuple[str, View, View]]:
    epochs = range(last + 1)
    for layer in layers:
        for epoch in epochs:
            here, final = (seed, epoch, layer), (seed, last, layer)
            yield "final", here, final
            yield "permuted", here, final
        yield from (
            ("other epoch", (seed, a, layer), (seed, b, layer)) for a in epochs for b in epochs if a != b
        )
    for a, b in combinations(layers, 2):
        yield from (("other layer", (seed, epoch, a), (seed, epoch, b)) for epoch in epochs)


def _compared(
    models: Models,
    comparisons: Sequence[tuple[str, View, View]],
    ids: Int[np.ndarray, " tokens"],
    *,
    seed: int,
    about: str,
) -> pd.DataFrame:
    """Run models, by seed and epoch, side by side over a text, and measure each comparison."""
    begun = time.perf_counter()
    moments = JointMoments(_pair(a, b, kind) for kind, a, b in comparisons)
    shuffled = {_name(b) for kind, _, b in comparisons if kind == "permuted"}
    shuffle = torch.Generator().manual_seed(seed)
    streams = {key: activations.blocks(model, ids) for key, model in models.items()}
    with Progress(about, len(ids)) as progress:
        for blocks in zip(*streams.values(), strict=True):
            views = {
                _name((*key, layer)): rows
                for key, block in zip(streams, blocks, strict=True)
                for layer, rows in block.layers.items()
            }
            order = torch.randperm(len(blocks[0].tokens), generator=shuffle)
            views |= {_permuted(name): views[name][order] for name in shuffled}
            moments.update({name: views[name] for name in moments.views})
            progress.advance(len(order))
    observing = time.perf_counter() - begun
    rows = pd.DataFrame([_row(kind, a, b, moments) for kind, a, b in comparisons])
    return rows.assign(observing_seconds=observing)


def _row(kind: str, a: View, b: View, moments: JointMoments) -> dict[str, object]:
    views = moments[_pair(a, b, kind)]
    return {
        "comparison": kind,
        **dict(zip(("seed", "epoch", "layer"), a, strict=True)),
        **dict(zip(("other_seed", "other_epoch", "other_layer"), b, strict=True)),
        "tokens": views.count,
        **similarities(views),
    }


def _name(view: View) -> str:
    seed, epoch, layer = view
    return f"{layer} of seed {seed} at epoch {epoch}"


def _permuted(name: str) -> str:
    return f"{name}, permuted"


def _pair(a: View, b: View, kind: str) -> tuple[str, str]:
    return _name(a), _permuted(_name(b)) if kind == "permuted" else _name(b)
