"""Chapter 5 as a whole: its settings, its study, and its tables as the page shows them."""

import re
from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
import pytest
from conftest import only

from lmdynamics.ground import grid
from lmdynamics.models.recurrent import ModelSettings
from lmdynamics.models.training import TrainingSettings
from lmdynamics.text.vocabulary import CorpusSettings
from lmthesis import recorded
from lmthesis.chapter_5 import languages, page, settings
from lmthesis.chapter_5.claims import CLAIMS, under, usual
from lmthesis.chapter_5.study import LEFT_OUT, study
from lmthesis.recorded.recording import Recording

SMALL = settings.scale("smoke", epochs=1, tokens=600, rule_epochs=2, cases=5)


@pytest.fixture(scope="module", autouse=True)
def here(kept):
    """A cache of its own, and all in this process, where shapes are checked."""
    with joblib.parallel_config("sequential"):
        yield


@pytest.fixture(scope="module")
def tables(here):
    return study(SMALL)


@pytest.fixture
def jobs(monkeypatch):
    """Names of the jobs that are done from now on."""
    done, keep = [], grid._keep
    monkeypatch.setattr(grid, "_keep", lambda *job: done.append(job[0].__name__) or keep(*job))
    return done


# Settings


def test_the_thesis_reads_wikitext_with_one_wide_layer_and_measures_gold_trees():
    thesis = settings.THESIS
    assert thesis.text == CorpusSettings(
        corpus="wikitext-2", annotate=False, min_count=3, drop_rare_sentences=False
    )
    assert thesis.model == ModelSettings(layers=1, units=400)
    assert thesis.training == TrainingSettings()
    assert (thesis.treebank, thesis.tokens) == ("ewt", None)
    assert thesis.rule_model == ModelSettings(layers=1, units=200, dropout=0.0)
    assert thesis.rule_training == TrainingSettings(epochs=40, learning_rate=1.0, decay=1.0)


def test_a_treebank_as_corpus_is_measured_by_models_of_the_text_of_the_thesis():
    scale = settings.scale("smoke", corpus="ewt")
    assert (scale.corpus, scale.treebank) == ("wikitext-2", "ewt")
    assert (scale.articles, scale.annotate) == (None, False)
    assert (scale.min_count, scale.tokens) == (settings.SMOKE.min_count, settings.SMOKE.tokens)
    assert settings.scale("smoke", corpus="ewt", articles=60) == replace(scale, articles=60)


def test_any_other_corpus_is_parsed_and_measured_itself():
    scale = settings.scale("thesis", corpus="wikipedia-sample", articles=3)
    assert scale == replace(
        settings.THESIS, corpus="wikipedia-sample", articles=3, annotate=True, treebank=None
    )


# The study


def test_every_finding_has_its_tables_and_the_page_its_own(tables):
    assert len(CLAIMS.verdict_table(tables)) == len(CLAIMS) == 21
    rule = only(tables["rule"], domain="in", rules=SMALL.rules)
    for table in (
        tables["properties"],
        page.features(usual(tables["correlations"]), usual(tables["effects"])),
        page.first_epochs(rule, 0.1, 0.5),
        page.edges(under(tables["attachment"])),
    ):
        assert len(table) > 0
        assert not table.isna().any(axis=None)


