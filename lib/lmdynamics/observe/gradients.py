"""Gradients of the loss at each layer, token by token, beside the outputs of the layer.

The gradient is that of the loss *summed* over tokens, taken at the output tensor of each layer: how the loss
changes if what the next layer reads of this token were a little different, while the layer's own recurrence
goes on as it did. So at the top layer, which only the decoder reads, it is the gradient of the token's own
loss; below, the losses of later words add to it through the recurrence of the layers above. With `recurrence`
it is taken at the hidden state instead, which the layer itself reads at the next word: then the losses of
later words add to it at every LSTM layer. No dropout. All is computed in the precision of the model, in which
float16 has no gradient below 6e-8.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmdynamics.models.losses import IGNORED, CrossEntropy
from lmdynamics.models.pretrained import Hooked
from lmdynamics.models.recurrent import RecurrentModel, State
from lmdynamics.observe.activations import id_array
from lmdynamics.text.streams import Examples, padded_streams

LOGITS = "logits"
"""Name of the decoder's output among the layers."""

Measure = Callable[[str, Tensor], Tensor]
"""Of the values of a layer, by its name: rows × units in, rows × anything out, not sharing their memory."""


class Block(NamedTuple):
    """Measures of layers and of gradients at some tokens. Layers go by name; rows are as in `tokens`."""

    tokens: Int[Tensor, " tokens"]
    """Index of each row's token in the text."""
    activations: dict[str, Float[Tensor, "tokens *measures"]]
    """Of the output of each layer."""
    gradients: dict[str, Float[Tensor, "tokens *measures"]]
    """Of the gradient of the summed loss."""
    own: dict[str, Float[Tensor, "tokens *measures"]]
    """Of the gradient of the token's own loss; empty unless `own` is set."""
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
    recurrence: bool = False,
    counted: Bool[np.ndarray, " tokens"] | None = None,
    streams: int = 40,
    steps_back: int = 35,
    name: str = "the model",
) -> Iterator[Block]:
    """Yield measures of each layer and of its gradient at every token of a text, block by block.

    Parameters
    ----------
    model
        The model to observe: its layers and `LOGITS`. Its weights and their gradients are left alone.
    examples
        Words and the class to predict at each.
    measure
        What to keep of the values of a layer and of their gradients; by default the values themselves.
    own
        Whether to measure the gradient of each token's own loss too.
    recurrence
        Whether a hidden state counts as what its own layer reads at the next word too, and not only as what
        the layer above reads.
    counted
        Tokens whose losses count; None for all.
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
        If there is no text, ids are not integers in a row, or one is outside the vocabulary or the classes.
    """
    _check(examples, model.embedding.num_embeddings, model.decoder.out_features)
    head, state = CrossEntropy(model.decoder), None
    for words, targets, tokens in _stretches(examples, counted, streams, steps_back):
        at = tokens.flatten()
        real = at >= 0
        with torch.enable_grad():
            layers, origins, state_after = _forward(model, words.to(model.device), state, recurrence)
        top = layers[model.layers[-1]]
        token_measure = partial(_token_measure, measure, real)
        logit_measures = head.measures(
            top.detach().flatten(0, 1),
            targets.flatten().to(model.device),
            lambda values: measure(LOGITS, values),
        )
        top_gradient = logit_measures.hidden_gradient.view_as(top)
        gradients = _at_origins(top, origins, top_gradient)
        for layer, gradient in reversed(gradients.items()):
            for step, stream in _not_finite(gradient, tokens):
                decoded = model.decoder(top[step, stream].detach())
                raise _error(name, layer if decoded.isfinite().all() else LOGITS, tokens[step, stream])
        activations = {layer: token_measure(layer, values.detach()) for layer, values in layers.items()}
        gradient_measures = {layer: token_measure(layer, values) for layer, values in gradients.items()}
        alone = _own(model, layers, state, top_gradient) if own else {}
        yield Block(
            at[real],
            {**activations, LOGITS: logit_measures.logits[real]},
            {**gradient_measures, LOGITS: logit_measures.gradients[real]},
            {layer: token_measure(layer, values) for layer, values in alone.items()},
            {layer: _difference(gradients[layer], values).flatten()[real] for layer, values in alone.items()},
        )
        state = _detach(state_after)


