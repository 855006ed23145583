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
