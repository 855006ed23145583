"""Allocations add up to the change of the loss, and to follow a training does not disturb it."""

import math
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from lmdynamics.measures import sparsity
from lmdynamics.models import training
from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.models.training import TrainingSettings
from lmdynamics.observe.allocation import (
    GATES,
    METHODS,
    Allocation,
    allocations,
    by_group,
    by_unit,
    groups,
    loss_and_gradient,
)
from lmdynamics.text.streams import Examples

WORDS, UNITS, BATCH = 11, 6, 4
FIRST, SIMPSON = METHODS
CLASSES = {"open": np.arange(2, 7), "closed": np.array([0, 9, 7]), "other": np.array([1, 8, 10])}


def made(layers=2, *, dropout=0.0, scale=2.0):
    model = RecurrentModel(
        ModelSettings(layers=layers, units=UNITS, dropout=dropout), words=WORDS, classes=WORDS, seed=0
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def text(tokens=83, seed=0):
    return Examples(*np.random.default_rng(seed).integers(WORDS, size=(2, tokens)))


def copied(model):
    return {name: each.detach().clone() for name, each in model.named_parameters()}


def directions(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(each.shape, dtype=each.dtype, generator=generator)
        for name, each in model.named_parameters()
    }


@torch.no_grad()
def moving(model, *sizes, only=""):
    """Steps of so many times a direction that is the same for each."""
    along = directions(model)
    for size in sizes:
        for name, parameter in model.named_parameters():
            if only in name:
                parameter += size * along[name]
        yield


def summed(allocated):
    return sum(each.sum().item() for each in allocated.values())


def mean_loss(model, examples, batch=BATCH):
    """By torch alone, with its graph."""
    steps = len(examples.inputs) // batch
    cut = [torch.as_tensor(each[: steps * batch]).view(batch, steps).T for each in examples]
    values = nn.functional.embedding(cut[0], model.embedding.weight)
    for lstm in model.lstms:
        values, _ = lstm(values)
    return nn.functional.cross_entropy(model.decoder(values).flatten(0, 1), cut[1].flatten())


# The loss and its gradient


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("batch", [1, 4, 83])
@pytest.mark.parametrize("mode", [True, False])
def test_loss_and_gradient_are_those_of_autograd_through_the_whole_of_each_piece(layers, batch, mode):
    model, examples = made(layers, dropout=0.5).double().train(mode), text()
    before = copied(model)
    loss, gradient = loss_and_gradient(model, examples, batch=batch)
    expected = mean_loss(model, examples, batch)
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    assert list(gradient) == list(before)
    for (name, found), each in zip(gradient.items(), wanted, strict=True):
        torch.testing.assert_close(found, each, rtol=0, atol=1e-12)
        assert torch.equal(before[name], model.get_parameter(name))
    assert all(module.training is mode for module in model.modules())


def test_a_rest_shorter_than_the_batch_is_left_out_and_old_gradients_do_not_count():
    model = made().double()
    loss, gradient = loss_and_gradient(model, text(80), batch=BATCH)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    inputs, targets = text(80)
    longer = Examples(*(np.append(each, [1, 2, 3]) for each in (inputs, targets)))
    again, same = loss_and_gradient(model, longer, batch=BATCH)
    assert again == loss
    assert all(torch.equal(gradient[name], same[name]) for name in gradient)


def test_a_sample_of_fewer_tokens_than_pieces_is_refused():
    with pytest.raises(ValueError, match="batch of 40 streams needs at least 40 tokens, got 39"):
        loss_and_gradient(made(), text(39))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_a_loss_that_is_not_finite_are_refused(dtype):
    with pytest.raises(ValueError, match=rf"float32 or float64, got a model in {dtype}; .* \.float\(\)"):
        next(allocations(made().to(dtype), text(), iter([None]), batch=BATCH))
    lost = made()
    nn.init.constant_(lost.decoder.bias, torch.inf)
    with pytest.raises(ValueError, match=r"a finite loss, got (nan|inf) on the sample"):
        loss_and_gradient(lost, text(), batch=BATCH)
    assert all(parameter.grad is None for parameter in lost.parameters())


# What is allocated


def test_for_small_steps_both_methods_add_up_to_the_change_of_the_loss():
    model, sample = made().double(), text()
    losses = [mean_loss(model, sample).item()]
    for found in allocations(model, sample, moving(model, *[1e-4] * 3), batch=BATCH):
        losses.append(mean_loss(model, sample).item())
        assert found.change == pytest.approx(losses[-1] - losses[-2], abs=1e-13)
        assert summed(found.allocated[FIRST]) == pytest.approx(found.change, rel=0.01)
        assert summed(found.allocated[SIMPSON]) == pytest.approx(found.change, rel=1e-8)
        assert all((each != 0).all() for each in found.allocated[SIMPSON].values())
    assert len(losses) == 4


def test_simpsons_rule_is_nearer_and_halving_its_intervals_takes_the_error_to_a_sixteenth():
    errors = []
    for intervals in (1, 2, 4, 8):
        model = made().double()
        steps = moving(model, 0.05)
        (found,) = allocations(model, text(), steps, batch=BATCH, intervals=intervals)
        errors.append(abs(summed(found.allocated[SIMPSON]) - found.change))
        first = abs(summed(found.allocated[FIRST]) - found.change)
    assert first > 10_000 * errors[0]
    for more, fewer in zip(errors[1:], errors, strict=False):
        assert 12 < fewer / more < 20


def test_each_parameter_is_allocated_the_integral_of_its_own_gradient():
    model, sample = made().double(), text()
    start, along = copied(model), directions(model)
    (found,) = allocations(model, sample, moving(model, 0.05), batch=BATCH, intervals=8)
    points, weights = np.polynomial.legendre.leggauss(12)
    wanted = {name: torch.zeros_like(each) for name, each in start.items()}
    for point, weight in zip(points / 2 + 0.5, weights / 2, strict=True):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(start[name] + 0.05 * point * along[name])
        gradient = torch.autograd.grad(mean_loss(model, sample), list(model.parameters()))
        for (name, total), each in zip(wanted.items(), gradient, strict=True):
            total += weight * 0.05 * along[name] * each
    for name, each in wanted.items():
        torch.testing.assert_close(found.allocated[SIMPSON][name], each, rtol=0, atol=1e-9)


def test_first_order_is_the_gradient_before_the_step_times_the_step():
    model, sample = made().double(), text()
    along = directions(model)
    _, gradient = loss_and_gradient(model, sample, batch=BATCH)
    (found,) = allocations(model, sample, moving(model, 0.3), batch=BATCH)
    for name, each in gradient.items():
        torch.testing.assert_close(
            found.allocated[FIRST][name], 0.3 * along[name] * each, rtol=1e-9, atol=1e-15
        )


def test_the_way_back_takes_what_the_way_there_gave():
    model = made().double()
    there, back = allocations(model, text(), moving(model, 0.3, -0.3), batch=BATCH, intervals=2)
    assert back.change == pytest.approx(-there.change, rel=1e-12)
    for name, each in there.allocated[SIMPSON].items():
        torch.testing.assert_close(back.allocated[SIMPSON][name], -each, rtol=0, atol=1e-12)


def test_where_nothing_moves_nothing_is_allocated():
    model = made().double()
    (found,) = allocations(model, text(), moving(model, 0.0), batch=BATCH)
    assert found.change == 0
    for allocated in found.allocated.values():
        assert all((each == 0).all() for each in allocated.values())


def test_only_what_moves_is_allocated_anything():
    model = made().double()
    (found,) = allocations(model, text(), moving(model, 0.1, only="lstms.1.bias"), batch=BATCH, intervals=4)
    for allocated in found.allocated.values():
        for name, each in allocated.items():
            assert (each != 0).all() == (each != 0).any() == ("lstms.1.bias" in name)
    assert summed(found.allocated[SIMPSON]) == pytest.approx(found.change, rel=1e-5)


def test_where_the_model_guesses_by_one_bias_that_bias_is_allocated_all():
    model, sample = made().double(), text(80)
    nn.init.zeros_(model.decoder.weight)

    def step():
        with torch.no_grad():
            model.decoder.bias[3] += 0.5
        yield

    (found,) = allocations(model, sample, step(), batch=BATCH, intervals=4)
    share = (sample.targets == 3).mean()
    change = math.log((WORDS - 1 + math.exp(0.5)) / WORDS) - 0.5 * share
    assert found.change == pytest.approx(change, abs=1e-13)
    assert found.allocated[FIRST]["decoder.bias"][3].item() == pytest.approx(0.5 * (1 / WORDS - share))
    assert found.allocated[SIMPSON]["decoder.bias"][3].item() == pytest.approx(change, abs=1e-9)
    assert sum(int((each != 0).sum()) for each in found.allocated[SIMPSON].values()) == 1


# Of a training


def steps_of(model, *, rate=20.0):
    settings = TrainingSettings(batch=8, steps_back=5)
    return training.steps(model, text(1_000, seed=1), settings, seed=0, epoch=1, rate=rate)


@pytest.mark.parametrize("mode", [True, False])
def test_a_training_that_is_followed_goes_on_as_it_would_have_to_the_same_bit(mode):
    followed, plain = (made(dropout=0.3).train(mode) for _ in range(2))
    states = [copied(plain) for _ in steps_of(plain)]
    number = 0
    for found, wanted in zip(
        allocations(followed, text(), steps_of(followed), batch=BATCH, intervals=2), states, strict=True
    ):
        assert all(torch.equal(wanted[name], each) for name, each in followed.named_parameters())
        assert math.isfinite(found.change)
        number += 1
    assert number == 25


def test_a_training_may_be_followed_for_some_of_its_steps():
    followed, plain = (made(dropout=0.3) for _ in range(2))
    list(allocations(followed, text(), islice(steps_of(followed), 3), batch=BATCH))
    list(islice(steps_of(plain), 3))
    for one, other in zip(followed.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)


def test_changes_of_the_loss_add_up_over_a_training():
    model, sample = made(), text()
    before, _ = loss_and_gradient(model, sample, batch=BATCH)
    found = list(allocations(model, sample, steps_of(model, rate=1.0), batch=BATCH, intervals=2))
    after, _ = loss_and_gradient(model, sample, batch=BATCH)
    assert sum(each.change for each in found) == pytest.approx(after - before, abs=1e-12)
    allocated = sum(summed(each.allocated[SIMPSON]) for each in found)
    assert allocated == pytest.approx(after - before, abs=1e-5)


@pytest.mark.parametrize("frozen", ["embedding.weight", "lstms.0.weight_hh_l0", "decoder", "lstms"])
def test_what_is_frozen_stays_and_is_allocated_nothing_and_the_rest_all(frozen):
    model, sample = made(), text()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(frozen not in name)
    before = copied(model)
    for found in allocations(model, sample, islice(steps_of(model, rate=1.0), 3), batch=BATCH, intervals=2):
        assert summed(found.allocated[SIMPSON]) == pytest.approx(found.change, rel=0.01, abs=1e-5)
        for name, each in found.allocated[SIMPSON].items():
            assert (each != 0).any() == (frozen not in name)
        assert list(found.allocated[FIRST]) == list(before)
        assert by_group(found, groups(model, CLASSES))["allocated"].notna().all()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (frozen not in name)
        assert torch.equal(parameter, before[name]) == (frozen in name)


def test_where_all_below_the_decoder_is_frozen_the_decoder_learns_alone():
    model = made()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("decoder" in name)
    losses = [mean_loss(model, text()).item()]
    losses += [mean_loss(model, text()).item() for _ in steps_of(model, rate=1.0)]
    assert losses[-1] != losses[0]
    before = made()
    assert torch.equal(model.embedding.weight, before.embedding.weight)
    assert not torch.equal(model.decoder.weight, before.decoder.weight)


def test_words_that_a_step_or_the_sample_does_not_read_are_allocated_nothing():
    model = made()
    examples = Examples(np.arange(40) % 5, np.arange(40) % 5)
    sample = Examples(2 + np.arange(80) % 7, np.arange(80) % WORDS)
    settings = TrainingSettings(batch=4, steps_back=5)
    steps = training.steps(model, examples, settings, seed=0, epoch=1, rate=1.0)
    for found in allocations(model, sample, steps, batch=BATCH):
        for allocated in found.allocated.values():
            of_words = (allocated["embedding.weight"] != 0).any(1)
            assert of_words.tolist() == [word in (2, 3, 4) for word in range(WORDS)]


# Groups


@pytest.mark.parametrize("layers", [1, 3])
def test_groups_cover_each_parameter_exactly_once(layers):
    model = made(layers)
    found = groups(model, CLASSES)
    times = {name: torch.zeros(each.shape) for name, each in model.named_parameters()}
    for group in found:
        times[group.name][group.rows] += 1
    assert all((each == 1).all() for each in times.values())
    assert list(dict.fromkeys(group.layer for group in found)) == [*model.layers, "decoder"]


def test_rows_of_a_gate_are_those_that_pytorch_gives_it():
    model = made(1)
    with torch.no_grad():
        for parameter in model.lstms.parameters():
            parameter.zero_()
        rows = {
            group.group: group.rows for group in groups(model, CLASSES) if group.name.endswith("bias_ih_l0")
        }
        assert tuple(rows) == GATES
        lstm = model.lstms[0]
        lstm.bias_ih_l0[rows["input gate"]] = 0.1
        lstm.bias_ih_l0[rows["forget gate"]] = 0.2
        lstm.bias_ih_l0[rows["candidate"]] = 0.3
        lstm.bias_ih_l0[rows["output gate"]] = 0.4
        _, (hidden, cell) = lstm(torch.zeros(1, UNITS), (torch.zeros(1, UNITS), torch.ones(1, UNITS)))
    i, f, o = (1 / (1 + math.exp(-x)) for x in (0.1, 0.2, 0.4))
    expected = f + i * math.tanh(0.3)
    assert cell[0].tolist() == pytest.approx([expected] * UNITS)
    assert hidden[0].tolist() == pytest.approx([o * math.tanh(expected)] * UNITS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"other": np.array([1, 8])}, "each of 11 words needs one class, got 10 words, 10 of them distinct"),
        ({"both": np.array([3])}, "each of 11 words needs one class, got 12 words, 11 of them distinct"),
        ({"other": np.array([1, 8, 9])}, "got 11 words, 10 of them distinct"),
        ({"other": np.array([1, 8, 11])}, "got 11 words, 11 of them distinct"),
    ],
)
def test_words_of_no_class_or_of_two_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        groups(made(), CLASSES | change)


