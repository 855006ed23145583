"""Chapter 4: how alike the layers of language models are, over training, between seeds and between layers.

Two tables come out of `study`. `losses` has one row per seed and epoch. `similarities` has one row per seed,
epoch and comparison: a layer at an epoch beside

- `final`: the same layer of the same model after the last epoch (thesis figure 3);
- `other seed`: the same layer of a model from another seed, after the last epoch (figure 4);
- `other layer`: another layer of the same model at the same epoch (figure 5);
- `other epoch`: the same layer of the same model at each other epoch;
- `permuted`: the rows of its own final state in random order: what chance gives.

All are measured on the same tokens of the test part, from moments that are summed in one pass over them.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int32

from lmdynamics.ground.grid import cached
from lmdynamics.ground.progress import Progress
from lmdynamics.measures import similarity
from lmdynamics.measures.moments import JointMoments, TwoViews
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.observe import activations
from lmdynamics.text.vocabulary import PreparedText
from lmthesis.language_models import LanguageModels, parallel, trained
from lmthesis.scales import Scale

View = tuple[int, int, str]
"""Seed, epoch and layer."""


def study(scale: Scale) -> dict[str, pd.DataFrame]:
    """Train the language models of a scale and return the tables by name: `losses` and `similarities`."""
    models = trained(scale)
    return {"losses": losses(models), "similarities": similarities(models)}


def losses(models: LanguageModels) -> pd.DataFrame:
    """Return the losses of each seed after each epoch.

    Returns
    -------
    pandas.DataFrame
        One row per seed and epoch: `seed, epoch, steps, learning_rate, rescaled, train_loss, dev_loss,
        test_loss` (nats per token) and `test_perplexity`.
    """
    logs = pd.concat([run.log for run in models.runs], ignore_index=True)
    logs = logs[logs["epoch"] <= models.epochs].drop(columns="seconds")
    return logs.assign(test_perplexity=np.exp(logs["test_loss"])).reset_index(drop=True)


def similarities(models: LanguageModels) -> pd.DataFrame:
    """Return how alike both sides are of all comparisons that the chapter draws.

    Returns
    -------
    pandas.DataFrame
        One row per comparison: `comparison` (see the module), `seed, epoch, layer`, the other side as
        `other_seed, other_epoch, other_layer`, `tokens` that were compared, and what `measured` returns;
        `observing_seconds` that running all models of the seed and summing moments took.
    """
    names = [run.folder.name for run in models.runs]

    def compute() -> pd.DataFrame:
        seeds = range(len(models.runs))
        return pd.concat(parallel(_of_seed, ((models, seed) for seed in seeds)), ignore_index=True)

    return cached("similarities", [names, models.epochs, models.compared_tokens], compute, code=__name__)


def ceiling(models: LanguageModels, text: PreparedText) -> pd.DataFrame:
    """Return how alike each layer is in models of two seeds after their last epoch, on any text's test part.

    Returns
    -------
    pandas.DataFrame
        Rows as in `similarities`, of the comparison `other seed`.
    """
    names = [run.folder.name for run in models.runs]
    about = [names, models.epochs, models.compared_tokens, text.fingerprint]
    return cached("ceiling", about, lambda: _between_seeds(models, text), code=__name__)


def measured(views: TwoViews) -> dict[str, float]:
    """What moments tell of two views.

    Returns
    -------
    dict[str, float]
        `svcca, svcca_singular_values` (SVCCA by its other rule), `pwcca, cka` in [0, 1]; `directions`: those
        that SVCCA averages over; `svcca_seconds` that reading the first took, and `seconds` for all.
    """
    begun = time.perf_counter()
    svcca = similarity.svcca(views)
    first = time.perf_counter() - begun
    measures = {
        "svcca": svcca,
        "svcca_singular_values": similarity.svcca(views, rule="singular_values"),
        "pwcca": similarity.pwcca(views),
        "cka": similarity.cka(views),
        "directions": min(similarity.directions(views)),
    }
    return {**measures, "svcca_seconds": first, "seconds": time.perf_counter() - begun}


def _of_seed(models: LanguageModels, index: int) -> pd.DataFrame:
    """All comparisons in which one seed's model is looked at over its epochs."""
    run, last = models.runs[index], models.epochs
    seed = run.settings["seed"]
    others = {other.settings["seed"]: other for other in models.runs if other is not run}
    loaded = {(seed, epoch): run.model(epoch) for epoch in range(last + 1)}
    loaded |= {(other, last): found.model(last) for other, found in others.items()}
    comparisons = list(_comparisons(seed, last, loaded[seed, last].layers, tuple(others)))
    return _compared(loaded, comparisons, models.compared(models.text), seed)


def _between_seeds(models: LanguageModels, text: PreparedText) -> pd.DataFrame:
    last = models.epochs
    loaded = {(run.settings["seed"], last): run.model(last) for run in models.runs}
    layers = next(iter(loaded.values())).layers
    comparisons = [
        ("other seed", (*a, layer), (*b, layer)) for a, b in permutations(loaded, 2) for layer in layers
    ]
    return _compared(loaded, comparisons, models.compared(text), seed=0)


def _compared(
    models: Mapping[tuple[int, int], RecurrentModel],
    comparisons: Sequence[tuple[str, View, View]],
    ids: Int32[np.ndarray, " tokens"],
    seed: int,
) -> pd.DataFrame:
    """Run models, by seed and epoch, side by side over a text, and measure each comparison."""
    begun = time.perf_counter()
    moments = JointMoments(_pair(a, b, kind) for kind, a, b in comparisons)
    shuffled = {_name(b) for kind, _, b in comparisons if kind == "permuted"}
    shuffle = torch.Generator().manual_seed(seed)
    streams = {key: activations.blocks(model, ids) for key, model in models.items()}
    with Progress(f"comparing layers, seed {seed}", len(ids)) as progress:
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


def _comparisons(
    seed: int, last: int, layers: Sequence[str], others: Sequence[int]
) -> Iterator[tuple[str, View, View]]:
    epochs = range(last + 1)
    for layer in layers:
        for epoch in epochs:
            here, final = (seed, epoch, layer), (seed, last, layer)
            yield "final", here, final
            yield "permuted", here, final
            yield from (("other seed", here, (other, last, layer)) for other in others)
        yield from (
            ("other epoch", (seed, a, layer), (seed, b, layer)) for a in epochs for b in epochs if a != b
        )
    for a, b in combinations(layers, 2):
        yield from (("other layer", (seed, epoch, a), (seed, epoch, b)) for epoch in epochs)


def _row(kind: str, a: View, b: View, moments: JointMoments) -> dict[str, object]:
    views = moments[_pair(a, b, kind)]
    return {
        "comparison": kind,
        **dict(zip(("seed", "epoch", "layer"), a, strict=True)),
        **dict(zip(("other_seed", "other_epoch", "other_layer"), b, strict=True)),
        "tokens": views.count,
        **measured(views),
    }


def _name(view: View) -> str:
    seed, epoch, layer = view
    return f"{layer} of seed {seed} at epoch {epoch}"


def _permuted(name: str) -> str:
    return f"{name}, permuted"


def _pair(a: View, b: View, kind: str) -> tuple[str, str]:
    return _name(a), _permuted(_name(b)) if kind == "permuted" else _name(b)
