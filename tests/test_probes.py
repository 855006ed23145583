"""Probes learn what can be learnt, alone as in company; baselines and controls mean what they say."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.nn import functional

from lmdynamics.measures import probes
from lmdynamics.measures.probes import (
    Labelled,
    ProbeSettings,
    control_labels,
    majority,
    probe,
    random_embedding,
)

QUICK = ProbeSettings(epochs=3, batch=64)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads that share products this small wait for each other, for long where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def blobs(tokens, *, units=10, classes=4, noise=0.2, seed=0):
    """A view in which each class is a cloud about a corner of its own, and the classes."""
    labels = np.random.default_rng(seed).integers(0, classes, tokens)
    return noise * normal(tokens, units, seed=seed) + torch.eye(units)[labels], labels


def one(view, labels, test_view, test_labels, settings=QUICK, *, seed=0):
    """The scores of a single probe."""
    train = Labelled({"view": view}, {"labels": labels})
    test = Labelled({"view": test_view}, {"labels": test_labels})
    return probe(train, test, [("view", "labels")], settings, seed=seed)["view", "labels"]


def company(tokens, seed=0):
    """Views of two widths, and labellings of several numbers of classes."""
    wide, labels = blobs(tokens, units=30, noise=0.7, seed=seed)
    views = {"wide": wide, "noise": normal(tokens, 30, seed=seed + 1), "narrow": wide[:, :10] ** 2}
    rng = np.random.default_rng(seed)
    return Labelled(views, {"four": labels, "two": labels % 2, "chance": rng.integers(0, 4, tokens)})


PAIRS = [(view, labels) for view in ("wide", "noise", "narrow") for labels in ("four", "two", "chance")]


# What can be learnt


@pytest.mark.parametrize("hidden", [True, False])
def test_separable_classes_are_told_apart(hidden):
    settings = ProbeSettings(hidden=hidden, epochs=20, batch=32, learning_rate=3e-3)
    scores = one(*blobs(2000), *blobs(1000, seed=1), settings)
    assert scores.accuracy > 0.995
    assert scores.train_accuracy > 0.995
    assert scores.loss < 0.1


def test_the_hidden_kind_learns_exclusive_or_and_the_linear_kind_does_not():
    def signs(tokens, seed):
        view = normal(tokens, 20, seed=seed)
        return view, (view[:, 0] * view[:, 1] > 0).long().numpy()

    parts = *signs(8000, 0), *signs(2000, 1)
    assert one(*parts, ProbeSettings(epochs=30, batch=64)).accuracy > 0.9
    assert one(*parts, ProbeSettings(epochs=30, batch=64, hidden=False)).accuracy < 0.55


@pytest.mark.parametrize("hidden", [True, False])
def test_labels_without_a_cause_are_guessed_as_by_majority(hidden):
    rng = np.random.default_rng(0)
    train, test = (rng.choice(3, 4000, p=[0.6, 0.3, 0.1]) for _ in range(2))
    settings = ProbeSettings(hidden=hidden, epochs=5, batch=32)
    scores = one(normal(4000, 10), train, normal(4000, 10, seed=1), test, settings)
    assert scores.accuracy == pytest.approx(majority(train, test), abs=0.02)
    assert scores.loss > -np.log([0.6, 0.3, 0.1]) @ [0.6, 0.3, 0.1] - 0.02


def test_the_linear_kind_reaches_the_minimum_of_its_loss():
    view, labels = blobs(300, units=5, classes=3, noise=0.8)
    settings = ProbeSettings(hidden=False, epochs=1500, batch=300, learning_rate=0.01)
    x = ((view - view.mean(0)) / view.std(0, correction=0)).double()

    def loss_and_gradient(flat):
        weight = torch.tensor(flat.reshape(6, 3), requires_grad=True)
        loss = functional.cross_entropy(x @ weight[:5] + weight[5], torch.from_numpy(labels))
        loss.backward()
        return loss.item(), weight.grad.numpy().ravel()

    optimum = minimize(loss_and_gradient, np.zeros(18), jac=True, method="BFGS", options={"gtol": 1e-6})
    assert one(view, labels, view, labels, settings).loss == pytest.approx(optimum.fun, abs=1e-5)


def test_reported_scores_are_those_of_the_test_tokens():
    view, labels = blobs(500)
    other, wrong = blobs(500, seed=1)
    settings = ProbeSettings(epochs=20, batch=32, learning_rate=3e-3)
    right = one(view, labels, other, wrong, settings)
    scores = one(view, labels, other, (wrong + 1) % 4, settings)
    assert scores.train_accuracy == right.train_accuracy
    assert scores.accuracy == pytest.approx(0, abs=0.02)
    assert scores.loss > 3


def test_tokens_in_the_order_of_their_classes_are_learnt_as_in_any():
    (view, labels), test = blobs(2000, noise=0.5), blobs(1000, noise=0.5, seed=1)
    order, settings = np.argsort(labels), ProbeSettings(epochs=3, batch=32)
    shuffled = one(view, labels, *test, settings).accuracy
    assert one(view[order], labels[order], *test, settings).accuracy == pytest.approx(shuffled, abs=0.02)


def test_silenced_units_keep_the_hidden_kind_from_learning_noise_by_heart():
    noise, labels = normal(200, 50), blobs(200)[1]
    parts, settings = (noise, labels, noise, labels), {"epochs": 100, "batch": 32}
    assert one(*parts, ProbeSettings(dropout=0.0, **settings)).loss < 0.3
    assert one(*parts, ProbeSettings(dropout=0.9, **settings)).loss > 0.6
    linear = [one(*parts, ProbeSettings(hidden=False, dropout=d, **settings)) for d in (0.0, 0.9)]
    assert linear[0] == linear[1]


# Units


@pytest.mark.parametrize("hidden", [True, False])
def test_shift_and_scale_of_a_unit_change_nothing(hidden):
    (view, labels), (other, wanted) = blobs(500, noise=0.8), blobs(300, noise=0.8, seed=1)
    scale, shift = 2.0 ** torch.arange(-5, 5), 4 * torch.arange(10)  # powers of 2 keep all digits
    settings = ProbeSettings(hidden=hidden, epochs=3)
    scores = one(scale * view + shift, labels, scale * other + shift, wanted, settings)
    expected = one(view, labels, other, wanted, settings)
    assert scores == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_unit_that_was_constant_in_training_says_nothing_in_the_test(dtype):
    (view, labels), (other, wanted) = blobs(500), blobs(300, seed=1)
    view, other = view.to(dtype), other.to(dtype)
    view[:, 9], other[:, 9] = 0.1, 0.1  # the mean of which is rounded
    expected = one(view, labels, other, wanted)
    other[:, 9] = 1e6 * normal(300)
    assert one(view, labels, other, wanted) == expected


# Alone and in company


@pytest.mark.parametrize("hidden", [True, False])
def test_a_probe_alone_scores_what_it_scores_in_company(hidden, monkeypatch):
    train, test = company(400), company(300, seed=7)
    settings = ProbeSettings(hidden=hidden, epochs=5, batch=64, train_tokens=350)
    together = probe(train, test, PAIRS, settings, seed=3)
    assert list(together) == PAIRS
    for view, labels in PAIRS:
        some = [Labelled({view: part.views[view]}, {labels: part.labels[labels]}) for part in (train, test)]
        alone = probe(*some, [(view, labels)], settings, seed=3)
        assert alone[view, labels] == pytest.approx(together[view, labels], abs=1e-5)
    monkeypatch.setattr(probes, "_TOGETHER", 2)
    in_twos = probe(train, test, PAIRS[::-1], settings, seed=3)
    for pair in PAIRS:
        assert in_twos[pair] == pytest.approx(together[pair], abs=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    train, test = company(400), company(300, seed=7)
    settings = ProbeSettings(epochs=2, batch=64, train_tokens=350, test_tokens=200)
    first = probe(train, test, PAIRS, settings, seed=0)
    assert probe(train, test, PAIRS, settings, seed=0) == first
    assert probe(train, test, PAIRS, settings, seed=1) != first


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    one(*blobs(100), *blobs(100))
    assert torch.equal(torch.get_rng_state(), state)


def test_numpy_and_torch_views_give_the_same_scores():
    (view, labels), (other, wanted) = blobs(200), blobs(200, seed=1)
    assert one(view.numpy(), labels, other.numpy(), wanted) == one(view, labels, other, wanted)


def test_classes_may_have_any_numbers():
    (view, labels), (other, wanted) = blobs(200), blobs(200, seed=1)
    spread = np.array([3, 40, 500, 6000])
    assert one(view, spread[labels], other, spread[wanted]) == one(view, labels, other, wanted)


def test_no_more_tokens_are_read_than_wanted():
    view, labels = blobs(400)
    settings = ProbeSettings(epochs=3, train_tokens=40, test_tokens=25)
    scores = one(view, labels, view, labels, settings)
    for share, tokens in ((scores.train_accuracy, 40), (scores.accuracy, 25)):
        assert share * tokens == pytest.approx(round(share * tokens), abs=1e-9)
    assert scores != one(view, labels, view, labels, ProbeSettings(epochs=3))


# By hand


def stack_of(probes_, widths, batch):
    return probes._Stack(probes_, widths, batch, torch.Generator().manual_seed(0), torch.device("cpu"))


@pytest.mark.parametrize("widths", [(7, 7, 5), (7, 5)])
@pytest.mark.parametrize("dropout", [True, False])
def test_gradients_by_hand_are_those_of_autograd(widths, dropout):
    stack = stack_of(3, widths, 20)
    stack.parameters += 0.3 * normal(*stack.parameters.shape)  # each probe its own
    inputs, kept = normal(3, 20, 7, seed=1), (normal(20, 7, seed=2) > 0) * 2.0 if dropout else None
    labels = torch.randint(5, (3, 20), generator=torch.Generator().manual_seed(3))
    stack.backward(inputs, labels, kept)

    (*hidden, (weight, bias)) = layers = [
        [each.clone().requires_grad_() for each in layer] for layer in stack.layers
    ]
    read = inputs
    for w, b in hidden:
        read = (inputs @ w + b).relu() * (1 if kept is None else kept)
    losses = [functional.cross_entropy(*each) for each in zip(read @ weight + bias, labels, strict=True)]
    sum(losses).backward()
    for ours, theirs in zip(stack.gradients, layers, strict=True):
        for gradient, parameter in zip(ours, theirs, strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-5, atol=1e-6)


def test_all_probes_start_from_the_same_weights_as_large_as_their_inputs_ask():
    stack = stack_of(3, (100, 100, 5), 1)
    for parameter in (each for layer in stack.layers for each in layer):
        assert torch.equal(parameter[0].expand_as(parameter), parameter)
        assert 0.06 < parameter.abs().max() <= 0.1
    assert torch.equal(stack_of(1, (100, 100, 9), 1).layers[0].weight[0], stack.layers[0].weight[0])


# Baselines and controls


def zipf(tokens, *, words=2000, seed=0):
    shares = 1 / np.arange(1, words + 1)
    return np.random.default_rng(seed).choice(words, tokens, p=shares / shares.sum())


def test_majority_is_the_share_of_the_most_frequent_training_class():
    assert majority(np.array([2, 0, 2, 1]), np.array([2, 2, 0, 0, 0])) == 0.4
    assert majority(np.array([1, 0]), np.array([0, 1, 1])) == pytest.approx(1 / 3)


def test_a_word_has_one_control_label_wherever_it_stands():
    train, test = zipf(5000), zipf(3000, seed=1)
    labels = np.random.default_rng(2).choice(5, 5000)
    controls = control_labels(train, test, labels, seed=0)
    by_word = {}
    for ids, control in zip((train, test), controls, strict=True):
        for word, label in zip(ids, control, strict=True):
            assert by_word.setdefault(word, label) == label
    again = control_labels(train, test, labels, seed=0)
    assert all(map(np.array_equal, controls, again))
    assert not np.array_equal(controls[0], control_labels(train, test, labels, seed=1)[0])


def test_words_have_control_labels_in_the_shares_of_the_true_ones():
    words, labels = np.arange(40_000), np.array([0] * 50 + [2] * 30 + [7] * 20)
    control, _ = control_labels(words, words, labels, seed=0)
    np.testing.assert_allclose(np.bincount(control) / 40_000, [0.5, 0, 0.3, 0, 0, 0, 0, 0.2], atol=0.01)


@pytest.mark.parametrize("seed", range(20))
def test_no_test_word_has_a_control_label_that_none_can_learn(seed):
    train, test, labels = np.array([0, 1, 1]), np.arange(50), np.arange(10)
    learnt, tested = control_labels(train, test, labels, seed=seed)
    assert set(tested) == set(learnt)


def test_a_probe_learns_control_labels_by_heart_from_a_view_that_tells_words_apart():
    train, test = zipf(4000, words=100), zipf(2000, words=100, seed=1)
    controls = control_labels(train, test, np.arange(5), seed=0)
    views = [random_embedding(ids, 50, seed=1) for ids in (train, test)]
    scores = one(views[0], controls[0], views[1], controls[1], ProbeSettings(epochs=20, batch=64))
    assert scores.accuracy > 0.95
    blind = one(normal(4000, 50), controls[0], normal(2000, 50, seed=1), controls[1], QUICK)
    assert blind.accuracy < majority(*controls) + 0.02


def test_a_word_has_one_random_vector_in_every_text():
    ids = np.array([3, 0, 3, 5])
    view = random_embedding(ids, 4, seed=0)
    assert torch.equal(view[0], view[2])
    assert not torch.equal(view[0], view[1])
    assert torch.equal(random_embedding(np.array([900, 5, 3]), 4, seed=0)[1:], view[[3, 0]])
    assert not torch.equal(random_embedding(ids, 4, seed=1), view)
    many = random_embedding(np.arange(2000), 50, seed=0)
    assert many.mean() == pytest.approx(0, abs=0.01)
    assert many.std() == pytest.approx(1, abs=0.01)


# Errors


def refuses(message, *, view=None, labels=None, test_view=None, test_labels=None):
    good, classes = blobs(50)
    parts = [good, classes, good, classes]
    given = [view, labels, test_view, test_labels]
    with pytest.raises(ValueError, match=message):
        one(*(each if changed is None else changed for each, changed in zip(parts, given, strict=True)))


def test_labels_that_do_not_align_are_refused():
    labels = blobs(49)[1]
    refuses("'labels' needs a label for each of 50 train tokens, got 49; leave", labels=labels)
    refuses("'labels' needs a label for each of 50 test tokens, got 49; leave", test_labels=labels)


def test_negative_labels_are_refused():
    labels = blobs(50)[1]
    labels[3] = -1
    refuses("train labels of 'labels' must be numbers from 0, got -1 at token 3; leave out", labels=labels)
    refuses("test labels of 'labels' must be numbers from 0, got -1 at token 3", test_labels=labels)


def test_a_single_class_is_refused():
    refuses("'labels' needs at least 2 classes to learn, got 1", labels=np.zeros(50, int))


def test_a_class_that_was_not_learnt_is_refused():
    labels = blobs(50)[1]
    labels[0] = 9
    refuses("'labels' has 4 classes to learn, got class 9 to test, which is none", test_labels=labels)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    view, _ = blobs(50)
    view[3, 2] = value
    refuses(f"'view' has {value} at token 3 of the block, unit 2", view=view)
    refuses(f"'view' has {value} at token 3 of the block, unit 2", test_view=view)


def test_views_of_other_units_are_refused():
    view = normal(50, 9)
    refuses("'view' has 10 units in the train part, got 9 in the test part; take both", test_view=view)


def test_views_of_other_tokens_are_refused():
    train = Labelled({"a": normal(50, 3), "b": normal(49, 3)}, {"labels": np.arange(50) % 2})
    with pytest.raises(ValueError, match=r"same tokens, row by row; got {'a': 50, 'b': 49}"):
        probe(train, train, [("a", "labels"), ("b", "labels")], QUICK, seed=0)


def test_unknown_names_are_refused_with_the_known_ones():
    part = company(50)
    with pytest.raises(
        ValueError, match=r"train part has the views \['narrow', 'noise', 'wide'\], got \['h3'\]"
    ):
        probe(part, part, [("h3", "four")], QUICK, seed=0)
    with pytest.raises(ValueError, match=r"test part has the labellings \['four'\], got \['two'\]"):
        probe(part, Labelled(part.views, {"four": part.labels["four"]}), [("wide", "two")], QUICK, seed=0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs is at least 1, got 0"),
        ({"batch": 0}, "batch is at least 1"),
        ({"train_tokens": 0}, "train_tokens is at least 1"),
        ({"test_tokens": -1}, "test_tokens is at least 1, got -1"),
        ({"learning_rate": 0.0}, "learning_rate is positive"),
        ({"learning_rate": float("nan")}, "learning_rate is positive"),
        ({"dropout": 1.0}, r"dropout is a share in \[0, 1\), got 1.0"),
    ],
)
def test_settings_with_which_nothing_is_learnt_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        ProbeSettings(**setting)


def test_words_and_labels_count_from_zero():
    good, bad, none = np.array([0, 1]), np.array([0, -2]), np.array([], int)
    with pytest.raises(ValueError, match="train ids must be numbers from 0, got -2 at token 1"):
        control_labels(bad, good, good, seed=0)
    with pytest.raises(ValueError, match="labels must be numbers from 0, got none"):
        control_labels(good, good, none, seed=0)
    with pytest.raises(ValueError, match="ids must be numbers from 0, got -2"):
        random_embedding(bad, 3, seed=0)
    with pytest.raises(ValueError, match="test labels must be numbers from 0, got none"):
        majority(good, none)
