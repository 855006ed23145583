"""Gradients at layers are those of autograd, token by token, however the text is laid out."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.observe import activations, gradients
from lmdynamics.observe.gradients import LOGITS, GradientError
from lmdynamics.text.streams import Examples

WORDS, UNITS, TOKENS = 7, 5, 17
WHOLE = 10**6


def made(layers=2, *, units=UNITS, words=WORDS, scale=3.0):
    """A model in float64 whose gates are far from linear."""
    model = RecurrentModel(ModelSettings(layers=layers, units=units), words=words, classes=words, seed=0)
    with torch.no_grad():
        model.decoder.bias.uniform_(-0.3, 0.3, generator=torch.Generator().manual_seed(1))
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model.double()


def text(tokens=TOKENS, *, least=0):
    return Examples(*np.random.default_rng(0).integers(least, WORDS, (2, tokens)))


def halving(model):
    """A model of one unit, all gates of which stand at one half, and only the candidate of which reads."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.lstms[0].weight_ih_l0[2] = 4
        model.decoder.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    return model


def measured(model, examples, **options):
    """What stands in all blocks, in the order of the text."""
    found = {kind: {} for kind in ("activations", "gradients", "own", "later")}
    for block in gradients.blocks(model, examples, **options):
        for kind, layers in found.items():
            for layer, rows in getattr(block, kind).items():
                whole = layers.setdefault(
                    layer, rows.new_full((len(examples.inputs), *rows.shape[1:]), torch.nan)
                )
                whole[block.tokens] = rows
    return found


def stretches(tokens, streams, steps_back):
    """Where each stretch begins and ends, stream by stream."""
    length = -(-tokens // streams)
    for begin in range(0, tokens, length):
        end = min(begin + length, tokens)
        cuts = [*range(begin, end, steps_back), end]
        yield list(pairwise(cuts))


def layers_of(model, words, state=None):
    """Outputs of one stretch of one stream, layer by layer, with their graph."""
    values, reached = model.embedding(torch.as_tensor(words)[:, None]), []
    found = {"e": values}
    for n, lstm in enumerate(model.lstms):
        values, after = lstm(values, state and state[n])
        found[f"h{n + 1}"] = values
        reached.append(tuple(each.detach() for each in after))
    return found | {LOGITS: model.decoder(values)}, reached


def losses_of(layers, targets):
    return nn.functional.cross_entropy(layers[LOGITS][:, 0], torch.as_tensor(targets), reduction="none")


def by_autograd(model, examples, *, streams=1, steps_back=WHOLE):
    """Values and gradients of each layer, each stretch with a graph of its own."""
    values, found = {}, {}
    for stream in stretches(len(examples.inputs), streams, steps_back):
        state = None
        for begin, end in stream:
            layers, state = layers_of(model, examples.inputs[begin:end], state)
            loss = losses_of(layers, examples.targets[begin:end]).sum()
            for name, gradient in zip(layers, torch.autograd.grad(loss, list(layers.values())), strict=True):
                values.setdefault(name, []).append(layers[name].detach()[:, 0])
                found.setdefault(name, []).append(gradient[:, 0])
    return tuple({name: torch.cat(rows) for name, rows in each.items()} for each in (values, found))


def own_by_autograd(model, examples):
    """Row t: the gradient of the loss at token t, all others left out, at the outputs of token t."""
    layers, _ = layers_of(model, examples.inputs)
    found = {name: [] for name in layers if name != LOGITS}
    for t, loss in enumerate(losses_of(layers, examples.targets)):
        outputs = [layers[name] for name in found]
        for rows, gradient in zip(
            found.values(), torch.autograd.grad(loss, outputs, retain_graph=True), strict=True
        ):
            rows.append(gradient[t, 0])
    return {name: torch.stack(rows) for name, rows in found.items()}


def loss_above(model, layer, values, targets):
    """The summed loss, given what is read of a layer."""
    for lstm in list(model.lstms)[model.layers.index(layer) :]:
        values, _ = lstm(values)
    return losses_of({LOGITS: model.decoder(values)}, targets).sum().item()


def assert_same(found, wanted, tolerance=1e-10):
    assert list(found) == list(wanted)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=tolerance, msg=name)


