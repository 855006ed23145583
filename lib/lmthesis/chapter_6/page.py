"""Tables of chapter 6 as its page shows them, from those of `study`."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lmdynamics.observe.allocation import METHODS
from lmthesis import axis
from lmthesis.chapter_6.claims import CLAIMS
from lmthesis.chapter_6.words import MAIN, SIDES, frequent


def by_word(
    tables: Mapping[str, pd.DataFrame], side: str, column: str, *, only_frequent: bool = False
) -> pd.DataFrame | None:
    """Values of each word after each epoch, means over seeds, beside what is known of it.

    Parameters
    ----------
    tables
        `words` and `vocabulary`.
    side, column
        Of the table `words`.
    only_frequent
        Whether to leave out words that are not frequent targets.

    Returns
    -------
    pandas.DataFrame
        One row per `word` and `epoch`: `value`, `text`, `frequency`, `class`. None where a table is missing,
        for words are not recorded.
    """
    if not {"words", "vocabulary"} <= tables.keys():
        return None
    rows = frequent(tables["words"]) if only_frequent else tables["words"]
    rows = rows[(rows["side"] == side) & (rows["word"] > 0)]
    means = rows.groupby(["word", "epoch"])[column].mean().rename("value").reset_index()
    return means.merge(tables["vocabulary"], on="word")


def after_training(table: pd.DataFrame | None) -> pd.DataFrame | None:
    """The rows of the last epoch; None for None."""
    return None if table is None else table[table["epoch"] == table["epoch"].max()]


def later_loss_table(levels: pd.DataFrame, rho: pd.DataFrame) -> pd.DataFrame:
    """What later words add to a gradient, after the last epoch, means over seeds.

    Returns
    -------
    pandas.DataFrame
        One row per `layer`: mean norm of what the losses of later words add, as a share of the norm of the
        whole gradient; and the correlation with target and with input frequency of χ of the whole gradient
        and of that of the token's own loss.
    """
    shares = levels[levels["kind"] == "later"].groupby("layer")["mean"].mean()
    columns = {"share from later words": shares.map("{:.1%}".format)}
    chosen = rho.query("group == 'all' and how == 'pearson' and measure == 'chi'")
    chosen = chosen[(chosen["epoch"] == chosen["epoch"].max()) & chosen["layer"].isin(shares.index)]
    for side in SIDES:
        for kind, label in (("gradient", "whole"), ("own", "own loss")):
            rows = chosen[(chosen["model"] == MAIN) & (chosen["side"] == side) & (chosen["kind"] == kind)]
            means = rows.groupby("layer")["correlation"].mean()
            columns[f"with {side} frequency, {label}"] = means.map("{:+.3f}".format)
    return pd.DataFrame(columns).rename_axis("layer").reset_index()


def last_correlation_table(rho: pd.DataFrame, side: str) -> pd.DataFrame:
    """Correlations of χ with the frequency of the target or the input word after the last epoch.

    Returns
    -------
    pandas.DataFrame
        One row per layer or gradient: each kind of correlation with the 95 % interval over words, means over
        seeds of both; and over how many words.
    """
    rows = rho.query("group == 'all' and measure == 'chi' and kind != 'own'")
    rows = rows[(rows["model"] == MAIN) & (rows["side"] == side)]
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


def allocation_error_table(steps: pd.DataFrame) -> pd.DataFrame:
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


def helping_share(allocated: pd.DataFrame) -> pd.DataFrame:
    """Share of moves that helped, by Simpson's rule.

    Returns
    -------
    pandas.DataFrame
        One row per `seed`, `epoch` (with its `tokens_read`) and `layer`: `share` of the moves that were felt.
    """
    rows = allocated[allocated["method"] == METHODS[-1]]
    sums = rows.groupby(["seed", "epoch", "tokens_read", "layer"])[["helping", "felt"]].sum()
    return (sums["helping"] / sums["felt"]).rename("share").reset_index()


def loss_change_table(allocated: pd.DataFrame) -> pd.DataFrame:
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


def control_table(rho: pd.DataFrame, levels: pd.DataFrame) -> pd.DataFrame:
    """The language models beside their controls.

    Returns
    -------
    pandas.DataFrame
        One row per kind of model, means over seeds, after equally many epochs, and for the language models
        also untrained and after the last: each correlation with target frequency of χ of the gradient at the
        top layer, with its 95 % interval over words; and mean χ times √units.
    """
    top = max(layer for layer in rho["layer"].unique() if layer.startswith("h"))
    top_gradient = f"kind == 'gradient' and measure == 'chi' and layer == '{top}'"
    correlations = rho.query(top_gradient + " and side == 'target' and group == 'all'")
    level = levels.query(top_gradient)
    level = level.assign(scaled=level["mean"] * np.sqrt(level["units"]))
    keys = ["model", "epoch"]
    table = _with_intervals(correlations, keys)
    table["mean χ × √units"] = level.groupby(keys)["scaled"].mean().map("{:.3f}".format)
    table = table.reset_index()
    compared = set(table.loc[table["model"] != MAIN, "epoch"]) | {0, table["epoch"].max()}
    table = table[table["epoch"].isin(compared)]
    return table.sort_values(keys, key=_main_first)


def _main_first(column: pd.Series) -> pd.Series:
    """The language models before their controls."""
    return column.map(lambda each: "" if each == MAIN else each) if column.name == "model" else column


def under_sparsities(rho: pd.DataFrame) -> pd.DataFrame:
    """Return the verdicts on the claims about correlations, were they decided by other measures of sparsity.

    Parameters
    ----------
    rho
        The table of that name.

    Returns
    -------
    pandas.DataFrame
        One row per claim, its statement the index; columns are how a correlation is taken and the measure;
        verdict and margin as text.
    """
    kinds = [("pearson", measure) for measure in ("chi", "hoyer", "gini", "spare_units")]
    kinds += [("log", "chi"), ("spearman", "chi")]
    choices = {}
    for how, measure in kinds:
        rows = rho[(rho["how"] == how) & rho["measure"].isin([measure, "taxicab"])]
        own = rows.assign(how="pearson", measure=rows["measure"].replace({measure: "chi"}))
        choices[how, measure.replace("_", " ")] = {"rho": own}
    names = [name for name in CLAIMS if name != "not_by_size"]  # which asks for no sparsity
    return CLAIMS.verdicts_under(choices, *names).rename_axis(columns=["correlation", "sparsity"])


def curves(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the correlations of χ with frequency over all words, over training, that main figures draw."""
    rho = axis.whole(tables, "rho")
    return rho.query("model == @MAIN and how == 'pearson' and group == 'all' and measure == 'chi'")


def excluded(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the table `excluded` with the vectors of zeros, counted over all seeds.

    Returns
    -------
    pandas.DataFrame
        One row per reason: `left out`, `number`.
    """
    zeros = tables["undefined"]["number"].sum()
    row = pd.DataFrame([{"left out": "vectors of zeros, over all checkpoints and layers", "number": zeros}])
    return pd.concat([tables["excluded"], row], ignore_index=True)
