"""Synthetic languages with one long-distance rule: α, a scaffold of symbols, ω.

Symbols are uniformly random, but for the rule: wherever α stands, ω follows after a scaffold of fixed length,
as "or" follows "either" (thesis chapter 5, section 4). In a *familiar* language the phrases that serve as
scaffolds also occur alone, often enough to be learnt by themselves; in an *unfamiliar* one they occur in the
rule only, but for chance, which matters where there are few types and scaffolds are short.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

DOMAINS = ("in", "out")
"""Scaffolds of test cases: those of the training part, or new random ones."""
CONTEXT = 10
"""Random symbols before the rule in a test case."""


@dataclass(frozen=True, kw_only=True)
class LanguageSettings:
    """The settings of a language. Defaults are the thesis's (chapter 5, sections 4.2 and 4.3)."""

    types: int = 1000  # symbols beside α and ω
    tokens: int = 1_000_000  # of the training part
    rules: int = 1000  # occurrences of the rule
    length: int = 8  # symbols of a scaffold
    familiar: bool = False  # whether scaffolds also occur outside the rule
    phrases: int = 100  # different scaffolds
    repetitions: int = 1000  # occurrences of each phrase outside the rule, in a familiar language

    def __post_init__(self) -> None:
        """Raise an error if no language can have these settings."""
        for name in ("types", "tokens", "rules", "length", "phrases"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.repetitions < 0:
            raise ValueError(f"repetitions must be 0 or more, got {self.repetitions}")
        if self.types**self.length < self.phrases:
            raise ValueError(
                f"{self.types} types make {self.types**self.length} phrases of length {self.length}, "
                f"got phrases={self.phrases}; take fewer"
            )
        if self.needed > self.tokens:
            raise ValueError(
                f"rules and phrases fill {self.needed:,} tokens, got tokens={self.tokens:,}; "
                "take more tokens, or fewer rules, repetitions or phrases"
            )

    @property
    def needed(self) -> int:
        """The number of tokens in rules and phrases; all others are single random symbols."""
        lone_phrases = self.phrases * self.repetitions if self.familiar else 0
        return self.rules * (self.length + 2) + lone_phrases * self.length

    @property
    def alpha(self) -> int:
        """The id of the symbol that opens a rule."""
        return self.types

    @property
    def omega(self) -> int:
        """The id of the symbol that closes a rule."""
        return self.types + 1

    @property
    def words(self) -> tuple[str, ...]:
        """All symbols, in the order of their ids."""
        return (*(f"s{n}" for n in range(self.types)), "α", "ω")


class Text(NamedTuple):
    """A text in a language."""

    ids: Int32[np.ndarray, " tokens"]
    openings: Int[np.ndarray, " rules"]
    """Positions of α, in rising order."""
    alone: Int[np.ndarray, " phrases"]
    """Positions at which phrases begin that are not part of a rule."""


@dataclass(frozen=True, eq=False)
class Language:
    """A language and its scaffolds.

    Parameters
    ----------
    settings
        Which one.
    seed
        Of its phrases and of all text drawn from it.
    """

    settings: LanguageSettings
    seed: int

    @property
    def phrases(self) -> Int32[np.ndarray, "phrases length"]:
        """The scaffolds, all different; they depend on the seed, not on whether they are familiar."""
        settings, random = self.settings, self._random(0)
        phrases: dict[tuple[int, ...], None] = {}
        while len(phrases) < settings.phrases:
            phrases.setdefault(tuple(random.integers(settings.types, size=settings.length).tolist()))
        return np.array(list(phrases), np.int32)

    def text(self, part: str = "train", *, share: float = 1.0) -> Text:
        """Return a text of rules, phrases and single random symbols in random order.

        Parameters
        ----------
        part
            A name that tells this text from others of the same language.
        share
            Of all the counts in the settings; where rounded rules and phrases fill more, of the tokens too.
        """
        settings, phrases = self.settings, self.phrases
        random = self._random(1, *part.encode())
        rules = round(settings.rules * share)
        alone = round(settings.phrases * settings.repetitions * share) if settings.familiar else 0
        structure_tokens = rules * (settings.length + 2) + alone * settings.length
        singles = max(0, round(settings.tokens * share) - structure_tokens)
        kinds = random.permutation(np.repeat([0, 1, 2], [rules, alone, singles]))
        lengths = np.array([settings.length + 2, settings.length, 1])[kinds]
        starts = np.cumsum(lengths) - lengths
        ids = random.integers(settings.types, size=lengths.sum(), dtype=np.int32)
        openings, phrase_starts = starts[kinds == 0], starts[kinds == 1]
        ids[openings] = settings.alpha
        ids[openings + settings.length + 1] = settings.omega
        for places in (openings + 1, phrase_starts):
            indices = random.permutation(np.arange(len(places)) % settings.phrases)
            ids[places[:, None] + np.arange(settings.length)] = phrases[indices]
        return Text(ids, openings, phrase_starts)

    def cases(self, domain: str, number: int) -> Int32[np.ndarray, "number steps"]:
        """Return test cases: `CONTEXT` random symbols, α, a scaffold, ω.

        Parameters
        ----------
        domain
            One of `DOMAINS`: in, scaffolds of the training part in turn; out, random ones.
        number
            How many.

        Raises
        ------
        ValueError
            If there is no such domain.
        """
        if domain not in DOMAINS:
            raise ValueError(f"a domain is one of {', '.join(DOMAINS)}, got {domain!r}")
        settings, random = self.settings, self._random(2, DOMAINS.index(domain))
        cases = random.integers(settings.types, size=(number, CONTEXT + settings.length + 2), dtype=np.int32)
        cases[:, CONTEXT], cases[:, -1] = settings.alpha, settings.omega
        if domain == "in":
            # where there are fewer rules than phrases, only the first ones serve as scaffolds
            scaffolds = self.phrases[: settings.rules]
            cases[:, CONTEXT + 1 : -1] = scaffolds[np.arange(number) % len(scaffolds)]
        return cases

    def _random(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.settings.length, *purpose])
