"""Every measure and every observer takes numbers of any type and layout, or says what it needs."""

import inspect
import pkgutil
from importlib import import_module

import jaxtyping
import numpy as np
import pytest
import torch
from tests.small_models import GRU, seeded

from lmdynamics import measures, observe
from lmdynamics.measures import probes, similarity, sparsity, words
from lmdynamics.measures.moments import JointMoments, aligned
from lmdynamics.models.pretrained import hooked
from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.observe import activations, allocation, gradients
from lmdynamics.observe.by_word import sparsity_by_word
from lmdynamics.observe.trajectory import trajectory
from lmdynamics.text.streams import Examples

TOKENS, WORDS = 60, 9
PAIRS = [("view", "halves")]


def numbers(units=4, seed=0):
    """Whole ones, of either sign, which every type of 8 bits holds."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.integers(-100, 100, size=(TOKENS, units)) * 1.0)


def summed(view):
    moments = JointMoments([("x", "y")])
    moments.update({"x": view, "y": numbers(3, seed=1)[: len(view)]})
    views = moments["x", "y"]
    return views.x.mean, views.x.scatter, views.cross


def word_means(view):
    sums = words.WordSums(2, ["value"] * view.shape[1])
    sums.update(torch.arange(len(view), dtype=torch.int16) % 2, view)
    return sums.means(), sums.counts()


def probed(view):
    part = probes.Labelled({"view": view}, {"halves": np.arange(len(view)) % 2})
    return probes.probe(part, part, PAIRS, probes.ProbeSettings(epochs=1, batch=32), seed=0)["view", "halves"]


def beside(measure):
    return lambda view: measure(view, numbers(3, seed=1)[: len(view)])


COMPARED = {
    "moments.JointMoments": summed,
    "moments.aligned": lambda view: aligned({"x": view})["x"].double(),
    "probes.probe": probed,
    "similarity.ranked_distances": similarity.ranked_distances,
} | {
    f"similarity.{measure.__name__}": beside(measure)
    for measure in (
        similarity.canonical_correlations,
        similarity.cca,
        similarity.svcca,
        similarity.pwcca,
        similarity.cka,
        similarity.rsa,
        similarity.directions,
    )
}
"""What compares or reads whole views of numbers, and refuses those that are not finite."""
EACH_VECTOR = {"sparsity.norms": sparsity.norms, "words.WordSums": word_means} | {
    f"sparsity.{name}": measure for name, measure in sparsity.MEASURES.items()
}
"""What measures one vector after another, and knows of none with a number that is not finite."""
TYPES = {
    "float16": torch.Tensor.half,
    "bfloat16": torch.Tensor.bfloat16,
    "float8": lambda view: view.to(torch.float8_e4m3fn),
    "float32": torch.Tensor.float,
    "int64": torch.Tensor.long,
    "int8": lambda view: view.to(torch.int8),
    "uint8": lambda view: view.abs().to(torch.uint8),
    "bool": lambda view: view > 0,
    "with a graph": lambda view: view.clone().requires_grad_() * 1,
    "every other row": lambda view: view.repeat_interleave(2, 0)[::2],
    "columns first": lambda view: view.T.contiguous().T,
    "in a larger one": lambda view: torch.stack([view, view], 2)[..., 0],
}
ARRAYS = {
    "big-endian": lambda view: view.astype(">f4"),
    "longdouble": lambda view: view.astype(np.longdouble),
    "int16": lambda view: view.astype(np.int16),
    "bool": lambda view: view > 0,
    "float16": lambda view: view.astype(np.float16),
    "reversed": lambda view: view[::-1],
    "read-only": lambda view: np.broadcast_to(view[:, :1], view.shape),
}


def assert_near(found, expected, tolerance=1e-6):
    many = isinstance(expected, tuple)
    for one, other in zip(found if many else [found], expected if many else [expected], strict=True):
        np.testing.assert_allclose(
            np.asarray(one, float), np.asarray(other, float), rtol=tolerance, atol=tolerance
        )


@pytest.fixture(autouse=True)
def _as_for_users(monkeypatch):
    """Without the types of arguments checked."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize("name", COMPARED | EACH_VECTOR)
def test_a_number_counts_the_same_in_whatever_type_and_layout_it_comes(name):
    measure = (COMPARED | EACH_VECTOR)[name]
    for change in TYPES.values():
        view = change(numbers())
        found = measure(view)
        assert_near(found, measure(view.detach().double().contiguous()))


