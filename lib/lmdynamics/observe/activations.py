"""Hidden states of a model over a text, in blocks with one row per token.

Two models that read the same ids with the same layout give rows in the same order, so that block by block
they can be compared. Nothing grows with the length of the text.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from lmdynamics.models import pretrained
from lmdynamics.models.observable import Observable
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.text.streams import padded_streams

STREAMS = 20
"""Pieces of a text that are read side by side, unless another number is given."""
STEPS = 100
"""Tokens of each stream per block, unless another number is given."""


class Block(NamedTuple):
    """The hidden states at some tokens."""

    tokens: Int[Tensor, " tokens"]
    """Index of each row's token in the text."""
    layers: dict[str, Float[Tensor, "tokens units"]]
    """Output of each layer by name, rows as in `tokens`."""


def observe(
    models: nn.Module | Observable | Sequence[nn.Module | Observable],
    ids: np.ndarray | Tensor,
    *,
    layers: str | Sequence[str] | None = None,
    streams: int = STREAMS,
    steps: int = STEPS,
) -> Iterator[tuple[Block, ...]]:
    """Yield the hidden states of one or several models over a text, block by block.

    Row i of a block is the same token in all models.

    Parameters
    ----------
    models
        One or more: of this library, from `pretrained.hooked`, or any modules whose `layers` are given.
    ids
        The text, one id after another; of a vocabulary that the models share.
    layers
        Names of layers that all models have, or patterns such as ``"gpt_neox.layers.*"``; None for all layers
        of models that say which they have.
    streams, steps
        How the text is laid out: see `blocks`.

    Yields
    ------
    tuple of Block
        One of each model, in their order, on the device of the model.

    Raises
    ------
    ValueError
        As `blocks` and `pretrained.hooked` do; or if there is no model, or ids are not integers in a row.
    """
    several = [models] if isinstance(models, nn.Module | Observable) else models
    if not several:
        raise ValueError("need one model or more to observe, got none")
    text, sides = id_array(ids), [pretrained.observable(model, layers) for model in several]
    yield from zip(
        *(blocks(model, text, layers=names, streams=streams, steps=steps) for model, names in sides),
        strict=True,
    )


def id_array(ids: np.ndarray | Tensor) -> Int[np.ndarray, " tokens"]:
    """Return word ids as an array.

    Raises
    ------
    ValueError
        If they are not integers in a row.
    """
    array = ids.numpy(force=True) if isinstance(ids, Tensor) else np.asarray(ids)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"a text needs integer ids in one row, got shape {array.shape} of {array.dtype}; take one text "
            "of those that a tokenizer returns"
        )
    return array


def blocks(
    model: Observable,
    ids: Int[np.ndarray, " tokens"],
    *,
    layers: Sequence[str] | None = None,
    streams: int = STREAMS,
    steps: int = STEPS,
) -> Iterator[Block]:
    """Yield the hidden states of a model over a text without dropout, block by block.

    Parameters
    ----------
    model
        The model to observe.
    ids
        The text, as the ids of the model's own vocabulary.
    layers
        Names of the layers to keep, such as ``["e", "h1"]``; None for all.
    streams
        Contiguous pieces into which the text is cut, read side by side. Each starts from a state of zero, so
        the first few tokens of each know less context than the others; 1 is exact and slow.
    steps
        Tokens of each stream per block: a block has up to ``streams * steps`` rows. A model that hands on no
        state, such as a Transformer, knows no context before these. One that looks ahead also sees the words
        0 that fill up the last streams.

    Yields
    ------
    Block
        Every token of the text stands in exactly one block, after which its state was read.

    Raises
    ------
    ValueError
        If a layer is unknown, ids are not integers in a row, one is not in the model's vocabulary, or there
        is no text.
    """
    names, ids = model.layers if layers is None else tuple(layers), id_array(ids)
    if unknown := set(names) - set(model.layers):
        raise ValueError(f"the model has layers {', '.join(model.layers)}, got {', '.join(sorted(unknown))}")
    if len(ids) == 0 or ids.min() < 0 or ids.max() >= model.words:
        id_range = f"{ids.min()} to {ids.max()}" if len(ids) else "none"
        raise ValueError(
            f"need ids from 0 to {model.words - 1}, got {id_range}; encode with the model's vocabulary"
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
        rows = {name: outputs[name].flatten(0, 1) for name in names}
        yield Block(at[real], {name: each[real.to(each.device)] for name, each in rows.items()})


def spread(
    ids: Int[np.ndarray, " tokens"], tokens: int | None, *, streams: int = STREAMS
) -> Int[np.ndarray, " chosen"]:
    """Return evenly spaced stretches of a text, at most so many tokens in all.

    Parameters
    ----------
    ids
        The text.
    tokens
        How many to keep at most, rounded down to stretches of equal length; None for all.
    streams
        Number of stretches: as many as `blocks` reads side by side.

    Raises
    ------
    ValueError
        If there would be less than a token a stretch.
    """
    if tokens is None or tokens >= len(ids):
        return ids
    length, apart = tokens // streams, len(ids) // streams
    if length < 1:
        raise ValueError(f"{streams} stretches need {streams} tokens or more, got {tokens}; keep more tokens")
    return np.concatenate([ids[start : start + length] for start in range(0, apart * streams, apart)])


def states(model: Observable, ids: Int[np.ndarray, " tokens"]) -> dict[str, Float[Tensor, "tokens units"]]:
    """Return all layers at every token of a text that fits into memory, in the order of the text.

    Raises what `blocks` raises.
    """
    layers: dict[str, Tensor] = {}
    for block in blocks(model, ids):
        for name, rows in block.layers.items():
            layers.setdefault(name, rows.new_empty(len(ids), rows.shape[1]))[block.tokens] = rows
    return layers


def answers(model: RecurrentModel, ids: Int[np.ndarray, " tokens"]) -> Int64[np.ndarray, " tokens"]:
    """Return the most likely class at each token of a text.

    Raises
    ------
    ValueError
        As `blocks` does; or if there is a token at which no class is most likely, for a logit is NaN.
    """
    classes = np.empty(len(ids), np.int64)
    top = model.layers[-1]
    for block in blocks(model, ids, layers=[top]):
        with torch.inference_mode():
            logits = model.decoder(block.layers[top])
            if logits.isnan().any():
                raise ValueError(
                    "need logits to compare, got NaN; train with a smaller learning rate or clip"
                )
            classes[block.tokens] = logits.argmax(1).cpu()
    return classes
