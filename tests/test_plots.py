import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from lmdynamics import plots

mpl.use("agg")
ROWS = [
    {"seed": seed, "epoch": epoch, "layer": layer, "svcca": (epoch + seed) / 10}
    for seed in (0, 1)
    for epoch in range(4)
    for layer in ("e", "h1", "h2")
]
TABLE = pd.DataFrame(ROWS)
PAIRS = pd.DataFrame(
    [
        {"seed": seed, "layer": layer, "epoch": a, "other_epoch": b, "svcca": 1 - abs(a - b) / 10 - seed / 50}
        for seed in (0, 1)
        for layer in ("e", "h1", "h2")
        for a in range(4)
        for b in range(4)
        if a != b
    ]
)


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_each_group_has_a_thick_mean_over_thin_seeds(ax):
    plots.over_epochs(TABLE, ax, y="svcca", by="layer", colours={"e": "red", "h1": "blue"})
    thick = [line for line in ax.lines if line.get_linewidth() > 2]
    assert [line.get_color() for line in thick] == ["red", "blue"]
    np.testing.assert_allclose(thick[0].get_ydata(), [0.05, 0.15, 0.25, 0.35])
    assert len(ax.lines) == 2 * (1 + 2)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "SVCCA similarity")


def test_a_baseline_is_dashed_and_not_in_the_legend(ax):
    plots.over_epochs(TABLE, ax, y="svcca", by="layer", colours=plots.LAYERS, line="--")
    assert {line.get_linestyle() for line in ax.lines} == {"--"}
    assert ax.get_legend() is None


def test_rescalings_are_marked_darker_the_more_seeds_share_them(ax):
    losses = pd.DataFrame(
        {"seed": [0, 0, 1, 1], "epoch": [1, 2, 1, 2], "rescaled": [True, True, True, False]}
    )
    plots.mark_rescalings(losses, ax)
    assert {int(line.get_xdata()[0]): line.get_alpha() for line in ax.lines} == {1: 1.0, 2: 0.5}


def test_maps_between_epochs_show_the_mean_over_seeds_and_one_on_the_diagonal():
    fig, axes = plt.subplots(1, 3)
    plots.between_epochs(PAIRS, axes)
    shown = axes[1].images[0].get_array()
    assert shown[0, 0] == 1
    assert shown[0, 2] == pytest.approx(1 - 0.2 - 0.01)
    plt.close(fig)


def test_the_explorer_has_a_curve_for_each_layer_and_epoch():
    traces = plots.epoch_explorer(PAIRS).data
    assert len(traces) == 3 * 4
    assert [trace.name for trace in traces if trace.visible] == ["e", "h1", "h2"]


def test_every_choice_of_the_explorer_shows_its_own_curves():
    layout = plots._explorer_layout(["e", "h1"], [0, 1, 2])
    both, first, second = layout["updatemenus"][0]["buttons"]
    assert both["args"][0]["visible"] == [False, False, True] * 2
    assert first["args"][0]["visible"] == [False, False, True] + [False] * 3
    steps = second["args"][1]["sliders"][0]["steps"]
    assert steps[1]["args"][0]["visible"] == [False] * 3 + [False, True, False]
