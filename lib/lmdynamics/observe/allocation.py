"""Loss change allocation: how much each parameter lowers or raises the loss in a step of training.

Along the straight way from the parameters before a step to those after it, the change of a loss is the
integral of its gradient; each parameter is allocated its own term (Lan et al. 2019; thesis chapter 6,
equations 6.1 to 6.3). The loss is that of a fixed sample, which need not be what the step was taken on.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lmdynamics.measures import sparsity
from lmdynamics.models.losses import CrossEntropy
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.text.streams import Examples, streams

METHODS = ("first order", "Simpson")
"""How the integral is approximated: by the gradient before the step alone, or by Simpson's rule."""
GATES = ("input gate", "forget gate", "candidate", "output gate")
"""Of an LSTM layer, in PyTorch's order of rows."""

Parameters = dict[str, Tensor]
"""By the name that the model gives them."""


class Allocation(NamedTuple):
    """The change of the loss on a sample in one step of training, in nats per token."""

    change: float
    """Loss after the step less loss before it."""
    allocated: dict[str, Parameters]
    """By method (of `METHODS`): what each parameter was allocated, negative where it helped, 0 where it did
    not move, as frozen ones do not; they add up to the change, as well as the method approximates it."""


def allocations(
    model: RecurrentModel,
    sample: Examples,
    steps: Iterable[object],
    *,
    batch: int = 40,
    intervals: int = 1,
) -> Iterator[Allocation]:
    """Allocate the change of the loss in each step of training to the parameters.

    Parameters
    ----------
    model
        The model in training.
    sample
        Examples on which the loss is computed, without dropout: `batch` contiguous pieces, each from a state
        of zero, its gradient flowing back to the beginning, so that it is exact.
    steps
        Each next one changes the model in place: see `training.steps`. Stop them early with
        ``itertools.islice``.
    batch
        Pieces of the sample.
    intervals
        Into how many equal pieces the way is cut for Simpson's rule, each with its middle.

    Yields
    ------
    Allocation
        After each step. The model is then as the step left it.
    """
    loss, gradient = loss_and_gradient(model, sample, batch=batch)
    before = _parameter_copies(model)
    # of Simpson's rule: 1 4 1, or 1 4 2 4 1, ...
    inner = [(n / (2 * intervals), 4 if n % 2 else 2) for n in range(1, 2 * intervals)]
    for _ in steps:
        after = _parameter_copies(model)
        by = {name: after[name] - before[name] for name in after}
        totals = {name: each.clone() for name, each in gradient.items()}
        for share, weight in inner:
            _fill(model, {name: before[name] + share * by[name] for name in by})
            _, here = loss_and_gradient(model, sample, batch=batch)
            for name, each in here.items():
                totals[name].add_(each, alpha=weight)
        _fill(model, after)
        loss_after, gradient_after = loss_and_gradient(model, sample, batch=batch)
        first = {name: gradient[name] * by[name] for name in by}
        simpson = {name: (totals[name] + gradient_after[name]) / (6 * intervals) * by[name] for name in by}
        yield Allocation(loss_after - loss, dict(zip(METHODS, (first, simpson), strict=True)))
        loss, gradient, before = loss_after, gradient_after, after


def loss_and_gradient(
    model: RecurrentModel, examples: Examples, *, batch: int = 40
) -> tuple[float, Parameters]:
    """Return the mean loss without dropout, and its exact gradient at every parameter.

    Parameters
    ----------
    model
        What stood in the `.grad` of its parameters is overwritten. Frozen ones have a gradient too.
    examples
        Cut into `batch` contiguous pieces, each read from a state of zero; a rest shorter than `batch` is
        left out.
    batch
        Pieces read side by side.

    Returns
    -------
    tuple of float and dict of torch.Tensor
        In nats per token.

    Raises
    ------
    ValueError
        If there are fewer tokens than pieces, the loss is not finite, or the model is in half precision, in
        which a change of the loss is rounding.
    """
    if model.decoder.weight.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"a change of the loss needs float32 or float64, got a model in {model.decoder.weight.dtype}; "
            "convert it with .float()"
        )
    inputs, targets = (streams(column, batch, model.device) for column in examples)
    model.zero_grad()
    was_training = model.training
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    model.train()  # cuDNN goes back through no other; without a generator nothing is dropped
    try:
        for parameter in frozen:
            parameter.requires_grad_()
        with torch.enable_grad():
            layers, _ = model(inputs)
            hidden = layers[model.layers[-1]].flatten(0, 1)
            loss = CrossEntropy(model.decoder).backward(hidden.detach(), targets.flatten())
            hidden.backward(loss.gradient)
    finally:
        model.train(was_training)
        for parameter in frozen:
            parameter.requires_grad_(False)
    grads = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    dense = {name: grad.to_dense() if grad.is_sparse else grad for name, grad in grads.items()}
    model.zero_grad()
    if not loss.total.isfinite():
        raise ValueError(
            f"a change of the loss needs a finite loss, got {loss.total.item()} on the sample; train with a "
            "smaller learning rate or clip, or measure an earlier checkpoint"
        )
    return loss.total.item() / inputs.numel(), dense


