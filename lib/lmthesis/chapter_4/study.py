"""All tables of chapter 4."""

import numpy as np
import pandas as pd
from jaxtyping import Int

from lmdynamics import plots
from lmdynamics.models.runs import Run, RunSettings
from lmdynamics.observe import activations
from lmdynamics.text import corpora, tasks
from lmdynamics.text.streams import Parts
from lmdynamics.text.vocabulary import PreparedText
from lmthesis import language_models
from lmthesis.chapter_4 import layers, probing, taggers, trajectories
from lmthesis.chapter_4.settings import THESIS, Settings
from lmthesis.chapter_4.taggers import Taggers
from lmthesis.language_models import LanguageModels
from lmthesis.recorded import Tables, ran_table

LEFT_OUT = ("example",)
"""Tables that are not recorded: they show words of the text."""


def study(scale: Settings) -> Tables:
    """Train the language models and taggers of a scale, side by side, and return the tables by name.

    Returns
    -------
    dict[str, pandas.DataFrame]
        Those of `of_language_models`; `ceiling` of `layers`, on the text that taggers are compared on;
        `taggers`, `sources` and `example` of `taggers`; `trajectories` and `probes` of the modules of
        these names, and `early_trajectories`; `costs`: what all took; `properties`: what ran, beside the
        paper.
    """
    text = language_models.prepared(scale)
    compared(scale, text)  # too short a text is refused at once
    trained = taggers.trained(scale, text)
    tables = {
        **_of_language_models(scale, trained.models),
        "ceiling": layers.ceiling_table(trained.models, compared(scale, trained.shared)),
        "taggers": taggers.performance_table(trained),
        "trajectories": trajectories.trajectory_table(trained, scale.compared_tokens),
        "early_trajectories": trajectories.early_table(trained, scale.compared_tokens),
        "probes": probing.accuracy_table(trained, scale.probes),
        "sources": taggers.source_table(trained),
        "example": taggers.example_table(trained),
        "properties": property_table(scale, text),
    }
    return language_models.on_axis({**tables, "costs": cost_table(trained, tables)}, trained.models.tokens)


def of_pairs(scale: Settings) -> Tables:
    """Return what compares models of two seeds: rows of the tables `similarities`, `ceiling` and `costs`."""
    models = language_models.trained(scale)
    tables = {
        "similarities": layers.pair_table(models, compared(scale, models.text)),
        "ceiling": layers.ceiling_table(models, compared(scale, taggers.shared_text(scale, models.text))),
    }
    return language_models.on_axis({**tables, "costs": _pair_costs(tables["similarities"])}, models.tokens)


def trainings(scale: Settings) -> list[tuple[RunSettings, Parts]]:
    """What `runs.train` is called with for a scale."""
    text = language_models.prepared(scale)
    return [*language_models.jobs(scale, text), *taggers.jobs(scale, text)]


def corpora_read(scale: Settings) -> tuple[str, ...]:
    """Names of the corpora that a scale reads."""
    return (scale.corpus, *filter(corpora.at_hand, tasks.CORPORA))


def of_language_models(scale: Settings) -> Tables:
    """Train the language models of a scale alone, and return the tables that need no taggers, by name.

    Returns
    -------
    dict[str, pandas.DataFrame]
        `losses`; `similarities` of `layers`; both at snapshots within the first epoch, `early_losses` and
        `early_similarities`; `ran`: what ran, a row for each seed. Whatever was measured after an epoch or at
        a snapshot also names the `tokens_read`.
    """
    return _of_language_models(scale, language_models.trained(scale))


def _of_language_models(scale: Settings, models: LanguageModels) -> Tables:
    ids = compared(scale, models.text)
    tables = {
        "losses": language_models.loss_table(models),
        "early_losses": language_models.early_loss_table(models),
        "similarities": layers.similarity_table(models, ids),
        "early_similarities": layers.early_table(models, ids),
        "ran": ran_table(scale, models.tokens * scale.epochs),
    }
    return language_models.on_axis(tables, models.tokens)


