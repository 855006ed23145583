"""Training 2 × 200 LSTM language models and taggers, beside the plain loop one would write and bare products.

Each training runs on one processor, as in the chapters, where independent models run side by side; the last
rows use all processors that way. The plain loop is that of PyTorch's word-language-model example: `nn.LSTM`,
all logits at once, dense gradients.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import joblib
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks._timing import Row, row
from lmdynamics.models import training
from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.models.training import TrainingSettings
from lmdynamics.text.streams import Examples, streams

SETTINGS = TrainingSettings(learning_rate=1.0)
LANGUAGE_MODEL = ModelSettings(layers=2, units=200)
TEXTS = ((5_000, 10), (33_000, 3))  # words of a vocabulary, batches
SMALL = ModelSettings(layers=1, units=100, dropout=0.0)  # for a made-up language
SMALL_BATCH = 10


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained, and how often."""

    model: ModelSettings = LANGUAGE_MODEL
    texts: tuple[tuple[int, int], ...] = TEXTS
    tags: int = 17
    tagged: int = 40  # batches of a tagger
    small: ModelSettings = SMALL
    models: int = 9  # small ones
    steps: int = 40  # of each
    types: int = 200  # of words in a made-up language
    side: int = 2048  # of the square matrices whose product says how fast the machine multiplies
    repeats: int = 7


FULL = Size()
TINY = Size(
    model=replace(LANGUAGE_MODEL, units=8),
    texts=((50, 2),),
    tagged=2,
    small=replace(SMALL, units=8),
    models=2,
    steps=2,
    types=20,
    side=32,
    repeats=1,
)


def rows(size: Size = FULL) -> Iterator[Row]:
    """Measure; some minutes on a machine that does nothing else."""
    torch.set_num_threads(1)
    yield from of_taggers(size)
    for words, batches in size.texts:
        yield from of_language_models(words, batches, size)
    yield row(
        f"{size.models} models of {size.small.units} units, {size.steps} steps: all in one batch of models",
        one_after_another(size),
        in_one_batch(size),
        repeats=size.repeats,
    )


def of_taggers(size: Size) -> Iterator[Row]:
    """Training one layer to name tags."""
    model = replace(size.model, layers=1)
    words, _ = size.texts[0]
    total = operations(model, size.tags, size.tagged)
    for what, alternative, target in (
        ("matrix products", matrix_products(total, size.side), "<= 1.43"),
        ("nn.LSTM alone, forwards and backwards", bare_lstm(model.units, size.tagged), ""),
    ):
        yield row(
            f"{size.tagged} batches of a tagger: {what}",
            our_steps(model, words, size.tagged, runs=size.repeats + 1, classes=size.tags),
            alternative,
            repeats=size.repeats,
            target=target,
        )


def of_language_models(words: int, batches: int, size: Size) -> Iterator[Row]:
    """Training language models of one vocabulary: one, and one for each processor."""
    model, repeats = size.model, size.repeats
    total = operations(model, words, batches)
    yield row(
        f"{batches} batches, {words:,} words: plain loop",
        our_steps(model, words, batches, runs=repeats + 1),
        plain_steps(model, words, batches),
        repeats=repeats,
    )
    yield row(
        f"{batches} batches, {words:,} words: matrix products alone",
        our_steps(model, words, batches, runs=repeats + 1),
        matrix_products(total, size.side),
        repeats=repeats,
        target="<= 1.43",  # 70 % of the machine's FLOP/s
    )
    cores = joblib.cpu_count()
    models = [our_steps(model, words, batches, runs=repeats + 1) for _ in range(cores)]
    products = matrix_products(cores * total, size.side)
    with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:

        def ours() -> None:
            list(pool.map(lambda model: model(), models))

        def alternative() -> None:
            torch.set_num_threads(cores)
            products()
            torch.set_num_threads(1)

        name = f"{cores} models on {cores} cores, {words:,} words: matrix products alone"
        yield row(name, ours, alternative, repeats=repeats, target="<= 1.43")


def one_after_another(size: Size) -> Callable[[], None]:
    """Models of the shape of chapter 5's made-up languages, trained one by one."""
    tokens = SMALL_BATCH * SETTINGS.steps_back * size.steps
    ids = np.random.default_rng(0).integers(size.types, size=tokens + 1)
    settings = TrainingSettings(batch=SMALL_BATCH, learning_rate=1.0)
    models = [
        RecurrentModel(size.small, words=size.types, classes=size.types, seed=seed)
        for seed in range(size.models)
    ]

    def run() -> None:
        for model in models:
            for _ in training.steps(model, Examples.next_word(ids), settings, seed=0, epoch=1, rate=1.0):
                pass

    return run


