"""Chapter 6, comments: which parameters brought the loss down, in the first steps of each epoch.

The steps are those that training took: each model is taken up again after each epoch and trained on as it
was, with the same text and the same units silenced (thesis chapter 6, section 6.1.1).
"""

from itertools import islice
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int64

from lmdynamics.ground import grid
from lmdynamics.ground.progress import report
from lmdynamics.measures import sparsity, words
from lmdynamics.measures.words import Correlation
from lmdynamics.models import training
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.runs import Run
from lmdynamics.models.training import TrainingSettings
from lmdynamics.observe import activations, allocation, gradients
from lmdynamics.text.streams import Examples
from lmthesis.chapter_6.settings import Settings
from lmthesis.chapter_6.words import CLASSES, MAIN, SparseModels

UNKNOWN = "unknown"
"""Class of the one word that stands for all that are not in the vocabulary."""


def tables(sparse: SparseModels, scale: Settings, by_word: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return how the change of loss in a step of training falls to the parameters.

    Parameters
    ----------
    sparse
        Models and texts.
    scale
        With which the models were trained; steps and sample.
    by_word
        The table `words` of `words.tables`.

    Returns
    -------
    dict[str, pandas.DataFrame]
        Rows of all begin with `seed` and the `epoch` after which the steps were taken.

        `steps`: one row per `step`: the `change` of loss on the sample, in nats per token, what both methods
        allocate in all, ``first order`` and ``Simpson``, and of the latter what falls to each layer.
        `allocated`: one row per `method`, `layer`, `part` and `group` of parameters, sums over the number of
        `steps` (of `concentration` the mean): see `allocation.by_group`.
        `concentration`: the `correlation`, by `how` it is taken, of where loss changes with where gradients
        are, `among` a `number` of words (`layer` e: χ of what a word's embedding is allocated over all steps,
        with mean χ of the gradient at e where it is the input) or of units (each LSTM layer: size of what a
        unit's parameters are allocated, with the mean size of the gradient at the unit, on the sample).

    Raises
    ------
    ValueError
        If the training part is too short for a sample that the steps do not read.
    """
    text = sparse.texts[MAIN]
    examples = Examples.next_word(sparse.models.text.train.ids)
    sample = elsewhere(examples, scale)
    classes = {name: np.flatnonzero(text.classes == number) for number, name in enumerate(CLASSES)}
    classes[UNKNOWN] = np.flatnonzero(text.classes < 0)
    jobs = [
        (run, epoch, examples, sample, classes, scale.training, scale.steps, scale.intervals)
        for epoch in range(sparse.models.epochs)
        for run in sparse.models.runs
    ]
    by_name = grid.tables(allocations, jobs)
    among_words, among_units = (
        _correlations(rows, among)
        for rows, among in (
            (_beside_gradients(by_name["words"], by_word), "words"),
            (by_name["units"], "units"),
        )
    )
    return {
        "steps": by_name["steps"],
        "allocated": by_name["allocated"],
        "concentration": pd.concat([among_words, among_units], ignore_index=True),
    }


def elsewhere(examples: Examples, scale: Settings) -> Examples:
    """A sample of the training part that the followed steps do not read: from the middle of each stream."""
    batch, back = scale.batch, scale.steps_back
    apart, length = len(examples.inputs) // batch, scale.sample // batch
    if not length or scale.steps * back > apart // 2 or length > apart - apart // 2:
        raise ValueError(
            f"to allocate the loss of {scale.sample} tokens over {scale.steps} steps that do not read "
            f"them, each of {batch} streams needs {2 * max(scale.steps * back, length, 1)} tokens, got "
            f"{apart}; take more text"
        )
    return Examples(
        *(activations.spread(np.roll(each, -(apart // 2)), scale.sample, streams=batch) for each in examples)
    )


def allocations(
    run: Run,
    epoch: int,
    examples: Examples,
    sample: Examples,
    classes: dict[str, Int64[np.ndarray, " _"]],
    training_settings: TrainingSettings,
    steps: int,
    intervals: int,
) -> dict[str, pd.DataFrame]:
    """Return how the first steps after an epoch changed the loss.

    Parameters
    ----------
    run, epoch
        The model, as it was after the epoch.
    examples
        What it is trained on.
    sample
        On whose loss.
    classes
        Ids of the words of each class.
    training_settings
        With which it was trained.
    steps
        How many to follow.
    intervals
        Of Simpson's rule along a step.

    Returns
    -------
    dict[str, pandas.DataFrame]
        `steps` and `allocated`: see `tables`; `words` and `units`: the `loss_change` of each.
    """
    seed, model, batch = run.settings["seed"], run.model(epoch), training_settings.batch
    report(f"allocating changes of loss, seed {seed}, epoch {epoch}")
    sizes = _sizes_of_gradients(model, sample, batch)
    taken = training.steps(
        model,
        examples,
        training_settings,
        seed=seed,
        epoch=epoch + 1,
        rate=run.epochs[epoch + 1].learning_rate,
    )
    groups, units = allocation.groups(model, classes), model.settings.units
    of_words = torch.zeros_like(model.embedding.weight)
    of_units = {layer: torch.zeros(units, device=model.device) for layer in model.layers[1:]}
    rows, parts = [], []
    followed = allocation.allocations(model, sample, islice(taken, steps), batch=batch, intervals=intervals)
    for number, one in enumerate(followed):
        own, part = one.allocated["Simpson"], allocation.by_group(one, groups)
        sums = part.groupby("method")["allocated"].sum().to_dict()
        by_layer = part[part["method"] == "Simpson"].groupby("layer", sort=False)["allocated"].sum()
        rows.append({"step": number + 1, "change": one.change, **sums, **by_layer})
        parts.append(part)
        of_words += own["embedding.weight"]
        for layer, each in enumerate(of_units.values()):
            each += allocation.by_unit(own, layer, units)
    keys = ["method", "layer", "part", "group"]
    sums_of = {"allocated": "sum", "felt": "sum", "helping": "sum", "concentration": "mean"}
    allocated = pd.concat(parts).groupby(keys, sort=False).agg(sums_of).reset_index()
    tables = {
        "steps": pd.DataFrame(rows),
        "allocated": allocated.assign(steps=len(parts)),
        "words": pd.DataFrame(
            {"word": np.arange(len(of_words)), "loss_change": sparsity.chi(of_words.cpu())}
        ),
        "units": pd.concat(
            [
                pd.DataFrame({"layer": layer, "loss_change": each.cpu(), "gradient": sizes[layer]})
                for layer, each in of_units.items()
            ]
        ),
    }
    about: dict[str, Any] = {"seed": seed, "epoch": epoch}
    return {name: table.assign(**about)[[*about, *table.columns]] for name, table in tables.items()}


def _sizes_of_gradients(model: RecurrentModel, sample: Examples, batch: int) -> dict[str, np.ndarray]:
    """Mean absolute gradient of each unit by layer."""
    back = -(-len(sample.inputs) // batch)
    blocks = gradients.blocks(model, sample, streams=batch, steps_back=back)
    return {layer: each.abs().mean(0).cpu().numpy() for layer, each in next(blocks).gradients.items()}


def _beside_gradients(loss_change: pd.DataFrame, by_word: pd.DataFrame) -> pd.DataFrame:
    """χ of loss change of each word, beside χ of the gradient at the embedding where it is the input."""
    inputs = by_word.loc[by_word["side"] == "input", ["seed", "epoch", "word", "gradient e"]]
    joined = loss_change.merge(inputs, on=["seed", "epoch", "word"]).query("word > 0").dropna()
    return joined.assign(layer="e", gradient=joined["gradient e"])


def _correlations(points: pd.DataFrame, among: str) -> pd.DataFrame:
    """Correlation of loss change with gradients over words or units, for each seed, epoch and layer."""
    parts = []
    size = int(points["word"].max()) + 1 if among == "words" and len(points) else 0
    for (seed, epoch, layer), rows in points.groupby(["seed", "epoch", "layer"]):
        if among == "words":  # each at its place, so that samples are of the same words for all models
            rows = rows.set_index("word").reindex(range(size))
        for how in get_args(Correlation):
            if rows["gradient"].notna().sum() > 2:
                table = words.correlations(
                    rows[["loss_change"]].to_numpy(float),
                    rows["gradient"].to_numpy(float),
                    ["loss change"],
                    how=how,
                ).drop(columns="column")
                table = table.loc[:, ~table.columns.str.startswith("mean")]
                about = {"seed": seed, "epoch": epoch, "layer": layer, "among": among, "how": how}
                parts.append(table.assign(**about).rename(columns={"words": "number"}))
    keys = ["seed", "epoch", "layer", "among", "how", "number", "correlation", "low", "high"]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=keys)
    return table[[*keys, *table.columns.drop(keys)]]
