"""Measures of sparsity meet their closed forms, keep their invariances and agree with their definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lmdynamics.measures.sparsity import MEASURES, SHARE, chi, gini, hoyer, norms, spare_units

each = pytest.mark.parametrize("measure", MEASURES.values(), ids=list(MEASURES))
in_float32_and_64 = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)]
)
seeds = st.integers(0, 10**6)
vectors = st.lists(st.floats(-10, 10), min_size=2, max_size=30).filter(
    lambda values: max(map(abs, values)) > 1e-30
)
sizes = st.lists(st.integers(0, 100), min_size=2, max_size=12)


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# Closed forms


@in_float32_and_64
@pytest.mark.parametrize(
    ("units", "equal"), [(1, 1), (2, 1), (2, 2), (7, 1), (7, 4), (7, 7), (200, 1), (200, 30), (200, 200)]
)
def test_some_units_of_equal_size_and_the_rest_zero_have_closed_forms(units, equal, dtype, tolerance):
    values = torch.zeros(units, dtype=dtype)
    values[:equal] = 0.3
    values[:equal:2] *= -1
    assert chi(values).item() == pytest.approx(1 / math.sqrt(equal), abs=tolerance)
    assert gini(values).item() == pytest.approx(1 - equal / units, abs=tolerance)
    assert spare_units(values).item() == pytest.approx(1 - SHARE * equal / units, abs=tolerance)
    if units > 1:
        expected = (math.sqrt(units) - math.sqrt(equal)) / (math.sqrt(units) - 1)
        assert hoyer(values).item() == pytest.approx(expected, abs=tolerance)
    else:
        assert hoyer(values).isnan()


def test_one_two_three_four_by_hand():
    values = double([-3, 1, 4, 2])
    assert chi(values).item() == pytest.approx(math.sqrt(30) / 10)
    assert hoyer(values).item() == pytest.approx(2 - 10 / math.sqrt(30))
    assert gini(values).item() == pytest.approx(1 / 4)
    assert spare_units(values).item() == pytest.approx(1 / 4), "1 is a tenth of their sum"


def test_chi_of_normal_units_is_near_the_root_of_half_pi_over_their_number():
    for units in (200, 20_000):
        found = chi(normal(200, units)).mean().item()
        assert found == pytest.approx(math.sqrt(math.pi / (2 * units)), rel=0.4 / units**0.5)


# Invariances


@each
@given(vectors, st.floats(1e-6, 1e6), seeds)
@settings(max_examples=100, deadline=None)
def test_scale_signs_and_order_do_not_count(measure, values, scale, seed):
    random = np.random.default_rng(seed)
    values = double(values)
    changed = scale * values * double(random.choice([-1, 1], len(values)))
    changed = changed[torch.from_numpy(random.permutation(len(values)))]
    assert measure(changed).item() == pytest.approx(measure(values).item(), abs=1e-9)


@given(vectors)
def test_each_measure_keeps_to_its_range(values):
    units, values = len(values), double(values)
    least = {"chi": 1 / math.sqrt(units), "hoyer": 0, "gini": 0, "spare_units": 1 - SHARE}
    most = {"chi": 1, "hoyer": 1, "gini": 1 - 1 / units, "spare_units": 1 - SHARE / units}
    for name, measure in MEASURES.items():
        assert least[name] - 1e-12 <= measure(values).item() <= most[name] + 1e-12


@given(sizes, seeds)
def test_all_rise_where_a_unit_gives_to_one_that_is_no_smaller(values, seed):
    random = np.random.default_rng(seed)
    small, large = sorted(random.permutation(len(values))[:2], key=lambda unit: values[unit])
    assume(values[small] > 0)
    given_away = random.integers(values[small]) + 1
    before, after = double(values), double(values)
    after[small] -= given_away
    after[large] += given_away
    for measure in (chi, hoyer, gini):
        assert measure(after) > measure(before)
    assert spare_units(after) >= spare_units(before) - 1e-12


@each
@pytest.mark.parametrize("scale", [1e-36, 1e-30, 1e-15, 1e20, 1e30])
def test_values_too_small_or_too_large_to_be_squared_in_float32_cost_no_digits(measure, scale):
    values = normal(50, 30)
    expected = measure(values).float()
    torch.testing.assert_close(measure((scale * values).float()), expected, rtol=1e-5, atol=1e-6)
    mixed = values.float()
    mixed[::2] *= scale
    torch.testing.assert_close(measure(mixed), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [0, 1e-36, 1e-15, 1, 1e20, 1e30])
def test_norms_are_those_of_float64(scale):
    values = (scale * normal(3, 50, 30)).float()
    for order, found in zip((1, 2), norms(values), strict=True):
        expected = np.linalg.norm(values.double().numpy(), order, axis=-1)
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found, expected, rtol=1e-5)


# Other definitions


@given(vectors)
def test_gini_is_the_mean_absolute_difference_over_twice_the_mean(values):
    absolute = np.abs(values)
    between = np.abs(absolute[:, None] - absolute).sum()
    expected = between / (2 * len(values) * absolute.sum())
    assert gini(double(values)).item() == pytest.approx(expected, abs=1e-12)


@given(vectors)
def test_hoyer_stretches_chi_from_its_least_value_to_one(values):
    root = math.sqrt(len(values))
    norms = [np.linalg.norm(values, order) for order in (1, 2)]
    expected = (root - norms[0] / norms[1]) / (root - 1)
    assert hoyer(double(values)).item() == pytest.approx(expected, abs=1e-12)


@given(vectors)
def test_spare_units_is_where_the_lorenz_curve_comes_to_a_tenth(values):
    held = np.concatenate([[0], np.cumsum(np.sort(np.abs(values)))])
    expected = np.interp(1 - SHARE, held / held[-1], np.linspace(0, 1, len(held)))
    assert spare_units(double(values)).item() == pytest.approx(expected, abs=1e-9)


# Shapes and what has no sparsity


@each
def test_leading_axes_are_kept_and_each_vector_counts_for_itself(measure):
    values = normal(2, 3, 10)
    found = measure(values)
    assert found.shape == (2, 3)
    for row in range(2):
        for column in range(3):
            torch.testing.assert_close(found[row, column], measure(values[row, column]), rtol=1e-14, atol=0)
    assert measure(values[:0]).shape == (0, 3)
    torch.testing.assert_close(measure(values.transpose(0, 1)), found.T, rtol=1e-14, atol=0)


@each
@in_float32_and_64
def test_a_vector_of_zeros_has_none_and_does_not_touch_the_others(measure, dtype, tolerance):
    values = normal(5, 8).to(dtype)
    values[[1, 4]] = 0
    before = values.clone()
    found = measure(values)
    assert found.isnan().tolist() == [False, True, False, False, True]
    assert found.dtype == dtype
    torch.testing.assert_close(found[:1], measure(before[:1]), rtol=tolerance, atol=0)
    assert torch.equal(values, before)
    assert measure(torch.zeros(8, dtype=dtype)).isnan()


@each
def test_vectors_without_units_are_refused(measure):
    with pytest.raises(ValueError, match=r"at least one unit, got shape \(3, 0\)"):
        measure(torch.zeros(3, 0))
