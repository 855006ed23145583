"""Each measure keeps its invariances, meets its closed forms and agrees with other people's code."""

import gc
import importlib
import warnings
from functools import partial

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from statsmodels.multivariate.cancorr import CanCorr

from lmdynamics.measures.moments import JointMoments, Moments
from lmdynamics.measures.similarity import (
    FewTokensWarning,
    canonical_correlations,
    cca,
    cka,
    directions,
    pwcca,
    ranked_distances,
    rsa,
    svcca,
)

with warnings.catch_warnings():  # their imports warn of their own old habits
    warnings.simplefilter("ignore")
    from ckatorch.core import cka_base

    rsatoolbox = importlib.import_module("rsatoolbox")

TOKENS = 400
LINEAR = [cca, svcca, pwcca, cka]
each_linear = pytest.mark.parametrize("measure", LINEAR)
each = pytest.mark.parametrize("measure", [*LINEAR, rsa])


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def layers(x_units=12, y_units=8, *, tokens=TOKENS, noise=0.7):
    """Two views with a common cause, of unequal variances and far from zero."""
    cause = normal(tokens, 6)
    x = cause @ normal(6, x_units, seed=1) + noise * normal(tokens, x_units, seed=2) * torch.arange(
        1, x_units + 1
    )
    y = cause @ normal(6, y_units, seed=3) + noise * normal(tokens, y_units, seed=4)
    return x / 3 + 2, y - 5


def rotation(units, seed=5):
    return torch.linalg.qr(normal(units, units, seed=seed)).Q


def moments_of(x, y, blocks=7):
    moments = JointMoments([("x", "y")])
    for a, b in zip(x.tensor_split(blocks), y.tensor_split(blocks), strict=True):
        moments.update({"x": a, "y": b})
    return moments["x", "y"]


# Invariances


@each
def test_a_view_equals_itself(measure):
    x, _ = layers()
    assert measure(x, x) == pytest.approx(1, abs=1e-12)


@each
def test_rotating_scaling_and_shifting_either_side_change_nothing(measure):
    x, y = layers()
    changed = measure(3 * x @ rotation(12) - 7, 0.01 * y @ rotation(8) + 4)
    if measure is pwcca:  # its weights see the units of x, so only scale and shift of x, and any map of y
        changed = measure(3 * x - 7, 0.01 * y @ rotation(8) + 4)
    assert changed == pytest.approx(measure(x, y), abs=1e-10)


@each_linear
def test_the_order_of_tokens_does_not_count(measure):
    x, y = layers()
    order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(0))
    assert measure(x[order], y[order]) == pytest.approx(measure(x, y), abs=1e-12)


