"""Chapter 5, first half: interdependence of English words against their distance on the tree.

A language model of one wide layer reads sentences whose trees are known, each from a state of zero; all pairs
of words up to some words apart are measured (thesis chapter 5, section 3, figures 3 and 4).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse import csgraph

from lmdynamics.ground import grid
from lmdynamics.ground.progress import report
from lmdynamics.measures import bootstrap, trees
from lmdynamics.measures.pairs import CLASSES, FEATURES, Pairs, PairSums
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.runs import Run
from lmdynamics.observe import interdependence
from lmdynamics.observe.decomposition import Convention
from lmdynamics.text import corpora
from lmdynamics.text.corpora import Corpus
from lmdynamics.text.vocabulary import PreparedText
from lmthesis.chapter_5.settings import Settings
from lmthesis.language_models import LanguageModels

_BLOCK = 2_000
"""Tokens, padding included, that are measured side by side."""
_SENTENCES = 100
"""Sentences whose sums are collected at once."""
TABLES = ("strata", "by_distance", "effects", "correlations", "attachment")
"""What `tables` returns."""
SHOWN_WORDS = (8, 20)
"""Fewest and most words of a sentence to be looked at."""
SHOWN = 12
"""Sentences to be looked at."""


@dataclass(frozen=True, eq=False)
class Sentences:
    """Parsed sentences as a language model reads them, in arrays with one entry per token."""

    ids: Int[np.ndarray, " tokens"]
    offsets: Int[np.ndarray, " offsets"]
    """Token at which each sentence begins, and the number of tokens."""
    heads: Int[np.ndarray, " tokens"]
    """Index of each word's head in its sentence; a root is its own head."""
    edges: Int[np.ndarray, "distance tokens"]
    """See `trees.edge_distances`."""
    is_word: Bool[np.ndarray, " tokens"]
    """False for punctuation."""
    classes: Int[np.ndarray, " tokens"]
    """0 for open classes, 1 for closed ones, -1 for neither: pairs with such a word are left out."""
    frequencies: Int[np.ndarray, " tokens"]
    """Of each token's word in the training part, 1 for one that is not there."""


@dataclass(frozen=True, eq=False)
class ParsedText:
    """Parsed sentences, and where they stand in their corpus."""

    corpus: Corpus
    source: Int[np.ndarray, " tokens"]
    """Index of each token in the corpus."""
    sentences: Sentences

    def words(self, sentence: int) -> list[str]:
        """The words of one sentence."""
        tokens = self.source[slice(*self.sentences.offsets[sentence : sentence + 2])]
        return [self.corpus.words[code] for code in self.corpus.tokens[tokens]]


class Sentence(NamedTuple):
    """One sentence to be looked at."""

    number: int
    """Among all sentences."""
    words: list[str]
    ids: Int[np.ndarray, " words"]
    heads: Int[np.ndarray, " words"]


def parsed_text(scale: Settings, text: PreparedText) -> ParsedText:
    """Return the parsed sentences of a scale, in the words of its language models.

    Parameters
    ----------
    scale
        Its treebank, or none where the test part of the text is measured; how many tokens; up to which
        distance.
    text
        What the language models read.

    Raises
    ------
    ValueError
        If the corpus has no trees.
    """
    if scale.treebank is None:
        corpus, part = text.corpus, text.test
        source, offsets, ids = part.source, part.sentences, part.ids
    else:
        corpus = corpora.load(scale.treebank)
        source, offsets = np.arange(len(corpus.tokens)), corpus.sentences
        ids = text.vocabulary.encode(corpus.words)[corpus.tokens]
    if corpus.heads is None or "pos" not in corpus.tags:
        raise ValueError(
            f"corpus {corpus.name!r} has no trees; choose 'ewt', or read it with annotate=True, which needs "
            "a spaCy model"
        )
    lengths = np.diff(offsets)
    chosen = np.flatnonzero(lengths > 1)
    if scale.tokens is not None and scale.tokens < lengths[chosen].sum():
        wanted = max(1, round(len(chosen) * scale.tokens / lengths[chosen].sum()))
        chosen = chosen[np.linspace(0, len(chosen) - 1, wanted).astype(int)]
    tokens = np.concatenate([np.arange(offsets[n], offsets[n + 1]) for n in chosen])
    source, ids = source[tokens], ids[tokens]
    offsets = np.concatenate([[0], np.cumsum(lengths[chosen])])
    heads, pos = corpus.heads[source], corpus.tags["pos"]
    kinds = trees.word_classes(pos.values)
    kinds[kinds == 2] = -1
    words = np.array([tag != "PUNCT" for tag in pos.values])
    counts = np.array(text.vocabulary.counts)
    return ParsedText(
        corpus,
        source,
        Sentences(
            ids=ids,
            offsets=offsets,
            heads=heads,
            edges=trees.edge_distances(heads, offsets, scale.distance),
            is_word=words[pos.codes[source]],
            classes=kinds[pos.codes[source]],
            frequencies=np.maximum(1, np.where(ids == 0, 0, counts[ids])),
        ),
    )


