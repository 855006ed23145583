"""What the settings of all chapters have in common: a text, language models, seeds, and scales by name.

The same code runs at every scale; a scale only changes settings, and never to make a finding come out. Each
chapter adds its own fields in its `settings.py`, and writes its scales down there: `smoke` (seconds: shows
that everything runs, and nothing else), `demo` (minutes on two cores: the default), `desktop` (a seed in some
hours on two cores), `gpu` (a seed in minutes on one GPU of a data centre) and `thesis` (the paper's own
values; days).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, TypeVar, get_type_hints

from lmdynamics.models.recurrent import ModelSettings
from lmdynamics.models.training import TrainingSettings
from lmdynamics.text import corpora
from lmdynamics.text.vocabulary import CorpusSettings
from lmthesis.values import Count, Positive, Range, checked

NAMES = ("smoke", "demo", "desktop", "gpu", "thesis")
"""Of the scales that each chapter has."""
WITHOUT_POS = ("gmb", "pmb")
"""Corpora with tags of their own but without universal parts of speech, which every chapter needs."""

Seed = Annotated[int, Range(least=0, most=2**31 - 1)]
Width = Annotated[int, Range(least=2, most=100_000)]
Share = Annotated[float, Range(least=0, below=1)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A text, and the language models that are trained on it.

    Defaults are the thesis's values, at every scale.
    """

    name: str  # of the scale
    seeds: tuple[Seed, ...]  # one model each; the thesis shows two, chapter 4 section 4
    corpus: str  # a name in corpora.NAMES or a path; the thesis used all of Wikipedia, chapter 4 section 3
    articles: Count | None  # read only so many from the beginning; None for all
    annotate: bool = True  # with tags and heads, chapter 4 section 3
    min_count: Count  # tokens a word needs, in the corpus and again in train; 100 in chapter 4 section 3
    drop_rare_sentences: bool  # sentences with a word rarer than that; chapter 4 section 3 drops them
    layers: Count = 2  # LSTM layers; chapter 4, section 2.1
    units: Width  # in the embedding and in each layer; 200 in chapter 4 section 3
    dropout: Share = 0.2  # share of units silenced in training; chapter 4, section 3
    epochs: Count  # passes over the training part; 50 in chapter 4 section 3
    batch: Count = 40  # streams read side by side; chapter 4, section 3
    steps_back: Count = 35  # tokens through which the gradient flows back; chapter 4, section 3
    learning_rate: Positive = 20.0  # of plain SGD; chapter 6, section 2
    decay: Positive = 4.0  # divides the rate when dev loss fails to improve; chapter 4, section 3
    clip: Positive = 0.25  # largest norm of the whole gradient; chapter 4, section 3

    def __post_init__(self) -> None:
        """Refuse values of another type or out of range, and a text that no chapter can use.

        Raises
        ------
        ValueError
            Names the setting, what it needs and what came. Chapters add what they cannot combine.
        """
        for name, kind in _kinds(type(self)).items():
            checked(name, kind, getattr(self, name))
        if self.corpus in WITHOUT_POS:
            usable = ", ".join(name for name in corpora.NAMES if name not in WITHOUT_POS)
            raise ValueError(
                f"corpus needs text with universal parts of speech or without tags, got {self.corpus!r} "
                f"with others; take one of {usable}, a folder of .txt files or a MediaWiki dump"
            )

    @property
    def text(self) -> CorpusSettings:
        """What the language models read."""
        return CorpusSettings(**_of(self, CorpusSettings))

    @property
    def model(self) -> ModelSettings:
        """The shape of a language model."""
        return ModelSettings(**_of(self, ModelSettings))

    @property
    def training(self) -> TrainingSettings:
        """How a language model is trained."""
        return TrainingSettings(**_of(self, TrainingSettings))


Chapter = TypeVar("Chapter", bound=Settings)
"""The settings of a chapter."""


def chosen(scales: Mapping[str, Chapter], name: str, given: Mapping[str, Any]) -> Chapter:
    """Return a scale with some settings exchanged.

    Parameters
    ----------
    scales
        Those of a chapter, by name.
    name
        Which.
    given
        Values by field, or texts of values, as papermill may hand them on; None keeps the scale's own.

    Raises
    ------
    ValueError
        If there is no such scale or setting, or the chapter cannot have these values, alone or together; the
        message names the setting.
    """
    if name not in scales:
        raise ValueError(f"scale needs one of {', '.join(scales)}, got {name!r}")
    scale = scales[name]
    kinds = _kinds(type(scale))
    if unknown := sorted(set(given) - set(kinds)):
        raise ValueError(f"a setting is one of {', '.join(kinds)}, got {', '.join(unknown)}")
    return replace(
        scale, **{key: checked(key, kinds[key], each) for key, each in given.items() if not is_none(each)}
    )


def is_none(given: Any) -> bool:
    """Whether a value, or the text of one, leaves a setting as its scale has it."""
    return given is None or (isinstance(given, str) and given.lower() == "none")


def given(page: Mapping[str, Any], settings: type[Settings]) -> dict[str, Any]:
    """Return the parameters of a page that are settings of its chapter.

    Parameters
    ----------
    page
        The `globals()` of a notebook, before anything else of that name is defined in it.
    settings
        The chapter's.
    """
    return {field.name: page[field.name] for field in fields(settings) if field.name in page}


def _kinds(settings: type) -> dict[str, Any]:
    """Types of the fields of settings by name."""
    hints = get_type_hints(settings, include_extras=True)
    return {field.name: hints[field.name] for field in fields(settings)}


def _of(scale: Settings, part: type) -> dict[str, Any]:
    """The fields of a scale that some part of the library takes."""
    return {field.name: getattr(scale, field.name) for field in fields(part) if hasattr(scale, field.name)}


SMOKE: dict[str, Any] = {
    "name": "smoke",
    "seeds": (0, 1),
    "corpus": "wikipedia-sample",
    "articles": 6,
    "min_count": 3,
    "drop_rare_sentences": False,
    "units": 40,
    "epochs": 3,
}
"""The language models of chapters 4 and 6 at each scale."""
DEMO: dict[str, Any] = {
    "name": "demo",
    "seeds": (0, 1, 2),
    "corpus": "wikipedia-sample",
    "articles": None,
    "min_count": 8,  # a smaller corpus takes a smaller threshold, and keeps sentences with rarer words
    "drop_rare_sentences": False,
    "units": 200,
    "epochs": 6,
}
DESKTOP: dict[str, Any] = {
    "name": "desktop",
    "seeds": (0, 1, 2, 3, 4),
    "corpus": "enwiki-2014",
    "articles": None,
    "min_count": 15,  # leaves 20 thousand words, as in the thesis; 100 would leave 3 thousand and little text
    "drop_rare_sentences": True,
    "units": 200,
    "epochs": 8,  # of 7 million tokens
}
GPU: dict[str, Any] = {
    "name": "gpu",
    "seeds": (0, 1, 2, 3, 4),
    "corpus": "enwiki-2014",
    "articles": None,
    "min_count": 15,
    "drop_rare_sentences": True,
    "units": 200,
    "epochs": 24,
}
THESIS: dict[str, Any] = {
    "name": "thesis",
    "seeds": (0, 1, 2, 3),
    "corpus": "enwiki-2014",
    "articles": None,
    "min_count": 100,
    "drop_rare_sentences": True,
    "units": 200,
    "epochs": 50,
}