def test_invertible_maps_leave_canonical_correlations():
    x, y = layers()
    mapped = canonical_correlations(x @ normal(12, 12, seed=6), y @ normal(8, 8, seed=7))
    torch.testing.assert_close(mapped, canonical_correlations(x, y), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("measure", [cca, svcca, cka, rsa])
def test_swapping_the_sides_changes_nothing(measure):
    x, y = layers()
    assert measure(x, y) == pytest.approx(measure(y, x), abs=1e-12)


def test_scales_of_units_cost_canonical_correlations_no_digits():
    x, y = layers()
    scales = torch.logspace(-9, 9, 12, dtype=torch.float64)
    torch.testing.assert_close(
        canonical_correlations(x * scales, y), canonical_correlations(x, y), rtol=0, atol=1e-10
    )


# Closed forms


@pytest.mark.parametrize("measure", [cca, svcca, pwcca])
def test_single_units_give_absolute_pearson(measure):
    x, y = layers(1, 1)
    pearson = np.corrcoef(x[:, 0], y[:, 0])[0, 1]
    assert measure(x, -y) == pytest.approx(abs(pearson), abs=1e-12)
    assert cka(x, -y) == pytest.approx(pearson**2, abs=1e-12)


def correlated_pairs(correlations, tokens=300):
    """Two views whose units correlate pairwise exactly as told, and not at all otherwise."""
    basis = torch.linalg.qr(normal(tokens, 2 * len(correlations) + 1) + torch.eye(tokens, 1)).Q
    ones = torch.ones(tokens, 1, dtype=torch.float64)
    basis = torch.linalg.qr(torch.cat([ones, basis], 1)).Q[:, 1:]
    x, rest = basis[:, : len(correlations)], basis[:, len(correlations) : 2 * len(correlations)]
    rho = torch.tensor(correlations, dtype=torch.float64)
    return x, rho * x + (1 - rho**2).sqrt() * rest


def test_canonical_correlations_of_pairwise_correlated_units_are_those_correlations():
    x, y = correlated_pairs([0.9, 0.5, 0.1])
    x_mixed, y_mixed = x @ normal(3, 3, seed=1), y @ normal(3, 3, seed=2)
    expected = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    torch.testing.assert_close(canonical_correlations(x_mixed, y_mixed), expected, rtol=0, atol=1e-10)
    assert cca(x_mixed, y_mixed) == pytest.approx(0.5, abs=1e-10)
    assert cka(x, y) == pytest.approx((0.81 + 0.25 + 0.01) / 3, abs=1e-10)


def test_pwcca_weighs_directions_by_the_first_side():
    x, y = correlated_pairs([0.9, 0.1])
    scale = torch.tensor([1.0, 3.0], dtype=torch.float64)
    assert pwcca(x * scale, y) == pytest.approx((0.9 + 3 * 0.1) / 4, abs=1e-10)
    assert pwcca(y, x * scale) == pytest.approx((0.9 + 0.1) / 2, abs=1e-10)


def test_svcca_drops_what_its_share_of_variance_does_not_need():
    x, y = correlated_pairs([0.8, 0.6, 0.2])
    scale = torch.tensor([10.0, 4.0, 1.0], dtype=torch.float64)  # squares: 100, 16, 1
    x, y = x * scale, y * scale
    assert svcca(x, y) == pytest.approx(0.7, abs=1e-10)  # 116/117 explains 99.1 %
    assert svcca(x, y, rule="singular_values") == pytest.approx(
        1.6 / 3, abs=1e-10
    )  # 14/15 explains 93 % only
    assert svcca(x, y, variance=0.5) == pytest.approx(0.8, abs=1e-10)
    assert svcca(x, y, variance=1.0) == pytest.approx(cca(x, y), abs=1e-12)


@pytest.mark.parametrize("measure", [cca, svcca, pwcca, cka])
def test_no_measure_of_a_view_and_a_map_of_it_is_above_1(measure):
    for seed in range(60):
        x = normal(60, 5, seed=seed)
        assert measure(x, x @ normal(5, 5, seed=100 + seed)) <= 1
        assert measure(x, x) <= 1


def test_a_linear_map_of_a_view_has_all_canonical_correlations_one_and_never_more():
    x, _ = layers(40)
    for seed in range(20):
        values = canonical_correlations(x, x @ normal(40, 40, seed=seed) + 1)
        assert values.max() <= 1
        assert values.min() > 1 - 1e-6


def test_equal_distances_up_to_order_give_rsa_one():
    x = torch.tensor([[0.0], [1], [3], [7]], dtype=torch.float64)
    assert rsa(x, x**1.5) == pytest.approx(1)
    assert rsa(x, torch.tensor([[0.0], [7], [6], [4]], dtype=torch.float64)) == pytest.approx(
        spearmanr([1, 3, 7, 2, 6, 4], [7, 6, 4, 1, 3, 2]).statistic
    )


def one_hot(classes, tokens=200):
    labels = np.random.default_rng(0).integers(classes, size=tokens)
    return np.eye(classes)[labels], (labels[:, None] != labels)[np.triu_indices(tokens, 1)]


each_distance = pytest.mark.parametrize("distance", ["euclidean", "correlation", "cosine"])


@each_distance
@pytest.mark.parametrize("classes", [3, 7, 41])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_that_only_rounding_tells_apart_tie(distance, classes, dtype):
    labels, differ = one_hot(classes)
    softened = (0.7 * labels + 0.3 / classes)[:, ::-1].astype(dtype)
    assert rsa(labels, labels[:, ::-1], distance=distance) == pytest.approx(1, abs=1e-12)
    assert rsa(labels, softened, distance=distance) == pytest.approx(1, abs=1e-12)
    states = labels @ normal(classes, 30).numpy() + normal(200, 30, seed=1).numpy()
    expected = spearmanr(differ, pdist(states, distance)).statistic
    assert rsa(labels, states, distance=distance) == pytest.approx(expected, abs=1e-12)


def test_classes_may_be_integers_and_booleans():
    labels, _ = one_hot(7)
    x = normal(200, 5)
    for measure in (rsa, cka, svcca):
        for dtype in (bool, np.int64, np.uint8):
            assert measure(labels.astype(dtype), x) == measure(torch.from_numpy(labels).to(torch.bool), x)
            assert measure(labels.astype(dtype), x) == measure(labels, x)


def test_steps_of_a_grid_tie_wherever_they_are_and_nothing_else_does():
    tenths = np.arange(1, 40)[:, None] * 0.1
    assert len(set(ranked_distances(tenths))) == 38
    assert rsa(tenths, tenths.round(1) * 10) == pytest.approx(1, abs=1e-12)


@each_distance
def test_close_distances_keep_their_order(distance):
    x, y = normal(60, 8), normal(60, 8, seed=1)
    near = normal(1, 8, seed=2) + 1e-4 * x  # distances of 1e-4, and of 1e-9 between directions
    expected = spearmanr(pdist(near, distance), pdist(y, distance)).statistic
    assert rsa(near, y, distance=distance) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("x_units", "y_units"), [(40, 40), (40, 5)])
