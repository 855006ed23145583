"""Chapter 4, second half: tables as the page shows them, from those of `taggers`, `tagging` and `probing`."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from lmdynamics.measures.probes import RANDOM
from lmdynamics.models.runs import Run
from lmdynamics.observe import activations
from lmdynamics.text import tasks
from lmthesis.chapter_4.taggers import Taggers
from lmthesis.chapter_4.trajectories import MEASURES

PAPER = {
    "UDP POS": (17, 665_000, 0.50, 4.3, 0.93, 1.2, 0.21, 8.9),
    "PTB POS": (36, 943_000, 0.51, 4.7, 0.95, 1.18, 0.14, 18.0),
    "SEM (coarse)": (14, 937_000, 0.55, 3.5, 0.91, 1.3, 0.22, 9.0),
    "SEM (fine)": (67, 937_000, 0.50, 5.6, 0.88, 1.45, 0.17, 21.5),
    "topic": (100, 665_000, 0.36, 19.1, 0.37, 16.3, 0.05, 81.5),
}
"""The paper's own (thesis chapter 4, table 2): classes, training tokens, then accuracy and perplexity
of output taggers, input taggers and output taggers of shuffled tags."""


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """Set a table of `performance` beside the paper's.

    Returns
    -------
    pandas.DataFrame
        Two rows per task, `this run` (means over seeds) and `paper`, as text.
    """
    rows = {}
    for task in table["task"].unique():
        here = table[table["task"] == task]
        output, read, shuffled = (
            here[(here["tagger"] == tagger) & (here["labels"] == labels)].mean(numeric_only=True)
            for tagger, labels in (("output", "true"), ("input", "true"), ("output", "shuffled"))
        )
        scores = [part[name] for part in (output, read, shuffled) for name in ("accuracy", "perplexity")]
        ours = _as_text(int(output["classes"]), int(output["train_tokens"]), *scores)
        rows[task, "this run"] = {
            **ours,
            "tokens": f"{ours['tokens']} × {output['epochs']:g}",
            "on train": f"{shuffled['train_accuracy']:.0%}",
            "majority": f"{output['majority']:.0%}",
        }
        rows[task, "paper"] = _as_text(*PAPER[task])
    return pd.DataFrame.from_dict(rows, orient="index").fillna("–")[_COLUMNS]


_COLUMNS = ["classes", "tokens", "y[t+1]", "y[t]", "shuffled", "on train", "majority"]


def _as_text(classes: int, tokens: int, *scores: float) -> dict[str, str]:
    text = {"classes": f"{classes}", "tokens": f"{tokens / 1000:,.0f}K"}
    for name, accuracy, perplexity in zip(
        ("y[t+1]", "y[t]", "shuffled"), scores[::2], scores[1::2], strict=True
    ):
        text[name] = f"{accuracy:.0%} · {perplexity:.3g}"
    return text


def example(found: Taggers) -> pd.DataFrame:
    """Annotate one sentence of the shared test part with the tags of all tasks (thesis chapter 4, table 1).

    Returns
    -------
    pandas.DataFrame
        A row for each token, a column for each task. Tags that the text does not bring are those that the
        first input tagger answers; their columns are marked with `*`.
    """
    text = found.shared
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
    for name, task in found.tasks.items():
        if task.text is text:
            columns[name] = [task.tags.values[code] for code in task.tags.codes[part.source[begin:end]]]
        else:
            tagger = next(key for key in found.runs if key[:3] == (name, "input", "true"))
            answers = activations.answers(found.model(tagger), part.ids[begin:end])
            columns[f"{name} *"] = [task.classes[answer] for answer in answers]
    return pd.DataFrame(columns)


def less_shuffled(table: pd.DataFrame) -> pd.DataFrame:
    """Return `trajectories` with each measure's value less that of the tagger of shuffled labels."""
    about = ["task", "tagger", "corpus", "tokens", "seed", "epoch", "layer"]
    true, shuffled = (table[table["labels"] == labels].set_index(about) for labels in ("true", "shuffled"))
    measures = list(MEASURES)
    return true.assign(**(true[measures] - shuffled[measures])).reset_index()


def orders(table: pd.DataFrame) -> pd.DataFrame:
    """Return in which order each measure puts the tasks at the recurrent layers, after the last epoch.

    Returns
    -------
    pandas.DataFrame
        A row for each `measure` and `layer`: the tasks from nearest to farthest (means over seeds) as
        `order`, and Kendall's `tau` with the order by `svcca`, in [-1, 1].
    """
    last = table[(table["epoch"] == table["epoch"].max()) & (table["labels"] == "true")]
    rows = []
    for measure, layer in product(MEASURES, ("h1", "h2")):
        means = last[last["layer"] == layer].groupby("task")[list(MEASURES)].mean()
        order = " > ".join(means[measure].sort_values(ascending=False).index)
        tau = kendalltau(means["svcca"], means[measure]).statistic
        rows.append({"measure": measure, "layer": layer, "order": order, "tau": tau})
    return pd.DataFrame(rows)


