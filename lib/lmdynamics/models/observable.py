"""What every model offers that can be observed, whatever it is made of.

`recurrent.RecurrentModel` offers it itself; `pretrained.hooked` gives it to any `torch.nn.Module`. What only an LSTM
has (gates, cells) is asked of the recurrent model alone.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

State = Any
"""What a model hands on from one stretch of text to the next; None where it hands on nothing."""


class Observed(NamedTuple):
    """What one reading of a stretch of text leaves to be looked at."""

    layers: dict[str, Float[Tensor, "steps batch _"]]
    """Output of each layer by name, in the order of the model's `layers`."""
    state: State
    """After the last step, to go on from."""


@runtime_checkable
class Observable(Protocol):
    """A model whose layers can be looked at while it reads."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers from the bottom, as a table can show them."""

    @property
    def words(self) -> int:
        """Size of the vocabulary: ids are 0 to `words` - 1."""

    def read(self, ids: Int[Tensor, "steps batch"], state: State | None = None) -> Observed:
        """Read a stretch of several texts side by side, without dropout.

        Parameters
        ----------
        ids
            Word ids, on any device; text runs along the first axis.
        state
            Where the reading of the stretch before ended; None at the beginning of a text.
        """
