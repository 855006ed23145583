"""Figures from tidy tables: one function per kind, drawn on axes that it is given.

Nothing here trains, saves or shows. One colour per layer through the whole book; one thin line per seed under
the thick line of their mean. Interactive figures are plotly's, which the book and JupyterLab draw alike.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from plotly.subplots import make_subplots

from lmdynamics.measures.bootstrap import half_interval
from lmdynamics.measures.probes import RANDOM

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
TASKS = {
    "UDP POS": "#6656d6",
    "PTB POS": "#55aadd",
    "SEM (coarse)": "#cc6677",
    "SEM (fine)": "#cc9922",
    "topic": "#1f9d55",
}
"""Colour of each tagging task (after Paul Tol's muted scheme)."""
CLASSES = {"open": "#0072b2", "closed": "#d55e00", "mixed": "#7f7f7f"}
"""Colour of each pair of word classes."""
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


def over_epochs(
    table: pd.DataFrame,
    ax: Axes,
    *,
    y: str,
    by: str,
    colours: Mapping[str, str],
    line: Line = "-",
    legend: bool = True,
) -> Axes:
    """Draw a column over epochs, one colour per group.

    Parameters
    ----------
    table
        One row per `seed`, `epoch` and group at least; several rows of one seed are averaged.
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
            seeds(rows, ax, x="epoch", y=y, colour=colour, label=group, width=2.2, marker="o")
            continue
        lines = rows.pivot_table(index="epoch", columns="seed", values=y)
        if not lines.empty:
            ax.plot(lines.index, lines.mean(axis=1), color=colour, linewidth=1.2, linestyle=line)
    ax.set(xlabel="epoch", ylabel=MEASURES.get(y, y))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if legend and line == "-" and len(colours) > 1:
        ax.legend()
    return ax


def mark_rescalings(losses: pd.DataFrame, ax: Axes) -> Axes:
    """Draw a dotted line at each epoch after which a learning rate was quartered; more seeds, darker."""
    at = losses.loc[losses["rescaled"], "epoch"].value_counts()
    for epoch, number in at.items():
        ax.axvline(epoch, color="0.4", linestyle=":", alpha=number / losses["seed"].nunique())
    return ax


def settling(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """The book's first figure: how alike each layer is to its own final state, over training.

    Parameters
    ----------
    tables
        `similarities` and `losses` of `studies.similarity`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, ax = plt.subplots(figsize=(7, 3))
    final = tables["similarities"].query("comparison == 'final'")
    over_epochs(final, ax, y="svcca", by="layer", colours=LAYERS)
    mark_rescalings(tables["losses"], ax)
    return figure


def between_epochs(table: pd.DataFrame, axes: Iterable[Axes]) -> list[Axes]:
    """Draw how alike each two epochs are, one map per layer, mean over seeds.

    Parameters
    ----------
    table
        Rows `layer, epoch, other_epoch, svcca`.
    axes
        One for each layer of the table.

    Returns
    -------
    list of matplotlib.axes.Axes
    """
    grids, axes = _grids(table), list(axes)
    low = min(np.nanmin(grid) for grid in grids.values())
    for (layer, grid), ax in zip(grids.items(), axes, strict=True):
        image = ax.imshow(grid, vmin=low, vmax=1, cmap="viridis", origin="lower")
        ax.set(title=layer, xlabel="epoch")
        ax.grid(visible=False)
    axes[0].set_ylabel("epoch")
    axes[0].figure.colorbar(image, ax=axes, label=MEASURES["svcca"], shrink=0.8)
    return axes


def epoch_explorer(table: pd.DataFrame) -> go.Figure:
    """An interactive figure of how alike an epoch is to each other one: pick the layer and the epoch.

    Parameters
    ----------
    table
        Rows `layer, epoch, other_epoch, svcca`, several seeds.

    Returns
    -------
    plotly.graph_objects.Figure
        With the mean over seeds and, on hovering, their range.
    """
    layers = [layer for layer in LAYERS if layer in set(table["layer"])]
    epochs = sorted(set(table["epoch"]))
    of_pair = table.groupby(["layer", "epoch", "other_epoch"])["svcca"].agg(["mean", "min", "max"])
    figure = go.Figure()
    for layer in layers:
        for epoch in epochs:
            row = of_pair.loc[layer, epoch].reset_index()
            figure.add_scatter(
                x=row["other_epoch"],
                y=row["mean"].round(4),
                customdata=row[["min", "max"]].round(3),
                mode="lines+markers",
                line={"color": LAYERS[layer]},
                name=layer,
                visible=epoch == epochs[-1],
                hovertemplate=f"<b>{layer}</b>, epoch {epoch} and epoch %{{x}}<br>SVCCA %{{y:.3f}}"
                "<br>seeds from %{customdata[0]} to %{customdata[1]}<extra></extra>",
            )
    figure.update_layout(
        _explorer_layout(layers, epochs), yaxis_range=[max(0, table["svcca"].min() - 0.05), 1.02]
    )
    return interactive(figure)


def panels(
    table: pd.DataFrame,
    axes: Iterable[Axes],
    *,
    y: str,
    baselines: Mapping[Line, pd.DataFrame] | None = None,
    losses: pd.DataFrame | None = None,
) -> list[Axes]:
    """Draw a column over epochs by task, a panel for each layer, with one legend for all.

    Parameters
    ----------
    table
        Rows `task, layer, seed, epoch` and the column.
    axes
        One for each of `LAYERS`.
    y
        The column.
    baselines
        Tables to draw beside it, by their kind of line: over epochs, as horizontals where there is but one,
        in grey where there is no column `task`. The layer `probes.RANDOM` is drawn in every panel.
    losses
        Of the language models, to mark when steps were rescaled.

    Returns
    -------
    list of matplotlib.axes.Axes
    """
    axes = list(axes)
    for layer, ax in zip(LAYERS, axes, strict=True):
        over_epochs(table[table["layer"] == layer], ax, y=y, by="task", colours=TASKS, legend=False)
        for line, baseline in (baselines or {}).items():
            rows = baseline[baseline["layer"].isin([layer, RANDOM])]
            if "task" not in rows:
                ax.axhline(rows[y].mean(), color="0.45", linewidth=1.2, linestyle=line)
            elif rows["epoch"].nunique() > 1:
                over_epochs(rows, ax, y=y, by="task", colours=TASKS, line=line)
            else:
                for task, mean in rows.groupby("task")[y].mean().items():
                    ax.axhline(mean, color=TASKS[str(task)], linewidth=1.2, linestyle=line)
        if losses is not None:
            mark_rescalings(losses, ax)
        place = ax.get_subplotspec()
        ax.set(
            title=layer if place is None or place.is_first_row() else "",
            xlabel="epoch" if place is None or place.is_last_row() else "",
            ylabel=MEASURES.get(y, y) if ax is axes[0] else "",
        )
        if table.empty:
            ax.set(xticks=[], yticks=[])
            said = "nothing to show:\nthis run lacks\nwhat it needs"
            ax.text(0.5, 0.5, said, ha="center", va="center", color="0.45", transform=ax.transAxes)
    handles, labels = axes[0].get_legend_handles_labels()
    if not axes[0].figure.legends:
        axes[0].figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return axes


def task_explorer(table: pd.DataFrame) -> go.Figure:
    """An interactive figure of language models beside taggers: pick tasks, and true or shuffled tags.

    Parameters
    ----------
    table
        Rows `task, labels, layer, seed, epoch, svcca`.

    Returns
    -------
    plotly.graph_objects.Figure
        A panel for each layer; buttons choose true tags, shuffled tags or their difference, the legend the
        tasks; hovering gives the mean over seeds and its 95 % interval.
    """
    curves = table.pivot_table(index=["task", "layer", "epoch", "seed"], columns="labels", values="svcca")
    curves["true less shuffled"] = curves["true"] - curves["shuffled"]
    kinds = [kind for kind in ("true", "shuffled", "true less shuffled") if kind in curves]
    tasks = [task for task in TASKS if task in curves.index.get_level_values("task")]
    figure = make_subplots(cols=len(LAYERS), shared_yaxes=True, subplot_titles=list(LAYERS))
    drawn = []
    for kind, task, (column, layer) in product(kinds, tasks, enumerate(LAYERS, start=1)):
        lines = curves[kind].xs((task, layer), level=("task", "layer")).unstack("seed")
        figure.add_scatter(
            x=lines.index,
            y=lines.mean(axis=1).round(4),
            customdata=[round(half_interval(row), 3) for row in lines.to_numpy()],
            mode="lines+markers",
            line={"color": TASKS[task]},
            name=task,
            legendgroup=task,
            showlegend=column == 1,
            visible=kind == kinds[0],
            hovertemplate=f"<b>{task}</b>, {layer}, epoch %{{x}}<br>{kind} tags: %{{y:.3f}} ± %{{customdata}}"
            "<extra></extra>",
            row=1,
            col=column,
        )
        drawn.append(kind)
    buttons = [
        {"label": kind, "method": "update", "args": [{"visible": [each == kind for each in drawn]}]}
        for kind in kinds
    ]
    menu = {"buttons": buttons, "direction": "right", "type": "buttons", "x": 0, "y": 1.28, "xanchor": "left"}
    figure.update_layout(updatemenus=[menu], legend={"orientation": "h", "y": -0.2})
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title=MEASURES["svcca"], col=1)
    return interactive(figure)


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
    seeds(table, ax, x="sequential", y="mean", colour=LAYERS["h1"], width=2.2, marker="o", band=True)
    ax.set(xlabel="sequential distance, in words", ylabel=MEASURES["mean"])
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
            ylabel=MEASURES["mean"] if place is None or place.is_first_col() else "",
        )
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, labels, loc="outside upper center", ncols=len(CLASSES))
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
        seeds(rows, ax, x=x, y=y, colour=colour, line="--" if familiar else "-", label=label)
    ax.set(xlabel=x, ylabel=MEASURES.get(y, y))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if legend:
        ax.legend(fontsize="small", frameon=True, framealpha=0.85, edgecolor="none")
    return ax


