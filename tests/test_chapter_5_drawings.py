import numpy as np
import pytest
from matplotlib import colors
from matplotlib import pyplot as plt

from lmdynamics.text.synthetic import Language, LanguageSettings
from lmthesis.chapter_5 import drawings


@pytest.fixture
def languages():
    few = {"types": 30, "tokens": 2_000, "rules": 40, "phrases": 8, "repetitions": 10, "length": 3}
    return {
        name: Language(LanguageSettings(**few, familiar=name == "familiar"), 0)
        for name in ("other", "familiar")
    }


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def colour(text):
    return colors.to_hex(text.get_bbox_patch().get_facecolor())


def test_rules_stand_in_red_and_their_scaffolds_in_green_in_every_sample(languages):
    _, axes = plt.subplots(4, 1)
    drawings.samples(languages, axes)
    for ax in axes:
        red = [text.get_text() for text in ax.texts if colour(text) == drawings.RULE]
        green = [text for text in ax.texts if colour(text) == drawings.SCAFFOLD]
        assert set(red) == {"α", "ω"}
        assert len(green) >= 3 * 3
        assert all(text.get_text().isdigit() for text in ax.texts if text.get_text() not in "αω")


def test_only_a_familiar_language_has_phrases_outside_the_rule(languages):
    _, axes = plt.subplots(4, 1)
    drawings.samples(languages, axes, symbols=60)
    alone = [any(colour(text) == drawings.PHRASE for text in ax.texts) for ax in axes]
    assert alone == [False, True, False, False]


def test_the_symbols_drawn_are_those_of_the_text(languages):
    _, axes = plt.subplots(4, 1)
    drawings.samples(languages, axes)
    ids = languages["other"].text().ids
    drawn = [text.get_text() for text in axes[0].texts[:16]]
    words = [languages["other"].settings.words[symbol].removeprefix("s") for symbol in ids]
    assert any(words[at : at + 16] == drawn for at in range(len(words)))


def test_a_familiar_span_is_drawn_as_a_constituent_and_an_unfamiliar_one_is_not():
    _, axes = plt.subplots(2, 1)
    drawings.scaffolding(axes)
    assert [len(ax.patches) for ax in axes] == [1, 0]


def test_the_shares_of_a_gate_add_up_to_it_on_paper():
    _, axes = plt.subplots(1, 3)
    drawings.gate(axes, others=(-2.0, 0.0, 1.0))
    for ax, other in zip(axes, (-2.0, 0.0, 1.0), strict=True):
        gate, *parts = (np.asarray(line.get_ydata()) for line in ax.lines)
        inputs = np.asarray(ax.lines[0].get_xdata())
        np.testing.assert_allclose(gate, 1 / (1 + np.exp(-inputs - other)), atol=1e-12)
        np.testing.assert_allclose(sum(parts), gate, atol=1e-12)


def test_the_gate_to_explore_shows_one_setting_at_a_time_and_each_button_and_step_another():
    figure = drawings.gate_explorer()
    assert sum(bool(trace.visible) for trace in figure.data) == len(drawings.PARTS)
    shown = {tuple(step.args[0]["visible"]) for step in figure.layout.sliders[0].steps}
    shown |= {tuple(button.args[0]["visible"]) for button in figure.layout.updatemenus[0].buttons}
    assert len(shown) == 9 + 3 - 1
    assert all(sum(each) == len(drawings.PARTS) for each in shown)


def test_of_a_decomposed_state_two_parts_run_through_all_steps_and_join_before_the_word_to_come():
    _, ax = plt.subplots()
    drawings.decomposition(ax)
    assert [line.get_color() for line in ax.lines] == [drawings.RULE, drawings.PARTS["irrelevant"]]
    texts = [text.get_text() for text in ax.texts]
    assert texts.count("LSTM") == 4
    assert {"either", "or", "state"} <= set(texts)