def tables(models: LanguageModels, sentences: Sentences) -> dict[str, pd.DataFrame]:
    """Return interdependence of all pairs, by stratum, and what explains it.

    Returns
    -------
    dict[str, pandas.DataFrame]
        Rows of all begin with `seed`, `epoch`, and the convention of the decomposition, `bias` and
        `interactions`; every convention after the last epoch, the thesis's after each. What has an interval
        over sentences is there over some samples of them too, see `bootstrap.sample_columns`.

        `strata`: `sequential` and `syntactic` distance, `classes` of the two words (of `pairs.CLASSES`), the
        number of `pairs`, `mean` interdependence and its interval over sentences, `low` and `high`.
        `by_distance`: the same over all classes and syntactic distances.
        `effects`: the `coefficient` of each `feature`, with that of all others and of the sequential
        distance taken out, `low`, `high`.
        `correlations`: the Pearson `correlation` with each `feature` of `pairs.FEATURES` alone.
        `attachment`: the share of trees that is the spanning tree of greatest weight, by kind of `weights`:
        see `attachment`.
    """
    last, usual = models.epochs, Convention()
    others = [each for each in Convention.all() if each != usual]
    jobs = [(run, epoch, usual, sentences) for run in models.runs for epoch in range(last + 1)]
    jobs += [(run, last, convention, sentences) for run in models.runs for convention in others]
    return grid.tables(pair_tables, jobs)


def pair_tables(
    run: Run, epoch: int, convention: Convention, sentences: Sentences
) -> dict[str, pd.DataFrame]:
    """Return interdependence of all pairs by one model after one epoch: rows of the `tables`."""
    report(f"interdependence of words, seed {run.settings['seed']}, epoch {epoch}")
    values = interdependences(run.model(epoch), sentences, convention, len(sentences.edges))
    sums = _sums(sentences, values)
    made = {
        "strata": sums.means("sequential", "syntactic", "classes"),
        "by_distance": sums.means("sequential"),
        "effects": sums.coefficients(*FEATURES[:5]),
        "correlations": sums.correlations(),
        "attachment": attachment(sentences, values),
    }
    about: dict[str, Any] = {"seed": run.settings["seed"], "epoch": epoch, **asdict(convention)}
    return {name: table.assign(**about)[[*about, *table.columns]] for name, table in made.items()}


def shown(models: LanguageModels, parsed: ParsedText) -> pd.DataFrame:
    """Return a few sentences with the interdependence of all their pairs, by the first model.

    Returns
    -------
    pandas.DataFrame
        One row per pair: `sentence`, `left` and `right` word by place, the words (`left_word`, `right_word`),
        the heads' places (`left_head`, `right_head`), `interdependence`.
    """
    sentences, lengths = parsed.sentences, np.diff(parsed.sentences.offsets)
    fit = np.flatnonzero((lengths >= SHOWN_WORDS[0]) & (lengths <= SHOWN_WORDS[1]))
    chosen = []
    for n in fit[np.linspace(0, len(fit) - 1, min(SHOWN, len(fit))).astype(int)].tolist():
        tokens = slice(*sentences.offsets[n : n + 2])
        chosen.append(Sentence(n, parsed.words(n), sentences.ids[tokens], sentences.heads[tokens]))
    return grid.table(sentence_pairs, [(models.runs[0], models.epochs, chosen)])


def sentence_pairs(run: Run, epoch: int, sentences: list[Sentence]) -> pd.DataFrame:
    """Return the interdependence of all pairs of words of some sentences: rows of `shown`."""
    model, rows = run.model(epoch), []
    for one in sentences:
        ids = torch.from_numpy(one.ids).long()[:, None].to(model.device)
        inputs, count = model.embedding(ids).detach(), len(one.words)
        values = interdependence.pairwise(model.lstms, inputs, distance=count - 1)[..., 0].cpu()
        rows += [
            {
                "sentence": one.number,
                "left": left,
                "right": right,
                "left_word": one.words[left],
                "right_word": one.words[right],
                "left_head": one.heads[left],
                "right_head": one.heads[right],
                "interdependence": values[right - left - 1, left].item(),
            }
            for left in range(count)
            for right in range(left + 1, count)
        ]
    return pd.DataFrame(rows)