def rarity(table: pd.DataFrame, ax: Axes, *, words: int) -> Axes:
    """Draw the probability of ω by α alone (solid) and by the scaffold alone (dotted), by number of examples.

    Parameters
    ----------
    table
        Rows `length, rules, seed, omega_from_alpha, omega_from_scaffold`.
    ax
        Where to draw; its ordinate becomes logarithmic.
    words
        Of the language: what α or the scaffold gives leaves all alike where it says nothing.
    """
    numbers = sorted(table["rules"].unique())
    shades = mpl.colormaps["plasma"](np.linspace(0.1, 0.75, len(numbers)))
    columns: dict[str, Line] = {"omega_from_alpha": "-", "omega_from_scaffold": ":"}
    for (rules, colour), (column, line) in product(zip(numbers, shades, strict=True), columns.items()):
        label = f"{'α' if line == '-' else 'scaffold'}, {rules:,} examples"
        rows = table[table["rules"] == rules]
        seeds(rows, ax, x="length", y=column, colour=colour, line=line, label=label, marker="o")
    ax.axhline(1 / words, color="0.45", linewidth=1.2, linestyle="-.")
    ax.set(xlabel="symbols in the scaffold", ylabel="probability of ω, by parts", yscale="log")
    ax.set_xticks(sorted(table["length"].unique()))
    ax.minorticks_off()
    ax.figure.legend(loc="outside lower center", ncols=len(numbers), fontsize="small")
    return ax


