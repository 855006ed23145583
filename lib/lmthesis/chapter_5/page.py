"""Tables of chapter 5 as its page shows them, from those of `study`."""

from collections.abc import Hashable, Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from lmdynamics.observe.decomposition import Convention
from lmthesis.chapter_5.claims import CLAIMS, of_common_epochs, under
from lmthesis.html import Paragraph
from lmthesis.recorded import Tables


def features(correlations: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """What goes with interdependence, alone and with all else held constant, means over seeds.

    Parameters
    ----------
    correlations, effects
        Of those tables, the rows of one epoch and one convention.

    Returns
    -------
    pandas.DataFrame
        One row per feature of a pair: its `correlation` with interdependence, over all pairs and within
        sequential distances, and its `coefficient` in a regression with a constant for each of these
        distances, each with its interval over sentences, the ends averaged over seeds.
    """
    columns = {}
    for table, value, prefix, name in (
        (correlations, "correlation", "", "correlation"),
        (correlations, "within", "within_", "within distances"),
        (effects, "coefficient", "", "coefficient"),
    ):
        ends = f"{prefix}low", f"{prefix}high"
        means = table.groupby("feature", sort=False)[[value, *ends]].mean()
        text = [f"{mean:+.4f} ({low:+.4f} to {high:+.4f})" for mean, low, high in means.to_numpy()]
        columns[name] = pd.Series(text, index=means.index)
    whole = pd.DataFrame(columns).reindex(list(columns["correlation"].index)).fillna("–")
    return whole.rename_axis("feature").reset_index()


def first_epochs(rule: pd.DataFrame, *probabilities: float) -> pd.DataFrame:
    """After which epoch ω is first expected, by length of scaffold and kind of language.

    Parameters
    ----------
    rule
        Rows of one domain and one number of examples.
    probabilities
        How much it is to be expected.

    Returns
    -------
    pandas.DataFrame
        A row for each length and kind, named in `scaffolds`; a column for each probability: the first epoch
        whose mean over seeds is not below it, as text; "never" where there is none.
    """
    means = rule.pivot_table(index="epoch", columns=["length", "familiar"], values="omega")
    kinds = means.columns.to_frame(index=False)
    names = kinds["length"].astype(str) + " symbols, " + kinds["familiar"].map({True: "", False: "un"})
    columns = {"scaffolds": names + "familiar"}
    for least in probabilities:
        enough = means >= least
        first = enough.idxmax().where(enough.any())
        columns[f"probability {least} or more"] = pd.Series(
            ["never" if np.isnan(at) else f"{at:.0f}" for at in first]
        )
    return pd.DataFrame(columns)


def edges(attachment: pd.DataFrame) -> pd.DataFrame:
    """Share of edges that each kind of weights finds, and its interval over sentences, means over seeds.

    Parameters
    ----------
    attachment
        Rows of one convention.

    Returns
    -------
    pandas.DataFrame
        One row for each kind of `weights`: the share found after the last epoch and by the untrained model,
        with their intervals, as text.
    """
    columns = {"weights": attachment["weights"].drop_duplicates().to_list()}
    for name, epoch in (("after training", attachment["epoch"].max()), ("untrained", 0)):
        rows = attachment[attachment["epoch"] == epoch]
        means = rows.groupby("weights", sort=False)[["found", "low", "high"]].mean()
        columns[name] = [f"{share:.1%} ({low:.1%} to {high:.1%})" for share, low, high in means.to_numpy()]
    return pd.DataFrame(columns)


def gold(tables: Mapping[str, pd.DataFrame]) -> Tables:
    """The tables that were measured on gold trees, by the names of those that were measured here."""
    return {name.removeprefix("gold_"): table for name, table in tables.items() if name.startswith("gold_")}


def measured_as(gold_ran: pd.DataFrame) -> Paragraph:
    """Say in a sentence how gold trees were measured, and how to measure them again.

    Parameters
    ----------
    gold_ran
        The table of that name.
    """
    (row,) = gold_ran.to_dict("records")
    articles = "all of it" if pd.isna(row["articles"]) else f"its first {row['articles']:.0f} articles"
    tokens = "all" if pd.isna(row["tokens"]) else f"{row['tokens']:,.0f}"
    said = (
        f"Models of {row['text']}, {articles}, {row['epochs']} epochs, seeds {row['seeds']}; measured on "
        f"{tokens} tokens of {row['treebank']}, {row['date']}, with torch {row['torch']} on "
        f"{row['machine']}. Again:"
    )
    return Paragraph(said, row["command"])


def under_conventions(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the verdicts on claims, were they decided by other conventions of decomposition.

    Each is decided by the epochs for which all conventions were measured; one that these cannot decide is
    left out.

    Parameters
    ----------
    tables
        Those of `study`; claims whose tables name no convention are left out.

    Returns
    -------
    pandas.DataFrame
        One row per claim, its statement the index; columns are what becomes of the product of biases, and of
        interactions; verdict and margin as text.
    """
    usual = asdict(Convention())
    common = {name: of_common_epochs(table) for name, table in tables.items() if "interactions" in table}
    choices: dict[Hashable, Tables] = {
        (convention.bias.replace("_", " "), convention.interactions): {
            name: under(table, convention).assign(**usual) for name, table in common.items()
        }
        for convention in Convention.all()
    }
    return CLAIMS.verdicts_under(choices).rename_axis(columns=["bias × bias", "relevant × irrelevant"])
