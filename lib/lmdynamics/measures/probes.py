"""Probes, or diagnostic classifiers: how well a small classifier reads a labelling off a frozen view.

A probe is one hidden layer of rectified units, as many as the view has, and a softmax over the classes; the
linear kind is the softmax alone. Many are trained at once, their parameters stacked along a leading axis.
Each gets the result that it would get alone: all start from the same weights, read the same tokens in the
same order and have the same units silenced, as the seed decides, and no probe's numbers enter another's.

Each unit is centred and scaled to a standard deviation of 1 over the tokens trained on, so that the scale of
a layer decides nothing; a unit that does not vary there becomes 0. Losses are in nats (natural logarithm).

An accuracy says little by itself. Compare it with `majority`, with the accuracy on `control_labels`, and with
the accuracy from a `random_embedding`.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from lmdynamics.measures.moments import ABSENT, Block, aligned

Pair = tuple[str, str]
"""Names of a view and of a labelling."""

RANDOM = "random"
"""What tables call the baseline view of `random_embedding`."""

_TOGETHER = 16  # probes trained at once; more are no faster and hold more copies of views
_ALIGNED = 16  # values; arrays that are multiples have no end that is rounded otherwise
_TESTED = 1024  # tokens that a probe classifies at once


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """How probes are made and trained. Defaults are Belinkov et al. 2017's unless they say otherwise."""

    hidden: bool = True  # a layer of rectified units below the softmax; False: the linear kind
    dropout: float = 0.5  # share of the hidden units silenced in training
    epochs: int = 20  # passes over the tokens; theirs: until dev loss stops improving, 30 at most
    batch: int = 256  # tokens per step of optimisation, at most; theirs: 16 sentences
    learning_rate: float = 1e-3  # of Adam
    train_tokens: int = 20_000  # drawn at most, without replacement; theirs: all
    test_tokens: int = 10_000

    def __post_init__(self) -> None:
        """Refuse values with which nothing can be learnt or told."""
        for name in ("epochs", "batch", "train_tokens", "test_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is positive, got {self.learning_rate}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a share in [0, 1), got {self.dropout}")


class Labelled(NamedTuple):
    """Some tokens: row i of every view and entry i of every labelling are the same one."""

    views: Mapping[str, Block]
    labels: Mapping[str, Int[np.ndarray, " tokens"]]
    """Class of each token, from 0, by labelling."""


class Probed(NamedTuple):
    """What a trained probe scores."""

    accuracy: float
    """Share of the test tokens whose class it finds most probable."""
    loss: float
    """Mean over the test tokens, in nats; log(classes) for uniform guesses."""
    train_accuracy: float
    """Share of the tokens that it was trained on, no unit silenced."""


def probe(
    train: Labelled, test: Labelled, pairs: Iterable[Pair], settings: ProbeSettings, *, seed: int
) -> dict[Pair, Probed]:
    """Train a probe for each pair of a view and a labelling, and test it.

    Parameters
    ----------
    train, test
        Tokens to learn from and tokens to report. Views may differ in their units, not in their tokens.
    pairs
        Which labelling to read off which view.
    settings
        How; of each part as many tokens are drawn as they say, the same ones for all pairs.
    seed
        Of the drawn tokens, the initial weights (uniform in ±1/sqrt(inputs of the layer)), the order of the
        tokens and the units silenced.

    Returns
    -------
    dict[Pair, Probed]
        By pair. A class of which no token was drawn to learn from stays improbable.

    Raises
    ------
    ValueError
        If a pair names what is not there, views or labels do not align, a value is not finite, a label is
        negative, a labelling has fewer than 2 classes to learn, a class to test is not among them, or a view
        has other units in the test part.

    References
    ----------
    Belinkov et al. 2017, with its code (boknilev/nmt-repr-analysis), which does not standardise units; thesis
    chapter 4, section 4, figures 6 and 7.
    """
    pairs = list(dict.fromkeys(pairs))
    draws, start, course = (int(each) for each in np.random.SeedSequence(seed).generate_state(3))
    rng = np.random.default_rng(draws)
    learnt = _Part.of("train", train, pairs, settings.train_tokens, rng)
    tested = _Part.of("test", test, pairs, settings.test_tokens, rng)
    units, classes = _units(learnt, tested), _classes(learnt, tested)
    shapes = defaultdict(list)
    for view, labelling in sorted(pairs):  # so those of one view stand together
        shapes[len(units[view].mean), len(classes[labelling])].append((view, labelling))
    scores: dict[Pair, Probed] = {}
    for (inputs, outputs), alike in shapes.items():
        widths = (inputs, inputs, outputs) if settings.hidden else (inputs, outputs)
        for some in (alike[first : first + _TOGETHER] for first in range(0, len(alike), _TOGETHER)):
            fit, held_out = (_Tokens.of(part, some, units, classes) for part in (learnt, tested))
            stack = _trained(fit, widths, settings, start, course)
            columns = *_scores(stack, held_out), _scores(stack, fit)[0]
            scores |= zip(some, map(Probed, *columns), strict=True)
    return {pair: scores[pair] for pair in pairs}


