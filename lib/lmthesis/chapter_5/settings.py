"""What chapter 5 can vary, and its scales."""

from dataclasses import dataclass, replace
from typing import Any

from lmdynamics.models.recurrent import ModelSettings
from lmdynamics.models.training import TrainingSettings
from lmdynamics.text.synthetic import LanguageSettings
from lmthesis import scales

TREEBANKS = ("ewt",)
"""Corpora with trees of their own: language models read other text, that of the thesis."""


@dataclass(frozen=True, kw_only=True)
class Settings(scales.Settings):
    """Models of English, the sentences on which they are measured, made-up languages and their models."""

    layers: int = 1  # LSTM layers of the models of English; chapter 5, section 2
    treebank: str | None = None  # corpus with trees to measure; None: test part of the text; chapter 5: EWT
    tokens: int | None  # of it to measure, in whole sentences, evenly spaced; None for all
    distance: int = 10  # words apart at most; chapter 5, figure 4
    types: int  # symbols of a made-up language beside α and ω; 1000 in chapter 5, section 4.2
    language_tokens: int  # of its training part; a million in chapter 5, section 4.2
    rules: int  # occurrences of its rule; 1000 in chapter 5, section 4.2
    phrases: int  # different scaffolds; 100 in chapter 5, section 4.3
    repetitions: int  # of each phrase outside the rule, in a familiar language; 1000, section 4.3
    lengths: tuple[int, ...]  # symbols of a scaffold; chapter 5, figure 9, names 8
    rarer: tuple[int, ...]  # other numbers of rules, of unfamiliar languages; chapter 5, appendix B
    cases: int  # test cases of each domain
    rule_units: int  # in the embedding and in the one layer of a made-up language's model; section 4.1
    rule_dropout: float = 0.0  # share of units silenced in its training; chapter 5 names none
    rule_epochs: int  # passes over the training part; 40 in chapter 5, figure 11
    rule_batch: int  # streams read side by side; chapter 5 names none
    rule_learning_rate: float = 1.0  # of plain SGD; chapter 5, section 4.1
    rule_decay: float = 1.0  # divides the rate when dev loss fails to improve; chapter 5, section 4.1

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
    seeds=(0, 1, 2, 3),
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
SCALES = {each.name: each for each in (SMOKE, DEMO, DESKTOP, THESIS)}


def scale(name: str, **given: Any) -> Settings:
    """Return the scale of that name with some settings exchanged: see `scales.chosen`.

    A treebank given as the corpus is what models are measured on; they read the text of the thesis. Of any
    other corpus they read the training part, and are measured on the trees that a parser gives to its test
    part.
    """
    chosen = scales.chosen(SCALES, name, given)
    corpus = given.get("corpus")
    if corpus is None:
        return chosen
    if corpus not in TREEBANKS:
        return replace(chosen, annotate=True, treebank=None)
    return replace(
        chosen,
        corpus=THESIS.corpus,
        articles=given.get("articles"),
        annotate=THESIS.annotate,
        drop_rare_sentences=THESIS.drop_rare_sentences,
        treebank=corpus,
    )
