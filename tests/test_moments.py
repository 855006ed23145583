"""Moments are those of all tokens at once, however the tokens were cut, ordered and merged."""

import pickle
from itertools import pairwise

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdynamics.measures.moments import JointMoments, TwoViews

WIDTHS = {"a": 3, "b": 5, "c": 2}


def blocks_of(tokens, *, seed=0, mean=0.0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: mean + torch.randn(tokens, units, dtype=torch.float64, generator=generator)
        for name, units in WIDTHS.items()
    }


def summed(blocks, pairs=(("a", "b"), ("b", "c"))):
    moments = JointMoments(pairs)
    moments.update(blocks)
    return moments


def cut(blocks, bounds):
    edges = [0, *sorted(bounds), len(blocks["a"])]
    return [{name: block[i:j] for name, block in blocks.items()} for i, j in pairwise(edges) if i < j]


def assert_equal(views: TwoViews, other: TwoViews, *, rtol=1e-10):
    assert views.count == other.count
    for ours, theirs in ((views.x, other.x), (views.y, other.y)):
        torch.testing.assert_close(ours.mean, theirs.mean, rtol=rtol, atol=rtol)
        torch.testing.assert_close(ours.scatter, theirs.scatter, rtol=rtol, atol=rtol)
    torch.testing.assert_close(views.cross, other.cross, rtol=rtol, atol=rtol)


