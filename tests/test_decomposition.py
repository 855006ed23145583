from itertools import product

import acd
import numpy as np
import pytest
import torch
from torch import nn

from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.observe import decomposition, interdependence
from lmdynamics.observe.decomposition import Convention, decompose

CONVENTIONS = [
    Convention(bias=bias, interactions=interactions)
    for bias, interactions in product(("in_focus", "irrelevant"), ("irrelevant", "source", "relevant"))
]
STEPS, BATCH, UNITS = 7, 3, 6


def named(convention):
    return f"{convention.bias}-{convention.interactions}"


def stack(layers=2, scale=1.5):
    """LSTM layers whose gates are far from linear."""
    torch.manual_seed(0)
    lstms = [nn.LSTM(UNITS, UNITS).double() for _ in range(layers)]
    for parameter in (p for lstm in lstms for p in lstm.parameters()):
        parameter.data.mul_(scale * UNITS**0.5)
    return lstms


def lost(lstm):
    lstm.weight_hh_l0.data[0, 0] = torch.nan
    return lstm


def text(steps=STEPS, batch=BATCH, units=UNITS):
    return torch.randn(steps, batch, units, generator=torch.Generator().manual_seed(0)).double()


def sets():
    focus = torch.zeros(5, STEPS, dtype=torch.bool)
    focus[1, 2] = focus[2, [1, 4]] = focus[3, 2:5] = focus[4] = True
    return focus


def running(lstms, inputs, state=None):
    """Hidden states of each layer by torch itself."""
    found = []
    for n, lstm in enumerate(lstms):
        inputs, _ = lstm(inputs, None if state is None else state[n])
        found.append(inputs.detach())
    return found


def both_parts(lstms, inputs, in_focus, convention):
    """The definition, word for word: one text, one focus set, both parts carried through every product.

    One convention for all layers, or one for each.
    """
    sigma = torch.sigmoid

    def parts(function, r, q, bias):
        relevant = 0.5 * (function(r + bias) - function(bias) + function(r + q + bias) - function(q + bias))
        rest = 0.5 * (function(q + bias) - function(bias) + function(r + q + bias) - function(r + bias))
        return {"r": relevant, "q": rest, "b": function(bias)}

    zero = torch.zeros_like(inputs[:1])
    below = [
        (x, zero[0]) if focus else (zero[0], x) for x, focus in zip(inputs, in_focus.tolist(), strict=True)
    ]
    for lstm, rule in zip(lstms, decomposition.by_layer(convention, len(lstms)), strict=True):
        w, v = lstm.weight_ih_l0.detach().chunk(4), lstm.weight_hh_l0.detach().chunk(4)
        biases = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach().chunk(4)
        h = c = (torch.zeros(lstm.hidden_size, dtype=inputs.dtype),) * 2
        found = []
        for (x_r, x_q), focus in zip(below, in_focus.tolist(), strict=True):
            r = [w[k] @ x_r + v[k] @ h[0] for k in range(4)]
            q = [w[k] @ x_q + v[k] @ h[1] for k in range(4)]
            i, f, g = (
                parts(function, r[k], q[k], biases[k])
                for k, function in ((0, sigma), (1, sigma), (2, torch.tanh))
            )
            source, past = {"r": g["r"], "q": g["q"], "b": g["b"]}, {"r": c[0], "q": c[1]}
            new = [torch.zeros_like(c[0]), torch.zeros_like(c[1])]
            for gates, sources in ((i, source), (f, past)):
                for (gate, left), (what, right) in product(gates.items(), sources.items()):
                    if gate == what == "b":
                        relevant = focus and rule.bias == "in_focus"
                    elif {gate, what} == {"r", "q"}:
                        relevant = rule.interactions == "relevant" or (
                            rule.interactions == "source" and what == "r"
                        )
                    else:
                        relevant = "q" not in (gate, what)
                    new[0 if relevant else 1] += left * right
            o = sigma(r[3] + q[3] + biases[3])
            c = (new[0], new[1])
            h = tuple(
                o * 0.5 * (torch.tanh(own) + torch.tanh(own + other) - torch.tanh(other))
                for own, other in (c, c[::-1])
            )
            found.append(h)
        below = found
    return (torch.stack(part) for part in zip(*below, strict=True))


