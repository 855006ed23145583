"""Claims: a statement, its source, and margins that tables decide.

A finding says something of one or several *cells*: "h1 and h2 grow more alike, for every task" has one for
each layer and task. Each cell has a margin, positive where the finding shows, and a 95 % interval. The
finding *holds* where every cell's interval is above 0: an intersection-union test, which needs no correction
(Berger 1982). It *does not hold* where some cell's margin is below 0 after Holm's correction over the cells
(Holm 1979), at the 2.5 % of one end of the interval. It is *open* where neither is so, and where one seed
leaves no interval. It is *out of reach* where the run never came to what the finding speaks of.

The interval is over seeds: the margin is computed anew without each seed in turn, and Student's t is taken of
the pseudo-values (the jackknife; Tukey 1958). For a mean over seeds that is the usual interval of a mean; it
remains valid where seeds are compared with one another, and their pairs are not independent. Where a table
holds its numbers over resampled examples too (see `bootstrap.sample_columns`), the interval is over seeds and
examples at once, as in the multi-bootstrap (Sellam et al. 2022): both variances are added, and the degrees of
freedom are those of Satterthwaite (1946).

A claim is a function of tables, decorated:

>>> CLAIMS = Claims()
>>> @CLAIMS.finding("section 3, figure 2")
... def loss_falls(losses):
...     '''Loss falls over training.
...
...     Margin: loss after epoch 1 less that after the last, in nats.
...     '''
...     by_epoch = losses.groupby("epoch")["loss"].mean()
...     return by_epoch.loc[1] - by_epoch.iloc[-1]
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from lmdynamics.ground.provenance import code_fingerprint
from lmdynamics.measures import bootstrap

Outcome = Literal["holds", "does not hold", "open", "out of reach"]
Margins = float | pd.Series | pd.DataFrame
"""A number for each cell, whose labels name it; positive where the finding shows. NaN is no cell."""
Rule = Callable[..., Margins]
"""Margins of one table or several."""
Tables = Mapping[str, pd.DataFrame]
ERROR = 0.025
"""Largest probability of a verdict that is wrong where the truth is 0: one end of a 95 % interval."""


class OutOfReachError(Exception):
    """A run never came to what a finding speaks of; the message says what is missing."""


class Threshold(float):
    """A number that the source does not name and that a verdict may turn on, with others to try in its place.

    Parameters
    ----------
    value
        The number.
    tried
        Others, among which a reader sees where verdicts turn.
    meaning
        What it is, in words.
    """

    tried: tuple[float, ...]
    meaning: str

    def __new__(cls, value: float, *, tried: Sequence[float], meaning: str) -> "Threshold":
        """Make a number with what is to be known of it."""
        number = super().__new__(cls, value)
        number.tried, number.meaning = tuple(sorted({*map(float, tried), float(value)})), meaning
        return number


CLEAR = Threshold(
    0.2,
    tried=(0.05, 0.1, 0.15, 0.25, 0.3, 0.4, 0.5),
    meaning="least absolute correlation that is called clear",
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One finding of a paper."""

    name: str
    statement: str
    """In our words."""
    source: str
    """Section and figure."""
    margins: Rule
    """Of the tables: positive where the finding shows."""
    measured_as: str
    """What a margin is, for a reader."""
    tables: tuple[str, ...]
    """Names of the tables, among its study's, that decide it."""
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    """By the name of the argument."""
    rows: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table
    """Keeps, of each table, what the margins are of."""
    reported: str = ""
    """The source's own number, where its text or a table gives one."""

    @property
    def origin(self) -> str:
        """Section and figure, and the number that stands there."""
        return f"{self.source}; reported: {self.reported}" if self.reported else self.source

    @cached_property
    def rule(self) -> str:
        """Fingerprint of the rule: the code of the margins and of what decides by them."""
        return code_fingerprint(self.margins, decide, without=(Claim, Claims, Verdict))


