"""Figures of chapter 4 on made-up tables."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from lmthesis.chapter_4 import figures

mpl.use("agg")
ROWS = [
    {"seed": seed, "epoch": epoch, "tokens_read": 10 * epoch, "layer": layer, "svcca": (epoch + seed) / 10}
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


def test_maps_between_epochs_show_the_mean_over_seeds_and_one_on_the_diagonal():
    fig, axes = plt.subplots(1, 3)
    figures.between_epochs(PAIRS, axes)
    shown = axes[1].images[0].get_array()
    assert shown[0, 0] == 1
    assert shown[0, 2] == pytest.approx(1 - 0.2 - 0.01)
    plt.close(fig)


def test_the_explorer_has_a_curve_for_each_layer_and_epoch():
    traces = figures.epoch_explorer(PAIRS).data
    assert len(traces) == 3 * 4
    assert [trace.name for trace in traces if trace.visible] == ["e", "h1", "h2"]


def test_every_choice_of_the_explorer_shows_its_own_curves():
    layout = figures._explorer_layout(["e", "h1"], [0, 1, 2])
    both, first, second = layout["updatemenus"][0]["buttons"]
    assert both["args"][0]["visible"] == [False, False, True] * 2
    assert first["args"][0]["visible"] == [False, False, True] + [False] * 3
    steps = second["args"][1]["sliders"][0]["steps"]
    assert steps[1]["args"][0]["visible"] == [False] * 3 + [False, True, False]


@pytest.mark.parametrize("rows", [0, len(TABLE)])
def test_panels_of_an_empty_table_say_so_and_others_do_not(rows):
    fig, axes = plt.subplots(1, 3)
    figures.panels(TABLE[:rows].assign(task="topic"), axes, y="svcca")
    said = [text.get_text() for ax in axes for text in ax.texts]
    assert (len(said), any("nothing to show" in each for each in said)) == ((0, False) if rows else (3, True))
    plt.close(fig)


def test_baselines_are_horizontals_where_they_have_one_epoch_and_nothing_where_they_have_no_rows():
    fig, axes = plt.subplots(1, 3)
    table = TABLE.assign(task="topic")
    chance, ceiling = table[table["epoch"] == 3].drop(columns="task"), TABLE[:0]
    figures.panels(table, axes, y="svcca", baselines={"--": chance, "-.": ceiling})
    for ax in axes:
        styles = {line.get_linestyle(): np.unique(line.get_ydata()) for line in ax.lines}
        assert set(styles) == {"-", "--"}
        assert styles["--"] == pytest.approx([0.35])
    plt.close(fig)


def test_the_first_figure_of_the_book_has_a_thick_line_for_each_layer():
    final, other = TABLE.assign(comparison="final"), TABLE.assign(comparison="permuted", svcca=0.0)
    losses = pd.DataFrame({"seed": [0, 1], "tokens_read": [20, 20], "rescaled": [True, False]})
    figure = figures.PICTURE({"similarities": pd.concat([final, other]), "losses": losses})
    (ax,) = figure.axes
    thick = [line for line in ax.lines if line.get_linewidth() > 2]
    assert [line.get_label() for line in thick] == ["e", "h1", "h2"]
    np.testing.assert_allclose(thick[0].get_ydata(), [0.05, 0.15, 0.25, 0.35])
    assert [text.get_text() for text in ax.texts] == ["the thesis's first checkpoint", "its last"]
    plt.close(figure)


def test_the_first_epoch_and_a_longer_recorded_run_stand_in_the_same_figure():
    final = TABLE.assign(comparison="final")
    early = final.query("epoch == 0").assign(epoch=0.1, tokens_read=1, svcca=0.5)
    losses = pd.DataFrame({"seed": [0], "tokens_read": [20], "rescaled": [False]})
    tables = {"similarities": final, "early_similarities": early, "losses": losses}
    ran = pd.DataFrame({"scale": "desktop", "tokens_read": [3_000_000] * 2, "seed": [0, 1]})
    longer = {"similarities": final.assign(tokens_read=1_000_000 * final["epoch"]), "ran": ran}
    figure = figures.PICTURE(tables, longer)
    (ax,) = figure.axes
    thick = [line for line in ax.lines if line.get_linewidth() > 2]
    assert thick[0].get_xdata().tolist() == [0, 1, 10, 20, 30]
    beside = [line for line in ax.lines if line.get_linestyle() == "-."]
    assert beside[0].get_xdata().tolist() == [0, 1_000_000, 2_000_000, 3_000_000]
    said = [text.get_text() for text in ax.texts]
    assert "dash-dotted: recorded, scale desktop, 3M tokens, seeds 0, 1" in said
    plt.close(figure)
