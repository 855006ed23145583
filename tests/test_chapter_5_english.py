"""Interdependence of words that stand in trees: sums, tables and trees against counting by hand."""

from dataclasses import replace
from itertools import combinations, product

import joblib
import networkx
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import never, only
from scipy import stats

from lmdynamics.ground import grid
from lmdynamics.measures import trees
from lmdynamics.measures.pairs import CLASSES, FEATURES
from lmdynamics.models import runs, training
from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.observe import interdependence
from lmdynamics.observe.decomposition import Convention
from lmdynamics.text import corpora
from lmdynamics.text.annotation import Column
from lmdynamics.text.corpora import Corpus
from lmdynamics.text.vocabulary import CorpusSettings, Vocabulary, prepare
from lmthesis import language_models
from lmthesis.chapter_5 import english, settings
from lmthesis.language_models import LanguageModels

EPOCHS = 1
DISTANCE = 5
POS = {"DET": 0, "NOUN": 1, "VERB": 2, "PUNCT": 3, "NUM": 4, "ADP": 5}
TEXT = CorpusSettings(min_count=1, drop_rare_sentences=False, shares=(0.5, 0.1, 0.4))
SCALE = settings.scale(
    "smoke",
    units=8,
    dropout=0.0,
    epochs=EPOCHS,
    batch=5,
    steps_back=10,
    learning_rate=5.0,
    distance=DISTANCE,
    seeds=(0, 1),
)
SCALE = replace(SCALE, tokens=None)


def corpus(*sentences, name="made", fingerprint="0"):
    """A corpus of one article from sentences such as ``the/DET/1 cat/NOUN/1``: word, class, place of head."""
    split = [[token.split("/") for token in sentence.split()] for sentence in sentences]
    tokens = [token for sentence in split for token in sentence]
    words, kinds = (tuple(sorted({token[n] for token in tokens})) for n in (0, 1))
    return Corpus(
        name=name,
        words=words,
        tokens=np.array([words.index(token[0]) for token in tokens], np.int32),
        sentences=np.cumsum([0, *map(len, split)]),
        articles=np.array([0, len(split)]),
        titles=("article",),
        tags={"pos": Column(kinds, np.array([kinds.index(token[1]) for token in tokens], np.int32))},
        heads=np.array([int(token[2]) for token in tokens], np.int32),
        parts=None,
        fingerprint=fingerprint,
    )


def grown(number, *, seed=0, longest=12, shortest=1):
    """Sentences of any length whose words, classes and trees are random."""
    random = np.random.default_rng(seed)
    sentences = []
    for length in random.integers(shortest, longest + 1, size=number):
        kinds = random.choice(list(POS), size=length, p=[0.2, 0.3, 0.2, 0.1, 0.05, 0.15])
        order = random.permutation(length)
        heads = np.zeros(length, int)
        for place, word in enumerate(order):
            heads[word] = order[random.integers(place)] if place else word
        sentences.append(
            " ".join(
                f"{kind.lower()}{random.zipf(2.0) % 4}/{kind}/{head}"
                for kind, head in zip(kinds, heads, strict=True)
            )
        )
    return sentences


def prepared(made):
    return prepare(TEXT, corpus=made)


def parsed_text_of(*sentences, distance=DISTANCE, tokens=None):
    """All sentences given, as a treebank, in words of their own."""
    made, asked = corpus(*sentences), replace(SCALE, treebank="made", distance=distance, tokens=tokens)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpora, "load", lambda name: made)
        return english.parsed_text(asked, prepared(made))


def bank_of(*sentences, distance=DISTANCE):
    """The same, as arrays."""
    return parsed_text_of(*sentences, distance=distance).sentences


