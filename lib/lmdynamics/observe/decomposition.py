"""Contextual decomposition: the part of an LSTM's state that comes from some of its inputs.

The words in focus give the *relevant* part of a hidden state; all others, and what both give only together,
the *irrelevant* rest (Murdoch et al. 2018; thesis chapter 5, section 2.1 and appendix A). Each gate is made
linear by Shapley's rule, its bias staying where it is; the two parts always add up to the state itself. So
only the relevant part is computed, beside the true gates, which all focus sets share.

A relevant part is what is left of differences between numbers as large as the state. So it has a floor, below
which it is rounding: about 1e-7 of the state in float32, 1e-16 in float64. In half precision it is
near 1e-3 or 1e-2, and DI then off by a tenth and more: nothing is decomposed there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lmdynamics.models.recurrent import State

BIAS = ("in_focus", "irrelevant")
"""The choices for the product of two biases."""
INTERACTIONS = ("irrelevant", "source", "relevant")
"""The choices for the product of a relevant and an irrelevant part."""


@dataclass(frozen=True, kw_only=True)
class Convention:
    """Which products of parts count as relevant in a layer. Defaults are the thesis's for its one layer.

    Attributes
    ----------
    bias
        The product of two biases (input gate and candidate): relevant at the steps that are in focus
        (``"in_focus"``), or never (``"irrelevant"``). In a first layer the former is the rule of the thesis
        author's code and of the package acd, the latter that of Murdoch et al. 2018, equation 32. In the
        layers above it the author's code never counts it as relevant; ``"in_focus"`` is ours there, and keeps
        it true that nothing is irrelevant where all words are in focus.
    interactions
        The product of a relevant and an irrelevant part: never relevant (``"irrelevant"``; Murdoch et al.),
        always (``"relevant"``; Jumelet et al. 2019, whose generalised decomposition this is), or only where
        an irrelevant gate lets a relevant source pass (``"source"``; the same paper's narrower choice).
    """

    bias: str = "in_focus"
    interactions: str = "irrelevant"

    def __post_init__(self) -> None:
        """Raise ValueError for unknown names."""
        for field, names in (("bias", BIAS), ("interactions", INTERACTIONS)):
            if getattr(self, field) not in names:
                raise ValueError(f"{field} is one of {', '.join(names)}, got {getattr(self, field)!r}")

    @classmethod
    def all(cls) -> list["Convention"]:
        """Return every convention of a layer, that of the thesis first."""
        return [cls(bias=bias, interactions=kind) for bias, kind in product(BIAS, INTERACTIONS)]

    @classmethod
    def thesis(cls, layers: int) -> list["Convention"]:
        """Return the conventions of the thesis author's code for some layers, from the bottom."""
        return [cls(bias="irrelevant" if layer else "in_focus") for layer in range(layers)]


Conventions = Convention | Sequence[Convention]
"""One for all layers alike, or one for each from the bottom."""


class Decomposition(NamedTuple):
    """The relevant and irrelevant parts of one LSTM layer's states, for each focus set."""

    relevant: Float[Tensor, "sets steps batch units"]
    """Relevant part of the hidden state after each step."""
    relevant_cell: Float[Tensor, "sets steps batch units"]
    """Relevant part of the cell state."""
    hidden: Float[Tensor, "steps batch units"]
    """The hidden state itself."""
    cell: Float[Tensor, "steps batch units"]
    """The cell state itself."""

    @property
    def irrelevant(self) -> Float[Tensor, "sets steps batch units"]:
        """The irrelevant part of the hidden state."""
        return self.hidden - self.relevant

    @property
    def irrelevant_cell(self) -> Float[Tensor, "sets steps batch units"]:
        """The irrelevant part of the cell state."""
        return self.cell - self.relevant_cell


class Layer(NamedTuple):
    """The weights, states and gates of one LSTM layer over some text.

    Input gate, forget gate and candidate stand side by side, 3 × units; the output gate, never split, apart.
    """

    from_input: Float[Tensor, "gates inputs"]
    from_hidden: Float[Tensor, "gates units"]
    bias: Float[Tensor, " gates"]
    gates_of_bias: Float[Tensor, " gates"]
    """What the gates would be with their bias as the only input."""
    from_below: Float[Tensor, "steps batch gates"]
    """What comes in from below, without bias."""
    gate_inputs: Float[Tensor, "steps batch gates"]
    """All that comes in, bias included."""
    half_beyond_bias: Float[Tensor, "steps batch gates"]
    """Half of the gates less `gates_of_bias`."""
    output_gate: Float[Tensor, "steps batch units"]
    hidden: Float[Tensor, "steps batch units"]
    cells: Float[Tensor, "steps_and_initial batch units"]
    """Cell states, that before the first step included."""
    cell_tanh: Float[Tensor, "steps batch units"]
    """Hyperbolic tangent of the cell state after each step."""

    def advance(
        self,
        steps: slice,
        inputs: Float[Tensor, "*sets steps batch gates"],
        cell: Float[Tensor, "*sets steps batch units"],
        in_focus: Bool[Tensor, "*steps 1"] | bool,
        convention: Convention,
    ) -> tuple[Tensor, Tensor]:
        """Return the relevant hidden and cell states after some steps, from the relevant parts before each.

        Parameters
        ----------
        steps
            Which steps; they are independent of one another, one focus set may be at one and another at
            another.
        inputs
            Relevant part of the inputs of the three gates, without bias.
        cell
            Relevant part of the cell state before each step.
        in_focus
            Whether a step's own word is in focus.
        convention
            Which products count as relevant.
        """
        i, f, g = map(
            _share,
            (torch.sigmoid_, torch.sigmoid_, torch.tanh_),
            inputs.chunk(3, -1),
            self.gate_inputs[steps].chunk(3, -1),
            self.bias.chunk(3),
            self.half_beyond_bias[steps].chunk(3, -1),
        )
        bias_i, bias_f, bias_g = self.gates_of_bias.chunk(3)
        if convention.interactions != "irrelevant":
            true_i, true_f, true_g = (self.gates_of_bias + 2 * self.half_beyond_bias[steps]).chunk(3, -1)
        if convention.interactions == "relevant":
            # all but what the irrelevant parts and the biases give without it
            before = self.cells[:-1][steps]
            after = true_f * before - (true_f - f) * (before - cell)
            after += true_i * true_g - (true_i - i) * (true_g - g)
        elif convention.interactions == "source":
            after = (true_f * cell).addcmul_(true_i, g).addcmul_(i, bias_g)
        else:
            after = (f + bias_f).mul_(cell).addcmul_(i, g + bias_g).addcmul_(bias_i, g)
        if convention.bias == "in_focus":
            after += (bias_i * bias_g) * in_focus
        hidden = torch.tanh(after).sub_((self.cells[1:][steps] - after).tanh_()).add_(self.cell_tanh[steps])
        return hidden.mul_(self.output_gate[steps]).mul_(0.5), after


def decompose(
    lstms: nn.LSTM | Iterable[nn.Module],
    inputs: Float[Tensor, "steps batch inputs"],
    focus: Tensor,
    *,
    state: Sequence[State] | None = None,
    convention: Conventions | None = None,
    dtype: torch.dtype | None = None,
) -> list[Decomposition]:
    """Split the states of LSTM layers into relevant and irrelevant parts, for several focus sets.

    Parameters
    ----------
    lstms
        Layers from the bottom, run without dropout: one module, or a sequence of them.
    inputs
        What the first one reads, such as a model's embeddings.
    focus
        For each set whether a position is in it: boolean, (sets, steps) for all texts of the batch alike, or
        (sets, steps, batch).
    state
        Hidden and cell state of each layer before the first step; None for zero. It is irrelevant.
    convention
        Which products count as relevant, in all layers or in each; None for those of the thesis author's
        code, `Convention.thesis`.
    dtype
        In which to compute, float32 or float64, whatever the layers and inputs are in; None for theirs.

    Returns
    -------
    list of Decomposition
        One per layer. At steps before a set's first position its relevant parts are zero.

    Raises
    ------
    ValueError
        If shapes do not fit, inputs or states are not finite, a module is bidirectional, projected or batch
        first, there is not a convention for each layer, or layers and inputs are not in one of both
        precisions and `dtype` names none.

    Notes
    -----
    Memory grows with sets × steps × batch × units.
    """
    if focus.dtype != torch.bool or focus.dim() not in (2, 3) or focus.shape[1] != inputs.shape[0]:
        raise ValueError(
            f"focus is a boolean array (sets, {inputs.shape[0]} steps) or (sets, steps, batch), "
            f"got {tuple(focus.shape)} of {focus.dtype}"
        )
    if focus.dim() == 3 and focus.shape[2] != inputs.shape[1]:
        raise ValueError(f"focus has {focus.shape[2]} texts, inputs have {inputs.shape[1]}")
    in_focus = (focus if focus.dim() == 3 else focus.unsqueeze(2)).unsqueeze(3).to(inputs.device)
    with torch.no_grad():
        parts: list[Decomposition] = []
        layers = run(lstms, inputs, state=state, dtype=dtype)
        for layer, each in zip(layers, by_layer(convention, len(layers)), strict=True):
            from_below = parts[-1].relevant @ layer.from_input.T if parts else layer.from_below * in_focus
            parts.append(_layer_decomposition(layer, from_below, in_focus, each))
    return parts


def by_layer(convention: Conventions | None, layers: int) -> list[Convention]:
    """Return the convention of each layer. Raises ValueError if there are more or fewer."""
    if convention is None:
        return Convention.thesis(layers)
    several = [convention] * layers if isinstance(convention, Convention) else list(convention)
    if len(several) != layers:
        raise ValueError(f"need one convention, or one for each of {layers} layers, got {len(several)}")
    return several


def logits(decoder: nn.Linear, relevant: Float[Tensor, "*axes units"]) -> Float[Tensor, "*axes classes"]:
    """Return the relevant part of the logits, from that of the top layer; the bias is irrelevant."""
    with torch.no_grad():
        return relevant @ decoder.weight.T.to(relevant)


def _layer_decomposition(
    layer: Layer, from_below: Tensor, in_focus: Tensor, convention: Convention
) -> Decomposition:
    """Decompose one layer step by step, from the relevant part of its input."""
    sets, steps, batch, _ = from_below.shape
    units = layer.hidden.shape[-1]
    relevant, cells = (from_below.new_zeros(sets, steps, batch, units) for _ in range(2))
    hidden = cell = from_below.new_zeros(sets, 1, batch, units)
    begun = in_focus.cumsum(1) > 0
    first = steps - int(begun.flatten(2).any(2).any(0).sum())
    for step in range(first, steps):
        here = slice(step, step + 1)
        hidden, cell = layer.advance(
            here, from_below[:, here] + hidden @ layer.from_hidden.T, cell, in_focus[:, here], convention
        )
        for part in (hidden, cell):
            part *= begun[:, here]  # before, rounding
        relevant[:, here], cells[:, here] = hidden, cell
    return Decomposition(relevant, cells, layer.hidden, layer.cells[1:])


def run(
    lstms: nn.LSTM | Iterable[nn.Module],
    inputs: Float[Tensor, "steps batch inputs"],
    *,
    state: Sequence[State] | None = None,
    dtype: torch.dtype | None = None,
) -> list[Layer]:
    """Run LSTM layers over some text and return what each computed. Raises what `decompose` raises."""
    candidates = [lstms] if isinstance(lstms, nn.LSTM) else list(lstms)
    modules: list[nn.LSTM] = []
    for module in candidates:
        if not isinstance(module, nn.LSTM) or module.bidirectional or module.proj_size or module.batch_first:
            raise ValueError(
                f"need nn.LSTM layers that read forwards, steps first, without projection, got {module!r}"
            )
        modules.append(module)
    if not modules:
        raise ValueError("need at least one nn.LSTM layer, got none")
    for one, other in pairwise(modules):
        if other.input_size != one.hidden_size:
            raise ValueError(f"a layer of {one.hidden_size} units feeds one that reads {other.input_size}")
    if inputs.dim() != 3 or inputs.shape[2] != modules[0].input_size or not inputs.numel():
        raise ValueError(
            f"inputs are (steps, batch, {modules[0].input_size}), of a step or more and a text or more, got "
            f"{tuple(inputs.shape)}"
        )
    precision = _precision(modules, inputs, dtype)
    inputs = inputs.detach().to(precision)
    if not inputs.isfinite().all():
        step, text, unit = (~inputs.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"inputs are finite, got {inputs[step, text, unit]} at step {step} of text {text}; look at the "
            "embeddings or the run that they are of"
        )
    weights = [_weights(module, n, precision) for module in modules for n in range(module.num_layers)]
    if state is not None and len(state) != len(weights):
        raise ValueError(f"state is one (hidden, cell) for each of {len(weights)} layers, got {len(state)}")
    for (_, from_hidden, _), pair in zip(weights, state or [], strict=False):
        shape = (1, inputs.shape[1], from_hidden.shape[1])
        if any(part.shape != shape for part in pair):
            raise ValueError(f"a state is {shape}, got {[tuple(part.shape) for part in pair]}")
    layers: list[Layer] = []
    below = inputs
    with torch.no_grad():
        for n, (from_input, from_hidden, bias) in enumerate(weights):
            units = from_hidden.shape[1]
            zero = inputs.new_zeros(1, inputs.shape[1], units)
            before, cell = (part.to(inputs) for part in state[n]) if state is not None else (zero, zero)
            cells, cell_tanh, outs, hidden = [cell], [], [], [before]
            from_below = below @ from_input.T
            whole = from_below + bias
            for step in whole.split(1):
                step += hidden[-1] @ from_hidden.T
                i, f, g, o = step.chunk(4, -1)
                cells.append(torch.sigmoid(f) * cells[-1] + torch.sigmoid(i) * torch.tanh(g))
                cell_tanh.append(torch.tanh(cells[-1]))
                outs.append(torch.sigmoid(o))
                hidden.append(outs[-1] * cell_tanh[-1])
            below = torch.cat(hidden[1:])
            if not below.isfinite().all():
                raise ValueError(
                    f"states are finite, got others in layer {n + 1}; look at the run that the weights are of"
                )
            gates = slice(0, 3 * units)
            gates_of_bias = _nonlinear(bias[gates])
            layers.append(
                Layer(
                    from_input=from_input[gates],
                    from_hidden=from_hidden[gates],
                    bias=bias[gates],
                    gates_of_bias=gates_of_bias,
                    from_below=from_below[..., gates],
                    gate_inputs=whole[..., gates],
                    half_beyond_bias=_nonlinear(whole[..., gates]).sub_(gates_of_bias).mul_(0.5),
                    output_gate=torch.cat(outs),
                    hidden=below,
                    cells=torch.cat(cells),
                    cell_tanh=torch.cat(cell_tanh),
                )
            )
    return layers


def _precision(modules: Sequence[nn.LSTM], inputs: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    """Return the precision to compute in, one that leaves something of a relevant part."""
    own = {inputs.dtype, *(parameter.dtype for module in modules for parameter in module.parameters())}
    found = own if dtype is None else {dtype}
    if len(found) > 1 or not found <= {torch.float32, torch.float64}:
        raise ValueError(
            "a decomposition is computed in float32 or float64, got "
            f"{' and '.join(sorted(map(str, found)))}; convert layers and inputs with .float() or .double(), "
            "or set dtype"
        )
    return found.pop()


def _weights(module: nn.LSTM, n: int, precision: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weights of a layer's input, those of its hidden state, and the sum of both biases."""
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if module.bias else 2]
    from_input, from_hidden, *biases = (getattr(module, f"{kind}_l{n}").to(precision) for kind in kinds)
    return from_input, from_hidden, sum(biases, start=from_input.new_zeros(len(from_input)))


def _nonlinear(gate_inputs: Tensor) -> Tensor:
    """Apply the logistic to the input and forget gates, the hyperbolic tangent to the candidate."""
    two = gate_inputs.shape[-1] // 3 * 2
    out = torch.empty_like(gate_inputs)
    torch.sigmoid(gate_inputs[..., :two], out=out[..., :two])
    torch.tanh(gate_inputs[..., two:], out=out[..., two:])
    return out


def _share(
    function: Callable[[Tensor], Tensor], part: Tensor, whole: Tensor, bias: Tensor, half_beyond_bias: Tensor
) -> Tensor:
    """Return `linearised` from values that do not depend on the part; it works in place for speed."""
    gain = function(part + bias).sub_(function(whole - part))
    return torch.add(half_beyond_bias, gain, alpha=0.5, out=gain)


def linearised(
    function: Callable[[Tensor], Tensor],
    relevant: Float[Tensor, "*axes"],
    whole: Float[Tensor, "*axes"],
    bias: Float[Tensor, "*bias"],
) -> Float[Tensor, "*axes"]:
    """Return the share of one term in a function of a sum, by Shapley's rule with the bias always there.

    Parameters
    ----------
    function
        Of the gate: logistic or hyperbolic tangent.
    relevant
        The term.
    whole
        The sum of all terms, `relevant` and `bias` included.
    bias
        The term that is always there.

    Returns
    -------
    torch.Tensor
        What the function gains by the term, mean over both orders in which it and the rest can be added to
        the bias. It and the rest's share, and the function of the bias, add up to the function of the sum.
    """
    gain = function(relevant + bias) - function(bias)
    return 0.5 * (gain + function(whole) - function(whole - relevant))