# Against autograd, finite differences and arithmetic


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(
    ("streams", "steps_back"), [(1, WHOLE), (3, WHOLE), (1, 4), (3, 4), (4, 1), (40, 35)]
)
def test_values_and_gradients_are_those_of_autograd_in_each_stretch(layers, streams, steps_back):
    model, examples = made(layers), text()
    found = measured(model, examples, streams=streams, steps_back=steps_back)
    values, wanted = by_autograd(model, examples, streams=min(streams, TOKENS), steps_back=steps_back)
    assert_same(found["activations"], values)
    assert_same(found["gradients"], wanted)


@pytest.mark.parametrize("layer", ["e", "h1", "h2"])
def test_a_small_change_of_what_the_next_layer_reads_changes_the_summed_loss_by_the_gradient(layer):
    model, examples = made(), text()
    found = measured(model, examples, streams=1, steps_back=WHOLE)
    values, gradient = (found[kind][layer] for kind in ("activations", "gradients"))
    for token, unit in ((0, 0), (3, 4), (TOKENS - 1, 2)):
        ends = []
        for change in (1e-5, -1e-5):
            moved = values.clone()
            moved[token, unit] += change
            ends.append(loss_above(model, layer, moved[:, None], examples.targets))
        slope = (ends[0] - ends[1]) / 2e-5
        assert slope == pytest.approx(gradient[token, unit].item(), rel=1e-6, abs=1e-8)


def test_at_the_logits_the_gradient_is_probability_less_one_at_the_target():
    model, examples = made(), text()
    found = measured(model, examples, streams=2, steps_back=3)
    error = found["activations"][LOGITS].softmax(1)
    error[range(TOKENS), examples.targets] -= 1
    torch.testing.assert_close(found["gradients"][LOGITS], error, rtol=0, atol=1e-14)
    torch.testing.assert_close(
        found["gradients"]["h2"], error @ model.decoder.weight.detach(), rtol=0, atol=1e-14
    )


def test_where_each_cell_keeps_half_the_losses_of_later_words_count_half_as_much_at_each_step():
    # embeddings of zero: h = 0, p = 1/2, so that the gradient at h1 is -1 or 1 by target; i = f = o = 1/2,
    # so that it comes to the cell by 1/2, from there to the cell before by 1/2, and to e by 1/2 times 4
    model = halving(made(1, units=1, words=2))
    found = measured(model, Examples(np.array([0, 1, 1]), np.array([0, 0, 1])), own=True, streams=1)
    half = 0.5
    assert found["gradients"][LOGITS].tolist() == [[-half, half], [-half, half], [half, -half]]
    assert found["gradients"]["h1"][:, 0].tolist() == [-1, -1, 1]
    assert found["gradients"]["e"][:, 0].tolist() == [-1 - half + half**2, -1 + half, 1]
    assert found["own"]["e"][:, 0].tolist() == [-1, -1, 1]
    assert found["later"]["e"].tolist() == [0.25 / 1.25, 1, 0]


# With the layer's own recurrence


def hidden_states_of(model, words):
    """The hidden states of one stream, step by step, each the very tensor that the next step reads."""
    inputs, found = model.embedding(torch.as_tensor(words)[:, None]), {}
    for n, lstm in enumerate(model.lstms):
        state, outputs = None, []
        for step in inputs.split(1):
            output, (_, cell) = lstm(step, state)
            state = output, cell
            outputs.append(output)
        found[f"h{n + 1}"], inputs = outputs, torch.cat(outputs)
    return found, model.decoder(inputs)


