"""The steps of one model, with the device's own LSTM."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.together.steps import Pass, decoded, descend
from lmdynamics.models.training import TrainingSettings


class Single:
    """The steps of one model; the numbers are those of `training.steps`, and no step waits for the device.

    Parameters
    ----------
    models
        The one model.
    settings
        Its training.
    """

    def __init__(self, models: Sequence[RecurrentModel], settings: TrainingSettings) -> None:
        (self._model,) = models
        self._settings, device = settings, self._model.device
        self.generators: Sequence[torch.Generator] = (torch.Generator(device),)
        self.rates = torch.zeros(1, device=device)
        self.losses = torch.zeros(1, device=device, dtype=torch.float64)
        shape = (len(self._model.lstms), 2, 1, settings.batch, self._model.settings.units)
        self._states = torch.zeros(shape, device=device)
        decoder = self._model.decoder
        self._below = [self._model.embedding.weight, *self._model.lstms.parameters()]
        self._weights = [each.detach()[None] for each in (*self._below, decoder.weight, decoder.bias)]

    def begin(self, passes: Sequence[Pass]) -> None:
        """Take over the model's weights: they stay where they are."""

    def reset(self, passes: Sequence[Pass]) -> None:
        """Set the rate and seed of the pass, and loss and states to zero."""
        ((each,), (generator,)) = passes, self.generators
        generator.manual_seed(each.seed)
        self.rates.fill_(each.rate)
        self.losses.zero_()
        self._states.zero_()

    def step(self, words: Int[Tensor, "1 steps batch"], targets: Int[Tensor, "1 steps batch"]) -> None:
        """Take one step."""
        hidden, states = self._forward(words[0])
        *_, weight, bias = self._weights
        top = decoded(
            hidden.detach().float().flatten(0, 1)[None],
            weight,
            bias,
            targets.flatten(1),
            bf16=self._settings.bf16,
        )
        below = torch.autograd.grad(hidden, self._below, top.hidden.view(hidden.shape).to(hidden.dtype))
        gradients = [*(each[None] for each in below), top.weight, top.bias]
        descend(self._weights, gradients, rates=self.rates, clip=self._settings.clip)
        self.losses += top.losses
        self._states.copy_(states)

    def finish(self) -> None:
        """Give the weights back: they never left."""

    def _forward(
        self, words: Int[Tensor, "steps batch"]
    ) -> tuple[Float[Tensor, "steps batch units"], Float[Tensor, "layers 2 1 batch units"]]:
        """Return what the decoder reads, and the states after the last step."""
        model, (generator,), after = self._model, self.generators, []
        precision = torch.autocast(
            model.device.type, torch.bfloat16, enabled=self._settings.bf16, cache_enabled=False
        )
        with precision:
            layer = nn.functional.embedding(words, model.embedding.weight)  # its gradient is dense
            for lstm, (hidden, cell) in zip(model.lstms, self._states, strict=True):
                layer, state = lstm(model.drop(layer, generator), (hidden, cell))
                after.append(torch.stack([each.detach() for each in state]))
            return model.drop(layer, generator), torch.stack(after)
