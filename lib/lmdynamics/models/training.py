"""Training of a model by truncated backpropagation through a text, epoch by epoch.

Text is read in order. It is cut into as many contiguous streams as the batch has rows; each step of
optimisation reads the next few tokens of every stream and starts from the state where the step before ended,
without its gradient. Plain stochastic gradient descent on the mean loss of the batch, the norm of the whole
gradient clipped, the learning rate quartered after each epoch whose dev loss fails to improve on the best
(thesis chapter 4, section 3). All randomness comes from the seed and the number of the epoch, so that an
epoch can be run again from the weights before it, to the same bit.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmdynamics.models.losses import IGNORED, CrossEntropy
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.text.streams import Examples, Parts, padded_streams, streams


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The settings of training. Defaults are those of the thesis (chapter 4, section 3, unless noted)."""

    epochs: int = 50  # passes over the training part
    batch: int = 40  # streams read side by side
    steps_back: int = 35  # tokens through which the gradient flows back
    learning_rate: float = 20.0  # of plain SGD; chapter 6, section 2
    decay: float = 4.0  # divides the learning rate when dev loss fails to improve
    clip: float = 0.25  # largest norm of the whole gradient
    bf16: bool = False  # multiply in bfloat16; not in the thesis

    def __post_init__(self) -> None:
        """Raise ValueError for values with which nothing can be learnt."""
        for name, least in (("epochs", 0), ("batch", 1), ("steps_back", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is at least {least}, got {getattr(self, name)}")
        for name in ("learning_rate", "decay", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is positive, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The losses (in nats per token) and learning rate of an epoch; epoch 0 is the untrained model."""

    epoch: int
    steps: int  # of optimisation, since the beginning
    learning_rate: float  # in this epoch
    train_loss: float | None  # mean over the epoch, dropout on; None for epoch 0
    dev_loss: float
    test_loss: float | None  # None without test examples
    seconds: float  # training alone
    rescaled: bool  # whether the learning rate is quartered after it


class TrainingError(RuntimeError):
    """Training cannot go on."""


def epochs(
    model: RecurrentModel,
    parts: Parts,
    settings: TrainingSettings,
    *,
    seed: int,
    past: Sequence[Epoch] = (),
    progress: Callable[[int], None] = lambda tokens: None,
    after_step: Callable[[int], None] = lambda steps: None,
) -> Iterator[Epoch]:
    """Train the model in place and yield each epoch, without an end.

    Parameters
    ----------
    model
        Untrained, or as the last epoch in `past` left it.
    parts
        What to learn from.
    settings
        How; the number of epochs in it is the caller's to heed.
    seed
        Of the units that dropout silences.
    past
        Epochs that were run before.
    progress
        Called with the number of tokens trained on since the last call.
    after_step
        Called after each step with the number of steps since the beginning; may read the model.

    Yields
    ------
    Epoch
        After each epoch, the untrained epoch 0 first.

    Raises
    ------
    TrainingError
        If the loss is no longer finite. The model is then of no use.
    ValueError
        If the training part has fewer tokens than the batch has streams.
    """
    past = list(past)
    while True:
        number = len(past)
        rate = _next_rate(past, settings)
        start, loss = time.perf_counter(), None
        if number:
            loss = _train_epoch(
                steps(model, parts.train, settings, seed=seed, epoch=number, rate=rate),
                before=(number - 1) * steps_per_epoch(parts.train, settings),
                progress=progress,
                after_step=after_step,
            )
        seconds = time.perf_counter() - start
        dev = mean_loss(model, parts.dev, bf16=settings.bf16)
        test = mean_loss(model, parts.test, bf16=settings.bf16) if parts.test else None
        for name, value in (("train", loss), ("dev", dev), ("test", test)):
            if value is not None and not math.isfinite(value):
                raise TrainingError(
                    f"the {name} loss of epoch {number} is {value} at learning rate {rate:g}; "
                    "the epochs before it are kept: use a smaller learning rate or clip"
                )
        best = min((epoch.dev_loss for epoch in past), default=math.inf)
        past.append(
            Epoch(
                epoch=number,
                steps=number * steps_per_epoch(parts.train, settings),
                learning_rate=rate,
                train_loss=loss,
                dev_loss=dev,
                test_loss=test,
                seconds=seconds,
                rescaled=dev >= best,
            )
        )
        yield past[-1]


def steps_per_epoch(examples: Examples, settings: TrainingSettings) -> int:
    """Return the number of steps of optimisation in an epoch."""
    return math.ceil(len(examples.inputs) // settings.batch / settings.steps_back)


class Step(NamedTuple):
    """The loss and the number of tokens of one step of optimisation."""

    loss: Float[Tensor, ""]
    """Summed over its tokens, in nats, dropout on, before the step."""
    tokens: int


def steps(
    model: RecurrentModel,
    examples: Examples,
    settings: TrainingSettings,
    *,
    seed: int,
    epoch: int,
    rate: float,
) -> Iterator[Step]:
    """Train the model in place for one epoch and yield each step.

    Parameters
    ----------
    model
        As the epoch before left it.
    examples
        What to learn from.
    settings
        How; its learning rate is that of the first epoch alone, and not heeded here.
    seed
        Of the whole training.
    epoch
        Which epoch this is, from 1: with the seed it decides which units dropout silences.
    rate
        Learning rate of this epoch.

    Yields
    ------
    Step
        After each step of optimisation.
    """
    inputs, targets = (streams(column, settings.batch, model.device) for column in examples)
    head, top, state = CrossEntropy(model.decoder, bf16=settings.bf16), model.layers[-1], None
    _keep_freed_memory()
    dropout = torch.Generator(model.device).manual_seed(_epoch_seed(seed, epoch))
    for words, step_targets in zip(
        inputs.split(settings.steps_back), targets.split(settings.steps_back), strict=True
    ):
        with _precision(model.device, settings.bf16):
            layers, state_after = model(words, state, dropout=dropout)
            hidden = model.drop(layers[top], dropout).flatten(0, 1)
        # the decoder's part of the backward pass is done by hand; autograd goes on below it
        loss = head.backward(hidden.detach().float(), step_targets.flatten())
        model.embedding.zero_grad()
        model.lstms.zero_grad()
        if hidden.requires_grad:  # unless all below the decoder is frozen
            hidden.backward(loss.gradient.to(hidden.dtype))
        _descend(list(model.parameters()), rate=rate, clip=settings.clip)
        state = [(h.detach(), c.detach()) for h, c in state_after]
        yield Step(loss.total, words.numel())


def mean_loss(model: RecurrentModel, examples: Examples, *, batch: int = 20, bf16: bool = False) -> float:
    """Return the mean loss in nats per token; every token counts once.

    Parameters
    ----------
    model
        Run without dropout.
    examples
        Cut into `batch` contiguous streams, each read from a state of zero.
    batch
        Streams read side by side.
    bf16
        Multiply in bfloat16.

    Returns
    -------
    float
        At least 0; log(classes) for uniform guesses. Perplexity is its exponential.

    Raises
    ------
    ValueError
        If there is not a target for each input.
    """
    if len(examples.inputs) != len(examples.targets):
        raise ValueError(
            f"need a target for each input, got {len(examples.targets)} for {len(examples.inputs)}; "
            "`Examples.next_word` cuts a text into both"
        )
    inputs = padded_streams(examples.inputs, batch, fill=0).to(model.device)
    targets = padded_streams(examples.targets, batch, fill=IGNORED).to(model.device)
    head, state, total = CrossEntropy(model.decoder, bf16=bf16), None, 0.0
    with torch.inference_mode(), _precision(model.device, bf16):
        for piece, piece_targets in zip(inputs.split(100), targets.split(100), strict=True):
            layers, state = model(piece, state)
            top = layers[model.layers[-1]].float()
            total += head.total(top.flatten(0, 1), piece_targets.flatten()).item()
    return total / len(examples.targets)


def _train_epoch(
    steps: Iterator[Step], *, before: int, progress: Callable[[int], None], after_step: Callable[[int], None]
) -> float:
    """Take the steps of an epoch and return the mean loss in nats per token."""
    losses, tokens = [], 0
    for number, step in enumerate(steps, start=before + 1):
        losses.append(step.loss)
        tokens += step.tokens
        progress(step.tokens)
        after_step(number)
    return torch.stack(losses).sum().item() / tokens


@torch.no_grad()
def _descend(parameters: list[nn.Parameter], *, rate: float, clip: float) -> None:
    """Take one step of SGD on the clipped gradient; the gradient of the embedding is sparse.

    Frozen parameters, which do not require a gradient, stay as they are.
    """
    moving = [(p, p.grad) for p in parameters if p.requires_grad and p.grad is not None]
    gradients = [gradient.coalesce() if gradient.is_sparse else gradient for _, gradient in moving]
    # row by row: several times faster and more exact, since no sum runs over millions of numbers
    norms = [(g.values() if g.is_sparse else g).norm(dim=-1).norm() for g in gradients]
    scale = (clip / (torch.stack(norms).norm() + 1e-6)).clamp(max=1).item()
    for (parameter, _), gradient in zip(moving, gradients, strict=True):
        parameter.add_(gradient, alpha=-rate * scale)


def _keep_freed_memory() -> None:
    """Make the memory of one step available to the next.

    The C library of Linux returns large freed blocks to the system, and every page of the next one costs a
    fault, until it has once seen a block of up to 32 MiB freed: then it keeps twice as much.
    """
    torch.empty(30 * 2**20, dtype=torch.uint8)


def _next_rate(past: list[Epoch], settings: TrainingSettings) -> float:
    """Return the learning rate of the next epoch: divided once for each epoch that did not improve."""
    return settings.learning_rate / settings.decay ** sum(epoch.rescaled for epoch in past)


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def _precision(place: torch.device, bf16: bool) -> torch.autocast:
    return torch.autocast(place.type, dtype=torch.bfloat16, enabled=bf16)
