"""Findings of chapter 5: interdependence and syntax, scaffolds and rules."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from lmdynamics.claims import CLEAR, Claims, Margins, OutOfReachError, Threshold, within
from lmdynamics.observe.decomposition import Convention

CLAIMS = Claims(dates=Path(__file__).with_name("rules.csv"))
"""By name."""
LEAST_PAIRS = 100
"""A stratum with fewer pairs is not looked at (thesis chapter 5, figure 4)."""
EXPECTED = Threshold(
    0.1,
    tried=(0.01, 0.02, 0.05, 0.2, 0.3, 0.5),
    meaning="probability from which on ω counts as expected at all",
)
HIGH = Threshold(0.5, tried=(0.1, 0.2, 0.3, 0.7, 0.8, 0.9), meaning="least probability that is called high")


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


def _at_last(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["epoch"] == rows["epoch"].max()]


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's; NaN where either does not vary."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    return float(stats.spearmanr(x, y).statistic)


def _relative_slopes(strata: pd.DataFrame, classes: str) -> "pd.Series[float]":
    """By sequential distance, means over seeds."""
    rows = usual(strata)
    return slopes(rows[rows["classes"] == classes]).groupby("sequential")["relative_slope"].mean()


def _of_domain(table: pd.DataFrame, domain: str) -> pd.DataFrame:
    """Models with all rules, at test cases of one domain, after training has begun."""
    rows = table[(table["domain"] == domain) & (table["rules"] == table["rules"].max())]
    return rows[rows["epoch"] > 0]


def _familiar_less_unfamiliar(rows: pd.DataFrame, column: str) -> float:
    """Mean over lengths, and over whatever else there is, of the difference between both kinds."""
    means = rows.groupby(["familiar", "length"])[column].mean().unstack("familiar")
    return (means[True] - means[False]).mean()


def _epochs_sooner(rows: pd.DataFrame, column: str, expected: float) -> float:
    """Epochs that unfamiliar languages take more than familiar ones until ω is expected, mean over lengths.

    What never gets there takes one epoch more than there are.
    """
    curves = rows.pivot_table(index="epoch", columns=["familiar", "length", "seed"], values=column)
    there = curves >= expected
    first = there.idxmax().where(there.any(), curves.index.max() + 1).rename("first").reset_index()
    return -_familiar_less_unfamiliar(first, "first")


def _by_symbols(consumed: pd.DataFrame) -> pd.DataFrame:
    """Probability of ω on the longest known scaffolds: familiar or not (rows), symbols in focus (columns)."""
    consumed = under(consumed)
    rows = consumed[(consumed["domain"] == "in") & (consumed["rules"] == consumed["rules"].max())]
    rows = rows[rows["length"] == rows["length"].max()]
    return rows.groupby(["familiar", "symbols"])["omega"].mean().unstack("symbols")


def _share_smaller(gradients: pd.DataFrame) -> float:
    """Share by which gradients within familiar scaffolds are smaller than within unfamiliar ones."""
    rows = gradients[(gradients["rules"] == gradients["rules"].max()) & (gradients["epoch"] > 0)]
    rows = rows[(rows["offset"] > 0) & (rows["offset"] < rows["length"])]
    if rows.empty:
        raise OutOfReachError("scaffolds of one symbol have no gradient within them")
    means = rows.groupby(["familiar", "length"])["whole"].mean().unstack("familiar")
    return (1 - means[True] / means[False]).mean()


@CLAIMS.finding("thesis chapter 5, section 3.1 and figure 3")
def interdependence_falls_with_distance(by_distance: pd.DataFrame) -> Margins:
    """Words that stand closer together are more interdependent.

    Margin: rank correlation of mean interdependence with sequential distance, sign turned.
    """
    means = usual(by_distance).groupby("sequential")["mean"].mean()
    return -_rank_correlation(means.index.to_numpy(), means.to_numpy())


@CLAIMS.finding("thesis chapter 5, section 3.1 and figure 4")
def interdependence_falls_with_edges_open(strata: pd.DataFrame) -> Margins:
    """At the same sequential distance, words of open classes are less interdependent the farther apart they
    are on the tree.

    Margin: fall of interdependence for each edge, as a share of the mean at the sequential distance; mean
    over the distances with three strata of enough pairs.
    """
    return -_relative_slopes(strata, "open").mean()


@CLAIMS.finding("thesis chapter 5, section 3.1 and figure 4")
def interdependence_falls_with_edges_closed(strata: pd.DataFrame) -> Margins:
    """At the same sequential distance, words of closed classes are less interdependent the farther apart
    they are on the tree.

    Margin: fall of interdependence for each edge, as a share of the mean at the sequential distance; mean
    over the distances with three strata of enough pairs.
    """
    return -_relative_slopes(strata, "closed").mean()


@CLAIMS.finding("thesis chapter 5, section 3.1 and figure 4")
def clearer_when_apart(strata: pd.DataFrame) -> Margins:
    """The farther apart two words are in the sequence, the more clearly interdependence falls with distance
    on the tree.

    Margin: rank correlation with sequential distance of the fall for each edge, as a share of the mean
    there; mean over classes.
    """
    slopes_of = [_relative_slopes(strata, classes) for classes in ("open", "closed", "mixed")]
    return float(np.mean([-_rank_correlation(each.index.to_numpy(), each.to_numpy()) for each in slopes_of]))


@CLAIMS.finding("thesis chapter 5, section 3.1")
def frequency_says_little(correlations: pd.DataFrame, *, clear: float = CLEAR) -> Margins:
    """Raw word frequency is not clearly correlated with interdependence.

    Margin: {clear} less the correlation, and plus it, with the frequency of either word, over all pairs and
    within sequential distances.
    """
    rows = usual(correlations)
    raw = rows[rows["feature"].str.startswith("frequency")].groupby("feature")[["correlation", "within"]]
    over = {"correlation": "all pairs", "within": "within distances"}
    return within(raw.mean().rename(columns=over), clear)


@CLAIMS.finding("beyond the thesis; compare chapter 5, section 3.1")
def edges_count_with_all_else_equal(effects: pd.DataFrame) -> Margins:
    """Syntactic distance lowers interdependence with sequential distance, class and frequency held constant
    at once.

    Margin: fall of interdependence for each edge, by least squares.
    """
    rows = usual(effects)
    return -rows.loc[rows["feature"] == "syntactic distance", "coefficient"].mean()


@CLAIMS.finding("suggested in thesis chapter 5, section 6")
def trees_beyond_neighbours(attachment: pd.DataFrame) -> Margins:
    """Interdependence finds more of a sentence's tree than joining neighbours does.

    Margin: share of edges found, less that of nearest neighbours.
    """
    shares = usual(attachment).groupby("weights")["found"].mean()
    return shares["interdependence"] - shares["nearest neighbours"]


@CLAIMS.finding("a control beyond the thesis; compare its chapter 5, section 6")
def trees_are_learnt(attachment: pd.DataFrame) -> Margins:
    """Apart from the order of words, interdependence finds more of a tree after training than before.

    Margin: share of edges found by interdependence less its mean at the distance, after the last epoch less
    untrained.
    """
    rows = under(attachment)
    rows = rows[rows["weights"].str.contains("less its mean")]
    shares = rows.groupby("epoch")["found"].mean()
    if 0 not in shares.index or len(shares) < 2:
        raise OutOfReachError("it takes the untrained model and a trained one")
    return shares.iloc[-1] - shares.iloc[0]


@CLAIMS.finding("thesis chapter 5, section 4.3 and figure 7a")
def familiar_sooner_in_domain(rule: pd.DataFrame, *, expected: float = EXPECTED) -> Margins:
    """A rule around familiar scaffolds is learnt sooner, tested on these scaffolds.

    Margin: epochs until the probability of ω is {expected}, unfamiliar less familiar, mean over lengths;
    one more than there are where it never is.
    """
    return _epochs_sooner(_of_domain(rule, "in"), "omega", expected)


@CLAIMS.finding("thesis chapter 5, section 4.3 and figure 7b")
def familiar_fails_out_of_domain(rule: pd.DataFrame) -> Margins:
    """On random scaffolds, ω is expected less after a rule was learnt around familiar ones than around
    unfamiliar ones.

    Margin: probability of ω, unfamiliar less familiar, after the last epoch, mean over lengths.
    """
    return -_familiar_less_unfamiliar(_at_last(_of_domain(rule, "out")), "omega")


@CLAIMS.finding("thesis chapter 5, section 4.3 and figure 7b")
def familiar_never_generalises(rule: pd.DataFrame, *, expected: float = EXPECTED) -> Margins:
    """A model that learnt a rule around familiar scaffolds never expects ω on random ones.

    Margin: {expected} less the probability of ω, by epoch and length.
    """
    rows = _of_domain(rule, "out").query("familiar")
    return expected - rows.groupby(["length", "epoch"])["omega"].mean()


@CLAIMS.finding("thesis chapter 5, section 4.3 and figure 7")
def familiar_scaffold_required(rule: pd.DataFrame) -> Margins:
    """After a rule was learnt around familiar scaffolds, ω is expected less on random ones than on these,
    at every length.

    Margin: probability of ω on known less random scaffolds, after the last epoch, by length.
    """
    known, new = (
        _at_last(_of_domain(rule, domain)).query("familiar").groupby("length")["omega"].mean()
        for domain in ("in", "out")
    )
    return known - new


@CLAIMS.finding("thesis chapter 5, section 4.3.1 and figure 8")
def alpha_alone_sooner(decomposed: pd.DataFrame, *, expected: float = EXPECTED) -> Margins:
    """By α alone, ω is expected sooner where scaffolds are familiar.

    Margin: epochs until the probability of ω by α alone is {expected} on random scaffolds, unfamiliar less
    familiar, mean over lengths; one more than there are where it never is.
    """
    return _epochs_sooner(_of_domain(under(decomposed), "out"), "omega_from_alpha", expected)


@CLAIMS.finding("thesis chapter 5, section 4.3.1 and figure 9")
def alpha_suffices_when_unfamiliar(consumed: pd.DataFrame, *, high: float = HIGH) -> Margins:
    """Models of unfamiliar scaffolds expect ω with high probability by α alone.

    Margin: probability of ω by α alone, on known scaffolds of the greatest length, less {high}.
    """
    return float(_by_symbols(consumed)[0][False]) - high


@CLAIMS.finding("thesis chapter 5, section 4.3.1 and figure 9")
def familiar_leans_on_scaffold(consumed: pd.DataFrame) -> Margins:
    """Models of familiar scaffolds expect ω more by the symbols of the scaffold, and gain more by them than
    models of unfamiliar ones.

    Margin: gain, the probability of ω by α and the longest scaffold less that by α alone: when familiar,
    and when familiar less when unfamiliar.
    """
    means = _by_symbols(consumed)
    gain = means.iloc[:, -1] - means.iloc[:, 0]
    return pd.Series({"gain": gain[True], "more than unfamiliar": gain[True] - gain[False]})


@CLAIMS.finding("thesis chapter 5, section 4.3.1 and figure 10")
def familiar_more_interdependent(decomposed: pd.DataFrame) -> Margins:
    """α and a familiar scaffold are more interdependent than α and an unfamiliar one.

    Margin: interdependence, familiar less unfamiliar, mean over epochs and lengths.
    """
    return _familiar_less_unfamiliar(_of_domain(under(decomposed), "in"), "interdependence")


@CLAIMS.finding("thesis chapter 5, section 4.3.1 and figure 10")
def familiar_grows_interdependent(decomposed: pd.DataFrame) -> Margins:
    """Where scaffolds are familiar, their interdependence with α grows over training.

    Margin: rank correlation of mean interdependence with the epoch, by length.
    """
    rows = _of_domain(under(decomposed), "in").query("familiar")
    means = rows.groupby(["epoch", "length"])["interdependence"].mean().unstack("length")
    return means.apply(lambda each: _rank_correlation(means.index.to_numpy(), each.to_numpy()))


@CLAIMS.finding("thesis chapter 5, appendix B and figure 11")
def longer_rules_need_more(decomposed: pd.DataFrame, *, expected: float = EXPECTED) -> Margins:
    """A longer rule needs more examples.

    Margin: probability of ω by α alone after the last epoch, shortest scaffolds less longest, mean over the
    numbers of examples from which some length reaches {expected}.
    """
    rows = _at_last(under(decomposed).query("domain == 'in' and not familiar"))
    means = rows.pivot_table(index="rules", columns="length", values="omega_from_alpha")
    learnt = means[means.max(axis=1) >= expected]
    if means.shape[1] < 2 or learnt.empty:
        raise OutOfReachError(
            f"it takes two lengths, and a rule by which ω is expected with {expected:g} or more"
        )
    return (learnt.iloc[:, 0] - learnt.iloc[:, -1]).mean()


@CLAIMS.finding("thesis chapter 5, appendix B and figure 11")
def scaffold_alone_says_nothing(decomposed: pd.DataFrame, *, expected: float = EXPECTED) -> Margins:
    """By an unfamiliar scaffold alone, without α, ω is hardly expected, however often the rule occurs.

    Margin: {expected} less the probability of ω by the scaffold alone, after the last epoch, by length and
    number of examples.
    """
    rows = _at_last(under(decomposed).query("domain == 'in' and not familiar"))
    return expected - rows.groupby(["length", "rules"])["omega_from_scaffold"].mean()


@CLAIMS.finding("thesis chapter 5, appendix C and figure 12")
def familiar_smaller_gradients(gradients: pd.DataFrame) -> Margins:
    """Smaller gradients flow through familiar scaffolds, on average over training.

    Margin: share by which the gradient within familiar scaffolds is smaller, mean over epochs, offsets and
    lengths.
    """
    return _share_smaller(gradients)


@CLAIMS.finding("thesis chapter 5, appendix C and figure 12")
def familiar_smaller_gradients_at_last(gradients: pd.DataFrame) -> Margins:
    """Smaller gradients flow through familiar scaffolds, at the end of training.

    Margin: share by which the gradient within familiar scaffolds is smaller, after the last epoch, mean
    over offsets and lengths.
    """
    return _share_smaller(_at_last(gradients))
