"""Tagging tasks: the tokens that a tagger reads and the tags that it gives (thesis chapter 4, section 3.1).

All tasks are in the vocabulary of one language model, so that every model can be run on the same tokens.
Part of speech and topic are tagged on the language model's own corpus, in its longest articles, each cut
inside so that every article stands in every part; other tags come with corpora of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int8, Int32

from lmdynamics.text import corpora, vocabulary
from lmdynamics.text.annotation import Column
from lmdynamics.text.corpora import PARTS, Corpus
from lmdynamics.text.downloads import DownloadError
from lmdynamics.text.vocabulary import Part, PreparedText

Tagger = Literal["output", "input"]
"""Whether a tagger answers with the tag of the next token, y[t+1], or of the one just read, y[t]."""
Labels = Literal["true", "shuffled"]
"""Whether tags stand at their own tokens, or in random order over the tokens of a part."""

NAMES = ("UDP POS", "PTB POS", "SEM (coarse)", "SEM (fine)", "topic")
"""The tasks, in the order of the thesis (chapter 4, table 2)."""

_TAG_COLUMNS = {
    "PTB POS": ("gmb", "tag"),
    "SEM (coarse)": ("pmb", "sem_coarse"),
    "SEM (fine)": ("pmb", "sem"),
}
_FINEST = {"gmb": "tag", "pmb": "sem"}
CORPORA = tuple(_FINEST)
"""Corpora that are read for their tags; a task without its corpus is left out."""


class Tagged(NamedTuple):
    """The word id of each token and the class of its tag."""

    ids: Int32[np.ndarray, " tokens"]
    classes: Int32[np.ndarray, " tokens"]


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """The settings of the tasks: the text of the taggers, and how long they train."""

    topics: int = 100  # longest articles: the text of part of speech and topic, chapter 4 section 3.1
    sentences: int | None = None  # of a corpus with its own tags but without parts; None for all
    epochs: int = 50  # passes over the training part at most, chapter 4 section 3
    tokens: int | None = None  # enough to have read in training, rounded to whole epochs; None for all epochs
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2)  # of train, dev, test, chapter 4 section 3.1


@dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """A tag set on a text.

    Raises
    ------
    ValueError
        If the tags do not align with the tokens of the text's corpus, or dev or test hold a tag that train
        does not.
    """

    name: str
    text: PreparedText
    tags: Column
    """The tag of every token of the text's corpus."""

    def __post_init__(self) -> None:
        tokens = len(self.text.corpus.tokens)
        if len(self.tags.codes) != tokens:
            raise ValueError(
                f"task {self.name!r} needs a tag for each of {tokens} tokens, got {len(self.tags.codes)}"
            )
        for part in ("dev", "test"):
            unseen = set(self._codes(part)) - set(self._codes("train"))
            if unseen:
                names = ", ".join(sorted(self.tags.values[code] for code in unseen))
                raise ValueError(
                    f"task {self.name!r} on {self.text.corpus.name!r} cannot be learnt: {part} has tags that "
                    f"train lacks ({names}); take more text"
                )

    @property
    def classes(self) -> tuple[str, ...]:
        """The tags that occur in train, sorted."""
        return tuple(self.tags.values[code] for code in np.unique(self._codes("train")))

    def examples(self, part: str, *, tagger: Tagger, labels: Labels, seed: int) -> Tagged:
        """Return the word ids and classes of a part for a tagger, the sentences in random order.

        In the order of the text a topic tagger would learn to repeat itself.

        Parameters
        ----------
        part
            One of `corpora.PARTS`.
        tagger, labels
            See `Tagger` and `Labels`. An output tagger has nothing to answer at the last token.
        seed
            Of the order of the sentences and of shuffled tags.
        """
        if part not in PARTS:
            raise ValueError(f"a part is one of {', '.join(PARTS)}, got {part!r}")
        order, shuffle = np.random.default_rng([seed, PARTS.index(part)]).spawn(2)
        source = self._part(part)
        tokens = _token_order(source, order)
        classes = self.encoded(part)[tokens]
        if labels == "shuffled":
            classes = shuffle.permutation(classes)
        ids = source.ids[tokens]
        return Tagged(ids[:-1], classes[1:]) if tagger == "output" else Tagged(ids, classes)

    def encoded(self, part: str) -> Int32[np.ndarray, " tokens"]:
        """Return the class of each token of a part, in the order of the text."""
        return np.searchsorted(np.unique(self._codes("train")), self._codes(part)).astype(np.int32)

    def _codes(self, part: str) -> Int32[np.ndarray, " tokens"]:
        return self.tags.codes[self._part(part).source]

    def _part(self, part: str) -> Part:
        tokens: Part = getattr(self.text, part)
        return tokens


