"""All tables of chapter 5."""

from pathlib import Path
from typing import Any

import pandas as pd

from lmdynamics.ground import grid
from lmdynamics.models import runs
from lmdynamics.models.recurrent import ModelSettings
from lmdynamics.models.runs import RunSettings
from lmdynamics.text.streams import Parts
from lmdynamics.text.vocabulary import PreparedText
from lmthesis import costs, language_models, recorded
from lmthesis.chapter_5 import english, languages, scaffolds
from lmthesis.chapter_5.english import ParsedText
from lmthesis.chapter_5.scaffolds import Scaffolds
from lmthesis.chapter_5.settings import THESIS, Settings
from lmthesis.language_models import LanguageModels
from lmthesis.recorded import Recorded, Tables

LEFT_OUT = ("shown",)
"""Tables that are not recorded: they hold sentences by others."""
OBSERVED = {
    "pair_tables": "interdependence of all pairs of words",
    "rule": "how probable ω is",
    "decomposed": "what ω is expected from",
    "consumed": "how much of a scaffold is needed",
    "gradients": "gradients at each symbol",
}
"""What each job of this chapter does."""
OF_TEXT = (*english.TABLES, "properties", "ran")
"""Tables that depend on the text that a scale reads; made-up languages do not."""


def study(scale: Settings) -> Tables:
    """Train the models of English and of made-up languages, side by side, and return the tables by name.

    Returns
    -------
    dict[str, pandas.DataFrame]
        Those of `english.tables` (`strata`, `by_distance`, `effects`, `correlations`, `attachment`), `shown`,
        and those of `scaffolds.tables` (`rule`, `decomposed`, `consumed`, `gradients`); `languages` and
        `samples`, of the made-up languages; `costs`: what all took; `properties`: what ran, beside the paper;
        `ran`: the same in a row for each seed. The page also shows those of `measured_once`.
    """
    text = language_models.prepared(scale)
    parsed = english.parsed_text(scale, text)  # what cannot be had is missed before anything is trained
    made = grid.results(runs.train, _trainings(scale, text))
    models = LanguageModels(text, tuple(made[: len(scale.seeds)]), scale.epochs)
    of_rules = made[len(scale.seeds) :]
    with grid.costs() as spent:
        of_english = english.tables(models, parsed.sentences)
        of_languages = scaffolds.tables(Scaffolds.of(scale, of_rules))
    trained = {
        "models of English": [(run, scale.epochs) for run in models.runs],
        "models of made-up languages": [(run, scale.rule_epochs) for run in of_rules],
    }
    return {
        **language_models.on_axis(of_english, models.tokens),
        "shown": english.shown(models, parsed),
        **language_models.on_axis(of_languages, int(of_rules[0].settings["tokens"])),
        "languages": languages.language_table(scale),
        "samples": languages.sample_table(scale),
        "properties": property_table(scale, text, parsed),
        "costs": costs.table(trained, spent, OBSERVED),
        "ran": recorded.ran_table(scale, models.tokens * scale.epochs),
    }


def trainings(scale: Settings) -> list[tuple[RunSettings, Parts]]:
    """What `runs.train` is called with for a scale."""
    return _trainings(scale, language_models.prepared(scale))


def _trainings(scale: Settings, text: PreparedText) -> list[tuple[RunSettings, Parts]]:
    return [*language_models.jobs(scale, text), *scaffolds.jobs(scale)]


def corpora_read(scale: Settings) -> tuple[str, ...]:
    """Names of the corpora that a scale reads."""
    return (scale.corpus, *([scale.treebank] if scale.treebank else []))


def measured_once(folder: Path) -> Tables:
    """Return what was measured on gold trees, at one scale, and stands on the page of every scale.

    Parameters
    ----------
    folder
        Where recorded results are kept.

    Returns
    -------
    dict[str, pandas.DataFrame]
        The tables of `english.tables`, each named `gold_` and its name; `gold_ran`: one row, how they were
        measured: `text, articles, epochs, seeds, tokens, treebank, date, torch, machine, command`.

    Raises
    ------
    FileNotFoundError
        If they were not recorded.
    """
    gold = recorded.read("chapter_5", "demo", corpus="ewt", articles=150, folder=folder)
    return {
        **{f"gold_{name}": gold.tables[name] for name in english.TABLES},
        "gold_ran": pd.DataFrame([_ran(gold)]),
    }


def _ran(gold: Recorded) -> dict[str, Any]:
    """How a recorded study of English was measured; no number of articles or tokens where it was all."""
    about = gold.slices[0]
    settings = about["settings"]
    return {
        "text": settings["corpus"],
        "articles": settings["articles"],
        "epochs": settings["epochs"],
        "seeds": ", ".join(map(str, gold.seeds)),
        "tokens": settings["tokens"],
        "treebank": settings["treebank"],
        "date": max(each["date"] for each in gold.slices)[:10],
        **{name: about[name] for name in ("torch", "machine")},
        "command": about["command"].partition(" --seed")[0],
    }


def property_table(scale: Settings, text: PreparedText, parsed: ParsedText) -> pd.DataFrame:
    """What a scale trains and measures, beside the paper's own numbers (thesis chapter 5, sections 2 to 4).

    Returns
    -------
    pandas.DataFrame
        One row per `property`: `this run` and `paper`, as text.
    """
    both, sentences = (scale, THESIS), parsed.sentences
    made_up = [(f"{each.types:,} types", f"{each.language_tokens:,} tokens") for each in both]
    rows = {
        "English models read": (f"{text.corpus.name}, {len(text.train.ids):,} tokens", "wikitext-2"),
        "their shape": tuple(_shape(each.model) for each in both),
        "vocabulary": (f"{len(text.vocabulary):,} words", "–"),
        "epochs": (f"{scale.epochs}", "–"),
        "parsed sentences": (
            f"{parsed.corpus.name}, {len(sentences.offsets) - 1:,} sentences, {len(sentences.ids):,} tokens",
            "English-EWT",
        ),
        "trees": ("gold" if scale.treebank else "spaCy's", "gold"),
        "made-up languages": tuple(map(", ".join, made_up)),
        "occurrences of the rule": tuple(f"{each.rules:,}, around {each.phrases} scaffolds" for each in both),
        "familiar phrases alone": tuple(f"{each.repetitions:,} times each" for each in both),
        "their models": tuple(_shape(each.rule_model) for each in both),
        "step, epochs": tuple(f"{each.rule_learning_rate:g}, {each.rule_epochs}" for each in both),
        "batch": (f"{scale.rule_batch}", "–"),
        "scale": (scale.name, THESIS.name),
    }
    return pd.DataFrame(
        [(name, *each) for name, each in rows.items()], columns=["property", "this run", "paper"]
    )


def _shape(model: ModelSettings) -> str:
    return f"{model.layers} × {model.units} units"