@pytest.fixture(scope="module")
def example():
    model = made()
    (*_, found) = allocations(model, text(), islice(steps_of(model), 4), batch=BATCH)
    return model, found


def test_groups_add_up_to_the_whole(example):
    model, found = example
    table = by_group(found, groups(model, CLASSES))
    assert table["method"].unique().tolist() == list(METHODS)
    assert not table.duplicated(["method", "layer", "part", "group"]).any()
    for method, rows in table.groupby("method"):
        every = torch.cat([each.flatten().double() for each in found.allocated[method].values()])
        assert rows["allocated"].sum() == pytest.approx(every.sum().item(), abs=1e-12)
        assert rows["felt"].sum() == int((every != 0).sum())
        assert rows["helping"].sum() == int((every < 0).sum())
        assert (rows["helping"] <= rows["felt"]).all()


def test_a_group_is_the_sum_of_its_rows_and_both_biases_are_one_part(example):
    model, found = example
    table = by_group(found, groups(model, CLASSES)).set_index(["method", "layer", "part", "group"])
    allocated = {name: each.double() for name, each in found.allocated[SIMPSON].items()}
    of_words = table.loc[(SIMPSON, "decoder", "words", "closed")]
    assert of_words["allocated"] == pytest.approx(allocated["decoder.weight"][CLASSES["closed"]].sum().item())
    forget = slice(UNITS, 2 * UNITS)
    biases = torch.stack([allocated[f"lstms.1.bias_{side}_l0"][forget] for side in ("ih", "hh")])
    of_biases = table.loc[(SIMPSON, "h2", "biases", "forget gate")]
    assert of_biases["allocated"] == pytest.approx(biases.sum().item())
    assert of_biases["concentration"] == pytest.approx(sparsity.hoyer(biases.flatten()).item())
    assert of_biases["felt"] == 2 * UNITS