def interdependences(
    model: RecurrentModel, sentences: Sentences, convention: Convention, distance: int
) -> Float[np.ndarray, "distance tokens"]:
    """Return the interdependence of all pairs of words up to a distance.

    Returns
    -------
    numpy.ndarray
        At ``[d - 1, n]`` that of words n and n + d, nan where they are not of one sentence.
    """
    values = np.full((distance, len(sentences.ids)), np.nan, np.float32)
    lengths = np.diff(sentences.offsets)
    for chosen in _blocks(lengths):
        longest = lengths[chosen].max()
        places = sentences.offsets[chosen] + np.arange(longest)[:, None]
        real = np.arange(longest)[:, None] < lengths[chosen]
        ids = np.where(real, sentences.ids[np.minimum(places, len(sentences.ids) - 1)], 0)
        with torch.no_grad():
            inputs = model.embedding(torch.from_numpy(ids).long().to(model.device))
        of_block = interdependence.pairwise(
            model.lstms,
            inputs,
            distance=distance,
            lengths=torch.from_numpy(lengths[chosen]),
            convention=convention,
        )
        values[:, places[real]] = of_block.cpu().numpy()[:, real]
    return values


def _blocks(lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Sentences of similar length, as many as make `_BLOCK` tokens or one."""
    order = np.argsort(lengths, kind="stable")
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and lengths[order[end]] * (end + 1 - begin) <= _BLOCK:
            end += 1
        yield order[begin:end]
        begin = end


def _sums(sentences: Sentences, values: np.ndarray) -> PairSums:
    """Sums over the pairs of open and closed classes that a path connects."""
    sums, offsets = PairSums(len(values)), sentences.offsets
    of_token = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    for begin in range(0, len(offsets) - 1, _SENTENCES):
        tokens = slice(offsets[begin], offsets[min(begin + _SENTENCES, len(offsets) - 1)])
        gap, left = np.nonzero(np.isfinite(values[:, tokens]))
        left += tokens.start
        right = left + gap + 1
        kinds = sentences.classes[left], sentences.classes[right]
        # without a path between them where they are below different roots
        wanted = (kinds[0] >= 0) & (kinds[1] >= 0) & (sentences.edges[gap, left] > 0)
        mixed = np.where(kinds[0] == kinds[1], kinds[0], CLASSES.index("mixed"))
        sums.update(
            Pairs(
                sequential=gap[wanted] + 1,
                syntactic=sentences.edges[gap, left][wanted],
                classes=mixed[wanted],
                left=sentences.frequencies[left[wanted]],
                right=sentences.frequencies[right[wanted]],
                sentences=of_token[left[wanted]] - begin,
                values=values[gap, left][wanted],
            )
        )
    return sums


def attachment(sentences: Sentences, values: Float[np.ndarray, "distance tokens"]) -> pd.DataFrame:
    """How much of each sentence's tree is the spanning tree of greatest weight.

    Trees are undirected and without punctuation. Pairs of words farther apart than was measured cannot be
    found.

    Returns
    -------
    pandas.DataFrame
        One row for each kind of `weights` (interdependence; that less its mean at the same sequential
        distance; nearest neighbours first; random): the share of edges `found`, and its 95 % interval over
        bootstrap samples of sentences, `low` and `high`; also over some samples.
    """
    word, offsets = sentences.is_word, sentences.offsets
    gap, left = np.nonzero(np.isfinite(values))
    kept = word[left] & word[left + gap + 1]
    gap, left = gap[kept], left[kept]
    right, measured = left + gap + 1, values[gap, left].astype(np.float64)
    usual = np.nanmean(values[: gap.max() + 1], axis=1)[gap] if len(gap) else measured
    weights = {
        "interdependence": measured,
        "interdependence, less its mean at the distance": measured - usual,
        "nearest neighbours": -gap.astype(np.float64),
        "random": np.random.default_rng(0).random(len(gap)),
    }
    tokens = len(sentences.ids)
    of_token = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    above = offsets[of_token] + sentences.heads
    has_edge = word & word[above] & (above != np.arange(tokens))
    edges = np.bincount(of_token[has_edge], minlength=len(offsets) - 1)
    samples = bootstrap.weights(len(edges), np.random.default_rng(0))
    rows = []
    for name, weight in weights.items():
        # csgraph takes the lightest tree, and a weight of 0 for no edge
        graph = sparse.coo_array((1 + weight.max() - weight, (left, right)), shape=(tokens, tokens))
        tree = csgraph.minimum_spanning_tree(graph.tocsr()).tocoo()
        right_ones = (above[tree.row] == tree.col) | (above[tree.col] == tree.row)
        hits = np.bincount(of_token[tree.row[right_ones]], minlength=len(edges))
        shares = samples @ hits / np.maximum(samples @ edges, 1)
        low, high = bootstrap.interval(shares)
        row = {"weights": name, "found": hits.sum() / edges.sum(), "low": low, "high": high}
        rows.append(row | bootstrap.sample_columns("found", shares))
    return pd.DataFrame(rows)
