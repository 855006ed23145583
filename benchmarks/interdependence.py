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
from dataclasses import dataclass

import acd
import torch
from torch import Tensor, nn

from benchmarks._timing import Row, peak_memory, row
from lmdynamics.observe import interdependence

EWT = 254_818  # words of English-EWT


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is compared, and how often."""

    units: int = 400  # of the layer
    words: int = 20  # of a sentence
    sentences: int = 100  # of a block
    distance: int = 10  # the longest, in a block
    few: int = 2  # blocks of the memory that the other is set beside
    many: int = 20
    turns_with_acd: int = 3
    turns_of_sentence: int = 31
    turns_of_block: int = 11
    processes: int = 3  # for each peak of memory


FULL = Size()
TINY = Size(
    units=8,
    words=5,
    sentences=3,
    distance=2,
    few=1,
    many=2,
    turns_with_acd=1,
    turns_of_sentence=1,
    turns_of_block=1,
    processes=1,
)


def rows(size: Size = FULL) -> Iterator[Row]:
    """Measure; about a minute on a machine that does nothing else."""
    torch.set_num_threads(1)
    lstm = nn.LSTM(size.units, size.units)
    yield from of_sentence(lstm, size)
    yield from of_block(lstm, size)
    few, many = (peak(blocks, size) for blocks in (size.few, size.many))
    name = f"peak memory at {size.many} such blocks, against {size.few}"
    yield Row(name, many, few, many / few, "MiB", "<= 1.2")


def of_sentence(lstm: nn.LSTM, size: Size) -> Iterator[Row]:
    """All pairs of one sentence."""
    sentence = torch.randn(size.words, 1, size.units)
    theirs = ForAcd(lstm, sentence)
    check(theirs)

    def ours() -> Tensor:
        return interdependence.pairwise(lstm, sentence, distance=size.words - 1)

    def acd_on_each() -> list[Tensor]:
        return [theirs.of_span(*span) for span in spans(size.words)]

    few, repeats = products(lstm, sentence, size.words - 1), size.turns_of_sentence
    label = f"all pairs of {size.words} words, {size.units} units, against "
    yield row(
        label + "acd on as many spans", ours, acd_on_each, repeats=size.turns_with_acd, target="<= 0.05"
    )
    carried = carrying(lstm, size.words)
    yield row(label + "products of carrying each", ours, carried, repeats=repeats, target="<= 2")
    yield row(label + "the few products that it takes", ours, few, repeats=repeats)


def of_block(lstm: nn.LSTM, size: Size) -> Iterator[Row]:
    """Pairs up to a distance, of many sentences side by side."""
    block, repeats = torch.randn(size.words, size.sentences, size.units), size.turns_of_block

    def ours() -> Tensor:
        return interdependence.pairwise(lstm, block, distance=size.distance)

    few = products(lstm, block, size.distance)
    running = products(lstm, block, size.distance, running=True)
    label = f"{size.sentences} x {size.words} words, up to {size.distance} apart, "
    whole = row(label + "against the few products that it takes", ours, few, repeats=repeats)
    yield whole
    yield row(label + "those of running the LSTM too", ours, running, repeats=repeats)
    speed, bare = (block[..., 0].numel() / seconds for seconds in (whole.ours, whole.alternative))
    yield Row(label + "words a second", speed, bare, speed / bare, "words/s", "")
    name = f"computed from it: {EWT:,} words of English-EWT"
    yield Row(name, EWT / speed, EWT / bare, bare / speed, "s", "")


def spans(words: int) -> Iterator[tuple[int, int]]:
    """First and last word of a span for each focus set: every word, and two words for every pair."""
    for first in range(words):
        yield first, first
        for _ in range(first + 1, words):
            yield first, first + 1


class ForAcd:
    """A model of one layer as acd reads it, whose scores are its hidden state."""

    text = None  # of the batch that acd asks for

    def __init__(self, lstm: nn.LSTM, inputs: Tensor) -> None:
        self.lstm, self.inputs = lstm, inputs
        self.hidden_dim = lstm.hidden_size
        self.hidden_to_label = nn.Linear(lstm.hidden_size, lstm.hidden_size, bias=False)
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
    last = len(theirs.inputs) - 1
    first = last - 1
    a, b, both = (theirs.of_span(*span) for span in ((first, first), (last, last), (first, last)))
    expected = ((both - a - b).norm() / both.norm()).item()
    found = interdependence.pairwise(theirs.lstm, theirs.inputs, distance=1)[0, first, 0].item()
    if abs(found - expected) > 1e-4:
        raise RuntimeError(f"the contenders do not compute the same number: {found}, {expected}")


def carrying(lstm: nn.LSTM, words: int) -> Callable[[], None]:
    """Multiply one state for each focus set, all side by side, at every step."""
    _, from_hidden, *_ = (parameter.detach()[: 3 * lstm.hidden_size] for parameter in lstm.parameters())
    states = torch.randn(len(list(spans(words))), lstm.hidden_size)

    def multiply() -> None:
        for _ in range(words):
            states @ from_hidden.T

    return multiply


def products(lstm: nn.LSTM, inputs: Tensor, distance: int, *, running: bool = False) -> Callable[[], None]:
    """Multiply as many rows by the layer's own weights."""
    steps, batch, _ = inputs.shape
    from_below, from_hidden, *_ = (parameter.detach() for parameter in lstm.parameters())
    split = slice(0, 3 * lstm.hidden_size)
    flat = inputs.flatten(0, 1)

    def multiply() -> None:
        flat @ (from_below if running else from_below[split]).T
        if running:
            for step in inputs:
                step @ from_hidden.T
        for d in range(1, distance + 1):
            flat[: (steps - d) * batch] @ from_hidden[split].T

    return multiply


def peak(blocks: int, size: Size) -> float:
    """Largest memory, in MiB, of measuring so many blocks."""
    return peak_memory(
        "from benchmarks.interdependence import Size, through",
        f"through({blocks}, {size})",
        processes=size.processes,
    )


def through(blocks: int, size: Size) -> None:
    """Measure so many blocks of sentences, one after another."""
    torch.set_num_threads(1)
    lstm = nn.LSTM(size.units, size.units)
    for _ in range(blocks):
        block = torch.randn(size.words, size.sentences, size.units)
        interdependence.pairwise(lstm, block, distance=size.distance)
