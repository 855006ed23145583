"""Chapter 4: what diagnostic classifiers read off a language model, over training (thesis figures 6 and 7).

Probes label each word (`y[t]`) or the word after it (`y[t+1]`) of a task's corpus, whose sentences are read
in the random order in which taggers read them.
"""

import time
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor

from lmdynamics.ground.grid import cached
from lmdynamics.ground.progress import report
from lmdynamics.measures import probes
from lmdynamics.measures.probes import RANDOM, Labelled, ProbeSettings
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.observe import activations
from lmdynamics.text.tasks import Task
from lmthesis.chapter_4.taggers import Taggers
from lmthesis.language_models import parallel

AHEAD = {"y[t]": 0, "y[t+1]": 1}
"""What a probe labels: by how many tokens that lies ahead."""


def accuracies(found: Taggers, settings: tuple[ProbeSettings, ...]) -> pd.DataFrame:
    """Return how well probes label tokens of the test part, for each layer after each epoch.

    Parameters
    ----------
    found
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
    runs = [run.folder.name for run in found.models.runs]
    tasks = [[task.name, task.text.fingerprint, *task.classes] for task in found.tasks.values()]
    seeds = [run.settings["seed"] for run in found.models.runs]

    def compute() -> pd.DataFrame:
        grid = product(found.texts, seeds)
        return pd.concat(parallel(_of_seed, ((found, settings, *each) for each in grid)), ignore_index=True)

    return cached("probes", [runs, found.models.epochs, tasks, repr(settings)], compute, code=__name__)


class _Labelling(NamedTuple):
    task: str
    predicts: str
    labels: str


class _Read(NamedTuple):
    """Some sentences of a part: each word and the one after it, and labellings of the former."""

    words: dict[str, np.ndarray]
    """By what a probe labels."""
    labels: dict[_Labelling, np.ndarray]


def _of_seed(found: Taggers, settings: tuple[ProbeSettings, ...], corpus: str, seed: int) -> pd.DataFrame:
    """All probes of one seed's model on one corpus."""
    begun, run = time.perf_counter(), found.models.of_seed(seed)
    tasks = [task for task in found.tasks.values() if task.text is found.texts[corpus]]
    train = _read(tasks, "train", max(each.train_tokens for each in settings), seed)
    test = _read(tasks, "test", max(each.test_tokens for each in settings), seed)
    for labelling in list(train.labels):
        control = labelling._replace(labels="control")
        train.labels[control], test.labels[control] = probes.control_labels(
            train.words[labelling.predicts],
            test.words[labelling.predicts],
            train.labels[labelling],
            seed=seed,
        )
    rows = []
    for epoch in range(found.models.epochs + 1):
        report(f"probing on {corpus}, seed {seed}: epoch {epoch} of {found.models.epochs}")
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


def _read(tasks: list[Task], part: str, tokens: int, seed: int) -> _Read:
    """As many tokens as wanted, with their true labels. All tasks share the text."""
    tagged = {task.name: task.examples(part, tagger="input", labels="true", seed=seed) for task in tasks}
    tokens = min(tokens, len(tagged[tasks[0].name].ids) - 1)
    ids = tagged[tasks[0].name].ids
    words = {predicts: ids[ahead:][:tokens] for predicts, ahead in AHEAD.items()}
    labels = {
        _Labelling(name, predicts, "true"): classes[ahead:][:tokens]
        for (name, (_, classes)), (predicts, ahead) in product(tagged.items(), AHEAD.items())
    }
    return _Read(words, labels)


def _views(model: RecurrentModel, part: _Read, seed: int, *, random: bool) -> dict[str, Tensor]:
    """Each layer of a model, and the baseline where it is asked for."""
    views = activations.states(model, part.words["y[t]"])
    if random:
        views[RANDOM] = probes.random_embedding(part.words["y[t]"], model.settings.units, seed=seed)
    return views


def _known(train: _Read, test: _Read) -> np.ndarray:
    """Test tokens whose class is among those of the training tokens, in every labelling."""
    return np.all([np.isin(test.labels[name], train.labels[name]) for name in train.labels], axis=0)


def _sides(part: _Read, views: dict[str, Tensor], known: np.ndarray | None = None) -> Labelled:
    chosen = slice(None) if known is None else np.flatnonzero(known)
    return Labelled(
        {name: rows[chosen] for name, rows in views.items()},
        {str(name): classes[chosen] for name, classes in part.labels.items()},
    )