class Group(NamedTuple):
    """Some parameters of one tensor."""

    layer: str
    """e, h1, h2, ... or decoder."""
    part: str
    """Which of its tensors: words, from below, recurrent, biases."""
    group: str
    """A gate, or a class of words."""
    name: str
    """Of the tensor, as the model has it."""
    rows: Int64[np.ndarray, " rows"]


def groups(model: RecurrentModel, classes: Mapping[str, Int64[np.ndarray, " words"]]) -> list[Group]:
    """Group all parameters by layer and gate, and those of words by the class of the word.

    Parameters
    ----------
    model
        A language model, its classes being words.
    classes
        Words of each class by name; every word in one of them.

    Raises
    ------
    ValueError
        If a word is in no class, or in several.
    """
    words = np.sort(np.concatenate(list(classes.values())))
    if not np.array_equal(words, np.arange(model.embedding.num_embeddings)):
        raise ValueError(
            f"each of {model.embedding.num_embeddings} words needs one class, got {len(words)} words, "
            f"{len(np.unique(words))} of them distinct"
        )
    units = model.settings.units
    parts = {"weight_ih_l0": "from below", "weight_hh_l0": "recurrent", "bias_ih_l0": "biases"}
    parts["bias_hh_l0"] = parts["bias_ih_l0"]
    parameter_groups = [Group("e", "words", name, "embedding.weight", rows) for name, rows in classes.items()]
    for number in range(model.settings.layers):
        parameter_groups += [
            Group(f"h{number + 1}", part, gate, f"lstms.{number}.{tensor}", np.arange(units) + units * at)
            for tensor, part in parts.items()
            for at, gate in enumerate(GATES)
        ]
    for tensor, part in (("decoder.weight", "words"), ("decoder.bias", "biases")):
        parameter_groups += [Group("decoder", part, name, tensor, rows) for name, rows in classes.items()]
    return parameter_groups


def by_group(allocation: Allocation, groups: Iterable[Group]) -> pd.DataFrame:
    """Sum an allocation over groups of parameters.

    Returns
    -------
    pandas.DataFrame
        One row per method and `layer, part, group`: `allocated` in nats per token; the number of parameters
        that were `felt`, having moved where the loss on the sample depends on them; how many of these were
        `helping`; and the `concentration` of the allocation on few of them, from 0 to 1
        (`sparsity.stretched`), NaN for fewer than two. The two biases of an LSTM are one part, and always
        move alike.
    """
    groups, rows = list(groups), []
    for method, allocated in allocation.allocated.items():
        for each in groups:
            own = allocated[each.name][each.rows].double()
            rows.append(
                {
                    "method": method,
                    "layer": each.layer,
                    "part": each.part,
                    "group": each.group,
                    "allocated": own.sum().item(),
                    "felt": int((own != 0).sum()),
                    "helping": int((own < 0).sum()),
                    "sizes": own.abs().sum().item(),
                    "squares": (own**2).sum().item(),
                }
            )
    keys = ["method", "layer", "part", "group"]
    table = pd.DataFrame(rows).groupby(keys, sort=False).sum().reset_index()
    squares, sizes = (torch.tensor(table.pop(name).to_numpy()) for name in ("squares", "sizes"))
    chi = squares.sqrt() / sizes
    shares = [sparsity.stretched(each, felt).item() for each, felt in zip(chi, table["felt"], strict=True)]
    return table.assign(concentration=shares)


def by_unit(allocated: Parameters, layer: int, units: int) -> Float[Tensor, " units"]:
    """Return the summed size of the allocations to each unit of an LSTM layer, over all its gates.

    Parameters
    ----------
    allocated
        By one method, for each parameter of a model.
    layer
        Number of the layer, from 0.
    units
        Of the layer.
    """
    own = [values.abs() for name, values in allocated.items() if name.startswith(f"lstms.{layer}.")]
    return torch.stack([values.reshape(len(GATES), units, -1).sum((0, 2)) for values in own]).sum(0)


def _parameter_copies(model: RecurrentModel) -> dict[str, Float[Tensor, "..."]]:
    return {name: each.detach().clone() for name, each in model.named_parameters()}


@torch.no_grad()
def _fill(model: RecurrentModel, values: Parameters) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(values[name])
