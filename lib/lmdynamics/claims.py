"""The thesis's findings as objects: a statement, its source, and a margin that a table decides.

A margin is one number per seed, positive where the finding shows. The verdict follows from their mean and its
95 % interval over seeds (Student's t): the finding *holds* where the whole interval is above 0, *does not
hold* where it is below, and is *open* where it spans 0 or a single seed leaves no interval. Where the table
has nothing to decide by, it is *not tested*.
"""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

Outcome = Literal["holds", "does not hold", "open", "not tested"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One finding of the thesis."""

    statement: str
    """In our words."""
    source: str
    """Section and figure."""
    margin: Callable[[pd.DataFrame], pd.Series]
    """From a table to one number per seed; missing where a seed has nothing to decide by."""
    measured_as: str
    """What the margin is, for a reader."""


@dataclass(frozen=True)
class Verdict:
    """What a table says of a claim."""

    claim: Claim
    outcome: Outcome
    margins: pd.Series
    """One per seed."""
    mean: float
    low: float
    high: float
    """Ends of the 95 % interval of the mean over seeds; missing for fewer than two seeds."""

    def _repr_html_(self) -> str:
        return (
            f'<div class="verdict {self.outcome.replace(" ", "-")}"><p><strong>{self.outcome.capitalize()}.'
            f"</strong> {escape(self.claim.statement)} <em>({escape(self.claim.source)})</em></p>"
            f"<p>{escape(self.numbers)}</p></div>"
        )

    @property
    def numbers(self) -> str:
        """Margin, interval and number of seeds, as a sentence."""
        seeds = len(self.margins)
        if self.outcome == "not tested":
            return f"Margin ({self.claim.measured_as}): nothing in this run to measure it by."
        interval = f"95 % interval {self.low:+.3f} to {self.high:+.3f}" if seeds > 1 else "no interval"
        return (
            f"Margin ({self.claim.measured_as}): {self.mean:+.3f}, {interval} over {seeds} "
            f"seed{'s' if seeds > 1 else ''}."
        )


def verdict(name: str, table: pd.DataFrame) -> Verdict:
    """What a table says of a claim.

    Parameters
    ----------
    name
        Key in `CLAIMS`.
    table
        As the study of the claim's chapter returns it.

    Raises
    ------
    ValueError
        If there is no such claim.
    """
    if name not in CLAIMS:
        raise ValueError(f"a claim is one of {', '.join(CLAIMS)}, got {name!r}")
    return judged(CLAIMS[name], table)


def judged(claim: Claim, table: pd.DataFrame) -> Verdict:
    """What a table says of a claim, by the rule that the module states."""
    margins = claim.margin(table).dropna()
    count, mean = len(margins), float(margins.mean()) if len(margins) else np.nan
    if count < 2:
        return Verdict(claim, "open" if count else "not tested", margins, mean, np.nan, np.nan)
    half = float(stats.t.ppf(0.975, count - 1) * margins.std(ddof=1) / np.sqrt(count))
    low, high = mean - half, mean + half
    outcome: Outcome = "holds" if low > 0 else "does not hold" if high < 0 else "open"
    return Verdict(claim, outcome, margins, mean, low, high)


def overview(verdicts: dict[str, Verdict]) -> pd.DataFrame:
    """Verdicts as a table: one row per claim with its statement, source, margin, interval and outcome."""
    return pd.DataFrame(
        [
            {
                "finding": v.claim.statement,
                "source": v.claim.source,
                "margin": v.mean,
                "low": v.low,
                "high": v.high,
                "seeds": len(v.margins),
                "verdict": v.outcome,
            }
            for v in verdicts.values()
        ],
        index=list(verdicts),
    )


def _compared(table: pd.DataFrame, comparison: str, *, epoch: int | None = None) -> pd.Series:
    """Mean SVCCA by seed, epoch, layer and other layer, of one comparison; at one epoch where asked."""
    rows = table[table["comparison"] == comparison]
    if epoch is not None:
        rows = rows[rows["epoch"] == epoch]
    return rows.groupby(["seed", "epoch", "layer", "other_layer"])["svcca"].mean()


def _last(table: pd.DataFrame) -> int:
    return int(table["epoch"].max())


def _settles_sooner(table: pd.DataFrame) -> pd.Series:
    rows = _compared(table[table["epoch"].between(1, _last(table) - 1)], "final")
    layers = rows.groupby(["seed", "layer"]).mean().unstack()
    return layers["h2"] - layers["h1"]


def _below_ceiling(table: pd.DataFrame) -> pd.Series:
    return 0.8 - _compared(table, "other seed", epoch=_last(table)).groupby("seed").max()


def _rise(comparison: str) -> Callable[[pd.DataFrame], pd.Series]:
    """Smallest rise from epoch 1 to the last, over layers or pairs of layers."""

    def margin(table: pd.DataFrame) -> pd.Series:
        first, last = (_compared(table, comparison, epoch=at).droplevel("epoch") for at in (1, _last(table)))
        return (last - first).groupby("seed").min()

    return margin


def _near_above_far(table: pd.DataFrame) -> pd.Series:
    pairs = _compared(table, "other layer", epoch=_last(table)).unstack(["layer", "other_layer"])
    near = np.minimum(pairs["e", "h1"], pairs["h1", "h2"])
    return (near - pairs["e", "h2"]).groupby("seed").first()


def _layers_below_seeds(table: pd.DataFrame) -> pd.Series:
    layers = _compared(table, "other layer", epoch=_last(table)).groupby("seed").max()
    seeds = _compared(table, "other seed", epoch=_last(table)).groupby("seed").min()
    return seeds - layers


def _dip(table: pd.DataFrame) -> pd.Series:
    """Mean fall of the test loss in the epoch after a rescaling, by seed."""
    ordered = table.sort_values(["seed", "epoch"])
    falls = -ordered.groupby("seed")["test_loss"].diff()
    after = ordered.groupby("seed")["rescaled"].shift(fill_value=False).astype(bool)
    return falls.where(after).groupby(ordered["seed"]).mean()


CLAIMS = {
    "loss_dips_when_rescaled": Claim(
        statement="Loss dips when the step of optimisation is rescaled.",
        source="thesis chapter 4, figure 2",
        margin=_dip,
        measured_as="fall of the test loss in the epoch after a rescaling, in nats per token",
    ),
    "h2_settles_before_h1": Claim(
        statement="The upper layer h2 settles slightly before the lower one, h1.",
        source="thesis chapter 4, section 4 and figure 3",
        margin=_settles_sooner,
        measured_as="similarity to the own final state, h2 less h1, mean over the epochs between",
    ),
    "seeds_share_far_from_all": Claim(
        statement="The same layer of two models that differ in their seed alone stays well below 1.",
        source="thesis chapter 4, section 4 and figure 4, where the highest is near 0.64",
        margin=_below_ceiling,
        measured_as="0.8 less the highest similarity between seeds after the last epoch",
    ),
    "seeds_grow_alike": Claim(
        statement="Models of two seeds grow more alike over training, in every layer.",
        source="thesis chapter 4, section 4 and figure 4",
        margin=_rise("other seed"),
        measured_as="rise from epoch 1 to the last, in the layer where it is smallest",
    ),
    "near_layers_are_more_alike": Claim(
        statement="Neighbouring layers of a model are more alike than layers further apart.",
        source="thesis chapter 4, section 4 and figure 5",
        margin=_near_above_far,
        measured_as="the lower of e–h1 and h1–h2, less e–h2, after the last epoch",
    ),
    "layers_differ_more_than_seeds": Claim(
        statement="Two layers of one model are less alike than one layer of two models.",
        source="thesis chapter 4, section 4, figures 4 and 5",
        margin=_layers_below_seeds,
        measured_as="lowest similarity between seeds less highest between layers, after the last epoch",
    ),
    "layers_grow_alike": Claim(
        statement="The layers of a model grow more alike over training.",
        source="thesis chapter 4, section 4 and figure 5",
        margin=_rise("other layer"),
        measured_as="rise from epoch 1 to the last, in the pair where it is smallest",
    ),
}
"""All findings, by name; the chapter that tests one prints its verdict."""