@pytest.mark.parametrize("convention", CONVENTIONS, ids=named)
def test_both_parts_are_those_of_the_definition_and_add_up_to_the_state(convention):
    lstms, inputs, focus = stack(), text(), sets()
    top = decompose(lstms, inputs, focus, convention=convention)[-1]
    states = running(lstms, inputs)[-1]
    for n, column in product(range(len(focus)), range(BATCH)):
        relevant, rest = both_parts(lstms, inputs[:, column], focus[n], convention)
        torch.testing.assert_close(top.relevant[n, :, column], relevant, atol=1e-12, rtol=0)
        torch.testing.assert_close(top.irrelevant[n, :, column], rest, atol=1e-12, rtol=0)
        torch.testing.assert_close(relevant + rest, states[:, column], atol=1e-12, rtol=0)


MIXED = [Convention(interactions="source"), Convention(bias="irrelevant", interactions="relevant")]
AUTHOR = [Convention(bias="in_focus"), *[Convention(bias="irrelevant")] * 2]


@pytest.mark.parametrize(("given", "meant"), [(None, AUTHOR[:2]), (MIXED, MIXED)])
def test_each_layer_keeps_to_its_own_convention_by_default_those_of_the_authors_code(given, meant):
    lstms, inputs, focus = stack(), text(), sets()
    top = decompose(lstms, inputs, focus, convention=given)[-1]
    for n, column in product(range(len(focus)), range(BATCH)):
        relevant, _ = both_parts(lstms, inputs[:, column], focus[n], meant)
        torch.testing.assert_close(top.relevant[n, :, column], relevant, atol=1e-12, rtol=0)
    other = decompose(lstms, inputs, focus, convention=Convention())[-1]
    assert (top.relevant[3] - other.relevant[3]).abs().max() > 0.01
    found = interdependence.pairwise(lstms, inputs, distance=4, convention=given)
    assert torch.equal(found.isnan(), interdependence.pairwise(lstms, inputs, distance=4).isnan())
    torch.testing.assert_close(found[2, 1], by_definition(lstms, inputs, [1], [4], meant), atol=1e-12, rtol=0)


def test_the_authors_code_counts_the_biases_of_a_first_layer_alone():
    for layers in (1, 2, 3):
        assert Convention.thesis(layers) == AUTHOR[:layers]
        own = decompose(stack(layers), text(), sets())[0]
        assert torch.equal(
            own.relevant, decompose(stack(1), text(), sets(), convention=Convention())[0].relevant
        )


def test_a_convention_for_each_layer_is_one_for_each():
    with pytest.raises(ValueError, match="one for each of 2 layers, got 3"):
        decompose(stack(), text(), sets(), convention=AUTHOR)
    with pytest.raises(ValueError, match="one for each of 2 layers, got 1"):
        interdependence.pairwise(stack(), text(), distance=1, convention=AUTHOR[:1])


@pytest.mark.parametrize("convention", CONVENTIONS, ids=named)
def test_focus_on_none_leaves_nothing_relevant_in_any_layer(convention):
    state = [(text(1), text(1)) for _ in range(2)]
    for layer in decompose(stack(), text(), sets()[:1], state=state, convention=convention):
        assert layer.relevant.abs().max() == 0
        assert layer.relevant_cell.abs().max() == 0


@pytest.mark.parametrize("interactions", ["irrelevant", "source", "relevant"])
def test_focus_on_all_leaves_nothing_irrelevant(interactions):
    for layer in decompose(stack(), text(), sets()[4:], convention=Convention(interactions=interactions)):
        assert layer.irrelevant.abs().max() < 1e-12
        assert layer.irrelevant_cell.abs().max() < 1e-12