def costs(
    found: Taggers, similarities: pd.DataFrame, trajectories: pd.DataFrame, probes: pd.DataFrame
) -> pd.DataFrame:
    """Return what the chapter's work took, in seconds of one processor over all seeds.

    Parameters
    ----------
    found
        Whose training is counted.
    similarities, trajectories, probes
        The tables of `studies.chapter_4`.

    Returns
    -------
    pandas.DataFrame
        A row for each kind of work: `seconds` and its `share` of all.
    """
    measured = similarities, trajectories
    seconds = {
        "training language models": sum(_seconds(run, found.models.epochs) for run in found.models.runs),
        "training taggers": sum(_seconds(run, found.epochs[key.task]) for key, run in found.runs.items()),
        "observing language models among themselves": _once(similarities, "observing_seconds", "seed"),
        "observing them beside taggers": _once(trajectories, "observing_seconds", "corpus", "tokens", "seed"),
        "measuring: SVCCA": sum(each["svcca_seconds"].sum() for each in measured),
        "measuring: the other rule, PWCCA, CKA, RSA": sum(
            (each["seconds"] - each["svcca_seconds"]).sum() for each in measured
        ),
        "diagnostic classifiers": _once(probes, "seconds", "corpus", "seed"),
    }
    table = pd.DataFrame({"seconds": seconds})
    return table.assign(share=table["seconds"] / table["seconds"].sum())


def _once(table: pd.DataFrame, column: str, *by: str) -> float:
    """Sum of what stands in each row of a group."""
    return table.groupby(list(by))[column].first().sum()


def _seconds(run: Run, epochs: int) -> float:
    return sum(epoch.seconds for epoch in run.epochs if epoch.epoch <= epochs)


def sources(found: Taggers) -> pd.DataFrame:
    """Say of each task where its tags come from in this run, and how to get what is absent.

    Returns
    -------
    pandas.DataFrame
        A row for each of `tasks.NAMES`: `tags`, `text`, as text.
    """
    rows = {}
    for name in tasks.NAMES:
        kind, home, remedy = _ORIGINS[name]
        if name not in found.tasks:
            rows[name] = {"tags": kind, "text": f"absent, so left out. {remedy}"}
        elif found.tasks[name].text.corpus.name == home or home is None:
            rows[name] = {"tags": kind, "text": found.tasks[name].text.corpus.name}
        else:
            text = found.tasks[name].text.corpus.name
            rows[name] = {"tags": "spaCy's Penn tags instead", "text": f"{text}. {home} is absent. {remedy}"}
    return pd.DataFrame.from_dict(rows, orient="index")


_PLACE = "To have it, place {} in the folder that LMDYNAMICS_DATA names, as data/README.md says."
_GMB, _PMB = _PLACE.format("gmb/ner_dataset.csv"), _PLACE.format("semtags/pmb-4.0.0-en-gold/*.conll")
_ORIGINS = {
    "UDP POS": ("universal parts of speech, by spaCy", None, ""),
    "PTB POS": ("Penn Treebank parts of speech, partly corrected by hand", "gmb", _GMB),
    "SEM (coarse)": ("classes of universal semantic tags, gold", "pmb", _PMB),
    "SEM (fine)": ("universal semantic tags, gold", "pmb", _PMB),
    "topic": ("the article", None, ""),
}


def curves(table: pd.DataFrame, ceiling: pd.DataFrame | None = None) -> dict[str, Any]:
    """Part `trajectories` into what `plots.panels` draws: true tags, shuffled ones, chance, and a ceiling."""
    true, shuffled, permuted = (
        table[table["labels"] == labels] for labels in ("true", "shuffled", "permuted")
    )
    baselines = {":": shuffled, "--": permuted.drop(columns="task")}
    return {"table": true, "baselines": baselines if ceiling is None else {**baselines, "-.": ceiling}}


def both_texts(own: pd.DataFrame, beside: pd.DataFrame) -> dict[str, Any]:
    """Part `trajectories` on taggers' own texts, and beside them on the shared one, for `plots.panels`."""
    return {
        "table": beside[beside["labels"] == "true"],
        "baselines": {
            "--": own[own["labels"] == "true"],
            ":": own[own["labels"] == "shuffled"],
            "-.": own[own["labels"] == "permuted"],
        },
    }


def probe_curves(table: pd.DataFrame) -> dict[str, Any]:
    """Part `probes` into what `plots.panels` draws: true tags, the control task, random vectors of words."""
    layers, true = table["layer"] != RANDOM, table["labels"] == "true"
    return {
        "table": table[layers & true],
        "baselines": {":": table[layers & ~true], "--": table[~layers & true]},
    }
