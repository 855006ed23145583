"""What chapter 5 can vary, and its scales."""

from dataclasses import dataclass, replace
from typing import Any

from lmdynamics.models.recurrent import ModelSettings
from lmdynamics.models.training import TrainingSettings
from lmdynamics.text.synthetic import LanguageSettings
from lmthesis import scales
from lmthesis.scales import Share, Width
from lmthesis.values import Count, Positive

TREEBANKS = ("ewt",)
"""Corpora with trees of their own: language models read other text, that of the thesis."""


@dataclass(frozen=True, kw_only=True)
class Settings(scales.Settings):
    """Models of English, the sentences on which they are measured, made-up languages and their models."""

    layers: Count = 1  # LSTM layers of the models of English; chapter 5, section 2
    treebank: str | None = None  # corpus with trees to measure; None: test part of the text; chapter 5: EWT
    tokens: Count | None  # of it to measure, in whole sentences, evenly spaced; None for all
    distance: Count = 10  # words apart at most; chapter 5, figure 4
    types: Count  # symbols of a made-up language beside α and ω; 1000 in chapter 5, section 4.2
    language_tokens: Count  # of its training part; a million in chapter 5, section 4.2
    rules: Count  # occurrences of its rule; 1000 in chapter 5, section 4.2
    phrases: Count  # different scaffolds; 100 in chapter 5, section 4.3
    repetitions: Count  # of each phrase outside the rule, in a familiar language; 1000, section 4.3
    lengths: tuple[Count, ...]  # symbols of a scaffold; chapter 5, figure 9, names 8
    rarer: tuple[Count, ...]  # other numbers of rules, of unfamiliar languages; chapter 5, appendix B
    cases: Count  # test cases of each domain
    rule_units: Width  # in the embedding and in the one layer of a made-up language's model; section 4.1
    rule_dropout: Share = 0.0  # share of units silenced in its training; chapter 5 names none
    rule_epochs: Count  # passes over the training part; 40 in chapter 5, figure 11
    rule_batch: Count  # streams read side by side; chapter 5 names none
    rule_learning_rate: Positive = 1.0  # of plain SGD; chapter 5, section 4.1
    rule_decay: Positive = 1.0  # divides the rate when dev loss fails to improve; chapter 5, section 4.1

    def __post_init__(self) -> None:
        """Refuse what no chapter can have, made-up languages that cannot be, and fewer rules that are not.

        Raises
        ------
        ValueError
            Names the setting, what it needs and what came.
        """
        super().__post_init__()
        if max(self.rarer) >= self.rules:
            raise ValueError(f"rarer needs numbers below rules, {self.rules:,}, got {self.rarer}")
        longest = self.language_tokens // self.rules - 2
        if max(self.lengths) > longest:
            raise ValueError(
                f"lengths needs numbers from 1 to {longest:,}, for {self.language_tokens:,} language_tokens "
                f"to hold {self.rules:,} rules, got {self.lengths}; take shorter ones, or another scale"
            )
        for length in self.lengths:
            try:
                self.language(length, familiar=True, rules=self.rules)
            except ValueError as error:
                raise ValueError(f"lengths needs other numbers than {length}: {error}") from None

    @property
    def rule_model(self) -> ModelSettings:
        """The shape of a model of a made-up language."""
        return ModelSettings(layers=1, units=self.rule_units, dropout=self.rule_dropout)

    @property
    def rule_training(self) -> TrainingSettings:
        """How it is trained."""
        return TrainingSettings(
            epochs=self.rule_epochs,
            batch=self.rule_batch,
            steps_back=self.steps_back,
            learning_rate=self.rule_learning_rate,
            decay=self.rule_decay,
            clip=self.clip,
        )

    def language(self, length: int, *, familiar: bool, rules: int) -> LanguageSettings:
        """Return a made-up language of this scale.

        Parameters
        ----------
        length
            Symbols of a scaffold.
        familiar
            Whether scaffolds also occur outside the rule.
        rules
            Occurrences of the rule.
        """
        return LanguageSettings(
            types=self.types,
            tokens=self.language_tokens,
            rules=rules,
            length=length,
            familiar=familiar,
            phrases=self.phrases,
            repetitions=self.repetitions,
        )