def test_where_biases_are_never_relevant_focus_on_all_leaves_their_product():
    lstm = stack(1)[0]
    (layer,) = decompose(
        lstm, text(steps=1), torch.tensor([[True]]), convention=Convention(bias="irrelevant")
    )
    i, _, g, _ = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach().chunk(4)
    product_of_biases = (torch.sigmoid(i) * torch.tanh(g)).expand(1, 1, BATCH, UNITS)
    torch.testing.assert_close(layer.irrelevant_cell, product_of_biases, atol=1e-12, rtol=0)


def test_the_state_before_is_irrelevant_and_states_go_on_from_it():
    lstms, inputs = stack(), text(steps=10)
    before = [layer[1] for layer in (lstms[0](inputs[:3]), lstms[1](lstms[0](inputs[:3])[0]))]
    whole = decompose(lstms, inputs, torch.arange(10).ge(3)[None] & torch.ones(1, 10, dtype=torch.bool))
    later = decompose(lstms, inputs[3:], torch.ones(1, 7, dtype=torch.bool), state=before)
    for early, late in zip(whole, later, strict=True):
        torch.testing.assert_close(early.relevant[:, 3:], late.relevant, atol=1e-12, rtol=0)
        torch.testing.assert_close(early.irrelevant[:, 3:], late.irrelevant, atol=1e-12, rtol=0)
        assert late.irrelevant.abs().max() > 0.01


def test_single_precision_stays_near():
    lstms = stack(scale=0.5)
    exact = decompose(lstms, text(), sets())[-1].relevant
    for lstm in lstms:
        lstm.float()
    low = decompose(lstms, text().float(), sets())[-1]
    assert low.relevant.dtype == torch.float32
    torch.testing.assert_close(low.relevant.double(), exact, atol=1e-5, rtol=0)


MEASURED = {
    "decompose": lambda *given, **how: decompose(*given, sets(), **how)[-1].relevant,
    "between": lambda *given, **how: interdependence.between(*given, [([0], [4])], **how),
    "pairwise": lambda *given, **how: interdependence.pairwise(*given, distance=3, **how),
}
measured = pytest.mark.parametrize("measure", MEASURED.values(), ids=list(MEASURED))


@measured
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_unless_another_is_named(measure, dtype):
    lstms, inputs = [lstm.to(dtype) for lstm in stack()], text().to(dtype)
    state = [(text(1).to(dtype),) * 2] * 2
    with pytest.raises(ValueError, match=rf"float32 or float64, got {dtype}; convert .* with \.float\(\)"):
        measure(lstms, inputs)
    with pytest.raises(ValueError, match=f"float32 or float64, got {dtype}"):
        measure(stack(), text(), dtype=dtype)
    with pytest.raises(ValueError, match=f"got {dtype} and torch.float64"):
        measure(stack(), inputs)
    for named in (torch.float32, torch.float64):
        found = measure(lstms, inputs, state=state, dtype=named)
        converted = [lstm.to(named) for lstm in lstms]
        expected = measure(converted, inputs.to(named), state=[(text(1).to(dtype).to(named),) * 2] * 2)
        assert found.dtype == named
        assert torch.equal(found.nan_to_num(), expected.nan_to_num())


def test_float32_has_a_floor_and_float64_none_that_a_sentence_reaches():
    torch.manual_seed(0)
    lstm, inputs = nn.LSTM(40, 40), text(60, units=40).float()
    single, double = (
        interdependence.pairwise(lstm, inputs, distance=50, dtype=dtype).nanmean((1, 2))
        for dtype in (None, torch.float64)
    )
    assert double.dtype == torch.float64
    # what is left of a word falls by about the same share from word to word, and DI with it
    shares = double[1:] / double[:-1]
    torch.testing.assert_close(shares, shares.mean().expand(49), atol=0, rtol=0.15)
    assert double[49] < 1e-11
    torch.testing.assert_close(single[:15].double(), double[:15], atol=0, rtol=1e-3)
    assert ((single - double).abs() / double)[34:].mean() > 0.5


