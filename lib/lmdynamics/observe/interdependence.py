"""Decompositional interdependence: how much two sets of words contribute only together.

With h_X the relevant hidden state for focus X (see `decomposition`), read at the last position of both sets,
DI(A, B) = ‖h_{A∪B} − (h_A + h_B)‖₂ / ‖h_{A∪B}‖₂ (thesis chapter 5, equation 2): 0 where the two are
independent, without an upper limit.

The farther apart the two, the less of the first is left. In float32 a relevant part, and with it DI, has a
floor near 1e-7: of words more than about 20 apart, DI may be rounding and nothing else. In float64 (option
`dtype`) the floor is near 1e-16, and more than twice as many words are within reach.
"""

from collections.abc import Collection, Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmdynamics.models.recurrent import State
from lmdynamics.observe.decomposition import Convention, Conventions, Layer, by_layer, decompose, run

_ROWS = 200
"""Words decomposed at once: enough for fast matrix products, few enough for the processor's cache."""


def between(
    lstms: nn.LSTM | Iterable[nn.Module],
    inputs: Float[Tensor, "steps batch inputs"],
    pairs: Sequence[tuple[Collection[int], Collection[int]]],
    *,
    state: Sequence[State] | None = None,
    convention: Conventions | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "pairs batch"]:
    """Return the interdependence of pairs of disjoint sets of positions, at the top layer.

    Parameters
    ----------
    lstms
        Layers from the bottom.
    inputs
        What the first one reads, such as a model's embeddings.
    pairs
        For each comparison the positions, counted from 0, in A and in B: spans or not.
    state
        Of each layer before the first step; None for zero.
    convention
        Of the decomposition, in all layers or in each; None for those of the thesis author's code.
    dtype
        In which to compute, float32 or float64; None for that of the layers and inputs.

    Raises
    ------
    ValueError
        If sets are empty, overlap or reach outside the text, the joint relevant state is zero, or `decompose`
        would refuse the input.
    """
    steps = len(inputs)
    for a, b in pairs:
        if not a or not b:
            raise ValueError(f"need two sets with at least one position each, got {set(a)} and {set(b)}")
        if shared := set(a) & set(b):
            raise ValueError(
                f"the two sets must be disjoint, both hold {', '.join(map(str, sorted(shared)))}"
            )
        if outside := sorted(at for at in {*a, *b} if not 0 <= at < steps):
            raise ValueError(f"positions are 0 to {steps - 1}, got {', '.join(map(str, outside))}")
    focus_sets = [frozenset(each) for a, b in pairs for each in (a, b, {*a, *b})]
    rows = {each: row for row, each in enumerate(dict.fromkeys(focus_sets))}
    focus = torch.zeros(len(rows), steps, dtype=torch.bool)
    for each, row in rows.items():
        focus[row, list(each)] = True
    top = decompose(lstms, inputs, focus, state=state, convention=convention, dtype=dtype)[-1].relevant
    ratios = top.new_empty(len(pairs), inputs.shape[1])
    for n, (a, b) in enumerate(pairs):
        last = max(*a, *b)
        alone_a, alone_b, joint = (top[rows[frozenset(each)], last] for each in (a, b, {*a, *b}))
        ratios[n] = _ratio(joint, alone_a, alone_b)
        if not ratios[n].isfinite().all():
            raise ValueError(f"{set(a)} and {set(b)} leave no relevant state at step {last} to divide by")
    return ratios


def pairwise(
    lstms: nn.LSTM | Iterable[nn.Module],
    inputs: Float[Tensor, "steps batch inputs"],
    *,
    distance: int,
    lengths: Int[Tensor, " texts"] | None = None,
    state: Sequence[State] | None = None,
    convention: Conventions | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "distance steps batch"]:
    """Return the interdependence of all pairs of single words up to a distance, at the top layer.

    Parameters
    ----------
    lstms, inputs, state, convention, dtype
        As for `between`.
    distance
        The longest, in words.
    lengths
        Number of words of each text, where texts of a batch are padded; None where they are not.

    Returns
    -------
    torch.Tensor
        At ``[d - 1, n]`` the interdependence of words n and n + d, nan where there is no such pair.

    Raises
    ------
    ValueError
        If the distance is not positive, a length is out of range, a joint relevant state is zero, or
        `decompose` would refuse the input.

    Notes
    -----
    Up to its second word a pair's relevant state is that of its first word alone. So each word is carried
    along once, all words of all texts side by side, and each pair costs one step more.
    """
    steps, batch = inputs.shape[:2]
    if distance < 1:
        raise ValueError(f"a distance is 1 or more, got {distance}")
    layers = run(lstms, inputs, state=state, dtype=dtype)
    if lengths is None:
        lengths = torch.full((batch,), steps)
    if len(lengths) != batch or lengths.min() < 1 or lengths.max() > steps:
        raise ValueError(f"need {batch} lengths from 1 to {steps}, got {lengths.tolist()}")
    with torch.no_grad():
        ratios = _pairwise(layers, min(distance, steps - 1), by_layer(convention, len(layers)))
    real = torch.arange(steps).view(1, -1, 1) + torch.arange(1, len(ratios) + 1).view(-1, 1, 1) < lengths
    real = real.to(ratios.device)
    if not ratios[real].isfinite().all():
        d, n, text = ((~ratios.isfinite()) & real).nonzero()[0].tolist()
        raise ValueError(f"words {n} and {n + d + 1} of text {text} leave no relevant state to divide by")
    whole = ratios.new_full((distance, steps, batch), torch.nan)
    whole[: len(ratios)] = ratios.masked_fill(~real, torch.nan)
    return whole


def _pairwise(layers: list[Layer], distance: int, conventions: list[Convention]) -> Tensor:
    steps, batch, _ = layers[0].hidden.shape
    own = layers[0].from_below
    # each word on its own, at its own step
    alone: list[tuple[Tensor, Tensor]] = []
    for layer, convention in zip(layers, conventions, strict=True):
        from_below = alone[-1][0] @ layer.from_input.T if alone else own
        zero = torch.zeros_like(layer.hidden)
        alone.append(layer.advance(slice(0, steps), from_below, zero, True, convention))
    ratios = own.new_full((distance, steps, batch), torch.nan)
    block = max(1, _ROWS // batch)
    for begin in range(0, steps, block):
        states = [(hidden[begin : begin + block], cell[begin : begin + block]) for hidden, cell in alone]
        for d in range(1, min(distance, steps - 1 - begin) + 1):
            here = slice(begin + d, min(begin + d + block, steps))
            words = here.stop - here.start
            after: list[tuple[Tensor, Tensor]] = []
            joint = own[here]
            for n, (layer, convention) in enumerate(zip(layers, conventions, strict=True)):
                hidden, cell = (part[:words] for part in states[n])
                past = hidden @ layer.from_hidden.T
                single = past + after[-1][0] @ layer.from_input.T if n else past
                both = past + (joint @ layer.from_input.T if n else joint)
                after.append(layer.advance(here, single, cell, False, convention))
                joint, _ = layer.advance(here, both, cell, True, convention)
            states = after
            ratios[d - 1, begin : begin + words] = _ratio(joint, states[-1][0], alone[-1][0][here])
    return ratios


def _ratio(joint: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.vector_norm((a + b).sub_(joint), dim=-1) / torch.linalg.vector_norm(joint, dim=-1)