def test_unrelated_views_score_the_chance_that_the_docstrings_state(x_units, y_units):
    x, y = normal(4000, x_units), normal(4000, y_units, seed=1)
    chance = (x_units / 4000) ** 0.5
    for measure in (cca, pwcca):
        assert 0.83 * chance < measure(x, y) < 1.05 * chance
    assert cka(x, y) == pytest.approx((x_units * y_units) ** 0.5 / 4000, rel=0.3)
    assert rsa(x, y, sample=500) == pytest.approx(0, abs=0.05)


# Other people's implementations


@pytest.mark.parametrize("widths", [(12, 8), (8, 12), (5, 1)])
def test_canonical_correlations_agree_with_statsmodels_and_scipy(widths):
    x, y = layers(*widths)
    ours = canonical_correlations(x, y).numpy()
    np.testing.assert_allclose(ours, CanCorr(x.numpy(), y.numpy()).cancorr, rtol=0, atol=1e-10)
    angles = subspace_angles((x - x.mean(0)).numpy(), (y - y.mean(0)).numpy())
    np.testing.assert_allclose(ours, np.cos(angles)[::-1], rtol=0, atol=1e-10)


def test_ill_conditioned_views_agree_with_statsmodels():
    x, y = layers()
    x = x @ (rotation(12) * torch.logspace(0, -4, 12, dtype=torch.float64)) @ rotation(12, seed=6)
    np.testing.assert_allclose(
        canonical_correlations(x, y).numpy(), CanCorr(x.numpy(), y.numpy()).cancorr, rtol=0, atol=1e-6
    )


def google_svcca(x, y, share, singular_values):
    """Plain: truncate by SVD, then compare the kept subspaces."""
    kept = []
    for view in (x.numpy(), y.numpy()):
        u, s, _ = np.linalg.svd(view - view.mean(0), full_matrices=False)
        counted = s if singular_values else s**2
        kept.append(
            next(u[:, :k] for k in range(1, len(s) + 1) if counted[:k].sum() / counted.sum() >= share)
        )
    return np.linalg.svd(kept[0].T @ kept[1], compute_uv=False).mean(), [k.shape[1] for k in kept]


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("rule", ["variance", "singular_values"])
def test_svcca_agrees_with_truncation_by_singular_value_decomposition(share, rule):
    x, y = layers(30, 20)
    expected, kept = google_svcca(x, y, share, rule == "singular_values")
    assert kept[0] < 30
    assert svcca(x, y, variance=share, rule=rule) == pytest.approx(expected, abs=1e-9)
    assert directions(x, y, variance=share, rule=rule) == tuple(kept)


def plain_pwcca(x, y):
    """Morcos et al. 2018 word for word, on orthonormal canonical variates of the first view."""
    x, y = (view.numpy() - view.numpy().mean(0) for view in (x, y))
    x_basis, y_basis = (np.linalg.qr(view)[0] for view in (x, y))
    u, correlations, _ = np.linalg.svd(x_basis.T @ y_basis, full_matrices=False)
    variates = x_basis @ u
    weights = np.array([sum(abs(h @ unit) for unit in x.T) for h in variates.T])
    return (weights / weights.sum()) @ correlations