def model_of(bank, *, seed=0, layers=1):
    """A model whose gates do more than stand half open."""
    model = RecurrentModel(
        ModelSettings(layers=layers, units=8, dropout=0.0),
        words=int(bank.ids.max()) + 1,
        classes=2,
        seed=seed,
    )
    with torch.no_grad():
        model.embedding.weight.mul_(10)
        for parameter in model.lstms.parameters():
            parameter.mul_(2)
    return model


def pairs_of(bank, distance=DISTANCE):
    """Each pair of words of one sentence up to a distance: the sentence, and both tokens."""
    for sentence, (begin, end) in enumerate(zip(bank.offsets[:-1], bank.offsets[1:], strict=True)):
        for left, right in combinations(range(begin, end), 2):
            if right - left <= distance:
                yield sentence, left, right


def made_up(bank, distance=DISTANCE, seed=0):
    """Random values for the pairs of a bank, nan elsewhere."""
    values = np.full((distance, len(bank.ids)), np.nan, np.float32)
    random = np.random.default_rng(seed)
    for _, left, right in pairs_of(bank, distance):
        values[right - left - 1, left] = random.random()
    return values


def edges_of(bank):
    """The undirected edges between words that are no punctuation, as pairs of tokens."""
    above = np.repeat(bank.offsets[:-1], np.diff(bank.offsets)) + bank.heads
    return {
        (min(n, head), max(n, head))
        for n, head in enumerate(above.tolist())
        if n != head and bank.is_word[n] and bank.is_word[head]
    }


def of_kind(table):
    return table.set_index("weights")["found"].to_dict()


@pytest.fixture(scope="module")
def here(kept):
    """A cache of its own, and all in this process, where shapes are checked."""
    with joblib.parallel_config("sequential"):
        yield


def trained(scale, text):
    return LanguageModels(
        text, tuple(grid.results(runs.train, language_models.jobs(scale, text))), scale.epochs
    )


@pytest.fixture(scope="module")
def models(here):
    return trained(SCALE, prepared(corpus(*grown(120))))


@pytest.fixture(scope="module")
def parsed(models):
    return english.parsed_text(SCALE, models.text)


@pytest.fixture(scope="module")
def tables(models, parsed):
    return english.tables(models, parsed.sentences)


# sentences


def test_without_a_treebank_sentences_are_those_of_the_test_part_in_the_models_own_words():
    text = prepared(corpus(*grown(60, shortest=2)))
    parsed = english.parsed_text(SCALE, text)
    assert np.array_equal(parsed.sentences.ids, text.test.ids)
    assert np.array_equal(parsed.source, text.test.source)
    assert np.array_equal(parsed.sentences.offsets, text.test.sentences)
    assert parsed.corpus is text.corpus


def test_a_treebank_is_read_in_the_words_of_the_models(monkeypatch):
    text = prepared(corpus(*["the/DET/1 cat/NOUN/2 sat/VERB/2"] * 10))
    made = corpus("a/DET/1 cat/NOUN/2 sat/VERB/2 ./PUNCT/2", "the/DET/1 dog/NOUN/1", "sat/VERB/0")
    asked = []
    monkeypatch.setattr(corpora, "load", lambda name: asked.append(name) or made)
    parsed = english.parsed_text(replace(SCALE, treebank="trees"), text)
    bank = parsed.sentences
    assert asked == ["trees"]
    known = [text.vocabulary.words[id_] for id_ in bank.ids]
    assert known == ["<unk>", "cat", "sat", "<unk>", "the", "<unk>"]
    assert [parsed.words(0), parsed.words(1)] == [["a", "cat", "sat", "."], ["the", "dog"]]
    assert bank.heads.tolist() == [1, 2, 2, 2, 1, 1]
    assert bank.offsets.tolist() == [0, 4, 6]
    assert bank.is_word.tolist() == [True, True, True, False, True, True]
    assert bank.edges.tolist()[:3] == [[1, 1, 1, 0, 1, 0], [2, 2, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]]


