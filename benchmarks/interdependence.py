"""Interdependence of all pairs of words, by one LSTM layer of 400 units: time beside acd and bare products.

The package acd splits a text for one contiguous span at a time. It is called once for each focus set: 20
words and 190 pairs, for which spans of two words stand in, as its time depends on neither length nor place.
To have its states at the second word of each pair, one would have to call it on every beginning of the
sentence, which is a third more steps.

Carried along, each focus set takes products of its state with the weights of three gates at every step: as
one batch of sets, they are what a decomposition with the relevant part alone has to multiply. Ours needs few
of them, since a pair's state is that of its first word until its second: inputs of three gates, of each word
from below, and of each first word of a pair, at each distance, from its state one step before. Running the
LSTM takes products too, of four gates from below and from the state before: one row counts them in.
"""

import warnings
from collections.abc import Callable, Iterator

import acd
import torch
from torch import Tensor, nn

from benchmarks.timing import Row, peak_memory, row
from lmdynamics.observe import interdependence

UNITS, WORDS = 400, 20  # of the layer, of a sentence
SENTENCES, DISTANCE = 100, 10  # of a block
EWT = 254_818  # words of English-EWT


def rows() -> list[Row]:
    """Measure; about a minute on a machine that does nothing else."""
    torch.set_num_threads(1)
    lstm = nn.LSTM(UNITS, UNITS)
    sentence, block = torch.randn(WORDS, 1, UNITS), torch.randn(WORDS, SENTENCES, UNITS)
    theirs = ForAcd(lstm, sentence)
    check(theirs)

    def all_pairs() -> Tensor:
        return interdependence.pairwise(lstm, sentence, distance=WORDS - 1)

    def near_pairs() -> Tensor:
        return interdependence.pairwise(lstm, block, distance=DISTANCE)

    label = f"all pairs of {WORDS} words, {UNITS} units, against "
    of_block = f"{SENTENCES} x {WORDS} words, up to {DISTANCE} apart, "
    whole = row(
        of_block + "against the few products that it takes",
        near_pairs,
        products(lstm, block, DISTANCE),
        repeats=11,
    )
    speed, bare = (block[..., 0].numel() / seconds for seconds in (whole.ours, whole.alternative))
    few, many = (
        peak_memory("from benchmarks.interdependence import through", f"through({blocks})")
        for blocks in (2, 20)
    )
    return [
        row(
            label + "acd on as many spans",
            all_pairs,
            lambda: [theirs.of_span(*span) for span in spans()],
            repeats=3,
            target="<= 0.05",
        ),
        row(label + "products of carrying each", all_pairs, carrying(lstm), repeats=31, target="<= 2"),
        row(
            label + "the few products that it takes",
            all_pairs,
            products(lstm, sentence, WORDS - 1),
            repeats=31,
        ),
        whole,
        row(
            of_block + "those of running the LSTM too",
            near_pairs,
            products(lstm, block, DISTANCE, running=True),
            repeats=11,
        ),
        Row(of_block + "words a second", speed, bare, speed / bare, "words/s", ""),
        Row(
            f"computed from it: {EWT:,} words of English-EWT",
            EWT / speed,
            EWT / bare,
            bare / speed,
            "s",
            "",
        ),
        Row("peak memory at 20 such blocks, against 2", many, few, many / few, "MiB", "<= 1.2"),
    ]


def spans() -> Iterator[tuple[int, int]]:
    """First and last word of a span for each focus set: every word, and two words for every pair."""
    for first in range(WORDS):
        yield first, first
        for _ in range(first + 1, WORDS):
            yield first, first + 1


class ForAcd:
    """A model of one layer as acd reads it, whose scores are its hidden state."""

    hidden_dim = UNITS
    text = None  # of the batch that acd asks for

    def __init__(self, lstm: nn.LSTM, inputs: Tensor) -> None:
        self.lstm, self.inputs = lstm, inputs
        self.hidden_to_label = nn.Linear(UNITS, UNITS, bias=False)
        nn.init.eye_(self.hidden_to_label.weight)

    def embed(self, text: None) -> Tensor:
        """Its inputs, whatever the text."""
        return self.inputs

    def of_span(self, first: int, last: int) -> Tensor:
        """Relevant hidden state after the last word of the text, by acd."""
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of NumPy's, in acd
            return torch.as_tensor(acd.cd_text(self, self, first, last))


def check(theirs: ForAcd) -> None:
    """Compare what both say of the last two words, a span that ends where acd reads."""
    first, last = WORDS - 2, WORDS - 1
    a, b, both = (theirs.of_span(*span) for span in ((first, first), (last, last), (first, last)))
    expected = ((both - a - b).norm() / both.norm()).item()
    found = interdependence.pairwise(theirs.lstm, theirs.inputs, distance=1)[0, first, 0].item()
    if abs(found - expected) > 1e-4:
        raise RuntimeError(f"the contenders do not compute the same number: {found}, {expected}")


def carrying(lstm: nn.LSTM) -> Callable[[], None]:
    """Multiply one state for each focus set, all side by side, at every step."""
    from_hidden = lstm.weight_hh_l0.detach()[: 3 * UNITS]
    states = torch.randn(sum(1 for _ in spans()), UNITS)

    def multiply() -> None:
        for _ in range(WORDS):
            states @ from_hidden.T

    return multiply


def products(lstm: nn.LSTM, inputs: Tensor, distance: int, *, running: bool = False) -> Callable[[], None]:
    """Multiply as many rows by the layer's own weights."""
    steps, batch, _ = inputs.shape
    from_below, from_hidden, *_ = (parameter.detach() for parameter in lstm.parameters())
    split = slice(0, 3 * UNITS)
    flat = inputs.flatten(0, 1)

    def multiply() -> None:
        flat @ (from_below if running else from_below[split]).T
        if running:
            for step in inputs:
                step @ from_hidden.T
        for d in range(1, distance + 1):
            flat[: (steps - d) * batch] @ from_hidden[split].T

    return multiply


def through(blocks: int) -> None:
    """Measure so many blocks of sentences, one after another."""
    torch.set_num_threads(1)
    lstm = nn.LSTM(UNITS, UNITS)
    for _ in range(blocks):
        interdependence.pairwise(lstm, torch.randn(WORDS, SENTENCES, UNITS), distance=DISTANCE)


if __name__ == "__main__":
    for measured in rows():
        print(measured)
