"""Distances on trees: those one can count, those another library finds, and what is no tree."""

import os

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdynamics.measures.trees import CLOSED, OPEN, edge_distances, word_classes
from lmdynamics.text import corpora

needs_data = pytest.mark.skipif(
    not os.environ.get("LMDYNAMICS_DATA"), reason="LMDYNAMICS_DATA names no folder of corpora"
)


def distances(*sentences, longest=10):
    """Of sentences given as lists of heads."""
    heads = np.array([head for heads in sentences for head in heads], np.int32)
    return edge_distances(heads, np.cumsum([0, *map(len, sentences)]), longest)


@st.composite
def trees(draw):
    """Heads of a random tree, in any order of its words."""
    size = draw(st.integers(1, 12))
    order = draw(st.permutations(range(size)))
    heads = [0] * size
    for place, word in enumerate(order):
        heads[word] = order[draw(st.integers(0, place - 1))] if place else word
    return heads


def test_the_thesis_counts_three_edges_from_socrates_to_trick_and_four_from_the_to_trick():
    #         Socrates asked the student trick questions: thesis figure 2.1 and chapter 5, figure 2
    found = distances([1, 1, 3, 1, 5, 1])
    socrates, asked, the, student, trick, questions = range(6)
    assert found[trick - socrates - 1, socrates] == 3
    assert found[trick - the - 1, the] == 4
    assert found[trick - asked - 1, asked] == 2
    assert found[questions - trick - 1, trick] == 1
    assert found[questions - student - 1, student] == 2


def test_a_chain_is_as_long_on_its_tree_as_in_its_words():
    found = distances([0, 0, 1, 2, 3], longest=4)
    assert found.tolist() == [[1, 1, 1, 1, 0], [2, 2, 2, 0, 0], [3, 3, 0, 0, 0], [4, 0, 0, 0, 0]]


def test_a_chain_with_its_root_in_the_middle_has_the_same_distances():
    assert np.array_equal(distances([1, 2, 2, 2, 3]), distances([0, 0, 1, 2, 3]))


def test_all_words_of_a_star_but_its_root_are_two_edges_apart():
    found = distances([2, 2, 2, 2, 2], longest=3)
    assert found.tolist() == [[2, 1, 1, 2, 0], [1, 2, 1, 0, 0], [2, 2, 0, 0, 0]]


def test_no_distance_crosses_the_border_of_a_sentence():
    one, two, three = [0, 0, 1], [0], [1, 1]
    found = distances(one, two, three, longest=4)
    assert found.tolist() == [[1, 1, 0, 0, 1, 0], [2, 0, 0, 0, 0, 0], [0] * 6, [0] * 6]


def test_words_may_be_further_apart_than_any_sentence_is_long():
    found = distances([0, 0], [0], longest=50)
    assert found.shape == (50, 3)
    assert found.sum() == found[0, 0] == 1


def test_what_is_counted_does_not_depend_on_how_far_one_looks():
    heads = [1, 1, 3, 1, 5, 1]
    assert np.array_equal(distances(heads, longest=2), distances(heads, longest=5)[:2])


@settings(deadline=None)
@given(st.lists(trees(), min_size=1, max_size=4), st.integers(1, 12))
def test_distances_are_those_of_networkx(sentences, longest):
    found = distances(*sentences, longest=longest)
    expected = np.zeros_like(found)
    begin = 0
    for heads in sentences:
        graph = networkx.Graph(enumerate(heads))
        for one, reached in networkx.all_pairs_shortest_path_length(graph):
            for other, edges in reached.items():
                if 0 < other - one <= longest:
                    expected[other - one - 1, begin + one] = edges
        begin += len(heads)
    assert found.dtype == np.int16
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("heads", "got"),
    [([0, 2], "2 for word 1 of 2"), ([-1, 0], "-1 for word 0 of 2"), ([1], "1 for word 0 of 1")],
)
def test_a_head_outside_of_its_sentence_is_refused(heads, got):
    with pytest.raises(ValueError, match=f"sentence 1 of 3 must have words of its own as heads, got {got};"):
        distances([0, 0], heads, [0, 0])


def test_words_below_different_roots_are_not_connected():
    assert distances([0, 0, 2, 2], longest=3).tolist() == [[1, 0, 1, 0], [0] * 4, [0] * 4]


@pytest.mark.parametrize(
    ("heads", "word"), [([0, 2, 1], 1), ([0, 2, 3, 1], 1), ([2, 2, 1, 3], 0), ([1, 0, 1], 0), ([1, 2, 0], 0)]
)
def test_words_that_climb_into_a_circle_have_no_path_to_the_root_and_are_refused(heads, word):
    with pytest.raises(
        ValueError, match=rf"sentence 1 of 2 must have a path .* got none for word {word} of {len(heads)};"
    ):
        distances([0, 0, 1, 2], heads)


@pytest.mark.parametrize("sentences", [[0, 2], [1, 3], [0, 0, 3], [0, 2, 1, 3], [3], []])
def test_sentences_that_do_not_cover_the_words_are_refused(sentences):
    with pytest.raises(ValueError, match="sentences must rise from 0 to 3 without an empty one"):
        edge_distances(np.zeros(3, np.int32), np.array(sentences, np.int64), 1)


def test_words_are_at_least_one_place_apart():
    with pytest.raises(ValueError, match="longest must be 1 or more places, got 0"):
        distances([0, 0], longest=0)


def test_the_open_and_the_closed_classes_share_none_and_leave_out_four_of_the_universal_ones():
    others = {"NUM", "PUNCT", "SYM", "X"}
    assert (len(OPEN), len(CLOSED)) == (6, 7)
    assert not OPEN & CLOSED
    assert not (OPEN | CLOSED) & others
    assert word_classes(["NOUN", "DET", "X", "VERB", "NUM"]).tolist() == [0, 1, 2, 0, 2]


@needs_data
def test_pairs_of_english_words_one_edge_apart_are_those_of_a_word_and_its_head(tmp_path, monkeypatch):
    monkeypatch.setenv("LMDYNAMICS_CACHE", str(tmp_path))
    read = corpora.load("ewt")
    found = edge_distances(read.heads, read.sentences, 10)
    lengths = np.diff(read.sentences)
    heads = read.heads + np.repeat(read.sentences[:-1], lengths)
    apart = np.bincount(np.abs(heads - np.arange(len(heads))))
    assert [(row == 1).sum() for row in found] == apart[1:11].tolist()
    assert [(row > 0).sum() for row in found] == [np.maximum(lengths - d, 0).sum() for d in range(1, 11)]
    assert found.max() == 18
    assert set(read.tags["pos"].values) == OPEN | CLOSED | {"NUM", "PUNCT", "SYM", "X"}