def test_focus_may_differ_from_text_to_text():
    focus = torch.rand(4, STEPS, BATCH, generator=torch.Generator().manual_seed(1)) < 0.4
    together = decompose(stack(), text(), focus)[-1].relevant
    for column in range(BATCH):
        alone = decompose(stack(), text()[:, [column]], focus[:, :, column])[-1].relevant
        torch.testing.assert_close(together[:, :, [column]], alone, atol=1e-12, rtol=0)


def test_layers_of_one_module_or_of_several_are_the_same():
    torch.manual_seed(0)
    module = nn.LSTM(UNITS, UNITS, num_layers=2, dropout=0.5).double()
    layers = [nn.LSTM(UNITS, UNITS).double() for _ in range(2)]
    for n, layer in enumerate(layers):
        for name, parameter in layer.named_parameters():
            parameter.data.copy_(getattr(module, name.replace("l0", f"l{n}")))
    for one, other in zip(decompose(module, text(), sets()), decompose(layers, text(), sets()), strict=True):
        assert torch.equal(one.relevant, other.relevant)


def test_a_cell_that_adds_and_halves_splits_as_arithmetic_does():
    # input and forget gates stand at σ(0) = ½ whatever comes, candidate tanh(x), output gate ½
    cell = nn.LSTM(1, 1).double()
    for parameter in cell.parameters():
        parameter.data.zero_()
    cell.weight_ih_l0.data[2] = 1
    inputs = torch.tensor([0.3, -1.2, 0.8, 0.5]).double().view(4, 1, 1)
    focus = torch.tensor([[True, False, True, False]])
    (layer,) = decompose(cell, inputs, focus)
    added = 0.5 * np.tanh(inputs.flatten().numpy())
    expected = [added[0], added[0] / 2, added[0] / 4 + added[2], added[0] / 8 + added[2] / 2]
    np.testing.assert_allclose(layer.relevant_cell.flatten(), expected, atol=1e-12)
    rest = [0, added[1], added[1] / 2, added[1] / 4 + added[3]]
    np.testing.assert_allclose(layer.irrelevant_cell.flatten(), rest, atol=1e-12)
    hidden = 0.25 * (np.tanh(expected) + np.tanh(np.add(expected, rest)) - np.tanh(rest))
    np.testing.assert_allclose(layer.relevant.flatten(), hidden, atol=1e-12)


def test_a_gate_that_another_word_opens_tells_the_conventions_apart():
    # word A is the candidate's, word B opens the input gate only: what B gives A is an interaction
    cell = nn.LSTM(2, 1).double()
    for parameter in cell.parameters():
        parameter.data.zero_()
    cell.weight_ih_l0.data[0, 1] = cell.weight_ih_l0.data[2, 0] = 1
    first = nn.LSTM(2, 2).double()
    for parameter in first.parameters():
        parameter.data.zero_()
    first.bias_ih_l0.data.fill_(9.0)
    first.bias_ih_l0.data[4:6] = 0
    first.weight_ih_l0.data[4:6] = torch.eye(2)
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double().view(2, 1, 2)
    focus = torch.tensor([[True, False]])
    cells = {
        name: decompose([first, cell], inputs, focus, convention=Convention(interactions=name))[-1]
        .relevant_cell[0, -1]
        .item()
        for name in ("irrelevant", "source", "relevant")
    }
    # B's gate lets A's candidate pass; B has no candidate of its own that A's gate could
    assert cells["irrelevant"] < cells["source"] == pytest.approx(cells["relevant"], abs=1e-12)


def acd_scores(lstm, decoder, vectors, start, stop):
    class Model:
        hidden_dim = lstm.hidden_size
        hidden_to_label = decoder

        def __init__(self):
            self.lstm = lstm

        def embed(self, text):
            return vectors

    class Batch:
        text = None

    with torch.no_grad():
        return acd.cd_text(Batch(), Model(), start, stop)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@pytest.mark.parametrize(("start", "stop"), [(0, 0), (2, 4), (6, 6), (0, 6)])
