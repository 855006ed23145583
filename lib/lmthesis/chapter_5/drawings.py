"""Drawings of chapter 5 that explain, and hold no data."""

from collections.abc import Iterable, Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Polygon

from lmdynamics import plots
from lmdynamics.observe.decomposition import linearised

RULE, SCAFFOLD = "#c0392b", "#2e8b57"
"""Colours of α and ω, or what stands for them, and of the scaffold between them."""
PARTS = {"gate": "#808080", "relevant": RULE, "irrelevant": "#0072b2", "bias": "#cc9922"}
"""Colour of a gate and of its parts."""
_RELEVANT = torch.linspace(-6, 6, 121, dtype=torch.float64)


def decomposition(ax: Axes) -> Axes:
    """Draw a state as the sum of a word's part and of the rest (thesis chapter 5, figure 1)."""
    words = ("either", "Socrates", "is", "mortal", "or")
    for place, word in enumerate(words):
        colour = RULE if place in (0, 4) else SCAFFOLD
        ax.text(place, 0, word, ha="center", va="center", color=colour, fontsize=12)
    arrow = {"arrowstyle": "-|>", "linewidth": 1.4}
    for place in range(4):
        box = {"boxstyle": "round,pad=0.45", "facecolor": "#999999", "edgecolor": "none"}
        ax.text(place, 1, "LSTM", ha="center", va="center", color="white", fontsize=10, bbox=box)
        ax.annotate("", (place, 0.72), (place, 0.2), arrowprops={**arrow, "color": "0.45"})
        if place:
            for height, colour in ((1.1, RULE), (0.9, PARTS["irrelevant"])):
                ends = (place - 0.3, height), (place - 0.7, height)
                ax.annotate("", *ends, arrowprops={**arrow, "color": colour})
    parts = (
        (2.3, RULE, 'due to "either" alone'),
        (1.7, PARTS["irrelevant"], "all the rest, and what both do together"),
    )
    for height, colour, label in parts:
        ax.plot([-0.3, 3.3], [height, height], color=colour, linewidth=5, solid_capstyle="butt", alpha=0.75)
        ax.text(-0.3, height + 0.1, label, ha="left", va="bottom", color=colour, fontsize=10)
        ax.annotate("", (3.86, 2 + (height - 2) * 0.3), (3.35, height), arrowprops={**arrow, "color": colour})
    ax.text(4, 2, "state", ha="center", va="center", color="0.3", fontsize=11)
    ax.annotate("", (4, 0.2), (4, 1.82), arrowprops={**arrow, "color": "0.45"})
    ax.set(xlim=(-0.7, 4.5), ylim=(-0.2, 2.7))
    ax.axis("off")
    return ax


def scaffolding(axes: Iterable[Axes]) -> list[Axes]:
    """Draw a rule around a familiar span and around an unfamiliar one (thesis chapter 5, figure 5).

    Parameters
    ----------
    axes
        Two, one below the other.
    """
    axes = list(axes)
    words = ("either", "Socrates", "is", "mortal", "or")
    titles = ("familiar: a known constituent is built upon", "unfamiliar: the rule is learnt by itself")
    for ax, title in zip(axes, titles, strict=True):
        familiar = title.startswith("familiar")
        for place, word in enumerate(words):
            colour = RULE if place in (0, 4) else SCAFFOLD if familiar else "#555555"
            ax.text(place, 0, word, ha="center", va="center", color=colour, fontsize=12)
        turn = np.linspace(0, np.pi, 40)
        if familiar:
            ax.add_patch(Polygon([(0.6, 0.3), (3.4, 0.3), (2, 1.0)], facecolor=SCAFFOLD, alpha=0.3))
            for x, width in ((1, 1), (3, 1)):
                ax.plot(x - width * np.cos(turn), 0.35 + 0.75 * np.sin(turn), color=RULE, linewidth=1.8)
        else:
            ax.plot(2 - 2 * np.cos(turn), 0.35 + 0.9 * np.sin(turn), color=RULE, linewidth=1.8)
        ax.set(xlim=(-0.6, 4.6), ylim=(-0.4, 1.5))
        ax.set_title(title, fontsize="medium", loc="left")
        ax.axis("off")
    return axes


def gate(axes: Iterable[Axes], *, others: Sequence[float] = (-3.0, 0.0, 3.0)) -> list[Axes]:
    """Draw how the logistic of a sum is shared out among its terms, without bias: `gate_explorer` on paper.

    Parameters
    ----------
    axes
        One for each irrelevant input.
    others
        These inputs.
    """
    axes = list(axes)
    for other, ax in zip(others, axes, strict=True):
        for name, value in _shares(other, 0.0).items():
            ax.plot(_RELEVANT, value, color=PARTS[name], label=name, linewidth=3 if name == "gate" else 1.5)
        ax.set(title=f"irrelevant input {other:g}", xlabel="relevant input")
    axes[0].set_ylabel("share of the gate")
    axes[-1].legend(fontsize="small")
    return axes


def _shares(other: float, bias: float) -> dict[str, torch.Tensor]:
    """The logistic gate, and what of it is the relevant input's, the irrelevant one's and the bias's."""
    one, fixed = torch.full_like(_RELEVANT, other), torch.tensor(bias, dtype=torch.float64)
    whole = _RELEVANT + one + fixed
    shares = {
        "relevant": linearised(torch.sigmoid, _RELEVANT, whole, fixed),
        "irrelevant": linearised(torch.sigmoid, one, whole, fixed),
        "bias": torch.sigmoid(fixed).expand_as(whole),
    }
    return {"gate": torch.stack([*shares.values()]).sum(0), **shares}


def gate_explorer() -> go.Figure:
    """An interactive figure of how the logistic of a sum is shared out among its terms.

    Returns
    -------
    plotly.graph_objects.Figure
        Over the relevant input: the gate, and the parts of it that are relevant, irrelevant and the bias's;
        a slider sets the irrelevant input, buttons the bias.
    """
    others, biases = np.arange(-4.0, 4.5, 1.0), (-2.0, 0.0, 2.0)
    figure = go.Figure()
    for bias in biases:
        for other in others:
            for name, value in _shares(other, bias).items():
                figure.add_scatter(
                    x=_RELEVANT.numpy(),
                    y=value.numpy().round(4),
                    name=name,
                    line={"color": PARTS[name], "width": 4 if name == "gate" else 2},
                    visible=bias == 0 and other == 0,
                    hovertemplate=f"<b>{name}</b> at relevant input %{{x:.1f}}: %{{y:.3f}}<extra></extra>",
                )

    def visible(bias: float, other: float) -> list[bool]:
        return [(b, o) == (bias, other) for b in biases for o in others for _ in PARTS]

    def slider(bias: float) -> dict:
        steps = [
            {"label": f"{other:g}", "method": "restyle", "args": [{"visible": visible(bias, other)}]}
            for other in others
        ]
        return {"active": len(others) // 2, "currentvalue": {"prefix": "irrelevant input "}, "steps": steps}

    buttons = [
        {
            "label": f"bias {bias:g}",
            "method": "update",
            "args": [{"visible": visible(bias, 0.0)}, {"sliders": [slider(bias)]}],
        }
        for bias in biases
    ]
    menu = {"buttons": buttons, "direction": "right", "type": "buttons", "active": 1, "x": 0, "y": 1.18}
    figure.update_layout(
        updatemenus=[{**menu, "xanchor": "left"}],
        sliders=[slider(0.0)],
        xaxis={"title": "relevant input"},
        yaxis={"title": "share of the gate", "range": [-0.75, 1.3]},
    )
    return plots.interactive(figure)
