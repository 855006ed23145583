import numpy as np
import pytest
from matplotlib import pyplot as plt

from lmthesis.chapter_5 import drawings


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


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
