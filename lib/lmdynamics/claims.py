"""The thesis's findings as objects: a statement, its source, and a margin that a table decides.

A margin is one number, positive where the finding shows. The verdict follows from its 95 % interval over
seeds: the finding *holds* where the whole interval is above 0, *does not hold* where it is below, and is
*open* where it spans 0 or there are too few seeds for an interval. Where the table has nothing to decide by,
it is *not tested*.

The interval is the jackknife's: the margin is computed anew without each seed in turn, and Student's t is
taken of the pseudo-values (Tukey 1958). For a mean over seeds that is the usual interval of a mean; it
remains valid where seeds are compared with one another, and their pairs are not independent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from pandas.io.formats.style import Styler
from scipy import stats

Outcome = Literal["holds", "does not hold", "open", "not tested"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One finding of the thesis."""

    statement: str
    """In our words."""
    source: str
    """Section and figure."""
    table: str
    """Name of the table, among its study's, that decides it."""
    margin: Callable[[pd.DataFrame], float]
    """Positive where the finding shows; NaN where there is nothing to decide by."""
    measured_as: str
    """What the margin is, for a reader."""
    among: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table
    """Keeps the seeds that have something to decide by."""


@dataclass(frozen=True)
class Verdict:
    """What a table says of a claim."""

    claim: Claim
    outcome: Outcome
    margin: float
    low: float
    high: float
    """Ends of the 95 % interval over seeds; NaN where there is none."""
    seeds: int

    def _repr_html_(self) -> str:
        return (
            f'<div class="verdict {self.outcome.replace(" ", "-")}"><p><strong>{self.outcome.capitalize()}.'
            f"</strong> {escape(self.claim.statement)} <em>({escape(self.claim.source)})</em></p>"
            f"<p>{escape(self.numbers)}</p></div>"
        )

    @property
    def numbers(self) -> str:
        """Margin, interval and number of seeds, as a sentence."""
        if self.outcome == "not tested":
            return f"Margin ({self.claim.measured_as}): nothing in this run to measure it by."
        known = np.isfinite(self.low)
        interval = f"95 % interval {self.low:+.3f} to {self.high:+.3f}" if known else "no interval"
        seeds = f"{self.seeds} seed{'s' if self.seeds > 1 else ''}"
        return f"Margin ({self.claim.measured_as}): {self.margin:+.3f}, {interval} over {seeds}."


def verdict(name: str, tables: Mapping[str, pd.DataFrame]) -> Verdict:
    """What the tables of a study say of a claim.

    Parameters
    ----------
    name
        Key in `CLAIMS`.
    tables
        By name, as the study of the claim's chapter returns them.

    Raises
    ------
    ValueError
        If there is no such claim, or its table is missing.
    """
    if name not in CLAIMS:
        raise ValueError(f"a claim is one of {', '.join(CLAIMS)}, got {name!r}")
    return judged(CLAIMS[name], tables)


