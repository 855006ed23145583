"""Figures from tidy tables: one function per kind, drawn on axes that it is given.

Nothing here trains, saves or shows. One colour per layer through the whole book; one thin line per seed under
the thick line of their mean. Interactive figures are plotly's, which the book and JupyterLab draw alike.
Texts from elsewhere, such as words of a corpus, are drawn as they are written: `literal` makes them ready for
Matplotlib, `literal_html` for plotly.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from typing import Any, Literal

import numpy as np
import pandas as pd

from lmdynamics.ground.extras import extra

with extra("plots"):
    import matplotlib as mpl
    import plotly.graph_objects as go
    from cycler import cycler
    from matplotlib import font_manager
    from matplotlib.axes import Axes
    from matplotlib.ticker import Locator, NullLocator

TOKENS = "tokens_read"
"""Column of the abscissa of whatever is drawn over training."""
Line = Literal["-", "--", ":", "-."]
"""Solid for what is measured, dashed and dotted for what it is compared with."""
Colour = str | np.ndarray
"""By name, or as a colour map gives it."""

MODELS = {"language model": "#5d5d9e"}
"""Colour of each kind of model."""
LAYERS = {"e": "#0072b2", "h1": "#d55e00", "h2": "#009e73"}
"""Colour of each layer; distinct to colour-blind readers (Okabe and Ito)."""
LAYER_PAIRS = {"e–h1": "#56b4e9", "h1–h2": "#cc79a7", "e–h2": "#7f7f7f"}
"""Colour of each pair of layers."""
MEASURES = {
    "svcca": "SVCCA similarity",
    "svcca_singular_values": "SVCCA, singular values",
    "pwcca": "PWCCA",
    "cka": "linear CKA",
    "rsa": "RSA",
    "accuracy": "accuracy of probes",
    "test_perplexity": "perplexity on the test part",
    "interdependence": "interdependence",
    "mean": "interdependence",
    "slope": "interdependence per edge",
    "relative_slope": "share of interdependence per edge",
    "omega": "probability of ω",
    "omega_from_alpha": "probability of ω by α alone",
    "omega_from_scaffold": "probability of ω by the scaffold alone",
    "whole": "norm of the gradient",
    "of_omega": "norm, loss of ω alone",
    "directions": "directions compared",
    "share": "share of moves that helped",
}
"""Label of an axis by column of a table."""


def use_style() -> None:
    """Set the look of all figures that are drawn from now on."""
    mpl.rcParams.update(
        {
            "axes.grid": True,
            "axes.prop_cycle": cycler(color=[*LAYERS.values(), *LAYER_PAIRS.values()]),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "figure.constrained_layout.use": True,
            "figure.dpi": 100,
            "figure.figsize": (7.0, 3.6),
            "font.size": 11,
            "grid.alpha": 0.25,
            "legend.frameon": False,
            "savefig.dpi": 200,
            "svg.hashsalt": "lmdynamics",
        }
    )


def literal(text: str, *, longest: int | None = None) -> str:
    """A text for a label, tick, legend or annotation of Matplotlib, which then draws it as it is written.

    Otherwise two `$` enclose mathematics, a `_` at the beginning keeps a label out of legends, and characters
    that the font lacks warn. These become □.

    Parameters
    ----------
    text
        Any text.
    longest
        Characters to draw; what is longer is cut off and ends in an ellipsis. None for all.
    """
    families = [font_manager.FontProperties(family=[name]) for name in mpl.rcParams["font.family"]]
    known = frozenset().union(*(_characters(font_manager.findfont(family)) for family in families))
    drawn = "".join(char if char in known else "□" for char in shortened(text, longest))
    before = "\u200b" if drawn.startswith("_") else ""  # a space of no width
    return before + drawn.replace("$", r"\$")


def literal_html(text: str, *, longest: int | None = None) -> str:
    """A text for a figure of plotly, which then draws it as it is written: neither markup nor mathematics.

    Parameters
    ----------
    text, longest
        As for `literal`.
    """
    return escape(shortened(text, longest), quote=False).replace("$", "&#36;")


def shortened(text: str, longest: int | None) -> str:
    """The text, or where it is longer its beginning with an ellipsis."""
    return text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"


@cache
def _characters(font: str) -> frozenset[str]:
    """Those that a font has, by its path."""
    return frozenset(map(chr, font_manager.get_font(font).get_charmap()))


def seeds(
    table: pd.DataFrame,
    ax: Axes,
    *,
    x: str,
    y: str,
    colour: Colour,
    line: Line = "-",
    label: str | None = None,
    width: float = 2.0,
    marker: str = "",
    band: bool = False,
) -> Axes:
    """Draw a thin line for each seed under the thick line of their mean; nothing where there are no rows.

    Parameters
    ----------
    table
        One row per `seed` and abscissa at least; several rows of one seed are averaged.
    ax
        Where to draw.
    x, y
        Columns: the abscissa, and what to draw.
    colour, line
        Of all lines.
    label
        Of the mean, in a legend.
    width, marker
        Of the mean: its line, and what stands at each abscissa.
    band
        Whether to shade between `low` and `high`, each averaged over seeds.
    """
    lines = table.pivot_table(index=x, columns="seed", values=y)
    if lines.empty:
        return ax
    if band:
        ends = table.groupby(x)[["low", "high"]].mean()
        ax.fill_between(ends.index, ends["low"], ends["high"], color=colour, alpha=0.15, linewidth=0)
    mean = lines.mean(axis=1)
    style: dict[str, Any] = {"color": colour, "linestyle": line}
    ax.plot(lines.index, lines, linewidth=0.7, alpha=0.5, **style)
    ax.plot(mean.index, mean, linewidth=width, label=label, marker=marker, markersize=3.5, **style)
    return ax


def over_training(
    table: pd.DataFrame,
    ax: Axes,
    *,
    y: str,
    by: str,
    colours: Mapping[str, str],
    line: Line = "-",
    legend: bool = True,
) -> Axes:
    """Draw a column over the tokens that a model has read, one colour per group.

    Parameters
    ----------
    table
        One row per `seed`, `tokens_read` and group at least; several rows of one seed are averaged.
    ax
        Where to draw.
    y, by
        Columns: what to draw, and the group.
    colours
        Colour of each group, in the order of the legend. Groups not named here are left out.
    line
        Anything but ``"-"`` draws the mean alone, thin and without an entry in the legend: a baseline.
    legend
        Whether to name the groups, where there are several.

    Returns
    -------
    matplotlib.axes.Axes
    """
    for group, colour in colours.items():
        rows = table[table[by] == group]
        if line == "-":
            seeds(rows, ax, x=TOKENS, y=y, colour=colour, label=literal(group), width=2.2, marker="o")
            continue
        lines = rows.pivot_table(index=TOKENS, columns="seed", values=y)
        if not lines.empty:
            ax.plot(lines.index, lines.mean(axis=1), color=colour, linewidth=1.2, linestyle=line)
    training_axis(ax, table[TOKENS])
    ax.set_ylabel(literal(MEASURES.get(y, y)))
    if legend and line == "-" and len(colours) > 1:
        ax.legend()
    return ax


def training_axis(ax: Axes, tokens: pd.Series) -> Axes:
    """Let the abscissa be tokens read, logarithmic from the first number above 0 on; 0 stands at its left.

    Parameters
    ----------
    ax
        Of which this may be the second call: the first number is then that of both.
    tokens
        What is drawn.
    """
    first = min((each for each in tokens if each > 0), default=1.0)
    if ax.get_xscale() == "symlog":
        first = min(first, ax.xaxis.get_transform().linthresh)  # type: ignore[attr-defined]
    ax.set_xscale("symlog", linthresh=first, linscale=0.4)
    ax.xaxis.set_major_locator(_Places())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda number, _: short(number))
    ax.set_xlabel("tokens read")
    return ax


class _Places(Locator):
    """Ticks of `training_axis`: 0 and as many round numbers as have room for their labels."""

    _INCHES = 0.5  # of a label

    def __call__(self) -> Sequence[float]:
        """Return where ticks stand, given what is seen of the axis and how wide it is drawn."""
        axis: Any = self.axis
        first, last = float(axis.get_transform().linthresh), float(max(axis.get_view_interval()))
        return self.tick_values(first, last, axes=axis.axes)

    def tick_values(self, vmin: float, vmax: float, axes: Axes | None = None) -> Sequence[float]:
        """Return where ticks stand from the first number above 0 to the last that is seen."""
        width = axes.bbox.width / axes.figure.dpi if axes else 5.0
        room = max(2, int(width / self._INCHES) - 1)
        powers = [10.0**power for power in range(int(np.floor(np.log10(vmin))), 16)]
        dense = [tick * digit for tick in powers for digit in (1, 2, 5) if vmin <= tick * digit <= vmax]
        if 3 * np.log10(vmax / vmin) + 1 <= room:  # evenly spaced, more or less
            return [0.0, *dense]
        sparse = [tick for tick in powers if vmin <= tick <= vmax]
        ticks = sparse if len(sparse) > 1 else dense
        return [0.0, *ticks[:: max(1, -(-len(ticks) // room))]]


def short(number: float | int | np.integer) -> str:
    """A large number in a few signs, such as 35K, 1.2M or 11B."""
    for size, sign in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.3g}{sign}"
    return f"{number:.3g}"


def milestones(ax: Axes, marks: Mapping[str, float]) -> Axes:
    """Mark numbers of tokens on the abscissa, each with its name along a line."""
    for name, tokens in marks.items():
        ax.axvline(tokens, color="0.6", linewidth=1.0)
        ax.annotate(
            name,
            (tokens, 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(-3, 0),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="bottom",
            fontsize="x-small",
            color="0.45",
        )
    return ax


def mark_rescalings(losses: pd.DataFrame, ax: Axes) -> Axes:
    """Draw a dotted line where a learning rate was quartered; more seeds, darker."""
    at = losses.loc[losses["rescaled"], TOKENS].value_counts()
    for tokens, number in at.items():
        ax.axvline(tokens, color="0.4", linestyle=":", alpha=number / losses["seed"].nunique())
    return ax


def interactive(figure: go.Figure) -> go.Figure:
    """The same plotly figure, made legible on light and dark pages."""
    figure.update_xaxes(gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    return figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#808080", "size": 13},
        margin={"l": 55, "r": 15, "t": 50, "b": 45},
        height=430,
    )


_NEEDS_A_RUN = "This figure shows words of the text,\nwhich are not recorded: run the page to see it."


def needs_a_run() -> go.Figure:
    """An interactive figure that says that it has nothing to show before the page is run."""
    figure = go.Figure()
    said = _NEEDS_A_RUN.replace("\n", "<br>")
    figure.add_annotation(text=said, showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return interactive(figure).update_layout(height=160)


def needs_a_run_here(ax: Axes) -> Axes:
    """The same on axes."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, _NEEDS_A_RUN, ha="center", va="center", color="0.45", transform=ax.transAxes)
    return ax
