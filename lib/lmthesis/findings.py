"""The thesis's findings as objects: a statement, its source, and a margin that a table decides.

A margin is one number, positive where the finding shows. The verdict follows from its 95 % interval over
seeds: the finding *holds* where the whole interval is above 0, *does not hold* where it is below, and is
*open* where it spans 0 or there are too few seeds for an interval. Where the table has nothing to decide by,
it is *not tested*.

The interval is the jackknife's: the margin is computed anew without each seed in turn, and Student's t is
taken of the pseudo-values (Tukey 1958). For a mean over seeds that is the usual interval of a mean; it
remains valid where seeds are compared with one another, and their pairs are not independent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import Any, get_args

import pandas as pd
from pandas.io.formats.style import Styler

from lmdynamics.claims import Claim, Margin, Outcome, Verdict, judged
from lmdynamics.measures.bootstrap import half_interval
from lmdynamics.observe.decomposition import Convention
from lmthesis.chapter_4 import claims as chapter_4
from lmthesis.chapter_5 import claims as chapter_5
from lmthesis.chapter_6 import claims as chapter_6

__all__ = [
    "CLAIMS",
    "Claim",
    "Margin",
    "Outcome",
    "Verdict",
    "counted",
    "half_interval",
    "judged",
    "listed",
    "overview",
    "tallied",
    "under_conventions",
    "under_measures",
    "under_sparsities",
    "verdict",
]

CLAIMS = {**chapter_4.CLAIMS, **chapter_5.CLAIMS, **chapter_6.CLAIMS}
"""All findings, by name; the chapter that tests one prints its verdict."""


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


def overview(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The verdicts on all claims that the tables can decide.

    Returns
    -------
    pandas.DataFrame
        One row per claim: `finding, margin, low, high` (ends of the interval), `seeds, verdict, source`.
    """
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
            for verdict in _decided(tables)
        ]
    )


def listed(tables: Mapping[str, pd.DataFrame]) -> Styler:
    """The verdicts on all claims that the tables can decide, as a table for a page."""
    rows = [
        {
            "finding": f"{escape(found.claim.statement)}<br><small>{escape(found.claim.source)}</small>",
            "verdict": found.outcome,
            "margin": "–" if found.outcome == "not tested" else found.rounded(found.margin),
            "95 % interval": found.interval or "–",
            "seeds": found.seeds,
        }
        for found in _decided(tables)
    ]
    return pd.DataFrame(rows).style.hide(axis="index").set_table_attributes('class="dataframe findings"')


def tallied(chapters: Mapping[str, Mapping[str, pd.DataFrame]]) -> pd.DataFrame:
    """How many findings of each chapter have which verdict.

    Parameters
    ----------
    chapters
        The tables of each, by the name that it is to have.

    Returns
    -------
    pandas.DataFrame
        One row per chapter, one column per verdict: a number of findings.
    """
    return _counts({name: [found.outcome for found in _decided(tables)] for name, tables in chapters.items()})


def _counts(outcomes: Mapping[Any, Sequence[str]]) -> pd.DataFrame:
    """How often each verdict occurs (columns) in each of some lists (rows)."""
    counts = {name: pd.Series(each, dtype=object).value_counts() for name, each in outcomes.items()}
    return pd.DataFrame(counts).T.reindex(columns=get_args(Outcome)).fillna(0).astype(int)


def _decided(tables: Mapping[str, pd.DataFrame]) -> list[Verdict]:
    return [judged(claim, tables) for claim in CLAIMS.values() if set(claim.tables) <= tables.keys()]