def hooked_blocks(
    model: Hooked,
    examples: Examples,
    *,
    measure: Measure = lambda layer, values: values.clone(),
    streams: int = 40,
    steps_back: int = 35,
    name: str = "the model",
) -> Iterator[Block]:
    """Yield what `blocks` does, for the hooked layers of any module that returns logits.

    Parameters and errors are those of `blocks`. A module that is not recurrent reads each stretch of
    `steps_back` tokens as a context of its own, and losses of all later words in it count. Logits are
    measured if they are hooked.

    Raises
    ------
    ValueError
        Also if the module returns no logits, or they do not depend on a layer.
    """
    _check(examples, model.words, model.words)
    state = None
    for words, targets, tokens in _stretches(examples, None, streams, steps_back):
        at = tokens.flatten()
        real = at >= 0
        # cuDNN goes back through no recurrent layer that is not in training
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            layers, output, state = model.forward(words, state)
            loss = _loss_sum(model, output, targets)
        at_layers = torch.autograd.grad(loss, list(layers.values()), allow_unused=True)
        gradients: dict[str, Tensor] = {}
        for layer, gradient in zip(layers, at_layers, strict=True):
            if gradient is None:
                raise ValueError(f"need layers that the logits depend on, got {layer}; hook another")
            gradients[layer] = model.time_first(gradient)
            for step, stream in _not_finite(gradients[layer], tokens):
                raise _error(name, layer, tokens[step, stream])
        token_measure = partial(_token_measure, measure, real)
        yield Block(
            at[real],
            {layer: token_measure(layer, model.time_first(each.detach())) for layer, each in layers.items()},
            {layer: token_measure(layer, each) for layer, each in gradients.items()},
            {},
            {},
        )
        state = _detach(state)


def _stretches(
    examples: Examples, counted: Bool[np.ndarray, " tokens"] | None, streams: int, steps_back: int
) -> Iterator[tuple[Int[Tensor, "steps batch"], ...]]:
    """Return words, targets and places in the text, for one stretch of all streams after another."""
    targets = examples.targets.astype(np.int64)  # signed, as `IGNORED` is
    if counted is not None:
        targets = np.where(counted, targets, IGNORED)
    streams = min(streams, len(examples.inputs))
    columns = (
        padded_streams(examples.inputs, streams, fill=int(examples.inputs[0])),
        padded_streams(targets, streams, fill=IGNORED),
        padded_streams(np.arange(len(examples.inputs)), streams, fill=-1),
    )
    return zip(*(each.split(steps_back) for each in columns), strict=True)


def _token_measure(measure: Measure, real: Tensor, layer: str, values: Tensor) -> Tensor:
    return measure(layer, values.flatten(0, -2)[real.to(values.device)])


def _loss_sum(model: Hooked, output: Tensor, targets: Int[Tensor, "steps batch"]) -> Float[Tensor, ""]:
    if output.dim() != 3 or output.shape[-1] < model.words:
        raise ValueError(
            f"gradients need a module that returns logits of {model.words} words for each token, got shape "
            f"{tuple(output.shape)}; take the model with its head"
        )
    logits = model.time_first(output).flatten(0, 1)
    classes = targets.flatten().to(logits.device)
    return nn.functional.cross_entropy(logits, classes, ignore_index=IGNORED, reduction="sum")


def _detach(state: Any) -> Any:
    """Return a state without its graph, so that no gradient flows back through it."""
    if isinstance(state, list | tuple):
        return type(state)(map(_detach, state))
    return None if state is None else state.detach()


class _Forward(NamedTuple):
    """The layers over one stretch of text; their graph leads to the top layer but not to the weights."""

    layers: dict[str, Float[Tensor, "steps batch units"]]
    origins: dict[str, list[Tensor]]
    """Where the gradient at each layer is taken: at all its steps at once, or at each."""
    state: list[State]
    """After the last step."""


def _forward(
    model: RecurrentModel, words: Int[Tensor, "steps batch"], state: list[State] | None, recurrence: bool
) -> _Forward:
    below = model.embedding(words).detach().requires_grad_()
    layers, origins, states_after = {"e": below}, {"e": [below]}, []
    frozen = [parameter for parameter in model.lstms.parameters() if parameter.requires_grad]
    training = {module: module.training for module in model.lstms.modules()}
    model.lstms.train()  # cuDNN goes back through no other; without dropout of its own it makes no difference
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        for number, lstm in enumerate(model.lstms):
            name = model.layers[number + 1]
            origins[name], after = _outputs(lstm, below, state[number] if state else None, recurrence)
            below = layers[name] = _join(origins[name])
            states_after.append(after)
    finally:
        for module, was in training.items():
            module.training = was
        for parameter in frozen:
            parameter.requires_grad_()
    return _Forward(layers, origins, states_after)


