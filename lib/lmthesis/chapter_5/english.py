"""Chapter 5, first half: interdependence of English words against their distance on the tree.

A language model of one wide layer reads sentences whose trees are known, each from a state of zero; all pairs
of words up to some words apart are measured (thesis chapter 5, section 3, figures 3 and 4).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse import csgraph

from lmdynamics.ground.grid import cached
from lmdynamics.ground.progress import report
from lmdynamics.measures import trees
from lmdynamics.measures.pairs import CLASSES, FEATURES, REPLICATES, Pairs, PairSums
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.runs import Run, RunSettings
from lmdynamics.observe import interdependence
from lmdynamics.observe.decomposition import Convention
from lmdynamics.text import corpora
from lmdynamics.text.corpora import Corpus
from lmdynamics.text.streams import Parts
from lmdynamics.text.vocabulary import PreparedText
from lmthesis import language_models
from lmthesis.language_models import parallel
from lmthesis.scales import EnglishSettings, Scale

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
    """Parsed sentences as a language model reads them."""

    corpus: Corpus
    source: Int[np.ndarray, " tokens"]
    """Index of each token in the corpus."""
    ids: Int[np.ndarray, " tokens"]
    offsets: Int[np.ndarray, " offsets"]
    """Token at which each sentence begins, and the number of tokens."""
    classes: Int[np.ndarray, " tokens"]
    """0 for open classes, 1 for closed ones, -1 for neither: pairs with such a word are left out."""
    frequencies: Int[np.ndarray, " tokens"]
    """Of each token's word in the training part, 1 for one that is not there."""
    edges: Int[np.ndarray, "distance tokens"]
    """See `trees.edge_distances`."""

    @property
    def heads(self) -> Int[np.ndarray, " tokens"]:
        """Index of each word's head in its sentence; a root is its own head."""
        assert self.corpus.heads is not None
        return self.corpus.heads[self.source]

    def words(self, sentence: int) -> list[str]:
        """The words of one sentence."""
        tokens = self.source[self.offsets[sentence] : self.offsets[sentence + 1]]
        return [self.corpus.words[code] for code in self.corpus.tokens[tokens]]


@dataclass(frozen=True)
class English:
    """Language models and the sentences on which they are measured."""

    text: PreparedText
    """What the models were trained on."""
    runs: tuple[Run, ...]
    settings: EnglishSettings

    @property
    def sentences(self) -> Sentences:
        """See `sentences`."""
        return sentences(self.text, self.settings)


def as_scale(scale: Scale) -> Scale:
    """The scale of the language models of English, for the studies that they share."""
    english = scale.english
    return replace(scale, corpus=english.corpus, model=english.model, training=english.training)


def jobs(scale: Scale, text: PreparedText) -> list[tuple[RunSettings, Parts]]:
    """What `runs.train` is to be called with, once for each seed."""
    return language_models.jobs(as_scale(scale), text)


def sentences(text: PreparedText, settings: EnglishSettings) -> Sentences:
    """The parsed sentences of a study, in the words of its language models.

    Raises
    ------
    ValueError
        If the corpus has no trees.
    """
    if settings.treebank is None:
        corpus, part = text.corpus, text.test
        source, offsets, ids = part.source, part.sentences, part.ids
    else:
        corpus = corpora.load(settings.treebank)
        source, offsets = np.arange(len(corpus.tokens)), corpus.sentences
        ids = text.vocabulary.encode(corpus.words)[corpus.tokens]
    if corpus.heads is None or "pos" not in corpus.tags:
        raise ValueError(
            f"corpus {corpus.name!r} has no trees; choose 'ewt', or read it with annotate=True, which needs "
            "a spaCy model"
        )
    lengths = np.diff(offsets)
    chosen = np.flatnonzero(lengths > 1)
    if settings.tokens is not None and settings.tokens < lengths[chosen].sum():
        wanted = max(1, round(len(chosen) * settings.tokens / lengths[chosen].sum()))
        chosen = chosen[np.linspace(0, len(chosen) - 1, wanted).astype(int)]
    tokens = np.concatenate([np.arange(offsets[n], offsets[n + 1]) for n in chosen])
    source, ids = source[tokens], ids[tokens]
    offsets = np.concatenate([[0], np.cumsum(lengths[chosen])])
    pos = corpus.tags["pos"]
    kinds = np.array([0 if tag in trees.OPEN else 1 if tag in trees.CLOSED else -1 for tag in pos.values])
    counts = np.array(text.vocabulary.counts)
    return Sentences(
        corpus=corpus,
        source=source,
        ids=ids,
        offsets=offsets,
        classes=kinds[pos.codes[source]],
        frequencies=np.maximum(1, np.where(ids == 0, 0, counts[ids])),
        edges=trees.edge_distances(corpus.heads[source], offsets, settings.distance),
    )