def test_the_row_at_the_top_says_how_much_each_model_of_english_read(tables):
    read = tables["properties"].set_index("property")["this run"]["English models read"]
    rows = tables["ran"]
    tokens = int(re.search(r"([0-9,]+) tokens", read)[1].replace(",", ""))
    batch = SMALL.batch  # a rest that does not fill it is not read
    assert rows["tokens_read"].tolist() == [(tokens - 1) // batch * batch * SMALL.epochs] * 2
    assert (rows["scale"].tolist(), rows["seed"].tolist()) == (["smoke", "smoke"], [0, 1])


def test_recorded_tables_hold_no_text_by_others_and_decide_as_they_did(tables, tmp_path):
    homes = list(Recording({"chapter_5": SMALL}, tmp_path).record())
    home = homes[0]
    assert {path.stem for path in home.glob("*.csv")} == set(tables) - set(LEFT_OUT) | {"rules"}
    kept = recorded.load("chapter_5", SMALL, tmp_path).tables
    before, after = (CLAIMS.verdict_table(each) for each in (tables, kept))
    assert after["verdict"].tolist() == before["verdict"].tolist()
    np.testing.assert_allclose(after["margin"], before["margin"], rtol=1e-3, atol=1e-5)
    for name in ("properties", "samples", "languages"):
        pd.testing.assert_frame_equal(kept[name], tables[name], check_dtype=False)


def test_a_study_that_was_done_measures_nothing_and_one_more_seed_measures_one(tables, jobs):
    study(SMALL)
    assert jobs == []
    study(replace(SMALL, seeds=(*SMALL.seeds, 2)))
    models = [key for key in languages.keys(SMALL) if key.seed == 0]
    of_rules = [name for name in ("consumed", "decomposed", "gradients", "rule") for _ in models]
    of_english = ["pair_tables"] * (SMALL.epochs + 1 + 5)  # after each epoch, and five more conventions
    assert sorted(jobs) == sorted(of_rules + of_english)


def test_settings_of_one_half_leave_the_tables_of_the_other_alone(tables, jobs):
    study(replace(SMALL, cases=4))
    assert set(jobs) == {"consumed", "decomposed", "gradients", "rule"}
    jobs.clear()
    study(replace(SMALL, tokens=500))
    assert set(jobs) == {"pair_tables", "sentence_pairs"}


# Made-up languages


def test_the_symbols_of_a_language_are_counted_with_alpha_and_omega(tables):
    assert set(tables["languages"]["words"]) == {SMALL.types + 2}
    keys = ["length", "familiar", "rules"]
    of_models = tables["rule"][keys].drop_duplicates().sort_values(keys, ignore_index=True)
    own = tables["languages"][keys].sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(own, of_models, check_dtype=False)


def test_samples_are_stretches_of_the_texts_of_the_first_seed(tables):
    samples = tables["samples"]
    for familiar, name in ((False, "unfamiliar: training part"), (True, "familiar: training part")):
        key = languages.Key(SMALL.lengths[1], familiar, SMALL.rules, SMALL.seeds[0])
        spoken = languages.language(SMALL, key)
        words = [spoken.settings.words[symbol] for symbol in spoken.text().ids]
        for _, row in samples[samples["text"] == name].groupby("row"):
            own = row["symbol"].tolist()
            assert any(words[at : at + len(own)] == own for at in range(len(words)))
    cases = samples[samples["text"].str.startswith("test cases")]
    assert (cases.groupby(["text", "row"])["symbol"].last() == "ω").all()
    assert (samples["part"] == "rule").tolist() == samples["symbol"].isin(["α", "ω"]).tolist()


# The page


def test_the_epoch_reached_is_the_first_of_the_mean_over_seeds_or_never():
    curves = {(2, False, 0): [0.0, 0.05, 0.6], (2, False, 1): [0.0, 0.25, 0.6], (4, True, 0): [0.0, 0.0, 0.2]}
    rows = [
        {"length": k, "familiar": familiar, "seed": seed, "epoch": epoch, "omega": value}
        for (k, familiar, seed), values in curves.items()
        for epoch, value in enumerate(values)
    ]
    found = page.first_epochs(pd.DataFrame(rows), 0.1, 0.5).set_index("scaffolds")
    assert found.loc["2 symbols, unfamiliar"].tolist() == ["1", "2"]
    assert found.loc["4 symbols, familiar"].tolist() == ["2", "never"]


def test_shares_of_edges_found_are_means_over_seeds():
    rows = [
        {
            "seed": seed,
            "epoch": epoch,
            "weights": weights,
            "found": found + 0.1 * epoch,
            "low": found - 0.1,
            "high": found + 0.1,
        }
        for seed, weights, found in ((0, "x", 0.2), (0, "a", 0.5), (1, "x", 0.4), (1, "a", 0.7))
        for epoch in (0, 1, 2)
    ]
    found = page.edges(pd.DataFrame(rows))
    assert found.to_dict("list") == {
        "weights": ["x", "a"],
        "after training": ["50.0% (20.0% to 40.0%)", "80.0% (50.0% to 70.0%)"],
        "untrained": ["30.0% (20.0% to 40.0%)", "60.0% (50.0% to 70.0%)"],
    }


def test_tables_of_gold_trees_go_by_the_names_of_those_of_this_run():
    table = pd.DataFrame({"number": [1]})
    assert page.gold({"rule": table, "gold_strata": table, "gold_ran": table}).keys() == {"strata", "ran"}


def test_all_of_a_corpus_is_said_to_be_all_of_it():
    row = {"text": "wikitext-2", "articles": None, "epochs": 50, "seeds": "0, 1", "tokens": None}
    row |= {"treebank": "ewt", "date": "2026-01-02", "torch": "2.11", "machine": "Linux", "command": "again"}
    said = page.measured_as(pd.DataFrame([row]))
    assert "wikitext-2, all of it, 50 epochs" in said.text
    assert "all tokens of ewt, 2026-01-02" in said.text
    assert said.command == "again"