@dataclass(frozen=True)
class Verdict:
    """What tables say of a claim."""

    claim: Claim
    outcome: Outcome
    cells: pd.DataFrame
    """A row for each: `margin`, the ends of its 95 % interval, `low` and `high` (NaN where there is none),
    and `below`, the probability of a margin so low or lower where the truth is 0."""
    seeds: int
    examples: bool = False
    """Whether intervals are over resampled examples too."""
    reason: str = ""
    """Why it is out of reach."""

    @property
    def weakest(self) -> str:
        """Name of the cell that speaks least for the claim, for its noise; empty where it has one alone."""
        return "" if self.cells.empty else str(self._weakest.name)

    @property
    def margin(self) -> float:
        """Of the weakest cell; NaN where there is none."""
        return self._end("margin")

    @property
    def low(self) -> float:
        """Lower end of the weakest cell's interval."""
        return self._end("low")

    @property
    def high(self) -> float:
        """Upper end of the weakest cell's interval."""
        return self._end("high")

    @property
    def positive(self) -> int:
        """Number of cells whose margin is positive."""
        return int((self.cells["margin"] > 0).sum())

    @cached_property
    def _weakest(self) -> pd.Series:
        return self.cells.sort_values("margin").sort_values("below", kind="stable").iloc[0]

    def _end(self, name: str) -> float:
        return np.nan if self.cells.empty else float(self._weakest[name])

    @property
    def numbers(self) -> str:
        """The weakest cell's margin and interval, and how many cells are positive, as a sentence."""
        if self.outcome == "out of reach":
            return f"Out of reach: {self.reason}."
        over = f"over {self.seeds} seed{'s' if self.seeds > 1 else ''}"
        over += " and resampled examples" if self.examples else ""
        interval = f"95 % interval {self.interval}" if self.interval else "no interval"
        number = f"{self.rounded(self.margin)}, {interval}"
        if len(self.cells) == 1:
            return f"Margin ({self.claim.measured_as}): {number} {over}."
        return (
            f"Margin ({self.claim.measured_as}): {self.positive} of {len(self.cells)} are positive; weakest "
            f"is {self.weakest}: {number} {over}."
        )

    @property
    def interval(self) -> str:
        """Ends of the weakest cell's, as text; empty where there is none."""
        known = np.isfinite(self.low)
        return f"{self.rounded(self.low)} to {self.rounded(self.high)}" if known else ""

    def rounded(self, number: float) -> str:
        """The weakest cell's margin or an end of its interval, as text."""
        return rounded(number, [self.margin, self.low, self.high])

    @property
    def brief(self) -> str:
        """Outcome and margin, in a few words."""
        known = self.outcome != "out of reach"
        return f"{self.outcome} ({self.rounded(self.margin)})" if known else self.outcome


@dataclass(frozen=True)
class Verdicts:
    """Several verdicts, shown as one table."""

    verdicts: tuple[Verdict, ...]
    rules: tuple[str, ...]
    """What is to be said of the rule of each."""

    def _repr_html_(self) -> str:
        rows = "".join(map(_row, self.verdicts, self.rules))
        return f'<table class="verdicts"><tbody>{rows}</tbody></table>'


def _row(verdict: Verdict, rule: str) -> str:
    """A row of a table in HTML."""
    claim, kind = verdict.claim, verdict.outcome.replace(" ", "-")
    about = f"{verdict.numbers} {rule}".strip()
    return (
        f'<tr class="{kind}"><td><strong>{verdict.outcome}</strong></td><td>{escape(claim.statement)} '
        f"<small>({escape(claim.origin)})</small><br><small>{escape(about)}</small></td></tr>"
    )


