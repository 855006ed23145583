"""Taggers beside the language models of a scale, and how well they tag (thesis chapter 4, tables 1 and 2)."""

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple, get_args

import numpy as np
import pandas as pd

from lmdynamics.ground import grid
from lmdynamics.models import runs
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.runs import Run, RunSettings
from lmdynamics.models.training import mean_loss
from lmdynamics.observe import activations
from lmdynamics.text import tasks
from lmdynamics.text.streams import Examples, Parts
from lmdynamics.text.tasks import Labels, Tagged, Tagger, Task, TaskSettings
from lmdynamics.text.vocabulary import PreparedText
from lmthesis import language_models
from lmthesis.chapter_4.settings import Settings
from lmthesis.language_models import LanguageModels

KINDS = tuple(product(tasks.NAMES, get_args(Tagger), get_args(Labels)))
"""Task, tagger and labels of each kind of tagger."""
_PLACE = "To have it, place {} in the folder that LMDYNAMICS_DATA names, as data/README.md says."
_GMB, _PMB = _PLACE.format("gmb/ner_dataset.csv"), _PLACE.format("semtags/pmb-4.0.0-en-gold/*.conll")
_ORIGINS = {
    "UDP POS": ("universal parts of speech, by spaCy", None, ""),
    "PTB POS": ("Penn Treebank parts of speech, partly corrected by hand", "gmb", _GMB),
    "SEM (coarse)": ("classes of universal semantic tags, gold", "pmb", _PMB),
    "SEM (fine)": ("universal semantic tags, gold", "pmb", _PMB),
    "topic": ("the article", None, ""),
}
"""Of each task: its tags, the corpus that brings them, and how to get that."""


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


def trained(scale: Settings, text: PreparedText) -> Taggers:
    """Return language models and taggers of a scale on its text, training what is missing, all side by side.

    Every tagger has one LSTM layer of the language model's width and is trained in the same way, for as many
    epochs as the settings say.
    """
    by_name = {task.name: task for task in tasks.load(text, scale.tasks)}
    epochs = {name: _epochs(scale.tasks, task) for name, task in by_name.items()}
    keys = _keys(scale, by_name)
    made = grid.results(runs.train, [*language_models.jobs(scale, text), *_jobs(scale, by_name)])
    models = LanguageModels(text, tuple(made[: len(scale.seeds)]), scale.epochs)
    return Taggers(models, by_name, dict(zip(keys, made[len(scale.seeds) :], strict=True)), epochs)


def jobs(scale: Settings, text: PreparedText) -> list[tuple[RunSettings, Parts]]:
    """What `runs.train` is to be called with, once for each tagger."""
    return _jobs(scale, {task.name: task for task in tasks.load(text, scale.tasks)})


def shared_text(scale: Settings, text: PreparedText) -> PreparedText:
    """Return the longest articles of the language models' own corpus, on which all can be compared."""
    (topic,) = tasks.load(text, scale.tasks, ["topic"])
    return topic.text


def _keys(scale: Settings, by_name: dict[str, Task]) -> list[Key]:
    return [Key(*key) for key in product(by_name, get_args(Tagger), get_args(Labels), scale.seeds)]


def _jobs(scale: Settings, by_name: dict[str, Task]) -> list[tuple[RunSettings, Parts]]:
    return [
        _job(scale, by_name[key.task], key, _epochs(scale.tasks, by_name[key.task]))
        for key in _keys(scale, by_name)
    ]


def _epochs(settings: TaskSettings, task: Task) -> int:
    if settings.tokens is None:
        return settings.epochs
    return min(settings.epochs, max(1, round(settings.tokens / len(task.text.train.ids))))


def _job(scale: Settings, task: Task, key: Key, epochs: int) -> tuple[RunSettings, Parts]:
    """What `runs.train` is to be called with."""
    parts = Parts(*(Examples(*_examples(task, key, part)) for part in ("train", "dev")))
    settings = RunSettings(
        model=replace(scale.model, layers=1),
        training=replace(scale.training, epochs=epochs),
        words=task.text.vocabulary.words,
        classes=task.classes,
        seed=key.weights_seed,
        about=f"{key.tagger} tagger, {key.task}, {key.labels} labels, {task.text.corpus.name}",
    )
    return settings, parts


def _examples(task: Task, key: Key, part: str) -> Tagged:
    return task.examples(part, tagger=key.tagger, labels=key.labels, seed=key.seed)


