"""Training many models at once on one GPU, in each of the ways there are, beside one model alone.

Numbers are tokens per second of all models together. Before a way is timed, its steps are compared with those
of one model alone on the same device; a way that learns something else fails.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np
import torch

from benchmarks._timing import Row
from benchmarks.training import SETTINGS, zipfian
from lmdynamics.ground import grid
from lmdynamics.models import training
from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.models.together.company import Company
from lmdynamics.models.together.ways import WAYS
from lmdynamics.models.training import Epoch, TrainingSettings
from lmdynamics.text.streams import Examples, Parts

LANGUAGE_MODEL = ModelSettings(layers=2, units=200)
TAGGER = replace(LANGUAGE_MODEL, layers=1)
Result = TypeVar("Result")
CLOSE, CLOSE_BF16 = 0.02, 0.2  # of how far weights go: rounding of products differs between ways


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained at once, and for how long."""

    models: int = 5
    words: int = 20_000
    taggers: int = 20
    tags: tuple[int, ...] = (17, 48, 73, 100)  # classes; each of as many taggers
    units: int = 200
    steps: int = 200  # of an epoch
    seconds: float = 30.0  # for each way
    bf16: bool = False
    device: str = "auto"

    @property
    def settings(self) -> TrainingSettings:
        """How all are trained."""
        return replace(SETTINGS, bf16=self.bf16)


FULL = Size()
TINY = Size(models=2, words=50, taggers=2, tags=(3, 5), units=8, steps=4, seconds=1.0, device="cpu")


