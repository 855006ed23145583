"""Training 2 × 200 LSTM language models and taggers, beside the plain loop one would write and bare products.

Each training runs on one processor, as in the chapters, where independent models run side by side; the last
rows use all processors that way. The plain loop is that of PyTorch's word-language-model example: `nn.LSTM`,
all logits at once, dense gradients.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import torch
from torch import nn

from benchmarks.timing import Row, row
from lmdynamics import training
from lmdynamics.models import ModelSettings, RecurrentModel
from lmdynamics.training import Examples, Parts, TrainingSettings

VOCABULARIES = (5_000, 33_000)
SETTINGS = TrainingSettings(learning_rate=1.0)
UNITS, LAYERS, TAGS = 200, 2, 17
SIDE = 2048  # of the square matrices whose product says how fast the machine multiplies


def rows() -> list[Row]:
    torch.set_num_threads(1)
    found = []
    tagger = our_epoch(VOCABULARIES[0], 40, classes=TAGS, layers=1)
    tagging = matrix_products(operations(TAGS, 40, layers=1))
    found.append(row("40 batches of a tagger: matrix products", tagger, tagging, repeats=7, target="≤ 1.43"))
    for words in VOCABULARIES:
        batches = 40_000 // words + 2
        ours, plain = our_epoch(words, batches), plain_epoch(words, batches)
        products = matrix_products(operations(words, batches))
        found += [
            row(f"epoch of {batches} batches, {words:,} words: plain loop", ours, plain, repeats=7),
            row(
                f"epoch of {batches} batches, {words:,} words: matrix products alone",
                ours,
                products,
                repeats=7,
                target="≤ 1.43",  # 70 % of the machine's FLOP/s
            ),
            everywhere(words, batches),
        ]
    return found


def everywhere(words: int, batches: int) -> Row:
    """One model per processor, beside the same products on all processors."""
    cores = joblib.cpu_count()
    epochs = [our_epoch(words, batches) for _ in range(cores)]
    products = matrix_products(cores * operations(words, batches))
    with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:

        def ours() -> None:
            list(pool.map(lambda epoch: epoch(), epochs))

        def alternative() -> None:
            torch.set_num_threads(cores)
            products()
            torch.set_num_threads(1)

        name = f"{cores} models on {cores} processors, {words:,} words: matrix products alone"
        return row(name, ours, alternative, repeats=7, target="≤ 1.43")


def operations(classes: int, batches: int, layers: int = LAYERS) -> float:
    """Floating-point operations of the matrix products of an epoch: forward once, backward twice."""
    weights = UNITS * classes + layers * 8 * UNITS**2
    return 6.0 * weights * SETTINGS.batch * SETTINGS.steps_back * batches


def our_epoch(
    words: int, batches: int, *, classes: int | None = None, layers: int = LAYERS
) -> Callable[[], object]:
    ids = zipfian(words, batches)
    targets = ids[1:] % (classes or words)
    parts = Parts(*(Examples(ids[:tokens], targets[:tokens]) for tokens in (len(targets), 40)))
    model = RecurrentModel(
        ModelSettings(layers=layers, units=UNITS), words=words, classes=classes or words, seed=0
    )
    epochs = training.epochs(model, parts, SETTINGS, seed=0)
    next(epochs)  # the untrained one
    return lambda: next(epochs)


def plain_epoch(words: int, batches: int) -> Callable[[], None]:
    ids = zipfian(words, batches)
    inputs, targets = (training.streams(each, SETTINGS.batch) for each in (ids[:-1], ids[1:]))
    embedding, lstm = nn.Embedding(words, UNITS), nn.LSTM(UNITS, UNITS, LAYERS, dropout=0.2)
    decoder, drop = nn.Linear(UNITS, words), nn.Dropout(0.2)
    parameters = [p for module in (embedding, lstm, decoder) for p in module.parameters()]

    def epoch() -> None:
        state = None
        for words_now, wanted in zip(
            inputs.split(SETTINGS.steps_back), targets.split(SETTINGS.steps_back), strict=True
        ):
            for parameter in parameters:
                parameter.grad = None
            output, state = lstm(drop(embedding(words_now)), state)
            logits = decoder(drop(output))
            nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten()).backward()
            nn.utils.clip_grad_norm_(parameters, SETTINGS.clip)
            with torch.no_grad():
                for parameter in parameters:
                    parameter.add_(parameter.grad, alpha=-SETTINGS.learning_rate)
            state = tuple(each.detach() for each in state)

    return epoch


def matrix_products(total: float) -> Callable[[], None]:
    """As many operations in products of large square matrices."""
    a, b = torch.randn(2, SIDE, SIDE)
    out = torch.empty(SIDE, SIDE)
    times = max(1, round(total / (2 * SIDE**3)))

    def run() -> None:
        for _ in range(times):
            torch.mm(a, b, out=out)

    return run


def zipfian(words: int, batches: int) -> np.ndarray:
    tokens = SETTINGS.batch * SETTINGS.steps_back * batches + 1
    return np.minimum(np.random.default_rng(0).zipf(1.3, tokens) - 1, words - 1)
