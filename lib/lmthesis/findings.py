"""All claims of the book, by chapter, found by folder; and their verdicts as a page shows them."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from lmdynamics import claims
from lmdynamics.claims import Claims
from lmthesis import recorded
from lmthesis.recorded import Tables, Top


def chapters() -> dict[str, Claims]:
    """Return the claims of each chapter that has any, by the name of its folder."""
    names = [path.parent.name for path in sorted(Path(__file__).parent.glob("chapter_*/claims.py"))]
    return {name: importlib.import_module(f"lmthesis.{name}.claims").CLAIMS for name in names}


def results(scale_name: str, *, source: str = "run") -> dict[str, Tables]:
    """Return the tables of each chapter at one scale, by the name of its folder.

    Raises what `recorded.results` raises.
    """
    by_chapter = {}
    for name in chapters():
        study = importlib.import_module(f"lmthesis.{name}.study").study
        scale = importlib.import_module(f"lmthesis.{name}.settings").scale(scale_name)
        by_chapter[name] = recorded.results(study, scale, source=source)
    return by_chapter


def verdict_counts(results: Mapping[str, Tables]) -> pd.DataFrame:
    """Return how many findings of each chapter have which verdict.

    Returns
    -------
    pandas.DataFrame
        One row per chapter, one column per verdict.
    """
    known = chapters()
    outcomes = {
        name.replace("_", " "): known[name].verdict_table(tables)["verdict"].tolist()
        for name, tables in results.items()
    }
    return claims.verdict_counts(outcomes)


@dataclass(frozen=True)
class Chapters:
    """The verdicts on all claims, chapter by chapter, each with what ran."""

    results: Mapping[str, Tables]
    source: str

    def _repr_html_(self) -> str:
        known, parts = chapters(), []
        for name, tables in self.results.items():
            ran = tables["properties"].style.format(escape="html").hide(axis="index")
            parts += [
                f"<h2>{name.replace('_', ' ').capitalize()}</h2>",
                Top(tables["ran"], self.source)._repr_html_(),
                styled(known[name].verdict_table(tables)).to_html(),
                f"<details><summary>What ran</summary>{ran.to_html()}</details>",
            ]
        return "\n".join(parts)


def styled(verdict_table: pd.DataFrame) -> Styler:
    """Return a table of verdicts as a page shows it."""
    rows = [
        {
            "finding": f"{escape(row['finding'])}<br><small>{escape(row['source'])}</small>",
            "verdict": row["verdict"],
            "margin": _number(row["margin"], row),
            "95 % interval": f"{_number(row['low'], row)} to {_number(row['high'], row)}"
            if np.isfinite(row["low"])
            else "–",
            "seeds": row["seeds"],
        }
        for row in verdict_table.to_dict("records")
    ]
    return pd.DataFrame(rows).style.hide(axis="index").set_table_attributes('class="dataframe findings"')


def _number(number: float, row: Mapping[Any, Any]) -> str:
    return claims.rounded(number, [row["margin"], row["low"], row["high"]]) if np.isfinite(number) else "–"
