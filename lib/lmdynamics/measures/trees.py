"""Distances on dependency trees.

The *syntactic distance* of two words is the number of edges between them on the tree of their sentence
(thesis chapter 5, section 3.1). Trees are given as heads: of each word the index of its head in the
sentence, a root its own head, as `corpora.Corpus` has them.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Int, Int16
from scipy import sparse
from scipy.sparse import csgraph

OPEN = frozenset({"ADJ", "ADV", "INTJ", "NOUN", "PROPN", "VERB"})
"""Universal parts of speech that often take in new words (thesis chapter 5, figure 4; chapter 6)."""
CLOSED = frozenset({"ADP", "AUX", "CCONJ", "DET", "PART", "PRON", "SCONJ"})
"""Those that seldom do. NUM, PUNCT, SYM and X are in neither set."""


def word_classes(pos: Sequence[str]) -> Int[np.ndarray, " tags"]:
    """The class of words of each universal part of speech: 0 for open, 1 for closed, 2 for others."""
    return np.array([0 if tag in OPEN else 1 if tag in CLOSED else 2 for tag in pos])


def edge_distances(
    heads: Int[np.ndarray, " tokens"], sentences: Int[np.ndarray, " offsets"], longest: int
) -> Int16[np.ndarray, "{longest} tokens"]:
    """Number of edges between words that stand up to so many places apart.

    Parameters
    ----------
    heads
        Index in the sentence; a root is its own head.
    sentences
        Token at which each sentence begins, and the number of tokens.
    longest
        The most places apart.

    Returns
    -------
    Int16[np.ndarray, "{longest} tokens"]
        At ``[d - 1, n]`` the distance of words n and n + d, 0 where no path connects them: in different
        sentences, or below different roots of one.

    Raises
    ------
    ValueError
        If offsets do not cover the tokens, `longest` is not positive, a head is outside its sentence, or
        heads form a circle.
    """
    if longest < 1:
        raise ValueError(f"longest must be 1 or more places, got {longest}")
    lengths = np.diff(sentences)
    if len(lengths) < 1 or sentences[0] != 0 or sentences[-1] != len(heads) or lengths.min() < 1:
        raise ValueError(
            f"sentences must rise from 0 to {len(heads)} without an empty one, got offsets {sentences}"
        )
    outside = np.flatnonzero((heads < 0) | (heads >= np.repeat(lengths, lengths)))
    if len(outside):
        raise _no_tree(sentences, outside[0], f"words of its own as heads, got {heads[outside[0]]}")
    words = np.arange(len(heads))
    distances = np.zeros((longest, len(heads)), np.int16)
    for begin, end in pairwise(sentences):
        inside = words[: end - begin]
        above = heads[begin:end]
        kept = above != inside
        edges = sparse.csr_array(
            (np.ones(kept.sum()), (inside[kept], above[kept])), shape=(end - begin, end - begin)
        )
        # a tree has one edge less than it has words
        trees, tree_of = csgraph.connected_components(edges, directed=False)
        if kept.sum() != len(inside) - trees:
            whole = np.bincount(tree_of[~kept], minlength=trees) == 1
            raise _no_tree(
                sentences, begin + np.flatnonzero(~whole[tree_of])[0], "a path to a root, got none"
            )
        apart = csgraph.shortest_path(edges, directed=False, unweighted=True)
        apart[np.isinf(apart)] = 0
        for places in range(1, min(longest, end - begin - 1) + 1):
            distances[places - 1, begin : end - places] = np.diagonal(apart, places)
    return distances


def _no_tree(sentences: np.ndarray, word: np.integer, needed: str) -> ValueError:
    number = np.searchsorted(sentences, word, side="right") - 1
    place = f"word {word - sentences[number]} of {sentences[number + 1] - sentences[number]}"
    return ValueError(
        f"sentence {number} of {len(sentences) - 1} must have {needed} for {place}; "
        "correct its heads or leave it out"
    )
