"""The protocol of models that can be observed.

`recurrent.RecurrentModel` follows it itself; `pretrained.hooked` adapts any `torch.nn.Module`. What only
an LSTM has (gates, cells) is read from the recurrent model alone.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

State = Any
"""What a model hands on from one stretch of text to the next; None where it hands on nothing."""


class Observed(NamedTuple):
    """The outputs of the layers over a stretch of text, and the state after it."""

    layers: dict[str, Float[Tensor, "steps batch _"]]
    """Output of each layer by name, in the order of the model's `layers`."""
    state: State
    """After the last step: where the next stretch begins."""


@runtime_checkable
class Observable(Protocol):
    """A model whose layers can be observed while it reads."""

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


def matching(names: Sequence[str], patterns: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names that match at least one pattern, in their own order.

    Parameters
    ----------
    names
        Dotted names of layers.
    patterns
        One or several, such as ``"gpt_neox.layers.*"``; names match themselves. A ``*`` crosses no dot.

    Raises
    ------
    ValueError
        If there is no pattern, or one matches no name.
    """
    several = [patterns] if isinstance(patterns, str) else list(patterns)
    unmatched = [each for each in several if not any(_matches(name, each) for name in names)]
    if unmatched or not several:
        near = ", ".join(get_close_matches((unmatched or [""])[0], names, n=8, cutoff=0))
        raise ValueError(
            f"need names of layers, such as {near}, or patterns of them; got {', '.join(unmatched) or 'none'}"
        )
    return tuple(name for name in names if any(_matches(name, each) for each in several))


def _matches(name: str, pattern: str) -> bool:
    parts, pattern_parts = name.split("."), pattern.split(".")
    return len(parts) == len(pattern_parts) and all(map(fnmatchcase, parts, pattern_parts))
