"""All tables of chapter 6, and the small ones that its page shows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lmdynamics.observe.allocation import METHODS
from lmthesis import language_models
from lmthesis.chapter_4 import layers as similarity
from lmthesis.chapter_6 import loss_changes as allocation
from lmthesis.chapter_6 import words as sparsity
from lmthesis.scales import THESIS, Scale


def study(scale: Scale) -> dict[str, pd.DataFrame]:
    """Train the language models and their controls, and return the tables by name.

    Returns
    -------
    dict[str, pandas.DataFrame]
        Those of `studies.sparsity` (`words`, `rho`, `class_effects`, `levels`, `noise`, `undefined`) and of
        `studies.allocation` (`steps`, `allocated`, `concentration`); `log`, the losses of
        `studies.similarity`; `excluded`; and `vocabulary`: one row per word with its id, its `text`, its
        `frequency` in the training part and its `class`.
    """
    models = sparsity.trained(scale)
    found = sparsity.tables(models)
    text = models.texts[sparsity.MAIN]
    known = pd.DataFrame(
        {
            "word": range(len(text.frequency)),
            "text": models.models.text.vocabulary.words,
            "frequency": text.frequency,
            "class": [sparsity.CLASSES[each] if each >= 0 else allocation.UNKNOWN for each in text.classes],
        }
    )
    return {
        **found,
        **allocation.tables(models, scale.training, found["words"]),
        "log": similarity.losses(models.models),
        "excluded": sparsity.excluded(models, found["undefined"]),
        "vocabulary": known,
    }


def varied(
    scale: Scale,
    *,
    corpus: str | None = None,
    articles: int | None = None,
    epochs: int | None = None,
    seeds: Sequence[int] | None = None,
    min_count: int | None = None,
    tokens: int | None = None,
    part: str | None = None,
    widths: Sequence[int] | None = None,
) -> Scale:
    """Return a scale with some settings exchanged; None keeps the scale's own."""
    found = language_models.varied(
        scale, corpus=corpus, articles=articles, epochs=epochs, seeds=seeds, min_count=min_count
    )
    own = found.sparsity
    return replace(
        found,
        sparsity=replace(
            own,
            tokens=own.tokens if tokens is None else tokens,
            part=own.part if part is None else part,
            widths=own.widths if widths is None else tuple(widths),
        ),
    )


def described(scale: Scale) -> pd.DataFrame:
    """What a scale trains and measures, beside the paper's own numbers (thesis chapter 6, section 2).

    Returns
    -------
    pandas.DataFrame
        One row per property: `this run` and `paper`, as text.
    """
    own, paper = scale.sparsity, THESIS
    text = sparsity.measured_text(scale, language_models.prepared(scale))
    rows = {
        "tokens measured": (f"{len(text.examples.inputs):,}, of the {own.part} part", "–"),
        "occurrences that give a word its class": tuple(
            f"{each.corpus.min_count}" for each in (scale, paper)
        ),
        "words of open and closed classes": (
            " and ".join(f"{text.groups[name].sum():,}" for name in sparsity.CLASSES[:2]),
            "–",
        ),
        "words of each class in matched samples": tuple(
            f"{each.sparsity.matched}" for each in (scale, paper)
        ),
        **{
            f"their frequencies, {name}": (_spread(text.frequency[text.groups[f"{name}, matched"]]), "–")
            for name in sparsity.CLASSES[:2]
            if f"{name}, matched" in text.groups
        },
        "controls: units of other models": (", ".join(map(str, own.widths)) or "none", "–"),
        "controls: epochs": (f"{min(own.control_epochs, scale.training.epochs)}", "–"),
        "steps whose change of loss is allocated": (f"{own.steps} in each epoch", "–"),
        "on the loss of": (f"{own.sample:,} tokens", "–"),
    }
    about = language_models.described(scale).drop(index=["tokens to compare layers on", "tokens to test on"])
    about.loc["vocabulary", "paper"], about.loc["seeds", "paper"] = "19.5 thousand words", "–"
    return pd.concat([about, pd.DataFrame.from_dict(rows, orient="index", columns=about.columns)])


def _spread(frequency: np.ndarray) -> str:
    return f"mean {frequency.mean():,.0f}, {frequency.min():,} to {frequency.max():,}"


def by_word(words: pd.DataFrame, vocabulary: pd.DataFrame, side: str, column: str) -> pd.DataFrame:
    """Values of each word after each epoch, means over seeds, beside what is known of it.

    Returns
    -------
    pandas.DataFrame
        One row per `word` and `epoch`: `value`, `text`, `frequency`, `class`.
    """
    rows = words[(words["side"] == side) & (words["word"] > 0)]
    means = rows.groupby(["word", "epoch"])[column].mean().rename("value").reset_index()
    return means.merge(vocabulary, on="word")


def sent_back(levels: pd.DataFrame, rho: pd.DataFrame) -> pd.DataFrame:
    """What later words add to a gradient, after the last epoch, means over seeds.

    Returns
    -------
    pandas.DataFrame
        One row per `layer`: mean norm of what the losses of later words add, as a share of the norm of the
        whole gradient; and the correlation with target and with input frequency of χ of the whole gradient
        and of that of the token's own loss.
    """
    shares = levels[levels["kind"] == "later"].groupby("layer")["mean"].mean()
    found = {"share from later words": shares.map("{:.1%}".format)}
    chosen = rho.query("group == 'all' and how == 'pearson' and measure == 'chi'")
    chosen = chosen[(chosen["epoch"] == chosen["epoch"].max()) & chosen["layer"].isin(shares.index)]
    for side in sparsity.SIDES:
        for kind, label in (("gradient", "whole"), ("own", "own loss")):
            rows = chosen[
                (chosen["model"] == sparsity.MAIN) & (chosen["side"] == side) & (chosen["kind"] == kind)
            ]
            means = rows.groupby("layer")["correlation"].mean()
            found[f"with {side} frequency, {label}"] = means.map("{:+.3f}".format)
    return pd.DataFrame(found).rename_axis("layer").reset_index()


