"""What a claim is, and how tables decide it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np
import pandas as pd

from lmdynamics.measures.bootstrap import half_interval

Outcome = Literal["holds", "does not hold", "open", "not tested"]
Margin = Callable[..., float]
"""Of one table or several; positive where a finding shows."""
CLEAR = 0.2
"""Least absolute correlation that is called clear; ours, for the thesis names none."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One finding of the thesis."""

    statement: str
    """In our words."""
    source: str
    """Section and figure."""
    tables: tuple[str, ...]
    """Names of the tables, among its study's, that decide it."""
    margin: Margin
    """Of these tables: positive where the finding shows; NaN where there is nothing to decide by."""
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
        interval = f"95 % interval {self.interval}" if self.interval else "no interval"
        seeds = f"{self.seeds} seed{'s' if self.seeds > 1 else ''}"
        return f"Margin ({self.claim.measured_as}): {self.rounded(self.margin)}, {interval} over {seeds}."

    @property
    def interval(self) -> str:
        """Its ends, as text; empty where there is none."""
        known = np.isfinite(self.low)
        return f"{self.rounded(self.low)} to {self.rounded(self.high)}" if known else ""

    def rounded(self, number: float) -> str:
        """The margin or an end of its interval with three decimals, or five where all of them are small."""
        largest = np.nanmax(np.abs([self.margin, self.low, self.high]))
        decimals = 5 if 0 < largest < 0.01 else 3
        return f"{round(number, decimals) + 0.0:+.{decimals}f}"  # + 0.0: no negative zero


def judged(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> Verdict:
    """What the tables of a study say of a claim, by the rule that `claims` states."""
    if missing := [name for name in claim.tables if name not in tables]:
        raise ValueError(f"the claim needs the table {missing[0]!r}, got {', '.join(tables) or 'none'}")
    found = [claim.among(tables[name]) for name in claim.tables]
    margin, seeds = claim.margin(*found), sorted(set.intersection(*(set(table["seed"]) for table in found)))
    if np.isnan(margin):
        return Verdict(claim, "not tested", margin, np.nan, np.nan, 0)
    without = np.array(
        [claim.margin(*(_without(table, seed) for table in found)) for seed in seeds if len(seeds) > 1]
    )
    half = half_interval(len(seeds) * margin - (len(seeds) - 1) * without)
    low, high = margin - half, margin + half
    outcome: Outcome = "holds" if low > 0 else "does not hold" if high < 0 else "open"
    return Verdict(claim, outcome, margin, low, high, len(seeds))


def _without(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The table as if a seed had not been run, neither for itself nor to be compared with."""
    own = [column for column in ("seed", "other_seed") if column in table.columns]
    return table[(table[own] != seed).all(axis=1)]