def test_words_are_of_open_or_closed_classes_or_of_neither():
    kinds = sorted([*trees.OPEN, *trees.CLOSED, "NUM", "PUNCT", "SYM", "X"])
    bank = bank_of(*(" ".join(f"{kind}/{kind}/0" for kind in kinds) for _ in range(3)))
    expected = [0 if kind in trees.OPEN else 1 if kind in trees.CLOSED else -1 for kind in kinds]
    assert bank.classes.tolist() == expected * 3


def test_frequencies_are_those_of_the_training_part_and_one_for_words_that_are_not_there():
    made = corpus(*["the/DET/1 cat/NOUN/1"] * 6, "rare/ADJ/1 cat/NOUN/1", "new/ADJ/1 rare/ADJ/1 cat/NOUN/1")
    text = prepare(replace(TEXT, min_count=2, shares=(0.5, 0.25, 0.25)), corpus=made)
    assert text.vocabulary.counts == (0, 4, 4)
    # tokens that were unknown in training are many; a word that is not known is still as rare as can be
    text = replace(text, vocabulary=Vocabulary(text.vocabulary.words, (50, 4, 4)))
    parsed = english.parsed_text(SCALE, text)
    assert parsed.words(0) + parsed.words(1) == ["rare", "cat", "new", "rare", "cat"]
    assert parsed.sentences.frequencies.tolist() == [1, 4, 1, 1, 4]


def test_a_sentence_of_one_word_has_no_pairs_and_is_left_out():
    parsed = parsed_text_of(*["a/DET/1 cat/NOUN/1", "cat/NOUN/0", "a/DET/1 dog/NOUN/1", "dog/NOUN/0"] * 2)
    assert np.diff(parsed.sentences.offsets).tolist() == [2, 2, 2, 2]
    assert parsed.source.tolist() == [0, 1, 3, 4, 6, 7, 9, 10]


@pytest.mark.parametrize(
    ("tokens", "chosen"), [(None, range(11)), (33, range(11)), (99, range(11)), (9, [0, 5, 10]), (1, [0])]
)
def test_of_more_tokens_than_asked_for_whole_sentences_are_chosen_evenly(tokens, chosen):
    parsed = parsed_text_of(*(f"w{n}/DET/1 x{n}/NOUN/1 y{n}/VERB/1" for n in range(11)), tokens=tokens)
    bank = parsed.sentences
    assert np.diff(bank.offsets).tolist() == [3] * len(chosen)
    assert [parsed.words(n)[0] for n in range(len(chosen))] == [f"w{n}" for n in chosen]
    assert parsed.source.tolist() == [3 * n + place for n in chosen for place in range(3)]
    assert bank.heads.tolist() == [1] * len(bank.ids)
    assert bank.edges.shape == (DISTANCE, len(bank.ids))


def test_sentences_of_any_length_hold_about_as_many_tokens_as_asked_for():
    bank = parsed_text_of(*grown(300, shortest=2), tokens=500).sentences
    assert len(bank.ids) == pytest.approx(500, rel=0.2)
    assert set(np.diff(bank.offsets).tolist()) == set(range(2, 13))


@pytest.mark.parametrize("missing", [{"heads": None}, {"tags": {}}])
@pytest.mark.parametrize("treebank", [None, "trees"])
def test_a_corpus_without_trees_is_refused(missing, treebank, monkeypatch):
    made = corpus(*grown(30))
    without = replace(made, **missing, name="plain")
    monkeypatch.setattr(corpora, "load", lambda name: without)
    text = prepared(without if treebank is None else made)
    with pytest.raises(
        ValueError, match=r"corpus 'plain' has no trees; choose 'ewt', or read it with annotate=True"
    ):
        english.parsed_text(replace(SCALE, treebank=treebank), text)


# interdependences


