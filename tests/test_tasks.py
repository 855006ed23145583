from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from lmdynamics.text import corpora, tasks, vocabulary
from lmdynamics.text.annotation import Column
from lmdynamics.text.corpora import Corpus
from lmdynamics.text.downloads import DownloadError
from lmdynamics.text.tasks import Task, TaskSettings
from lmdynamics.text.vocabulary import CorpusSettings
from lmthesis.chapter_4 import settings

SENTENCES, ARTICLES = 20, 4
TEXT = CorpusSettings(min_count=1, drop_rare_sentences=False)


def corpus(*, lengths=None, pos=None, parts=None):
    """Four articles of twenty sentences each; a word names its place, its tag whether it is even."""
    lengths = np.full(SENTENCES * ARTICLES, 5) if lengths is None else lengths
    tokens = int(lengths.sum())
    codes = np.arange(tokens, dtype=np.int32)
    return Corpus(
        name="made-up",
        words=tuple(f"{token:05}" for token in range(tokens)),
        tokens=codes,
        sentences=np.concatenate([[0], np.cumsum(lengths)]),
        articles=np.arange(ARTICLES + 1) * SENTENCES,
        titles=tuple("abcd"),
        tags={"pos": pos or Column(("even", "odd"), codes % 2)},
        heads=None,
        parts=parts,
        fingerprint="x",
    )


@pytest.fixture
def text():
    return vocabulary.prepare(TEXT, corpus=corpus())


@pytest.fixture
def absent(monkeypatch):
    def load(name):
        raise DownloadError("no network")

    monkeypatch.setattr(corpora, "at_hand", lambda name: False)
    monkeypatch.setattr(corpora, "load", load)


@pytest.fixture
def task(text):
    return Task(name="parity", text=text, tags=text.corpus.tags["pos"])


def words_of(text, ids):
    return np.array([text.vocabulary.words[id_] for id_ in ids])


def train_words(text, ids):
    """Places in the corpus of the known words."""
    return np.array([int(word) if word != "<unk>" else -1 for word in words_of(text, ids)])


def test_an_input_tagger_answers_with_the_tag_of_the_word_that_it_reads(task):
    ids, classes = task.examples("train", tagger="input", labels="true", seed=0)
    assert (train_words(task.text, ids) % 2 == classes).all()


def test_an_output_tagger_answers_with_the_tag_of_the_next_word(task):
    here = task.examples("train", tagger="input", labels="true", seed=0)
    after = task.examples("train", tagger="output", labels="true", seed=0)
    np.testing.assert_array_equal(after.ids, here.ids[:-1])
    np.testing.assert_array_equal(after.classes, here.classes[1:])


def test_sentences_stay_whole_and_come_in_an_order_that_the_seed_decides(task):
    places = train_words(task.text, task.examples("train", tagger="input", labels="true", seed=0).ids)
    np.testing.assert_array_equal(places.reshape(-1, 5) - places[::5, None], np.tile(np.arange(5), (56, 1)))
    assert (np.diff(places[::5]) < 0).any()
    again, other = (task.examples("train", tagger="input", labels="true", seed=seed).ids for seed in (0, 1))
    np.testing.assert_array_equal(train_words(task.text, again), places)
    assert (again != other).any()


def test_shuffled_labels_keep_the_words_and_the_share_of_each_class(task):
    true, shuffled = (
        task.examples("train", tagger="input", labels=each, seed=0) for each in ("true", "shuffled")
    )
    np.testing.assert_array_equal(true.ids, shuffled.ids)
    np.testing.assert_array_equal(np.bincount(true.classes), np.bincount(shuffled.classes))
    assert (true.classes != shuffled.classes).mean() == pytest.approx(0.5, abs=0.1)


def test_tags_that_do_not_align_with_the_tokens_are_refused(text):
    with pytest.raises(ValueError, match="needs a tag for each of 400 tokens, got 399"):
        Task(name="parity", text=text, tags=Column(("a",), np.zeros(399, np.int32)))


def test_a_class_that_train_lacks_is_refused_by_name(text):
    codes = np.zeros(400, np.int32)
    codes[text.test.source[0]] = 1
    with pytest.raises(ValueError, match=r"cannot be learnt: test has tags that train lacks \(rare\)"):
        Task(name="parity", text=text, tags=Column(("common", "rare"), codes))