def at_last(rho: pd.DataFrame, side: str) -> pd.DataFrame:
    """Correlations of χ with the frequency of the target or the input word after the last epoch.

    Returns
    -------
    pandas.DataFrame
        One row per layer or gradient: each kind of correlation with the 95 % interval over words, means over
        seeds of both; and over how many words.
    """
    rows = rho.query("group == 'all' and measure == 'chi' and kind != 'own'")
    rows = rows[(rows["model"] == sparsity.MAIN) & (rows["side"] == side)]
    rows = rows[rows["epoch"] == rows["epoch"].max()]
    table = _with_intervals(rows, ["kind", "layer"])
    table["words"] = rows.groupby(["kind", "layer"])["words"].mean().map("{:,.0f}".format)
    return table.reset_index().rename(columns={"kind": "of"})


def _with_intervals(rho: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Correlations with their intervals over words as text, means over seeds, one column for each kind."""
    means = rho.groupby([*keys, "how"], sort=False)[["correlation", "low", "high"]].mean()
    texts = means.apply(
        lambda row: f"{row['correlation']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})", axis=1
    )
    labels = {"pearson": "with frequency", "log": "with its logarithm", "spearman": "of ranks"}
    return pd.DataFrame({label: texts.xs(how, level="how") for how, label in labels.items()})


def checked(steps: pd.DataFrame) -> pd.DataFrame:
    """How well both methods add up to the true change of loss, by epoch after which steps were taken.

    Returns
    -------
    pandas.DataFrame
        One row per `epoch`, means over steps and seeds, in nats per token: the true change, its size, and
        the size of what each method misses of it; and the share of steps that lowered the loss.
    """
    sizes = {"true change": steps["change"], "its size": steps["change"].abs()}
    sizes |= {f"missed, {method}": (steps[method] - steps["change"]).abs() for method in METHODS}
    means = pd.DataFrame(sizes).groupby(steps["epoch"]).mean()
    table = means.map("{:.2g}".format).assign(**{"true change": means["true change"].map("{:+.2g}".format)})
    lowered = (steps["change"] < 0).groupby(steps["epoch"]).mean()
    return table.assign(**{"steps that lowered it": lowered.map("{:.0%}".format)}).reset_index()


def helping(allocated: pd.DataFrame) -> pd.DataFrame:
    """Share of moves that helped, by Simpson's rule.

    Returns
    -------
    pandas.DataFrame
        One row per `seed`, `epoch` and `layer`: `share` of the moves that were felt.
    """
    rows = allocated[allocated["method"] == METHODS[-1]]
    sums = rows.groupby(["seed", "epoch", "layer"])[["helping", "felt"]].sum()
    return (sums["helping"] / sums["felt"]).rename("share").reset_index()


def loss_changes(allocated: pd.DataFrame) -> pd.DataFrame:
    """Where the loss changed, by group of parameters: sums over the steps of all epochs but the first.

    Returns
    -------
    pandas.DataFrame
        One row per `layer`, `part` and `group`: the loss change allocated by Simpson's rule, in nats per
        token and step; share of felt moves that helped; and how concentrated the allocation of a step is
        (Hoyer's measure, from 0 to 1), mean over steps and seeds. The first steps of all, which are far
        larger, are left out if there are others.
    """
    rows = allocated[allocated["method"] == METHODS[-1]]
    rows = rows[rows["epoch"] > 0] if (rows["epoch"] > 0).any() else rows
    groups = rows.groupby(["layer", "part", "group"], sort=False)
    sums = groups[["allocated", "helping", "felt", "steps"]].sum()
    return pd.DataFrame(
        {
            "loss change per step": (sums["allocated"] / sums["steps"]).map("{:+.5f}".format),
            "moves that helped": (sums["helping"] / sums["felt"]).map("{:.1%}".format),
            "concentration": groups["concentration"].mean().map("{:.2f}".format),
        }
    ).reset_index()


def controls(rho: pd.DataFrame, levels: pd.DataFrame) -> pd.DataFrame:
    """The language models beside their controls.

    Returns
    -------
    pandas.DataFrame
        One row per kind of model, means over seeds, after equally many epochs, and for the language models
        also untrained and after the last: each correlation with target frequency of χ of the gradient at the
        top layer, with its 95 % interval over words; and mean χ times √units.
    """
    top = max(layer for layer in rho["layer"].unique() if layer.startswith("h"))
    wanted = f"kind == 'gradient' and measure == 'chi' and layer == '{top}'"
    found = rho.query(wanted + " and side == 'target' and group == 'all'")
    level = levels.query(wanted)
    level = level.assign(scaled=level["mean"] * np.sqrt(level["units"]))
    keys = ["model", "epoch"]
    table = _with_intervals(found, keys)
    table["mean χ × √units"] = level.groupby(keys)["scaled"].mean().map("{:.3f}".format)
    table = table.reset_index()
    compared = set(table.loc[table["model"] != sparsity.MAIN, "epoch"]) | {0, table["epoch"].max()}
    table = table[table["epoch"].isin(compared)]
    return table.sort_values(keys, key=_main_first)


def _main_first(column: pd.Series) -> pd.Series:
    """The language models before their controls."""
    return (
        column.map(lambda each: "" if each == sparsity.MAIN else each) if column.name == "model" else column
    )