@pytest.mark.parametrize("room", [2_000, 30, 1])
@pytest.mark.parametrize("convention", [Convention(), Convention(bias="irrelevant", interactions="relevant")])
def test_interdependences_are_those_of_each_pair_of_each_sentence_alone(convention, room, monkeypatch):
    monkeypatch.setattr(english, "_BLOCK", room)
    bank = bank_of(*grown(12, shortest=2))
    model = model_of(bank)
    found = english.interdependences(model, bank, convention, DISTANCE)
    expected = np.full_like(found, np.nan)
    for begin, end in zip(bank.offsets[:-1], bank.offsets[1:], strict=True):
        inputs = model.embedding(torch.from_numpy(bank.ids[begin:end]).long()[:, None]).detach()
        asked = [(n, n + d) for d in range(1, DISTANCE + 1) for n in range(end - begin - d)]
        values = interdependence.between(
            model.lstms, inputs, [([n], [m]) for n, m in asked], convention=convention
        )
        for (n, m), value in zip(asked, values[:, 0].tolist(), strict=True):
            expected[m - n - 1, begin + n] = value
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert np.isfinite(found).sum() == len(list(pairs_of(bank)))
    assert np.nanstd(found) > 0.01


def test_pairs_may_be_asked_for_that_are_farther_apart_than_any_sentence_is_long():
    bank = bank_of(*grown(6, shortest=2, longest=4))
    model = model_of(bank, layers=2)
    far, near = (english.interdependences(model, bank, Convention(), distance) for distance in (9, 3))
    np.testing.assert_array_equal(far[:3], near)
    assert np.isnan(far[3:]).all()


@pytest.mark.parametrize("room", [1, 20, 100, 10**6])
def test_blocks_hold_each_sentence_once_and_no_more_than_there_is_room_for(room, monkeypatch):
    monkeypatch.setattr(english, "_BLOCK", room)
    lengths = np.random.default_rng(0).integers(1, 30, size=80)
    blocks = list(english._blocks(lengths))
    assert sorted(np.concatenate(blocks).tolist()) == list(range(80))
    assert all(len(block) == 1 or len(block) * lengths[block].max() <= room for block in blocks)
    assert len(blocks) == {1: 80, 10**6: 1}.get(room, len(blocks))


# sums


def counted(bank, values, distance=DISTANCE):
    """The pairs that count, one row each."""
    rows = []
    for sentence, left, right in pairs_of(bank, distance):
        kinds = bank.classes[[left, right]]
        if -1 in kinds:
            continue
        begin = bank.offsets[sentence]
        heads = bank.heads[begin : bank.offsets[sentence + 1]]
        edges = networkx.shortest_path_length(
            networkx.Graph(enumerate(heads.tolist())), left - begin, right - begin
        )
        name = "mixed" if kinds[0] != kinds[1] else ("open", "closed")[kinds[0]]
        rows.append((right - left, edges, name, left, right, values[right - left - 1, left]))
    names = ["sequential", "syntactic", "classes", "left", "right", "value"]
    return pd.DataFrame(rows, columns=names)


@pytest.mark.parametrize("at_once", [100, 7, 1])
def test_sums_are_over_all_pairs_but_those_with_a_word_of_neither_class(at_once, monkeypatch):
    monkeypatch.setattr(english, "_SENTENCES", at_once)
    bank = bank_of(*grown(40))
    values = made_up(bank)
    table = counted(bank, values)
    levels = ["sequential", "syntactic", "classes"]
    assert set(table["classes"]) == set(CLASSES)
    assert 0 < len(table) < np.isfinite(values).sum()
    expected = table.groupby(levels)["value"].agg(["count", "mean"]).reset_index()
    found = english._sums(bank, values).means(*levels)
    both = expected.merge(found, on=levels, suffixes=("_expected", ""))
    assert len(both) == len(found) == len(expected)
    assert both["pairs"].tolist() == both["count"].tolist()
    np.testing.assert_allclose(both["mean"], both["mean_expected"], rtol=1e-5)


