"""The vocabulary of a language model, and text as ids in it.

`prepare` settles which sentences stand in which part and which words a model
knows. Every token it gives keeps its place in the corpus, so whatever the
corpus knows of a token (tags, heads, article) can be looked up for it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int8, Int32, Int64

from lmdynamics.text import corpora
from lmdynamics.text.corpora import PARTS, Corpus, Progress

UNKNOWN = "<unk>"
"""The word that stands for every word a model does not know; its id is 0."""


@dataclass(frozen=True, kw_only=True)
class CorpusSettings:
    """The settings of a model's text: the corpus, its rare words and its parts."""

    corpus: str = "wikipedia-sample"  # a name in corpora.NAMES or a path; the thesis used all of Wikipedia
    articles: int | None = None  # read only so many from the beginning; None for all
    annotate: bool = True  # with tags and heads, chapter 4 section 3
    lowercase: bool = True  # words, chapter 4 section 3
    min_count: int = 100  # tokens a word needs, in the corpus and again in train, chapter 4 section 3
    drop_rare_sentences: bool = True  # sentences with a word rarer than that, chapter 4 section 3
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2)  # of train, dev, test, chapter 4 section 3


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows; the id of a word is its index.

    `UNKNOWN` comes first, the others by falling count, equal counts in
    alphabetical order.
    """

    words: tuple[str, ...]
    counts: tuple[int, ...]  # tokens in the training part

    def __post_init__(self) -> None:
        if self.words[:1] != (UNKNOWN,) or len(set(self.words)) != len(self.words):
            raise ValueError(
                f"a vocabulary begins with {UNKNOWN} and names no word twice, got {self.words[:5]}..."
            )
        if len(self.counts) != len(self.words):
            raise ValueError(f"{len(self.words)} words need a count each, got {len(self.counts)}")

    @classmethod
    def from_counts(cls, counts: dict[str, int], *, min_count: int = 1) -> "Vocabulary":
        """Return the words with at least ``min_count`` tokens; the rest counts as `UNKNOWN`."""
        known = {word: n for word, n in counts.items() if n >= min_count and word != UNKNOWN}
        if not known:
            raise ValueError(
                f"a vocabulary needs words, got none with {min_count} tokens or more; lower min_count"
            )
        ranked = sorted(known.items(), key=lambda item: (-item[1], item[0]))
        unknown = sum(counts.values()) - sum(known.values())
        return cls((UNKNOWN, *(word for word, _ in ranked)), (unknown, *(n for _, n in ranked)))

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: id_ for id_, word in enumerate(self.words)}

    def encode(self, words: Iterable[str]) -> Int32[np.ndarray, " words"]:
        """Return the id of each word, 0 for an unknown word."""
        return np.array([self._ids.get(word, 0) for word in words], np.int32)

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the words and counts."""
        lines = (f"{word}\t{count}\n" for word, count in zip(self.words, self.counts, strict=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Part:
    """The tokens of train, dev or test, in reading order."""

    ids: Int32[np.ndarray, " tokens"]  # into the vocabulary
    source: Int64[np.ndarray, " tokens"]  # index of the token in the corpus
    sentences: Int64[np.ndarray, " _"]  # token at which each sentence begins, and the number of tokens


@dataclass(frozen=True, eq=False, kw_only=True)
class PreparedText:
    """A corpus encoded in one vocabulary, in three parts."""

    corpus: Corpus
    vocabulary: Vocabulary
    train: Part
    dev: Part
    test: Part

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the vocabulary and of the ids of all parts."""
        digest = hashlib.sha256(self.vocabulary.fingerprint.encode())
        for part in (self.train, self.dev, self.test):
            digest.update(len(part.ids).to_bytes(8, "little") + part.ids.tobytes())
        return digest.hexdigest()


def prepare(
    settings: CorpusSettings, *, corpus: Corpus | None = None, progress: Progress | None = None
) -> PreparedText:
    """Split a corpus into parts, and encode them with the training part's vocabulary.

    First, with ``drop_rare_sentences``, sentences holding a word with fewer than
    ``min_count`` tokens in the corpus are left out. Then the sentences of each
    article are split in order (see `split`), unless the corpus comes in parts.
    Words with fewer than ``min_count`` tokens in train become `UNKNOWN` everywhere.

    Parameters
    ----------
    settings
        Which corpus, and how.
    corpus
        Use this one instead of loading what the settings name.
    progress
        See `corpora.load`.

    Raises
    ------
    ValueError
        If a part or the vocabulary would be empty.

    References
    ----------
    Thesis chapter 4, section 3.
    """
    corpus = corpus or corpora.load(
        settings.corpus,
        articles=settings.articles,
        annotate=settings.annotate,
        lowercase=settings.lowercase,
        progress=progress,
    )
    kept = np.ones(len(corpus.sentences) - 1, bool)
    if settings.drop_rare_sentences:
        kept = _without_rare_words(corpus, settings.min_count)
    parts = split(corpus, kept, settings.shares) if corpus.parts is None else corpus.parts
    part_sentences = [np.flatnonzero(kept & (parts == code)) for code in range(len(PARTS))]
    for name, sentences in zip(PARTS, part_sentences, strict=True):
        if not len(sentences):
            raise ValueError(
                f"corpus {corpus.name!r} is too small: no sentence of {len(kept)} is left for {name} "
                f"(min_count={settings.min_count}, drop_rare_sentences={settings.drop_rare_sentences}); "
                "take more text, or lower min_count"
            )
    counts = np.bincount(
        corpus.tokens[_tokens_of(corpus, part_sentences[0])], minlength=len(corpus.words)
    ).tolist()
    vocabulary = Vocabulary.from_counts(
        {word: n for word, n in zip(corpus.words, counts, strict=True) if n}, min_count=settings.min_count
    )
    return encoded(corpus, vocabulary, part_sentences)


def encoded(
    corpus: Corpus, vocabulary: Vocabulary, sentences: Sequence[Int64[np.ndarray, " _"]]
) -> PreparedText:
    """Return a corpus encoded in a vocabulary, given the sentences of train, dev and test."""
    ids = vocabulary.encode(corpus.words)
    sources = [_tokens_of(corpus, part) for part in sentences]
    train, dev, test = (
        Part(ids[corpus.tokens[source]], source, _offsets(corpus, part))
        for source, part in zip(sources, sentences, strict=True)
    )
    return PreparedText(corpus=corpus, vocabulary=vocabulary, train=train, dev=dev, test=test)


def split(
    corpus: Corpus, kept: Bool[np.ndarray, " sentences"], shares: tuple[float, float, float]
) -> Int8[np.ndarray, " sentences"]:
    """Return the part of each sentence, as an index into `corpora.PARTS`.

    Of an article's n kept sentences the last ``round(n * test share)`` are test
    and those before them dev, at least one each; the others train. An
    article with fewer than three kept sentences stands in train alone.

    Raises
    ------
    ValueError
        If the shares are not positive or do not add up to 1.
    """
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares of {', '.join(PARTS)} must be positive and add up to 1, got {shares}")
    parts = np.zeros(len(kept), np.int8)
    for begin, end in zip(corpus.articles[:-1], corpus.articles[1:], strict=True):
        sentences = begin + np.flatnonzero(kept[begin:end])
        if len(sentences) >= len(PARTS):
            dev, test = (max(1, round(len(sentences) * share)) for share in shares[1:])
            parts[sentences[-dev - test :]] = PARTS.index("dev")
            parts[sentences[-test:]] = PARTS.index("test")
    return parts


def _without_rare_words(corpus: Corpus, min_count: int) -> np.ndarray:
    counts = np.bincount(corpus.tokens)[corpus.tokens]
    return np.minimum.reduceat(counts, corpus.sentences[:-1]) >= min_count


def _offsets(corpus: Corpus, sentences: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.diff(corpus.sentences)[sentences])])


def _tokens_of(corpus: Corpus, sentences: np.ndarray) -> np.ndarray:
    """Return the indices of all tokens of the sentences, in order."""
    offsets = _offsets(corpus, sentences)
    return np.arange(offsets[-1]) + np.repeat(corpus.sentences[sentences] - offsets[:-1], np.diff(offsets))
