"""Figures whose points are words: by frequency, over epochs; and curves of what correlates with frequency.

As in `plots`, nothing here trains, saves or shows, and interactive figures are plotly's.
"""

from collections.abc import Iterable
from itertools import product

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Polygon
from matplotlib.ticker import MaxNLocator

from lmdynamics import plots
from lmdynamics.measures.sparsity import chi
from lmthesis import axis

VIEWS = {**plots.LAYERS, "logits": "#999999"}
"""Colour of each layer, the decoder's output included."""
CLASSES = {"open": "#0072b2", "closed": "#d55e00", "other": "#999999"}
"""Colour of each class of words."""
CIRCLE, DIAMOND = "#c2185b", "#b8860b"
"""Colours of the points at which one norm or the other is 1."""
BACKWARDS, PLAIN = "#c0392b", "#e8e8e8"
"""Colours of a gradient on its way, and of words."""
KINDS = {"activation": "activations", "gradient": "gradients"}
"""What is looked at of a layer."""


def correlations(
    table: pd.DataFrame, axes: Iterable[Axes], *, log: pd.DataFrame, line: plots.Line = "-"
) -> list[Axes]:
    """Draw a correlation with frequency over training, a panel for activations and one for gradients.

    Parameters
    ----------
    table
        Rows `kind, layer, seed, tokens_read, correlation`.
    axes
        Two.
    log
        Losses of the language models, to mark when steps were rescaled.
    line
        Anything but ``"-"`` adds the means of another run to axes that were drawn on before.
    """
    axes = list(axes)
    for (kind, label), ax in zip(KINDS.items(), axes, strict=True):
        rows = table[table["kind"] == kind]
        plots.over_training(rows, ax, y="correlation", by="layer", colours=VIEWS, line=line, legend=False)
        if line != "-":
            continue
        plots.mark_rescalings(log, ax)
        axis.mark_thesis(ax)
        ax.axhline(0, color="0.45", linewidth=1)
        ax.set(title=label, ylabel="correlation with frequency" if ax is axes[0] else "")
    handles, labels = axes[0].get_legend_handles_labels()
    if line == "-":
        axes[0].figure.legend(handles, labels, loc="outside lower center", ncols=len(VIEWS))
    return axes