@pytest.mark.parametrize("widths", [(12, 8), (8, 12)])
def test_pwcca_agrees_with_the_paper_word_for_word(widths):
    x, y = layers(*widths)
    assert pwcca(x, y) == pytest.approx(plain_pwcca(x, y), abs=1e-10)
    assert pwcca(y, x) == pytest.approx(plain_pwcca(y, x), abs=1e-10)
    assert abs(pwcca(x, y) - pwcca(y, x)) > 1e-4


@pytest.mark.parametrize("tokens", [6, 90])  # fewer tokens than units are fine here
def test_cka_agrees_with_ckatorch(tokens):
    x, y = layers(tokens=tokens)
    assert cka(x, y) == pytest.approx(cka_base(x, y).item(), abs=1e-10)


@pytest.mark.parametrize("distance", ["euclidean", "correlation", "cosine"])
def test_rsa_agrees_with_scipy(distance):
    x, y = (view[:60].numpy() for view in layers())
    expected = spearmanr(pdist(x, distance), pdist(y, distance)).statistic
    assert rsa(x, y, distance=distance) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("distance", ["euclidean", "correlation"])
def test_rsa_agrees_with_rsatoolbox(distance):
    sides = [rsatoolbox.data.Dataset(view[:60].numpy()) for view in layers()]
    rdms = [rsatoolbox.rdm.calc_rdm(side, method=distance) for side in sides]
    expected = rsatoolbox.rdm.compare(*rdms, method="spearman").item()
    assert rsa(*(view[:60] for view in layers()), distance=distance) == pytest.approx(expected, abs=1e-6)


# From sums, from deficient and from difficult input


@each_linear
@settings(deadline=None, max_examples=8)
@given(blocks=st.integers(1, TOKENS))
def test_sums_of_blocks_give_the_number_of_the_arrays(measure, blocks):
    x, y = layers()
    assert measure(moments_of(x, y, blocks)) == pytest.approx(measure(x, y), abs=1e-10)


@each_linear
def test_numpy_and_torch_give_the_same_number(measure):
    x, y = layers()
    assert measure(x.numpy(), y) == measure(x, y.numpy()) == measure(x, y)


def test_duplicated_combined_and_constant_units_change_no_canonical_correlation():
    x, y = layers()
    constants = torch.full((TOKENS, 2), 0.1, dtype=x.dtype)
    more = torch.cat([x, x[:, :3], x @ normal(12, 2, seed=8), constants], 1)
    torch.testing.assert_close(
        canonical_correlations(more, y), canonical_correlations(x, y), rtol=0, atol=1e-9
    )
    for measure in (cca, svcca, pwcca):
        assert measure(more, more) == pytest.approx(1, abs=1e-9)


def test_rank_deficient_views_correlate_in_as_many_directions_as_their_rank():
    x, y = layers()
    low = x[:, :4] @ normal(4, 30, seed=8)
    assert len(canonical_correlations(low, y)) == 4
    torch.testing.assert_close(
        canonical_correlations(low, y), canonical_correlations(x[:, :4], y), rtol=0, atol=1e-9
    )
    assert pwcca(low, y) == pytest.approx(plain_pwcca_of_rank(low, y, 4), abs=1e-9)


def plain_pwcca_of_rank(x, y, rank):
    x, y = (view.numpy() - view.numpy().mean(0) for view in (x, y))
    x_basis, y_basis = np.linalg.svd(x, full_matrices=False)[0][:, :rank], np.linalg.qr(y)[0]
    u, correlations, _ = np.linalg.svd(x_basis.T @ y_basis, full_matrices=False)
    weights = np.abs((x_basis @ u).T @ x).sum(1)
    return weights @ correlations / weights.sum()


def test_deficiency_that_float32_rounds_away_is_seen_through():
    x, y = layers()
    low = (x[:, :4] @ normal(4, 30, seed=8)).float()
    assert len(canonical_correlations(low, y)) == 4


@each
def test_a_mean_far_from_zero_changes_little(measure):
    x, y = layers()
    assert measure(x + 1e4, y - 1e4) == pytest.approx(measure(x, y), abs=1e-6)


@pytest.fixture
def alive():
    """Moments and tensors that were made since, and are still there."""
    gc.collect()
    gc.freeze()

    def found():
        gc.collect()
        return [each for each in gc.get_objects() if type(each) in (Moments, torch.Tensor)]

    yield found
    gc.unfreeze()