def test_moments_are_those_of_their_definitions():
    blocks = blocks_of(50)
    views = summed(blocks)["a", "b"]
    x, y = (blocks[name].numpy() - blocks[name].numpy().mean(0) for name in "ab")
    np.testing.assert_allclose(views.x.mean, blocks["a"].numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(views.x.scatter, np.cov(x.T, bias=True) * 50, rtol=1e-12)
    np.testing.assert_allclose(views.cross, x.T @ y, rtol=1e-12)


@settings(deadline=None, max_examples=60)
@given(
    bounds=st.lists(st.integers(1, 59), max_size=8, unique=True),
    split=st.integers(0, 9),
    seed=st.integers(0, 99),
    order=st.randoms(use_true_random=False),
)
def test_any_cut_and_any_order_of_merging_give_the_same_moments(bounds, split, seed, order):
    blocks = blocks_of(60, seed=seed)
    parts = cut(blocks, bounds)
    order.shuffle(parts)
    left, right = JointMoments([("a", "b")]), JointMoments([("a", "b")])
    for i, part in enumerate(parts):
        (left if i < split else right).update({name: part[name] for name in "ab"})
    right.merge(left)
    assert_equal(right["a", "b"], summed({name: blocks[name] for name in "ab"}, [("a", "b")])["a", "b"])


def test_a_block_larger_than_the_room_is_cut(monkeypatch):
    blocks = blocks_of(1000)
    whole = summed(blocks)
    monkeypatch.setattr("lmdynamics.measures.moments._ROOM", 70)
    assert_equal(summed(blocks)["a", "b"], whole["a", "b"])


def exact_correlations(block):
    """Correlation of each unit with each other, from numbers that are longer than float64's."""
    values = block.numpy().astype(np.longdouble)
    values -= values.mean(0)
    products = values.T @ values
    return (products / np.sqrt(np.outer(products.diagonal(), products.diagonal()))).astype(float)


@pytest.mark.parametrize("outlier", [1.0, 1e3, 1e6, 1e9])
@pytest.mark.parametrize("mean", [0.0, 1e4, 1e6])
@pytest.mark.parametrize("first", [1, 400])
def test_neither_a_far_mean_nor_an_outlying_token_costs_digits_wherever_the_text_is_cut(outlier, mean, first):
    block = blocks_of(1000, mean=mean)["b"]
    block[0, 0] = outlier
    expected = exact_correlations(block)
    for bounds in ([], [first], range(first, 1000, 7)):
        left, right = (JointMoments([("b", "b")]) for _ in range(2))
        for number, part in enumerate(cut({"a": block, "b": block}, bounds)):
            (left if number < 20 else right).update({"b": part["b"]})
        left.merge(right)
        scatter = left["b", "b"].cross
        sizes = scatter.diagonal().sqrt()
        np.testing.assert_allclose(scatter / sizes / sizes[:, None], expected, rtol=0, atol=1e-13)


def test_a_drifting_mean_costs_no_digits():
    drift = torch.linspace(-1e3, 1e3, 2000, dtype=torch.float64)[:, None]
    blocks = {name: block + drift for name, block in blocks_of(2000).items()}
    moments = JointMoments([("a", "b"), ("b", "c")])
    for part in cut(blocks, range(7, 2000, 7)):
        moments.update(part)
    assert_equal(moments["b", "c"], summed(blocks)["b", "c"])


def test_a_pair_reads_in_either_order():
    moments = summed(blocks_of(20))
    there, back = moments["a", "b"], moments["b", "a"]
    assert torch.equal(there.cross, back.cross.T)
    assert torch.equal(there.x.scatter, back.y.scatter)


def test_a_view_with_itself_is_always_there():
    own = summed(blocks_of(20))["c", "c"]
    assert torch.equal(own.cross, own.x.scatter)


def test_a_pair_asked_for_twice_is_summed_once():
    assert JointMoments([("a", "b"), ("b", "a"), ("a", "b")]).pairs == (("a", "a"), ("b", "b"), ("a", "b"))


def test_what_was_read_stays_as_it_was_when_more_tokens_come():
    moments = summed(blocks_of(20))
    before = moments["b", "a"]
    kept = pickle.loads(pickle.dumps(before))
    moments.update(blocks_of(30, seed=1))
    moments.merge(summed(blocks_of(10, seed=2)))
    for one, other in ((before.x, kept.x), (before.y, kept.y)):
        assert one.count == other.count == 20
        assert torch.equal(one.mean, other.mean)
        assert torch.equal(one.scatter, other.scatter)
    assert torch.equal(before.cross, kept.cross)
    assert moments["b", "a"].count == 60


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_are_left_as_they_were(dtype):
    blocks = {name: block.to(dtype) for name, block in blocks_of(20, mean=3.0).items()}
    before = {name: block.clone() for name, block in blocks.items()}
    summed(blocks)
    assert all(torch.equal(blocks[name], before[name]) for name in blocks)


def test_merging_leaves_the_other_as_it_was():
    one, other = summed(blocks_of(20)), summed(blocks_of(30, seed=1))
    before = pickle.loads(pickle.dumps(other))
    one.merge(other)
    one.update(blocks_of(10, seed=2))
    assert other.count == 30
    assert torch.equal(other["a", "b"].cross, before["a", "b"].cross)


def test_merging_with_itself_counts_every_token_twice():
    moments = summed(blocks_of(20))
    once = moments["a", "b"].cross
    moments.merge(moments)
    assert moments.count == 40
    torch.testing.assert_close(moments["a", "b"].cross, 2 * once)


def test_merging_with_none_changes_nothing():
    moments = summed(blocks_of(20))
    before = moments["a", "b"]
    moments.merge(JointMoments([("a", "b"), ("b", "c")]))
    assert_equal(moments["a", "b"], before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_values_of_less_precision_are_summed_in_float64(dtype):
    blocks = {name: block.to(dtype) for name, block in blocks_of(300, mean=5.0).items()}
    exact = {name: block.double() for name, block in blocks.items()}
    assert_equal(summed(blocks)["a", "b"], summed(exact)["a", "b"], rtol=1e-14)


def test_numpy_arrays_serve_as_they_come():
    blocks = blocks_of(40)
    arrays = {name: block.numpy().copy() for name, block in blocks.items()}
    arrays["a"].flags.writeable = False
    arrays["b"] = arrays["b"][::-1].copy()[::-1]
    arrays["c"] = np.asfortranarray(arrays["c"])
    assert_equal(summed(arrays)["a", "b"], summed(blocks)["a", "b"])


def test_finite_values_whose_sum_overflows_are_accepted():
    block = torch.full((100, 2), 6e4, dtype=torch.float16)
    assert summed({"a": block, "b": block}, [("a", "b")])["a", "b"].x.mean.tolist() == [60000.0, 60000.0]


def test_values_under_autograd_leave_no_graph():
    block = torch.randn(10, 2, requires_grad=True)
    assert not summed({"a": block, "b": block}, [("a", "b")])["a", "b"].cross.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.pop("c"), "needs the views .*'c'.*, got .'a', 'b'."),
        (lambda b: b.update(d=b["a"]), "needs the views"),
        (lambda b: b.update(a=b["a"][1:]), "same tokens, row by row; got {'a': 9, 'b': 10, 'c': 10}"),
        (lambda b: b.update({n: v[:0] for n, v in b.items()}), "at least one token"),
        (lambda b: b.update(b=b["a"]), "'b' has 5 units, got 3"),
        (lambda b: b["b"].__setitem__((7, 2), torch.nan), "'b' has nan at token 7 of the block, unit 2"),
        (lambda b: b["c"].__setitem__((0, 1), -torch.inf), "'c' has -inf at token 0 of the block, unit 1"),
    ],
)
def test_a_block_that_does_not_fit_is_refused_and_adds_nothing(change, message):
    moments = summed(blocks_of(20))
    before = moments["a", "b"].cross
    blocks = blocks_of(10)
    change(blocks)
    with pytest.raises(ValueError, match=message):
        moments.update(blocks)
    assert moments.count == 20
    assert torch.equal(moments["a", "b"].cross, before)


def test_moments_of_other_pairs_or_widths_do_not_merge():
    moments = summed(blocks_of(20))
    with pytest.raises(ValueError, match="same pairs"):
        moments.merge(JointMoments([("a", "b")]))
    narrow = {name: block[:, :1] for name, block in blocks_of(20).items()}
    with pytest.raises(ValueError, match="'a' has 3 units, got 1"):
        moments.merge(summed(narrow))


@pytest.mark.parametrize(
    ("block", "shape"), [(torch.ones(10), r"\(10,\)"), (torch.ones(10, 1, 3), r"\(10, 1, 3\)")]
)
def test_a_view_that_is_no_matrix_is_refused(block, shape, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    with pytest.raises(ValueError, match=rf"tokens × units, got {shape} for 'a'"):
        JointMoments([("a", "b")]).update({"a": block, "b": torch.ones(10, 2)})


def test_there_is_nothing_to_sum_without_a_pair():
    with pytest.raises(ValueError, match="at least one pair of views, got none"):
        JointMoments([])


def test_reading_needs_tokens_and_a_pair_that_was_asked_for():
    with pytest.raises(ValueError, match="no tokens yet"):
        JointMoments([("a", "b")])["a", "b"]
    with pytest.raises(KeyError, match="'a' with 'c' is not among the pairs"):
        summed(blocks_of(20))["a", "c"]