def under_measures(tables: Mapping[str, pd.DataFrame], measures: Sequence[str]) -> pd.DataFrame:
    """The verdicts on the claims about similarity, were they decided by other measures of it.

    Parameters
    ----------
    tables
        Some of those of `studies.chapter_4`.
    measures
        Columns to decide by, instead of `svcca`.

    Returns
    -------
    pandas.DataFrame
        One row per claim, its statement the index, and a column for each measure: verdict and margin as text;
        a dash where a table lacks the measure.
    """
    rows: list[pd.Series] = []
    for claim in CLAIMS.values():
        if set(claim.tables) <= {"similarities", "ceiling", "trajectories"} & tables.keys():
            row, own = {}, {name: tables[name] for name in claim.tables}
            for measure in measures:
                if not all(measure in table for table in own.values()):
                    row[measure] = "–"
                    continue
                under = {name: table.assign(svcca=table[measure]) for name, table in own.items()}
                row[measure] = _briefly(judged(claim, under))
            rows.append(pd.Series(row, name=claim.statement))
    return pd.DataFrame(rows)


def counted(under: pd.DataFrame) -> pd.DataFrame:
    """How many findings have which verdict by each choice of what `under_measures` and its like return.

    Parameters
    ----------
    under
        One row per claim, one column per choice.

    Returns
    -------
    pandas.DataFrame
        One row per choice, one column per verdict: a number of findings.
    """
    return _counts({name: [text.partition(" (")[0] for text in column] for name, column in under.items()})


def under_conventions(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The verdicts on the claims of chapter 5, were they decided by other conventions of decomposition.

    Each is decided by the epochs for which all conventions were measured; one that these cannot decide is
    left out.

    Parameters
    ----------
    tables
        Those of `studies.chapter_5`; claims whose tables name no convention are left out.

    Returns
    -------
    pandas.DataFrame
        One row per claim, its statement the index; columns are what becomes of the product of biases, and of
        interactions; verdict and margin as text.
    """
    default = asdict(Convention())
    rows: list[pd.Series] = []
    for claim in CLAIMS.values():
        if not all("interactions" in tables.get(name, ()) for name in claim.tables):
            continue
        row: dict[tuple[str, str], str] = {}
        compared = {name: chapter_5.compared(tables[name]) for name in claim.tables}
        for convention in Convention.all():
            rows_of = {
                name: chapter_5.under(table, convention).assign(**default) for name, table in compared.items()
            }
            found = judged(claim, rows_of)
            row[convention.bias.replace("_", " "), convention.interactions] = _briefly(found)
        if set(row.values()) != {"not tested"}:
            rows.append(pd.Series(row, name=claim.statement))
    return pd.DataFrame(rows).rename_axis(columns=["bias × bias", "relevant × irrelevant"])


def under_sparsities(rho: pd.DataFrame) -> pd.DataFrame:
    """The verdicts on the claims about sparsity, were they decided by other measures of it.

    Parameters
    ----------
    rho
        The table of that name, of `studies.sparsity`.

    Returns
    -------
    pandas.DataFrame
        One row per claim, its statement the index; columns are how a correlation is taken and the measure;
        verdict and margin as text.
    """
    choices = [("pearson", measure) for measure in ("chi", "hoyer", "gini", "spare_units")]
    choices += [("log", "chi"), ("spearman", "chi")]
    rows: list[pd.Series] = []
    for claim in CLAIMS.values():
        if claim.tables == ("rho",) and claim is not CLAIMS["not_by_size"]:  # which asks for no sparsity
            row = {}
            for how, measure in choices:
                kept = rho[(rho["how"] == how) & rho["measure"].isin([measure, "taxicab"])]
                own = kept.assign(how="pearson", measure=kept["measure"].replace({measure: "chi"}))
                row[how, measure.replace("_", " ")] = _briefly(judged(claim, {"rho": own}))
            rows.append(pd.Series(row, name=claim.statement))
    return pd.DataFrame(rows).rename_axis(columns=["correlation", "sparsity"])


def _briefly(verdict: Verdict) -> str:
    if verdict.outcome == "not tested":
        return verdict.outcome
    return f"{verdict.outcome} ({verdict.rounded(verdict.margin)})"
