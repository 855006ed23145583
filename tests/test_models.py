from dataclasses import replace

import pytest
import torch

from lmdynamics.models.recurrent import ModelSettings, RecurrentModel

SHAPE = ModelSettings(layers=2, units=6, dropout=0.5)


@pytest.fixture
def model():
    return RecurrentModel(SHAPE, words=11, classes=5, seed=3)


@pytest.fixture
def inputs():
    return torch.randint(11, (7, 4), generator=torch.Generator().manual_seed(0))


def test_layers_equal_a_cell_run_by_hand_over_the_embedding(model, inputs):
    layers = model(inputs).layers
    state = torch.zeros(2, 4, 6)
    for word, wanted in zip(inputs, layers["h1"], strict=True):
        lstm = model.lstms[0]
        gates = torch.nn.functional.linear(model.embedding(word), lstm.weight_ih_l0, lstm.bias_ih_l0)
        gates = gates + torch.nn.functional.linear(state[0], lstm.weight_hh_l0, lstm.bias_hh_l0)
        i, f, g, o = gates.chunk(4, 1)
        cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        state = torch.stack([o.sigmoid() * cell.tanh(), cell])
        torch.testing.assert_close(state[0], wanted)


def test_reading_in_two_halves_with_the_state_carried_equals_reading_at_once(model, inputs):
    whole = model(inputs)
    first = model(inputs[:3])
    second = model(inputs[3:], first.state)
    torch.testing.assert_close(torch.cat([first.layers["h2"], second.layers["h2"]]), whole.layers["h2"])
    torch.testing.assert_close(second.state[1][1], whole.state[1][1])


def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone(model):
    before = torch.random.get_rng_state()
    twin, other = (RecurrentModel(SHAPE, words=11, classes=5, seed=seed) for seed in (3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert not torch.equal(model.embedding.weight, other.embedding.weight)


def test_dropout_silences_its_share_and_keeps_the_mean(model):
    dropped = model.drop(torch.ones(400, 100, 6), torch.Generator().manual_seed(0))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)
    # each of the four lots of a draw alike, and none known from another
    lots = dropped.flatten().view(-1, 4)
    torch.testing.assert_close(lots.T.corrcoef(), torch.eye(4), rtol=0, atol=0.02)
    torch.testing.assert_close(lots.mean(0), torch.ones(4), rtol=0, atol=0.02)


@pytest.mark.parametrize("dropout", [0.0, 1e-6, 0.2, 0.9])
@pytest.mark.parametrize("units", [1, 5, 8])  # the last draw may hold more lots than are left
def test_any_share_can_be_silenced_of_any_number_of_units(dropout, units):
    model = RecurrentModel(replace(SHAPE, dropout=dropout), words=2, classes=2, seed=0)
    dropped = model.drop(torch.ones(10_001, units), torch.Generator().manual_seed(1))
    assert dropped.count_nonzero() / dropped.numel() == pytest.approx(1 - dropout, abs=0.02)
    assert dropped.max().item() == pytest.approx(1 / (1 - dropout))


def test_without_a_generator_nothing_is_silenced(model, inputs):
    torch.testing.assert_close(model(inputs).layers["h2"], model(inputs).layers["h2"])


def test_layers_are_named_from_the_bottom(model):
    assert model.layers == ("e", "h1", "h2")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"layers": 0}, "at least one layer"), ({"dropout": 1.0}, r"share in \[0, 1\), got 1.0")],
)
def test_impossible_shapes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        ModelSettings(**wrong)