def test_nothing_that_measures_derive_outlives_arrays_and_moments(alive):
    x, y = layers()
    for measure in (*LINEAR, rsa):
        measure(x, y)
    assert len(alive()) == 2
    views = moments_of(x, y)
    for measure in LINEAR:
        measure(views)
    assert len(alive()) > 2
    del views
    assert len(alive()) == 2


# RSA's sample


@pytest.mark.parametrize("distance", ["euclidean", "correlation", "cosine"])
def test_rsa_is_the_product_of_ranks_that_each_view_has_alone(distance):
    x, y = layers(tokens=60)
    ranks = [ranked_distances(view, distance=distance) for view in (x, y)]
    assert ranks[0] @ ranks[1] == pytest.approx(rsa(x, y, distance=distance), abs=1e-14)
    assert [np.linalg.norm(each) for each in ranks] == pytest.approx([1, 1])


def test_a_sample_is_the_same_for_the_same_seed_and_near_the_whole():
    x, y = layers()
    whole = rsa(x, y)
    assert rsa(x, y, sample=200, seed=3) == rsa(x, y, sample=200, seed=3)
    assert rsa(x, y, sample=200, seed=3) != rsa(x, y, sample=200, seed=4)
    assert rsa(x, y, sample=200) == pytest.approx(whole, abs=0.05)
    assert rsa(x, y, sample=TOKENS) == pytest.approx(whole, abs=1e-12)


# Errors


def constant(x):
    return torch.full_like(x, 0.1)


@each_linear
def test_a_side_without_variance_is_refused(measure):
    x, y = layers()
    with pytest.raises(ValueError, match="y does not vary: all units are constant over its 400 tokens"):
        measure(x, constant(y))
    with pytest.raises(ValueError, match="x does not vary"):
        measure(constant(x), y)


@pytest.mark.parametrize("measure", [canonical_correlations, cca, svcca, pwcca])
@pytest.mark.parametrize("tokens", [9, 12, 13])
def test_canonical_correlations_refuse_as_few_tokens_as_units(measure, tokens):
    x, y = layers(tokens=tokens)
    for sides in ((x, y), (y, x)):
        with pytest.raises(
            ValueError, match=f"two more tokens than units, got {tokens} tokens for 12 units, where all are 1"
        ):
            measure(*sides)


@pytest.mark.parametrize("units", [(12, 12), (12, 8)])
@pytest.mark.parametrize("tokens", [14, 17, 20])
def test_correlations_that_are_1_by_counting_are_counted(units, tokens):
    x, y = normal(tokens, units[0]), normal(tokens, units[1], seed=1)
    counted = sum(units) - (tokens - 1)
    with pytest.warns(FewTokensWarning, match=f"{counted} of {units[1]} .* are 1 by counting"):
        values = canonical_correlations(x, y)
    assert (values > 1 - 1e-9).sum() == counted
    for measure in (cca, pwcca, partial(svcca, variance=1.0)):
        with pytest.warns(FewTokensWarning, match=f"{counted} of {units[1]} "):
            measure(x, y)


def test_directions_that_are_not_kept_count_for_nothing():
    x, y = (
        view * torch.logspace(0, -4, 12, dtype=torch.float64)
        for view in (normal(16, 12), normal(16, 12, seed=1))
    )
    kept = directions(x, y)
    assert sum(kept) < 15 < 24
    assert svcca(x, y) < 0.99
    low = normal(16, 3, seed=2) @ normal(3, 12, seed=3)
    assert canonical_correlations(low, low + 0).min() > 1 - 1e-9
    with pytest.warns(FewTokensWarning, match="9 of 12"):
        cca(x, y)


@each
def test_rows_that_do_not_align_are_refused(measure):
    x, y = layers()
    with pytest.raises(ValueError, match=r"same tokens, row by row; got {'x': 400, 'y': 399} tokens"):
        measure(x, y[1:])


@each
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(measure, value):
    x, y = layers()
    y[3, 2] = value
    with pytest.raises(ValueError, match=f"'y' has {value} at token 3 of the block, unit 2"):
        measure(x, y)


@pytest.mark.parametrize("measure", [canonical_correlations, cca, svcca, pwcca, cka])
def test_one_array_alone_or_moments_and_an_array_are_refused(measure):
    x, y = layers()
    for sides in ((x,), (moments_of(x, y), y)):
        with pytest.raises(TypeError, match="two arrays, or of the moments of two views"):
            measure(*sides)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, float("nan")])
