"""The recurrent model that every chapter observes: word -> e -> h1 -> ... -> logits.

A language model and a tagger are the same model; they differ in the classes that they choose among (words or
tags) and in the number of layers. Each layer is a module of its own, so that each can be observed: *e* is the
embedding, *h1* and *h2* the hidden states of the LSTM layers (thesis chapter 4, equations 1 to 4). Text runs
along the first axis: inputs are `(steps, batch)`, layers `(steps, batch, units)`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmdynamics.models.observable import Observed

State = tuple[Tensor, Tensor]
"""Hidden and cell state of one LSTM layer, each `(1, batch, units)`."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The shape of a model. Defaults are the thesis's language model."""

    layers: int = 2  # LSTM layers; chapter 4, section 2.1
    units: int = 200  # in the embedding and in each layer
    dropout: float = 0.2  # share of units silenced on the way into and out of each LSTM; chapter 4, section 3

    def __post_init__(self) -> None:
        """Refuse shapes that no model can have."""
        if self.layers < 1 or self.units < 1:
            raise ValueError(
                f"a model needs at least one layer and one unit, got {self.layers} and {self.units}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a share in [0, 1), got {self.dropout}")


class RecurrentModel(nn.Module):
    """Embedding, LSTM layers and a linear decoder to the logits of each class.

    Parameters
    ----------
    settings
        Its shape.
    words
        Size of the vocabulary that it reads.
    classes
        Number of classes that it chooses among: words for a language model, tags for a tagger.
    seed
        Of the initial weights: embedding and decoder uniform in ±0.1 with the decoder's bias at 0, LSTM
        layers uniform in ±1/sqrt(units). The thesis does not state its own.
    """

    def __init__(self, settings: ModelSettings, *, words: int, classes: int, seed: int) -> None:
        super().__init__()
        self.settings = settings
        # nn's own initial values draw from the global generator: leave the memory empty and fill it ourselves
        with torch.device("meta"):
            # sparse: a batch touches a thousand rows of an embedding of many
            self.embedding = nn.Embedding(words, settings.units, sparse=True)
            self.lstms = nn.ModuleList(
                nn.LSTM(settings.units, settings.units) for _ in range(settings.layers)
            )
            self.decoder = nn.Linear(settings.units, classes)
        self.to_empty(device="cpu")
        self._initialise(torch.Generator().manual_seed(seed))

    def _initialise(self, generator: torch.Generator) -> None:
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                bound = 1 / math.sqrt(self.settings.units) if name.startswith("lstms") else 0.1
                parameter.uniform_(-bound, bound, generator=generator)
            self.decoder.bias.zero_()

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers from the bottom: e, h1, h2, ..."""
        return ("e", *(f"h{n}" for n in range(1, self.settings.layers + 1)))

    @property
    def words(self) -> int:
        """Size of the vocabulary that it reads: ids are 0 to `words` - 1."""
        return self.embedding.num_embeddings

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return self.decoder.weight.device

    def forward(
        self,
        inputs: Int[Tensor, "steps batch"],
        state: list[State] | None = None,
        *,
        dropout: torch.Generator | None = None,
    ) -> Observed:
        """Run the model over some text.

        Parameters
        ----------
        inputs
            Word ids.
        state
            Where a pass before ended; None starts from zero.
        dropout
            Source of the units to silence; None silences none, as in every measurement.

        Returns
        -------
        Observed
            Output of each layer before dropout, and hidden and cell state by layer after the last step.
        """
        outputs = [self.embedding(inputs)]
        after: list[State] = []
        states_before: Sequence[State | None] = state or [None] * len(self.lstms)
        for lstm, before in zip(self.lstms, states_before, strict=True):
            output, state_after = lstm(self.drop(outputs[-1], dropout), before)
            outputs.append(output)
            after.append(state_after)
        return Observed(dict(zip(self.layers, outputs, strict=True)), after)

    def read(self, ids: Int[Tensor, "steps batch"], state: list[State] | None = None) -> Observed:
        """Run the model over some text without dropout; see `observable.Observable`."""
        return self(ids.to(self.device), state)

    def drop(
        self, layer: Float[Tensor, "*axes units"], generator: torch.Generator | None
    ) -> Float[Tensor, "*axes units"]:
        """Silence a random share of the units and scale up the rest; without a generator, change nothing.

        The share is exact to 1/65,536: each unit's lot is a random number of 16 bits.
        """
        keep = 1 - self.settings.dropout
        if generator is None or keep == 1:
            return layer
        # four lots from one draw of 64 bits take a third of the time of a uniform number each
        draws = torch.empty(-(-layer.numel() // 4), dtype=torch.int64, device=layer.device)
        draws.random_(-(2**63), None, generator=generator)
        lots = draws.view(torch.int16)[: layer.numel()].view(layer.shape)
        below = min(round(keep * 2**16), 2**16 - 1) - 2**15
        mask = torch.lt(lots, below, out=torch.empty(layer.shape, dtype=layer.dtype, device=layer.device))
        return layer * mask.div_(keep)
