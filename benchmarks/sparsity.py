"""Measuring the sparsity of all layers and gradients, beside training on the same tokens; its memory."""

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.timing import Row, peak_memory, row
from benchmarks.training import UNITS, VOCABULARIES, our_epoch, zipfian
from lmdynamics.measures.words import WordSums
from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.observe import gradients
from lmdynamics.text.streams import Examples
from lmthesis.chapter_6.words import columns_of, measured, values_of


def rows() -> list[Row]:
    """Measure; about two minutes on a machine that does nothing else."""
    torch.set_num_threads(1)
    found = []
    for words in VOCABULARIES:
        batches = 40_000 // words + 2
        found.append(
            row(
                f"all sparsities of {batches} batches, {words:,} words: an epoch of training",
                one_pass(words, batches),
                our_epoch(words, batches),
                repeats=7,
                target="<= 2.5",
            )
        )
    few, many = (
        peak_memory("from benchmarks.sparsity import one_pass", f"one_pass({VOCABULARIES[0]}, {batches})()")
        for batches in (4, 40)
    )
    found.append(Row("peak memory at 40 batches, against 4", many, few, many / few, "MiB", "<= 1.2"))
    return found


def one_pass(words: int, batches: int) -> Callable[[], None]:
    """Measure all that chapter 6 sums by target and by input word."""
    torch.set_num_threads(1)
    model = RecurrentModel(ModelSettings(units=UNITS), words=words, classes=words, seed=0)
    examples = Examples.next_word(zipfian(words, batches))
    inputs, targets = (torch.from_numpy(each.astype(np.int64)) for each in examples)

    def run() -> None:
        sums = [WordSums(words, columns_of(model)) for _ in range(2)]
        for block in gradients.blocks(model, examples, measure=measured):
            for each, ids in zip(sums, (targets, inputs), strict=True):
                each.update(ids[block.tokens], values_of(block))

    return run