@pytest.mark.parametrize("name", COMPARED)
def test_arrays_count_the_same_in_whatever_type_and_layout_they_come(name):
    for change in ARRAYS.values():
        view = change(numbers().numpy())
        assert_near(COMPARED[name](view), COMPARED[name](np.ascontiguousarray(view, np.float64)))


@pytest.mark.parametrize("name", sparsity.MEASURES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 3e4])
def test_sparsity_of_half_precision_neither_overflows_nor_loses_digits(name, dtype, scale):
    values = (scale * torch.rand(3, 2000, generator=torch.Generator().manual_seed(0))).to(dtype)
    found = sparsity.MEASURES[name](values)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), sparsity.MEASURES[name](values.double()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sparsity.MEASURES)
def test_sparsity_of_very_large_numbers_is_that_of_others(name):
    values, measure = numbers(), sparsity.MEASURES[name]
    for dtype, most in ((torch.float32, torch.finfo(torch.float32).max), (torch.float64, 1e300)):
        largest = values.to(dtype) / values.abs().max() * most
        torch.testing.assert_close(measure(largest).double(), measure(values), rtol=1e-5, atol=1e-5)


NOT_VIEWS = {
    "complex": (lambda view: view.to(torch.complex64), "real numbers, got torch.complex64"),
    "of dates": (lambda view: view.numpy().astype("M8[s]"), r"real numbers, got datetime64\[s\]"),
    "empty": (lambda view: view[:0], "at least one token, got none"),
    "without units": (lambda view: view[:, :0], r"tokens × units, got \(60, 0\)"),
    "a row of numbers": (lambda view: view[:, 0], r"tokens × units, got \(60,\)"),
    "nan": (lambda view: view.index_fill(0, torch.tensor(7), torch.nan), "has nan at token 7"),
    "infinite": (lambda view: view.index_fill(0, torch.tensor(7), -torch.inf), "has -inf at token 7"),
    "infinite in half": (lambda view: (1e4 * view[view > 7][:60, None]).half(), "has inf at token"),
}


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize("what", NOT_VIEWS)
def test_what_is_no_view_is_refused(name, what):
    change, message = NOT_VIEWS[what]
    with pytest.raises(ValueError, match=message):
        COMPARED[name](change(numbers()))


@pytest.mark.parametrize("name", [name for name in COMPARED if name.startswith("similarity")])
def test_one_token_is_too_few_to_compare(name):
    with pytest.raises(
        ValueError, match=r"x does not vary: all units are constant over its 1 |3 to 10,000 tokens, got 1"
    ):
        COMPARED[name](numbers()[:1])


@pytest.mark.parametrize("measure", [similarity.cca, similarity.svcca, similarity.pwcca, similarity.cka])
def test_numbers_whose_squares_are_lost_are_refused(measure):
    with pytest.raises(ValueError, match="x needs numbers whose squares float64 can sum; scale it"):
        measure(1e180 * numbers(), numbers(3, seed=1))


@pytest.mark.parametrize("name", sparsity.MEASURES)
def test_vectors_that_are_not_finite_have_no_sparsity_and_others_are_no_vectors(name):
    values = numbers()
    expected = sparsity.MEASURES[name](values)
    values[3, 1], values[4, 2], values[5] = torch.nan, torch.inf, -torch.inf
    found = sparsity.MEASURES[name](values)
    assert found[3:6].isnan().all()
    torch.testing.assert_close(found[6:], expected[6:])
    assert sparsity.MEASURES[name](values[:0]).shape == (0,)
    for given, message in (
        (torch.tensor(3.0), r"shape \(\)"),
        (values.cfloat(), "real numbers, got torch.complex64"),
    ):
        with pytest.raises(ValueError, match=message):
            sparsity.MEASURES[name](given)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 2.0**-40, 1e25, 1e200])
def test_the_scale_of_a_view_decides_nothing_for_a_probe(scale):
    dtype = torch.float32 if 1e-38 < scale < 1e38 else torch.float64
    assert_near(probed(scale * numbers().to(dtype)), probed(numbers()))


# Classes and words


