"""Frozen settings; the defaults are the thesis's own values."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CorpusSettings:
    """Which text a model reads, and what is made of its rare words."""

    corpus: str = "wikipedia-sample"  # a name in corpora.NAMES or a path; the thesis used all of Wikipedia
    articles: int | None = None  # read only so many from the beginning; None for all
    annotate: bool = True  # with tags and heads, chapter 4 section 3
    lowercase: bool = True  # words, chapter 4 section 3
    min_count: int = 100  # tokens a word needs, in the corpus and again in train, chapter 4 section 3
    drop_rare_sentences: bool = True  # sentences with a word rarer than that, chapter 4 section 3
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2)  # of train, dev, test, chapter 4 section 3