def judged(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> Verdict:
    """What the tables of a study say of a claim, by the rule that the module states."""
    if claim.table not in tables:
        raise ValueError(f"the claim needs the table {claim.table!r}, got {', '.join(tables) or 'none'}")
    table = claim.among(tables[claim.table])
    margin, seeds = claim.margin(table), sorted(set(table["seed"]))
    if np.isnan(margin):
        return Verdict(claim, "not tested", margin, np.nan, np.nan, 0)
    without = np.array([claim.margin(_without(table, seed)) for seed in seeds if len(seeds) > 1])
    half = _half_interval(len(seeds) * margin - (len(seeds) - 1) * without)
    low, high = margin - half, margin + half
    outcome: Outcome = "holds" if low > 0 else "does not hold" if high < 0 else "open"
    return Verdict(claim, outcome, margin, low, high, len(seeds))


def _without(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The table as if a seed had not been run, neither for itself nor to be compared with."""
    own = [column for column in ("seed", "other_seed") if column in table.columns]
    return table[(table[own] != seed).all(axis=1)]


def _half_interval(values: Float[np.ndarray, " seeds"]) -> float:
    """Half of the 95 % interval of a mean; NaN for fewer than two values or where one is missing."""
    count = len(values)
    if count < 2:
        return np.nan
    return float(stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))


def overview(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The verdicts on all claims that the tables can decide.

    Returns
    -------
    pandas.DataFrame
        One row per claim: `finding, margin, low, high` (ends of the interval), `seeds, verdict, source`.
    """
    verdicts = [judged(claim, tables) for claim in CLAIMS.values() if claim.table in tables]
    return pd.DataFrame(
        [
            {
                "finding": verdict.claim.statement,
                "margin": verdict.margin,
                "low": verdict.low,
                "high": verdict.high,
                "seeds": verdict.seeds,
                "verdict": verdict.outcome,
                "source": verdict.claim.source,
            }
            for verdict in verdicts
        ]
    )


def listed(tables: Mapping[str, pd.DataFrame]) -> Styler:
    """The verdicts on all claims that the tables can decide, as a table for a page."""
    rows = overview(tables)
    source = rows["source"].map(escape)
    shown = pd.DataFrame(
        {
            "finding": rows["finding"].map(escape) + "<br><small>" + source + "</small>",
            "verdict": rows["verdict"],
            "margin": rows["margin"].map("{:+.3f}".format),
            "95 % interval": [
                f"{low:+.3f} to {high:+.3f}" for low, high in zip(rows["low"], rows["high"], strict=True)
            ],
            "seeds": rows["seeds"],
        }
    )
    shown.loc[rows["margin"].isna(), "margin"] = "–"
    shown.loc[rows["low"].isna(), "95 % interval"] = "–"
    return shown.style.hide(axis="index").set_table_attributes('class="dataframe findings"')


def _compared(table: pd.DataFrame, comparison: str, *, epoch: int | None = None) -> pd.Series:
    """Mean SVCCA over seeds of one comparison, by epoch, layer and other layer; at one epoch where asked."""
    rows = table[table["comparison"] == comparison]
    if epoch is not None:
        rows = rows[rows["epoch"] == epoch]
    return rows.groupby(["epoch", "layer", "other_layer"])["svcca"].mean()


def _last(table: pd.DataFrame) -> int:
    return int(table["epoch"].max())


def _settles_sooner(table: pd.DataFrame) -> float:
    between = table[table["epoch"].between(1, _last(table) - 1)]
    layers = _compared(between, "final").groupby("layer").mean()
    return layers.get("h2", np.nan) - layers.get("h1", np.nan)


def _below_ceiling(table: pd.DataFrame) -> float:
    return 0.8 - _compared(table, "other seed", epoch=_last(table)).max()


def _rise(comparison: str) -> Callable[[pd.DataFrame], float]:
    """Smallest rise from epoch 1 to the last, over layers or pairs of layers."""

    def margin(table: pd.DataFrame) -> float:
        if _last(table) <= 1:
            return np.nan
        first, last = (_compared(table, comparison, epoch=at).droplevel("epoch") for at in (1, _last(table)))
        return (last - first).min()

    return margin


def _near_above_far(table: pd.DataFrame) -> float:
    pairs = _compared(table, "other layer", epoch=_last(table)).droplevel("epoch")
    return min(pairs["e", "h1"], pairs["h1", "h2"]) - pairs["e", "h2"]


def _layers_below_seeds(table: pd.DataFrame) -> float:
    layers = _compared(table, "other layer", epoch=_last(table)).max()
    return _compared(table, "other seed", epoch=_last(table)).min() - layers


def _rescaled_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Only seeds with an epoch that follows a rescaling."""
    rescaled = table["rescaled"] & (table["epoch"] < _last(table)) if len(table) else table["rescaled"]
    return table[table["seed"].isin(table.loc[rescaled, "seed"])]


def _dip(table: pd.DataFrame) -> float:
    """Fall of the test loss in the epoch after a rescaling, mean over these epochs and then over seeds."""
    ordered = table.sort_values(["seed", "epoch"])
    falls = -ordered.groupby("seed")["test_loss"].diff()
    after = ordered.groupby("seed")["rescaled"].shift(fill_value=False).astype(bool)
    return falls.where(after).groupby(ordered["seed"]).mean().mean()


CLAIMS = {
    "loss_dips_when_rescaled": Claim(
        statement="Loss dips when the step of optimisation is rescaled.",
        source="thesis chapter 4, figure 2",
        table="losses",
        margin=_dip,
        among=_rescaled_seeds,
        measured_as="fall of the test loss in the epoch after a rescaling, in nats per token",
    ),
    "h2_settles_before_h1": Claim(
        statement="The upper layer h2 settles slightly before the lower one, h1.",
        source="thesis chapter 4, section 4 and figure 3",
        table="similarities",
        margin=_settles_sooner,
        measured_as="similarity to the own final state, h2 less h1, mean over the epochs between",
    ),
    "seeds_share_far_from_all": Claim(
        statement="The same layer of two models that differ in their seed alone stays well below 1.",
        source="thesis chapter 4, section 4 and figure 4, where the highest is near 0.64",
        table="similarities",
        margin=_below_ceiling,
        measured_as="0.8 less the highest similarity between seeds after the last epoch",
    ),
    "seeds_grow_alike": Claim(
        statement="Models of two seeds grow more alike over training, in every layer.",
        source="thesis chapter 4, section 4 and figure 4",
        table="similarities",
        margin=_rise("other seed"),
        measured_as="rise from epoch 1 to the last, in the layer where it is smallest",
    ),
    "near_layers_are_more_alike": Claim(
        statement="Neighbouring layers of a model are more alike than layers further apart.",
        source="thesis chapter 4, section 4 and figure 5",
        table="similarities",
        margin=_near_above_far,
        measured_as="the lower of e–h1 and h1–h2, less e–h2, after the last epoch",
    ),
    "layers_differ_more_than_seeds": Claim(
        statement="Two layers of one model are less alike than one layer of two models.",
        source="thesis chapter 4, section 4, figures 4 and 5",
        table="similarities",
        margin=_layers_below_seeds,
        measured_as="lowest similarity between seeds less highest between layers, after the last epoch",
    ),
    "layers_grow_alike": Claim(
        statement="The layers of a model grow more alike over training.",
        source="thesis chapter 4, section 4 and figure 5",
        table="similarities",
        margin=_rise("other layer"),
        measured_as="rise from epoch 1 to the last, in the pair where it is smallest",
    ),
}
"""All findings, by name; the chapter that tests one prints its verdict."""