def control_labels(
    train_ids: Int[np.ndarray, " train"],
    test_ids: Int[np.ndarray, " test"],
    labels: Int[np.ndarray, " labelled"],
    *,
    seed: int,
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    """Labels that only memory can tell: each word has one class, drawn at random, wherever it stands.

    Parameters
    ----------
    train_ids, test_ids
        Word of each token.
    labels
        Of the true task. Each word takes the class of one of them, drawn at random; a word of the test tokens
        alone whose class no training token has draws another from the training tokens.
    seed
        Of the classes.

    Returns
    -------
    tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]
        Of the training and of the test tokens. Counted by words, shares of the classes are near those of the
        true labels; counted by tokens, a few frequent words decide.

    Raises
    ------
    ValueError
        If there are no tokens, or an id or a label is negative.

    References
    ----------
    Hewitt and Liang 2019, section 2.
    """
    for what, numbers in (("train ids", train_ids), ("test ids", test_ids), ("labels", labels)):
        _check_numbers(what, numbers)
    rng = np.random.default_rng(seed)
    chance = rng.random(max(train_ids.max(), test_ids.max()) + 1)  # by word
    classes = _quantiles(np.bincount(labels), chance)
    learnt = classes[train_ids]
    lost = ~np.isin(classes, learnt)
    classes[lost] = _quantiles(np.bincount(learnt), chance[lost])
    return learnt, classes[test_ids]


def majority(train_labels: Int[np.ndarray, " train"], test_labels: Int[np.ndarray, " test"]) -> float:
    """Accuracy of always answering the class that most training tokens have, the lowest of equals.

    Returns
    -------
    float
        Share of the test tokens, in [0, 1].

    Raises
    ------
    ValueError
        If there are no labels or one is negative.
    """
    _check_numbers("train labels", train_labels)
    _check_numbers("test labels", test_labels)
    return float((test_labels == np.bincount(train_labels).argmax()).mean())


def random_embedding(
    ids: Int[np.ndarray, " tokens"], units: int, *, seed: int
) -> Float[Tensor, "tokens units"]:
    """A view that knows each token's word and nothing else: a vector of standard normal values for each word.

    Parameters
    ----------
    ids
        Word of each token.
    units
        Width of the view.
    seed
        Of the vectors; a word has the same one in every text.

    Raises
    ------
    ValueError
        If there are no tokens or an id is negative.

    References
    ----------
    Zhang and Bowman 2018.
    """
    _check_numbers("ids", ids)
    vectors = np.random.default_rng(seed).standard_normal((ids.max() + 1, units), dtype=np.float32)
    return torch.from_numpy(vectors[ids])


def _check_numbers(what: str, numbers: Int[np.ndarray, " tokens"]) -> None:
    if numbers.dtype.kind not in "iu":
        raise ValueError(f"{what} must be integers, got {numbers.dtype}; number the classes from 0")
    if not len(numbers) or numbers.min() < 0:
        given = f"{numbers.min()} at token {numbers.argmin()}" if len(numbers) else "none"
        raise ValueError(f"{what} must be numbers from 0, got {given}; leave out tokens without one")


def _quantiles(
    counts: Int[np.ndarray, " classes"], chance: Float[np.ndarray, " words"]
) -> Int[np.ndarray, " words"]:
    """The class at each chance, where classes have the shares of their counts."""
    return np.searchsorted(counts.cumsum(), chance * counts.sum(), side="right")


class _Units(NamedTuple):
    """By what the units of a view are centred and scaled."""

    mean: Float[Tensor, " units"]
    scale: Float[Tensor, " units"]

    @classmethod
    def of(cls, view: Float[Tensor, "tokens units"]) -> "_Units":
        """To mean 0 and standard deviation 1 over these tokens, or to 0 where a unit is constant."""
        mean = view.mean(0, dtype=torch.float64).to(torch.promote_types(view.dtype, torch.float32))
        centred = view - mean
        size = torch.ldexp(torch.ones_like(mean), centred.abs().amax(0).frexp().exponent - 1)
        # a power of two, so that no square is too large or too small, and no digit changes
        deviation = (centred / size).square_().mean(0).sqrt_() * size
        return cls(mean, torch.where(deviation > ABSENT * mean.abs(), 1 / deviation, 0))


class _Part(NamedTuple):
    """Tokens to learn from or to report, and which of them are."""

    views: dict[str, Tensor]
    labels: dict[str, Int[np.ndarray, " tokens"]]
    rows: Int[np.ndarray, " rows"]

    @classmethod
    def of(
        cls, which: str, part: Labelled, pairs: list[Pair], most: int, rng: np.random.Generator
    ) -> "_Part":
        """What the pairs name, and as many tokens as wanted, in their order."""
        views, labels = {view for view, _ in pairs}, {labelling for _, labelling in pairs}
        for kind, wanted, known in (("views", views, part.views), ("labellings", labels, part.labels)):
            if unknown := wanted - known.keys():
                raise ValueError(f"the {which} part has the {kind} {sorted(known)}, got {sorted(unknown)}")
        tensors = aligned({view: part.views[view] for view in sorted(views)})
        tokens = len(next(iter(tensors.values()), ()))
        for name in sorted(labels):
            if (count := len(part.labels[name])) != tokens:
                raise ValueError(
                    f"labelling {name!r} needs a label for each of {tokens} {which} tokens, got {count}; "
                    "leave tokens without one out of the views too"
                )
            _check_numbers(f"{which} labels of {name!r}", part.labels[name])
        rows = np.sort(rng.choice(tokens, min(most, tokens), replace=False))
        return cls(tensors, {name: part.labels[name] for name in labels}, rows)


def _units(train: _Part, test: _Part) -> dict[str, _Units]:
    for name, view in train.views.items():
        if (units := test.views[name].shape[1]) != view.shape[1]:
            raise ValueError(
                f"view {name!r} has {view.shape[1]} units in the train part, got {units} in the test part; "
                "take both from one model"
            )
    return {name: _Units.of(view[train.rows]) for name, view in train.views.items()}


def _classes(train: _Part, test: _Part) -> dict[str, Int[np.ndarray, " classes"]]:
    classes = {name: np.unique(labels) for name, labels in train.labels.items()}
    for name, known in classes.items():
        if len(known) < 2:
            raise ValueError(f"labelling {name!r} needs at least 2 classes to learn, got {len(known)}")
        if len(unknown := np.setdiff1d(test.labels[name], known)):
            raise ValueError(
                f"labelling {name!r} has {len(known)} classes to learn, got class {unknown[0]} to test, "
                "which is none of them; leave its tokens out"
            )
    return classes


class _Tokens(NamedTuple):
    """What the probes of a stack read and what they should answer."""

    views: Float[Tensor, "views tokens units"]
    view: Int[Tensor, " probes"]
    """Which of the views each probe reads."""
    labels: Int[Tensor, "probes tokens"]

    @classmethod
    def of(
        cls,
        part: _Part,
        pairs: list[Pair],
        units: Mapping[str, _Units],
        classes: Mapping[str, Int[np.ndarray, " classes"]],
    ) -> "_Tokens":
        """The drawn tokens, units standardised and classes numbered without gaps."""
        names = list(dict.fromkeys(view for view, _ in pairs))
        mean = units[names[0]].mean
        views = torch.empty(len(names), len(part.rows), len(mean), device=mean.device)
        for name, view in zip(names, views, strict=True):
            # in the precision of the view, which may reach farther than the probe's
            torch.mul(part.views[name][part.rows] - units[name].mean, units[name].scale, out=view)
        labels = [np.searchsorted(classes[name], part.labels[name][part.rows]) for _, name in pairs]
        return cls(
            views,
            torch.tensor([names.index(view) for view, _ in pairs], device=mean.device),
            torch.from_numpy(np.stack(labels)).to(mean.device),
        )

    def inputs(
        self, rows: Int[Tensor, " rows"], *, out: Float[Tensor, "probes rows units"] | None = None
    ) -> Float[Tensor, "probes rows units"]:
        """Some tokens as each probe reads them."""
        _, tokens, units = self.views.shape
        index = (self.view[:, None] * tokens + rows).flatten()
        flat = None if out is None else out.view(-1, units)
        flat = torch.index_select(self.views.view(-1, units), 0, index, out=flat)
        return flat.view(len(self.view), len(rows), units)


class _Layer(NamedTuple):
    """Parameters of a layer, or their gradients; the probe comes first."""

    weight: Float[Tensor, "probes inputs outputs"]
    bias: Float[Tensor, "probes 1 outputs"]

    def fill(
        self, inputs: Float[Tensor, "probes batch inputs"], outputs: Float[Tensor, "probes batch outputs"]
    ) -> None:
        """Gradients, from the layer's inputs and the gradient at its outputs."""
        torch.bmm(inputs.mT, outputs, out=self.weight)
        torch.sum(outputs, 1, keepdim=True, out=self.bias)


def _cut(values: Float[Tensor, "probes values"], widths: Sequence[int]) -> list[_Layer]:
    """Layers, from the bottom, as views of one row of values for each probe."""
    layers, start = [], 0
    for inputs, outputs in itertools.pairwise(widths):
        end = start + inputs * outputs
        weight, bias = values[:, start:end], values[:, end : end + outputs]
        layers.append(_Layer(weight.view(-1, inputs, outputs), bias[:, None]))
        start = end + outputs
    return layers


class _Stack:
    """Probes of one shape side by side, with the gradient of each one's own mean loss.

    What a step of optimisation fills is taken once, since fresh memory costs more than the arithmetic on it.
    """

    def __init__(
        self,
        probes: int,
        widths: Sequence[int],
        batch: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        size = sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(widths))
        # so that a probe is rounded alike wherever it stands
        self.parameters = torch.zeros(probes, -(-size // _ALIGNED) * _ALIGNED, device=device)
        self.parameters.grad = torch.zeros_like(self.parameters)
        self.layers = _cut(self.parameters, widths)
        self.gradients = _cut(self.parameters.grad, widths)
        for layer in self.layers:
            bound = layer.weight.shape[1] ** -0.5
            for parameter in layer:
                one = torch.empty(parameter.shape[1:]).uniform_(-bound, bound, generator=generator)
                parameter.copy_(one)
        self._outputs = [torch.empty(probes, batch, width, device=device) for width in widths[1:]]
        self._below = torch.empty(probes, batch, widths[-2], device=device)

    def logits(self, inputs: Float[Tensor, "probes tokens units"]) -> Float[Tensor, "probes tokens classes"]:
        """Logits of any number of tokens, no unit silenced."""
        *hidden, top = self.layers
        for weight, bias in hidden:
            inputs = torch.bmm(inputs, weight).add_(bias).relu_()
        return torch.bmm(inputs, top.weight).add_(top.bias)

    def backward(
        self,
        inputs: Float[Tensor, "probes batch units"],
        labels: Int[Tensor, "probes batch"],
        kept: Float[Tensor, "batch units"] | None = None,
    ) -> None:
        """Compute all gradients; `kept` multiplies the hidden units, None leaves them as they are."""
        *hidden, top = self.layers
        read = inputs
        for weight, bias in hidden:
            read = torch.bmm(inputs, weight, out=self._outputs[0]).add_(bias).relu_()
            if kept is not None:
                read *= kept
        logits = torch.bmm(read, top.weight, out=self._outputs[-1]).add_(top.bias)
        excess = torch.softmax(logits, 2, out=logits)
        excess.scatter_add_(2, labels[..., None], excess.new_full((*labels.shape, 1), -1))
        excess /= labels.shape[1]
        self.gradients[-1].fill(read, excess)
        if hidden:
            below = torch.bmm(excess, top.weight.mT, out=self._below)
            below *= read.sign_()  # the rectifier's slope; 0 at silenced units too
            if kept is not None:
                below *= kept
            self.gradients[0].fill(inputs, below)


def _trained(
    tokens: _Tokens, widths: Sequence[int], settings: ProbeSettings, start: int, course: int
) -> _Stack:
    """Probes after all epochs of Adam.

    Each epoch reads the tokens in another order. Batches are equally large, so up to one token per batch sits
    an epoch out.
    """
    probes, device, (_, count, units) = len(tokens.view), tokens.views.device, tokens.views.shape
    steps = -(-count // settings.batch)
    batch = count // steps
    stack = _Stack(probes, widths, batch, torch.Generator().manual_seed(start), device)
    optimiser = torch.optim.Adam([stack.parameters], lr=settings.learning_rate, fused=True)
    generator, keep = torch.Generator().manual_seed(course), 1 - settings.dropout
    inputs, kept = torch.empty(probes, batch, units, device=device), None
    for _ in range(settings.epochs):
        order = torch.randperm(count, generator=generator)[: steps * batch].to(device)
        for rows in order.view(steps, batch):
            if settings.hidden and keep < 1:
                uniform = torch.rand(batch, units, generator=generator)
                kept = uniform.lt_(keep).div_(keep).to(device)
            stack.backward(tokens.inputs(rows, out=inputs), tokens.labels[:, rows], kept)
            optimiser.step()
    return stack


def _scores(stack: _Stack, tokens: _Tokens) -> tuple[list[float], list[float]]:
    """Accuracy and mean loss of each probe."""
    probes, count = tokens.labels.shape
    right, loss = tokens.labels.new_zeros((2, probes), dtype=torch.float64)
    for rows in torch.arange(count, device=tokens.labels.device).split(_TESTED):
        logits, labels = stack.logits(tokens.inputs(rows)).mT, tokens.labels[:, rows]
        right += (logits.argmax(1) == labels).sum(1)
        loss += functional.cross_entropy(logits, labels, reduction="none").sum(1, dtype=torch.float64)
    return (right / count).tolist(), (loss / count).tolist()