def load(text: PreparedText, settings: TaskSettings, names: Sequence[str] = NAMES) -> list[Task]:
    """Return the tasks whose corpora can be loaded, in the vocabulary of a language model's text.

    A corpus that has a public address is downloaded. Without the Groningen Meaning Bank, spaCy's Penn tags on
    the language model's own corpus take its place, and the task's text says so. Tasks on other corpora that
    are not to be had are left out.

    Raises
    ------
    ValueError
        If a name is unknown, the corpus is without tags, or it is too small for the topics.
    lmdynamics.text.downloads.DownloadError
        If a file of a corpus at hand is damaged.
    """
    if unknown := set(names) - set(NAMES):
        raise ValueError(f"a task is one of {', '.join(NAMES)}, got {', '.join(sorted(unknown))}")
    own = longest_articles(text, settings.topics, settings.shares)
    texts = {name: _tag_corpus(name, text, settings) for name in _FINEST if _is_available(name)}
    tasks = []
    for name in names:
        if name == "topic":
            tasks.append(_topic(own))
        elif name == "UDP POS":
            tasks.append(Task(name=name, text=own, tags=_column(own.corpus, "pos")))
        else:
            corpus, tag = _TAG_COLUMNS[name]
            if corpus in texts:
                tasks.append(Task(name=name, text=texts[corpus], tags=_column(texts[corpus].corpus, tag)))
            elif name == "PTB POS":
                tasks.append(Task(name=name, text=own, tags=_column(own.corpus, tag)))
    return tasks


def longest_articles(
    text: PreparedText, count: int, shares: tuple[float, float, float] = TaskSettings.shares
) -> PreparedText:
    """Return the longest articles of a text's corpus, each split inside into train, dev and test.

    Of each article the sentences that the text has in some part are taken, whichever it is. A sentence with
    a part of speech that train would lack goes to train.

    Raises
    ------
    ValueError
        If there are not two articles with a sentence for each part.
    """
    corpus = text.corpus
    sentence_of = np.repeat(np.arange(len(corpus.sentences) - 1), np.diff(corpus.sentences))
    kept = np.zeros(len(corpus.sentences) - 1, bool)
    for part in (text.train, text.dev, text.test):
        kept[sentence_of[part.source]] = True
    long_enough = np.add.reduceat(kept, corpus.articles[:-1]) >= len(PARTS)
    if long_enough.sum() < 2:
        raise ValueError(
            f"corpus {corpus.name!r} is too small for topics: they need two articles or more, with sentences "
            f"for {', '.join(PARTS)} each, got {long_enough.sum()} of {len(long_enough)}; take more text, or "
            "lower min_count"
        )
    tokens = np.add.reduceat(kept * np.diff(corpus.sentences), corpus.articles[:-1]) * long_enough
    articles = np.sort(np.argsort(-tokens, kind="stable")[: min(count, long_enough.sum())])
    kept &= np.repeat(np.isin(np.arange(len(tokens)), articles), np.diff(corpus.articles))
    return _text_in_parts(corpus, text, kept, vocabulary.split(corpus, kept, shares), "pos")


def _topic(text: PreparedText) -> Task:
    """Return the task whose tag is the article of each token."""
    return Task(name="topic", text=text, tags=text.corpus.topics)


def _is_available(name: str) -> bool:
    if corpora.at_hand(name):
        return True
    try:
        corpora.load(name)
    except DownloadError:
        return False
    return True


def _tag_corpus(name: str, text: PreparedText, settings: TaskSettings) -> PreparedText:
    """Return a corpus that has tags of its own, in the language model's vocabulary."""
    corpus = corpora.load(name)
    sentences = len(corpus.sentences) - 1
    if corpus.parts is not None:
        return _text_in_parts(corpus, text, np.ones(sentences, bool), corpus.parts, _FINEST[name])
    kept = np.arange(sentences) < (settings.sentences or sentences)
    return _text_in_parts(corpus, text, kept, vocabulary.split(corpus, kept, settings.shares), _FINEST[name])


def _text_in_parts(
    corpus: Corpus,
    text: PreparedText,
    kept: Bool[np.ndarray, " sentences"],
    parts: Int8[np.ndarray, " sentences"],
    finest: str,
) -> PreparedText:
    """Return the kept sentences in their parts; those with a tag that train lacks move to train."""
    parts = parts.copy()
    tags, part_of = _column(corpus, finest).codes, np.repeat(parts, np.diff(corpus.sentences))
    is_kept = np.repeat(kept, np.diff(corpus.sentences))
    unseen = is_kept & ~np.isin(tags, tags[is_kept & (part_of == PARTS.index("train"))])
    parts[np.add.reduceat(unseen, corpus.sentences[:-1]) > 0] = PARTS.index("train")
    return vocabulary.encoded(
        corpus, text.vocabulary, [np.flatnonzero(kept & (parts == code)) for code in range(len(PARTS))]
    )


def _column(corpus: Corpus, tag: str) -> Column:
    if tag not in corpus.tags:
        raise ValueError(
            f"corpus {corpus.name!r} needs tags {tag!r}, got {', '.join(corpus.tags) or 'none'}; "
            "load it with annotate=True"
        )
    return corpus.tags[tag]


def _token_order(part: Part, order: np.random.Generator) -> np.ndarray:
    """Return the indices of the tokens of a part, its sentences in random order."""
    sentences = order.permutation(len(part.sentences) - 1)
    lengths = np.diff(part.sentences)[sentences]
    ends = np.cumsum(lengths)
    return np.arange(ends[-1]) + np.repeat(part.sentences[sentences] - (ends - lengths), lengths)