SMOKE = Settings(
    name="smoke",
    seeds=(0, 1),
    corpus="wikipedia-sample",
    articles=6,
    min_count=3,
    drop_rare_sentences=False,
    units=40,
    epochs=2,
    tokens=2_000,
    types=20,
    language_tokens=2_000,
    rules=40,
    phrases=8,
    repetitions=10,
    lengths=(1, 3),
    rarer=(10,),
    cases=20,
    rule_units=20,
    rule_epochs=3,
    rule_batch=10,
)
DEMO = Settings(
    name="demo",
    seeds=(0, 1, 2),
    corpus="wikipedia-sample",
    articles=None,
    min_count=8,
    drop_rare_sentences=False,
    units=400,
    epochs=3,
    tokens=15_000,
    types=200,
    language_tokens=40_000,
    rules=400,
    phrases=40,
    repetitions=80,
    lengths=(2, 4, 8),
    rarer=(100, 200),
    cases=200,
    rule_units=100,
    rule_epochs=40,
    rule_batch=10,
)
DESKTOP = Settings(
    name="desktop",
    seeds=(0, 1, 2, 3, 4),
    corpus="wikitext-2",
    articles=None,
    annotate=False,
    min_count=3,
    drop_rare_sentences=False,
    units=400,
    epochs=4,
    treebank="ewt",
    tokens=None,
    types=1_000,
    language_tokens=1_000_000,
    rules=1_000,
    phrases=100,
    repetitions=1_000,
    lengths=(2, 4, 8),
    rarer=(100,),
    cases=1_000,
    rule_units=200,
    rule_epochs=40,
    rule_batch=40,
)
GPU = Settings(
    name="gpu",
    seeds=(0, 1, 2, 3, 4),
    corpus="wikitext-2",
    articles=None,
    annotate=False,
    min_count=3,
    drop_rare_sentences=False,
    units=400,
    epochs=10,
    treebank="ewt",
    tokens=None,
    types=1_000,
    language_tokens=1_000_000,
    rules=1_000,
    phrases=100,
    repetitions=1_000,
    lengths=(2, 4, 8),
    rarer=(100, 300),
    cases=1_000,
    rule_units=200,
    rule_epochs=40,
    rule_batch=40,
)
THESIS = Settings(
    name="thesis",
    seeds=(0, 1, 2, 3),
    corpus="wikitext-2",  # chapter 5, section 3
    articles=None,
    annotate=False,
    min_count=3,
    drop_rare_sentences=False,
    units=400,  # chapter 5, section 2
    epochs=50,
    treebank="ewt",
    tokens=None,
    types=1_000,
    language_tokens=1_000_000,
    rules=1_000,
    phrases=100,
    repetitions=1_000,
    lengths=(2, 4, 8),
    rarer=(100, 300),
    cases=1_000,
    rule_units=200,
    rule_epochs=40,
    rule_batch=40,
)
SCALES = {each.name: each for each in (SMOKE, DEMO, DESKTOP, GPU, THESIS)}


def scale(name: str, **given: Any) -> Settings:
    """Return the scale of that name with some settings exchanged: see `scales.chosen`.

    A treebank given as the corpus is what models are measured on; they read the text of the thesis. Of any
    other corpus they read the training part, and are measured on the trees that a parser gives to its test
    part.
    """
    chosen = scales.chosen(SCALES, name, given)
    if scales.is_none(given.get("corpus")):
        return chosen
    if chosen.corpus not in TREEBANKS:
        return replace(chosen, annotate=True, treebank=None)
    return replace(
        chosen,
        corpus=THESIS.corpus,
        articles=None if scales.is_none(given.get("articles")) else chosen.articles,
        annotate=THESIS.annotate,
        drop_rare_sentences=THESIS.drop_rare_sentences,
        treebank=chosen.corpus,
    )
