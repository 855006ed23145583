"""The steps of equal models, stacked along an axis of models into one product each."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.together.steps import Pass, decoded, descend
from lmdynamics.models.training import TrainingSettings


class Stack:
    """The steps of models of one shape; those of each are the steps of `training.steps`.

    Each model has its own text, learning rate, clipping and dropout, so that none depends on the others but
    in rounding: products of stacks of another height can differ in their last bits.

    Parameters
    ----------
    models
        Equal but for their weights.
    settings
        Their training, equal but for learning rates and epochs.
    """

    def __init__(self, models: Sequence[RecurrentModel], settings: TrainingSettings) -> None:
        self._models, self._settings = models, settings
        first, device = models[0], models[0].device
        self.generators: Sequence[torch.Generator] = [torch.Generator(device) for _ in models]
        self.rates = torch.zeros(len(models), device=device)
        self.losses = torch.zeros(len(models), device=device, dtype=torch.float64)
        self._weights = {
            name: torch.zeros(len(models), *each.shape, device=device, requires_grad=True)
            for name, each in first.named_parameters()
        }
        self._homes: list[dict[str, Tensor]] = []
        units = first.settings.units
        self._states = torch.zeros(len(first.lstms), 2, len(models), settings.batch, units, device=device)
        self._rows = torch.arange(len(models), device=device)[:, None, None] * first.words

    @torch.no_grad()
    def begin(self, passes: Sequence[Pass]) -> None:
        """Take over the models' weights: for now those of each model are its part of the stack."""
        for at, model in enumerate(self._models):
            self._homes.append({name: each.data for name, each in model.named_parameters()})
            for name, each in model.named_parameters():
                self._weights[name][at].copy_(each)
                each.data = self._weights[name].detach()[at]

    def reset(self, passes: Sequence[Pass]) -> None:
        """Set the rates and seeds of the passes, and losses and states to zero."""
        for generator, each in zip(self.generators, passes, strict=True):
            generator.manual_seed(each.seed)
        self.rates.copy_(torch.tensor([each.rate for each in passes]))
        self.losses.zero_()
        self._states.zero_()

    def step(
        self, words: Int[Tensor, "models steps batch"], targets: Int[Tensor, "models steps batch"]
    ) -> None:
        """Take one step of every model."""
        hidden, states = self._forward(words)
        *below, weight, bias = self._weights.values()
        top = decoded(
            hidden.detach().flatten(1, 2),
            weight.detach(),
            bias.detach(),
            targets.flatten(1),
            bf16=self._settings.bf16,
        )
        gradients = torch.autograd.grad(hidden, below, top.hidden.view(hidden.shape))
        descend(
            list(self._weights.values()),
            [*gradients, top.weight, top.bias],
            rates=self.rates,
            clip=self._settings.clip,
        )
        self.losses += top.losses
        self._states.copy_(states)

    @torch.no_grad()
    def finish(self) -> None:
        """Give the weights back, in the memory that they had before."""
        for model, homes in zip(self._models, self._homes, strict=True):
            for name, each in model.named_parameters():
                each.data = homes[name].copy_(each.data)
        self._homes.clear()

    def _forward(
        self, words: Int[Tensor, "models steps batch"]
    ) -> tuple[Float[Tensor, "models steps batch units"], Float[Tensor, "layers 2 models batch units"]]:
        """Return what the decoders read, and the states after the last step."""
        weights, after = self._weights, []
        layer = nn.functional.embedding(words + self._rows, weights["embedding.weight"].flatten(0, 1))
        for at, state in enumerate(self._states):
            of_layer = {name: weights[f"lstms.{at}.{name}_l0"] for name in _LSTM}
            layer, state_after = self._layer(self._drop(layer), state, **of_layer)
            after.append(state_after)
        return self._drop(layer), torch.stack(after)

    def _layer(
        self,
        below: Float[Tensor, "models steps batch units"],
        state: Float[Tensor, "2 models batch units"],
        *,
        weight_ih: Float[Tensor, "models gates units"],
        weight_hh: Float[Tensor, "models gates units"],
        bias_ih: Float[Tensor, "models gates"],
        bias_hh: Float[Tensor, "models gates"],
    ) -> tuple[Float[Tensor, "models steps batch units"], Float[Tensor, "2 models batch units"]]:
        """Return the hidden states of one LSTM layer, and its state after the last step."""
        kind = torch.bfloat16 if self._settings.bf16 else below.dtype
        (hidden, cell), outputs = state, []
        gates = torch.bmm(below.flatten(1, 2).to(kind), weight_ih.to(kind).mT).to(below.dtype)
        gates = (gates + (bias_ih + bias_hh)[:, None]).unflatten(1, below.shape[1:3])
        recurrent = weight_hh.to(kind).mT
        for from_below in gates.transpose(0, 1).contiguous():
            from_before = torch.bmm(hidden.to(kind), recurrent).to(below.dtype)
            hidden, cell = _cell(from_below, from_before, cell)
            outputs.append(hidden)
        return torch.stack(outputs, 1), torch.stack([hidden.detach(), cell.detach()])

    def _drop(
        self, layer: Float[Tensor, "models steps batch units"]
    ) -> Float[Tensor, "models steps batch units"]:
        """Silence in each model the units that `RecurrentModel.drop` would."""
        keep = 1 - self._models[0].settings.dropout
        if keep == 1:
            return layer
        size = layer[0].numel()
        draws = torch.empty(len(layer), -(-size // 4), dtype=torch.int64, device=layer.device)
        for row, generator in zip(draws, self.generators, strict=True):
            row.random_(-(2**63), None, generator=generator)
        lots = draws.view(torch.int16)[:, :size].reshape(layer.shape)
        below = min(round(keep * 2**16), 2**16 - 1) - 2**15
        return layer * (lots < below).to(layer.dtype).div_(keep)


_LSTM = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _cell(
    from_below: Float[Tensor, "models batch gates"],
    from_before: Float[Tensor, "models batch gates"],
    cell: Float[Tensor, "models batch units"],
) -> tuple[Float[Tensor, "models batch units"], Float[Tensor, "models batch units"]]:
    """Return hidden state and cell after one token; a GPU has this as one kernel."""
    if cell.is_cuda:
        rows = (each.flatten(0, 1) for each in (from_below, from_before, cell))
        hidden, after, _ = torch.ops.aten._thnn_fused_lstm_cell(*rows)
        return hidden.view_as(cell), after.view_as(cell)
    i, f, g, o = (from_below + from_before).chunk(4, -1)
    after = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * after.tanh(), after
