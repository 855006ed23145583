"""Examples for a model, and streams of text that are read in parallel."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


class Examples(NamedTuple):
    """Word ids and the class to predict at each word, in reading order."""

    inputs: Int[np.ndarray, " tokens"]
    targets: Int[np.ndarray, " tokens"]

    @classmethod
    def next_word(cls, ids: Int[np.ndarray, " tokens"]) -> "Examples":
        """Return each word as an input, with the next word as its target."""
        return cls(ids[:-1], ids[1:])


class Parts(NamedTuple):
    """The examples to learn from, to set the learning rate by, and to report."""

    train: Examples
    dev: Examples
    test: Examples | None = None  # None where a loss after each epoch is not worth its time


def streams(
    ids: Int[np.ndarray, " tokens"], batch: int, device: torch.device | str = "cpu"
) -> Int[Tensor, "steps batch"]:
    """Split a sequence into equal contiguous streams, side by side; a rest shorter than `batch` is left out.

    Raises
    ------
    ValueError
        If there are fewer tokens than streams, or they are not integers in a row.
    """
    _check(ids)
    steps = len(ids) // batch
    if not steps:
        raise ValueError(
            f"a batch of {batch} streams needs at least {batch} tokens, got {len(ids)}; use more text"
        )
    tokens = torch.from_numpy(ids[: steps * batch].astype(np.int64))
    return tokens.view(batch, steps).T.contiguous().to(device)


def padded_streams(ids: Int[np.ndarray, " tokens"], batch: int, *, fill: int) -> Int[Tensor, "steps batch"]:
    """Split a sequence with all its tokens into contiguous streams; `fill` completes the last ones."""
    _check(ids)
    steps = -(-len(ids) // batch)
    # signed, since `fill` may be below 0
    padded = np.pad(ids.astype(np.int64), (0, steps * batch - len(ids)), constant_values=fill)
    return streams(padded, batch)


def _check(ids: np.ndarray) -> None:
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"streams are of integers in one row, got shape {ids.shape} of {ids.dtype}")
