"""Findings of chapter 5: interdependence and syntax, scaffolds and rules."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from lmdynamics.claims import CLEAR, Claim, Claims
from lmdynamics.observe.decomposition import Convention

LEAST_PAIRS = 100
"""A stratum with fewer pairs is not looked at (thesis chapter 5, figure 4)."""
EXPECTED = 0.1
"""Probability from which on ω counts as expected at all; ours, for the thesis names none."""
HIGH = 0.5
"""Probability that is called high; ours, for the thesis names none."""


def under(table: pd.DataFrame, convention: Convention | None = None) -> pd.DataFrame:
    """Rows under one convention of the decomposition; None for the thesis's."""
    convention = convention or Convention()
    return table[(table["bias"] == convention.bias) & (table["interactions"] == convention.interactions)]


def usual(table: pd.DataFrame) -> pd.DataFrame:
    """Rows after the last epoch, under the thesis's convention."""
    return _at_last(under(table))


def of_common_epochs(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of those epochs for which every convention was measured; all where there is no epoch."""
    if "epoch" not in table:
        return table
    of_epoch = table[["epoch", "bias", "interactions"]].drop_duplicates().groupby("epoch").size()
    return table[table["epoch"].isin(of_epoch.index[of_epoch == of_epoch.max()])]


def slopes(strata: pd.DataFrame) -> pd.DataFrame:
    """How interdependence changes with each edge of syntactic distance, at one sequential distance.

    Parameters
    ----------
    strata
        Rows of that table of `english.tables`, to be grouped by all their columns up to `sequential`, and
        `classes`.

    Returns
    -------
    pandas.DataFrame
        One row per group with three strata or more of `LEAST_PAIRS` pairs: their columns, the `slope` of
        their means, each weighted by its pairs, and `relative_slope`, a share of the mean of all these pairs.
    """
    by = [*strata.columns[: list(strata.columns).index("sequential") + 1], "classes"]
    cells = strata[strata["pairs"] >= LEAST_PAIRS]
    groups = cells.groupby(by)
    sizes, group = groups.size(), groups.ngroup().to_numpy()
    kept = sizes.to_numpy() > 2
    x, y, n = (cells[name].to_numpy(float) for name in ("syntactic", "mean", "pairs"))
    n, x, y, xx, xy = (
        np.bincount(group, each, len(sizes))[kept] for each in (n, n * x, n * y, n * x * x, n * x * y)
    )
    slope = (n * xy - x * y) / (n * xx - x * x)
    strata = sizes.index.to_frame(index=False)[kept]
    return strata.assign(slope=slope, relative_slope=slope * n / y).reset_index(drop=True)


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's; NaN where either does not vary."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    return float(stats.spearmanr(x, y).statistic)


def _falls_with_distance(by_distance: pd.DataFrame) -> float:
    means = usual(by_distance).groupby("sequential")["mean"].mean()
    return -_rank_correlation(means.index.to_numpy(), means.to_numpy())


def _relative_slopes(strata: pd.DataFrame, classes: str) -> pd.Series:
    """By sequential distance, means over seeds."""
    rows = usual(strata)
    return slopes(rows[rows["classes"] == classes]).groupby("sequential")["relative_slope"].mean()


def _falls_with_edges(classes: str) -> Callable[[pd.DataFrame], float]:
    def margin(strata: pd.DataFrame) -> float:
        return -_relative_slopes(strata, classes).mean()

    return margin


def _clearer_apart(strata: pd.DataFrame) -> float:
    slopes_of = [_relative_slopes(strata, classes) for classes in ("open", "closed", "mixed")]
    return float(np.mean([-_rank_correlation(each.index.to_numpy(), each.to_numpy()) for each in slopes_of]))


def _edges_with_all_else_equal(effects: pd.DataFrame) -> float:
    rows = usual(effects)
    return -rows.loc[rows["feature"] == "syntactic distance", "coefficient"].mean()


def _frequency_says_little(correlations: pd.DataFrame) -> float:
    rows = usual(correlations)
    raw = rows[rows["feature"].str.startswith("frequency")].groupby("feature")[["correlation", "within"]]
    return CLEAR - raw.mean().abs().max().max()


def _trees_beyond_neighbours(attachment: pd.DataFrame) -> float:
    shares = usual(attachment).groupby("weights")["found"].mean()
    own = shares[[name for name in shares.index if name.startswith("interdependence")]].max()
    return own - shares["nearest neighbours"]


def _trees_are_learnt(attachment: pd.DataFrame) -> float:
    rows = under(attachment)
    rows = rows[rows["weights"].str.contains("less its mean")]
    shares = rows.groupby("epoch")["found"].mean()
    return shares.iloc[-1] - shares.iloc[0] if 0 in shares.index and len(shares) > 1 else np.nan


def _of_domain(table: pd.DataFrame, domain: str) -> pd.DataFrame:
    """Models with all rules, at test cases of one domain, after training has begun."""
    rows = table[(table["domain"] == domain) & (table["rules"] == table["rules"].max())]
    return rows[rows["epoch"] > 0]


def _familiar_less_unfamiliar(rows: pd.DataFrame, column: str) -> float:
    """Mean over lengths, and over whatever else there is, of the difference between both kinds."""
    means = rows.groupby(["familiar", "length"])[column].mean().unstack("familiar")
    return (means[True] - means[False]).mean()


def _epochs_until(rows: pd.DataFrame, column: str) -> float:
    """Epochs that unfamiliar languages take more than familiar ones until ω is `EXPECTED`, mean over lengths.

    What never gets there takes one epoch more than there are.
    """
    curves = rows.pivot_table(index="epoch", columns=["familiar", "length", "seed"], values=column)
    there = curves >= EXPECTED
    first = there.idxmax().where(there.any(), curves.index.max() + 1).rename("first").reset_index()
    return -_familiar_less_unfamiliar(first, "first")


def _at_last(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["epoch"] == rows["epoch"].max()]


def _sooner_in_domain(rule: pd.DataFrame) -> float:
    return _epochs_until(_of_domain(rule, "in"), "omega")


def _fails_out_of_domain(rule: pd.DataFrame) -> float:
    return -_familiar_less_unfamiliar(_at_last(_of_domain(rule, "out")), "omega")


def _never_generalises(rule: pd.DataFrame) -> float:
    rows = _of_domain(rule, "out").query("familiar")
    return EXPECTED - rows.groupby(["epoch", "length"])["omega"].mean().max()


def _familiar_scaffold_required(rule: pd.DataFrame) -> float:
    known, new = (
        _at_last(_of_domain(rule, domain)).query("familiar").groupby("length")["omega"].mean()
        for domain in ("in", "out")
    )
    return (known - new).min()


def _alpha_alone_sooner(decomposed: pd.DataFrame) -> float:
    return _epochs_until(_of_domain(under(decomposed), "out"), "omega_from_alpha")


def _by_symbols(consumed: pd.DataFrame) -> pd.DataFrame:
    """Probability of ω on the longest known scaffolds: familiar or not (rows), symbols in focus (columns)."""
    consumed = under(consumed)
    rows = consumed[(consumed["domain"] == "in") & (consumed["rules"] == consumed["rules"].max())]
    rows = rows[rows["length"] == rows["length"].max()]
    return rows.groupby(["familiar", "symbols"])["omega"].mean().unstack("symbols")


def _alpha_suffices(consumed: pd.DataFrame) -> float:
    return float(_by_symbols(consumed)[0][False]) - HIGH


def _leans_on_scaffold(consumed: pd.DataFrame) -> float:
    means = _by_symbols(consumed)
    gained = means.iloc[:, -1] - means.iloc[:, 0]
    familiar, unfamiliar = gained.reindex([True, False]).to_numpy(float)
    return familiar - max(unfamiliar, 0.0)


def _more_interdependent(decomposed: pd.DataFrame) -> float:
    return _familiar_less_unfamiliar(_of_domain(under(decomposed), "in"), "interdependence")


def _grows_interdependent(decomposed: pd.DataFrame) -> float:
    rows = _of_domain(under(decomposed), "in").query("familiar")
    means = rows.groupby(["epoch", "length"])["interdependence"].mean().unstack("length")
    return min(_rank_correlation(means.index.to_numpy(), each.to_numpy()) for _, each in means.items())


def _longer_needs_more(decomposed: pd.DataFrame) -> float:
    rows = _at_last(under(decomposed).query("domain == 'in' and not familiar"))
    means = rows.pivot_table(index="rules", columns="length", values="omega_from_alpha")
    learnt = means[means.max(axis=1) >= EXPECTED]
    if means.shape[1] < 2 or learnt.empty:
        return np.nan
    return (learnt.iloc[:, 0] - learnt.iloc[:, -1]).mean()


def _scaffold_says_nothing(decomposed: pd.DataFrame) -> float:
    rows = _at_last(under(decomposed).query("domain == 'in' and not familiar"))
    return EXPECTED - rows.groupby(["rules", "length"])["omega_from_scaffold"].mean().max()


def _smaller_gradients(gradients: pd.DataFrame) -> float:
    rows = gradients[(gradients["rules"] == gradients["rules"].max()) & (gradients["epoch"] > 0)]
    rows = rows[(rows["offset"] > 0) & (rows["offset"] < rows["length"])]
    if rows.empty:
        return np.nan
    means = rows.groupby(["familiar", "length"])["whole"].mean().unstack("familiar")
    return (1 - means[True] / means[False]).mean()


def _smaller_gradients_at_last(gradients: pd.DataFrame) -> float:
    return _smaller_gradients(_at_last(gradients))


CLAIMS = Claims(
    interdependence_falls_with_distance=Claim(
        statement="Words that stand closer together are more interdependent.",
        source="thesis chapter 5, section 3.1 and figure 3",
        tables=("by_distance",),
        margin=_falls_with_distance,
        measured_as="rank correlation of mean interdependence with sequential distance, sign turned",
    ),
    interdependence_falls_with_edges_open=Claim(
        statement="At the same sequential distance, words of open classes are less interdependent the "
        "farther apart they are on the tree.",
        source="thesis chapter 5, section 3.1 and figure 4",
        tables=("strata",),
        margin=_falls_with_edges("open"),
        measured_as="fall of interdependence for each edge, as a share of the mean at the sequential "
        f"distance; mean over the distances with three strata of {LEAST_PAIRS} pairs or more",
    ),
    interdependence_falls_with_edges_closed=Claim(
        statement="At the same sequential distance, words of closed classes are less interdependent the "
        "farther apart they are on the tree.",
        source="thesis chapter 5, section 3.1 and figure 4",
        tables=("strata",),
        margin=_falls_with_edges("closed"),
        measured_as="fall of interdependence for each edge, as a share of the mean at the sequential "
        f"distance; mean over the distances with three strata of {LEAST_PAIRS} pairs or more",
    ),
    clearer_when_apart=Claim(
        statement="The farther apart two words are in the sequence, the more clearly interdependence falls "
        "with distance on the tree.",
        source="thesis chapter 5, section 3.1 and figure 4",
        tables=("strata",),
        margin=_clearer_apart,
        measured_as="rank correlation with sequential distance of the fall for each edge, as a share of the "
        "mean there; mean over classes",
    ),
    frequency_says_little=Claim(
        statement="Raw word frequency is not clearly correlated with interdependence.",
        source="thesis chapter 5, section 3.1",
        tables=("correlations",),
        margin=_frequency_says_little,
        measured_as=f"{CLEAR} less the greatest absolute correlation with the frequency of either word, over "
        "all pairs or within sequential distances",
    ),
    edges_count_with_all_else_equal=Claim(
        statement="Syntactic distance lowers interdependence with sequential distance, class and frequency "
        "held constant at once.",
        source="beyond the thesis; compare chapter 5, section 3.1",
        tables=("effects",),
        margin=_edges_with_all_else_equal,
        measured_as="fall of interdependence for each edge, by least squares",
    ),
    trees_beyond_neighbours=Claim(
        statement="Interdependence finds more of a sentence's tree than joining neighbours does.",
        source="suggested in thesis chapter 5, section 6",
        tables=("attachment",),
        margin=_trees_beyond_neighbours,
        measured_as="share of edges found by the better of both weights, less that of nearest neighbours",
    ),
    trees_are_learnt=Claim(
        statement="Apart from the order of words, interdependence finds more of a tree after training than "
        "before.",
        source="a control beyond the thesis; compare its chapter 5, section 6",
        tables=("attachment",),
        margin=_trees_are_learnt,
        measured_as="share of edges found by interdependence less its mean at the distance, after the last "
        "epoch less untrained",
    ),
    familiar_sooner_in_domain=Claim(
        statement="A rule around familiar scaffolds is learnt sooner, tested on these scaffolds.",
        source="thesis chapter 5, section 4.3 and figure 7a",
        tables=("rule",),
        margin=_sooner_in_domain,
        measured_as=f"epochs until the probability of ω is {EXPECTED}, unfamiliar less familiar, mean over "
        "lengths; one more than there are where it never is",
    ),
    familiar_fails_out_of_domain=Claim(
        statement="On random scaffolds, ω is expected less after a rule was learnt around familiar ones "
        "than around unfamiliar ones.",
        source="thesis chapter 5, section 4.3 and figure 7b",
        tables=("rule",),
        margin=_fails_out_of_domain,
        measured_as="probability of ω, unfamiliar less familiar, after the last epoch, mean over lengths",
    ),
    familiar_never_generalises=Claim(
        statement="A model that learnt a rule around familiar scaffolds never expects ω on random ones.",
        source="thesis chapter 5, section 4.3 and figure 7b",
        tables=("rule",),
        margin=_never_generalises,
        measured_as=f"{EXPECTED} less the greatest probability of ω, over epochs and lengths",
    ),
    familiar_scaffold_required=Claim(
        statement="After a rule was learnt around familiar scaffolds, ω is expected less on random ones "
        "than on these, at every length.",
        source="thesis chapter 5, section 4.3 and figure 7",
        tables=("rule",),
        margin=_familiar_scaffold_required,
        measured_as="probability of ω on known less random scaffolds, after the last epoch, in the length "
        "where it is smallest",
    ),
    alpha_alone_sooner=Claim(
        statement="By α alone, ω is expected sooner where scaffolds are familiar.",
        source="thesis chapter 5, section 4.3.1 and figure 8",
        tables=("decomposed",),
        margin=_alpha_alone_sooner,
        measured_as=f"epochs until the probability of ω by α alone is {EXPECTED} on random scaffolds, "
        "unfamiliar less familiar, mean over lengths; one more than there are where it never is",
    ),
    alpha_suffices_when_unfamiliar=Claim(
        statement="Models of unfamiliar scaffolds expect ω with high probability by α alone.",
        source="thesis chapter 5, section 4.3.1 and figure 9",
        tables=("consumed",),
        margin=_alpha_suffices,
        measured_as=f"probability of ω by α alone, on known scaffolds of the greatest length, less {HIGH}",
    ),
    familiar_leans_on_scaffold=Claim(
        statement="Models of familiar scaffolds expect ω more by the symbols of the scaffold, and gain more "
        "by them than models of unfamiliar ones.",
        source="thesis chapter 5, section 4.3.1 and figure 9",
        tables=("consumed",),
        margin=_leans_on_scaffold,
        measured_as="probability of ω by α and the longest scaffold less that by α alone: the smaller of "
        "this gain when familiar and of familiar less unfamiliar",
    ),
    familiar_more_interdependent=Claim(
        statement="α and a familiar scaffold are more interdependent than α and an unfamiliar one.",
        source="thesis chapter 5, section 4.3.1 and figure 10",
        tables=("decomposed",),
        margin=_more_interdependent,
        measured_as="interdependence, familiar less unfamiliar, mean over epochs and lengths",
    ),
    familiar_grows_interdependent=Claim(
        statement="Where scaffolds are familiar, their interdependence with α grows over training.",
        source="thesis chapter 5, section 4.3.1 and figure 10",
        tables=("decomposed",),
        margin=_grows_interdependent,
        measured_as="rank correlation of mean interdependence with the epoch, in the length where it is "
        "smallest",
    ),
    longer_rules_need_more=Claim(
        statement="A longer rule needs more examples.",
        source="thesis chapter 5, appendix B and figure 11",
        tables=("decomposed",),
        margin=_longer_needs_more,
        measured_as="probability of ω by α alone after the last epoch, shortest scaffolds less longest, "
        f"mean over the numbers of examples from which some length reaches {EXPECTED}",
    ),
    scaffold_alone_says_nothing=Claim(
        statement="By an unfamiliar scaffold alone, without α, ω is hardly expected, however often the rule "
        "occurs.",
        source="thesis chapter 5, appendix B and figure 11",
        tables=("decomposed",),
        margin=_scaffold_says_nothing,
        measured_as=f"{EXPECTED} less the greatest probability of ω by the scaffold alone, over lengths and "
        "numbers of examples, after the last epoch",
    ),
    familiar_smaller_gradients=Claim(
        statement="Smaller gradients flow through familiar scaffolds, on average over training.",
        source="thesis chapter 5, appendix C and figure 12",
        tables=("gradients",),
        margin=_smaller_gradients,
        measured_as="share by which the gradient within familiar scaffolds is smaller, mean over epochs, "
        "offsets and lengths",
    ),
    familiar_smaller_gradients_at_last=Claim(
        statement="Smaller gradients flow through familiar scaffolds, at the end of training.",
        source="thesis chapter 5, appendix C and figure 12",
        tables=("gradients",),
        margin=_smaller_gradients_at_last,
        measured_as="share by which the gradient within familiar scaffolds is smaller, after the last "
        "epoch, mean over offsets and lengths",
    ),
)
"""By name."""
