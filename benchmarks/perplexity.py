"""Test perplexity on WikiText-2 whole, beside what others report of the same model.

The yardstick of the language models of all chapters: that a finding fails may then not be put down to a model
that learns badly. Text, shape and training are those that PyTorch's word-language-model example has by
default: 33,278 types with <unk> and <eos>, as the files hold them; two LSTM layers of 200 units, decoder not
tied; batches of 20, 35 steps, SGD at 20, quartered after an epoch without improvement, gradients clipped to
0.25, dropout 0.2. The epoch that is tested is the one with the lowest loss on dev.

That example's README once gave 117.61 for 6 epochs, which was of the Penn Treebank and has been taken out
(pytorch/examples issue 281).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from benchmarks._timing import Row
from lmdynamics.models import runs
from lmdynamics.models.recurrent import ModelSettings
from lmdynamics.models.runs import RunSettings
from lmdynamics.models.training import Epoch, TrainingSettings
from lmdynamics.text import vocabulary
from lmdynamics.text.streams import Examples, Parts
from lmdynamics.text.vocabulary import CorpusSettings

HOURS = True  # so it is run where it is named alone
PUBLISHED = {
    "untied, 6 epochs, PyTorch's example (pytorch/examples issue 415)": 142.07,
    "untied, 6 epochs, PyTorch's example (IntelLabs/distiller issue 470)": 137.47,
    "tied, 750 epochs (dmlc/gluon-nlp, scripts/word_language_model.rst)": 102.26,
}
"""Of two layers of 200 units, dropout 0.2."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is read and trained, less what never changes."""

    corpus: str = "wikitext-2"
    articles: int | None = None  # of each part; None for all
    units: int = 200
    batch: int = 20
    epochs: int = 6
    seed: int = 0


FULL = Size()
TINY = Size(corpus="wikipedia-sample", articles=2, units=8, epochs=1)


def rows(size: Size = FULL) -> Iterator[Row]:
    """Train, or go on where training was interrupted, and compare; hours."""
    torch.set_num_threads(1)
    perplexity = tested(trained(size).epochs)
    for what, published in PUBLISHED.items():
        yield Row(what, perplexity, published, perplexity / published, "ppl", "")


def trained(size: Size) -> runs.Run:
    """The language model, as a user of the library would train it."""
    text = vocabulary.prepare(
        CorpusSettings(
            corpus=size.corpus,
            articles=size.articles,
            annotate=False,
            lowercase=False,
            min_count=1,
            drop_rare_sentences=False,
        )
    )
    words = text.vocabulary.words
    settings = RunSettings(
        model=ModelSettings(units=size.units),
        training=TrainingSettings(batch=size.batch, epochs=size.epochs),
        words=words,
        classes=words,
        seed=size.seed,
        about=f"language model of {text.corpus.name} with all its types",
    )
    parts = Parts(*(Examples.next_word(part.ids) for part in (text.train, text.dev, text.test)))
    return runs.train(settings, parts)


def tested(epochs: Sequence[Epoch]) -> float:
    """Perplexity on the test part after the epoch whose loss on dev is lowest."""
    best = min(epochs, key=lambda epoch: epoch.dev_loss)
    assert best.test_loss is not None  # there is a test part
    return math.exp(best.test_loss)
