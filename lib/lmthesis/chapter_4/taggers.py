"""Taggers beside the language models of a scale, and how well they tag (thesis chapter 4, table 2)."""

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple, get_args

import numpy as np
import pandas as pd

from lmdynamics.ground.grid import cached
from lmdynamics.models import runs
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.runs import Run, RunSettings
from lmdynamics.models.training import mean_loss
from lmdynamics.observe import activations
from lmdynamics.text import tasks
from lmdynamics.text.streams import Examples, Parts
from lmdynamics.text.tasks import Labels, Tagger, Task
from lmdynamics.text.vocabulary import PreparedText
from lmthesis import language_models
from lmthesis.language_models import LanguageModels, parallel
from lmthesis.scales import Scale

KINDS = tuple(product(tasks.NAMES, get_args(Tagger), get_args(Labels)))
"""Task, tagger and labels of each kind of tagger."""


class Key(NamedTuple):
    """Which tagger."""

    task: str
    tagger: Tagger
    labels: Labels
    seed: int

    @property
    def weights_seed(self) -> int:
        """Of the initial weights: another one for each tagger, so that none begins where its model does."""
        return 1000 * (1 + KINDS.index(self[:3])) + self.seed


@dataclass(frozen=True)
class Taggers:
    """Language models, and the taggers to compare them with: for each seed one of each kind."""

    models: LanguageModels
    tasks: dict[str, Task]
    runs: dict[Key, Run]
    epochs: dict[str, int]
    """Passes over the training part, by task; a run on disk may hold more."""

    @property
    def names(self) -> list[tuple[str, int]]:
        """What tells these taggers from others: the name of each run, and its epochs."""
        return [(run.folder.name, self.epochs[key.task]) for key, run in self.runs.items()]

    def model(self, key: Key) -> RecurrentModel:
        """Load a tagger as it is to be compared."""
        return self.runs[key].model(self.epochs[key.task])

    @property
    def shared(self) -> PreparedText:
        """The longest articles of the language model's own corpus, on which all can be compared."""
        return self.tasks["topic"].text

    @property
    def texts(self) -> dict[str, PreparedText]:
        """All texts that taggers were trained on by the name of their corpus, the shared one first."""
        every = (self.shared, *(task.text for task in self.tasks.values()))
        return {text.corpus.name: text for text in every}


def trained(scale: Scale) -> Taggers:
    """Return language models and taggers of a scale, training what is missing, all side by side.

    Every tagger has one LSTM layer of the language model's width and is trained in the same way, for as many
    epochs as `TaskSettings` say.
    """
    text = language_models.prepared(scale)
    found = {task.name: task for task in tasks.load(text, scale.tasks)}
    keys = [Key(*key) for key in product(found, get_args(Tagger), get_args(Labels), scale.seeds)]
    jobs = [*language_models.jobs(scale, text), *(_job(scale, found[key.task], key) for key in keys)]
    made = parallel(runs.train, jobs)
    of_words = tuple(made[: len(scale.seeds)])
    models = LanguageModels(text, of_words, scale.training.epochs, scale.compared_tokens)
    epochs = {name: _epochs(scale, task) for name, task in found.items()}
    return Taggers(models, found, dict(zip(keys, made[len(scale.seeds) :], strict=True)), epochs)


def performance(taggers: Taggers) -> pd.DataFrame:
    """Return how well each tagger tags the test part of its own corpus.

    Returns
    -------
    pandas.DataFrame
        One row per tagger: `task, tagger, labels, seed, corpus, classes, train_tokens, dev_tokens, epochs`,
        `accuracy` in [0, 1], `train_accuracy` on as many tokens of train, `perplexity` (at least 1), and
        `majority`: the accuracy of always answering the tag that is most frequent in train.
    """

    def compute() -> pd.DataFrame:
        jobs = ((taggers.tasks[k.task], k, run, taggers.epochs[k.task]) for k, run in taggers.runs.items())
        return pd.DataFrame(parallel(_performance, jobs))

    return cached("taggers", taggers.names, compute, code=__name__)


def _epochs(scale: Scale, task: Task) -> int:
    if scale.tasks.tokens is None:
        return scale.tasks.epochs
    return min(scale.tasks.epochs, max(1, round(scale.tasks.tokens / len(task.text.train.ids))))


def _job(scale: Scale, task: Task, key: Key) -> tuple[RunSettings, Parts]:
    parts = Parts(*(Examples(*_examples(task, key, part)) for part in ("train", "dev")))
    settings = RunSettings(
        model=replace(scale.model, layers=1),
        training=replace(scale.training, epochs=_epochs(scale, task)),
        words=task.text.vocabulary.words,
        classes=task.classes,
        seed=key.weights_seed,
        about=f"{key.tagger} tagger, {key.task}, {key.labels} labels, {task.text.corpus.name}",
    )
    return settings, parts


def _performance(task: Task, key: Key, run: Run, epochs: int) -> dict[str, object]:
    model, train, test = run.model(epochs), _examples(task, key, "train"), _examples(task, key, "test")
    frequent = np.bincount(train.classes).argmax()
    return {
        **key._asdict(),
        "corpus": task.text.corpus.name,
        "classes": len(task.classes),
        "train_tokens": len(task.text.train.ids),
        "dev_tokens": len(task.text.dev.ids),
        "epochs": epochs,
        "accuracy": _accuracy(model, test),
        "train_accuracy": _accuracy(model, tasks.Tagged(*(column[: len(test.ids)] for column in train))),
        "perplexity": math.exp(mean_loss(model, Examples(*test))),
        "majority": float((test.classes == frequent).mean()),
    }


def _accuracy(model: RecurrentModel, tagged: tasks.Tagged) -> float:
    return float((activations.answers(model, tagged.ids) == tagged.classes).mean())


def _examples(task: Task, key: Key, part: str) -> tasks.Tagged:
    return task.examples(part, tagger=key.tagger, labels=key.labels, seed=key.seed)