def test_classes_and_words_are_integers_of_any_width():
    labels = np.arange(TOKENS) % 3
    for dtype in (np.int8, np.uint8, np.int32, np.uint64):
        few = labels.astype(dtype)
        assert probes.majority(few, few) == probes.majority(labels, labels)
        assert all(
            map(
                np.array_equal,
                probes.control_labels(few, few, few, seed=0),
                probes.control_labels(labels, labels, labels, seed=0),
            )
        )
        assert torch.equal(
            probes.random_embedding(few, 2, seed=0), probes.random_embedding(labels, 2, seed=0)
        )
        assert np.array_equal(words.occurrences(few), words.occurrences(labels))
        assert np.array_equal(words.majority_class(few, few, words=3, least=1), [0, 1, 2])
        assert all(map(np.array_equal, words.matched(few, few, 2), words.matched(labels, labels, 2)))
    for given in (labels > 1, labels * 1.0):
        with pytest.raises(ValueError, match=f"must be integers, got {given.dtype}; number the"):
            probes.majority(given, given)
    for ids in ([-1, 0], [0, 3]):
        with pytest.raises(ValueError, match="need ids from 0 to 2, got"):
            words.majority_class(np.array(ids), np.array([0, 0]), words=3, least=1)
    with pytest.raises(ValueError, match="one word or more of each class, got 0"):
        words.matched(labels, labels, 0)


@pytest.mark.parametrize("how", ["pearson", "log", "spearman"])
def test_correlations_and_coefficients_over_words_take_any_precision_and_only_finite_numbers(how):
    values, against = numbers().numpy(), np.arange(1, TOKENS + 1)
    columns = list("abcd")
    expected = words.correlations(values, against, columns, how=how)
    fitted = words.coefficients(values[:, 0], {"against": against})
    for dtype in (np.float16, np.float32):
        found = words.correlations(values.astype(dtype), against.astype(dtype), columns, how=how)
        np.testing.assert_allclose(found.iloc[:, 1:], expected.iloc[:, 1:], rtol=1e-3, atol=1e-3)
        found = words.coefficients(values[:, 0].astype(dtype), {"against": against.astype(dtype)})
        np.testing.assert_allclose(found.iloc[:, 1:], fitted.iloc[:, 1:], rtol=1e-3, atol=1e-3)
    for other in (np.nan, np.inf, *([0.0] if how == "log" else [])):
        spoilt = against * 1.0
        spoilt[5] = other
        with pytest.raises(
            ValueError, match=f"(positive|finite) numbers.*, got {other:g} as the other value"
        ):
            words.correlations(values, spoilt, columns, how=how)
    with pytest.raises(ValueError, match="finite features, got others of 'against'; leave the words out"):
        words.coefficients(values[:, 0], {"against": np.where(against == 5, np.nan, against)})


# Texts and models


def model(dtype=torch.float32, *, frozen=""):
    made = RecurrentModel(ModelSettings(units=6, dropout=0.0), words=WORDS, classes=WORDS, seed=0).to(dtype)
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(not frozen or frozen not in name)
    return made


def text(tokens=103):
    return np.random.default_rng(0).integers(WORDS, size=tokens)


def gradient_blocks(made, ids):
    odd = np.arange(len(ids)) % 2 == 1
    (block,) = gradients.blocks(made, Examples(ids, ids[::-1]), counted=odd, own=True)
    return tuple(block.gradients.values()) + tuple(block.own.values())


def hooked_gradients(made, ids):
    module = hooked(
        seeded(GRU).to(made.decoder.weight.dtype), ["embedding", "decoder"], batch_first=False, recurrent=True
    )
    return tuple(
        each
        for block in gradients.hooked_blocks(module, Examples.next_word(ids))
        for each in block.gradients.values()
    )


def compared(made, ids):
    return trajectory({0: made, 1: model()}, ids, to=1)["value"].to_numpy()


def loss_gradient(made, ids):
    return tuple(allocation.loss_and_gradient(made, Examples.next_word(ids), batch=4)[1].values())


def layers_of(blocks):
    return tuple(each for block in blocks for each in block.layers.values())


OBSERVERS = {
    "activations.observe": lambda made, ids: layers_of(block for (block,) in activations.observe(made, ids)),
    "activations.blocks": lambda made, ids: layers_of(activations.blocks(made, ids)),
    "activations.states": lambda made, ids: tuple(activations.states(made, ids).values()),
    "activations.answers": activations.answers,
    "gradients.blocks": gradient_blocks,
    "gradients.hooked_blocks": hooked_gradients,
    "by_word.sparsity_by_word": lambda *given: sparsity_by_word(*given, gradients=True)[
        "gradient"
    ].to_numpy(),
    "trajectory.trajectory": compared,
    "allocation.loss_and_gradient": loss_gradient,
}
"""What observes a model over a text."""
observers = pytest.mark.parametrize("name", OBSERVERS)
TEXTS = {
    "uint8": lambda ids: ids.astype(np.uint8),
    "uint16": lambda ids: ids.astype(np.uint16),
    "uint64": lambda ids: ids.astype(np.uint64),
    "big-endian": lambda ids: ids.astype(">i4"),
    "reversed twice": lambda ids: ids[::-1].copy()[::-1],
    "read-only": lambda ids: np.broadcast_to(ids, ids.shape),
}


