"""Cross-entropy of a linear decoder that never holds the logits of all tokens at once.

For a batch of 1,400 tokens and 33,000 words the logits and their gradient fill 370 MB, and moving them costs
more than computing them. Tokens are therefore taken in slices: the logits of one slice are computed into a
buffer that is used again and again, turned into their gradient in place, and multiplied away. The products do
on their way what would take passes of its own over the logits: the bias is one more column of the weights,
met by one more unit that is always 1, and a column of ones sums up the exponentials of each token. Losses are
in nats (natural logarithm). A target of -1 marks a position that does not count, save where one trains.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

IGNORED = -1
"""Target of a position that does not count."""
_CPU_LOGITS = 4_000_000  # held at once, so that they stay near the processor
_CUDA_LOGITS = 256_000_000
_TOKENS = 350  # at once at least: fewer multiply slowly
_LARGEST = 1e20  # sum of exponentials that float32 holds without loss, as it does its reciprocal
_COLUMNS = 16  # the weights' columns are filled up with zeros to a multiple: products of whole cache lines


class Loss(NamedTuple):
    """The summed loss of a batch and the gradient of its mean."""

    total: Float[Tensor, ""]
    """Sum over the tokens, in nats."""
    gradient: Float[Tensor, "tokens units"]
    """Of the mean over the tokens, at the decoder's input."""


class LogitMeasures(NamedTuple):
    """Measures of each token's logits and of the loss's gradient at them, and the gradient below them."""

    logits: Float[Tensor, "tokens *measures"]
    """Of the logits."""
    gradients: Float[Tensor, "tokens *measures"]
    """Of the gradient of the summed loss at the logits."""
    hidden_gradient: Float[Tensor, "tokens units"]
    """The gradient of the summed loss at the decoder's input."""