@pytest.mark.parametrize("at_once", [100, 7])
def test_a_pair_brings_the_distances_classes_and_frequencies_of_its_two_words(at_once, monkeypatch):
    monkeypatch.setattr(english, "_SENTENCES", at_once)
    bank = bank_of(*grown(40))
    values = made_up(bank)
    table = counted(bank, values)
    left, right = (bank.frequencies[table[side]] for side in ("left", "right"))
    columns = [
        *(table["syntactic"], table["classes"] == "open", table["classes"] == "closed"),
        *(np.log(left), np.log(right), left, right),
    ]
    expected = [stats.pearsonr(np.asarray(column, float), table["value"]).statistic for column in columns]
    found = english._sums(bank, values).correlations()
    np.testing.assert_allclose(found["correlation"], expected, atol=1e-5)


@pytest.mark.parametrize("at_once", [1_000, 7])
def test_intervals_of_sums_are_over_sentences(at_once, monkeypatch):
    monkeypatch.setattr(english, "_SENTENCES", at_once)
    bank = bank_of(*["a/NOUN/1 b/NOUN/2 c/NOUN/2 d/NOUN/2"] * 200)
    of_sentence = np.random.default_rng(1).normal(size=200)
    values = made_up(bank) * 0 + np.repeat(of_sentence, 4).astype(np.float32)
    found = english._sums(bank, values).means("sequential")
    widths = (found["high"] - found["low"]) / (2 * 1.96 * of_sentence.std() / np.sqrt(200))
    assert widths.tolist() == pytest.approx([1, 1, 1], abs=0.2)


def test_words_below_different_roots_of_a_sentence_have_no_distance_and_are_left_out():
    bank = bank_of(*["a/NOUN/0 b/NOUN/0 c/NOUN/2 d/NOUN/2"] * 3)
    found = english._sums(bank, made_up(bank)).means("sequential", "syntactic")
    assert found[["sequential", "syntactic", "pairs"]].to_numpy().tolist() == [[1, 1, 6]]


def test_values_for_a_known_pair_fall_into_its_stratum():
    bank = bank_of(*["the/DET/1 cat/NOUN/2 sat/VERB/2 ./PUNCT/2"] * 3)
    values = np.full((DISTANCE, 12), np.nan, np.float32)
    values[:3, ::4] = [[1], [2], [100]]  # the–cat, the–sat, the–.
    values[:2, 1::4] = [[3], [100]]  # cat–sat, cat–.
    values[0, 2::4] = 100  # sat–.
    found = english._sums(bank, values).means("sequential", "syntactic", "classes")
    rows = found[["sequential", "syntactic", "classes", "pairs", "mean"]].to_numpy().tolist()
    assert rows == [[1, 1, "open", 3, 3.0], [1, 1, "mixed", 3, 1.0], [2, 2, "mixed", 3, 2.0]]


# attachment


def test_values_that_are_highest_for_the_edges_of_the_tree_find_it_whole():
    bank = bank_of(*grown(30), distance=12)
    values = made_up(bank, 12)
    for left, right in edges_of(bank):
        values[right - left - 1, left] += 1
    found = english.attachment(bank, values).set_index("weights")
    assert found.loc["interdependence"].eq(1.0).all()
    assert found.loc["random", "found"] < 0.7
    assert found.loc["nearest neighbours", "found"] < 0.7


def test_values_that_are_lowest_for_the_edges_of_the_tree_find_least():
    bank = bank_of(*grown(30, shortest=6), distance=12)
    values = made_up(bank, 12)
    for left, right in edges_of(bank):
        values[right - left - 1, left] -= 1
    found = of_kind(english.attachment(bank, values))
    assert found["interdependence"] < 0.5 * found["random"]


