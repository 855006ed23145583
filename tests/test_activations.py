import numpy as np
import pytest
import torch

import lmdynamics
from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.observe import activations

IDS = np.random.default_rng(0).integers(0, 9, 53)


@pytest.fixture
def model():
    return RecurrentModel(ModelSettings(units=5), words=9, classes=9, seed=0)


def collected(model, **options):
    found = list(activations.blocks(model, IDS, **options))
    return torch.cat([b.tokens for b in found]), torch.cat([b.layers["h2"] for b in found])


@pytest.mark.parametrize(("streams", "steps"), [(1, 100), (4, 3), (20, 2), (100, 10)])
def test_every_token_stands_in_exactly_one_row(model, streams, steps):
    tokens, _ = collected(model, streams=streams, steps=steps)
    assert sorted(tokens.tolist()) == list(range(len(IDS)))


def test_one_stream_gives_the_states_of_a_single_pass_in_reading_order(model):
    tokens, states = collected(model, streams=1, steps=7)
    whole = model(torch.as_tensor(IDS)[:, None]).layers["h2"][:, 0]
    assert tokens.tolist() == list(range(len(IDS)))
    torch.testing.assert_close(states, whole)


def test_a_row_is_the_state_after_reading_its_own_token(model):
    for block in activations.blocks(model, IDS, streams=4, steps=5, layers=["e"]):
        torch.testing.assert_close(block.layers["e"], model.embedding(torch.as_tensor(IDS)[block.tokens]))


def test_blocks_hold_no_more_rows_than_asked_for(model):
    assert all(len(b.tokens) <= 12 for b in activations.blocks(model, IDS, streams=4, steps=3))


@pytest.mark.parametrize(
    ("ids", "layers", "message"),
    [
        (IDS, ["h3"], "the model has layers e, h1, h2, got h3"),
        (IDS + 1, None, "need ids from 0 to 8, got 1 to 9"),
        (IDS[:0], None, "got none"),
    ],
)
def test_what_cannot_be_run_is_refused(model, ids, layers, message):
    with pytest.raises(ValueError, match=message):
        next(activations.blocks(model, ids, layers=layers))


def test_stretches_are_evenly_spaced_and_stay_apart_as_streams(model):
    places = activations.spread(np.arange(53), 12, streams=5)
    assert places.tolist() == [start + step for start in range(0, 50, 10) for step in range(2)]
    together = next(activations.blocks(model, IDS[places], streams=5, steps=2)).layers["h2"]
    alone = next(activations.blocks(model, IDS[20:22], streams=1)).layers["h2"]
    torch.testing.assert_close(together[2::5], alone)


def test_a_text_no_longer_than_what_is_wanted_stays_whole():
    for most in (None, 53, 60):
        assert activations.spread(IDS, most) is IDS
    with pytest.raises(ValueError, match="20 stretches need 20 tokens or more, got 7"):
        activations.spread(IDS, 7)
    with pytest.raises(ValueError, match="got -5"):
        activations.spread(IDS, -5)


def test_states_are_the_blocks_in_the_order_of_the_text(model):
    tokens, rows = collected(model)
    torch.testing.assert_close(activations.states(model, IDS)["h2"][tokens], rows)


def test_answers_are_the_most_likely_classes(model):
    logits = model.decoder(activations.states(model, IDS)["h2"])
    np.testing.assert_array_equal(activations.answers(model, IDS), logits.argmax(1).numpy())


def test_several_models_are_observed_at_once_with_the_same_token_in_each_row(model):
    other = RecurrentModel(ModelSettings(units=3), words=9, classes=9, seed=1)
    seen = []
    for ours, theirs in lmdynamics.observe([model, other], torch.from_numpy(IDS), streams=4, steps=5):
        assert torch.equal(ours.tokens, theirs.tokens)
        for each, block in ((model, ours), (other, theirs)):
            assert tuple(block.layers) == each.layers
            torch.testing.assert_close(block.layers["e"], each.embedding.weight[IDS[block.tokens]].detach())
        seen += ours.tokens.tolist()
    assert sorted(seen) == list(range(len(IDS)))


def test_layers_to_observe_go_by_name_or_pattern(model):
    (block,) = next(lmdynamics.observe([model], IDS, layers="h*"))
    assert list(block.layers) == ["h1", "h2"]
    with pytest.raises(ValueError, match=r"need names of layers, such as h2, .* got h3"):
        next(lmdynamics.observe([model], IDS, layers=["h1", "h3"]))


def test_one_model_alone_is_observed_and_none_is_refused(model):
    for (alone,), block in zip(lmdynamics.observe(model, IDS), activations.blocks(model, IDS), strict=True):
        assert torch.equal(alone.tokens, block.tokens)
        assert all(torch.equal(alone.layers[name], rows) for name, rows in block.layers.items())
    with pytest.raises(ValueError, match="need one model or more to observe, got none"):
        next(lmdynamics.observe([], IDS))
