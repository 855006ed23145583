"""The order in which slices are recorded, and what they will cost.

First the first seed of every chapter, then the second, and so on. Of each seed all models are trained side by
side, the longest first, those that chapters share once; then each chapter is measured, and at last what
compares the seed with those before it, whose models must be at hand.
"""

import importlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd

from lmdynamics.ground import grid
from lmdynamics.models import runs, training
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.runs import RunSettings
from lmdynamics.text.streams import Examples, Parts
from lmthesis import recorded
from lmthesis.scales import Settings

SECONDS = 30.0
"""Of measuring how fast this machine trains."""
Training = tuple[RunSettings, Parts]
"""What `runs.train` is to be called with."""


class Slice(NamedTuple):
    """A part of a study that is recorded by itself."""

    chapter: str
    scale: Settings
    """With one seed, or two that are compared."""


@dataclass(frozen=True)
class Recording:
    """Chapters at a scale, to be recorded slice by slice."""

    scales: Mapping[str, Settings]
    """By chapter."""
    folder: Path = recorded.RESULTS
    corpus: str | None = None
    """What the scales were given to read, see `recorded.record`."""
    articles: int | None = None

    def record(self, *, again: bool = False) -> Iterator[Path]:
        """Record what is not kept yet, or all again, and yield the folder of each slice when it is there."""
        for seed in self.seeds:
            of_seed = [each for each in self._of_seed(seed) if again or not self._is_recorded(each)]
            grid.results(runs.train, _longest_first(_trainings(of_seed)))
            for each in of_seed:
                yield self._record(each)
            for each in self._pairs(seed):
                if again or not self._is_recorded(each):
                    yield self._record(each)

    def measured_again(self) -> Iterator[tuple[Slice, recorded.Tables, recorded.Tables]]:
        """Measure each seed that is kept again, and yield the slice with its tables as kept and as of now."""
        for seed in self.seeds:
            for each in self._of_seed(seed):
                kept = recorded.load(*each, self.folder).tables
                with tempfile.TemporaryDirectory() as folder:
                    recorded.record(*each, Path(folder), **self._text)
                    yield each, kept, recorded.load(*each, Path(folder)).tables

    def plan(self, *, again: bool = False, seconds: float = SECONDS) -> str:
        """Say of each slice whether it is kept, and what is to be trained for it.

        Parameters
        ----------
        again
            Whether to record what is kept already.
        seconds
            Of measuring how fast this machine trains.
        """
        slices = [each for seed in self.seeds for each in self._of_seed(seed)]
        done = {each: self._is_recorded(each) for each in slices}
        missing = [each for each in slices if again or not done[each]]
        lacking = {each: [one for one in _trainings([each]) if not _is_whole(one)] for each in missing}
        speeds = _speeds([one for several in lacking.values() for one in several], seconds)
        rows = []
        seen: set[str] = set()  # what chapters share is trained for the first of them
        for each in slices:
            wanted = [one for one in lacking.get(each, []) if _name(one) not in seen]
            seen.update(map(_name, wanted))
            seconds_left = sum(_tokens_left(one) / speeds[_kind(one)] for one in wanted)
            rows.append(
                {
                    "slice": f"{each.chapter}, seed {each.scale.seeds[0]}",
                    "kept": self._said(each) if done[each] else "no",
                    "models to train": len(wanted),
                    "tokens": sum(map(_tokens_left, wanted)),
                    "hours": seconds_left / 3600 / joblib.cpu_count(),
                    "GB": sum(map(_bytes, wanted)) / 1e9,
                }
            )
        table = pd.DataFrame(rows)
        total = table[["models to train", "tokens", "hours", "GB"]].sum()
        shown = table.to_string(
            index=False,
            formatters={"tokens": "{:,}".format, "hours": "{:.1f}".format, "GB": "{:.1f}".format},
        )
        return (
            f"{shown}\n\nIn all {total['models to train']:.0f} models, {total['tokens']:,.0f} tokens, "
            f"{total['hours']:.1f} hours of {joblib.cpu_count()} processors, {total['GB']:.1f} GB of "
            f"checkpoints in the cache. Measuring comes on top{self._measuring()}."
        )

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of all chapters, in their order."""
        return tuple(dict.fromkeys(seed for scale in self.scales.values() for seed in scale.seeds))

    def _of_seed(self, seed: int) -> list[Slice]:
        return [
            Slice(name, replace(scale, seeds=(seed,)))
            for name, scale in self.scales.items()
            if seed in scale.seeds
        ]

    def _pairs(self, seed: int) -> Iterator[Slice]:
        """What compares a seed with those before it that are recorded and whose models are at hand."""
        for name, scale in self.scales.items():
            study = _study(name)
            if seed not in scale.seeds or not hasattr(study, "of_pairs"):
                continue
            kept = recorded.seeds(name, scale, self.folder, **self._text)
            for before in (each for each in kept if each < seed):
                pair = Slice(name, replace(scale, seeds=(before, seed)))
                if all(map(_is_whole, study.trainings(pair.scale))):
                    yield pair

    @property
    def _text(self) -> dict[str, Any]:
        return {"corpus": self.corpus, "articles": self.articles}

    def _record(self, each: Slice) -> Path:
        return recorded.record(*each, self.folder, **self._text)

    def _is_recorded(self, each: Slice) -> bool:
        return recorded.is_recorded(*each, self.folder, **self._text)

    def _said(self, each: Slice) -> str:
        return "yes" if recorded.is_current(*each, self.folder, **self._text) else "yes, by other code"

    def _measuring(self) -> str:
        """How much measuring took in what is recorded, beside training."""
        ratios = [
            about["seconds"] / about["seconds_of_training"]
            for name, scale in self.scales.items()
            for about in recorded.abouts(name, scale.name, self.folder, **self._text)
            if about.get("seconds_of_training")
        ]
        return (
            f": in what is recorded, {100 * np.median(ratios):.0f} % of the hours of training"
            if ratios
            else ""
        )


def _study(chapter: str) -> Any:
    return importlib.import_module(f"lmthesis.{chapter}.study")


def _trainings(slices: list[Slice]) -> list[Training]:
    """What is to be trained for some slices, each model once; of two lengths of one model the longer."""
    longest: dict[str, Training] = {}
    for chapter, scale in slices:
        for one in _study(chapter).trainings(scale):
            other = longest.get(_name(one))
            if other is None or one[0].training.epochs > other[0].training.epochs:
                longest[_name(one)] = one
    return list(longest.values())


def _longest_first(trainings: list[Training]) -> list[Training]:
    """The order in which processors are idle for the shortest time at the end."""
    return sorted(trainings, key=lambda one: _operations(one) * _tokens_left(one), reverse=True)


def _name(one: Training) -> str:
    return runs.name(*one)


def _is_whole(one: Training) -> bool:
    run = runs.kept(*one)
    return run is not None and len(run.epochs) > one[0].training.epochs


def _tokens_left(one: Training) -> int:
    settings, parts = one
    run = runs.kept(settings, parts)
    done = len(run.epochs) - 1 if run else 0
    return max(0, settings.training.epochs - max(done, 0)) * len(parts.train.inputs)


def _operations(one: Training) -> int:
    """Multiplications for one token, in about."""
    model, classes = one[0].model, len(one[0].classes)
    return model.layers * 8 * model.units**2 + model.units * classes


def _bytes(one: Training) -> int:
    """Of all checkpoints of a run."""
    settings, parts = one
    model, words, classes = settings.model, len(settings.words), len(settings.classes)
    weights = model.units * (words + classes) + classes + model.layers * 8 * model.units * (model.units + 1)
    return 4 * weights * (settings.training.epochs + 1 + len(runs.snapshot_steps(settings, parts)))


def _kind(one: Training) -> tuple[int, ...]:
    """What decides how fast a model is trained."""
    settings = one[0]
    model, how = settings.model, settings.training
    return (model.layers, model.units, len(settings.words), len(settings.classes), how.batch, how.steps_back)


def _speeds(trainings: list[Training], seconds: float) -> dict[tuple[int, ...], float]:
    """Tokens that a processor trains on in a second while all others do so too, by kind of model."""
    kinds = {_kind(one): one[0] for one in trainings}
    processors = joblib.cpu_count()
    calls = [(settings, seconds / len(kinds)) for settings in kinds.values() for _ in range(processors)]
    speeds = grid.results(speed, calls)
    return {
        kind: float(np.mean(speeds[number * processors : (number + 1) * processors]))
        for number, kind in enumerate(kinds)
    }


def speed(settings: RunSettings, seconds: float) -> float:
    """Return on how many tokens in a second a model is trained, on random words, for so many seconds."""
    how = replace(settings.training, learning_rate=0.1)
    words, classes = len(settings.words), len(settings.classes)
    model = RecurrentModel(settings.model, words=words, classes=classes, seed=0)
    random = np.random.default_rng(0)
    size = 1000 * how.batch * how.steps_back
    examples = Examples(random.integers(words, size=size), random.integers(classes, size=size))
    steps = training.steps(model, examples, how, seed=0, epoch=1, rate=0.1)
    next(steps)  # which allocates memory
    begun, tokens = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < seconds or not tokens:
        tokens += next(steps).tokens
    return tokens / passed