def tables(english: English) -> dict[str, pd.DataFrame]:
    """Return interdependence of all pairs, by stratum, and what explains it.

    Returns
    -------
    dict[str, pandas.DataFrame]
        Rows of all begin with `seed`, `epoch`, and the convention of the decomposition, `bias` and
        `interactions`; every convention after the last epoch, the thesis's after each.

        `strata`: `sequential` and `syntactic` distance, `classes` of the two words (of `pairs.CLASSES`), the
        number of `pairs`, `mean` interdependence and its interval over sentences, `low` and `high`.
        `by_distance`: the same over all classes and syntactic distances.
        `effects`: the `coefficient` of each `feature`, with that of all others and of the sequential
        distance taken out, `low`, `high`.
        `correlations`: the Pearson `correlation` with each `feature` of `pairs.FEATURES` alone.
        `attachment`: the share of trees that is
        the spanning tree of greatest weight, by kind of `weights`: see `attachment`.
    """
    settings = english.settings
    last = settings.training.epochs
    default = Convention()
    grid = [(run, epoch, default) for run in english.runs for epoch in range(last + 1)]
    grid += [
        (run, last, convention)
        for run in english.runs
        for convention in Convention.all()
        if convention != default
    ]
    names = [run.folder.name for run in english.runs]
    bank = english.sentences
    depends = [names, asdict(settings), bank.corpus.fingerprint]

    found: dict[str, pd.DataFrame] = {}

    def compute(kind: str) -> pd.DataFrame:
        if not found:
            each = parallel(_of_model, [(bank, settings.distance, *one) for one in grid])
            found.update({name: pd.concat([of[name] for of in each], ignore_index=True) for name in TABLES})
        return found[kind]

    return {
        kind: cached(kind, depends, lambda kind=kind: compute(kind), code=__name__)  # type: ignore[misc]
        for kind in TABLES
    }


def shown(english: English) -> pd.DataFrame:
    """Return a few sentences with the interdependence of all their pairs, by the first model.

    Returns
    -------
    pandas.DataFrame
        One row per pair: `sentence`, `left` and `right` word by place, the words (`left_word`, `right_word`),
        the heads' places (`left_head`, `right_head`), `interdependence`.
    """
    bank = english.sentences
    run, last = english.runs[0], english.settings.training.epochs

    def compute() -> pd.DataFrame:
        model = run.model(last)
        lengths = np.diff(bank.offsets)
        fit = np.flatnonzero((lengths >= SHOWN_WORDS[0]) & (lengths <= SHOWN_WORDS[1]))
        rows = []
        for n in fit[np.linspace(0, len(fit) - 1, min(SHOWN, len(fit))).astype(int)].tolist():
            ids = torch.from_numpy(bank.ids[bank.offsets[n] : bank.offsets[n + 1]]).long()[:, None]
            found = interdependence.pairwise(
                model.lstms, model.embedding(ids).detach(), distance=len(ids) - 1
            )[..., 0]
            words, heads = bank.words(n), bank.heads[bank.offsets[n] : bank.offsets[n + 1]]
            rows += [
                {
                    "sentence": n,
                    "left": left,
                    "right": right,
                    "left_word": words[left],
                    "right_word": words[right],
                    "left_head": heads[left],
                    "right_head": heads[right],
                    "interdependence": found[right - left - 1, left].item(),
                }
                for left in range(len(ids))
                for right in range(left + 1, len(ids))
            ]
        return pd.DataFrame(rows)

    depends = [run.folder.name, asdict(english.settings), bank.corpus.fingerprint]
    return cached("shown", depends, compute, code=__name__)


def interdependences(
    model: RecurrentModel, bank: Sentences, convention: Convention, distance: int
) -> Float[np.ndarray, "distance tokens"]:
    """Interdependence of all pairs of words up to a distance.

    Returns
    -------
    numpy.ndarray
        At ``[d - 1, n]`` that of words n and n + d, nan where they are not of one sentence.
    """
    found = np.full((distance, len(bank.ids)), np.nan, np.float32)
    lengths = np.diff(bank.offsets)
    for chosen in _blocks(lengths):
        longest = lengths[chosen].max()
        places = bank.offsets[chosen] + np.arange(longest)[:, None]
        real = np.arange(longest)[:, None] < lengths[chosen]
        ids = np.where(real, bank.ids[np.minimum(places, len(bank.ids) - 1)], 0)
        with torch.no_grad():
            inputs = model.embedding(torch.from_numpy(ids).long())
        measured = interdependence.pairwise(
            model.lstms,
            inputs,
            distance=distance,
            lengths=torch.from_numpy(lengths[chosen]),
            convention=convention,
        ).numpy()
        found[:, places[real]] = measured[:, real]
    return found


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