class Claims(dict[str, Claim]):
    """Claims by name, and what tables say of them.

    Parameters
    ----------
    dates
        A CSV file with a row for each rule that a claim ever had: `finding` (its name), `fingerprint`,
        `date`. `register` writes it.
    """

    def __init__(self, *, dates: Path | None = None) -> None:
        super().__init__()
        self.dates = dates

    def finding(
        self, source: str, *, rows: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table
    ) -> Callable[[Rule], Rule]:
        """Return a decorator that adds a claim.

        The function that it decorates takes tables, by the names that its study gives them, and returns a
        number, or one for each cell: a series or a table, whose labels name the cells. It raises
        `OutOfReachError` where these tables cannot have what it looks for. The first paragraph of its
        docstring is the statement; another says, after ``Margin:``, what a margin is; one more may say, after
        ``Reported:``, which number the source's text or a table gives. Arguments by keyword alone whose
        default is a `Threshold` are what a verdict may turn on; ``{name}`` in the docstring stands for its
        value.

        Parameters
        ----------
        source
            Section and figure.
        rows
            Keeps, of each table, what the margins are of: such as the seeds that have something to decide by.

        Raises
        ------
        ValueError
            If the docstring lacks statement or margin, or says one twice, or the name is taken.
        """

        def add(margins: Rule) -> Rule:
            name = margins.__name__
            if name in self:
                raise ValueError(f"claims need names of their own, got {name!r} twice")
            parameters = inspect.signature(margins).parameters.values()
            thresholds = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
            statement, measured_as, reported = _said(margins, thresholds)
            self[name] = Claim(
                name=name,
                statement=statement,
                source=source,
                margins=margins,
                measured_as=measured_as,
                tables=tuple(one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD),
                thresholds=thresholds,
                rows=rows,
                reported=reported,
            )
            return margins

        return add

    def verdicts(self, tables: Tables, *names: str) -> Verdicts:
        """Return the verdicts on some claims, for a page.

        Parameters
        ----------
        tables
            By name, as the study returns them that the claims are about. A table `rules`, of `rule_table`,
            says by which rules they were judged when they were recorded.
        names
            Of the claims.

        Raises
        ------
        ValueError
            If there is no such claim, or a table that decides one is missing.
        """
        chosen = self._chosen(names)
        verdicts = tuple(decide(claim, tables) for claim in chosen)
        return Verdicts(verdicts, tuple(self._about_rule(claim, tables) for claim in chosen))

    def verdict_table(self, tables: Tables) -> pd.DataFrame:
        """Return the verdicts on all claims whose tables are there.

        Parameters
        ----------
        tables
            As of `verdicts`.

        Returns
        -------
        pandas.DataFrame
            One row per claim: `finding`, `source` with what it reports, `verdict`; of its weakest cell the
            name, `weakest`, the `margin` (a number) and the ends of its interval, `low` and `high`; the
            number of `cells` and how many are `positive`; the number of `seeds`; what is to be said of the
            `rule`.
        """
        rows = []
        for claim in self._decided_by(tables):
            verdict = decide(claim, tables)
            row: dict[str, object] = {"finding": claim.statement, "source": claim.origin}
            row |= {"verdict": verdict.outcome}
            row |= {name: getattr(verdict, name) for name in ("weakest", "margin", "low", "high", "positive")}
            row |= {"cells": len(verdict.cells), "seeds": verdict.seeds}
            rows.append(row | {"rule": self._about_rule(claim, tables)})
        return pd.DataFrame(rows)

    def verdicts_under(self, choices: Mapping[Any, Tables], *names: str) -> pd.DataFrame:
        """Return the verdicts on claims, were they decided by other tables.

        Parameters
        ----------
        choices
            Tables by name, for each choice: of a measure, of a convention. A claim whose tables a choice
            lacks has a dash there; one that no choice can decide is left out.
        names
            Of the claims; all where there is none.

        Returns
        -------
        pandas.DataFrame
            One row per claim, its statement the index; one column per choice: verdict and margin, as text.

        Raises
        ------
        ValueError
            If there is no such claim.
        """
        by_claim = []
        for claim in self._chosen(names or tuple(self)):
            row = {
                choice: decide(claim, tables).brief if set(claim.tables) <= tables.keys() else "–"
                for choice, tables in choices.items()
            }
            if set(row.values()) - {"–", "out of reach"}:
                by_claim.append(pd.Series(row, name=claim.statement))
        return pd.DataFrame(by_claim)

    def verdicts_by_threshold(self, tables: Tables) -> pd.DataFrame:
        """Return the verdicts on claims with a threshold, over the values that are tried for it.

        Parameters
        ----------
        tables
            As of `verdicts`.

        Returns
        -------
        pandas.DataFrame
            One row per claim, threshold and `tried` value: `finding`, what the threshold is (`meaning`), its
            own `value`, the `verdict`.
        """
        return pd.DataFrame(
            [
                {
                    "finding": claim.statement,
                    "meaning": threshold.meaning,
                    "value": float(threshold),
                    "tried": tried,
                    "verdict": decide(claim, tables, **{name: tried}).outcome,
                }
                for claim in self._decided_by(tables)
                for name, threshold in claim.thresholds.items()
                for tried in threshold.tried
            ],
            columns=["finding", "meaning", "value", "tried", "verdict"],
        )

    def rule_table(self) -> pd.DataFrame:
        """Return the rule of each claim: its name (`finding`) and `fingerprint`."""
        rules = [{"finding": name, "fingerprint": claim.rule} for name, claim in self.items()]
        return pd.DataFrame(rules, columns=["finding", "fingerprint"])

    def rule_changes(self, claim: Claim, tables: Tables) -> list[str]:
        """Return what has changed of a claim's rule since tables were recorded, in words; none if nothing."""
        if "rules" not in tables:
            return []
        then = tables["rules"].loc[tables["rules"]["finding"] == claim.name, "fingerprint"].unique()
        changes = [] if len(then) else ["made after this was recorded"]
        for rule in (each for each in then if each != claim.rule):
            before = self._dates.get((claim.name, rule))
            since = f" of {before}" if before else ""
            changes.append(f"changed after this was recorded under rule {rule[:7]}{since}")
        return changes

    def register(self, date: str) -> int:
        """Write down the date of every rule that has none yet, and return how many these are.

        Parameters
        ----------
        date
            Such as 2026-01-31.

        Raises
        ------
        ValueError
            If the claims have no file of dates.
        """
        if self.dates is None:
            raise ValueError("these claims have no file of dates; make them by Claims(dates=path)")
        new = [
            {"finding": name, "fingerprint": claim.rule, "date": date}
            for name, claim in self.items()
            if (name, claim.rule) not in self._dates
        ]
        known = [
            {"finding": name, "fingerprint": rule, "date": on} for (name, rule), on in self._dates.items()
        ]
        pd.DataFrame(known + new).to_csv(self.dates, index=False, lineterminator="\n")
        del self._dates
        return len(new)

    @cached_property
    def _dates(self) -> dict[tuple[str, str], str]:
        """Of rules, by claim and fingerprint."""
        if self.dates is None or not self.dates.exists():
            return {}
        rows = pd.read_csv(self.dates, dtype=str)
        return {(row["finding"], row["fingerprint"]): row["date"] for row in rows.to_dict("records")}

    def _about_rule(self, claim: Claim, tables: Tables) -> str:
        """What is to be said of a claim's rule: its fingerprint, its date, whether it has changed."""
        if self.dates is None:
            return ""
        date = self._dates.get((claim.name, claim.rule))
        about = f"Rule {claim.rule[:7]}" + (f" of {date}" if date else ", not dated yet")
        return f"{', '.join([about, *self.rule_changes(claim, tables)])}."

    def _chosen(self, names: tuple[str, ...]) -> list[Claim]:
        if unknown := [name for name in names if name not in self]:
            raise ValueError(f"a claim is one of {', '.join(self)}, got {', '.join(unknown)}")
        return [self[name] for name in names]

    def _decided_by(self, tables: Tables) -> list[Claim]:
        return [claim for claim in self.values() if set(claim.tables) <= tables.keys()]


