import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from lmdynamics.models import training
from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.models.training import TrainingError, TrainingSettings
from lmdynamics.text.streams import Examples, Parts, padded_streams, streams

WORDS = 12
SHAPE = ModelSettings(layers=2, units=24, dropout=0.0)
ONE_LAYER = replace(SHAPE, layers=1)
SETTINGS = TrainingSettings(batch=10, steps_back=10, learning_rate=20.0, clip=0.25)


def text(tokens, seed):
    """Words that mostly follow one another in a circle, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.choice([1, 2], tokens, p=[0.9, 0.1])) % WORDS


@pytest.fixture
def parts():
    return Parts(*(Examples.next_word(text(n, seed)) for seed, n in enumerate((2001, 303, 297))))


def untrained(shape=SHAPE, seed=0):
    return RecurrentModel(shape, words=WORDS, classes=WORDS, seed=seed)


def train(parts, settings=SETTINGS, shape=SHAPE, epochs=3):
    model = untrained(shape)
    return model, list(islice(training.epochs(model, parts, settings, seed=0), epochs + 1))


def test_an_epoch_equals_plain_pytorch_with_the_same_settings(parts):
    model, _ = train(parts, epochs=1)
    twin = untrained()
    inputs, targets = (streams(column, SETTINGS.batch) for column in parts.train)
    state = None
    for words, wanted in zip(inputs.split(10), targets.split(10), strict=True):
        twin.zero_grad()
        layers, state = twin(words, state)
        nn.functional.cross_entropy(twin.decoder(layers["h2"]).flatten(0, 1), wanted.flatten()).backward()
        twin.embedding.weight.grad = twin.embedding.weight.grad.to_dense()
        nn.utils.clip_grad_norm_(twin.parameters(), SETTINGS.clip)
        torch.optim.SGD(twin.parameters(), lr=SETTINGS.learning_rate).step()
        state = [(h.detach(), c.detach()) for h, c in state]
    for got, wanted in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_the_untrained_model_costs_about_the_logarithm_of_the_vocabulary_and_learns_from_there(parts):
    _, epochs = train(parts, shape=ONE_LAYER, epochs=10)
    assert epochs[0].epoch == 0
    assert epochs[0].train_loss is None
    assert epochs[0].test_loss == pytest.approx(math.log(WORDS), abs=0.05)
    # the words are drawn with an entropy of 0.33 nats
    assert 0.3 < epochs[-1].test_loss < 0.6


def test_going_on_from_the_weights_of_an_epoch_gives_the_same_bits(parts):
    shape = replace(SHAPE, dropout=0.3)
    straight, epochs = train(parts, shape=shape, epochs=4)
    halted, past = train(parts, shape=shape, epochs=2)
    list(islice(training.epochs(halted, parts, SETTINGS, seed=0, past=past), 2))
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), halted.parameters(), strict=True))
    assert [epoch.dev_loss for epoch in epochs[:3]] == [epoch.dev_loss for epoch in past]


def test_the_steps_of_an_epoch_one_by_one_are_the_epoch_to_the_same_bit(parts):
    shape = replace(SHAPE, dropout=0.3)
    model, (_, epoch) = train(parts, shape=shape, epochs=1)
    twin = untrained(shape)
    taken = list(training.steps(twin, parts.train, SETTINGS, seed=0, epoch=1, rate=SETTINGS.learning_rate))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert len(taken) == epoch.steps == 20
    assert sum(step.tokens for step in taken) == 2000
    assert sum(step.loss.item() for step in taken) / 2000 == pytest.approx(epoch.train_loss, rel=1e-12)


def test_steps_depend_on_seed_epoch_and_rate_and_the_first_loss_is_that_before_any(parts):
    def first(shape=SHAPE, **changed):
        model = untrained(shape)
        options = {"seed": 0, "epoch": 1, "rate": 1.0} | changed
        step = next(training.steps(model, parts.train, SETTINGS, **options))
        return step.loss.item(), model.decoder.weight.detach()

    begin = [Examples(*(each[at : at + 10] for each in parts.train)) for at in range(0, 2000, 200)]
    mean = np.mean([training.mean_loss(untrained(), each, batch=1) for each in begin])
    assert first()[0] / 100 == pytest.approx(mean, rel=1e-5)
    noisy = replace(SHAPE, dropout=0.3)
    assert first(noisy)[0] == first(noisy)[0] == first(noisy, rate=2.0)[0]
    assert len({first(noisy, **each)[0] for each in ({}, {"seed": 1}, {"epoch": 2})}) == 3
    start = untrained().decoder.weight.detach()
    once, twice = (first(rate=rate)[1] - start for rate in (1.0, 2.0))
    torch.testing.assert_close(twice, 2 * once, rtol=1e-3, atol=1e-6)


def test_a_step_is_taken_only_when_it_is_asked_for(parts):
    model, before = untrained(), untrained()
    taking = training.steps(model, parts.train, SETTINGS, seed=0, epoch=1, rate=1.0)
    assert torch.equal(model.decoder.weight, before.decoder.weight)
    step = next(taking)
    assert step.tokens == SETTINGS.batch * SETTINGS.steps_back
    assert not torch.equal(model.decoder.weight, before.decoder.weight)


def test_the_learning_rate_is_quartered_exactly_after_epochs_that_do_not_improve_on_the_best(parts):
    _, epochs = train(parts, epochs=4)
    best, rate = math.inf, 20.0
    for epoch in epochs:
        assert epoch.learning_rate == rate
        assert epoch.rescaled == (epoch.dev_loss >= best)
        rate /= 4 if epoch.rescaled else 1
        best = min(best, epoch.dev_loss)
    assert rate < 20.0, "this setting was chosen so that a quartering happens"


def test_mean_loss_counts_every_token_once(parts):
    model = untrained()
    examples = Examples(parts.test.inputs[:7], parts.test.targets[:7])
    logits = [
        model.decoder(model(torch.as_tensor(piece)[:, None]).layers["h2"][:, 0])
        for piece in np.split(examples.inputs, [4])
    ]
    expected = nn.functional.cross_entropy(torch.cat(logits), torch.as_tensor(examples.targets))
    assert training.mean_loss(model, examples, batch=2) == pytest.approx(expected.item(), rel=1e-6)


def test_streams_are_contiguous_and_keep_their_order():
    assert streams(np.arange(11), 3).tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert padded_streams(np.arange(5), 2, fill=-1).tolist() == [[0, 3], [1, 4], [2, -1]]


def test_a_loss_that_is_not_finite_is_an_error_that_names_epoch_and_rate(parts):
    model = untrained()
    running = training.epochs(model, parts, SETTINGS, seed=0)
    next(running)
    model.lstms[0].bias_ih_l0.data[0] = math.nan
    with pytest.raises(TrainingError, match="train loss of epoch 1 is nan at learning rate 20"):
        next(running)


def test_fewer_tokens_than_streams_is_an_error():
    with pytest.raises(ValueError, match="batch of 40 streams needs at least 40 tokens, got 39"):
        streams(np.arange(39), 40)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"batch": 0}, "batch is at least 1, got 0"), ({"clip": 0.0}, "clip is positive, got 0.0")],
)
def test_settings_with_which_nothing_is_learnt_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**wrong)


@pytest.mark.parametrize("targets", [40, 42])
def test_a_loss_needs_a_target_for_each_input(targets):
    ids = text(50, 0)
    with pytest.raises(ValueError, match=f"need a target for each input, got {targets} for 41"):
        training.mean_loss(untrained(), Examples(ids[:41], ids[:targets]))


def test_bfloat16_trains_too(parts):
    _, epochs = train(parts, replace(SETTINGS, bf16=True), shape=ONE_LAYER, epochs=4)
    assert epochs[-1].dev_loss < epochs[0].dev_loss - 0.5
