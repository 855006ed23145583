"""Chapter 4: what diagnostic classifiers read off a language model, over training (thesis figures 6 and 7).

Probes label each word (`y[t]`) or the word after it (`y[t+1]`) of a task's corpus, whose sentences are read
in the random order in which taggers read them.
"""

import time
from collections.abc import Mapping
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int
from torch import Tensor

from lmdynamics.ground import grid
from lmdynamics.ground.progress import report
from lmdynamics.measures import probes
from lmdynamics.measures.probes import RANDOM, Labelled, ProbeSettings
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.runs import Run
from lmdynamics.observe import activations
from lmdynamics.text.tasks import Task
from lmthesis.chapter_4.taggers import Taggers

AHEAD = {"y[t]": 0, "y[t+1]": 1}
"""What a probe labels: by how many tokens that lies ahead."""


class Labelling(NamedTuple):
    """Which class of each token a probe is to tell."""

    task: str
    predicts: str
    labels: str


class Read(NamedTuple):
    """Some sentences of a part: each word and the one after it, and labellings of the former."""

    words: Mapping[str, Int[np.ndarray, " tokens"]]
    """By what a probe labels."""
    labels: Mapping[Labelling, Int[np.ndarray, " tokens"]]


def accuracy_table(taggers: Taggers, settings: tuple[ProbeSettings, ...]) -> pd.DataFrame:
    """Return how well probes label tokens of the test part, for each layer after each epoch.

    Parameters
    ----------
    taggers
        Language models and tasks.
    settings
        One for each kind of probe.

    Returns
    -------
    pandas.DataFrame
        One row per probe: `task, predicts` (a key of `AHEAD`), `labels` (`true`; `control`: each word has one
        class, drawn at random), `hidden` (whether the probe has a hidden layer), `seed, epoch, layer`
        (`RANDOM` at epoch 0 for the baseline), `corpus`; `accuracy` and `train_accuracy` in [0, 1], `loss` in
        nats per token, `majority`: the accuracy of always answering the class most frequent in train, the
        number of test `tokens`; and the `seconds` that all probes of a seed and corpus took in all.
    """
    train_tokens = max(each.train_tokens for each in settings)
    test_tokens = max(each.test_tokens for each in settings)
    jobs = []
    for (corpus, text), run in product(taggers.texts.items(), taggers.models.runs):
        tasks, seed = [task for task in taggers.tasks.values() if task.text is text], run.settings["seed"]
        train, test = _read(tasks, "train", train_tokens, seed), _read(tasks, "test", test_tokens, seed)
        jobs.append((run, taggers.models.epochs, corpus, train, test, settings))
    return grid.table(accuracies, jobs)


def accuracies(
    run: Run, last: int, corpus: str, train: Read, test: Read, settings: tuple[ProbeSettings, ...]
) -> pd.DataFrame:
    """Return how well probes of one model do on one corpus: rows of `accuracy_table`.

    Parameters
    ----------
    run, last
        The model, from epoch 0 to this one.
    corpus
        Name of what it reads.
    train, test
        Tokens and true labels.
    settings
        One for each kind of probe.
    """
    begun, seed = time.perf_counter(), run.settings["seed"]
    train, test = _with_controls(train, test, seed)
    rows = []
    for epoch in range(last + 1):
        report(f"probing on {corpus}, seed {seed}: epoch {epoch} of {last}")
        model = run.model(epoch)
        train_views, test_views = (_views(model, part, seed, random=epoch == 0) for part in (train, test))
        sides = _sides(train, train_views), _sides(test, test_views, known=_known(train, test))
        pairs = list(product(train_views, map(str, train.labels)))
        for each in settings:
            scores = probes.probe(*sides, pairs, each, seed=seed)
            rows += [
                {
                    **labelling._asdict(),
                    "hidden": each.hidden,
                    "seed": seed,
                    "epoch": epoch,
                    "layer": layer,
                    "corpus": corpus,
                    **scores[layer, str(labelling)]._asdict(),
                    "majority": probes.majority(train.labels[labelling], test.labels[labelling]),
                    "tokens": min(each.test_tokens, int(_known(train, test).sum())),
                }
                for layer, labelling in product(train_views, train.labels)
            ]
    return pd.DataFrame(rows).assign(seconds=time.perf_counter() - begun)


def _with_controls(train: Read, test: Read, seed: int) -> tuple[Read, Read]:
    """The same with a control task beside each true labelling."""
    of_train, of_test = dict(train.labels), dict(test.labels)
    for labelling, true in train.labels.items():
        control, predicts = labelling._replace(labels="control"), labelling.predicts
        of_train[control], of_test[control] = probes.control_labels(
            train.words[predicts], test.words[predicts], true, seed=seed
        )
    return Read(train.words, of_train), Read(test.words, of_test)


def _read(tasks: list[Task], part: str, tokens: int, seed: int) -> Read:
    """As many tokens as wanted, with their true labels. All tasks share the text."""
    tagged = {task.name: task.examples(part, tagger="input", labels="true", seed=seed) for task in tasks}
    tokens = min(tokens, len(tagged[tasks[0].name].ids) - 1)
    ids = tagged[tasks[0].name].ids
    words = {predicts: ids[ahead:][:tokens] for predicts, ahead in AHEAD.items()}
    labels = {
        Labelling(name, predicts, "true"): classes[ahead:][:tokens]
        for (name, (_, classes)), (predicts, ahead) in product(tagged.items(), AHEAD.items())
    }
    return Read(words, labels)


def _views(model: RecurrentModel, part: Read, seed: int, *, random: bool) -> dict[str, Tensor]:
    """Each layer of a model, and the baseline where it is asked for."""
    views = activations.states(model, part.words["y[t]"])
    if random:
        baseline = probes.random_embedding(part.words["y[t]"], model.settings.units, seed=seed)
        views[RANDOM] = baseline.to(model.device)
    return views


def _known(train: Read, test: Read) -> np.ndarray:
    """Test tokens whose class is among those of the training tokens, in every labelling."""
    return np.all([np.isin(test.labels[name], train.labels[name]) for name in train.labels], axis=0)


def _sides(part: Read, views: dict[str, Tensor], known: np.ndarray | None = None) -> Labelled:
    chosen = slice(None) if known is None else np.flatnonzero(known)
    return Labelled(
        {name: rows[chosen] for name, rows in views.items()},
        {str(name): classes[chosen] for name, classes in part.labels.items()},
    )
