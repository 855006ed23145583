"""Sparsity of the layers of a model and of their gradients, word by word."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmdynamics.measures import sparsity
from lmdynamics.measures.words import WordSums
from lmdynamics.models import pretrained
from lmdynamics.models.observable import Observable
from lmdynamics.models.pretrained import Hooked
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.observe import activations, gradients
from lmdynamics.observe.activations import STEPS, STREAMS
from lmdynamics.text.streams import Examples

KINDS = ("activation", "gradient")
"""The kinds of vectors of a layer at each token."""


def sparsity_by_word(
    model: nn.Module | Observable,
    ids: np.ndarray | Tensor,
    *,
    layers: str | Sequence[str] | None = None,
    gradients: bool = False,
    streams: int = STREAMS,
    steps: int = STEPS,
) -> pd.DataFrame:
    """Return the mean χ of each layer over the tokens of each word.

    Parameters
    ----------
    model
        Of this library, from `pretrained.hooked`, or any module whose `layers` are given.
    ids
        The text, one id after another.
    layers
        Names of layers, or patterns such as ``"gpt_neox.layers.*"``; None for all layers of a model that
        names them.
    gradients
        Whether to measure the gradients of the loss at the layers too: see `gradients.blocks`, and
        `gradients.hooked_blocks` for modules, which must then return logits.
    streams
        Pieces of the text that are read side by side.
    steps
        Tokens of each stream that are read at once, and through which gradients flow back at most. Of
        context, a Transformer knows only these.

    Returns
    -------
    pandas.DataFrame
        One row per `side` (``target``: the word to predict; ``input``: the word just read), `layer` and
        `word`, its id, that occurs: the number of its `tokens`, and over them the mean χ (see `sparsity.chi`)
        of the layer, `activation`, and of its `gradient`, NaN without `gradients`. A vector of zeros has no χ
        and is left out of the mean.

    Raises
    ------
    ValueError
        If there are fewer than two tokens, an id is not in the vocabulary, or an activation is not finite;
        and as `pretrained.hooked` does.
    TypeError
        If `gradients` is set, and the model is neither a module nor of this library.
    gradients.GradientError
        If a gradient is not finite.
    """
    text, (observable, names) = activations.id_array(ids), pretrained.observable(model, layers)
    if len(text) < 2:
        raise ValueError(f"to predict a next word needs two tokens or more, got {len(text)}")
    examples, kinds = Examples.next_word(text), KINDS if gradients else KINDS[:1]
    sides = {"target": examples.targets, "input": examples.inputs}
    columns = [f"{kind} {name}" for kind in kinds for name in names]
    sums = {side: WordSums(observable.words, columns) for side in sides}
    for tokens, values in (_with_gradients if gradients else _without)(
        observable, examples, names, streams, steps
    ):
        for side, words in sides.items():
            sums[side].update(torch.from_numpy(words[tokens.numpy()].astype(np.int64)), values)
    tables = []
    for side, words in sides.items():
        counts, means = np.bincount(words, minlength=observable.words), sums[side].means()
        present = np.flatnonzero(counts)
        for name in names:
            table = pd.DataFrame({"side": side, "layer": name, "word": present, "tokens": counts[present]})
            for kind in KINDS:
                at = columns.index(f"{kind} {name}") if kind in kinds else None
                table[kind] = np.nan if at is None else means[present, at]
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _without(
    model: Observable, examples: Examples, names: Sequence[str], streams: int, steps: int
) -> Iterator[tuple[Int[Tensor, " tokens"], Float[Tensor, "tokens columns"]]]:
    """Yield the places of some tokens in the text, and χ of the layers there."""
    for block in activations.blocks(model, examples.inputs, layers=names, streams=streams, steps=steps):
        for name, rows in block.layers.items():
            if not rows.isfinite().all():
                raise ValueError(f"need finite activations, got others at {name}; measure another checkpoint")
        yield block.tokens, torch.stack([_chi(name, block.layers[name]).cpu() for name in names], 1)


def _with_gradients(
    model: Observable, examples: Examples, names: Sequence[str], streams: int, steps: int
) -> Iterator[tuple[Int[Tensor, " tokens"], Float[Tensor, "tokens columns"]]]:
    """Yield the same as `_without`, with χ of the gradients too."""
    if isinstance(model, RecurrentModel):
        blocks = gradients.blocks(model, examples, measure=_chi, streams=streams, steps_back=steps)
    elif isinstance(model, Hooked):
        blocks = gradients.hooked_blocks(model, examples, measure=_chi, streams=streams, steps_back=steps)
    else:
        raise TypeError(
            f"gradients need a module or a model of this library, got {type(model).__name__}; hook a module"
        )
    for block in blocks:
        parts = [part[name].cpu() for part in (block.activations, block.gradients) for name in names]
        yield block.tokens, torch.stack(parts, 1)


def _chi(layer: str, values: Float[Tensor, "tokens units"]) -> Float[Tensor, " tokens"]:
    return sparsity.chi(values)
