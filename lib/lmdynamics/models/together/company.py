"""Epochs of models that keep company: each waits for the others, and then all take their steps at once."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count

import torch

from lmdynamics.ground.provenance import code_fingerprint
from lmdynamics.models import training
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.together.steps import Pass, Steps
from lmdynamics.models.training import Epoch, TrainingError, TrainingSettings
from lmdynamics.text.streams import Parts, streams

StepsOf = Callable[[Sequence[RecurrentModel], TrainingSettings], Steps]
"""Makes the steps of some models: a way to train at once."""


class Company:
    """Models that are trained at once, each asked for by a thread of its own; a `runs.Way`.

    Parameters
    ----------
    steps
        How their steps are taken.
    members
        How many there are. An epoch begins when all that have not left wait for it.
    until
        A moment of `time.monotonic` after which no step is taken.
    """

    def __init__(self, steps: StepsOf, members: int = 1, *, until: float = math.inf) -> None:
        self.name = f"{steps.__module__}.{steps.__qualname__}"
        self._steps_of, self._members, self.until = steps, members, until
        self._turn = threading.Condition()
        self._waiting: list[Pass] = []
        self._results: dict[int, float | BaseException | None] = {}
        self._models: list[RecurrentModel] = []
        self._steps: Steps | None = None

    @property
    def code(self) -> str:
        """The fingerprint of the code that the weights depend on."""
        return code_fingerprint(Company, self._steps_of)

    def leave(self) -> None:
        """Tell the others that one of them asks for no more epochs."""
        with self._turn:
            self._members -= 1
            self._turn.notify_all()

    def epochs(
        self,
        model: RecurrentModel,
        parts: Parts,
        settings: TrainingSettings,
        *,
        seed: int,
        past: Sequence[Epoch] = (),
        progress: Callable[[int], None] = lambda tokens: None,
        after_step: Callable[[int], None] = lambda steps: None,
    ) -> Iterator[Epoch]:
        """Train one model in place and yield each epoch, until the time is up.

        Parameters and errors are those of `training.epochs`. Waiting for others counts in an epoch's seconds.
        """
        past, per_epoch = list(past), training.steps_per_epoch(parts.train, settings)
        while True:
            number, rate = len(past), training._next_rate(past, settings)
            start, loss = time.perf_counter(), None
            if number:
                numbers = count((number - 1) * per_epoch + 1)

                def after(tokens: int, numbers: Iterator[int] = numbers) -> None:
                    progress(tokens)
                    after_step(next(numbers))

                drop_seed = training._epoch_seed(seed, number)
                loss = self._loss(Pass(model, parts.train, settings, drop_seed, rate, after))
                if loss is None:
                    return
            seconds = time.perf_counter() - start
            dev = training.mean_loss(model, parts.dev, bf16=settings.bf16)
            test = training.mean_loss(model, parts.test, bf16=settings.bf16) if parts.test else None
            for name, value in (("train", loss), ("dev", dev), ("test", test)):
                if value is not None and not math.isfinite(value):
                    raise TrainingError(
                        f"the {name} loss of epoch {number} is {value} at learning rate {rate:g}; "
                        "the epochs before it are kept: use a smaller learning rate or clip"
                    )
            best = min((epoch.dev_loss for epoch in past), default=math.inf)
            past.append(
                Epoch(
                    epoch=number,
                    steps=number * per_epoch,
                    learning_rate=rate,
                    train_loss=loss,
                    dev_loss=dev,
                    test_loss=test,
                    seconds=seconds,
                    rescaled=dev >= best,
                )
            )
            yield past[-1]

    def _loss(self, own: Pass) -> float | None:
        """Return the mean loss of one pass, once all members wait and are trained; None if time is up."""
        if own.model.device.type == "cuda":  # another thread's stream goes on with the model
            torch.cuda.current_stream().synchronize()
        with self._turn:
            self._waiting.append(own)
            self._turn.notify_all()
            self._turn.wait_for(lambda: id(own) in self._results or len(self._waiting) == self._members)
            if id(own) not in self._results:  # this thread sees first that all are here
                self._train_all()
                self._turn.notify_all()
            result = self._results.pop(id(own))
        if isinstance(result, BaseException):
            raise result
        return result

    def _train_all(self) -> None:
        # in the order of the epoch before, so that the same steps go on
        order = {id(model): at for at, model in enumerate(self._models)}
        passes = sorted(self._waiting, key=lambda each: order.get(id(each.model), len(order)))
        self._waiting = []
        try:
            losses = self._epoch(passes)
        except BaseException as error:
            self._results |= {id(each): error for each in passes}
        else:
            self._results |= dict(zip(map(id, passes), losses, strict=True))

    def _epoch(self, passes: Sequence[Pass]) -> Sequence[float | None]:
        """Take all steps of an epoch and return each model's mean loss; None for all if time is up."""
        models, settings = [each.model for each in passes], passes[0].settings
        if self._steps is None or list(map(id, models)) != list(map(id, self._models)):
            self._models, self._steps = models, self._steps_of(models, settings)
        inputs, targets = (
            torch.stack([streams(column, settings.batch, models[0].device) for column in columns])
            for columns in zip(*(each.examples for each in passes), strict=True)
        )
        self._steps.begin(passes)
        try:
            self._steps.reset(passes)
            for words, classes in zip(
                inputs.split(settings.steps_back, 1), targets.split(settings.steps_back, 1), strict=True
            ):
                if time.monotonic() > self.until:
                    return [None] * len(passes)
                self._steps.step(words, classes)
                for each in passes:
                    each.after_step(words[0].numel())
        finally:
            self._steps.finish()
        return (self._steps.losses / inputs[0].numel()).tolist()