def _said(margins: Rule, thresholds: Mapping[str, Threshold]) -> tuple[str, str, str]:
    """The statement of a claim, what its margin is, and what its source reports, from a docstring."""
    statement, *others = [" ".join(each.split()) for each in (inspect.getdoc(margins) or "").split("\n\n")]
    measured_as, reported = (
        [each.removeprefix(mark).strip().rstrip(".") for each in others if each.startswith(mark)]
        for mark in ("Margin:", "Reported:")
    )
    if not statement or len(measured_as) != 1 or len(reported) > 1:
        raise ValueError(
            f"the docstring of {margins.__name__} needs a statement, and a paragraph that begins with "
            "'Margin:' and says what a margin is; at most one may begin with 'Reported:'"
        )
    values = {name: f"{threshold:g}" for name, threshold in thresholds.items()}
    return statement, measured_as[0].format(**values), "".join(reported)


def within(numbers: pd.Series | pd.DataFrame, limit: float) -> pd.Series:
    """Return the margins by which numbers are within a limit of 0, from above and from below: two cells each.

    A number is shown to be small by two tests, each against one side (Schuirmann 1987); a margin of its
    absolute value would be biased where it is near 0.
    """
    cells = named(numbers)
    sides = {"not above": limit - cells, "not below": limit + cells}
    return pd.concat(
        [each.set_axis([f"{cell}, {side}" for cell in cells.index]) for side, each in sides.items()]
    )