class CrossEntropy:
    """Softmax and cross-entropy after an `nn.Linear` decoder.

    Parameters
    ----------
    decoder
        Maps units to the logits of each class.
    bf16
        Multiply in bfloat16, and where one trains keep the exponentials in it too; all sums stay in the
        decoder's own precision.

    Raises
    ------
    ValueError
        If the decoder has no bias; by its methods: if there are no tokens, or not a target for each.
    """

    def __init__(self, decoder: nn.Linear, *, bf16: bool = False) -> None:
        if decoder.bias is None:
            raise ValueError("the decoder needs a bias, got none; make it with bias=True")
        self.decoder = decoder
        self.bf16 = bf16
        self._bias, self._ones = decoder.in_features, decoder.in_features + 1  # columns
        columns = -(-(decoder.in_features + 2) // _COLUMNS) * _COLUMNS
        self._weight = decoder.weight.new_zeros(decoder.out_features, columns)
        self._weight[:, self._ones] = 1
        self._gradient = torch.empty_like(self._weight)
        self._buffer = decoder.weight.new_empty(0)

    @torch.no_grad()
    def total(
        self, hidden: Float[Tensor, "tokens units"], targets: Int[Tensor, " tokens"]
    ) -> Float[Tensor, ""]:
        """Return the loss summed over the tokens that count, in nats."""
        total = hidden.new_zeros((), dtype=torch.float64)
        inputs, weight = self._inputs_and_weight(hidden, targets)
        for rows in self._slices(len(hidden)):
            logits, row_targets = self._logits(inputs[rows], weight), targets[rows]
            at_target = logits.gather(1, row_targets.clamp(min=0)[:, None])[:, 0]
            losses = logits.logsumexp(1) - at_target
            total += losses[row_targets != IGNORED].sum(dtype=torch.float64)
        return total

    @torch.no_grad()
    def backward(self, hidden: Float[Tensor, "tokens units"], targets: Int[Tensor, " tokens"]) -> Loss:
        """Return the summed loss and the gradient of its mean at the decoder's input.

        The gradient at the decoder's own parameters replaces what stood in their `.grad`; the next call uses
        its memory again. Every token counts here, since training has no padding.
        """
        total = hidden.new_zeros((), dtype=torch.float64)
        inputs, weight = self._inputs_and_weight(hidden, targets)
        gradient = torch.empty_like(inputs)
        for rows in self._slices(len(hidden)):
            row_targets = targets[rows, None]
            odds, sums, at_target = self._odds(inputs[rows], weight, row_targets, gradient[rows])
            shares = sums * len(hidden)  # of the mean
            # less their sum at the target, the exponentials are the gradient times their sum
            if self.bf16:
                excess = odds.scatter_(1, row_targets, (odds.gather(1, row_targets) - sums).bfloat16())
                torch.mm(excess, weight, out=gradient[rows]).div_(shares)
                earlier = self._gradient if rows.start else 0
                torch.add(excess.T @ (inputs[rows] / shares).bfloat16(), earlier, out=self._gradient)
            else:
                gradient[rows].div_(shares).sub_(weight[targets[rows]], alpha=1 / len(hidden))
                excess = odds.scatter_add_(1, row_targets, -sums)
                self._gradient.addmm_(excess.T, inputs[rows] / shares, beta=int(rows.start > 0))
            total += (sums.log() - at_target.to(sums)).sum(dtype=torch.float64)
        self.decoder.weight.grad = self._gradient[:, : self._bias]
        self.decoder.bias.grad = self._gradient[:, self._bias]
        return Loss(total, gradient[:, : self._bias].to(hidden))

    @torch.no_grad()
    def measures(
        self,
        hidden: Float[Tensor, "tokens units"],
        targets: Int[Tensor, " tokens"],
        measure: Callable[[Tensor], Tensor],
    ) -> LogitMeasures:
        """Return a measure of each token's logits and of the gradient of the *summed* loss at them.

        Parameters
        ----------
        hidden
            Input of the decoder.
        targets
            Class of each token; the gradient at tokens that do not count is zero.
        measure
            Takes rows of logits and returns one row for each, which must not share their memory.
        """
        logit_measures, gradient_measures, gradient = [], [], torch.empty_like(hidden)
        inputs, weight = self._inputs_and_weight(hidden, targets)
        for rows in self._slices(len(hidden)):
            logits, row_targets = self._logits(inputs[rows], weight), targets[rows, None]
            logit_measures.append(measure(logits))
            excess = torch.softmax(logits, 1, out=logits)
            excess.scatter_add_(
                1, row_targets.clamp(min=0), -torch.ones_like(row_targets, dtype=logits.dtype)
            )
            excess[row_targets[:, 0] == IGNORED] = 0
            gradient_measures.append(measure(excess))
            gradient[rows] = excess @ self.decoder.weight
        return LogitMeasures(torch.cat(logit_measures), torch.cat(gradient_measures), gradient)

    def _inputs_and_weight(
        self, hidden: Float[Tensor, "tokens units"], targets: Int[Tensor, " tokens"]
    ) -> tuple[Float[Tensor, "tokens columns"], Float[Tensor, "classes columns"]]:
        """Return the inputs with a unit that is 1, and the weights with the bias and a column of ones."""
        if not len(hidden) == len(targets) > 0:
            raise ValueError(
                f"need at least one token and a target for each, got {len(targets)} targets for {len(hidden)}"
            )
        self._weight[:, : self._bias], self._weight[:, self._bias] = self.decoder.weight, self.decoder.bias
        inputs = hidden.new_zeros(len(hidden), self._weight.shape[1])
        inputs[:, : self._bias], inputs[:, self._bias] = hidden, 1
        if self.bf16:
            return inputs.bfloat16(), self._weight.bfloat16()
        return inputs, self._weight

    def _logits(
        self, inputs: Float[Tensor, "rows columns"], weight: Float[Tensor, "classes columns"]
    ) -> Float[Tensor, "rows classes"]:
        if self.bf16:
            return (inputs @ weight.T).to(self._weight)
        size = len(inputs) * len(weight)
        if self._buffer.numel() < size:
            with torch.inference_mode(False):  # to be written to in any mode
                self._buffer = weight.new_empty(size)
        return torch.mm(inputs, weight.T, out=self._buffer[:size].view(len(inputs), -1))

    def _odds(
        self,
        inputs: Float[Tensor, "rows columns"],
        weight: Float[Tensor, "classes columns"],
        row_targets: Int[Tensor, "rows 1"],
        product: Float[Tensor, "rows columns"],
        *,
        shift: bool = False,
    ) -> tuple[Float[Tensor, "rows classes"], Float[Tensor, "rows 1"], Float[Tensor, "rows 1"]]:
        """Return the exponentials of the logits, their sums, and the logit at each target.

        The exponentials times the weights are left in `product`, unless multiplying in bfloat16. With
        `shift`, the largest logit of each row is taken from all of them, as must be where the sums leave the
        range.
        """
        logits = inputs @ weight.T if self.bf16 else self._logits(inputs, weight)
        if shift:
            logits -= logits.amax(1, keepdim=True)
        at_target = logits.gather(1, row_targets)
        odds = logits.exp_()  # in bfloat16 too: passes over float32 would take longer than the products
        if self.bf16:  # too rough to sum up in a product
            sums = odds.sum(1, keepdim=True, dtype=self._weight.dtype)
        else:
            sums = torch.mm(odds, weight, out=product)[:, self._ones, None].clone()
        if shift or ((sums > 1 / _LARGEST) & (sums < _LARGEST)).all():
            return odds, sums, at_target
        return self._odds(inputs, weight, row_targets, product, shift=True)

    def _slices(self, tokens: int) -> Iterator[slice]:
        limit = _CUDA_LOGITS if self._weight.is_cuda else _CPU_LOGITS
        slices = -(-tokens // max(_TOKENS, limit // len(self._weight)))
        size = -(-tokens // max(1, slices))  # all alike
        return (slice(start, min(start + size, tokens)) for start in range(0, tokens, max(1, size)))