def performance_table(taggers: Taggers) -> pd.DataFrame:
    """Return how well each tagger tags the test part of its own corpus.

    Returns
    -------
    pandas.DataFrame
        One row per tagger: `task, tagger, labels, seed, corpus, classes, train_tokens, dev_tokens, epochs`,
        `majority`: the accuracy of always answering the tag that is most frequent in train; `accuracy` in
        [0, 1], `train_accuracy` on as many tokens of train, and `perplexity` (at least 1).
    """
    about, jobs = [], []
    for key, run in taggers.runs.items():
        task, epochs = taggers.tasks[key.task], taggers.epochs[key.task]
        train, test = (_examples(task, key, part) for part in ("train", "test"))
        about.append(
            {
                **key._asdict(),
                "corpus": task.text.corpus.name,
                "classes": len(task.classes),
                "train_tokens": len(task.text.train.ids),
                "dev_tokens": len(task.text.dev.ids),
                "epochs": epochs,
                "majority": float((test.classes == np.bincount(train.classes).argmax()).mean()),
            }
        )
        begin = Tagged(*(column[: len(test.ids)] for column in train))
        jobs.append((run, epochs, begin, test))
    return pd.concat([pd.DataFrame(about), grid.table(performance, jobs)], axis=1)


def performance(run: Run, epochs: int, train: Tagged, test: Tagged) -> pd.DataFrame:
    """Return how well one tagger tags: `accuracy`, `train_accuracy` and `perplexity`, in one row.

    Parameters
    ----------
    run, epochs
        The tagger.
    train, test
        Some of what it was trained on, and what it is tested on.
    """
    model = run.model(epochs)
    scores = {
        "accuracy": _accuracy(model, test),
        "train_accuracy": _accuracy(model, train),
        "perplexity": math.exp(mean_loss(model, Examples(*test))),
    }
    return pd.DataFrame([scores])


def _accuracy(model: RecurrentModel, tagged: Tagged) -> float:
    return float((activations.answers(model, tagged.ids) == tagged.classes).mean())


def example_table(taggers: Taggers) -> pd.DataFrame:
    """Annotate one sentence of the shared test part with the tags of all tasks (thesis chapter 4, table 1).

    Returns
    -------
    pandas.DataFrame
        A row for each token, a column for each task. Tags that the text does not bring are those that the
        first input tagger answers; their columns are marked with `*`.
    """
    text = taggers.shared
    part = text.test
    lengths = np.diff(part.sentences)
    unknown = np.add.reduceat(part.ids == 0, part.sentences[:-1])
    letters = np.array([word.isalpha() for word in text.corpus.words])[text.corpus.tokens[part.source]]
    others = np.add.reduceat(~letters, part.sentences[:-1], dtype=np.int64)
    (fit,) = np.nonzero((lengths >= 8) & (lengths <= 10) & (unknown == 0) & (others <= 1))
    if not len(fit):
        fit = np.flatnonzero(lengths == lengths.min())
    begin, end = part.sentences[fit[0]], part.sentences[fit[0] + 1]
    columns = {"token": [text.corpus.words[code] for code in text.corpus.tokens[part.source[begin:end]]]}
    for name, task in taggers.tasks.items():
        if task.text is text:
            columns[name] = [task.tags.values[code] for code in task.tags.codes[part.source[begin:end]]]
        else:
            tagger = next(key for key in taggers.runs if key[:3] == (name, "input", "true"))
            answers = activations.answers(taggers.model(tagger), part.ids[begin:end])
            columns[f"{name} *"] = [task.classes[answer] for answer in answers]
    return pd.DataFrame(columns)


def source_table(taggers: Taggers) -> pd.DataFrame:
    """Say of each task where its tags come from in this run, and how to get what is absent.

    Returns
    -------
    pandas.DataFrame
        A row for each of `tasks.NAMES`: `task`, `tags`, `text`, as text.
    """
    rows = []
    for name, (tags, home, remedy) in _ORIGINS.items():
        if name not in taggers.tasks:
            rows.append((name, tags, f"absent, so left out. {remedy}"))
            continue
        text = taggers.tasks[name].text.corpus.name
        if home in (text, None):
            rows.append((name, tags, text))
        else:
            rows.append((name, "spaCy's Penn tags instead", f"{text}. {home} is absent. {remedy}"))
    return pd.DataFrame(rows, columns=["task", "tags", "text"])
