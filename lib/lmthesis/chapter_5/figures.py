"""Figures of interdependence, of sentences and of rules in made-up languages, each from a table.

As in `plots`, nothing here trains, saves or shows, and interactive figures are plotly's.
"""

from collections.abc import Iterable
from itertools import product

import matplotlib as mpl
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from plotly.subplots import make_subplots

from lmdynamics import plots
from lmthesis.chapter_5.drawings import RULE, SCAFFOLD

CLASSES = {"open": "#0072b2", "closed": "#d55e00", "mixed": "#7f7f7f"}
"""Colour of each pair of word classes."""
LONGEST_WORD, LONGEST_SENTENCE = 24, 60
"""Characters of a word on an axis, and of a sentence in a menu."""
PARTS = {"plain": "#e8e8e8", "phrase": "#a9d5bd", "scaffold": SCAFFOLD, "rule": RULE}
"""Colour of what a symbol of a made-up language is part of."""


def by_distance(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw mean interdependence by sequential distance: seeds thin, their mean thick.

    Parameters
    ----------
    table
        Rows `seed, sequential, mean, low, high`; the band is the interval over sentences, its ends averaged
        over seeds.
    ax
        Where to draw.
    """
    colour = plots.LAYERS["h1"]
    plots.seeds(table, ax, x="sequential", y="mean", colour=colour, width=2.2, marker="o", band=True)
    ax.set(xlabel="sequential distance, in words", ylabel=plots.MEASURES["mean"])
    return ax


def by_edges(table: pd.DataFrame, axes: Iterable[Axes], *, least: int) -> list[Axes]:
    """Draw mean interdependence by syntactic distance, a panel for each sequential distance.

    Parameters
    ----------
    table
        Rows `seed, sequential, syntactic, classes, pairs, mean, low, high`.
    axes
        One for each sequential distance from 1; more distances than panels are left out.
    least
        Pairs that a stratum needs to be drawn.

    Returns
    -------
    list of matplotlib.axes.Axes
        Lines are means over seeds, bands the 95 % interval over sentences, its ends averaged over seeds.
    """
    axes = list(axes)
    cells = table[table["pairs"] >= least]
    for sequential, ax in enumerate(axes, start=1):
        for classes, colour in CLASSES.items():
            rows = cells[(cells["sequential"] == sequential) & (cells["classes"] == classes)]
            means = rows.groupby("syntactic")[["mean", "low", "high"]].mean()
            ax.fill_between(means.index, means["low"], means["high"], color=colour, alpha=0.2, linewidth=0)
            ax.plot(means.index, means["mean"], color=colour, marker="o", markersize=3, label=classes)
        place = ax.get_subplotspec()
        ax.set(
            title="neighbours" if sequential == 1 else f"{sequential} words apart",
            xlabel="syntactic distance" if place is None or place.is_last_row() else "",
            ylabel=plots.MEASURES["mean"] if place is None or place.is_first_col() else "",
        )
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    handles, labels = axes[0].get_legend_handles_labels()
    title = f"Two words of these classes, at least {least} pairs in a stratum"
    axes[0].figure.legend(handles, labels, loc="outside upper center", ncols=len(CLASSES), title=title)
    return axes


def by_length(table: pd.DataFrame, ax: Axes, *, x: str, y: str, legend: bool = True) -> Axes:
    """Draw a column for each length of scaffold, unfamiliar ones solid, familiar ones dashed.

    Parameters
    ----------
    table
        Rows `length, familiar, seed`, and both columns.
    ax
        Where to draw.
    x, y
        Columns.
    legend
        Whether to name the lines.
    """
    lengths = sorted(table["length"].unique())
    shades = mpl.colormaps["viridis"](np.linspace(0.05, 0.8, len(lengths)))
    for (length, colour), familiar in product(zip(lengths, shades, strict=True), (False, True)):
        rows = table[(table["length"] == length) & (table["familiar"] == familiar)]
        label = f"{length} symbols{', familiar' if familiar else ''}"
        plots.seeds(rows, ax, x=x, y=y, colour=colour, line="--" if familiar else "-", label=label)
    ax.set(xlabel=x, ylabel=plots.MEASURES.get(y, y))
    if x == plots.TOKENS:
        plots.training_axis(ax, table[x])
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if legend:
        ax.legend(fontsize="small", frameon=True, framealpha=0.85, edgecolor="none")
    return ax


def rarity(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the probability of ω by α alone (solid) and by the scaffold alone (dotted), by number of examples.

    Parameters
    ----------
    table
        Rows `length, rules, seed, omega_from_alpha, omega_from_scaffold`, and how many `words` the language
        has: what α or the scaffold gives leaves all alike where it says nothing.
    ax
        Where to draw; its ordinate becomes logarithmic.
    """
    numbers = sorted(table["rules"].unique())
    shades = mpl.colormaps["plasma"](np.linspace(0.1, 0.75, len(numbers)))
    columns: dict[str, plots.Line] = {"omega_from_alpha": "-", "omega_from_scaffold": ":"}
    for (rules, colour), (column, line) in product(zip(numbers, shades, strict=True), columns.items()):
        label = f"{'α' if line == '-' else 'scaffold'}, {rules:,} examples"
        rows = table[table["rules"] == rules]
        plots.seeds(rows, ax, x="length", y=column, colour=colour, line=line, label=label, marker="o")
    ax.axhline(1 / table["words"].mean(), color="0.45", linewidth=1.2, linestyle="-.")
    ax.set(xlabel="symbols in the scaffold", ylabel="probability of ω, by parts", yscale="log")
    ax.set_xticks(sorted(table["length"].unique()))
    ax.minorticks_off()
    ax.figure.legend(loc="outside lower center", ncols=len(numbers), fontsize="small")
    return ax


def samples(table: pd.DataFrame, axes: Iterable[Axes]) -> list[Axes]:
    """Draw stretches of made-up languages, symbol by symbol (thesis chapter 5, figure 6).

    Parameters
    ----------
    table
        Rows `text, row, place, symbol, part`, of `languages.sample_table`.
    axes
        One for each text.
    """
    axes = list(axes)
    for text, ax in zip(table["text"].unique(), axes, strict=True):
        rows = table[table["text"] == text]
        for one in rows.to_dict("records"):
            ax.text(
                one["place"],
                -one["row"],
                one["symbol"].removeprefix("s"),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if one["part"] in ("scaffold", "rule") else "#222222",
                bbox={"facecolor": PARTS[one["part"]], "edgecolor": "none"},
            )
        ax.set(xlim=(-0.8, rows["place"].max() + 0.8), ylim=(-rows["row"].max() - 0.6, 0.6))
        ax.set_title(text, loc="left", fontsize="medium")
        ax.axis("off")
    return axes


def sentence_explorer(table: pd.DataFrame | None) -> go.Figure:
    """An interactive figure of the interdependence of all words of a sentence, beside its tree.

    Parameters
    ----------
    table
        Rows `sentence, left, right, left_word, right_word, left_head, right_head, interdependence`. None
        where sentences were not recorded.

    Returns
    -------
    plotly.graph_objects.Figure
        A menu chooses the sentence; hovering names the words, their value and whether an edge joins them.
    """
    if table is None:
        return plots.needs_a_run()
    figure = make_subplots(rows=2, row_heights=[0.3, 0.7], vertical_spacing=0.02, shared_xaxes=True)
    chosen, menu = list(dict.fromkeys(table["sentence"])), []
    for sentence in chosen:
        words, heads, grid = _sentence(table[table["sentence"] == sentence])
        count = len(words)
        shown_words = [plots.literal_html(word) for word in words]
        joined = [
            [
                "<br>joined by an edge" if heads[one] == other or heads[other] == one else ""
                for other in range(count)
            ]
            for one in range(count)
        ]
        x, y = _arcs(heads)
        figure.add_scatter(
            x=x, y=y, mode="lines", line={"color": "#808080", "width": 1.5}, hoverinfo="skip",
            showlegend=False, visible=sentence == chosen[0], row=1, col=1,
        )  # fmt: skip
        figure.add_heatmap(
            z=grid.round(4),
            customdata=joined,
            text=[[f"{one} … {other}" for other in shown_words] for one in shown_words],
            colorscale="Viridis",
            colorbar={"title": "DI", "len": 0.65, "y": 0.3, "thickness": 12},
            hovertemplate="<b>%{text}</b><br>interdependence %{z:.3f}%{customdata}<extra></extra>",
            hoverongaps=False,
            visible=sentence == chosen[0],
            row=2,
            col=1,
        )
        layout = {
            "xaxis.range": [-0.5, count - 0.5],
            "xaxis2.range": [-0.5, count - 0.5],
            "xaxis2.tickangle": -60,
            "yaxis2.range": [count - 0.5, -0.5],
        }
        for axis in ("xaxis2", "yaxis2"):
            ticks = [plots.literal_html(word, longest=LONGEST_WORD) for word in words]
            layout |= {f"{axis}.tickvals": list(range(count)), f"{axis}.ticktext": ticks}
        shown = [other == sentence for other in chosen for _ in range(2)]
        menu.append(
            {
                "label": plots.literal_html(" ".join(words), longest=LONGEST_SENTENCE),
                "method": "update",
                "args": [{"visible": shown}, layout],
            }
        )
    plots.interactive(figure).update_layout(
        updatemenus=[{"buttons": menu, "x": 0, "y": 1.12, "xanchor": "left", "yanchor": "bottom"}],
        height=640,
    )
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(showgrid=False)
    figure.update_yaxes(visible=False, row=1, col=1)
    figure.update_xaxes(showticklabels=False, row=1, col=1)
    figure.update_layout(menu[0]["args"][1])
    return figure


def sentence(table: pd.DataFrame | None, axes: Iterable[Axes]) -> list[Axes]:
    """Draw the tree of the first sentence above the interdependence of its words: the explorer on paper.

    Parameters
    ----------
    table
        As for `sentence_explorer`.
    axes
        Two, one below the other.
    """
    above, below = axes
    above.axis("off")
    if table is None:
        return [above, plots.needs_a_run_here(below)]
    words, heads, grid = _sentence(table[table["sentence"] == table["sentence"].iloc[0]])
    x, y = _arcs(heads)
    above.plot(
        [np.nan if at is None else at for at in x], [np.nan if at is None else at for at in y], color="0.3"
    )
    image = below.imshow(grid, cmap="viridis", aspect="auto")
    ticks = [plots.literal(word, longest=LONGEST_WORD) for word in words]
    below.set_xticks(range(len(words)), ticks, rotation=60, ha="right")
    below.set_yticks(range(len(words)), ticks)
    below.grid(visible=False)
    label = plots.MEASURES["interdependence"]
    below.figure.colorbar(image, ax=below, label=label, location="bottom", shrink=0.6)
    above.set_xlim(below.get_xlim())
    return [above, below]


def _sentence(pairs: pd.DataFrame) -> tuple[list[str], list[int], np.ndarray]:
    """Words, heads and interdependence (left × right) of one sentence, from the rows of its pairs."""
    left, right = (pairs[side].to_numpy(int) for side in ("left", "right"))
    count = int(right.max()) + 1
    words, heads = np.empty(count, object), np.zeros(count, int)
    for side, places in (("left", left), ("right", right)):
        words[places], heads[places] = pairs[f"{side}_word"], pairs[f"{side}_head"]
    grid = np.full((count, count), np.nan)
    grid[left, right] = pairs["interdependence"]
    return words.tolist(), heads.tolist(), grid


def _arcs(heads: list[int]) -> tuple[list[float | None], list[float | None]]:
    """Half ellipses from each word to its head, with gaps between them."""
    x: list[float | None] = []
    y: list[float | None] = []
    turn = np.linspace(0, np.pi, 25)
    for word, head in enumerate(heads):
        if word != head:
            x += [*((word + head) / 2 - (head - word) / 2 * np.cos(turn)), None]
            y += [*(abs(head - word) ** 0.7 * np.sin(turn)), None]
    return x, y