def compared(scale: Settings, text: PreparedText) -> Int[np.ndarray, " tokens"]:
    """Tokens of a text's test part on which layers are compared.

    Raises
    ------
    ValueError
        If they are too few for layers of so many units.
    """
    ids = activations.spread(text.test.ids, scale.compared_tokens)
    if len(ids) < scale.units + 2:
        raise ValueError(
            f"layers of {scale.units} units need {scale.units + 2} tokens or more to be compared on, got "
            f"{len(ids)} in the test part of {text.corpus.name!r}; take more text, or fewer units"
        )
    return ids


def property_table(scale: Settings, text: PreparedText) -> pd.DataFrame:
    """What a scale trains, and on how much text it compares, beside the paper's own numbers.

    Returns
    -------
    pandas.DataFrame
        One row per `property`: `this run` and `paper`, as text.
    """
    tokens = f"{len(compared(scale, text)):,}"
    properties = {
        **language_models.properties(scale, THESIS, text),
        "tokens to compare layers on": (tokens, "191 thousand, with taggers"),
    }
    rows = [(name, *both) for name, both in properties.items()]
    return pd.DataFrame(rows, columns=["property", "this run", "paper"])


def cost_table(trained: Taggers, tables: Tables) -> pd.DataFrame:
    """Return what the chapter's work took, in seconds of one processor.

    Parameters
    ----------
    trained
        Whose training is counted.
    tables
        `similarities`, `trajectories` and `probes`.

    Returns
    -------
    pandas.DataFrame
        A row for each seed and kind of `work`: `seed`, `work`, `seconds`. What compares two seeds is counted
        with the later one.
    """
    similarities, beside = tables["similarities"], tables["trajectories"]
    models, runs = trained.models, trained.runs
    within = similarities[similarities["comparison"] != layers.OTHER_SEED]
    parts = [_pair_costs(similarities)]
    for seed in models.seeds:
        own, of_taggers, probes = (
            table[table["seed"] == seed] for table in (within, beside, tables["probes"])
        )
        seconds = {
            "training language models": _seconds(models.of_seed(seed), models.epochs),
            "training taggers": sum(
                _seconds(run, trained.epochs[key.task]) for key, run in runs.items() if key.seed == seed
            ),
            "observing language models among themselves": _once(own, "observing_seconds", "seed"),
            "observing them beside taggers": _once(of_taggers, "observing_seconds", "corpus", "tokens"),
            **_measuring(own, of_taggers),
            "diagnostic classifiers": _once(probes, "seconds", "corpus"),
        }
        parts.append(pd.DataFrame({"seed": seed, "work": list(seconds), "seconds": list(seconds.values())}))
    return pd.concat(parts, ignore_index=True)


def _pair_costs(similarities: pd.DataFrame) -> pd.DataFrame:
    """Rows of `cost_table` of what compares two seeds, each pair once: its rows have both directions."""
    pairs = similarities[similarities["comparison"] == layers.OTHER_SEED]
    parts = []
    for (_, seed), rows in pairs[pairs["seed"] < pairs["other_seed"]].groupby(["seed", "other_seed"]):
        observing = {"observing language models among themselves": rows["observing_seconds"].iloc[0]}
        seconds = observing | _measuring(
            pairs[pairs[["seed", "other_seed"]].isin({*rows["seed"], seed}).all(axis=1)]
        )
        parts.append(pd.DataFrame({"seed": seed, "work": list(seconds), "seconds": list(seconds.values())}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["seed", "work", "seconds"])


def _measuring(*tables: pd.DataFrame) -> dict[str, float]:
    """Seconds of reading the measures: the first, and all others."""
    svcca, *others = trajectories.MEASURES
    return {
        f"measuring: {plots.MEASURES[svcca]}": sum(each["svcca_seconds"].sum() for each in tables),
        f"measuring: {'; '.join(plots.MEASURES[name] for name in others)}": sum(
            (each["seconds"] - each["svcca_seconds"]).sum() for each in tables
        ),
    }


def _once(table: pd.DataFrame, column: str, *by: str) -> float:
    """Sum of what stands in each row of a group."""
    return table.groupby(list(by))[column].first().sum()


def _seconds(run: Run, epochs: int) -> float:
    return sum(epoch.seconds for epoch in run.epochs if epoch.epoch <= epochs)
