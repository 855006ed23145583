"""The abscissa of the book's figures over training, with the thesis's own stretch of it marked."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes

from lmdynamics import plots

CHECKPOINTS = {"the thesis's first checkpoint": 227e6, "its last": 50 * 227e6}
"""Tokens that a language model of the thesis had read (chapter 4, section 3: 50 epochs of 227 million)."""


def mark_thesis(ax: Axes) -> Axes:
    """Mark where the thesis's curves begin and end."""
    return plots.milestones(ax, CHECKPOINTS)


def name_recorded(ax: Axes, recorded: Mapping[str, pd.DataFrame], *, lines: str = "dash-dotted: ") -> Axes:
    """Say above axes which recorded run they show, and by which lines if not by all."""
    ran = recorded["ran"]
    tokens, seeds = plots.short(ran["tokens_read"].max()), ", ".join(map(str, ran["seed"]))
    said = f"{lines}recorded, scale {ran['scale'].iloc[0]}, {tokens} tokens, seeds {seeds}"
    ax.annotate(plots.literal(said), (0, 1.01), xycoords="axes fraction", fontsize="x-small", color="0.35")
    return ax


def whole(tables: Mapping[str, pd.DataFrame], name: str) -> pd.DataFrame:
    """Return a table with its rows from within the first epoch, where there are any."""
    early = tables.get(f"early_{name}")
    return (
        tables[name] if early is None or early.empty else pd.concat([early, tables[name]], ignore_index=True)
    )
