"""Hidden states of a model over text, streamed in blocks with one row per token.

Two models that read the same ids with the same layout give rows in the same order, so that block by block
they can be compared. Nothing grows with the length of the text.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from lmdynamics.models.observable import Observable
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.text.streams import padded_streams

STREAMS = 20
"""Pieces of a text that are read side by side, unless other many are asked for."""


class Block(NamedTuple):
    """The hidden states at some tokens."""

    tokens: Int[Tensor, " tokens"]
    """Index of each row's token in the text."""
    layers: dict[str, Float[Tensor, "tokens units"]]
    """Output of each layer by name, rows as in `tokens`."""


def blocks(
    model: Observable,
    ids: Int[np.ndarray, " tokens"],
    *,
    layers: Sequence[str] | None = None,
    streams: int = STREAMS,
    steps: int = 100,
) -> Iterator[Block]:
    """Run a model over text without dropout, block by block.

    Parameters
    ----------
    model
        Whose layers are wanted.
    ids
        The text, as the ids of the model's own vocabulary.
    layers
        Names of the layers to keep, such as ``["e", "h1"]``; None for all.
    streams
        Contiguous pieces into which the text is cut, read side by side. Each starts from a state of zero, so
        the first few tokens of each know less context than the others; 1 is exact and slow.
    steps
        Tokens of each stream per block: a block has up to ``streams * steps`` rows.

    Yields
    ------
    Block
        Every token of the text stands in exactly one block, after which its state was read.

    Raises
    ------
    ValueError
        If a layer is unknown, an id is not in the model's vocabulary, or there is no text.
    """
    wanted = model.layers if layers is None else tuple(layers)
    if unknown := set(wanted) - set(model.layers):
        raise ValueError(f"the model has layers {', '.join(model.layers)}, got {', '.join(sorted(unknown))}")
    if len(ids) == 0 or ids.min() < 0 or ids.max() >= model.words:
        found = f"{ids.min()} to {ids.max()}" if len(ids) else "none"
        raise ValueError(
            f"need ids from 0 to {model.words - 1}, got {found}; encode with the model's vocabulary"
        )
    streams = min(streams, len(ids))
    inputs = padded_streams(ids, streams, fill=0)
    index = padded_streams(np.arange(len(ids)), streams, fill=-1)
    state = None
    for words, tokens in zip(inputs.split(steps), index.split(steps), strict=True):
        with torch.inference_mode():
            outputs, state = model.read(words, state)
        at = tokens.flatten()
        real = at >= 0
        rows = {name: outputs[name].flatten(0, 1) for name in wanted}
        yield Block(at[real], {name: each[real.to(each.device)] for name, each in rows.items()})


def spread(
    ids: Int[np.ndarray, " tokens"], tokens: int | None, *, streams: int = STREAMS
) -> Int[np.ndarray, " chosen"]:
    """As many stretches of a text as `blocks` reads side by side, evenly spaced, of so many tokens in all.

    Parameters
    ----------
    ids
        The text.
    tokens
        How many to keep at most, rounded down to stretches of equal length; None for all.
    streams
        Number of stretches.

    Raises
    ------
    ValueError
        If there would be less than a token a stretch.
    """
    if tokens is None or tokens >= len(ids):
        return ids
    length, apart = tokens // streams, len(ids) // streams
    if length < 1:
        raise ValueError(f"{streams} stretches need {streams} tokens or more, got {tokens}")
    return np.concatenate([ids[start : start + length] for start in range(0, apart * streams, apart)])


def states(model: Observable, ids: Int[np.ndarray, " tokens"]) -> dict[str, Float[Tensor, "tokens units"]]:
    """All layers at every token of a text, in the order of the text: for texts that fit into memory.

    Raises what `blocks` raises.
    """
    found: dict[str, Tensor] = {}
    for block in blocks(model, ids):
        for name, rows in block.layers.items():
            found.setdefault(name, rows.new_empty(len(ids), rows.shape[1]))[block.tokens] = rows
    return found


def answers(model: RecurrentModel, ids: Int[np.ndarray, " tokens"]) -> Int64[np.ndarray, " tokens"]:
    """The class that a model finds most likely at each token of a text. Raises what `blocks` raises."""
    found = np.empty(len(ids), np.int64)
    top = model.layers[-1]
    for block in blocks(model, ids, layers=[top]):
        with torch.inference_mode():
            found[block.tokens] = model.decoder(block.layers[top]).argmax(1).cpu()
    return found