def test_svcca_refuses_a_share_that_is_none(share):
    with pytest.raises(ValueError, match=r"share in \(0, 1\], got"):
        svcca(*layers(), variance=share)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "each pair of 3 to 10,000 tokens, got 10,001; "),
        ({"sample": 10_001}, "each pair of 3 to 10,000 tokens, got 10,001; "),
        ({"sample": 20_000}, "3 or more of the 10,001 tokens, got 20,000"),
        ({"sample": 2}, "3 or more of the 10,001 tokens, got 2"),
    ],
)
def test_rsa_refuses_too_many_tokens_and_too_few(options, message):
    x = normal(10_001, 2)
    with pytest.raises(ValueError, match=message):
        rsa(x, x, **options)


@pytest.mark.parametrize("tokens", [2, 10_001])
def test_distances_of_too_many_tokens_and_of_too_few_are_not_ranked(tokens):
    with pytest.raises(ValueError, match=f"each pair of 3 to 10,000 tokens, got {tokens:,}; "):
        ranked_distances(normal(tokens, 2))


def test_rsa_refuses_distances_that_say_nothing():
    x, y = (view[:50] for view in layers())
    with pytest.raises(ValueError, match="y does not vary: all of its tokens are equally far apart"):
        rsa(x, constant(y))
    y = y.clone()
    y[4] = 0
    for distance in ("cosine", "correlation"):
        with pytest.raises(ValueError, match=f"{distance} distance is not defined for a token of y"):
            rsa(x, y, distance=distance)


@pytest.mark.parametrize("distance", ["cosine", "correlation"])
def test_rsa_refuses_tokens_of_one_direction_whatever_their_rounding(distance):
    x, _ = layers()
    lengths, direction = torch.rand(50, 1) + 0.1, torch.randn(1, 8)
    with pytest.raises(ValueError, match="y does not vary: all of its tokens are equally far apart"):
        rsa(x[:50], lengths * direction.double(), distance=distance)


def test_rsa_by_correlation_refuses_a_token_whose_units_are_equal_but_for_the_rounding_of_their_mean():
    x, y = (view[:50].clone() for view in layers())
    y[4] = 0.1
    with pytest.raises(ValueError, match="correlation distance is not defined for a token of y"):
        rsa(x, y, distance="correlation")


@each_distance
def test_rsa_refuses_numbers_whose_squares_are_lost(distance):
    x, y = (view[:50].numpy() for view in layers())
    with pytest.raises(ValueError, match=f"{distance} distance needs numbers whose squares float64 can hold"):
        rsa(x, 1e180 * y, distance=distance)


@pytest.mark.parametrize(("x_scale", "y_scale"), [(1e-90, 1), (1e-50, 1e-50), (1e80, 1), (1e60, 1e60)])
def test_cka_refuses_numbers_whose_fourth_powers_are_lost(x_scale, y_scale):
    x, y = layers()
    with pytest.raises(
        ValueError, match=r"fourth powers that float64 can hold, got sums of .* scale the views"
    ):
        cka(x * x_scale, y * y_scale)


def test_what_is_derived_of_a_view_is_derived_once_however_many_it_is_compared_with():
    moments = JointMoments([("a", "b"), ("a", "c")])
    moments.update(dict(zip("abc", normal(3, 50, 4), strict=True)))
    assert moments["a", "b"].x is moments["a", "c"].x is moments["c", "a"].y
    before = moments["a", "b"].x
    moments.update(dict(zip("abc", normal(3, 50, 4), strict=True)))
    assert moments["a", "b"].x is not before
    assert moments["a", "b"].x.count == 100


def test_unknown_names_are_refused_with_the_known_ones(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    x, y = layers()
    with pytest.raises(ValueError, match=r"one of .'variance', 'singular_values'., got 'energy'"):
        svcca(x, y, rule="energy")
    with pytest.raises(ValueError, match=r"one of .'euclidean', 'correlation', 'cosine'., got 'cityblock'"):
        rsa(x, y, distance="cityblock")
    with pytest.raises(ValueError, match=r"one of .'euclidean', 'correlation', 'cosine'., got 'cityblock'"):
        ranked_distances(x, distance="cityblock")
