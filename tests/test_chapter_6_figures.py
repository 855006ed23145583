import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from lmdynamics import plots
from lmthesis.chapter_6 import figures

mpl.use("agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_curve_of_noise_has_a_band_over_words_for_each_kind_of_means():
    rows = [
        {"least": least, "tokens": tokens, "seed": seed, "correlation": 0.1 * least, "low": -1.0, "high": 1.0}
        for least in (1, 2)
        for tokens in ("all", "as many")
        for seed in (0, 1)
    ]
    _, ax = plt.subplots()
    figures.noise(pd.DataFrame(rows), ax)
    bands = [band.get_paths()[0].vertices for band in ax.collections]
    assert [(band[:, 1].min(), band[:, 1].max()) for band in bands] == [(-1, 1)] * 2


def test_ranks_on_paper_begin_at_one_as_those_on_the_screen():
    rows = [
        {"text": text, "frequency": frequency, "epoch": epoch, "value": 0.1}
        for text, frequency in (("the", 9), ("a", 5), ("dog", 1))
        for epoch in (0, 1)
    ]
    _, ax = plt.subplots()
    figures.heat_map(pd.DataFrame(rows), ax)
    assert ax.get_ylim() == (0.5, 3.5)
    (heat,) = figures.heat_map_explorer(pd.DataFrame(rows)).data
    assert list(heat.y) == [1, 2, 3]


def test_the_map_of_sparsity_is_darkest_where_one_unit_holds_everything():
    _, ax = plt.subplots()
    image = figures.sparsity(ax).images[0].get_array()
    middle = image.shape[0] // 2
    assert image[middle, -1] == pytest.approx(1)
    assert image[-1, -1] == pytest.approx(1 / np.sqrt(2))
    assert np.nanmax(image) == pytest.approx(1)


def test_gradients_flow_back_through_every_layer_of_the_drawing():
    _, ax = plt.subplots()
    figures.gradient_path(ax)
    texts = [text.get_text() for text in ax.texts]
    for layer in ("e", "1", "2"):
        assert rf"$\bar{{h}}^{layer}_t$" in texts
    own = [colour for colour in (text.get_bbox_patch() for text in ax.texts) if colour is not None]
    assert {mpl.colors.to_hex(each.get_facecolor()) for each in own} >= set(plots.LAYERS.values())
