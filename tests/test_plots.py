import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from lmdynamics import plots

mpl.use("agg")
ROWS = [
    {"seed": seed, "tokens_read": 1_000 * epoch, "layer": layer, "svcca": (epoch + seed) / 10}
    for seed in (0, 1)
    for epoch in range(4)
    for layer in ("e", "h1", "h2")
]
TABLE = pd.DataFrame(ROWS)


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_each_group_has_a_thick_mean_over_thin_seeds(ax):
    plots.over_training(TABLE, ax, y="svcca", by="layer", colours={"e": "red", "h1": "blue"})
    thick = [line for line in ax.lines if line.get_linewidth() > 2]
    assert [line.get_color() for line in thick] == ["red", "blue"]
    np.testing.assert_allclose(thick[0].get_ydata(), [0.05, 0.15, 0.25, 0.35])
    assert len(ax.lines) == 2 * (1 + 2)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("tokens read", "SVCCA similarity")


def test_a_baseline_is_dashed_and_not_in_the_legend(ax):
    plots.over_training(TABLE, ax, y="svcca", by="layer", colours=plots.LAYERS, line="--")
    assert {line.get_linestyle() for line in ax.lines} == {"--"}
    assert ax.get_legend() is None


def test_tokens_read_are_on_a_logarithmic_axis_with_the_untrained_network_at_its_left(ax):
    plots.over_training(TABLE, ax, y="svcca", by="layer", colours=plots.LAYERS)
    ax.figure.canvas.draw()
    assert [label.get_text() for label in ax.get_xticklabels()][:3] == ["0", "1K", "2K"]
    at = [ax.transData.transform((tokens, 0))[0] for tokens in (0, 1_000, 10_000, 100_000)]
    assert at[0] < at[1] < at[2]
    assert at[3] - at[2] == pytest.approx(at[2] - at[1])
    plots.over_training(
        TABLE.assign(tokens_read=10), ax, y="svcca", by="layer", colours=plots.LAYERS, line="--"
    )
    at = [ax.transData.transform((tokens, 0))[0] for tokens in (10, 100, 1_000)]
    assert at[2] - at[1] == pytest.approx(at[1] - at[0]), "the second table begins earlier"
    ax.set_xlim(0, 1e6)
    ax.figure.canvas.draw()
    shown = [label.get_text() for label in ax.get_xticklabels()]
    assert shown[:7] == ["0", "10", "100", "1K", "10K", "100K", "1M"]


@pytest.mark.parametrize("width", [2.5, 4, 7, 12])
@pytest.mark.parametrize("first", [1.4e3, 3.5e5, 7e6])
@pytest.mark.parametrize("marked", [True, False])
def test_no_tick_label_covers_another(width, first, marked):
    fig, ax = plt.subplots(figsize=(width, 3), layout="constrained")
    table = TABLE.assign(tokens_read=first * TABLE["tokens_read"] / 1_000)
    plots.over_training(table, ax, y="svcca", by="layer", colours=plots.LAYERS)
    if marked:
        plots.milestones(ax, {"first": 227e6, "last": 11.35e9})
    fig.canvas.draw()
    left, right = sorted(ax.get_xlim())
    boxes = [
        label.get_window_extent()
        for label, at in zip(ax.get_xticklabels(), ax.get_xticks(), strict=True)
        if left <= at <= right
    ]
    assert len(boxes) >= 2
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))
    plt.close(fig)


def test_large_numbers_are_short():
    numbers = (0, 35, 1_400, 350_120, 2_100_720, 11.35e9)
    assert list(map(plots.short, numbers)) == ["0", "35", "1.4K", "350K", "2.1M", "11.3B"]


def test_milestones_are_marked_with_their_names(ax):
    plots.milestones(ax, {"first": 10.0, "last": 500.0})
    assert [line.get_xdata()[0] for line in ax.lines] == [10.0, 500.0]
    assert [text.get_text() for text in ax.texts] == ["first", "last"]


def test_rescalings_are_marked_darker_the_more_seeds_share_them(ax):
    losses = pd.DataFrame(
        {"seed": [0, 0, 1, 1], "tokens_read": [1, 2, 1, 2], "rescaled": [True, True, True, False]}
    )
    plots.mark_rescalings(losses, ax)
    assert {int(line.get_xdata()[0]): line.get_alpha() for line in ax.lines} == {1: 1.0, 2: 0.5}