def _of_model(
    bank: Sentences, distance: int, run: Run, epoch: int, convention: Convention
) -> dict[str, pd.DataFrame]:
    report(f"interdependence of words, seed {run.settings['seed']}, epoch {epoch}")
    values = interdependences(run.model(epoch), bank, convention, distance)
    sums = _sums(bank, values)
    made = {
        "strata": sums.means("sequential", "syntactic", "classes"),
        "by_distance": sums.means("sequential"),
        "effects": sums.coefficients(*FEATURES[:5]),
        "correlations": sums.correlations(),
        "attachment": attachment(bank, values),
    }
    about: dict[str, Any] = {"seed": run.settings["seed"], "epoch": epoch, **asdict(convention)}
    return {name: table.assign(**about)[[*about, *table.columns]] for name, table in made.items()}


def _sums(bank: Sentences, values: np.ndarray) -> PairSums:
    """Sums over the pairs of open and closed classes that a path connects."""
    sums = PairSums(len(values))
    of_token = np.repeat(np.arange(len(bank.offsets) - 1), np.diff(bank.offsets))
    for begin in range(0, len(bank.offsets) - 1, _SENTENCES):
        tokens = slice(bank.offsets[begin], bank.offsets[min(begin + _SENTENCES, len(bank.offsets) - 1)])
        gap, left = np.nonzero(np.isfinite(values[:, tokens]))
        left += tokens.start
        right = left + gap + 1
        kinds = bank.classes[left], bank.classes[right]
        # without a path between them where they are below different roots
        wanted = (kinds[0] >= 0) & (kinds[1] >= 0) & (bank.edges[gap, left] > 0)
        mixed = np.where(kinds[0] == kinds[1], kinds[0], CLASSES.index("mixed"))
        sums.update(
            Pairs(
                sequential=gap[wanted] + 1,
                syntactic=bank.edges[gap, left][wanted],
                classes=mixed[wanted],
                left=bank.frequencies[left[wanted]],
                right=bank.frequencies[right[wanted]],
                sentences=of_token[left[wanted]] - begin,
                values=values[gap, left][wanted],
            )
        )
    return sums


def attachment(bank: Sentences, values: Float[np.ndarray, "distance tokens"]) -> pd.DataFrame:
    """How much of each sentence's tree is the spanning tree of greatest weight.

    Trees are undirected and without punctuation. Pairs of words farther apart than was measured cannot be
    found.

    Returns
    -------
    pandas.DataFrame
        One row for each kind of `weights` (interdependence; that less its mean at the same sequential
        distance; nearest neighbours first; random): the share of edges `found`, and its 95 % interval over
        bootstrap samples of sentences, `low` and `high`.
    """
    pos = bank.corpus.tags["pos"]
    word = np.array([tag != "PUNCT" for tag in pos.values])[pos.codes[bank.source]]
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
    tokens = len(bank.ids)
    of_token = np.repeat(np.arange(len(bank.offsets) - 1), np.diff(bank.offsets))
    above = bank.offsets[of_token] + bank.heads
    has_edge = word & word[above] & (above != np.arange(tokens))
    edges = np.bincount(of_token[has_edge], minlength=len(bank.offsets) - 1)
    random = np.random.default_rng(0).poisson(size=(REPLICATES, len(edges)))
    rows = []
    for name, weight in weights.items():
        # csgraph takes the lightest tree, and a weight of 0 for no edge
        graph = sparse.coo_array((1 + weight.max() - weight, (left, right)), shape=(tokens, tokens))
        tree = csgraph.minimum_spanning_tree(graph.tocsr()).tocoo()
        right_ones = (above[tree.row] == tree.col) | (above[tree.col] == tree.row)
        hits = np.bincount(of_token[tree.row[right_ones]], minlength=len(edges))
        low, high = np.quantile(random @ hits / np.maximum(random @ edges, 1), [0.025, 0.975])
        rows.append({"weights": name, "found": hits.sum() / edges.sum(), "low": low, "high": high})
    return pd.DataFrame(rows)