def sentence_explorer(table: pd.DataFrame) -> go.Figure:
    """An interactive figure of the interdependence of all words of a sentence, beside its tree.

    Parameters
    ----------
    table
        Rows `sentence, left, right, left_word, right_word, left_head, right_head, interdependence`.

    Returns
    -------
    plotly.graph_objects.Figure
        A menu chooses the sentence; hovering names the words, their value and whether an edge joins them.
    """
    figure = make_subplots(rows=2, row_heights=[0.3, 0.7], vertical_spacing=0.02, shared_xaxes=True)
    chosen, menu = list(dict.fromkeys(table["sentence"])), []
    for sentence in chosen:
        words, heads, grid = _sentence(table[table["sentence"] == sentence])
        count = len(words)
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
            text=[[f"{one} … {other}" for other in words] for one in words],
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
            layout |= {f"{axis}.tickvals": list(range(count)), f"{axis}.ticktext": words}
        shown = [other == sentence for other in chosen for _ in range(2)]
        label = " ".join(words)
        menu.append(
            {
                "label": label if len(label) <= 60 else label[:57] + "…",
                "method": "update",
                "args": [{"visible": shown}, layout],
            }
        )
    interactive(figure).update_layout(
        updatemenus=[{"buttons": menu, "x": 0, "y": 1.12, "xanchor": "left", "yanchor": "bottom"}],
        height=640,
    )
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(showgrid=False)
    figure.update_yaxes(visible=False, row=1, col=1)
    figure.update_xaxes(showticklabels=False, row=1, col=1)
    figure.update_layout(menu[0]["args"][1])
    return figure