def test_a_chain_is_the_tree_of_nearest_neighbours():
    chain = "a/DET/1 b/NOUN/2 c/VERB/2 d/ADP/2 e/NOUN/3 f/ADP/4"
    bank = bank_of(*[chain, "a/DET/0 b/NOUN/0 c/VERB/1"] * 5)
    found = english.attachment(bank, made_up(bank)).set_index("weights")
    assert found.loc["nearest neighbours"].eq(1.0).all()


def test_where_interdependence_falls_with_distance_its_excess_over_the_mean_still_finds_the_tree():
    bank = bank_of(*grown(40, seed=3), distance=12)
    values = np.full((12, len(bank.ids)), np.nan)
    edges = edges_of(bank)
    for _, left, right in pairs_of(bank, 12):
        values[right - left - 1, left] = -10 * (right - left) + ((left, right) in edges)
    found = of_kind(english.attachment(bank, values))
    assert found["interdependence, less its mean at the distance"] == 1.0
    assert found["interdependence"] < 0.7


@pytest.mark.parametrize("distance", [12, 3])
def test_trees_are_those_that_networkx_finds(distance):
    bank = bank_of(*grown(40), distance=distance)
    values = made_up(bank, distance)
    graph = networkx.Graph()
    for _, left, right in pairs_of(bank, distance):
        if bank.is_word[[left, right]].all():
            graph.add_edge(left, right, weight=float(values[right - left - 1, left]))
    tree = {tuple(sorted(edge)) for edge in networkx.maximum_spanning_edges(graph, data=False)}
    edges = edges_of(bank)
    found = of_kind(english.attachment(bank, values))
    assert found["interdependence"] == pytest.approx(len(tree & edges) / len(edges))


def test_punctuation_is_in_no_tree():
    # the stop in the middle is tied most to all others, and one word hangs on it
    sentence = "a/DET/1 b/NOUN/3 ,/PUNCT/3 c/VERB/3 d/NOUN/2"
    bank = bank_of(*[sentence] * 4)
    values = made_up(bank) / 10
    for begin in bank.offsets[:-1]:
        values[0, begin] = values[1, begin + 1] = 1  # a–b, b–c
        values[:2, begin + 2] = values[0, begin + 1] = values[1, begin] = 9  # the comma with all
    found = english.attachment(bank, values).set_index("weights")["found"]
    assert found["interdependence"] == 1.0
    assert found["nearest neighbours"] == 1.0


def test_edges_longer_than_was_measured_are_not_found():
    bank = bank_of(*["a/VERB/0 b/NOUN/0 c/NOUN/0 d/NOUN/0 e/NOUN/0"] * 3, distance=2)
    values = made_up(bank, 2) / 10
    values[:, bank.offsets[:-1]] = 1
    found = english.attachment(bank, values).set_index("weights").loc["interdependence"]
    assert found.eq(0.5).all()


def test_the_interval_of_attachment_is_over_sentences():
    bank = bank_of(*["a/NOUN/0 b/NOUN/0 c/NOUN/0 d/NOUN/0"] * 400)
    values = made_up(bank) / 10
    firsts = bank.offsets[:-1]
    values[:3, firsts] = 1  # all edges found
    some = firsts[::4]
    values[1:3, some] = 0
    values[0, some + 1] = values[0, some + 2] = 1  # one of three
    found = english.attachment(bank, values).set_index("weights").loc["interdependence"]
    mean, spread = 0.75 + 0.25 / 3, 2 / 3 * np.sqrt(0.25 * 0.75 / 400)
    assert found["found"] == pytest.approx(mean)
    # over edges, as if they had nothing to do with each other, the ends would be 1.46 times the spread away
    assert found["low"] == pytest.approx(mean - 1.96 * spread, abs=0.35 * spread)
    assert found["high"] == pytest.approx(mean + 1.96 * spread, abs=0.35 * spread)


def test_no_sentence_need_be_as_long_as_the_longest_distance():
    bank = bank_of(*grown(20, longest=5), distance=12)
    values, short = made_up(bank, 12), made_up(bank, 4)
    assert of_kind(english.attachment(bank, values)) == of_kind(english.attachment(bank, short))