@pytest.mark.parametrize("layers", [1, 3])
def test_with_recurrence_gradients_are_those_of_autograd_at_each_hidden_state(layers):
    model, examples = made(layers), text()
    measured_gradients = measured(model, examples, recurrence=True, streams=1)["gradients"]
    hidden, logits = hidden_states_of(model, examples.inputs)
    loss = losses_of({LOGITS: logits}, examples.targets).sum()
    for name, states in hidden.items():
        wanted = torch.cat(torch.autograd.grad(loss, states, retain_graph=True))[:, 0]
        torch.testing.assert_close(measured_gradients[name], wanted, rtol=0, atol=1e-10, msg=name)


@pytest.mark.parametrize(("streams", "steps_back"), [(1, WHOLE), (3, 4)])
def test_recurrence_changes_gradients_at_hidden_states_before_the_last_of_a_stretch_alone(
    streams, steps_back
):
    model, examples = made(), text()
    without, within = (
        measured(model, examples, own=True, recurrence=each, streams=streams, steps_back=steps_back)
        for each in (False, True)
    )
    last = [end - 1 for stream in stretches(TOKENS, streams, steps_back) for _, end in stream]
    others = np.setdiff1d(np.arange(TOKENS), last)
    for kind in ("activations", "own"):
        assert_same(within[kind], without[kind], 1e-12)
    for layer in ("e", LOGITS):
        torch.testing.assert_close(within["gradients"][layer], without["gradients"][layer])
    for layer in ("h1", "h2"):
        ours, theirs = within["gradients"][layer], without["gradients"][layer]
        torch.testing.assert_close(ours[last], theirs[last], rtol=0, atol=1e-12)
        assert ((ours - theirs)[others].norm(dim=1) > 1e-4).all()


# Losses that count


@pytest.mark.parametrize("recurrence", [False, True])
def test_gradients_of_some_losses_and_of_the_others_add_up(recurrence):
    model, examples = made(), text()
    few = np.arange(TOKENS) % 3 == 0
    whole, ours, theirs = (
        measured(model, examples, recurrence=recurrence, counted=each, streams=2, steps_back=5)["gradients"]
        for each in (None, few, ~few)
    )
    assert_same({layer: ours[layer] + theirs[layer] for layer in ours}, whole, 1e-12)
    assert (ours[LOGITS][~few] == 0).all()
    assert (ours["h2"][few].norm(dim=1) > 0).all()


# The token's own loss


@pytest.mark.parametrize(("streams", "steps_back"), [(1, WHOLE), (1, 4)])
def test_own_is_the_gradient_of_the_loss_at_that_token_alone(streams, steps_back):
    model, examples = made(3), text()
    found = measured(model, examples, own=True, streams=streams, steps_back=steps_back)
    assert_same(found["own"], own_by_autograd(model, examples))


def test_own_in_each_stream_is_that_of_a_text_of_its_own():
    model, examples = made(), text()
    found = measured(model, examples, own=True, streams=3, steps_back=4)["own"]
    pieces = [
        own_by_autograd(model, Examples(*(each[begin : begin + 6] for each in examples)))
        for begin in (0, 6, 12)
    ]
    assert_same(found, {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]})


def test_at_the_top_layer_no_later_loss_counts_and_below_it_does():
    found = measured(made(), text(), own=True, streams=1)
    assert torch.equal(found["own"]["h2"], found["gradients"]["h2"])
    assert (found["later"]["h2"] == 0).all()
    for layer in ("e", "h1"):
        assert (found["later"][layer][:-1] > 1e-3).all()
        difference = found["gradients"][layer] - found["own"][layer]
        share = difference.norm(dim=1) / found["gradients"][layer].norm(dim=1)
        torch.testing.assert_close(found["later"][layer], share, rtol=1e-12, atol=0)


def test_at_the_last_token_of_a_stretch_own_is_all_there_is():
    found = measured(made(3), text(), own=True, streams=2, steps_back=4)
    last = [3, 7, 8, 12, 16]
    others = np.setdiff1d(np.arange(TOKENS), last)
    for layer in ("e", "h1", "h2"):
        torch.testing.assert_close(
            found["own"][layer][last], found["gradients"][layer][last], rtol=0, atol=1e-14
        )
        assert found["later"][layer][last].max() < 1e-12
        assert found["later"][layer][others].min() > 1e-6