def test_spans_agree_with_the_package_acd(start, stop):
    (lstm,), vectors = stack(1), text(batch=1)
    decoder = nn.Linear(UNITS, 4).double()
    focus = torch.zeros(1, STEPS, dtype=torch.bool)
    focus[0, start : stop + 1] = True
    (layer,) = decompose(lstm, vectors, focus)
    ours = decomposition.logits(decoder, layer.relevant[0, -1, 0])
    np.testing.assert_allclose(ours, acd_scores(lstm, decoder, vectors, start, stop), atol=1e-12)


def test_the_parts_of_the_logits_add_up_to_the_models_own():
    model = RecurrentModel(ModelSettings(units=8), words=11, classes=11, seed=0).double()
    ids = torch.randint(11, (5, 2), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.decoder(model(ids).layers["h2"])
        top = decompose(model.lstms, model.embedding(ids), torch.rand(3, 5) < 0.5)[-1]
    whole = decomposition.logits(model.decoder, top.relevant) + model.decoder(top.irrelevant)
    torch.testing.assert_close(whole, expected.expand_as(whole), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"focus": torch.ones(2, STEPS)}, r"boolean.*float32"),
        ({"focus": torch.ones(2, STEPS + 1, dtype=torch.bool)}, r"7 steps.*\(2, 8\)"),
        ({"focus": torch.ones(2, STEPS, 2, dtype=torch.bool)}, "2 texts, inputs have 3"),
        ({"inputs": text(units=4)}, r"\(steps, batch, 6\), of a step .*, got \(7, 3, 4\)"),
        ({"inputs": text(batch=0)}, r"a text or more, got \(7, 0, 6\)"),
        ({"inputs": text(steps=0), "focus": sets()[:, :0]}, r"of a step or more .*, got \(0, 3, 6\)"),
        (
            {"lstms": [*stack(1), lost(stack(1)[0])]},
            "states are finite, got others in layer 2; look at the run",
        ),
        ({"inputs": text().index_fill(0, torch.tensor(4), torch.nan)}, "finite, got nan at step 4 of text 0"),
        ({"lstms": nn.LSTM(UNITS, UNITS, bidirectional=True).double()}, "forwards"),
        ({"lstms": nn.LSTM(UNITS, UNITS, batch_first=True).double()}, "steps first"),
        ({"lstms": nn.LSTM(UNITS, UNITS, proj_size=2).double()}, "projection"),
        ({"lstms": [nn.GRU(UNITS, UNITS).double()]}, "GRU"),
        ({"state": [(torch.zeros(1, BATCH, UNITS),) * 2]}, "each of 2 layers, got 1"),
        ({"state": [(torch.zeros(1, BATCH, 5),) * 2] * 2}, r"a state is \(1, 3, 6\), got .*\(1, 3, 5\)"),
        ({"lstms": []}, "at least one nn.LSTM layer"),
        ({"lstms": [nn.LSTM(UNITS, 5).double(), nn.LSTM(UNITS, UNITS).double()]}, "5 units feeds .* reads 6"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {"lstms": stack(), "inputs": text(), "focus": sets()} | change
    with pytest.raises(ValueError, match=message):
        decompose(**given)


@pytest.mark.parametrize("bias", decomposition.BIAS)
@pytest.mark.parametrize("interactions", decomposition.INTERACTIONS)
def test_before_the_first_word_in_focus_relevant_parts_are_exactly_zero_whatever_other_sets_do(
    bias, interactions
):
    lstms = nn.LSTM(33, 33, num_layers=2)
    focus = torch.zeros(2, STEPS, dtype=torch.bool)
    focus[0, 0] = focus[1, 4] = True
    state = [(torch.rand(1, 2, 33), torch.rand(1, 2, 33))] * 2
    convention = Convention(bias=bias, interactions=interactions)
    for layer in decompose(lstms, torch.randn(STEPS, 2, 33), focus, state=state, convention=convention):
        assert not layer.relevant[1, :4].any()
        assert not layer.relevant_cell[1, :4].any()
        assert layer.relevant[1, 4:].all()
        assert layer.relevant[0].all()


@pytest.mark.parametrize("name", ["bias", "interactions"])
def test_a_convention_without_meaning_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is one of .*, got 'maybe'"):
        Convention(**{name: "maybe"})


def by_definition(lstms, inputs, a, b, convention=None):
    focus = torch.zeros(3, len(inputs), dtype=torch.bool)
    focus[0, list(a)] = focus[1, list(b)] = focus[2, [*a, *b]] = True
    relevant = decompose(lstms, inputs, focus, convention=convention)[-1].relevant[:, max(*a, *b)]
    return (relevant[2] - relevant[0] - relevant[1]).norm(dim=-1) / relevant[2].norm(dim=-1)


@pytest.mark.parametrize("convention", CONVENTIONS, ids=named)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_all_pairs_at_once_are_those_of_each_pair(layers, convention):
    lstms, inputs = stack(layers), text()
    found = interdependence.pairwise(lstms, inputs, distance=4, convention=convention)
    assert found.shape == (4, STEPS, BATCH)
    for d, n in product(range(1, 5), range(STEPS)):
        if n + d < STEPS:
            expected = by_definition(lstms, inputs, [n], [n + d], convention)
            torch.testing.assert_close(found[d - 1, n], expected, atol=1e-12, rtol=1e-10)
        else:
            assert found[d - 1, n].isnan().all()


def test_padding_changes_nothing_and_pairs_beyond_a_text_are_left_out():
    lstms, inputs = stack(), text()
    found = interdependence.pairwise(lstms, inputs, distance=9, lengths=torch.tensor([7, 4, 1]))
    short = interdependence.pairwise(lstms, inputs[:4, 1:2], distance=9)
    torch.testing.assert_close(found[:, :4, 1:2], short, atol=1e-12, rtol=0, equal_nan=True)
    assert found[..., 0].isfinite().sum() == 7 * 6 / 2
    assert found[..., 1].isfinite().sum() == 4 * 3 / 2
    assert found[..., 2].isnan().all()


def test_sets_of_any_shape_and_both_orders():
    lstms, inputs = stack(), text()
    pairs = [([0], [6]), ([6], [0]), ([0, 5], [2, 3]), (range(3), range(3, 7))]
    found = interdependence.between(lstms, inputs, pairs)
    for row, (a, b) in zip(found, pairs, strict=True):
        torch.testing.assert_close(row, by_definition(lstms, inputs, a, b), atol=1e-12, rtol=0)
    assert torch.equal(found[0], found[1])


def test_words_that_only_add_up_are_independent():
    cell = nn.LSTM(1, 1).double()
    for parameter in cell.parameters():
        parameter.data.zero_()
    cell.weight_ih_l0.data[2] = 1e-4
    found = interdependence.pairwise(cell, text(units=1), distance=3)
    assert found[found.isfinite()].max() < 1e-6


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (([], [1]), "at least one position"),
        (([1, 2], [2, 3]), "disjoint, both hold 2"),
        (([1], [7]), "0 to 6, got 7"),
        (([-1], [3]), "0 to 6, got -1"),
    ],
)
def test_sets_that_mean_nothing_are_refused(pair, message):
    with pytest.raises(ValueError, match=message):
        interdependence.between(stack(), text(), [pair])


def test_a_relevant_state_of_zero_is_refused_not_divided_by():
    dead = nn.LSTM(UNITS, UNITS).double()
    for parameter in dead.parameters():
        parameter.data.zero_()
    with pytest.raises(ValueError, match=r"\{0\} and \{2\} leave no relevant state at step 2"):
        interdependence.between(dead, text(), [([0], [2])])
    with pytest.raises(ValueError, match="words 0 and 1 of text 0"):
        interdependence.pairwise(dead, text(), distance=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distance": 0}, "1 or more, got 0"),
        ({"lengths": torch.tensor([7, 8, 1])}, r"3 lengths from 1 to 7, got \[7, 8, 1\]"),
        ({"lengths": torch.tensor([7])}, "3 lengths"),
    ],
)
def test_pairs_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        interdependence.pairwise(stack(), text(), **({"distance": 2} | change))
