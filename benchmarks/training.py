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
from lmdynamics.models import training
from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.models.training import TrainingSettings
from lmdynamics.text.streams import Examples

VOCABULARIES = (5_000, 33_000)
SETTINGS = TrainingSettings(learning_rate=1.0)
UNITS, LAYERS, TAGS = 200, 2, 17
MODELS, STEPS, SMALL_BATCH, TYPES = 9, 40, 10, 200  # of made-up languages at demo scale
SMALL = ModelSettings(layers=1, units=100, dropout=0.0)
TAGGED = 40  # batches
REPEATS = 7
SIDE = 2048  # of the square matrices whose product says how fast the machine multiplies


def rows() -> list[Row]:
    torch.set_num_threads(1)
    found = []
    tagger = f"{TAGGED} batches of a tagger: "
    found += [
        row(
            tagger + what,
            our_steps(VOCABULARIES[0], TAGGED, classes=TAGS, layers=1),
            alternative,
            repeats=REPEATS,
            target=target,
        )
        for what, alternative, target in (
            ("matrix products", matrix_products(operations(TAGS, TAGGED, layers=1)), "≤ 1.43"),
            ("nn.LSTM alone, forwards and backwards", bare_lstm(TAGGED), ""),
        )
    ]
    for words in VOCABULARIES:
        batches = 40_000 // words + 2
        found += [
            row(
                f"{batches} batches, {words:,} words: plain loop",
                our_steps(words, batches),
                plain_steps(words, batches),
                repeats=REPEATS,
            ),
            row(
                f"{batches} batches, {words:,} words: matrix products alone",
                our_steps(words, batches),
                matrix_products(operations(words, batches)),
                repeats=REPEATS,
                target="≤ 1.43",  # 70 % of the machine's FLOP/s
            ),
            everywhere(words, batches),
        ]
    found.append(
        row(
            f"{MODELS} models of {SMALL.units} units, {STEPS} steps: all in one batch of models",
            one_after_another(),
            in_one_batch(),
            repeats=REPEATS,
        )
    )
    return found


def one_after_another() -> Callable[[], None]:
    """Models of the shape of chapter 5's made-up languages, trained one by one."""
    ids = np.random.default_rng(0).integers(TYPES, size=SMALL_BATCH * SETTINGS.steps_back * STEPS + 1)
    settings = TrainingSettings(batch=SMALL_BATCH, learning_rate=1.0)
    models = [RecurrentModel(SMALL, words=TYPES, classes=TYPES, seed=seed) for seed in range(MODELS)]

    def run() -> None:
        for model in models:
            for _ in training.steps(model, Examples.next_word(ids), settings, seed=0, epoch=1, rate=1.0):
                pass

    return run


def in_one_batch() -> Callable[[], None]:
    """The same models side by side: products of stacks of matrices, recurrence written out."""
    inputs, targets = torch.randint(TYPES, (2, STEPS, SETTINGS.steps_back, MODELS, SMALL_BATCH))
    units = SMALL.units
    shapes = (
        (TYPES, units),
        (units, 4 * units),
        (units, 4 * units),
        (1, 4 * units),
        (units, TYPES),
        (1, TYPES),
    )
    weights = [torch.empty(MODELS, *shape).uniform_(-0.1, 0.1).requires_grad_() for shape in shapes]
    embedding, from_input, from_hidden, bias, decoder, decoder_bias = weights
    rows = torch.arange(MODELS)[:, None, None]

    def run() -> None:
        hidden = cell = torch.zeros(MODELS, SMALL_BATCH, units)
        for words, wanted in zip(inputs.transpose(1, 2), targets.transpose(1, 2), strict=True):
            below = embedding[rows, words]  # models, steps, batch, units
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


def everywhere(words: int, batches: int) -> Row:
    """One model per processor, beside the same products on all processors."""
    cores = joblib.cpu_count()
    models = [our_steps(words, batches) for _ in range(cores)]
    products = matrix_products(cores * operations(words, batches))
    with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:

        def ours() -> None:
            list(pool.map(lambda model: model(), models))

        def alternative() -> None:
            torch.set_num_threads(cores)
            products()
            torch.set_num_threads(1)

        name = f"{cores} models on {cores} processors, {words:,} words: matrix products alone"
        return row(name, ours, alternative, repeats=REPEATS, target="≤ 1.43")


def operations(classes: int, batches: int, layers: int = LAYERS) -> float:
    """Floating-point operations of the matrix products of some batches: forward once, backward twice."""
    weights = UNITS * classes + layers * 8 * UNITS**2
    return 6.0 * weights * SETTINGS.batch * SETTINGS.steps_back * batches


def our_steps(
    words: int, batches: int, *, classes: int | None = None, layers: int = LAYERS
) -> Callable[[], None]:
    """A run takes so many steps of one long epoch, as training does between two checkpoints."""
    ids = zipfian(words, batches * (REPEATS + 1))  # one run more, unmeasured
    examples = Examples(ids[:-1], ids[1:] % (classes or words))
    model = RecurrentModel(
        ModelSettings(layers=layers, units=UNITS), words=words, classes=classes or words, seed=0
    )
    steps = training.steps(model, examples, SETTINGS, seed=0, epoch=1, rate=SETTINGS.learning_rate)

    def run() -> None:
        for _ in range(batches):
            next(steps)

    return run


def bare_lstm(batches: int) -> Callable[[], None]:
    """The layer of a tagger without all that is around it."""
    lstm = nn.LSTM(UNITS, UNITS)
    inputs = torch.randn(SETTINGS.steps_back, SETTINGS.batch, UNITS, requires_grad=True)
    wanted = (inputs, *lstm.parameters())

    def run() -> None:
        for _ in range(batches):
            output, _ = lstm(inputs)
            torch.autograd.grad(output, wanted, torch.ones_like(output))

    return run


def plain_steps(words: int, batches: int) -> Callable[[], None]:
    ids = zipfian(words, batches)
    inputs, targets = (streams.streams(each, SETTINGS.batch) for each in (ids[:-1], ids[1:]))
    embedding, lstm = nn.Embedding(words, UNITS), nn.LSTM(UNITS, UNITS, LAYERS, dropout=0.2)
    decoder, drop = nn.Linear(UNITS, words), nn.Dropout(0.2)
    parameters = [p for module in (embedding, lstm, decoder) for p in module.parameters()]

    def run() -> None:
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

    return run


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