def rows(size: Size = FULL) -> Iterator[Row]:
    """Measure; on a GPU some four minutes."""
    device = grid.device(size.device)
    sets = {
        f"{size.models} language models, {size.words:,} words": (
            replace(LANGUAGE_MODEL, units=size.units),
            [size.words] * size.models,
        ),
        f"{size.taggers} taggers, {min(size.tags)} to {max(size.tags)} tags": (
            replace(TAGGER, units=size.units),
            [size.tags[at * len(size.tags) // size.taggers] for at in range(size.taggers)],
        ),
    }
    for name, (shape, classes) in sets.items():
        one = alone(shape, classes[0], size, device)
        for way in WAYS:
            require_same_steps(way, shape, classes[0], size, device)
            ours = together(way, shape, classes, size, device)
            yield Row(f"{name}, {way}: one alone", ours, one, ours / one, "tok/s", "")


def together(
    way: str, shape: ModelSettings, classes: Sequence[int], size: Size, device: torch.device
) -> float:
    """Tokens per second of some models at once, without their first epochs."""
    members = [(company, number) for company, group in groups(way, classes) for number in group]
    begin = threading.Barrier(len(members), action=lambda: _start(members, size.seconds, device))
    work = [
        (
            *(company, model(shape, number, size, seed, device), parts(number, size, seed)),
            *(size.settings, begin, device),
        )
        for seed, (company, number) in enumerate(members)
    ]
    results = list(grid.thread_stream(trained_tokens, work, threads=len(work)))
    _wait(device)
    elapsed = size.seconds + time.monotonic() - members[0][0].until
    return sum(_without_errors(results)) / elapsed


def trained_tokens(
    company: Company,
    one: RecurrentModel,
    text: Parts,
    settings: TrainingSettings,
    begin: threading.Barrier,
    device: torch.device,
) -> int | Exception:
    """Train one of the models until the time is up, and return the number of tokens since all began."""
    tokens = 0

    def count(number: int) -> None:
        nonlocal tokens
        tokens += number

    try:
        with grid.gpu_stream(device):
            epochs = company.epochs(one, text, settings, seed=0, progress=count)
            list(islice(epochs, 2))  # the untrained model, and what is made at the first steps
            begin.wait()
            tokens = 0
            list(epochs)
    except Exception as error:
        begin.abort()  # or the others wait for ever
        return error
    finally:
        company.leave()
    return tokens


def alone(shape: ModelSettings, classes: int, size: Size, device: torch.device) -> float:
    """Tokens per second of one model, trained as on a processor."""
    one, text = model(shape, classes, size, 0, device), parts(classes, size, 0)
    steps = training.steps(one, text.train, size.settings, seed=0, epoch=1, rate=1.0)
    list(islice(steps, min(3, size.steps - 1)))
    _wait(device)
    start, tokens = time.monotonic(), 0
    for step in steps:
        tokens += step.tokens
        if time.monotonic() - start > size.seconds / 3:
            break
    _wait(device)
    return tokens / (time.monotonic() - start)


def require_same_steps(
    way: str, shape: ModelSettings, classes: int, size: Size, device: torch.device
) -> None:
    """Raise an error unless an epoch of two models leads where `training` leads each of them."""
    shape, processor = replace(shape, dropout=0.0), torch.device("cpu")
    members = [company for company, group in groups(way, [classes] * 2) for _ in group]
    work = [
        (
            *(company.epochs, model(shape, classes, size, seed, device), parts(classes, size, seed)),
            *(size.settings, device),
        )
        for seed, company in enumerate(members)
    ]
    _without_errors(list(grid.thread_stream(one_epoch, work, threads=len(work))))
    for seed, (_, ours, text, *_) in enumerate(work):
        twin, start = (model(shape, classes, size, seed, place) for place in (device, processor))
        _without_errors([one_epoch(training.epochs, twin, text, size.settings, device)])
        for name, before in start.named_parameters():
            got, wanted = (each.get_parameter(name).detach().cpu() for each in (ours, twin))
            gap, gone = (got - wanted).norm().item(), (wanted - before).norm().item()
            if not gap <= (CLOSE_BF16 if size.bf16 else CLOSE) * gone:
                raise RuntimeError(
                    f"{way} should train as training.steps does, but after an epoch {name} lies {gap:.3g} "
                    f"from where that brings it, {gone:.3g} from where both began"
                )


def one_epoch(
    epochs: Callable[..., Iterator[Epoch]],
    one: RecurrentModel,
    text: Parts,
    settings: TrainingSettings,
    device: torch.device,
) -> Exception | None:
    """Train a model for an epoch."""
    with grid.gpu_stream(device):
        try:
            list(islice(epochs(one, text, settings, seed=0), 2))
        except Exception as error:
            return error
    return None


def groups(way: str, classes: Sequence[int]) -> list[tuple[Company, list[int]]]:
    """Models by the company that they keep: all that are equal, where the way stacks them."""
    together = [[number] for number in classes]
    if way == "stacked":
        together = [[number] * classes.count(number) for number in dict.fromkeys(classes)]
    return [(Company(WAYS[way], len(group)), group) for group in together]


def model(shape: ModelSettings, classes: int, size: Size, seed: int, device: torch.device) -> RecurrentModel:
    return RecurrentModel(shape, words=size.words, classes=classes, seed=seed).to(device)


def parts(classes: int, size: Size, seed: int) -> Parts:
    """A text of so many steps, another for each seed, and one of a step to test on."""
    ids = np.roll(zipfian(size.words, size.steps), 1000 * seed)
    train = Examples(ids[:-1], ids[1:] % classes)
    return Parts(train, Examples(*(column[:1400] for column in train)))


def _start(members: Sequence[tuple[Company, int]], seconds: float, device: torch.device) -> None:
    _wait(device)
    until = time.monotonic() + seconds
    for company, _ in members:
        company.until = until


def _without_errors(results: Sequence[Result | Exception]) -> list[Result]:
    """Raise the first error that is not of waiting for one that failed."""
    errors = [each for each in results if isinstance(each, Exception)]
    for error in sorted(errors, key=lambda each: isinstance(each, threading.BrokenBarrierError)):
        raise error
    return [each for each in results if not isinstance(each, Exception)]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
