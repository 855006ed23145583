"""Frozen settings, whose defaults are the thesis's own values, and the scales made from them.

The same code runs at every scale; a scale only changes settings, and never to make a finding come out.
"""

from dataclasses import dataclass, replace

from lmdynamics.measures.probes import ProbeSettings
from lmdynamics.models.recurrent import ModelSettings
from lmdynamics.models.training import TrainingSettings
from lmdynamics.text.synthetic import LanguageSettings
from lmdynamics.text.tasks import TaskSettings
from lmdynamics.text.vocabulary import CorpusSettings


@dataclass(frozen=True, kw_only=True)
class EnglishSettings:
    """On what text interdependence is measured, and by which language models."""

    corpus: CorpusSettings  # what the language models read
    model: ModelSettings
    training: TrainingSettings
    treebank: str | None = None  # a corpus with trees; None for the test part of the models' own
    tokens: int | None = None  # in whole sentences, evenly spaced, to measure; None for all
    distance: int = 10  # most words apart


@dataclass(frozen=True, kw_only=True)
class ScaffoldSettings:
    """Which synthetic languages are learnt, and how."""

    language: LanguageSettings
    model: ModelSettings
    training: TrainingSettings
    lengths: tuple[int, ...] = (2, 4, 8)  # of scaffolds; chapter 5, figure 9, names 8
    rarer: tuple[int, ...] = (100, 300)  # other numbers of rules, of unfamiliar languages; appendix B
    cases: int = 1000  # test cases of each domain


@dataclass(frozen=True, kw_only=True)
class SparsitySettings:
    """On what text sparsity is measured, and with which controls."""

    part: str = "train"  # of the language models' text; chapter 6 looks at gradient updates
    tokens: int | None = 1_000_000  # spread over the part; None for all
    matched: int = 120  # words of each class with like frequencies; chapter 6, section 3
    steps: int = 20  # of each epoch whose change of loss is allocated; chapter 6, section 6.1.1
    sample: int = 20_000  # tokens on whose loss
    intervals: int = 2  # of Simpson's rule along a step
    widths: tuple[int, ...] = (50, 100)  # units of other models, as a control
    control_epochs: int = 50  # passes of the control models at most


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large a study is."""

    name: str
    corpus: CorpusSettings
    model: ModelSettings
    training: TrainingSettings
    english: EnglishSettings
    scaffolds: ScaffoldSettings
    tasks: TaskSettings = TaskSettings()
    sparsity: SparsitySettings = SparsitySettings()
    probes: tuple[ProbeSettings, ...] = (ProbeSettings(), ProbeSettings(hidden=False))  # one of each kind
    compared_tokens: int | None = None  # spread over the test part, on which layers are compared; None: all
    seeds: tuple[int, ...] = (0, 1, 2, 3)  # one model each; the thesis shows two

    def __post_init__(self) -> None:
        """Refuse seeds that would count a model twice, or that are none."""
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            found = ", ".join(map(str, self.seeds)) or "none"
            raise ValueError(f"seeds are one or more different integers from 0 on, got {found}")


THESIS = Scale(
    name="thesis",
    corpus=CorpusSettings(corpus="enwiki-2014"),
    model=ModelSettings(),
    training=TrainingSettings(),
    english=EnglishSettings(
        corpus=CorpusSettings(
            corpus="wikitext-2", annotate=False, min_count=3, drop_rare_sentences=False
        ),  # chapter 5, section 3
        model=ModelSettings(layers=1, units=400),  # chapter 5, section 2
        training=TrainingSettings(),
        treebank="ewt",
    ),
    scaffolds=ScaffoldSettings(
        language=LanguageSettings(),
        # chapter 5, section 4.1, which names neither dropout nor batch; 40 epochs: its figure 11
        model=ModelSettings(layers=1, dropout=0.0),
        training=TrainingSettings(epochs=40, learning_rate=1.0, decay=1.0),
    ),
)
"""The paper's own hyperparameters; wants a GPU."""

DESKTOP = replace(
    THESIS,
    name="desktop",
    # a tenth of the tokens: rare words are kept in their sentences, and the threshold falls with the corpus
    corpus=CorpusSettings(corpus="wikitext-2", min_count=10, drop_rare_sentences=False),
    training=replace(THESIS.training, epochs=20),
    english=replace(THESIS.english, training=replace(THESIS.training, epochs=10)),
    tasks=TaskSettings(epochs=20),
    sparsity=replace(THESIS.sparsity, tokens=300_000, steps=10, sample=8_000),
)
"""Hours on two cores."""

DEMO = replace(
    THESIS,
    name="demo",
    corpus=CorpusSettings(min_count=8, drop_rare_sentences=False),
    training=replace(THESIS.training, epochs=6),
    seeds=(0, 1, 2),
    tasks=TaskSettings(sentences=24_000, epochs=5, tokens=1_000_000),
    compared_tokens=50_000,
    sparsity=SparsitySettings(tokens=80_000, steps=5, sample=4_000, control_epochs=2),
    english=EnglishSettings(
        corpus=CorpusSettings(min_count=8, drop_rare_sentences=False),
        model=THESIS.english.model,
        training=replace(THESIS.training, epochs=3),
        tokens=15_000,
    ),
    scaffolds=ScaffoldSettings(
        language=LanguageSettings(types=200, tokens=40_000, rules=400, phrases=40, repetitions=80),
        rarer=(100, 200),
        model=ModelSettings(layers=1, units=100, dropout=0.0),
        training=replace(THESIS.scaffolds.training, batch=10),
        cases=200,
    ),
    probes=tuple(replace(each, epochs=5, train_tokens=6_000, test_tokens=4_000) for each in THESIS.probes),
)
"""Minutes on two cores: the default."""

SMOKE = replace(
    DEMO,
    name="smoke",
    corpus=replace(DEMO.corpus, articles=6, min_count=3),
    model=replace(THESIS.model, units=40),
    training=replace(THESIS.training, epochs=3),
    tasks=TaskSettings(sentences=1_000, epochs=2),
    sparsity=SparsitySettings(
        tokens=4_000, matched=20, steps=2, sample=400, intervals=1, widths=(20,), control_epochs=2
    ),
    probes=tuple(replace(each, epochs=1, train_tokens=2_000, test_tokens=1_000) for each in THESIS.probes),
    english=EnglishSettings(
        corpus=CorpusSettings(articles=6, min_count=3, drop_rare_sentences=False),
        model=replace(THESIS.english.model, units=40),
        training=replace(THESIS.training, epochs=2),
        tokens=2_000,
    ),
    scaffolds=ScaffoldSettings(
        language=LanguageSettings(types=20, tokens=2_000, rules=40, phrases=8, repetitions=10),
        lengths=(1, 3),
        rarer=(10,),
        model=ModelSettings(layers=1, units=20, dropout=0.0),
        training=replace(THESIS.scaffolds.training, batch=10, epochs=3),
        cases=20,
    ),
    seeds=(0, 1),
)
"""Seconds: shows that everything runs, and nothing else."""

SCALES = {scale.name: scale for scale in (SMOKE, DEMO, DESKTOP, THESIS)}


def scale(name: str) -> Scale:
    """Return the scale of that name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in SCALES:
        raise ValueError(f"a scale is one of {', '.join(SCALES)}, got {name!r}")
    return SCALES[name]
