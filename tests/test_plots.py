import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from lmdynamics import plots
from lmthesis.chapter_6 import figures as word_plots

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


RULE = pd.DataFrame(
    [
        {
            "length": length,
            "familiar": familiar,
            "rules": rules,
            "seed": seed,
            "epoch": epoch,
            "omega": epoch / 10,
            "omega_from_alpha": 0.1 * length,
            "omega_from_scaffold": 0.01,
        }
        for length in (2, 4)
        for familiar, rules in ((False, 10), (False, 400), (True, 400))
        for seed in (0, 1)
        for epoch in range(3)
    ]
)
STRATA = pd.DataFrame(
    [
        {
            "seed": seed,
            "sequential": sequential,
            "syntactic": syntactic,
            "classes": classes,
            "pairs": 200 if syntactic < 3 else 99,
            "mean": 1 / syntactic + seed / 10,
            "low": 1 / syntactic - 0.1,
            "high": 1 / syntactic + 0.1,
        }
        for seed in (0, 1)
        for sequential in (1, 2, 3)
        for syntactic in (1, 2, 3)
        for classes in ("open", "closed")
    ]
)
SENTENCES = pd.DataFrame(
    [
        {
            "sentence": number,
            "left": left,
            "right": right,
            "left_word": words[left],
            "right_word": words[right],
            "left_head": heads[left],
            "right_head": heads[right],
            "interdependence": left + right / 10,
        }
        for number, words, heads in ((5, ["a", "b", "c"], [1, 1, 1]), (9, ["d", "e"], [0, 0]))
        for left in range(len(words))
        for right in range(left + 1, len(words))
    ]
)


def test_strata_of_too_few_pairs_are_not_drawn_and_each_distance_has_a_panel():
    fig, axes = plt.subplots(1, 3)
    plots.by_edges(STRATA, axes, least=100)
    for ax in axes:
        drawn = {line.get_label(): list(line.get_xdata()) for line in ax.lines}
        assert drawn == {"open": [1, 2], "closed": [1, 2], "mixed": []}
        np.testing.assert_allclose(ax.lines[0].get_ydata(), [1.05, 0.55])
    plt.close(fig)


def test_familiar_scaffolds_are_dashed_and_unfamiliar_ones_solid(ax):
    plots.by_length(RULE[RULE["rules"] == 400], ax, x="epoch", y="omega")
    means = {line.get_label(): line.get_linestyle() for line in ax.lines if line.get_linewidth() == 2}
    assert means == {
        "2 symbols": "-",
        "2 symbols, familiar": "--",
        "4 symbols": "-",
        "4 symbols, familiar": "--",
    }


def test_rarity_has_a_line_for_each_number_of_rules_and_part_in_focus(ax):
    plots.rarity(RULE[(RULE["epoch"] == 2) & ~RULE["familiar"]], ax, words=50)
    named = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    assert set(named) == {f"{part}, {rules} examples" for part in ("α", "scaffold") for rules in (10, 400)}
    np.testing.assert_allclose(named["α, 10 examples"].get_ydata(), [0.2, 0.4])
    assert [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "-."] == [0.02]
    assert ax.get_yscale() == "log"


def test_a_sentence_on_paper_has_its_words_and_an_arc_for_each_edge():
    fig, axes = plt.subplots(2, 1)
    above, below = plots.sentence(SENTENCES, axes)
    assert [label.get_text() for label in below.get_xticklabels()] == ["a", "b", "c"]
    grid = below.images[0].get_array()
    assert grid[0, 2] == pytest.approx(0.2)
    assert np.isnan(grid.filled(np.nan)[2, 0])
    assert np.isnan(above.lines[0].get_ydata()).sum() == 2  # a gap after each of two arcs
    plt.close(fig)


def test_the_sentence_explorer_shows_one_sentence_and_offers_all():
    figure = plots.sentence_explorer(SENTENCES)
    buttons = figure.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == ["a b c", "d e"]
    assert [list(button.args[0]["visible"]) for button in buttons] == [
        [True, True, False, False],
        [False, False, True, True],
    ]
    assert buttons[1].args[1]["xaxis2.ticktext"] == ["d", "e"]
    assert tuple(figure.layout.xaxis2.ticktext) == ("a", "b", "c")
    joined = figure.data[1].customdata
    assert "edge" in joined[0][1]
    assert joined[0][2] == ""


def test_interdependence_by_distance_is_a_mean_over_seeds(ax):
    table = STRATA.groupby(["seed", "sequential"], as_index=False)["mean"].mean()
    plots.by_distance(table.assign(low=table["mean"] - 0.1, high=table["mean"] + 0.1), ax)
    (band,) = ax.collections
    assert np.ptp(band.get_paths()[0].vertices[:, 1]) == pytest.approx(
        np.ptp(table.groupby("sequential")["mean"].mean()) + 0.2
    )
    thick = ax.lines[-1]
    assert list(thick.get_xdata()) == [1, 2, 3]
    np.testing.assert_allclose(thick.get_ydata(), np.mean([1, 1 / 2, 1 / 3]) + 0.05)


@pytest.mark.parametrize("rows", [0, len(TABLE)])
def test_panels_of_an_empty_table_say_so_and_others_do_not(rows):
    fig, axes = plt.subplots(1, 3)
    plots.panels(TABLE[:rows].assign(task="topic"), axes, y="svcca")
    said = [text.get_text() for ax in axes for text in ax.texts]
    assert (len(said), any("nothing to show" in each for each in said)) == ((0, False) if rows else (3, True))
    plt.close(fig)


def test_the_curve_of_noise_has_a_band_over_words_for_each_kind_of_means():
    rows = [
        {"least": least, "tokens": tokens, "seed": seed, "correlation": 0.1 * least, "low": -1.0, "high": 1.0}
        for least in (1, 2)
        for tokens in ("all", "as many")
        for seed in (0, 1)
    ]
    fig, ax = plt.subplots()
    word_plots.noise(pd.DataFrame(rows), ax)
    bands = [band.get_paths()[0].vertices for band in ax.collections]
    assert [(band[:, 1].min(), band[:, 1].max()) for band in bands] == [(-1, 1)] * 2
    plt.close(fig)


def test_ranks_on_paper_begin_at_one_as_those_on_the_screen():
    rows = [
        {"text": text, "frequency": frequency, "epoch": epoch, "value": 0.1}
        for text, frequency in (("the", 9), ("a", 5), ("dog", 1))
        for epoch in (0, 1)
    ]
    fig, ax = plt.subplots()
    word_plots.heat_map(pd.DataFrame(rows), ax)
    assert ax.get_ylim() == (0.5, 3.5)
    (heat,) = word_plots.heat_map_explorer(pd.DataFrame(rows)).data
    assert list(heat.y) == [1, 2, 3]
    plt.close(fig)
