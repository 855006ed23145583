"""All tables of chapter 6."""

import numpy as np
import pandas as pd

from lmdynamics.ground import grid
from lmdynamics.models.runs import RunSettings
from lmdynamics.text.streams import Examples, Parts
from lmthesis import costs, language_models
from lmthesis.chapter_6 import loss_changes, words
from lmthesis.chapter_6.settings import THESIS, Settings
from lmthesis.chapter_6.words import CLASSES, MAIN, MeasuredText, SparseModels
from lmthesis.recorded import Tables, ran_table

OBSERVED = {
    "sparsities": "sparsity by word",
    "early_sparsities": "sparsity by word, within the first epoch",
    "allocations": "allocation of the change of loss",
}
"""What each job of this chapter does."""
LEFT_OUT = ("words", "vocabulary")
"""Tables that are not recorded: they have a row for every word."""


def study(scale: Settings) -> Tables:
    """Train the language models and their controls, and return the tables by name.

    Returns
    -------
    dict[str, pandas.DataFrame]
        Those of `words.tables` (`words`, `rho`, `class_effects`, `levels`, `noise`, `undefined`);
        `early_rho`, the second at snapshots within the first epoch; those of `loss_changes.tables` (`steps`,
        `allocated`, `concentration`); `frequent` and `excluded`, made from them; `log`, the losses;
        `vocabulary`: one row per word with its id, its `text`, its `frequency` in the training part and its
        `class`; `costs`: what all took; `properties`: what ran, beside the paper; `ran`: the same in a row
        for each seed.
    """
    text = language_models.prepared(scale)
    loss_changes.elsewhere(Examples.next_word(text.train.ids), scale)  # too short a text is refused at once
    sparse = words.trained(scale, text)
    with grid.costs() as spent:
        of_words = words.tables(sparse)
        early_rho = words.early_table(sparse)
        of_steps = loss_changes.tables(sparse, scale, of_words["words"])
    trained = {"language models": [(run, scale.epochs) for run in sparse.models.runs]} | {
        f"controls, {name}": [(run, sparse.control_epochs) for run in of_kind]
        for name, of_kind in sparse.controls.items()
    }
    tables = {
        **{name: table for name, table in of_words.items() if name != "words"},
        "early_rho": early_rho,
        **of_steps,
        "frequent": words.frequent_table(of_words["words"]),
        "log": language_models.loss_table(sparse.models),
        "excluded": words.excluded_table(sparse, scale.matched),
        "vocabulary": _vocabulary(sparse),
        "properties": property_table(scale, sparse),
        "costs": costs.table(trained, spent, OBSERVED),
        "ran": ran_table(scale, sparse.models.tokens * scale.epochs),
    }
    return {"words": of_words["words"], **language_models.on_axis(tables, sparse.models.tokens)}


def trainings(scale: Settings) -> list[tuple[RunSettings, Parts]]:
    """What `runs.train` is called with for a scale."""
    return words.jobs(scale, language_models.prepared(scale))


def corpora_read(scale: Settings) -> tuple[str, ...]:
    """Names of the corpora that a scale reads."""
    return (scale.corpus,)


def property_table(scale: Settings, sparse: SparseModels) -> pd.DataFrame:
    """What a scale trains and measures, beside the paper's own numbers (thesis chapter 6, section 2).

    Returns
    -------
    pandas.DataFrame
        One row per `property`: `this run` and `paper`, as text.
    """
    text = sparse.texts[MAIN]
    shared = language_models.properties(scale, THESIS, sparse.models.text)
    shared["vocabulary"] = (shared["vocabulary"][0], "19.5 thousand words")
    del shared["tokens to test on"]
    own = {
        "tokens measured": (f"{len(text.examples.inputs):,}, of the {scale.part} part", "–"),
        "occurrences that give a word its class": (f"{scale.min_count}", f"{THESIS.min_count}"),
        "words of open and closed classes": (
            " and ".join(f"{text.groups[name].sum():,}" for name in CLASSES[:2]),
            "–",
        ),
        "words of each class in matched samples": (f"{scale.matched}", f"{THESIS.matched}"),
        **{f"their frequencies, {name}": (spread, "–") for name, spread in _spreads(text).items()},
        "controls: units of other models": (", ".join(map(str, scale.widths)), "–"),
        "controls: epochs": (f"{sparse.control_epochs}", "–"),
        "steps whose change of loss is allocated": (f"{scale.steps} in each epoch", "–"),
        "on the loss of": (f"{scale.sample:,} tokens", "–"),
    }
    rows = [(name, *both) for name, both in {**shared, **own}.items()]
    return pd.DataFrame(rows, columns=["property", "this run", "paper"])


def _spreads(text: MeasuredText) -> dict[str, str]:
    """Frequencies of the words of matched samples, by class."""
    spreads = {}
    for name in CLASSES[:2]:
        if (chosen := text.groups.get(f"{name}, matched")) is not None:
            own = text.frequency[chosen]
            spreads[name] = f"mean {own.mean():,.0f}, {own.min():,} to {own.max():,}"
    return spreads


def _vocabulary(sparse: SparseModels) -> pd.DataFrame:
    text = sparse.texts[MAIN]
    names = [*CLASSES, loss_changes.UNKNOWN]  # a class of -1 is unknown
    return pd.DataFrame(
        {
            "word": np.arange(len(text.frequency)),
            "text": sparse.models.text.vocabulary.words,
            "frequency": text.frequency,
            "class": [names[each] for each in text.classes],
        }
    )
