"""Cross-entropy of a linear decoder, without ever holding the logits of all tokens at once.

For a batch of 1,400 tokens and 33,000 words the logits and their gradient fill 370 MB, and moving them costs
more than computing them. Tokens are therefore taken in slices: the logits of one slice are computed into a
buffer that is used again and again, turned into their gradient in place, and multiplied away. Losses are in
nats (natural logarithm). A target of -1 marks a position that does not count.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

IGNORED = -1
"""Target of a position that does not count."""
_CPU_LOGITS = 12_000_000  # held at once; fewer than its caches hold cost speed, more cost memory
_CUDA_LOGITS = 256_000_000


class Loss(NamedTuple):
    """Summed loss of a batch and the gradient of its mean."""

    total: Float[Tensor, ""]
    """Sum over the tokens, in nats."""
    gradient: Float[Tensor, "tokens units"]
    """Of the mean over the tokens, at the decoder's input."""


class Looked(NamedTuple):
    """What was measured of the logits of each token, and how its loss changes below them."""

    logits: Float[Tensor, "tokens *measures"]
    """Measured of the logits."""
    of_logits: Float[Tensor, "tokens *measures"]
    """Measured of the gradient of the summed loss at the logits."""
    of_hidden: Float[Tensor, "tokens units"]
    """The gradient of the summed loss at the decoder's input."""


class CrossEntropy:
    """Softmax and cross-entropy after an `nn.Linear` decoder.

    Parameters
    ----------
    decoder
        Maps units to the logits of each class.
    bf16
        Multiply in bfloat16; the softmax and all sums stay in the decoder's own precision.
    """

    def __init__(self, decoder: nn.Linear, *, bf16: bool = False) -> None:
        self.decoder = decoder
        self.bf16 = bf16
        self._buffer = decoder.weight.new_empty(0)

    @torch.no_grad()
    def total(
        self, hidden: Float[Tensor, "tokens units"], targets: Int[Tensor, " tokens"]
    ) -> Float[Tensor, ""]:
        """Return the loss summed over the tokens that count, in nats."""
        total = hidden.new_zeros((), dtype=torch.float64)
        for rows in self._slices(len(hidden)):
            logits, wanted = self._logits(hidden[rows]), targets[rows]
            at_target = logits.gather(1, wanted.clamp(min=0)[:, None])[:, 0]
            losses = logits.logsumexp(1) - at_target
            total += losses[wanted != IGNORED].sum(dtype=torch.float64)
        return total

    @torch.no_grad()
    def backward(self, hidden: Float[Tensor, "tokens units"], targets: Int[Tensor, " tokens"]) -> Loss:
        """Return the summed loss and the gradient of the mean; leave the decoder's own in its `.grad`.

        Every token counts here, since training has no padding. One token adds 87 nats at most, where its
        probability is the smallest that float32 can tell from 0. What stood in `.grad` is overwritten.
        """
        weight, bias = self.decoder.weight, self.decoder.bias
        weight_gradient, bias_gradient = (_cleared_gradient(each) for each in (weight, bias))
        total, gradient = hidden.new_zeros((), dtype=torch.float64), torch.empty_like(hidden)
        share = hidden / len(hidden)  # the mean's 1/N, on the smallest factor
        for rows in self._slices(len(hidden)):
            logits, wanted = self._logits(hidden[rows]), targets[rows, None]
            probability = torch.softmax(logits, 1, out=logits)
            smallest = torch.finfo(probability.dtype).tiny
            total -= probability.gather(1, wanted).clamp(min=smallest).log().sum(dtype=torch.float64)
            excess = probability.scatter_add_(1, wanted, -torch.ones_like(wanted, dtype=logits.dtype))
            bias_gradient += excess.sum(0) / len(hidden)
            if self.bf16:
                excess = excess.bfloat16()
                weight_gradient += excess.T @ share[rows].bfloat16()
                gradient[rows] = (excess @ weight.bfloat16()).to(gradient)
            else:
                weight_gradient.addmm_(excess.T, share[rows])
                torch.mm(excess, weight, out=gradient[rows])
        return Loss(total, gradient / len(hidden))

    @torch.no_grad()
    def look(
        self,
        hidden: Float[Tensor, "tokens units"],
        targets: Int[Tensor, " tokens"],
        measure: Callable[[Tensor], Tensor],
    ) -> Looked:
        """Measure the logits of each token and the gradient of the *summed* loss at them.

        Parameters
        ----------
        hidden
            Input of the decoder.
        targets
            Class of each token; the gradient at tokens that do not count is zero.
        measure
            Of rows of logits; what it returns, a row for each, must not share their memory.
        """
        logits_measured, gradients_measured, gradient = [], [], torch.empty_like(hidden)
        for rows in self._slices(len(hidden)):
            logits, wanted = self._logits(hidden[rows]), targets[rows, None]
            logits_measured.append(measure(logits))
            excess = torch.softmax(logits, 1, out=logits)
            excess.scatter_add_(1, wanted.clamp(min=0), -torch.ones_like(wanted, dtype=logits.dtype))
            excess[wanted[:, 0] == IGNORED] = 0
            gradients_measured.append(measure(excess))
            gradient[rows] = excess @ self.decoder.weight
        return Looked(torch.cat(logits_measured), torch.cat(gradients_measured), gradient)

    def _logits(self, hidden: Float[Tensor, "rows units"]) -> Float[Tensor, "rows classes"]:
        weight, bias = self.decoder.weight, self.decoder.bias
        if self.bf16:
            return (hidden.bfloat16() @ weight.bfloat16().T).to(bias).add_(bias)
        size = len(hidden) * len(weight)
        if self._buffer.numel() < size:
            self._buffer = weight.new_empty(size)
        return torch.addmm(bias, hidden, weight.T, out=self._buffer[:size].view(len(hidden), -1))

    def _slices(self, tokens: int) -> Iterator[slice]:
        weight = self.decoder.weight
        limit = _CUDA_LOGITS if weight.is_cuda else _CPU_LOGITS
        size = max(1, limit // len(weight))
        return (slice(start, min(start + size, tokens)) for start in range(0, tokens, size))


def _cleared_gradient(parameter: Tensor) -> Tensor:
    """The memory of a parameter's gradient, set to zero."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad.zero_()
