"""Gradients of the loss at each layer, token by token, beside the layer's own values.

The gradient is that of the loss *summed* over tokens, taken at the output tensor of each layer: how the loss
changes if what the next layer reads of this token were a little different, while the layer's own recurrence
goes on as it did. So at the top layer, which only the decoder reads, it is the gradient of the token's own
loss; below, the losses of later words add to it through the recurrence of the layers above. No dropout.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmdynamics.models.losses import IGNORED, CrossEntropy
from lmdynamics.models.recurrent import RecurrentModel, State
from lmdynamics.text.streams import Examples, padded_streams

LOGITS = "logits"
"""Name of the decoder's output among the layers."""

Measure = Callable[[str, Tensor], Tensor]
"""Of the values of a layer, by its name: rows × units in, rows × anything out, not sharing their memory."""


class Block(NamedTuple):
    """What was measured at some tokens. Layers go by name, `LOGITS` included; rows are as in `tokens`."""

    tokens: Int[Tensor, " tokens"]
    """Index of each row's token in the text."""
    activations: dict[str, Float[Tensor, "tokens *measures"]]
    """Of the output of each layer."""
    gradients: dict[str, Float[Tensor, "tokens *measures"]]
    """Of the gradient of the summed loss."""
    own: dict[str, Float[Tensor, "tokens *measures"]]
    """Of the gradient of the token's own loss; empty unless it was asked for."""
    later: dict[str, Float[Tensor, " tokens"]]
    """Norm of the difference of both over that of the former, NaN where that is 0; empty likewise."""


class GradientError(RuntimeError):
    """A gradient that is not a number."""


def blocks(
    model: RecurrentModel,
    examples: Examples,
    *,
    measure: Measure = lambda layer, values: values.clone(),
    own: bool = False,
    streams: int = 40,
    steps_back: int = 35,
    name: str = "the model",
) -> Iterator[Block]:
    """Run a model over text and measure each layer and its gradient at every token, block by block.

    Parameters
    ----------
    model
        Whose layers are wanted. Its weights and their gradients are left alone.
    examples
        Words and the class to predict at each.
    measure
        What to keep of the values of a layer and of their gradients; by default the values themselves.
    own
        Whether to measure the gradient of each token's own loss too.
    streams
        Contiguous pieces into which the text is cut, read side by side, each from a state of zero.
    steps_back
        Tokens through which the gradient flows back at most, as in truncated training: losses beyond the end
        of such a stretch send nothing back into it, while the state is carried on.
    name
        Of the model, for errors.

    Yields
    ------
    Block
        Every token of the text stands in exactly one block.

    Raises
    ------
    GradientError
        If a gradient is not finite; names the model, the layer and the token.
    ValueError
        If there is no text, or an id is outside the vocabulary or the classes.
    """
    _check(model, examples)
    streams = min(streams, len(examples.inputs))
    inputs = padded_streams(examples.inputs, streams, fill=int(examples.inputs[0]))
    targets = padded_streams(examples.targets, streams, fill=IGNORED)
    index = padded_streams(np.arange(len(examples.inputs)), streams, fill=-1)
    head, state = CrossEntropy(model.decoder), None
    for words, wanted, tokens in zip(
        *(each.split(steps_back) for each in (inputs, targets, index)), strict=True
    ):
        flat, at = wanted.flatten().to(model.device), tokens.flatten()
        real = at >= 0
        with torch.enable_grad():
            layers, reached = _forward(model, words.to(model.device), state)
        top = layers[model.layers[-1]]

        def measured(layer: str, values: Tensor, real: Tensor = real) -> Tensor:
            return measure(layer, values.flatten(0, -2)[real.to(values.device)])

        looked = head.look(top.detach().flatten(0, 1), flat, lambda values: measure(LOGITS, values))
        given = looked.of_hidden.view_as(top)
        found = _below(layers, given)
        for layer, gradient in reversed(found.items()):
            _check_finite(model, name, layer, gradient, layers, tokens)
        activations = {layer: measured(layer, values.detach()) for layer, values in layers.items()}
        gradients = {layer: measured(layer, values) for layer, values in found.items()}
        alone = _own(model, layers, state, given) if own else {}
        yield Block(
            at[real],
            {**activations, LOGITS: looked.logits[real]},
            {**gradients, LOGITS: looked.of_logits[real]},
            {layer: measured(layer, values) for layer, values in alone.items()},
            {layer: _difference(found[layer], values).flatten()[real] for layer, values in alone.items()},
        )
        state = [(h.detach(), c.detach()) for h, c in reached]