@observers
def test_a_text_is_read_the_same_in_whatever_type_and_layout_it_comes(name):
    expected = OBSERVERS[name](model(), text())
    for change in TEXTS.values():
        found = OBSERVERS[name](model(), change(text()))
        for one, other in zip(found, expected, strict=True):
            assert np.array_equal(one, other, equal_nan=True)


@observers
def test_what_is_no_text_is_refused(name):
    for ids in (text() > 4, text() * 1.0, text()[:100].reshape(4, 25), text().astype(object)):
        with pytest.raises(ValueError, match=r"integer.* in one row, got shape \(.*\) of "):
            OBSERVERS[name](model(), ids)
    with pytest.raises(ValueError, match=r"got none|two tokens or more, got 0|at least 4 tokens, got 0"):
        OBSERVERS[name](model(), text(0))


@observers
def test_frozen_parameters_change_nothing_that_is_observed(name):
    expected = OBSERVERS[name](model(), text())
    for frozen in ("weight_hh", "decoder", "."):
        made = model(frozen=frozen)
        for one, other in zip(OBSERVERS[name](made, text()), expected, strict=True):
            assert np.array_equal(one, other, equal_nan=True)
        assert not any(each.requires_grad for key, each in made.named_parameters() if frozen in key)


@observers
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_in_half_precision_are_observed_to_its_digits_or_refused(name, dtype):
    if name.startswith("allocation"):
        with pytest.raises(ValueError, match=rf"got a model in {dtype}; convert it with \.float\(\)"):
            OBSERVERS[name](model(dtype), text())
        return
    found, expected = (OBSERVERS[name](each, text()) for each in (model(dtype), model(dtype).float()))
    for one, other in zip(found, expected, strict=True):
        other = torch.as_tensor(other).double().detach()
        torch.testing.assert_close(
            torch.as_tensor(one).double().detach(),
            other,
            rtol=0.1,
            atol=0.02 * other.nan_to_num().abs().max().item(),
            equal_nan=True,
        )


@observers
def test_a_model_that_training_has_lost_is_not_observed_as_if_it_had_not(name):
    lost = model()
    with torch.no_grad():
        lost.lstms[0].weight_hh_l0[0, 0] = torch.nan
    if name in (
        "activations.observe",
        "activations.blocks",
        "activations.states",
    ):  # what they show is NaN itself
        assert any(each.isnan().any() for each in OBSERVERS[name](lost, text()))
    elif name != "gradients.hooked_blocks":  # of another model
        with pytest.raises((ValueError, gradients.GradientError), match=r"finite|NaN"):
            OBSERVERS[name](lost, text())


OTHERS = {
    "arrays of the library's own making, checked where they are made": (
        "bootstrap.correlation", "bootstrap.crossed", "bootstrap.half_interval", "bootstrap.interval",
        "bootstrap.least_squares", "bootstrap.sample_columns", "bootstrap.weights",
        "ranks.tied_ranks", "sparsity.stretched",
        "trees.edge_distances", "trees.word_classes", "pairs.PairSums",
        "allocation.by_group", "allocation.by_unit", "allocation.groups", "activations.spread",
    ),
    "tested above": (
        "activations.id_array", "probes.majority", "probes.control_labels", "probes.random_embedding",
        "words.correlations", "words.coefficients", "words.majority_class", "words.matched",
        "words.occurrences",
    ),
    "tested beside what they measure": (
        "allocation.allocations", "decomposition.by_layer", "decomposition.decompose",
        "decomposition.linearised", "decomposition.logits", "decomposition.run",
        "interdependence.between", "interdependence.pairwise",
    ),
}  # fmt: skip


def test_every_public_measure_and_observer_is_tested_so():
    found = set()
    for package in (measures, observe):
        for module in pkgutil.iter_modules(package.__path__):
            code = import_module(f"{package.__name__}.{module.name}")
            for name, each in vars(code).items():
                own = getattr(each, "__module__", "") == code.__name__ and not name.startswith("_")
                if own and (inspect.isfunction(each) or hasattr(each, "update")):
                    found.add(f"{module.name}.{name}")
    known = {*COMPARED, *EACH_VECTOR, *OBSERVERS, *(name for names in OTHERS.values() for name in names)}
    assert found == known
