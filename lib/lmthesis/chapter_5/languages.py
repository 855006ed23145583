"""Chapter 5, second half: which made-up languages a scale has, and what they look like."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int

from lmdynamics.text.synthetic import Language
from lmthesis.chapter_5.settings import Settings

SYMBOLS = ("plain", "phrase", "scaffold", "rule")
"""What a symbol of a sample is part of: nothing, a phrase outside the rule, a scaffold; or it is α or ω."""
Stretch = tuple[Int[np.ndarray, " symbols"], Int[np.ndarray, " symbols"]]
"""Ids, and what each is part of: index into `SYMBOLS`."""


class Key(NamedTuple):
    """Which language, and which model of it."""

    length: int
    """Symbols of a scaffold, k."""
    familiar: bool
    """Whether scaffolds occurred outside the rule."""
    rules: int
    """Occurrences of the rule, n."""
    seed: int


def keys(scale: Settings) -> list[Key]:
    """Which models a scale trains: both kinds of language, and unfamiliar ones with fewer rules."""
    main = [
        Key(length, familiar, scale.rules, seed)
        for seed in scale.seeds
        for length in scale.lengths
        for familiar in (False, True)
    ]
    rarer = [
        Key(length, False, rules, seed)
        for seed in scale.seeds
        for length in scale.lengths
        for rules in scale.rarer
    ]
    return main + rarer


def language(scale: Settings, key: Key) -> Language:
    """Return the language that a model learns."""
    return Language(scale.language(key.length, familiar=key.familiar, rules=key.rules), key.seed)


def description(spoken: Language) -> str:
    """Say in a few words which language it is."""
    kind = "familiar" if spoken.settings.familiar else "unfamiliar"
    return f"{kind} scaffolds of {spoken.settings.length} symbols, {spoken.settings.rules:,} rules"


def language_table(scale: Settings) -> pd.DataFrame:
    """Return how many symbols there are in each language.

    Returns
    -------
    pandas.DataFrame
        One row per language, whatever its seed: `length, familiar, rules`, and the number of `words`, α and ω
        included.
    """
    spoken = {key._replace(seed=0): language(scale, key) for key in keys(scale)}
    rows = [{**key._asdict(), "words": len(each.settings.words)} for key, each in spoken.items()]
    return pd.DataFrame(rows).drop(columns="seed")


def sample_table(scale: Settings, *, symbols: int = 16) -> pd.DataFrame:
    """Return stretches of the training parts of two languages, and test cases of the first.

    Parameters
    ----------
    scale
        Whose unfamiliar and familiar languages, with scaffolds of middling length.
    symbols
        How many to a row at most.

    Returns
    -------
    pandas.DataFrame
        One row per symbol: the `text` that it stands in, the `row` and the `place` there, the `symbol`, and
        what it is `part` of (of `SYMBOLS`).
    """
    length = scale.lengths[len(scale.lengths) // 2]
    unfamiliar, familiar = (
        language(scale, Key(length, each, scale.rules, scale.seeds[0])) for each in (False, True)
    )
    texts = {
        "unfamiliar: training part": _stretches(unfamiliar, symbols),
        "familiar: training part": _stretches(familiar, symbols),
        "test cases, out-domain": _some_cases(unfamiliar, "out", symbols),
        "test cases, in-domain": _some_cases(unfamiliar, "in", symbols),
    }
    words = unfamiliar.settings.words
    return pd.DataFrame(
        [
            {"text": text, "row": row, "place": place, "symbol": words[symbol], "part": SYMBOLS[part]}
            for text, stretches in texts.items()
            for row, (ids, parts) in enumerate(stretches)
            for place, (symbol, part) in enumerate(zip(ids, parts, strict=True))
        ]
    )


def _stretches(spoken: Language, symbols: int) -> list[Stretch]:
    """Three stretches of the training part, each around a rule."""
    text, length = spoken.text(), spoken.settings.length
    parts = np.zeros(len(text.ids), int)
    for places, part in ((text.alone, "phrase"), (text.openings + 1, "scaffold")):
        parts[(places[:, None] + np.arange(length)).ravel()] = SYMBOLS.index(part)
    parts[text.openings] = parts[text.openings + length + 1] = SYMBOLS.index("rule")
    starts = text.openings[np.linspace(3, len(text.openings) - 4, 3).astype(int)] - 4
    rows = [slice(max(0, start), max(0, start) + symbols) for start in starts]
    return [(text.ids[row], parts[row]) for row in rows]


def _some_cases(spoken: Language, domain: str, symbols: int) -> list[Stretch]:
    """The ends of three test cases."""
    cases = spoken.cases(domain, 3)[:, -symbols:]
    parts = np.where(cases >= spoken.settings.alpha, SYMBOLS.index("rule"), 0)
    parts[:, -spoken.settings.length - 1 : -1] = SYMBOLS.index("scaffold")
    return list(zip(cases, parts, strict=True))