def sentence(table: pd.DataFrame, axes: Iterable[Axes]) -> list[Axes]:
    """Draw the tree of the first sentence above the interdependence of its words: the explorer on paper.

    Parameters
    ----------
    table
        As for `sentence_explorer`.
    axes
        Two, one below the other.
    """
    above, below = axes
    words, heads, grid = _sentence(table[table["sentence"] == table["sentence"].iloc[0]])
    x, y = _arcs(heads)
    above.plot(
        [np.nan if at is None else at for at in x], [np.nan if at is None else at for at in y], color="0.3"
    )
    above.axis("off")
    image = below.imshow(grid, cmap="viridis", aspect="auto")
    below.set_xticks(range(len(words)), words, rotation=60, ha="right")
    below.set_yticks(range(len(words)), words)
    below.grid(visible=False)
    below.figure.colorbar(image, ax=below, label=MEASURES["interdependence"], location="bottom", shrink=0.6)
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


def _explorer_layout(layers: list[str], epochs: list[int]) -> dict:
    """Buttons that show one layer or all, a slider over the epoch that is compared."""

    def shown(layer: str | None, epoch: int) -> list[bool]:
        return [layer in (None, each) and at == epoch for each in layers for at in epochs]

    def slider(layer: str | None) -> dict:
        steps = [
            {"label": str(epoch), "method": "restyle", "args": [{"visible": shown(layer, epoch)}]}
            for epoch in epochs
        ]
        return {"active": len(epochs) - 1, "currentvalue": {"prefix": "beside epoch "}, "steps": steps}

    choices = {"all layers": None, **{layer: layer for layer in layers}}
    buttons = [
        {
            "label": label,
            "method": "update",
            "args": [{"visible": shown(layer, epochs[-1])}, {"sliders": [slider(layer)]}],
        }
        for label, layer in choices.items()
    ]
    menu = {"buttons": buttons, "direction": "right", "type": "buttons", "x": 0, "y": 1.18, "xanchor": "left"}
    return {
        "updatemenus": [menu],
        "sliders": [slider(None)],
        "showlegend": False,
        "xaxis": {"title": "epoch", "dtick": max(1, len(epochs) // 10)},
        "yaxis": {"title": MEASURES["svcca"]},
    }


def _grids(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Mean over seeds between each two epochs, 1 on the diagonal, by layer."""
    grids = {}
    for layer in LAYERS:
        if layer in set(table["layer"]):
            rows = table[table["layer"] == layer]
            grid = rows.pivot_table(index="epoch", columns="other_epoch", values="svcca").to_numpy().copy()
            np.fill_diagonal(grid, 1)
            grids[layer] = grid
    return grids


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
    ax.set(xticks=[], yticks=[])
    ax.text(0.5, 0.5, _NEEDS_A_RUN, ha="center", va="center", color="0.45", transform=ax.transAxes)
    return ax
