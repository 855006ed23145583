"""Chapter 6, comments: which parameters brought the loss down, in the first steps of each epoch.

The steps are those that training took: each model is taken up again after each epoch and trained on as it
was, with the same text and the same units silenced (thesis chapter 6, section 6.1.1).
"""

from dataclasses import asdict
from itertools import islice
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lmdynamics import activations, allocation, sparsity, training, words
from lmdynamics.progress import report
from lmdynamics.runs import Run
from lmdynamics.settings import SparsitySettings
from lmdynamics.studies.language_models import parallel
from lmdynamics.studies.sparsity import CLASSES, MAIN, STREAMS, SparseModels, top_layer
from lmdynamics.tables import cached
from lmdynamics.training import Examples, TrainingSettings
from lmdynamics.words import Correlation

UNKNOWN = "unknown"
"""Class of the one word that stands for all that are not in the vocabulary."""


def tables(
    sparse: SparseModels, training_settings: TrainingSettings, by_word: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Return how the change of loss in a step of training falls to the parameters.

    Parameters
    ----------
    sparse
        Models and texts.
    training_settings
        With which the models were trained.
    by_word
        The table `words` of `studies.sparsity`.

    Returns
    -------
    dict[str, pandas.DataFrame]
        Rows of all begin with `seed` and the `epoch` after which the steps were taken.

        `steps`: one row per `step`: the `change` of loss on the sample, in nats per token, and what both
        methods allocate in all, ``first order`` and ``Simpson``.
        `allocated`: one row per `method`, `layer`, `part` and `group` of parameters, sums over the number of
        `steps`: see `allocation.by_group`.
        `concentration`: the `correlation` over `words`, by `how` it is taken, of χ of the loss change that
        the parameters of a word are allocated, with χ of the gradient at the same `layer` before the steps:
        embeddings with e by input word, rows of the decoder with the top layer by target word.
    """
    text = sparse.texts[MAIN]
    examples = Examples.next_word(sparse.models.text.train.ids)
    spread = (activations.spread(each, sparse.settings.sample, streams=STREAMS) for each in examples)
    sample = Examples(*spread)
    classes = {name: np.flatnonzero(text.classes == number) for number, name in enumerate(CLASSES)}
    classes[UNKNOWN] = np.flatnonzero(text.classes < 0)
    jobs = [
        (run, epoch, examples, sample, classes, sparse.settings, training_settings)
        for epoch in range(sparse.models.epochs)
        for run in sparse.models.runs
    ]
    depends = [
        [run.folder.name for run in sparse.models.runs],
        sparse.models.epochs,
        asdict(sparse.settings),
        sparse.models.text.fingerprint,
        sparse.models.text.corpus.fingerprint,
    ]
    kinds = ("steps", "allocated", "concentration")
    found: dict[str, pd.DataFrame] = {}

    def compute(kind: str) -> pd.DataFrame:
        if not found:
            made = parallel(_of_checkpoint, jobs)
            for number, name in enumerate(kinds[:2]):
                found[name] = pd.concat([each[number] for each in made], ignore_index=True)
            loss_change = pd.concat([each[2] for each in made], ignore_index=True)
            found["concentration"] = _concentration(loss_change, by_word)
        return found[kind]

    return {
        kind: cached(f"allocation-{kind}", depends, lambda kind=kind: compute(kind), code=__name__)  # type: ignore[misc]
        for kind in kinds
    }


def _of_checkpoint(
    run: Run,
    epoch: int,
    examples: Examples,
    sample: Examples,
    classes: dict[str, np.ndarray],
    settings: SparsitySettings,
    training_settings: TrainingSettings,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Tables of the first steps after an epoch: by step, by group of parameters, χ by word."""
    seed, model = run.settings["seed"], run.model(epoch)
    report(f"allocating changes of loss, seed {seed}, epoch {epoch}")
    steps = training.steps(
        model,
        examples,
        training_settings,
        seed=seed,
        epoch=epoch + 1,
        rate=run.epochs[epoch + 1].learning_rate,
    )
    groups = allocation.groups(model, classes)
    of_words = {"e": "embedding.weight", top_layer(run): "decoder.weight"}
    whole: dict[str, Tensor] = {}
    rows, parts = [], []
    allocations = allocation.allocations(
        model, sample, islice(steps, settings.steps), batch=STREAMS, intervals=settings.intervals
    )
    for number, one in enumerate(allocations):
        sums = {
            method: sum(each.sum(dtype=torch.float64).item() for each in of.values())
            for method, of in one.allocated.items()
        }
        rows.append({"step": number + 1, "change": one.change, **sums})
        parts.append(allocation.by_group(one, groups))
        for layer, name in of_words.items():
            own = one.allocated[allocation.METHODS[-1]][name]
            whole[layer] = whole[layer] + own if layer in whole else own
    about: dict[str, Any] = {"seed": seed, "epoch": epoch}
    keys = ["method", "layer", "part", "group"]
    allocated = pd.concat(parts).groupby(keys, sort=False).sum().reset_index().assign(steps=len(parts))
    by_word = [
        pd.DataFrame(
            {"layer": layer, "word": np.arange(len(each)), "loss_change": sparsity.chi(each).numpy()}
        )
        for layer, each in whole.items()
    ]
    made = pd.DataFrame(rows), allocated, pd.concat(by_word, ignore_index=True)
    steps_table, groups_table, words_table = (
        table.assign(**about)[[*about, *table.columns]] for table in made
    )
    return steps_table, groups_table, words_table


def _concentration(loss_change: pd.DataFrame, by_word: pd.DataFrame) -> pd.DataFrame:
    """Correlation over words of χ of loss change with χ of gradients."""
    found = []
    for (seed, epoch, layer), rows in loss_change.dropna().groupby(["seed", "epoch", "layer"]):
        side, column = ("input" if layer == "e" else "target"), f"gradient {layer}"
        chosen = (by_word["seed"] == seed) & (by_word["epoch"] == epoch) & (by_word["side"] == side)
        joined = rows.merge(by_word.loc[chosen, ["word", column]], on="word").query("word > 0").dropna()
        for how in get_args(Correlation):
            if len(joined) > 2:
                table = words.correlations(
                    joined[["loss_change"]].to_numpy(float), joined[column].to_numpy(float), ["chi"], how=how
                )
                about = {"seed": seed, "epoch": epoch, "layer": layer, "how": how}
                found.append(table.assign(**about).drop(columns="column"))
    table = pd.concat(found, ignore_index=True)
    return table[["seed", "epoch", "layer", "how", "words", "correlation", "low", "high"]]
