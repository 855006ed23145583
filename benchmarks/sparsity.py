"""Measuring the sparsity of all layers and gradients, beside training on the same tokens; its memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks._timing import Row, peak_memory, row
from benchmarks.training import LANGUAGE_MODEL, TEXTS, our_steps, zipfian
from lmdynamics.measures.words import WordSums
from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.observe import gradients
from lmdynamics.text.streams import Examples
from lmthesis.chapter_6.words import columns_of, measures, values_of


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measures, and how often."""

    model: ModelSettings = LANGUAGE_MODEL
    texts: tuple[tuple[int, int], ...] = TEXTS
    few: int = 4  # batches of the memory that the other is set beside
    many: int = 40
    repeats: int = 7
    processes: int = 3  # for each peak of memory


FULL = Size()
TINY = Size(model=replace(LANGUAGE_MODEL, units=8), texts=((50, 2),), few=1, many=2, repeats=1, processes=1)


def rows(size: Size = FULL) -> Iterator[Row]:
    """Measure; about two minutes on a machine that does nothing else."""
    torch.set_num_threads(1)
    for words, batches in size.texts:
        yield row(
            f"all sparsities of {batches} batches, {words:,} words: training on as many",
            one_pass(size.model, words, batches),
            our_steps(size.model, words, batches, runs=size.repeats + 1),
            repeats=size.repeats,
            target="<= 2.5",
        )
    few, many = (peak(batches, size) for batches in (size.few, size.many))
    name = f"peak memory at {size.many} batches, against {size.few}"
    yield Row(name, many, few, many / few, "MiB", "<= 1.2")


def peak(batches: int, size: Size) -> float:
    """Largest memory, in MiB, of measuring so many batches."""
    words, _ = size.texts[0]
    return peak_memory(
        "from benchmarks.sparsity import ModelSettings, one_pass",
        f"one_pass({size.model}, {words}, {batches})()",
        processes=size.processes,
    )


def one_pass(settings: ModelSettings, words: int, batches: int) -> Callable[[], None]:
    """Measure all that chapter 6 sums by target and by input word."""
    torch.set_num_threads(1)
    model = RecurrentModel(settings, words=words, classes=words, seed=0)
    examples = Examples.next_word(zipfian(words, batches))
    inputs, targets = (torch.from_numpy(each.astype(np.int64)) for each in examples)

    def run() -> None:
        sums = [WordSums(words, columns_of(model)) for _ in range(2)]
        for block in gradients.blocks(model, examples, measure=measures):
            for each, ids in zip(sums, (targets, inputs), strict=True):
                each.update(ids[block.tokens], values_of(block))

    return run
