"""Figures of chapter 4: how alike layers are, over epochs, between epochs and beside taggers.

As in `plots`, nothing here trains, saves or shows, and interactive figures are plotly's.
"""

from collections.abc import Iterable, Mapping
from itertools import product

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plotly.subplots import make_subplots

from lmdynamics import plots
from lmdynamics.measures.bootstrap import half_interval
from lmdynamics.measures.probes import RANDOM
from lmthesis import axis

TASKS = {
    "UDP POS": "#6656d6",
    "PTB POS": "#55aadd",
    "SEM (coarse)": "#cc6677",
    "SEM (fine)": "#cc9922",
    "topic": "#1f9d55",
}
"""Colour of each tagging task (after Paul Tol's muted scheme)."""


def settling(
    tables: Mapping[str, pd.DataFrame], recorded: Mapping[str, pd.DataFrame] | None = None
) -> Figure:
    """The book's first figure: how alike each layer is to its own final state, over training.

    Parameters
    ----------
    tables
        `similarities`, `early_similarities` and `losses`.
    recorded
        The same of a longer run, to draw beside it.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, ax = plt.subplots(figsize=(7, 3))
    own = axis.whole(tables, "similarities").query("comparison == 'final'")
    plots.over_training(own, ax, y="svcca", by="layer", colours=plots.LAYERS)
    if recorded:
        beside = axis.whole(recorded, "similarities").query("comparison == 'final'")
        plots.over_training(beside, ax, y="svcca", by="layer", colours=plots.LAYERS, line="-.")
        axis.name_recorded(ax, recorded)
    plots.mark_rescalings(tables["losses"], ax)
    axis.mark_thesis(ax)
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
    axes[0].figure.colorbar(image, ax=axes, label=plots.MEASURES["svcca"], shrink=0.8)
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
    layers = [layer for layer in plots.LAYERS if layer in set(table["layer"])]
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
                line={"color": plots.LAYERS[layer]},
                name=layer,
                visible=epoch == epochs[-1],
                hovertemplate=f"<b>{layer}</b>, epoch {epoch} and epoch %{{x}}<br>SVCCA %{{y:.3f}}"
                "<br>seeds from %{customdata[0]} to %{customdata[1]}<extra></extra>",
            )
    figure.update_layout(
        _explorer_layout(layers, epochs), yaxis_range=[max(0, table["svcca"].min() - 0.05), 1.02]
    )
    return plots.interactive(figure)


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
        "yaxis": {"title": plots.MEASURES["svcca"]},
    }


def _grids(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Mean over seeds between each two epochs, 1 on the diagonal, by layer."""
    grids = {}
    for layer in plots.LAYERS:
        if layer in set(table["layer"]):
            rows = table[table["layer"] == layer]
            grid = rows.pivot_table(index="epoch", columns="other_epoch", values="svcca").to_numpy().copy()
            np.fill_diagonal(grid, 1)
            grids[layer] = grid
    return grids


def panels(
    table: pd.DataFrame,
    axes: Iterable[Axes],
    *,
    y: str,
    baselines: Mapping[plots.Line, pd.DataFrame] | None = None,
    losses: pd.DataFrame | None = None,
) -> list[Axes]:
    """Draw a column over training by task, a panel for each layer, with one legend for all.

    Parameters
    ----------
    table
        Rows `task, layer, seed, tokens_read` and the column.
    axes
        One for each of `LAYERS`.
    y
        The column.
    baselines
        Tables to draw beside it, by their kind of line: over training, as horizontals where there is but one,
        in grey where there is no column `task`. The layer `probes.RANDOM` is drawn in every panel.
    losses
        Of the language models, to mark when steps were rescaled.

    Returns
    -------
    list of matplotlib.axes.Axes
    """
    axes = list(axes)
    for layer, ax in zip(plots.LAYERS, axes, strict=True):
        plots.over_training(table[table["layer"] == layer], ax, y=y, by="task", colours=TASKS, legend=False)
        for line, baseline in (baselines or {}).items():
            rows = baseline[baseline["layer"].isin([layer, RANDOM])]
            if rows.empty:
                continue
            if "task" not in rows:
                ax.axhline(rows[y].mean(), color="0.45", linewidth=1.2, linestyle=line)
            elif rows[plots.TOKENS].nunique() > 1:
                plots.over_training(rows, ax, y=y, by="task", colours=TASKS, line=line)
            else:
                for task, mean in rows.groupby("task")[y].mean().items():
                    ax.axhline(mean, color=TASKS[str(task)], linewidth=1.2, linestyle=line)
        if losses is not None:
            plots.mark_rescalings(losses, ax)
        place = ax.get_subplotspec()
        ax.set(
            title=layer if place is None or place.is_first_row() else "",
            xlabel="tokens read" if place is None or place.is_last_row() else "",
            ylabel=plots.MEASURES.get(y, y) if ax is axes[0] else "",
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
        Rows `task, labels, layer, seed, tokens_read, svcca`.

    Returns
    -------
    plotly.graph_objects.Figure
        A panel for each layer; buttons choose true tags, shuffled tags or their difference, the legend the
        tasks; hovering gives the mean over seeds and its 95 % interval.
    """
    curves = table.pivot_table(
        index=["task", "layer", plots.TOKENS, "seed"], columns="labels", values="svcca"
    )
    first = table.loc[table[plots.TOKENS] > 0, plots.TOKENS].min()
    curves["true less shuffled"] = curves["true"] - curves["shuffled"]
    kinds = [kind for kind in ("true", "shuffled", "true less shuffled") if kind in curves]
    tasks = [task for task in TASKS if task in curves.index.get_level_values("task")]
    figure = make_subplots(cols=len(plots.LAYERS), shared_yaxes=True, subplot_titles=list(plots.LAYERS))
    drawn = []
    for kind, task, (column, layer) in product(kinds, tasks, enumerate(plots.LAYERS, start=1)):
        lines = curves[kind].xs((task, layer), level=("task", "layer")).unstack("seed")
        figure.add_scatter(
            x=lines.index.where(lines.index > 0, first / 2),  # a logarithmic axis has no 0
            text=list(map(plots.short, lines.index)),
            y=lines.mean(axis=1).round(4),
            customdata=[round(half_interval(row), 3) for row in lines.to_numpy()],
            mode="lines+markers",
            line={"color": TASKS[task]},
            name=task,
            legendgroup=task,
            showlegend=column == 1,
            visible=kind == kinds[0],
            hovertemplate=f"<b>{task}</b>, {layer}, %{{text}} tokens read<br>{kind} tags: "
            "%{y:.3f} ± %{customdata}<extra></extra>",
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
    figure.update_xaxes(title="tokens read", type="log", dtick=1)
    figure.update_yaxes(title=plots.MEASURES["svcca"], col=1)
    return plots.interactive(figure)


PICTURE = settling
"""What is drawn beside recorded tables, for the README."""