def test_a_sentence_with_a_tag_that_train_would_lack_goes_to_train(text):
    codes = np.zeros(400, np.int32)
    codes[text.test.source[0]] = 1
    rare = vocabulary.prepare(TEXT, corpus=corpus(pos=Column(("common", "rare"), codes)))
    own = tasks.longest_articles(rare, 4)
    assert len(own.train.ids) == len(rare.train.ids) + 5
    assert text.test.source[0] in own.train.source
    assert Task(name="rarity", text=own, tags=rare.corpus.tags["pos"]).classes == ("common", "rare")


def test_topics_are_the_longest_articles_and_each_stands_in_every_part():
    lengths = np.repeat([5, 9, 4, 8], SENTENCES)
    text = vocabulary.prepare(TEXT, corpus=corpus(lengths=lengths))
    own = tasks.longest_articles(text, 2)
    for part in (own.train, own.dev, own.test):
        assert set(text.corpus.topics.codes[part.source]) == {1, 3}


def test_text_that_comes_in_parts_is_cut_anew_for_topics():
    parts = np.repeat(np.array([0, 0, 1, 2], np.int8), SENTENCES)
    text = vocabulary.prepare(TEXT, corpus=corpus(parts=parts))
    own = tasks.longest_articles(text, 4)
    assert set(text.corpus.topics.codes[own.test.source]) == {0, 1, 2, 3}


def test_only_sentences_that_the_language_model_may_read_are_tagged(text):
    kept = [np.arange(0, 30), np.arange(30, 34), np.arange(34, 40)]
    own = tasks.longest_articles(vocabulary.encoded(text.corpus, text.vocabulary, kept), 4)
    read = np.concatenate([part.source for part in (own.train, own.dev, own.test)])
    np.testing.assert_array_equal(np.sort(read), np.arange(200))


def test_a_corpus_too_small_for_topics_is_refused(text):
    kept = [np.arange(0, 5), np.arange(5, 7), np.arange(7, 9)]
    with pytest.raises(ValueError, match=r"need two articles or more, .* got 1 of 4; take more text"):
        tasks.longest_articles(vocabulary.encoded(text.corpus, text.vocabulary, kept), 4)


@pytest.mark.usefixtures("absent")
def test_without_their_corpora_semantic_tags_are_left_out_and_penn_tags_come_from_spacy(text):
    with_penn = replace(
        text.corpus, tags={**text.corpus.tags, "tag": Column(("NN",), np.zeros(400, np.int32))}
    )
    found = tasks.load(replace(text, corpus=with_penn), TaskSettings(topics=4))
    assert [(task.name, task.text.corpus.name) for task in found] == [
        ("UDP POS", "made-up"),
        ("PTB POS", "made-up"),
        ("topic", "made-up"),
    ]


@pytest.mark.usefixtures("absent")
def test_a_corpus_without_tags_is_refused_with_the_remedy(text):
    with pytest.raises(ValueError, match="'made-up' needs tags 'tag', got pos; load it with annotate=True"):
        tasks.load(text, TaskSettings(topics=4), ["PTB POS"])


def test_an_unknown_task_or_part_is_refused(task):
    with pytest.raises(ValueError, match=r"a task is one of UDP POS, .*, got NER"):
        tasks.load(task.text, TaskSettings(), ["NER"])
    with pytest.raises((ValueError, TypeCheckError), match="a part is one of train, dev, test, got 'eval'"):
        task.examples("eval", tagger="input", labels="true", seed=0)


@pytest.mark.skipif(not corpora.at_hand("gmb"), reason="LMDYNAMICS_DATA names no folder with the tag corpora")
def test_the_tasks_of_the_thesis_have_their_classes():
    text = vocabulary.prepare(settings.SMOKE.text)
    found = {task.name: task for task in tasks.load(text, TaskSettings(topics=100, sentences=1000))}
    assert tuple(found) == tasks.NAMES
    assert [len(found[name].classes) for name in ("SEM (coarse)", "SEM (fine)", "topic")] == [13, 69, 6]
    assert found["PTB POS"].text.corpus.name == "gmb"
    assert all(task.text.vocabulary is text.vocabulary for task in found.values())