def _outputs(
    lstm: nn.Module, inputs: Tensor, state: State | None, recurrence: bool
) -> tuple[list[Tensor], State]:
    """Return the outputs of a layer: all at once, or with recurrence one for each step."""
    outputs = []
    for part in inputs.split(1 if recurrence else len(inputs)):
        output, (hidden, cell) = lstm(part, state)
        state = (output if recurrence else hidden, cell)
        outputs.append(output)
    assert state is not None
    return outputs, state


def _join(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _at_origins(top: Tensor, origins: dict[str, list[Tensor]], top_gradient: Tensor) -> dict[str, Tensor]:
    """Return the gradient at each layer, from that at the top layer."""
    each = iter(
        torch.autograd.grad(top, [part for parts in origins.values() for part in parts], top_gradient)
    )
    return {name: _join([next(each) for _ in parts]) for name, parts in origins.items()}


@torch.no_grad()
def _own(
    model: RecurrentModel, layers: dict[str, Tensor], state: list[State] | None, top_gradient: Tensor
) -> dict[str, Tensor]:
    """Return the gradient of each token's own loss at each layer: through the layers, not through time."""
    names, gradients = list(layers), {model.layers[-1]: top_gradient}
    for number in reversed(range(len(model.lstms))):
        below, here = names[number], names[number + 1]
        before = state[number] if state else None
        lstm = cast(nn.LSTM, model.lstms[number])
        gradients[below] = _through_cell(lstm, layers[below], layers[here], before, gradients[here])
    return {each: gradients[each] for each in names}


def _through_cell(
    lstm: nn.LSTM, inputs: Tensor, outputs: Tensor, before: State | None, gradient: Tensor
) -> Tensor:
    """Return the gradient at the input of an LSTM layer, from that at its output in the same step."""
    zero = torch.zeros_like(outputs[:1])
    hidden_before, cell = before or (zero, zero)
    hidden = torch.cat([hidden_before, outputs[:-1]])
    from_input, from_hidden, *biases = lstm.all_weights[0]
    gate_inputs = inputs @ from_input.T + hidden @ from_hidden.T + sum(biases)
    i, f, g, o = gate_inputs.chunk(4, -1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    cells = [cell[0]]
    for step in range(len(outputs)):
        cells.append(f[step] * cells[-1] + i[step] * g[step])
    cell_tanh, earlier = torch.stack(cells[1:]).tanh(), torch.stack(cells[:-1])
    at_cell = gradient * o * (1 - cell_tanh**2)
    at_gates = torch.cat(
        [
            at_cell * g * i * (1 - i),
            at_cell * earlier * f * (1 - f),
            at_cell * i * (1 - g**2),
            gradient * cell_tanh * o * (1 - o),
        ],
        -1,
    )
    return at_gates @ from_input


def _difference(whole: Tensor, own: Tensor) -> Tensor:
    """Return the norm of the difference of two gradients over the norm of the first."""
    return (whole - own).norm(dim=-1) / whole.norm(dim=-1)


def _check(examples: Examples, words: int, classes: int) -> None:
    for what, ids, below in zip(("inputs", "targets"), examples, (words, classes), strict=True):
        id_array(ids)
        if len(ids) == 0 or ids.min() < 0 or ids.max() >= below:
            id_range = f"{ids.min()} to {ids.max()}" if len(ids) else "none"
            raise ValueError(
                f"the {what} need ids from 0 to {below - 1}, got {id_range}; "
                "encode with the model's vocabulary"
            )


def _not_finite(gradient: Tensor, tokens: Int[Tensor, "steps batch"]) -> list[list[int]]:
    """Return the step and stream of each token whose gradient is not finite."""
    return (~gradient.isfinite().all(-1).cpu() & (tokens >= 0)).nonzero().tolist()


def _error(name: str, layer: str, token: Tensor) -> GradientError:
    return GradientError(
        f"the gradient of {name} at {layer} is not finite at token {token} of the text; "
        "train with a smaller learning rate or clip, or measure an earlier checkpoint"
    )
