"""What the settings of all chapters have in common: a text, language models, seeds, and scales by name.

The same code runs at every scale; a scale only changes settings, and never to make a finding come out. Each
chapter adds its own fields in its `settings.py`, and writes its scales down there: `smoke` (seconds: shows
that everything runs, and nothing else), `demo` (minutes on two cores: the default), `desktop` (hours on two
cores) and `thesis` (the paper's own values; wants a GPU).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from lmdynamics.models.recurrent import ModelSettings
from lmdynamics.models.training import TrainingSettings
from lmdynamics.text.vocabulary import CorpusSettings


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A text, and the language models that are trained on it.

    Defaults are the thesis's values, at every scale.
    """

    name: str  # of the scale
    seeds: tuple[int, ...]  # one model each; the thesis shows two, chapter 4 section 4
    corpus: str  # a name in corpora.NAMES or a path; the thesis used all of Wikipedia, chapter 4 section 3
    articles: int | None  # read only so many from the beginning; None for all
    annotate: bool = True  # with tags and heads, chapter 4 section 3
    min_count: int  # tokens a word needs, in the corpus and again in train; 100 in chapter 4 section 3
    drop_rare_sentences: bool  # sentences with a word rarer than that; chapter 4 section 3 drops them
    layers: int = 2  # LSTM layers; chapter 4, section 2.1
    units: int  # in the embedding and in each layer; 200 in chapter 4 section 3
    dropout: float = 0.2  # share of units silenced in training; chapter 4, section 3
    epochs: int  # passes over the training part; 50 in chapter 4 section 3
    batch: int = 40  # streams read side by side; chapter 4, section 3
    steps_back: int = 35  # tokens through which the gradient flows back; chapter 4, section 3
    learning_rate: float = 20.0  # of plain SGD; chapter 6, section 2
    decay: float = 4.0  # divides the rate when dev loss fails to improve; chapter 4, section 3
    clip: float = 0.25  # largest norm of the whole gradient; chapter 4, section 3

    def __post_init__(self) -> None:
        """Refuse seeds that would count a model twice, or that are none."""
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            got = ", ".join(map(str, self.seeds)) or "none"
            raise ValueError(f"seeds are one or more different integers from 0 on, got {got}")

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
        Values by field; None keeps the scale's own. A list becomes a tuple.

    Raises
    ------
    ValueError
        If there is no such scale, or no such setting.
    """
    if name not in scales:
        raise ValueError(f"a scale is one of {', '.join(scales)}, got {name!r}")
    scale = scales[name]
    known = [field.name for field in fields(scale)]
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"a setting is one of {', '.join(known)}, got {', '.join(unknown)}")
    values: dict[str, Any] = {
        key: tuple(each) if isinstance(each, list) else each
        for key, each in given.items()
        if each is not None
    }
    return replace(scale, **values)


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
    "seeds": (0, 1, 2, 3),
    "corpus": "wikitext-2",
    "articles": None,
    "min_count": 10,
    "drop_rare_sentences": False,
    "units": 200,
    "epochs": 20,
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