# tables


def test_every_convention_is_there_after_the_last_epoch_and_the_thesis_own_after_each(tables):
    default, wanted = ("in_focus", "irrelevant"), set()
    for seed in (0, 1):
        wanted |= {(seed, epoch, *default) for epoch in range(EPOCHS + 1)}
        wanted |= {
            (seed, EPOCHS, *names)
            for names in product(("in_focus", "irrelevant"), ("irrelevant", "source", "relevant"))
        }
    assert len(wanted) == 2 * (EPOCHS + 1 + 5)
    about = ["seed", "epoch", "bias", "interactions"]
    assert set(tables) == {"strata", "by_distance", "effects", "correlations", "attachment"}
    for table in tables.values():
        assert table.columns[:4].tolist() == about
        assert set(table[about].itertuples(index=False, name=None)) == wanted


def test_each_table_has_a_row_for_each_of_what_it_is_about(tables, parsed):
    about = ["seed", "epoch", "bias", "interactions"]
    kinds = {
        "by_distance": ("sequential", list(range(1, DISTANCE + 1))),
        "effects": ("feature", list(FEATURES[:5])),
        "correlations": ("feature", list(FEATURES)),
        "attachment": (
            "weights",
            [
                *("interdependence", "interdependence, less its mean at the distance"),
                *("nearest neighbours", "random"),
            ],
        ),
    }
    for name, (column, values) in kinds.items():
        for _, rows in tables[name].groupby(about):
            assert rows[column].tolist() == values
    of_stratum = tables["strata"].groupby([*about, "sequential"])["pairs"].sum()
    by_distance = tables["by_distance"].set_index([*about, "sequential"])["pairs"]
    assert (of_stratum == by_distance[of_stratum.index]).all()
    bank = parsed.sentences
    assert by_distance.groupby(about).sum().unique().tolist() == [len(counted(bank, made_up(bank)))]


@pytest.mark.parametrize(
    ("seed", "epoch", "convention"),
    [(0, 0, Convention()), (1, EPOCHS, Convention()), (1, EPOCHS, Convention(interactions="source"))],
)
def test_tables_hold_what_the_model_of_their_row_gives(tables, models, parsed, seed, epoch, convention):
    bank = parsed.sentences
    values = english.interdependences(models.of_seed(seed).model(epoch), bank, convention, DISTANCE)
    sums = english._sums(bank, values)
    expected = {
        "strata": sums.means("sequential", "syntactic", "classes"),
        "by_distance": sums.means("sequential"),
        "effects": sums.coefficients(*FEATURES[:5]),
        "correlations": sums.correlations(),
        "attachment": english.attachment(bank, values),
    }
    for name, table in expected.items():
        rows = only(
            tables[name],
            **{"seed": seed, "epoch": epoch},
            **{"bias": convention.bias, "interactions": convention.interactions},
        )
        found = rows[table.columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, table, rtol=1e-3, atol=1e-5, check_dtype=False)


def test_conventions_seeds_and_epochs_differ(tables):
    first = only(tables["by_distance"], sequential=1)
    assert first["mean"].round(6).nunique() == len(first)


def test_a_second_call_trains_and_measures_nothing(models, parsed, tables, monkeypatch):
    shown = english.shown(models, parsed)
    monkeypatch.setattr(training, "_train_epoch", never)
    monkeypatch.setattr(grid, "_keep", never)
    again = trained(SCALE, models.text)
    for name, table in english.tables(again, parsed.sentences).items():
        pd.testing.assert_frame_equal(table, tables[name])
    pd.testing.assert_frame_equal(english.shown(again, parsed), shown)