def test_groups_may_come_one_by_one(example):
    model, found = example
    wanted = by_group(found, groups(model, CLASSES))
    assert by_group(found, iter(groups(model, CLASSES))).equals(wanted)


def test_what_is_allocated_less_than_nothing_helps_and_what_is_not_felt_does_not_count():
    model = made(1)
    allocated = {name: torch.zeros_like(each) for name, each in copied(model).items()}
    allocated["decoder.bias"] = torch.tensor([-0.5, 0.25] + [0.0] * (WORDS - 2))
    found = by_group(Allocation(-0.25, {FIRST: allocated}), groups(model, {"all": np.arange(WORDS)}))
    found = found.set_index(["layer", "part"])
    row = found.loc[("decoder", "biases")]
    assert row[["allocated", "felt", "helping"]].tolist() == [-0.25, 2, 1]
    # of the two that are felt alone: χ = √(0.5² + 0.25²) / 0.75
    hoyer = (math.sqrt(2) - 0.75 / math.sqrt(0.3125)) / (math.sqrt(2) - 1)
    assert row["concentration"] == pytest.approx(hoyer)
    rest = found.drop(("decoder", "biases"))
    assert (rest[["felt", "helping"]] == 0).all(axis=None)
    assert rest["concentration"].isna().all()


def test_units_take_the_sizes_of_all_that_belongs_to_them(example):
    _, found = example
    own = found.allocated[SIMPSON]
    for layer in range(2):
        wanted = torch.zeros(UNITS)
        for name, values in own.items():
            if name.startswith(f"lstms.{layer}."):
                for row, of_row in enumerate(values):
                    wanted[row % UNITS] += of_row.abs().sum()
        torch.testing.assert_close(by_unit(own, layer, UNITS), wanted)