def named(margins: Margins) -> pd.Series:
    """Return margins by the names of their cells: their labels, and before a number what it counts."""
    if isinstance(margins, pd.DataFrame):
        margins = margins.stack(list(range(margins.columns.nlevels)), future_stack=True)
    if not isinstance(margins, pd.Series):
        return pd.Series([margins], index=[""], dtype=float)
    levels = margins.index.names
    places = [place if isinstance(place, tuple) else (place,) for place in margins.index]
    names = [
        ", ".join(
            f"{level} {each}" if level is not None and not isinstance(each, str) else str(each)
            for level, each in zip(levels, place, strict=True)
        )
        for place in places
    ]
    return pd.Series(margins.to_numpy(float), index=names)


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


def decide(claim: Claim, tables: Tables, **thresholds: float) -> Verdict:
    """Return what tables say of a claim.

    Parameters
    ----------
    claim
        The claim.
    tables
        By name; those that decide it, and any others.
    thresholds
        Other values than its own.

    Raises
    ------
    ValueError
        If a table that decides it is missing.
    """
    if missing := [name for name in claim.tables if name not in tables]:
        raise ValueError(f"the claim needs the table {missing[0]!r}, got {', '.join(tables) or 'none'}")
    try:
        whole = [claim.rows(tables[name]) for name in claim.tables]
        own = [table.loc[:, ~table.columns.str.fullmatch(bootstrap.SAMPLE_COLUMN)] for table in whole]
        seeds = sorted(set.intersection(*(set(table["seed"]) for table in own)))
        margins = _margins(claim, own, thresholds).dropna() if seeds else pd.Series(dtype=float)
        if margins.empty:
            raise OutOfReachError("nothing in this run to measure it by")
    except OutOfReachError as reason:
        nothing = pd.DataFrame(columns=["margin", "low", "high", "below"], dtype=float)
        return Verdict(claim, "out of reach", nothing, 0, reason=str(reason))
    without = [[_without(table, seed) for table in own] for seed in seeds if len(seeds) > 1]
    resampled = _resampled(whole, own) if len(seeds) > 1 else []
    others = [
        _margins_or_none(claim, each, thresholds).reindex(margins.index) for each in without + resampled
    ]
    rows = np.array(others, dtype=float).reshape(-1, len(margins))
    low, high, below = bootstrap.crossed(margins.to_numpy(), rows[: len(without)], rows[len(without) :])
    cells = pd.DataFrame({"margin": margins, "low": low, "high": high, "below": below})
    return Verdict(claim, _outcome(cells), cells, len(seeds), examples=bool(resampled))


def _outcome(cells: pd.DataFrame) -> Outcome:
    """All cells above 0; or one below it, by the first step of Holm's correction, which decides the rest."""
    if (cells["low"] > 0).all():
        return "holds"
    return "does not hold" if (cells["below"] < ERROR / len(cells)).any() else "open"


def _margins(
    claim: Claim, tables: Sequence[pd.DataFrame], thresholds: Mapping[str, float]
) -> "pd.Series[float]":
    """The margin of each cell, by its name."""
    margins = named(claim.margins(*tables, **thresholds))
    if not margins.index.is_unique:
        raise ValueError(f"cells of {claim.name} need names of their own, got {', '.join(margins.index)}")
    return margins


def _margins_or_none(
    claim: Claim, tables: Sequence[pd.DataFrame], thresholds: Mapping[str, float]
) -> "pd.Series[float]":
    try:
        return _margins(claim, tables, thresholds)
    except OutOfReachError:
        return pd.Series(dtype=float)


def _without(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The table as if a seed had not been run, neither for itself nor to be compared with."""
    own = [column for column in ("seed", "other_seed") if column in table.columns]
    return table[(table[own] != seed).all(axis=1)]


def _resampled(whole: Sequence[pd.DataFrame], own: Sequence[pd.DataFrame]) -> list[list[pd.DataFrame]]:
    """Tables as they are over each sample of examples, from those that hold the samples and without them."""
    samples = [
        {
            column: match.groups()
            for column in map(str, table)
            if (match := re.fullmatch(bootstrap.SAMPLE_COLUMN, column)) and table[column].notna().any()
        }
        for table in whole
    ]
    numbers = sorted({int(number) for columns in samples for _, number in columns.values()})
    return [
        [
            table.assign(
                **{
                    value: each[column].fillna(table[value])
                    for column, (value, own_number) in columns.items()
                    if int(own_number) == number
                }
            )
            for table, each, columns in zip(own, whole, samples, strict=True)
        ]
        for number in numbers
    ]
