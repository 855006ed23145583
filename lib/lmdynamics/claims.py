"""Claims: a statement, its source, and a margin that tables decide.

A margin is one number, positive where the claim shows. The verdict follows from its 95 % interval over seeds:
the claim *holds* where the whole interval is above 0, *does not hold* where it is below, and is *open* where
it spans 0 or there are too few seeds for an interval. Where the tables have nothing to decide by, it is *not
tested*.

The interval is the jackknife's: the margin is computed anew without each seed in turn, and Student's t is
taken of the pseudo-values (Tukey 1958). For a mean over seeds that is the usual interval of a mean; it
remains valid where seeds are compared with one another, and their pairs are not independent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from lmdynamics.measures.bootstrap import jackknife

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

    def _row(self) -> str:
        """A row of a table in HTML."""
        kind = self.outcome.replace(" ", "-")
        return (
            f'<tr class="{kind}"><td><strong>{self.outcome}</strong></td><td>{escape(self.claim.statement)} '
            f"<small>({escape(self.claim.source)})</small><br><small>{escape(self.numbers)}</small></td></tr>"
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
        """The margin or an end of its interval, as text."""
        return rounded(number, [self.margin, self.low, self.high])

    @property
    def brief(self) -> str:
        """Outcome and margin, in a few words."""
        return (
            self.outcome if self.outcome == "not tested" else f"{self.outcome} ({self.rounded(self.margin)})"
        )


@dataclass(frozen=True)
class Verdicts:
    """Several verdicts, shown as one table."""

    verdicts: tuple[Verdict, ...]

    def _repr_html_(self) -> str:
        rows = "".join(verdict._row() for verdict in self.verdicts)
        return f'<table class="verdicts"><tbody>{rows}</tbody></table>'


class Claims(dict[str, Claim]):
    """Claims by name, and what tables say of them."""

    def verdicts(self, tables: Mapping[str, pd.DataFrame], *names: str) -> Verdicts:
        """Return the verdicts on some claims, for a page.

        Parameters
        ----------
        tables
            By name, as the study returns them that the claims are about.
        names
            Of the claims.

        Raises
        ------
        ValueError
            If there is no such claim, or a table that decides one is missing.
        """
        if unknown := [name for name in names if name not in self]:
            raise ValueError(f"a claim is one of {', '.join(self)}, got {', '.join(unknown)}")
        return Verdicts(tuple(decide(self[name], tables) for name in names))

    def decided(self, tables: Mapping[str, pd.DataFrame]) -> list[Verdict]:
        """Return the verdicts on all claims whose tables are there."""
        return [decide(claim, tables) for claim in self.values() if set(claim.tables) <= tables.keys()]

    def verdict_table(self, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        """Return the verdicts on all claims whose tables are there.

        Returns
        -------
        pandas.DataFrame
            One row per claim: `finding`, `source`, `verdict`, `margin` (a number), the ends of its interval
            over seeds, `low` and `high`, and the number of `seeds`.
        """
        return pd.DataFrame(
            [
                {
                    "finding": verdict.claim.statement,
                    "source": verdict.claim.source,
                    "verdict": verdict.outcome,
                    "margin": verdict.margin,
                    "low": verdict.low,
                    "high": verdict.high,
                    "seeds": verdict.seeds,
                }
                for verdict in self.decided(tables)
            ]
        )

    def verdicts_under(self, choices: Mapping[Any, Mapping[str, pd.DataFrame]]) -> pd.DataFrame:
        """Return the verdicts on claims, were they decided by other tables.

        Parameters
        ----------
        choices
            Tables by name, for each choice: of a measure, of a convention. A claim whose tables a choice
            lacks has a dash there; one that no choice can decide is left out.

        Returns
        -------
        pandas.DataFrame
            One row per claim, its statement the index; one column per choice: verdict and margin, as text.
        """
        rows = []
        for claim in self.values():
            row = {
                choice: decide(claim, tables).brief if set(claim.tables) <= tables.keys() else "–"
                for choice, tables in choices.items()
            }
            if set(row.values()) - {"–", "not tested"}:
                rows.append(pd.Series(row, name=claim.statement))
        return pd.DataFrame(rows)


def rounded(number: float, among: Sequence[float]) -> str:
    """A number with its sign and three decimals, or five where all of those it stands among are small."""
    largest = np.nanmax(np.abs(among))
    decimals = 5 if 0 < largest < 0.01 else 3
    return f"{round(number, decimals) + 0.0:+.{decimals}f}"  # + 0.0: no negative zero


def verdict_counts(outcomes: Mapping[Any, Sequence[str]]) -> pd.DataFrame:
    """Return how often each verdict occurs in each of some lists.

    Parameters
    ----------
    outcomes
        Lists of verdicts, such as a column of `Claims.verdicts_under` (what follows the verdict in a text is
        left out), by what they are called.

    Returns
    -------
    pandas.DataFrame
        One row per list, one column per verdict: a number of claims.
    """
    briefly = {name: [text.partition(" (")[0] for text in each] for name, each in outcomes.items()}
    counts = {name: pd.Series(each, dtype=object).value_counts() for name, each in briefly.items()}
    return pd.DataFrame(counts).T.reindex(columns=get_args(Outcome)).fillna(0).astype(int)


def decide(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> Verdict:
    """Return what tables say of a claim.

    Raises
    ------
    ValueError
        If a table that decides it is missing.
    """
    if missing := [name for name in claim.tables if name not in tables]:
        raise ValueError(f"the claim needs the table {missing[0]!r}, got {', '.join(tables) or 'none'}")
    own = [claim.among(tables[name]) for name in claim.tables]
    margin, seeds = claim.margin(*own), sorted(set.intersection(*(set(table["seed"]) for table in own)))
    if np.isnan(margin):
        return Verdict(claim, "not tested", margin, np.nan, np.nan, 0)
    without = np.array(
        [claim.margin(*(_without(table, seed) for table in own)) for seed in seeds if len(seeds) > 1]
    )
    low, high = jackknife(margin, without)
    outcome: Outcome = "holds" if low > 0 else "does not hold" if high < 0 else "open"
    return Verdict(claim, outcome, margin, low, high, len(seeds))


def _without(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The table as if a seed had not been run, neither for itself nor to be compared with."""
    own = [column for column in ("seed", "other_seed") if column in table.columns]
    return table[(table[own] != seed).all(axis=1)]