def test_own_is_measured_only_where_it_is_asked_for():
    found = measured(made(), text())
    assert found["own"] == found["later"] == {}
    assert list(measured(made(), text(), own=True)["own"]) == ["e", "h1", "h2"]


# Stretches and streams


def test_losses_beyond_the_end_of_a_stretch_send_nothing_back():
    model, examples = made(), text()
    changed = Examples(examples.inputs, np.where(np.arange(TOKENS) < 8, examples.targets, 3))
    ours, theirs = (
        measured(model, each, streams=1, steps_back=8)["gradients"] for each in (examples, changed)
    )
    for layer in ours:
        assert torch.equal(ours[layer][:8], theirs[layer][:8])
        assert not torch.allclose(ours[layer][8:], theirs[layer][8:])
    whole = measured(model, examples, streams=1, steps_back=WHOLE)["gradients"]
    assert not torch.allclose(whole["e"][:8], ours["e"][:8])
    # the decoder reads the top layer of its own token alone
    torch.testing.assert_close(whole["h2"], ours["h2"], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("steps_back", [1, 3, WHOLE])
def test_the_state_is_carried_on_from_stretch_to_stretch(steps_back):
    model, examples = made(), text(170)
    found = measured(model, examples, streams=1, steps_back=steps_back)["activations"]
    with torch.no_grad():
        layers = model(torch.as_tensor(examples.inputs)[:, None]).layers
    found.pop(LOGITS)
    assert_same(found, {name: rows[:, 0] for name, rows in layers.items()}, 1e-12)
    side_by_side = measured(model, examples, streams=20, steps_back=steps_back)["activations"]
    side_by_side.pop(LOGITS)
    assert_same(side_by_side, activations.states(model, examples.inputs), 1e-12)


@pytest.mark.parametrize("tokens", [1, 5, TOKENS])
@pytest.mark.parametrize("streams", [1, 3, 4, 40])
@pytest.mark.parametrize("steps_back", [1, 2, 35])
def test_every_token_stands_in_exactly_one_block(tokens, streams, steps_back):
    found = list(gradients.blocks(made(), text(tokens), own=True, streams=streams, steps_back=steps_back))
    assert sorted(torch.cat([block.tokens for block in found]).tolist()) == list(range(tokens))
    for _, *kinds in found:
        for rows in (rows for kind in kinds for rows in kind.values()):
            assert rows.isfinite().all()
    for block in found:
        sizes = {len(rows) for kind in block[1:] for rows in kind.values()}
        assert sizes == {len(block.tokens)}


def test_a_block_reads_streams_side_by_side_and_the_end_of_the_last_is_left_out():
    found = gradients.blocks(made(), text(10), streams=4, steps_back=2)
    assert [block.tokens.tolist() for block in found] == [[0, 3, 6, 9, 1, 4, 7], [2, 5, 8]]


def test_the_word_that_fills_up_the_last_stream_is_never_seen():
    model, examples = made(), text(10, least=1)
    before = measured(model, examples, own=True, streams=4, steps_back=2)
    with torch.no_grad():
        model.embedding.weight[0] = 1e3
    after = measured(model, examples, own=True, streams=4, steps_back=2)
    for kind, layers in before.items():
        for layer, rows in layers.items():
            assert torch.equal(rows, after[kind][layer])


# What is kept, and what is left alone


def test_a_measure_is_told_the_layer_and_what_it_returns_is_kept():
    asked = []

    def measure(layer, values):
        asked.append((layer, values.shape[1]))
        return torch.stack([values.sum(1), values.norm(dim=1) + len(layer)], 1)

    found = measured(made(), text(), measure=measure, own=True, streams=3, steps_back=4)
    plain = measured(made(), text(), own=True, streams=3, steps_back=4)
    assert set(asked) == {("e", UNITS), ("h1", UNITS), ("h2", UNITS), (LOGITS, WORDS)}
    for kind in ("activations", "gradients", "own"):
        assert_same(found[kind], {layer: measure(layer, rows) for layer, rows in plain[kind].items()}, 1e-12)
    assert_same(found["later"], plain["later"], 0)


def test_a_measure_may_be_one_number_a_token():
    found = measured(made(), text(), measure=lambda layer, values: values.norm(dim=1), own=True)
    for layer in ("e", "h1", "h2", LOGITS):
        assert found["gradients"][layer].shape == (TOKENS,)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was_even_between_blocks(training):
    model = made().train(training)
    model.lstms[0].weight_hh_l0.requires_grad_(False)
    model.decoder.bias.requires_grad_(False)
    for parameter in model.lstms.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None

    def state():
        for name, each in model.named_parameters():
            yield (
                name,
                each.detach().clone(),
                None if each.grad is None else each.grad.clone(),
                each.requires_grad,
            )

    before = list(state())
    for _ in gradients.blocks(model, text(), own=True, streams=3, steps_back=2):
        for (name, value, grad, wanted), (_, now, grad_now, wanted_now) in zip(before, state(), strict=True):
            assert torch.equal(value, now), name
            assert wanted is wanted_now, name
            assert (grad is None and grad_now is None) or torch.equal(grad, grad_now), name
        assert all(module.training is training for module in model.modules())


def test_neither_mode_nor_frozen_weights_nor_no_grad_change_a_number():
    model, examples = made(), text()
    wanted = measured(model.train(), examples, own=True, streams=2, steps_back=5)
    with torch.no_grad():
        found = measured(model.eval().requires_grad_(False), examples, own=True, streams=2, steps_back=5)
    for kind in wanted:
        assert_same(found[kind], wanted[kind], 0)


# Errors


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        ([], [], "inputs need ids from 0 to 6, got none"),
        ([0, WORDS], [0, 0], "inputs need ids from 0 to 6, got 0 to 7"),
        ([0, 1], [-1, 0], "targets need ids from 0 to 6, got -1 to 0"),
        ([0, 1], [3, WORDS], "targets need ids from 0 to 6, got 3 to 7"),
    ],
)
def test_no_text_and_unknown_words_are_refused(inputs, targets, message):
    examples = Examples(np.array(inputs, np.int64), np.array(targets, np.int64))
    with pytest.raises(ValueError, match=message):
        next(gradients.blocks(made(), examples))


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
@pytest.mark.parametrize(("streams", "steps_back"), [(1, 35), (1, 2), (3, 2)])
def test_a_word_that_is_not_a_number_is_found_at_its_first_token(wrong, streams, steps_back):
    model, examples = made(), text(least=1)
    examples.inputs[examples.inputs == 4] = 3
    examples.inputs[10] = 4
    with torch.no_grad():
        model.embedding.weight[4] = wrong
        model.lstms[0].weight_ih_l0[0] = 0  # 0 times infinity is not a number
    with pytest.raises(GradientError, match="gradient of seed 7 at logits is not finite at token 10 of"):
        measured(model, examples, streams=streams, steps_back=steps_back, name="seed 7")


def test_a_decoder_that_is_not_a_number_is_found_at_the_first_token():
    model = made()
    with torch.no_grad():
        model.decoder.bias[2] = torch.nan
    with pytest.raises(GradientError, match="gradient of the model at logits is not finite at token 0 of"):
        measured(model, text())


@pytest.mark.parametrize("layer", ["e", "h1"])
def test_a_gradient_too_large_for_a_number_is_found_at_its_layer_though_the_loss_is_finite(layer):
    model = halving(made(1, units=1, words=2))
    with torch.no_grad():
        model.decoder.weight.mul_(1.5e308 if layer == "h1" else 1e10)
        model.decoder.bias.copy_(torch.tensor([0.0, 1.0]))
        model.lstms[0].weight_ih_l0[2] = 1e300
    with pytest.raises(GradientError, match=f"gradient of the model at {layer} is not finite at token 0 of"):
        measured(model, Examples(np.array([0, 1]), np.array([0, 1])))
