"""Findings of chapter 5: interdependence and syntax, scaffolds and rules."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from lmdynamics.decomposition import Convention
from lmdynamics.judging import CLEAR, Claim

LEAST_PAIRS = 100
"""A stratum with fewer pairs is not looked at (thesis chapter 5, figure 4)."""
EXPECTED = 0.1
"""Probability from which on ω counts as expected at all; ours, for the thesis names none."""


def under(table: pd.DataFrame, convention: Convention | None = None) -> pd.DataFrame:
    """Rows under one convention of the decomposition; None for the thesis's."""
    convention = convention or Convention()
    return table[(table["bias"] == convention.bias) & (table["interactions"] == convention.interactions)]


def usual(table: pd.DataFrame) -> pd.DataFrame:
    """Rows after the last epoch, under the thesis's convention."""
    return _at_last(under(table))


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of those epochs for which every convention was measured."""
    if "epoch" not in table:
        return table
    of_epoch = table[["epoch", "bias", "interactions"]].drop_duplicates().groupby("epoch").size()
    return table[table["epoch"].isin(of_epoch.index[of_epoch == of_epoch.max()])]


def slopes(strata: pd.DataFrame) -> pd.DataFrame:
    """How interdependence changes with each edge of syntactic distance, at one sequential distance.

    Parameters
    ----------
    strata
        Rows of `studies.syntax.tables`, to be grouped by all their columns up to `sequential`, and `classes`.

    Returns
    -------
    pandas.DataFrame
        One row per group with three strata or more of `LEAST_PAIRS` pairs: their columns, the `slope` of
        their means, each weighted by its pairs, and `relative_slope`, a share of the mean of all these pairs.
    """
    by = [*strata.columns[: list(strata.columns).index("sequential") + 1], "classes"]
    rows = []
    for group, cells in strata[strata["pairs"] >= LEAST_PAIRS].groupby(by):
        if len(cells) > 2:
            slope, _ = np.polyfit(cells["syntactic"], cells["mean"], 1, w=np.sqrt(cells["pairs"]))
            mean = np.average(cells["mean"], weights=cells["pairs"])
            found = {"slope": slope, "relative_slope": slope / mean}
            rows.append({**dict(zip(by, group, strict=True)), **found})
    return pd.DataFrame(rows, columns=[*by, "slope", "relative_slope"])


def _falls_with_distance(by_distance: pd.DataFrame) -> float:
    means = usual(by_distance).groupby("sequential")["mean"].mean()
    return means.iloc[0] - means.iloc[-1]


def _falls_with_edges(classes: str) -> Callable[[pd.DataFrame], float]:
    def margin(strata: pd.DataFrame) -> float:
        rows = usual(strata)
        found = slopes(rows[rows["classes"] == classes])
        return -found.groupby("sequential")["slope"].mean().mean()

    return margin


def _edges_with_all_else_equal(effects: pd.DataFrame) -> float:
    rows = usual(effects)
    return -rows.loc[rows["feature"] == "syntactic distance", "coefficient"].mean()


def _frequency_says_little(correlations: pd.DataFrame) -> float:
    rows = usual(correlations)
    found = rows[rows["feature"].str.startswith("frequency")].groupby("feature")["correlation"].mean()
    return CLEAR - found.abs().max()


def _trees_beyond_neighbours(attachment: pd.DataFrame) -> float:
    found = usual(attachment).groupby("weights")["found"].mean()
    own = found[[name for name in found.index if name.startswith("interdependence")]].max()
    return own - found["nearest neighbours"]


def _of_domain(table: pd.DataFrame, domain: str) -> pd.DataFrame:
    """Models with all rules, at test cases of one domain, after training has begun."""
    rows = table[(table["domain"] == domain) & (table["rules"] == table["rules"].max())]
    return rows[rows["epoch"] > 0]


def _familiar_less_unfamiliar(rows: pd.DataFrame, column: str) -> float:
    """Mean over lengths, and over whatever else there is, of the difference between both kinds."""
    means = rows.groupby(["familiar", "length"])[column].mean().unstack("familiar")
    return (means[True] - means[False]).mean()


def _sooner_in_domain(rule: pd.DataFrame) -> float:
    return _familiar_less_unfamiliar(_of_domain(rule, "in"), "omega")


def _at_last(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["epoch"] == rows["epoch"].max()]


def _fails_out_of_domain(rule: pd.DataFrame) -> float:
    return -_familiar_less_unfamiliar(_at_last(_of_domain(rule, "out")), "omega")


def _alpha_alone_sooner(decomposed: pd.DataFrame) -> float:
    return _familiar_less_unfamiliar(_of_domain(under(decomposed), "out"), "omega_from_alpha")


def _leans_on_scaffold(consumed: pd.DataFrame) -> float:
    consumed = under(consumed)
    rows = consumed[(consumed["domain"] == "in") & (consumed["rules"] == consumed["rules"].max())]
    rows = rows[rows["length"] == rows["length"].max()]
    means = rows.groupby(["familiar", "symbols"])["omega"].mean().unstack("symbols")
    gained = means.iloc[:, -1] - means.iloc[:, 0]
    familiar, unfamiliar = gained.reindex([True, False]).to_numpy(float)
    return familiar - max(unfamiliar, 0.0)


def _more_interdependent(decomposed: pd.DataFrame) -> float:
    return _familiar_less_unfamiliar(_of_domain(usual(decomposed), "in"), "interdependence")


def _grows_interdependent(decomposed: pd.DataFrame) -> float:
    rows = _of_domain(under(decomposed), "in").query("familiar")
    means = rows.groupby(["epoch", "length"])["interdependence"].mean().unstack("length")
    return (means.iloc[-1] - means.iloc[0]).mean() if len(means) > 1 else np.nan


def _longer_needs_more(rule: pd.DataFrame) -> float:
    rows = _at_last(rule[(rule["domain"] == "in") & ~rule["familiar"]])
    means = rows.pivot_table(index="rules", columns="length", values="omega")
    learnt = means[means.max(axis=1) >= EXPECTED].to_numpy()
    return learnt[0, 0] - learnt[0, -1] if len(learnt) else np.nan


def _smaller_gradients(gradients: pd.DataFrame) -> float:
    rows = gradients[(gradients["rules"] == gradients["rules"].max()) & (gradients["epoch"] > 0)]
    rows = rows[(rows["offset"] > 0) & (rows["offset"] < rows["length"])]
    means = rows.groupby(["familiar", "length"])["whole"].mean().unstack("familiar")
    return (1 - means[True] / means[False]).mean()


CLAIMS = {
    "interdependence_falls_with_distance": Claim(
        statement="Words that stand closer together are more interdependent.",
        source="thesis chapter 5, section 3.1 and figure 3",
        tables=("by_distance",),
        margin=_falls_with_distance,
        measured_as="mean interdependence of neighbours less that at the longest distance",
    ),
    "interdependence_falls_with_edges_open": Claim(
        statement="At the same sequential distance, words of open classes are less interdependent the "
        "farther apart they are on the tree.",
        source="thesis chapter 5, section 3.1 and figure 4",
        tables=("strata",),
        margin=_falls_with_edges("open"),
        measured_as="fall of interdependence for each edge, mean over the sequential distances with three "
        f"strata of {LEAST_PAIRS} pairs or more",
    ),
    "interdependence_falls_with_edges_closed": Claim(
        statement="At the same sequential distance, words of closed classes are less interdependent the "
        "farther apart they are on the tree.",
        source="thesis chapter 5, section 3.1 and figure 4",
        tables=("strata",),
        margin=_falls_with_edges("closed"),
        measured_as="fall of interdependence for each edge, mean over the sequential distances with three "
        f"strata of {LEAST_PAIRS} pairs or more",
    ),
    "frequency_says_little": Claim(
        statement="Raw word frequency is not clearly correlated with interdependence.",
        source="thesis chapter 5, section 3.1",
        tables=("correlations",),
        margin=_frequency_says_little,
        measured_as=f"{CLEAR} less the greater absolute correlation with the frequency of either word",
    ),
    "edges_count_with_all_else_equal": Claim(
        statement="Syntactic distance lowers interdependence with sequential distance, class and frequency "
        "held constant at once.",
        source="beyond the thesis; compare chapter 5, section 3.1",
        tables=("effects",),
        margin=_edges_with_all_else_equal,
        measured_as="fall of interdependence for each edge, by least squares",
    ),
    "trees_beyond_neighbours": Claim(
        statement="Interdependence finds more of a sentence's tree than joining neighbours does.",
        source="suggested in thesis chapter 5, section 6",
        tables=("attachment",),
        margin=_trees_beyond_neighbours,
        measured_as="share of edges found by the better of both weights, less that of nearest neighbours",
    ),
    "familiar_sooner_in_domain": Claim(
        statement="A rule around familiar scaffolds is learnt sooner: tested on these scaffolds, ω is "
        "expected more on average over training.",
        source="thesis chapter 5, section 4.3 and figure 7a",
        tables=("rule",),
        margin=_sooner_in_domain,
        measured_as="probability of ω, familiar less unfamiliar, mean over epochs and lengths",
    ),
    "familiar_fails_out_of_domain": Claim(
        statement="On random scaffolds, ω is expected less after a rule was learnt around familiar ones than "
        "around unfamiliar ones.",
        source="thesis chapter 5, section 4.3 and figure 7b",
        tables=("rule",),
        margin=_fails_out_of_domain,
        measured_as="probability of ω, unfamiliar less familiar, after the last epoch, mean over lengths",
    ),
    "alpha_alone_sooner": Claim(
        statement="By α alone, ω is expected sooner where scaffolds are familiar: more on average over "
        "training.",
        source="thesis chapter 5, section 4.3.1 and figure 8",
        tables=("decomposed",),
        margin=_alpha_alone_sooner,
        measured_as="probability of ω by α alone on random scaffolds, familiar less unfamiliar, mean over "
        "epochs and lengths",
    ),
    "familiar_leans_on_scaffold": Claim(
        statement="Models of unfamiliar scaffolds expect ω by α alone; those of familiar ones need the "
        "symbols of the scaffold.",
        source="thesis chapter 5, section 4.3.1 and figure 9",
        tables=("consumed",),
        margin=_leans_on_scaffold,
        measured_as="probability of ω by α and the longest scaffold less that by α alone: the smaller of "
        "this gain when familiar and of familiar less unfamiliar",
    ),
    "familiar_more_interdependent": Claim(
        statement="α and a familiar scaffold are more interdependent than α and an unfamiliar one.",
        source="thesis chapter 5, section 4.3.1 and figure 10",
        tables=("decomposed",),
        margin=_more_interdependent,
        measured_as="interdependence, familiar less unfamiliar, after the last epoch, mean over lengths",
    ),
    "familiar_grows_interdependent": Claim(
        statement="Where scaffolds are familiar, their interdependence with α grows over training.",
        source="thesis chapter 5, section 4.3.1 and figure 10",
        tables=("decomposed",),
        margin=_grows_interdependent,
        measured_as="rise of interdependence from epoch 1 to the last, mean over lengths",
    ),
    "longer_rules_need_more": Claim(
        statement="A longer rule needs more examples.",
        source="thesis chapter 5, appendix B and figure 11",
        tables=("rule",),
        margin=_longer_needs_more,
        measured_as="probability of ω after the last epoch, shortest scaffolds less longest, with the fewest "
        f"examples from which some length reaches {EXPECTED}",
    ),
    "familiar_smaller_gradients": Claim(
        statement="Smaller gradients flow through familiar scaffolds.",
        source="thesis chapter 5, appendix C and figure 12",
        tables=("gradients",),
        margin=_smaller_gradients,
        measured_as="share by which the gradient within familiar scaffolds is smaller, mean over epochs, "
        "offsets and lengths",
    ),
}
"""By name."""