def in_one_batch(size: Size) -> Callable[[], None]:
    """The same models side by side: products of stacks of matrices, recurrence written out."""
    models, units, types = size.models, size.small.units, size.types
    inputs, targets = torch.randint(types, (2, size.steps, SETTINGS.steps_back, models, SMALL_BATCH))
    shapes = (
        (types, units),
        (units, 4 * units),
        (units, 4 * units),
        (1, 4 * units),
        (units, types),
        (1, types),
    )
    weights = [torch.empty(models, *shape).uniform_(-0.1, 0.1).requires_grad_() for shape in shapes]
    embedding, from_input, from_hidden, bias, decoder, decoder_bias = weights
    which = torch.arange(models)[:, None, None]

    def run() -> None:
        hidden = cell = torch.zeros(models, SMALL_BATCH, units)
        for words, wanted in zip(inputs.transpose(1, 2), targets.transpose(1, 2), strict=True):
            below = embedding[which, words]  # models, steps, batch, units
            summed = torch.baddbmm(bias, below.flatten(1, 2), from_input).view(*below.shape[:3], -1)
            outputs = []
            for step in range(SETTINGS.steps_back):
                i, f, g, o = torch.baddbmm(summed[:, step], hidden, from_hidden).chunk(4, -1)
                cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
                hidden = o.sigmoid() * cell.tanh()
                outputs.append(hidden)
            logits = torch.baddbmm(decoder_bias, torch.stack(outputs, 1).flatten(1, 2), decoder)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum")
            gradients = torch.autograd.grad(loss / (SMALL_BATCH * SETTINGS.steps_back), weights)
            norms = torch.stack([each.flatten(1).norm(dim=1) for each in gradients]).norm(dim=0)
            scale = (SETTINGS.clip / (norms + 1e-6)).clamp(max=1)[:, None, None]
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.sub_(gradient * scale)
            hidden, cell = hidden.detach(), cell.detach()

    return run


def operations(model: ModelSettings, classes: int, batches: int) -> float:
    """Floating-point operations of the matrix products of some batches: forward once, backward twice."""
    weights = model.units * classes + model.layers * 8 * model.units**2
    return 6.0 * weights * SETTINGS.batch * SETTINGS.steps_back * batches


def our_steps(
    settings: ModelSettings, words: int, batches: int, *, runs: int, classes: int | None = None
) -> Callable[[], None]:
    """Each of some runs takes so many steps of one long epoch, as training does between two checkpoints."""
    ids = zipfian(words, batches * runs)
    examples = Examples(ids[:-1], ids[1:] % (classes or words))
    model = RecurrentModel(settings, words=words, classes=classes or words, seed=0)
    steps = training.steps(model, examples, SETTINGS, seed=0, epoch=1, rate=SETTINGS.learning_rate)

    def run() -> None:
        for _ in range(batches):
            next(steps)

    return run


def bare_lstm(units: int, batches: int) -> Callable[[], None]:
    """The layer of a tagger without all that is around it."""
    lstm = nn.LSTM(units, units)
    inputs = torch.randn(SETTINGS.steps_back, SETTINGS.batch, units, requires_grad=True)
    wanted = (inputs, *lstm.parameters())

    def run() -> None:
        for _ in range(batches):
            output, _ = lstm(inputs)
            torch.autograd.grad(output, wanted, torch.ones_like(output))

    return run


def plain_steps(model: ModelSettings, words: int, batches: int) -> Callable[[], None]:
    """The loop one would write."""
    ids = zipfian(words, batches)
    inputs, targets = (streams(each, SETTINGS.batch) for each in (ids[:-1], ids[1:]))
    units = model.units
    embedding, lstm = nn.Embedding(words, units), nn.LSTM(units, units, model.layers, dropout=0.2)
    decoder, drop = nn.Linear(units, words), nn.Dropout(0.2)
    parameters = [p for module in (embedding, lstm, decoder) for p in module.parameters()]

    def run() -> None:
        state: tuple[Tensor, Tensor] | None = None
        for words_now, wanted in zip(
            inputs.split(SETTINGS.steps_back), targets.split(SETTINGS.steps_back), strict=True
        ):
            for parameter in parameters:
                parameter.grad = None
            output, (hidden, cell) = lstm(drop(embedding(words_now)), state)
            logits = decoder(drop(output))
            nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten()).backward()
            nn.utils.clip_grad_norm_(parameters, SETTINGS.clip)
            with torch.no_grad():
                for parameter in parameters:
                    assert parameter.grad is not None  # all take part in the loss
                    parameter.add_(parameter.grad, alpha=-SETTINGS.learning_rate)
            state = hidden.detach(), cell.detach()

    return run


def matrix_products(total: float, side: int) -> Callable[[], None]:
    """As many operations in products of large square matrices."""
    a, b = torch.randn(2, side, side)
    out = torch.empty(side, side)
    times = max(1, round(total / (2 * side**3)))

    def run() -> None:
        for _ in range(times):
            torch.mm(a, b, out=out)

    return run


def zipfian(words: int, batches: int) -> np.ndarray:
    """Ids of the tokens of some batches, and one more; the smaller the id, the more frequent."""
    tokens = SETTINGS.batch * SETTINGS.steps_back * batches + 1
    return np.minimum(np.random.default_rng(0).zipf(1.3, tokens) - 1, words - 1)
