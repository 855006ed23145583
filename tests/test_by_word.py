"""Means of χ by word are those of plain loops over tokens, whatever the model is made of."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import only
from small_models import LAYERS, WORDS, Transformer, language_model, seeded
from torch import nn

import lmdynamics as lm
from lmdynamics.models import pretrained
from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.observe.gradients import GradientError

IDS = np.random.default_rng(0).integers(0, 9, 61)


@pytest.fixture
def recurrent():
    """In float64, where two ways of computing agree."""
    model = RecurrentModel(ModelSettings(units=5), words=9, classes=9, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model.double()


class Plain(nn.Module):
    """What a recurrent model computes, as a module that knows nothing of this library."""

    def __init__(self, model):
        super().__init__()
        self.embedding, self.lstms, self.decoder = model.embedding, model.lstms, model.decoder

    def forward(self, ids, states=None):
        values, after = self.embedding(ids), []
        for lstm, state in zip(self.lstms, states or [None] * len(self.lstms), strict=True):
            values, reached = lstm(values, state)
            after.append(reached)
        return self.decoder(values), after


def chi_of(vector):
    return np.sqrt((vector**2).sum()) / np.abs(vector).sum()


def means_of(vectors, words):
    """By word, in a loop over tokens."""
    each = {}
    for vector, word in zip(vectors, words, strict=True):
        each.setdefault(int(word), []).append(chi_of(vector))
    return {word: np.mean(each[word]) for word in sorted(each)}


@pytest.mark.parametrize(("side", "words"), [("input", IDS[:-1]), ("target", IDS[1:])])
def test_means_are_those_of_a_loop_over_tokens(side, words, recurrent):
    table = lm.sparsity_by_word(recurrent, IDS, gradients=True, streams=1, steps=100)
    layers = recurrent(torch.from_numpy(IDS[:-1])[:, None]).layers
    loss = nn.functional.cross_entropy(
        recurrent.decoder(layers["h2"][:, 0]), torch.from_numpy(IDS[1:]), reduction="sum"
    )
    gradients = dict(zip(layers, torch.autograd.grad(loss, list(layers.values())), strict=True))
    assert table["layer"].unique().tolist() == ["e", "h1", "h2"]
    for layer, values in layers.items():
        rows = only(table, side=side, layer=layer).set_index("word")
        assert rows["tokens"].to_dict() == dict(zip(*np.unique(words, return_counts=True), strict=True))
        for kind, vectors in (("activation", values), ("gradient", gradients[layer])):
            wanted = means_of(vectors[:, 0].detach().numpy(), words)
            assert rows[kind].to_dict() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(("streams", "steps"), [(1, 100), (4, 6)])
def test_hooks_give_a_recurrent_model_the_very_table_of_its_own(streams, steps, recurrent):
    own = lm.sparsity_by_word(recurrent, IDS, gradients=True, streams=streams, steps=steps)
    hooked = pretrained.hooked(Plain(recurrent), ["embedding", "lstms.*"], recurrent=True)
    table = lm.sparsity_by_word(hooked, torch.from_numpy(IDS), gradients=True, streams=streams, steps=steps)
    names = dict(zip(hooked.layers, recurrent.layers, strict=True))
    pd.testing.assert_frame_equal(table.assign(layer=table["layer"].map(names)), own, rtol=1e-10)


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_of_a_transformer_are_those_of_its_own_loss(kind):
    model, ids = language_model(kind).double().eval(), np.random.default_rng(1).integers(0, WORDS, 41)
    table = lm.sparsity_by_word(model, ids, layers=LAYERS[kind], gradients=True, streams=2, steps=10)
    layers = pretrained.hooked(model, LAYERS[kind]).layers
    seen = {}
    for name in layers:
        model.get_submodule(name).register_forward_hook(
            lambda _, a, output, name=name: seen.update({name: output})
        )
    contexts, targets = (torch.from_numpy(each.reshape(4, 10)) for each in (ids[:-1], ids[1:]))
    logits = model(contexts).logits
    loss = -logits.log_softmax(-1).gather(-1, targets[..., None]).sum()
    for name, gradient in zip(
        layers, torch.autograd.grad(loss, [seen[name] for name in layers]), strict=True
    ):
        rows = only(table, side="target", layer=name).set_index("word")
        wanted = means_of(gradient.flatten(0, 1).numpy(), ids[1:])
        assert rows["gradient"].to_dict() == pytest.approx(wanted, rel=1e-9)


def test_without_gradients_the_rest_of_the_table_is_the_same(recurrent):
    whole = lm.sparsity_by_word(recurrent, IDS, layers="h*", gradients=True, streams=3, steps=7)
    table = lm.sparsity_by_word(recurrent, IDS, layers="h*", streams=3, steps=7)
    assert list(table) == ["side", "layer", "word", "tokens", "activation", "gradient"]
    assert table["gradient"].isna().all()
    pd.testing.assert_frame_equal(table.drop(columns="gradient"), whole.drop(columns="gradient"))


def test_a_module_is_left_as_it_was_and_frozen_weights_change_nothing():
    model = seeded(Transformer).train()
    table = lm.sparsity_by_word(model, IDS, layers="encoder.layers.*", gradients=True)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    frozen = lm.sparsity_by_word(model.requires_grad_(False), IDS, layers="encoder.layers.*", gradients=True)
    pd.testing.assert_frame_equal(frozen, table)


def test_a_vector_of_zeros_is_left_out_of_the_mean_but_counts_as_a_token(recurrent):
    with torch.no_grad():
        recurrent.embedding.weight[4] = 0
    rows = only(lm.sparsity_by_word(recurrent, IDS, layers="e"), side="input").set_index("word")
    assert rows["activation"].isna().to_dict() == {word: word == 4 for word in range(9)}
    assert rows.loc[4, "tokens"] == (IDS[:-1] == 4).sum()


def test_half_precision_is_measured_in_single(recurrent):
    recurrent.bfloat16()
    rows = only(lm.sparsity_by_word(recurrent, IDS, layers="e"), side="input").set_index("word")
    exact = recurrent.embedding.weight.detach().double().numpy()
    assert rows["activation"].to_numpy() == pytest.approx([chi_of(row) for row in exact], rel=1e-6)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (IDS[:1], "two tokens or more, got 1"),
        (IDS + 1, "ids from 0 to 8, got 1 to 9"),
        (IDS[None], "in one row"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused(ids, message, recurrent):
    for gradients in (False, True):
        with pytest.raises(ValueError, match=message):
            lm.sparsity_by_word(recurrent, ids, gradients=gradients)


def test_numbers_that_are_not_finite_are_refused_at_their_layer():
    model = seeded(Transformer)
    with torch.no_grad():
        model.encoder.layers[1].linear2.bias[0] = torch.inf
    with pytest.raises(ValueError, match=r"finite activations, got others at encoder\.layers\.1"):
        lm.sparsity_by_word(model, IDS, layers="encoder.layers.*")
    with pytest.raises(GradientError, match=r"at encoder\.layers\.0 is not finite at token 0 of the text"):
        lm.sparsity_by_word(model, IDS, layers="encoder.layers.*", gradients=True)


def test_gradients_of_what_has_no_graph_are_refused(recurrent):
    class Read:
        layers, words, read = recurrent.layers, recurrent.words, recurrent.read

    assert len(lm.sparsity_by_word(Read(), IDS))
    with pytest.raises(TypeError, match="need a module or a model of this library, got Read"):
        lm.sparsity_by_word(Read(), IDS, gradients=True)


def test_gradients_need_logits_and_layers_that_these_depend_on():
    class Headless(Transformer):
        def forward(self, ids):
            return self.encoder(self.embedding(ids))

    with pytest.raises(ValueError, match=r"returns logits of 9 words .* got shape \(3, 20, 8\)"):
        lm.sparsity_by_word(Headless(), IDS, layers="embedding", gradients=True)

    class Aside(Transformer):
        def forward(self, ids):
            self.decoder(self.embedding(ids))
            return self.encoder(self.embedding.weight[ids]) @ self.embedding.weight.T

    with pytest.raises(ValueError, match="need layers that the logits depend on, got decoder"):
        lm.sparsity_by_word(Aside(), IDS, layers=["encoder.layers.*", "decoder"], gradients=True)