def classes(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw a correlation with frequency over training by class of words: all solid, matched samples dashed.

    Parameters
    ----------
    table
        Rows `group, seed, tokens_read, correlation`.
    ax
        Where to draw.
    """
    styles: dict[str, plots.Line] = {"": "-", ", matched": "--"}
    for (name, colour), (suffix, line) in product(CLASSES.items(), styles.items()):
        group = f"{name}{suffix}"
        rows = table[table["group"] == group]
        plots.seeds(rows, ax, x=plots.TOKENS, y="correlation", colour=colour, line=line, label=group)
    ax.axhline(0, color="0.45", linewidth=1)
    plots.training_axis(ax, table[plots.TOKENS]).set_ylabel("correlation with frequency")
    ax.figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    return ax


def heat_map_explorer(table: pd.DataFrame | None) -> go.Figure:
    """An interactive heat map of a value of each word over epochs, the most frequent word at the bottom.

    Parameters
    ----------
    table
        Rows `text, frequency, epoch, value`; several seeds are averaged. None where words were not recorded.

    Returns
    -------
    plotly.graph_objects.Figure
        Hovering names the word, its frequency, the epoch and the value.
    """
    if table is None:
        return plots.needs_a_run()
    grid, order = _grid(table)
    known = order.assign(text=order["text"].map(plots.literal_html))
    figure = go.Figure(
        go.Heatmap(
            z=grid.to_numpy().round(4),
            x=grid.columns,
            y=list(range(1, len(grid) + 1)),
            customdata=np.repeat(known.to_numpy(object)[:, None, :], grid.shape[1], axis=1),
            colorscale="Viridis",
            colorbar={"title": "χ", "thickness": 12},
            hovertemplate="<b>%{customdata[0]}</b> (%{customdata[1]:,} tokens), epoch %{x}<br>"
            "χ %{z:.4f}<extra></extra>",
        )
    )
    figure.update_xaxes(title="epoch", dtick=max(1, grid.shape[1] // 10), showgrid=False)
    figure.update_yaxes(title="rank of the target word, most frequent first", showgrid=False)
    return plots.interactive(figure).update_layout(height=520)


def heat_map(table: pd.DataFrame | None, ax: Axes) -> Axes:
    """Draw the heat map of `heat_map_explorer` on paper."""
    if table is None:
        return plots.needs_a_run_here(ax)
    grid, _ = _grid(table)
    ends = (-0.5, grid.shape[1] - 0.5, 0.5, len(grid) + 0.5)
    image = ax.imshow(
        grid, aspect="auto", origin="lower", cmap="viridis", interpolation="nearest", extent=ends
    )
    ax.set_xticks(range(grid.shape[1]), grid.columns)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel="rank of the target word")
    ax.grid(visible=False)
    ax.figure.colorbar(image, ax=ax, label="χ")
    return ax


def _grid(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean values, words by falling frequency × epochs; and the words with their frequencies."""
    order = table[["text", "frequency"]].drop_duplicates().sort_values(["frequency", "text"], ascending=False)
    grid = table.pivot_table(index="text", columns="epoch", values="value").reindex(order["text"])
    return grid, order


def by_frequency_explorer(table: pd.DataFrame | None) -> go.Figure:
    """An interactive figure of a value of each word by its frequency: the legend picks classes of words.

    Parameters
    ----------
    table
        Rows `text, frequency, class, value`, one for each word. None where words were not recorded.
    """
    if table is None:
        return plots.needs_a_run()
    figure = go.Figure()
    for name, colour in reversed(CLASSES.items()):
        rows = table[table["class"] == name]
        figure.add_scatter(
            x=rows["frequency"],
            y=rows["value"].round(4),
            text=rows["text"].map(plots.literal_html),
            mode="markers",
            marker={"color": colour, "size": 5, "opacity": 0.65},
            name=name,
            hovertemplate="<b>%{text}</b>, %{x:,} tokens<br>χ %{y:.4f}<extra></extra>",
        )
    figure.update_layout(legend={"orientation": "h", "y": 1.1, "traceorder": "reversed"})
    figure.update_xaxes(type="log", title="tokens of the word in the training part", dtick=1)
    figure.update_yaxes(title="mean χ")
    return plots.interactive(figure)


def by_frequency(table: pd.DataFrame | None, ax: Axes) -> Axes:
    """Draw the points of `by_frequency_explorer` on paper."""
    if table is None:
        return plots.needs_a_run_here(ax)
    for name, colour in reversed(CLASSES.items()):
        rows = table[table["class"] == name]
        ax.scatter(rows["frequency"], rows["value"], s=8, color=colour, alpha=0.6, label=name, linewidths=0)
    ax.set(xscale="log", xlabel="tokens of the word in the training part", ylabel="mean χ")
    ax.legend(markerscale=2.5, reverse=True)
    return ax


def widths(table: pd.DataFrame, axes: Iterable[Axes]) -> list[Axes]:
    """Draw mean χ by number of units, beside what independent normal units and equal ones would give.

    Parameters
    ----------
    table
        Rows `kind, layer, units, seed, mean`.
    axes
        Two, for activations and gradients.
    """
    axes, table = list(axes), table[table["layer"].isin(plots.LAYERS)]
    ticks = sorted(table["units"].unique())
    units = np.geomspace(ticks[0], ticks[-1])
    for (kind, label), ax in zip(KINDS.items(), axes, strict=True):
        for layer, colour in plots.LAYERS.items():
            rows = table[(table["kind"] == kind) & (table["layer"] == layer)]
            means = rows.groupby("units")["mean"].mean()
            ax.plot(means.index, means, color=colour, marker="o", label=layer)
        ax.plot(units, np.sqrt(np.pi / (2 * units)), color="0.45", linestyle="--", label="normal units")
        ax.plot(units, 1 / np.sqrt(units), color="0.45", linestyle=":", label="equal units")
        ax.set(title=label, xscale="log", xlabel="units", ylabel="mean χ" if ax is axes[0] else "")
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
        ax.minorticks_off()
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return axes


def noise(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw a correlation by the number of tokens that words are asked to have.

    Parameters
    ----------
    table
        Rows `least, tokens, seed, correlation, low, high`; the band is the mean over seeds of the last two.
    ax
        Where to draw; its abscissa becomes logarithmic.
    """
    styles: dict[str, plots.Line] = {"all": "-", "as many": "--"}
    for tokens, line in styles.items():
        rows = table[table["tokens"] == tokens]
        label = "all tokens of each word" if tokens == "all" else "only as many of each word"
        colour = plots.LAYERS["h2"]
        plots.seeds(rows, ax, x="least", y="correlation", colour=colour, line=line, label=label, band=True)
    ax.axhline(0, color="0.45", linewidth=1)
    ax.set(xscale="log", xlabel="tokens that a word has at least", ylabel="correlation with frequency")
    ticks = sorted(table["least"].unique())
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.legend()
    return ax


def sparsity(ax: Axes) -> Axes:
    """Draw χ of vectors of two units, with ‖v‖₂ = 1 and ‖v‖₁ = 1 (thesis chapter 6, section 2)."""
    sides = torch.linspace(-1.5, 1.5, 301, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(sides, sides, indexing="xy"), -1)
    image = ax.imshow(
        chi(grid).numpy(), extent=(-1.5, 1.5, -1.5, 1.5), origin="lower", cmap="Blues", vmin=0.6
    )
    ax.add_patch(Circle((0, 0), 1, fill=False, edgecolor=CIRCLE, linewidth=2.5))
    ax.add_patch(Polygon([(1, 0), (0, 1), (-1, 0), (0, -1)], fill=False, edgecolor=DIAMOND, linewidth=2.5))
    for at, label, colour in (((0.95, 0.95), "‖v‖₂ = 1", CIRCLE), ((0, 0.25), "‖v‖₁ = 1", DIAMOND)):
        ax.text(at[0], at[1], label, color=colour, backgroundcolor=(1, 1, 1, 0.7), ha="center")
    ax.set(xlabel="first unit", ylabel="second unit", aspect="equal")
    ax.grid(visible=False)
    ax.figure.colorbar(image, ax=ax, label="χ", shrink=0.85)
    return ax


def gradient_path(ax: Axes) -> Axes:
    """Draw the model at two steps, and how gradients flow back through it (thesis chapter 6, figure 1)."""
    layers = ("input", "e", "h1", "h2", "logits", "loss")
    names = (
        (r"$x_{t-1}$", r"$h^e_t$", r"$h^1_t$", r"$h^2_t$", r"$\hat{x}_t$", r"$x_t$"),
        (r"$x_t$", r"$h^e_{t+1}$", r"$h^1_{t+1}$", r"$h^2_{t+1}$", r"$\hat{x}_{t+1}$", r"$x_{t+1}$"),
    )
    bars = ("", r"$\bar{h}^e_t$", r"$\bar{h}^1_t$", r"$\bar{h}^2_t$", r"$\bar{x}_t$")
    forward, back = {"arrowstyle": "-|>", "color": "0.45", "linewidth": 1.3}, {
        "arrowstyle": "-|>", "color": BACKWARDS, "linewidth": 1.6
    }  # fmt: skip
    for column, texts in enumerate(names):
        x = 3.0 * column
        for y, (layer, label) in enumerate(zip(layers, texts, strict=True)):
            word = layer in ("input", "loss")
            colour = PLAIN if word else plots.LAYERS.get(layer, "#999999")
            ax.text(
                x, y, label, ha="center", va="center", fontsize=13, color="#222222" if word else "white",
                bbox={"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": "none"},
            )  # fmt: skip
            if y < len(layers) - 1:
                ax.annotate("", (x - 0.12, y + 0.7), (x - 0.12, y + 0.3), arrowprops=forward)
            if 0 < y < len(layers) - 1:
                ax.annotate("", (x + 0.12, y + 0.3), (x + 0.12, y + 0.7), arrowprops=back)
                if column == 0:
                    ax.text(x + 0.3, y + 0.5, bars[y], color=BACKWARDS, fontsize=12, va="center")
            if layer in ("h1", "h2") and column == 0:
                ax.annotate("", (x + 2.5, y + 0.1), (x + 0.5, y + 0.1), arrowprops=forward)
                ax.annotate("", (x + 0.5, y - 0.1), (x + 2.5, y - 0.1), arrowprops=back)
    for y, layer in enumerate(("word read", "embedding", "LSTM", "LSTM", "decoder", "word to come")):
        ax.text(-1.0, y, layer, ha="right", va="center", color="0.35")
    ax.set(xlim=(-2.6, 3.8), ylim=(-0.5, 5.5))
    ax.axis("off")
    return ax
