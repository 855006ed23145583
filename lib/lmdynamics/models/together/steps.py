"""The parts that all ways of training at once share: decoder and descent along an axis of models.

They are those of `losses` and `training` without a moment at which the host waits for the device: all shapes
are known beforehand, rates and losses stay on the device, and the gradient of the embedding is dense.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.training import TrainingSettings
from lmdynamics.text.streams import Examples


class Pass(NamedTuple):
    """One pass of one model over the examples that it learns from."""

    model: RecurrentModel
    examples: Examples
    settings: TrainingSettings
    seed: int
    """Of the units that dropout silences in this pass."""
    rate: float
    """Learning rate."""
    after_step: Callable[[int], None]
    """Called after each step with its number of tokens; may read the weights."""


@runtime_checkable
class Steps(Protocol):
    """The steps of optimisation of some models that move together."""

    rates: Float[Tensor, " models"]
    """Learning rate of each model, on the device."""
    losses: Float[Tensor, " models"]
    """Loss of each model in nats, summed over all tokens since `reset`, on the device."""
    generators: Sequence[torch.Generator]
    """Sources of all randomness."""

    def begin(self, passes: Sequence[Pass]) -> None:
        """Take over the models' weights; `reset` follows before the first step."""

    def reset(self, passes: Sequence[Pass]) -> None:
        """Set the rates and seeds of the passes, and losses and states to zero."""

    def step(
        self, words: Int[Tensor, "models steps batch"], targets: Int[Tensor, "models steps batch"]
    ) -> None:
        """Take one step; the models hold the new weights, and nothing waits for the device."""

    def finish(self) -> None:
        """Give the weights back, in the memory that they had before."""


class Decoded(NamedTuple):
    """The loss of each model, and the gradients of its mean over the tokens."""

    losses: Float[Tensor, " models"]
    """Summed over the tokens, in nats."""
    hidden: Float[Tensor, "models tokens units"]
    weight: Float[Tensor, "models classes units"]
    bias: Float[Tensor, "models classes"]


@torch.no_grad()
def decoded(
    hidden: Float[Tensor, "models tokens units"],
    weight: Float[Tensor, "models classes units"],
    bias: Float[Tensor, "models classes"],
    targets: Int[Tensor, "models tokens"],
    *,
    bf16: bool = False,
) -> Decoded:
    """Return the cross-entropy of linear decoders and its gradients; all logits are held at once.

    Parameters
    ----------
    hidden, weight, bias
        Input and parameters of each model's decoder.
    targets
        Class of each token; every token counts.
    bf16
        Multiply in bfloat16.
    """
    kind = torch.bfloat16 if bf16 else weight.dtype
    tokens, low = hidden.shape[1], weight.to(kind)
    logits = torch.baddbmm(bias.to(kind)[:, None], hidden.to(kind), low.mT)
    logs = logits.log_softmax(-1, dtype=weight.dtype)
    losses = -logs.gather(-1, targets[..., None]).sum((1, 2), dtype=torch.float64)
    excess = logs.exp_()  # less 1 at the target: the gradient of each token's loss
    excess.scatter_add_(-1, targets[..., None], excess.new_full((), -1).expand(*targets.shape, 1))
    excess = excess.to(kind)
    return Decoded(
        losses,
        torch.bmm(excess, low).to(hidden.dtype).div_(tokens),
        torch.bmm(excess.mT, (hidden / tokens).to(kind)).to(weight.dtype),
        excess.sum(1, dtype=bias.dtype).div_(tokens),
    )


@torch.no_grad()
def descend(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    *,
    rates: Float[Tensor, " models"],
    clip: float,
) -> None:
    """Take one step of SGD on the gradient of each model, the norm of its whole gradient clipped.

    Parameters
    ----------
    weights, gradients
        One tensor for each parameter; models along the first axis.
    rates
        Learning rate of each model.
    clip
        Largest norm.
    """
    rows = (each.reshape(len(each), -1, each.shape[-1]) for each in gradients)
    norms = torch.stack([each.norm(dim=-1).norm(dim=-1) for each in rows]).norm(dim=0)
    factors = -rates * (clip / (norms + 1e-6)).clamp(max=1)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.addcmul_(gradient, factors.view(-1, *[1] * (weight.dim() - 1)))
