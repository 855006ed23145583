import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from matplotlib import pyplot as plt

from lmthesis.chapter_5 import drawings, figures, languages, settings

mpl.use("agg")
SMALL = settings.scale("smoke", types=30, lengths=[3])
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


@pytest.fixture
def ax():
    return plt.subplots()[1]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_strata_of_too_few_pairs_are_not_drawn_and_each_distance_has_a_panel():
    _, axes = plt.subplots(1, 3)
    figures.by_edges(STRATA, axes, least=100)
    (legend,) = axes[0].figure.legends
    assert "at least 100 pairs" in legend.get_title().get_text()
    for ax in axes:
        drawn = {line.get_label(): list(line.get_xdata()) for line in ax.lines}
        assert drawn == {"open": [1, 2], "closed": [1, 2], "mixed": []}
        np.testing.assert_allclose(ax.lines[0].get_ydata(), [1.05, 0.55])


def test_familiar_scaffolds_are_dashed_and_unfamiliar_ones_solid(ax):
    figures.by_length(RULE[RULE["rules"] == 400], ax, x="epoch", y="omega")
    means = {line.get_label(): line.get_linestyle() for line in ax.lines if line.get_linewidth() == 2}
    assert means == {
        "2 symbols": "-",
        "2 symbols, familiar": "--",
        "4 symbols": "-",
        "4 symbols, familiar": "--",
    }


def test_rarity_has_a_line_for_each_number_of_rules_and_part_in_focus(ax):
    figures.rarity(RULE[(RULE["epoch"] == 2) & ~RULE["familiar"]].assign(words=50), ax)
    named = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    assert set(named) == {f"{part}, {rules} examples" for part in ("α", "scaffold") for rules in (10, 400)}
    np.testing.assert_allclose(named["α, 10 examples"].get_ydata(), [0.2, 0.4])
    assert [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "-."] == [0.02]
    assert ax.get_yscale() == "log"


def test_a_sentence_on_paper_has_its_words_and_an_arc_for_each_edge():
    _, axes = plt.subplots(2, 1)
    above, below = figures.sentence(SENTENCES, axes)
    assert [label.get_text() for label in below.get_xticklabels()] == ["a", "b", "c"]
    grid = below.images[0].get_array()
    assert grid[0, 2] == pytest.approx(0.2)
    assert np.isnan(grid.filled(np.nan)[2, 0])
    assert np.isnan(above.lines[0].get_ydata()).sum() == 2  # a gap after each of two arcs


def test_the_sentence_explorer_shows_one_sentence_and_offers_all():
    figure = figures.sentence_explorer(SENTENCES)
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
    figures.by_distance(table.assign(low=table["mean"] - 0.1, high=table["mean"] + 0.1), ax)
    (band,) = ax.collections
    assert np.ptp(band.get_paths()[0].vertices[:, 1]) == pytest.approx(
        np.ptp(table.groupby("sequential")["mean"].mean()) + 0.2
    )
    thick = ax.lines[-1]
    assert list(thick.get_xdata()) == [1, 2, 3]
    np.testing.assert_allclose(thick.get_ydata(), np.mean([1, 1 / 2, 1 / 3]) + 0.05)


def test_sentences_that_were_not_recorded_are_said_to_need_a_run():
    _, axes = plt.subplots(2, 1)
    _, below = figures.sentence(None, axes)
    (said,) = below.texts
    (on_screen,) = figures.sentence_explorer(None).layout.annotations
    assert "not recorded" in said.get_text()
    assert "not recorded" in on_screen.text


def colour(text):
    return colors.to_hex(text.get_bbox_patch().get_facecolor())


def drawn(symbols=16):
    _, axes = plt.subplots(4, 1)
    return figures.samples(languages.sample_table(SMALL, symbols=symbols), axes)


def test_rules_stand_in_red_and_their_scaffolds_in_green_in_every_sample():
    for ax in drawn():
        red = [text.get_text() for text in ax.texts if colour(text) == drawings.RULE]
        green = [text for text in ax.texts if colour(text) == drawings.SCAFFOLD]
        assert set(red) == {"α", "ω"}
        assert len(green) >= 3 * 3
        assert all(text.get_text().isdigit() for text in ax.texts if text.get_text() not in "αω")


def test_only_a_familiar_language_has_phrases_outside_the_rule():
    alone = [any(colour(text) == figures.PARTS["phrase"] for text in ax.texts) for ax in drawn(60)]
    assert alone == [False, True, False, False]


def test_samples_have_the_names_of_their_texts_in_the_order_of_the_table():
    titles = [ax.get_title(loc="left") for ax in drawn()]
    assert titles == languages.sample_table(SMALL)["text"].unique().tolist()
    assert titles[0] == "unfamiliar: training part"
