"""All claims of the book, by chapter, found by folder; and their verdicts as a page shows them.

`python -m lmthesis.findings` gives every rule of verdict that has no date yet that of today.
"""

import datetime
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from lmdynamics import claims
from lmdynamics.claims import ERROR, Claims
from lmthesis import html, recorded
from lmthesis.recorded import Tables


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


def by_chance(results: Mapping[str, Tables]) -> html.Paragraph:
    """Return how many findings would have a verdict though every margin were 0, in a sentence."""
    known = chapters()
    count = sum(len(known[name].verdict_table(tables)) for name, tables in results.items())
    return html.Paragraph(
        f"Were every margin 0 in truth, chance alone would make at most {100 * ERROR:g} % of findings hold, "
        f"and as many not hold: of these {count} findings {count * ERROR:.1f} each."
    )


def thresholds(results: Mapping[str, Tables]) -> html.Styler:
    """Return verdicts that rest on a threshold of our own, over other values of it, as a page shows them."""
    known = chapters()
    rows = []
    for name, tables in results.items():
        table = known[name].verdicts_by_threshold(tables)
        for _, tried in table.groupby(["finding", "meaning"], sort=False):
            one = tried.iloc[0]
            rows.append(
                {
                    "finding": _with_note(one["finding"], name.replace("_", " ")),
                    "threshold": _with_note(f"{one['value']:g}", one["meaning"]),
                    "verdict by its value": _runs(tried, one["value"]),
                }
            )
    return html.table(pd.DataFrame(rows, dtype=object), classes="dataframe findings")


def _runs(tried: pd.DataFrame, value: float) -> Markup:
    """Verdicts by ranges of the values that were tried; that of the value itself is strong."""
    parts = []
    for _, rows in tried.groupby((tried["verdict"] != tried["verdict"].shift()).cumsum()):
        first, last = rows["tried"].iloc[0], rows["tried"].iloc[-1]
        range_ = f"{first:g}" if first == last else f"{first:g} to {last:g}"
        text = f"{range_}: {rows['verdict'].iloc[0]}"
        is_own = (rows["tried"] == value).any()
        parts.append(Markup("<strong>{}</strong>").format(text) if is_own else text)
    return Markup("<br>").join(parts)


def styled(verdict_table: pd.DataFrame) -> html.Styler:
    """Return a table of verdicts as a page shows it."""
    rows = map(_shown, verdict_table.to_dict("records"))
    return html.table(pd.DataFrame(rows, dtype=object), classes="dataframe findings")


def _shown(row: Mapping[Any, Any]) -> dict[str, object]:
    about = f"{row['source']}. {row['rule']}".strip()
    interval = f"{_number(row['low'], row)} to {_number(row['high'], row)}"
    return {
        "finding": _with_note(row["finding"], about),
        "verdict": row["verdict"],
        "positive cells": f"{row['positive']} of {row['cells']}" if row["cells"] else "–",
        "weakest margin": _with_note(_number(row["margin"], row), row["weakest"]),
        "95 % interval": interval if np.isfinite(row["low"]) else "–",
        "seeds": row["seeds"],
    }


def _with_note(text: str, note: str) -> Markup:
    """A text, and small print below it."""
    return Markup("{}<br><small>{}</small>").format(text, note) if note else Markup("{}").format(text)


def _number(number: float, row: Mapping[Any, Any]) -> str:
    return claims.rounded(number, [row["margin"], row["low"], row["high"]]) if np.isfinite(number) else "–"


def main() -> None:
    """Give rules without a date that of today."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    for name, of_chapter in chapters().items():
        print(f"{name}: {of_chapter.register(today)} new rules")


if __name__ == "__main__":
    main()
