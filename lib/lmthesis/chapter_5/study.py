"""All tables of chapter 5, and the small ones that its page shows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lmdynamics.models import runs
from lmdynamics.models.recurrent import ModelSettings
from lmdynamics.text.synthetic import Language
from lmthesis import language_models
from lmthesis.chapter_5 import english as syntax
from lmthesis.chapter_5 import scaffolds
from lmthesis.language_models import parallel
from lmthesis.scales import THESIS, Scale

OF_TEXT = syntax.TABLES
"""Tables that depend on the text that a scale reads; made-up languages do not."""
TREEBANKS = ("ewt",)
"""Corpora with trees of their own: language models read other text, that of the thesis scale."""


def study(scale: Scale) -> dict[str, pd.DataFrame]:
    """Train the models of English and of made-up languages, side by side, and return the tables by name.

    Returns
    -------
    dict[str, pandas.DataFrame]
        Those of `studies.syntax` (`strata`, `by_distance`, `effects`, `correlations`, `attachment`, `shown`)
        and of `studies.scaffolds` (`rule`, `decomposed`, `consumed`, `gradients`).
    """
    text = language_models.prepared(syntax.as_scale(scale))
    made = parallel(runs.train, [*syntax.jobs(scale, text), *scaffolds.jobs(scale)])
    english = syntax.English(text, tuple(made[: len(scale.seeds)]), scale.english)
    learnt = scaffolds.collected(scale, made[len(scale.seeds) :])
    return {
        **syntax.tables(english),
        "shown": syntax.shown(english),
        "rule": scaffolds.rule(learnt),
        "decomposed": scaffolds.decomposed(learnt),
        "consumed": scaffolds.consumed(learnt),
        "gradients": scaffolds.gradients(learnt),
    }


def varied(
    scale: Scale,
    *,
    corpus: str | None = None,
    articles: int | None = None,
    epochs: int | None = None,
    seeds: Sequence[int] | None = None,
    tokens: int | None = None,
    lengths: Sequence[int] | None = None,
    rule_epochs: int | None = None,
) -> Scale:
    """Return a scale with some settings exchanged; None keeps the scale's own."""
    english, rules = scale.english, scale.scaffolds
    if corpus in TREEBANKS:
        read = replace(THESIS.english.corpus, min_count=english.corpus.min_count)
        english = replace(english, corpus=read, treebank=corpus)
    elif corpus is not None:
        english = replace(
            english, corpus=replace(english.corpus, corpus=corpus, annotate=True), treebank=None
        )
    if articles is not None:
        english = replace(english, corpus=replace(english.corpus, articles=articles))
    if epochs is not None:
        english = replace(english, training=replace(english.training, epochs=epochs))
    if tokens is not None:
        english = replace(english, tokens=tokens)
    if lengths is not None:
        rules = replace(rules, lengths=tuple(lengths))
    if rule_epochs is not None:
        rules = replace(rules, training=replace(rules.training, epochs=rule_epochs))
    return replace(
        scale, english=english, scaffolds=rules, seeds=scale.seeds if seeds is None else tuple(seeds)
    )


def described(scale: Scale) -> pd.DataFrame:
    """What a scale trains and measures, beside the paper's own numbers (thesis chapter 5, sections 2 to 4).

    Returns
    -------
    pandas.DataFrame
        One row per property: `this run` and `paper`, as text.
    """
    text = language_models.prepared(syntax.as_scale(scale))
    parsed = syntax.sentences(text, scale.english)
    english, rules = scale.english, scale.scaffolds
    wanted = THESIS.scaffolds.language
    rows = {
        "English models read": (f"{text.corpus.name}, {len(text.train.ids):,} tokens", "wikitext-2"),
        "their shape": tuple(_shape(each.english.model) for each in (scale, THESIS)),
        "vocabulary": (f"{len(text.vocabulary):,} words", "–"),
        "epochs": (f"{english.training.epochs}", "–"),
        "parsed sentences": (
            f"{parsed.corpus.name}, {len(parsed.offsets) - 1:,} sentences, {len(parsed.ids):,} tokens",
            "English-EWT",
        ),
        "trees": ("gold" if english.treebank else "spaCy's", "gold"),
        "made-up languages": tuple(
            f"{each.types:,} types, {each.tokens:,} tokens" for each in (rules.language, wanted)
        ),
        "occurrences of the rule": tuple(
            f"{each.rules:,}, around {each.phrases} scaffolds" for each in (rules.language, wanted)
        ),
        "familiar phrases alone": tuple(
            f"{each.repetitions:,} times each" for each in (rules.language, wanted)
        ),
        "their models": tuple(_shape(each.scaffolds.model) for each in (scale, THESIS)),
        "step, epochs": tuple(
            f"{each.learning_rate:g}, {each.epochs}" for each in (rules.training, THESIS.scaffolds.training)
        ),
        "batch": (f"{rules.training.batch}", "–"),
        "seeds": (", ".join(map(str, scale.seeds)), "–"),
        "scale": (scale.name, THESIS.name),
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["this run", "paper"])


