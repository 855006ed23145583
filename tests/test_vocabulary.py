from dataclasses import replace

import numpy as np
import pytest

from lmdynamics.text import vocabulary
from lmdynamics.text.corpora import Corpus
from lmdynamics.text.vocabulary import CorpusSettings, Vocabulary, prepare

ALL = CorpusSettings(min_count=1, drop_rare_sentences=False)


def corpus(*articles, parts=None):
    """A corpus from articles, each a list of sentences with words between spaces."""
    sentences = [sentence.split() for article in articles for sentence in article]
    tokens = [word for sentence in sentences for word in sentence]
    words = tuple(sorted(set(tokens)))
    return Corpus(
        name="made",
        words=words,
        tokens=np.array([words.index(word) for word in tokens], np.int32),
        sentences=np.cumsum([0, *map(len, sentences)]),
        articles=np.cumsum([0, *map(len, articles)]),
        titles=tuple(f"article {number}" for number in range(len(articles))),
        tags={},
        heads=None,
        parts=parts,
        fingerprint="0",
    )


TEN = [f"s{number} the end" for number in range(10)]


def decoded(text, part):
    return [text.vocabulary.words[id_] for id_ in part.ids]


def test_words_are_ranked_by_count_then_alphabet_after_the_unknown():
    counts = {"b": 2, "a": 2, "c": 5, "d": 1, "<unk>": 1}
    made = Vocabulary.from_counts(counts, min_count=2)
    assert made.words == ("<unk>", "c", "a", "b")
    assert made.counts == (2, 5, 2, 2)


def test_unknown_words_are_encoded_as_zero():
    made = Vocabulary.from_counts({"a": 1})
    assert made.encode(["a", "zebra", "<unk>"]).tolist() == [1, 0, 0]


def test_other_words_or_counts_give_another_fingerprint():
    made = [Vocabulary.from_counts(counts) for counts in ({"a": 1}, {"a": 2}, {"b": 1})]
    assert len({one.fingerprint for one in made}) == 3


@pytest.mark.parametrize("words", [(), ("a",), ("<unk>", "a", "a")])
def test_a_vocabulary_begins_with_the_unknown_and_names_no_word_twice(words):
    with pytest.raises(ValueError, match="begins with <unk> and names no word twice"):
        Vocabulary(words, (1,) * len(words))


def test_a_vocabulary_without_a_count_for_each_word_is_refused():
    with pytest.raises(ValueError, match="2 words need a count each, got 1"):
        Vocabulary(("<unk>", "a"), (1,))


def test_each_article_is_cut_in_order_into_seventy_ten_twenty():
    text = prepare(ALL, corpus=corpus(TEN, TEN))
    first, second = list(range(7)), list(range(10, 17))
    assert [len(part.sentences) - 1 for part in (text.train, text.dev, text.test)] == [14, 2, 4]
    assert (text.train.source // 3).tolist() == np.repeat(first + second, 3).tolist()
    assert (text.dev.source // 3).tolist() == np.repeat([7, 17], 3).tolist()


def test_three_sentences_reach_every_part_and_two_only_train():
    text = prepare(ALL, corpus=corpus(["a", "b", "c"], ["d", "e"]))
    parts = [part.source.tolist() for part in (text.train, text.dev, text.test)]
    assert parts == [[0, 3, 4], [1], [2]]


def test_the_parts_a_corpus_comes_in_are_kept():
    made = corpus(["a", "b"], ["a"], ["b"], parts=np.array([2, 2, 0, 1], np.int8))
    text = prepare(ALL, corpus=made)
    assert [part.source.tolist() for part in (text.train, text.dev, text.test)] == [[2], [3], [0, 1]]


def test_source_leads_from_ids_back_to_the_tokens():
    made = corpus(TEN)
    text = prepare(ALL, corpus=made)
    for part in (text.train, text.dev, text.test):
        words = [made.words[code] for code in made.tokens[part.source]]
        known = [word if word in text.vocabulary.words else "<unk>" for word in words]
        assert decoded(text, part) == known
        assert part.sentences.tolist() == list(range(0, len(words) + 1, 3))


def test_words_rare_in_train_are_unknown_everywhere():
    text = prepare(replace(ALL, min_count=2), corpus=corpus(TEN))
    assert text.vocabulary.words == ("<unk>", "end", "the")
    assert text.vocabulary.counts == (7, 7, 7)
    assert decoded(text, text.dev) == ["<unk>", "the", "end"]


def test_sentences_with_a_rare_word_are_left_out_before_the_split():
    made = corpus(["a b", "a rare", "b a", "a a", "rarer", "b b"])
    text = prepare(replace(ALL, min_count=2, drop_rare_sentences=True), corpus=made)
    kept = [made.tokens[part.source].tolist() for part in (text.train, text.dev, text.test)]
    words = [[made.words[code] for code in part] for part in kept]
    assert words == [["a", "b", "b", "a"], ["a", "a"], ["b", "b"]]


def test_the_fingerprint_follows_what_a_model_would_read():
    made = corpus(TEN)
    same, other = prepare(ALL, corpus=made), prepare(replace(ALL, shares=(0.6, 0.2, 0.2)), corpus=made)
    assert prepare(ALL, corpus=made).fingerprint == same.fingerprint
    assert same.fingerprint != other.fingerprint


def test_a_corpus_too_small_for_its_parts_is_refused():
    with pytest.raises(ValueError, match="too small: no sentence of 2 is left for dev"):
        prepare(ALL, corpus=corpus(["a", "b"]))
    with pytest.raises(ValueError, match=r"left for train \(min_count=50.*lower min_count"):
        prepare(replace(ALL, min_count=50, drop_rare_sentences=True), corpus=corpus(TEN))


def test_a_threshold_that_leaves_no_word_is_refused():
    with pytest.raises(ValueError, match="got none with 50 tokens or more; lower min_count"):
        prepare(replace(ALL, min_count=50), corpus=corpus(TEN))


@pytest.mark.parametrize("shares", [(0.8, 0.0, 0.2), (0.7, 0.1, 0.1)])
def test_shares_must_be_positive_and_add_up(shares):
    with pytest.raises(ValueError, match="positive and add up to 1"):
        prepare(replace(ALL, shares=shares), corpus=corpus(TEN))


def test_settings_name_what_is_loaded(monkeypatch):
    asked = {}

    def load(name, **settings):
        asked.update(settings, name=name)
        return corpus(TEN)

    monkeypatch.setattr(vocabulary.corpora, "load", load)
    prepare(replace(ALL, corpus="x", articles=3, annotate=False, lowercase=False))
    assert asked == {"name": "x", "articles": 3, "annotate": False, "lowercase": False, "progress": None}


def test_the_defaults_are_the_thesis_values():
    settings = CorpusSettings()
    assert (settings.min_count, settings.shares) == (100, (0.7, 0.1, 0.2))
    assert settings.drop_rare_sentences
    assert settings.lowercase