def _forward(
    model: RecurrentModel, words: Int[Tensor, "steps batch"], state: list[State] | None
) -> tuple[dict[str, Tensor], list[State]]:
    """Outputs of the layers, each the origin of a graph that leads to the top but not to the weights."""
    below = model.embedding(words).detach().requires_grad_()
    layers, reached = {"e": below}, []
    frozen = [parameter for parameter in model.lstms.parameters() if parameter.requires_grad]
    training = {module: module.training for module in model.lstms.modules()}
    model.lstms.train()  # cuDNN goes back through no other; without dropout of its own it makes no difference
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        for number, lstm in enumerate(model.lstms):
            below, after = lstm(below, state[number] if state else None)
            layers[model.layers[number + 1]] = below
            reached.append(after)
    finally:
        for module, was in training.items():
            module.training = was
        for parameter in frozen:
            parameter.requires_grad_()
    return layers, reached


def _below(layers: dict[str, Tensor], given: Tensor) -> dict[str, Tensor]:
    """The gradient at each layer, from that at the top."""
    names = list(layers)
    lower = torch.autograd.grad(layers[names[-1]], [layers[each] for each in names[:-1]], given)
    return {**dict(zip(names, lower, strict=False)), names[-1]: given}


@torch.no_grad()
def _own(
    model: RecurrentModel, layers: dict[str, Tensor], state: list[State] | None, given: Tensor
) -> dict[str, Tensor]:
    """The gradient of each token's own loss at each layer: back through the layers, not through time."""
    names, found = list(layers), {model.layers[-1]: given}
    for number in reversed(range(len(model.lstms))):
        below, here = names[number], names[number + 1]
        before = state[number] if state else None
        lstm = cast(nn.LSTM, model.lstms[number])
        found[below] = _through_cell(lstm, layers[below], layers[here], before, found[here])
    return {each: found[each] for each in names}


def _through_cell(
    lstm: nn.LSTM, inputs: Tensor, outputs: Tensor, before: State | None, gradient: Tensor
) -> Tensor:
    """The gradient at an LSTM layer's input at each step, of what its output at that step alone is worth."""
    zero = torch.zeros_like(outputs[:1])
    hidden_before, cell = before or (zero, zero)
    hidden = torch.cat([hidden_before, outputs[:-1]])
    from_input, from_hidden, *biases = lstm.all_weights[0]
    summed = inputs @ from_input.T + hidden @ from_hidden.T + sum(biases)
    i, f, g, o = summed.chunk(4, -1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    cells = [cell[0]]
    for step in range(len(outputs)):
        cells.append(f[step] * cells[-1] + i[step] * g[step])
    squashed, earlier = torch.stack(cells[1:]).tanh(), torch.stack(cells[:-1])
    at_cell = gradient * o * (1 - squashed**2)
    at_gates = torch.cat(
        [
            at_cell * g * i * (1 - i),
            at_cell * earlier * f * (1 - f),
            at_cell * i * (1 - g**2),
            gradient * squashed * o * (1 - o),
        ],
        -1,
    )
    return at_gates @ from_input


def _difference(whole: Tensor, own: Tensor) -> Tensor:
    """Norm of what two gradients differ by, over the norm of the first."""
    return (whole - own).norm(dim=-1) / whole.norm(dim=-1)


def _check(model: RecurrentModel, examples: Examples) -> None:
    known = (model.embedding.num_embeddings, model.decoder.out_features)
    for what, ids, below in zip(("inputs", "targets"), examples, known, strict=True):
        if len(ids) == 0 or ids.min() < 0 or ids.max() >= below:
            found = f"{ids.min()} to {ids.max()}" if len(ids) else "none"
            raise ValueError(
                f"the {what} need ids from 0 to {below - 1}, got {found}; encode with the model's vocabulary"
            )


def _check_finite(
    model: RecurrentModel, name: str, layer: str, gradient: Tensor, layers: dict[str, Tensor], tokens: Tensor
) -> None:
    wrong = ~gradient.isfinite().all(-1).cpu() & (tokens >= 0)
    if wrong.any():
        step, stream = wrong.nonzero()[0].tolist()
        top = layers[model.layers[-1]][step, stream].detach()
        if not model.decoder(top).isfinite().all():
            layer = LOGITS
        raise GradientError(
            f"the gradient of {name} at {layer} is not finite at token {tokens[step, stream]} of the text; "
            "train with a smaller learning rate or clip, or measure an earlier checkpoint"
        )