def _shape(model: ModelSettings) -> str:
    return f"{model.layers} × {model.units} units"


def examples(scale: Scale) -> dict[str, Language]:
    """Return an unfamiliar and a familiar language of a scale, by what they are called."""
    length = scale.scaffolds.lengths[len(scale.scaffolds.lengths) // 2]
    wanted = {"unfamiliar": False, "familiar": True}
    return {
        name: scaffolds.language(
            scale, scaffolds.Key(length, familiar, scale.scaffolds.language.rules, scale.seeds[0])
        )
        for name, familiar in wanted.items()
    }


def explained(correlations: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """What goes with interdependence, alone and with all else held constant, means over seeds.

    Parameters
    ----------
    correlations, effects
        Of those tables, the rows of one epoch and one convention.

    Returns
    -------
    pandas.DataFrame
        One row per feature of a pair: its `correlation` with interdependence, over all pairs and within
        sequential distances, and its `coefficient` in a regression with a constant for each of these
        distances, each with its interval over sentences, the ends averaged over seeds.
    """
    columns = {}
    for table, value, prefix, name in (
        (correlations, "correlation", "", "correlation"),
        (correlations, "within", "within_", "within distances"),
        (effects, "coefficient", "", "coefficient"),
    ):
        ends = f"{prefix}low", f"{prefix}high"
        means = table.groupby("feature", sort=False)[[value, *ends]].mean()
        text = [
            f"{mean:+.4f}<br><small>{low:+.4f} to {high:+.4f}</small>" for mean, low, high in means.to_numpy()
        ]
        columns[name] = pd.Series(text, index=means.index)
    found = pd.DataFrame(columns).reindex(list(columns["correlation"].index)).fillna("–")
    return found.rename_axis("feature").reset_index()


def reached(rule: pd.DataFrame, *probabilities: float) -> pd.DataFrame:
    """Return after which epoch ω is first expected, by length of scaffold and kind of language.

    Parameters
    ----------
    rule
        Rows of one domain and one number of examples.
    probabilities
        How much it is to be expected.

    Returns
    -------
    pandas.DataFrame
        A row for each length and kind, a column for each probability: the first epoch whose mean over
        seeds is not below it, as text; "never" where there is none.
    """
    means = rule.pivot_table(index="epoch", columns=["length", "familiar"], values="omega")
    columns = {}
    for least in probabilities:
        enough = means >= least
        first = enough.idxmax().where(enough.any())
        columns[f"probability {least} or more"] = first.map(
            lambda at: "never" if np.isnan(at) else f"{at:.0f}"
        )
    kinds = means.columns.to_frame()
    names = kinds["length"].astype(str) + " symbols, " + kinds["familiar"].map({True: "", False: "un"})
    return pd.DataFrame(columns).set_axis(names + "familiar")


def found_edges(attachment: pd.DataFrame) -> pd.DataFrame:
    """Share of edges that each kind of weights finds, and its interval over sentences, means over seeds.

    Parameters
    ----------
    attachment
        Rows of one convention.

    Returns
    -------
    pandas.DataFrame
        One row for each kind of `weights`: the share found after the last epoch and by the untrained model,
        with their intervals, as text.
    """
    columns = {"weights": attachment["weights"].drop_duplicates().to_list()}
    for name, epoch in (("after training", attachment["epoch"].max()), ("untrained", 0)):
        rows = attachment[attachment["epoch"] == epoch]
        means = rows.groupby("weights", sort=False)[["found", "low", "high"]].mean()
        columns[name] = [
            f"{share:.1%}<br><small>{low:.1%} to {high:.1%}</small>" for share, low, high in means.to_numpy()
        ]
    return pd.DataFrame(columns)


def recorded_by(about: Mapping[str, Any]) -> str:
    """Say in a sentence how the recorded study of English was measured, and how to measure it again.

    Parameters
    ----------
    about
        That of `recorded.Recorded`, of this study on a treebank.
    """
    settings = about["settings"]
    english, seeds = settings["english"], ", ".join(map(str, settings["seeds"]))
    corpus, epochs, articles = english["corpus"], english["training"]["epochs"], english["corpus"]["articles"]
    text = f"{corpus['corpus']}, {f'its first {articles} articles' if articles else 'all of it'}"
    measured = f"{english['tokens']:,}" if english["tokens"] else "all"
    return (
        f"Models of {text}, {epochs} epochs, seeds {seeds}; measured on {measured} tokens of "
        f"{english['treebank']}, {about['date'][:10]}, with torch {about['torch']} on {about['machine']}. "
        f"Again: `{about['command']}`."
    )