def test_a_job_that_is_lost_is_done_again_the_same(models, parsed, tables, monkeypatch, tmp_path):
    monkeypatch.setenv("LMDYNAMICS_CACHE", str(tmp_path))
    one = replace(models, runs=models.runs[1:])
    made, kept = english.tables(one, parsed.sentences), tmp_path / "tables"
    homes = [path for path in kept.iterdir() if path.is_dir()]
    assert len(homes) == EPOCHS + len(Convention.all())
    homes[0].rename(tmp_path / "lost")
    again = english.tables(one, parsed.sentences)
    assert {path for path in kept.iterdir() if path.is_dir()} == set(homes)
    for name, table in made.items():
        pd.testing.assert_frame_equal(again[name], table)
        pd.testing.assert_frame_equal(table, only(tables[name], seed=1).reset_index(drop=True))


def test_other_trees_of_a_treebank_of_the_same_name_are_measured_anew(models, monkeypatch):
    one, scale = replace(models, runs=models.runs[:1]), replace(SCALE, treebank="trees")
    star, chain = [0] * 9, [0, *range(8)]
    found, heads = [], []
    for name, tree in (("star", star), ("chain", chain)):
        made = corpus(*[" ".join(f"noun1/NOUN/{head}" for head in tree)] * 3, fingerprint=name)
        monkeypatch.setattr(corpora, "load", lambda name, made=made: made)
        parsed = english.parsed_text(scale, models.text)
        attached = english.tables(one, parsed.sentences)["attachment"]
        found.append(only(attached, weights="nearest neighbours")["found"].unique().tolist())
        heads.append(english.shown(one, parsed).query("sentence == 0 and left == 0")["right_head"].tolist())
    assert found == [[1 / 8], [1.0]]
    assert heads == [star[1:], chain[1:]]


# shown


def test_all_pairs_of_each_sentence_that_is_shown_are_there(models, parsed):
    bank, table = parsed.sentences, english.shown(models, parsed)
    lengths = np.diff(bank.offsets)
    fit = np.flatnonzero(lengths >= 8)
    assert len(fit) > english.SHOWN
    assert table["sentence"].nunique() == english.SHOWN
    assert {fit[0], fit[-1]} <= set(table["sentence"]) <= set(fit)
    for n, rows in table.groupby("sentence"):
        pairs = list(zip(rows["left"], rows["right"], strict=True))
        assert pairs == list(combinations(range(lengths[n]), 2))
        words, heads = parsed.words(n), bank.heads[bank.offsets[n] : bank.offsets[n + 1]]
        for side in ("left", "right"):
            assert rows[f"{side}_word"].tolist() == [words[place] for place in rows[side]]
            assert rows[f"{side}_head"].tolist() == heads[rows[side]].tolist()


def test_what_is_shown_is_the_interdependence_of_the_first_model_after_the_last_epoch(models, parsed):
    bank, table = parsed.sentences, english.shown(models, parsed)
    model = models.runs[0].model(EPOCHS)
    for n, rows in list(table.groupby("sentence"))[:3]:
        ids = torch.from_numpy(bank.ids[bank.offsets[n] : bank.offsets[n + 1]]).long()[:, None]
        pairs = [([left], [right]) for left, right in zip(rows["left"], rows["right"], strict=True)]
        expected = interdependence.between(model.lstms, model.embedding(ids).detach(), pairs)[:, 0]
        np.testing.assert_allclose(rows["interdependence"], expected, rtol=1e-3, atol=1e-5)


def test_sentences_shown_are_neither_very_short_nor_very_long(models, monkeypatch):
    made = corpus(*grown(30, longest=40, seed=2))
    monkeypatch.setattr(corpora, "load", lambda name: made)
    parsed = english.parsed_text(replace(SCALE, treebank="long"), models.text)
    lengths = np.diff(parsed.sentences.offsets)
    table = english.shown(models, parsed)
    shown = lengths[table["sentence"].unique()]
    assert lengths.min() < 8 <= shown.min() <= shown.max() <= 20 < lengths.max()
