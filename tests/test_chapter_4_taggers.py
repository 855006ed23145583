"""Taggers beside language models, and probes, beside numbers that were reached by another way."""

from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import only

from lmdynamics.ground import grid
from lmdynamics.measures import similarity
from lmdynamics.measures.probes import ProbeSettings
from lmdynamics.observe import activations
from lmthesis import costs, language_models, recorded
from lmthesis.chapter_4 import figures, page, probing, settings, taggers, trajectories
from lmthesis.chapter_4.claims import CLAIMS
from lmthesis.chapter_4.study import LEFT_OUT, study
from lmthesis.chapter_4.taggers import Key
from lmthesis.recorded.recording import Recording

SMALL = settings.scale("smoke", epochs=2, tagger_epochs=1, probe_epochs=10)


@pytest.fixture(scope="module")
def trained(kept):
    return taggers.trained(SMALL, language_models.prepared(SMALL))


@pytest.fixture(scope="module")
def tables(trained):
    return study(SMALL)


@pytest.fixture
def jobs(monkeypatch):
    """Names of the jobs that are done from now on."""
    done, keep = [], grid._keep
    monkeypatch.setattr(grid, "_keep", lambda *job: done.append(job[0].__name__) or keep(*job))
    with joblib.parallel_config("sequential"):
        yield done


def states(model, ids, layer):
    return activations.states(model, ids)[layer]


def test_each_task_has_taggers_of_both_kinds_and_labels_for_each_seed(trained):
    assert len(trained.runs) == len(trained.tasks) * 2 * 2 * len(SMALL.seeds)
    assert {"UDP POS", "PTB POS", "topic"} <= set(trained.tasks)


def test_no_tagger_starts_from_the_weights_of_its_language_model_or_of_another_tagger(trained):
    model = trained.models.of_seed(0).model(0).embedding.weight
    starts = [run.model(0).embedding.weight for run in trained.runs.values()]
    for other in [model, *starts[1:]]:
        assert abs(torch.corrcoef(torch.stack([starts[0].flatten(), other.flatten()]))[0, 1]) < 0.05


@pytest.mark.parametrize("layer", ["e", "h1", "h2"])
def test_a_row_compares_the_layers_that_it_names_on_the_same_tokens(trained, tables, layer):
    key = Key("topic", "output", "true", 1)
    ids = trained.shared.test.ids
    x = states(trained.models.of_seed(1).model(1), ids, layer)
    y = states(trained.runs[key].model(), ids, {"e": "e", "h1": "h1", "h2": "h1"}[layer])
    row = only(tables["trajectories"], **key._asdict(), epoch=1, layer=layer)
    assert row["tokens"].item() == len(ids)
    assert row["svcca"].item() == pytest.approx(similarity.svcca(x, y), abs=1e-9)
    assert row["svcca_singular_values"].item() == pytest.approx(
        similarity.svcca(x, y, rule="singular_values"), abs=1e-9
    )
    assert row["pwcca"].item() == pytest.approx(similarity.pwcca(x, y), abs=1e-7)
    assert row["cka"].item() == pytest.approx(similarity.cka(x, y), abs=1e-9)
    drawn = np.sort(np.random.default_rng(1).permutation(len(ids))[: trajectories.RSA_TOKENS])
    assert row["rsa"].item() == pytest.approx(similarity.rsa(x[drawn], y[drawn]), abs=1e-9)


def test_taggers_of_other_text_are_compared_on_both_texts_and_the_rest_on_the_shared_one(trained, tables):
    for name, task in trained.tasks.items():
        rows = only(tables["trajectories"], task=name)
        assert set(rows["corpus"]) == {trained.shared.corpus.name, task.text.corpus.name}
        assert (rows["own"] == (rows["corpus"] == task.text.corpus.name)).all()
        assert (rows["shared"] | (rows["tokens"] <= only(rows, shared=True)["tokens"].max())).all()


def test_a_text_of_their_own_is_compared_on_as_many_tokens_as_the_shared_one(trained):
    text = trained.tasks["topic"].text
    part = replace(text.test, ids=text.test.ids[:1003], source=text.test.source[:1003])
    short = replace(text, test=part)
    fine = replace(trained.tasks["UDP POS"], name="PTB POS", text=short)
    own = replace(trained, tasks={"topic": trained.tasks["topic"], "PTB POS": fine})
    shared, away, beside = trajectories._readings(own, None)
    assert (shared.shared, away.shared, beside.shared) == (True, False, False)
    assert away.tasks == beside.tasks == ("PTB POS",)
    assert (shared.own, away.own, beside.own) == (("topic",), ("PTB POS",), ())
    assert len(away.ids) == len(beside.ids) == 1000
    assert len(shared.ids) == len(text.test.ids)


def test_the_ceiling_is_between_final_states_on_the_shared_text(trained, tables):
    ids = trained.shared.test.ids
    x, y = (states(trained.models.of_seed(seed).model(2), ids, "h2") for seed in (0, 1))
    rows = tables["ceiling"]
    row = only(rows, seed=0, other_seed=1, layer="h2")
    assert row["svcca"].item() == pytest.approx(similarity.svcca(x, y), abs=1e-9)
    assert row["directions"].item() == min(similarity.directions(x, y))
    assert (len(rows), set(rows["epoch"])) == (6, {2})


@pytest.fixture
def few(trained):
    """The taggers of one task beside the model of one seed."""
    return replace(
        trained,
        models=replace(trained.models, runs=trained.models.runs[1:]),
        tasks={"topic": trained.tasks["topic"]},
        runs={key: run for key, run in trained.runs.items() if (key.task, key.seed) == ("topic", 1)},
    )


def test_taggers_are_compared_on_as_many_tokens_as_are_asked_for(few, jobs):
    table = trajectories.trajectory_table(few, 1_000)
    assert jobs == ["trajectories"]
    ids = activations.spread(few.shared.test.ids, 1_000)
    key = Key("topic", "input", "true", 1)
    row = only(table, **key._asdict(), epoch=2, layer="h2")
    x, y = states(few.models.runs[0].model(2), ids, "h2"), states(few.model(key), ids, "h1")
    assert row["svcca"].item() == pytest.approx(similarity.svcca(x, y), abs=1e-9)
    assert set(table["tokens"]) == {1_000}
    assert table["shared"].all()
    assert table["own"].all()


def test_probes_are_trained_and_tested_on_as_many_tokens_as_are_asked_for(few, jobs):
    asked = ProbeSettings(hidden=False, epochs=1, train_tokens=4_000, test_tokens=200)
    table = probing.accuracy_table(few, (asked, replace(asked, test_tokens=150)))
    assert jobs == ["accuracies"]
    assert table["tokens"].value_counts().to_dict() == dict.fromkeys((200, 150), len(table) // 2)
    assert (set(table["task"]), set(table["seed"]), set(table["hidden"])) == ({"topic"}, {1}, {False})


def test_taggers_of_fewer_epochs_are_read_from_a_longer_run(trained, tables, jobs):
    fewer = replace(trained, epochs=dict.fromkeys(trained.epochs, 0))
    key = Key("UDP POS", "output", "true", 0)
    untrained = only(taggers.performance_table(fewer), **key._asdict())
    other = only(tables["taggers"], **key._asdict())
    assert (untrained["epochs"].item(), other["epochs"].item()) == (0, 1)
    assert untrained["perplexity"].item() > other["perplexity"].item()
    assert fewer.model(key).embedding.weight.equal(trained.runs[key].model(0).embedding.weight)


def test_chance_is_far_below_what_is_measured(tables):
    last = only(tables["trajectories"], epoch=2, shared=True)
    measured, chance = (only(last, labels=labels)["svcca"] for labels in ("true", "permuted"))
    assert chance.max() < 0.2 < measured.min()


def test_accuracy_and_majority_are_shares_of_the_test_tokens(trained, tables):
    key = Key("UDP POS", "input", "true", 0)
    row = only(tables["taggers"], **key._asdict())
    test = trained.tasks["UDP POS"].examples("test", tagger="input", labels="true", seed=0)
    model = trained.model(key)
    with torch.inference_mode():
        logits = model.decoder(states(model, test.ids, "h1"))
    assert row["accuracy"].item() == pytest.approx((logits.argmax(1).numpy() == test.classes).mean())
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(test.classes).long()).exp().item()
    assert row["perplexity"].item() == pytest.approx(loss, rel=1e-4)
    train = trained.tasks["UDP POS"].examples("train", tagger="input", labels="true", seed=0)
    commonest = np.bincount(train.classes).argmax()
    assert row["majority"].item() == pytest.approx((test.classes == commonest).mean())
    begin = slice(len(test.ids))
    answers = activations.answers(model, train.ids[begin])
    assert row["train_accuracy"].item() == pytest.approx((answers == train.classes[begin]).mean())


def test_probes_have_a_row_for_each_layer_epoch_task_target_and_baseline(trained, tables):
    table = tables["probes"]
    of_layers = len(trained.tasks) * 2 * 2 * 2 * len(SMALL.seeds) * 3 * 3
    baseline = only(table, layer="random")
    assert len(table) == of_layers + len(baseline)
    assert set(baseline["epoch"]) == {0}
    assert len(baseline) == of_layers / 9
    assert table["accuracy"].between(0, 1).all()


def test_linear_probes_of_the_word_just_read_beat_the_most_frequent_class(tables):
    wanted = {"task": "UDP POS", "layer": "e", "epoch": 2, "predicts": "y[t]", "labels": "true"}
    rows = only(tables["probes"], **wanted, hidden=False)
    assert (rows["accuracy"] > rows["majority"]).all()


def test_probes_read_each_label_beside_its_own_word(trained):
    read = probing._read(list(trained.tasks.values())[:1], "train", 500, seed=0)
    (ahead,) = (key for key in read.labels if key.predicts == "y[t+1]")
    (here,) = (key for key in read.labels if key.predicts == "y[t]")
    np.testing.assert_array_equal(read.labels[here][1:], read.labels[ahead][:-1])
    np.testing.assert_array_equal(read.words["y[t]"][1:], read.words["y[t+1]"][:-1])
    assert len(read.labels[here]) == len(read.words["y[t]"]) == 500


def test_less_shuffled_takes_each_shuffled_tagger_from_its_true_one(tables):
    table = tables["trajectories"]
    wanted = {"task": "topic", "tagger": "input", "seed": 0, "epoch": 1, "layer": "h2", "shared": True}
    true, shuffled = (only(table, **wanted, labels=labels)["cka"].item() for labels in ("true", "shuffled"))
    less = page.less_shuffled(table)
    assert only(less, **wanted)["cka"].item() == pytest.approx(true - shuffled)


def test_orders_agree_with_themselves(tables):
    output = only(tables["trajectories"], tagger="output", shared=True)
    table = page.orders(output)
    assert only(table, measure="svcca")["tau"].tolist() == pytest.approx([1, 1])
    assert set(table["measure"]) == set(trajectories.MEASURES)


def test_costs_add_up_to_the_whole(trained, tables):
    table = costs.shares(tables["costs"])
    assert table["share"].sum() == pytest.approx(1)
    assert (table["seconds"] > 0).all()
    seconds = table.set_index("work")["seconds"]
    assert sorted(name for name in seconds.index if name.startswith("measuring")) == [
        "measuring: SVCCA similarity",
        "measuring: SVCCA, singular values; PWCCA; linear CKA; RSA",
    ]
    assert seconds["training taggers"] == pytest.approx(
        sum(sum(epoch.seconds for epoch in run.epochs) for run in trained.runs.values())
    )
    measured = sum(tables[name]["seconds"].sum() for name in ("similarities", "trajectories"))
    assert seconds[[name.startswith("measuring") for name in seconds.index]].sum() == pytest.approx(measured)
    similarities = tables["similarities"].query("seed <= other_seed")  # of one model, and once of each pair
    of_jobs = similarities.groupby(["seed", "other_seed"])["observing_seconds"]
    assert (of_jobs.nunique() == 1).all()
    among = seconds["observing language models among themselves"]
    assert among == pytest.approx(of_jobs.first().sum())


def test_the_example_shows_every_task_for_every_token_and_is_not_recorded(trained, tables):
    table = page.example(tables)
    assert table.notna().all(axis=None)
    assert len(table.columns) == 1 + len(trained.tasks)
    assert "run the page" in page.example({}).to_string()


def test_absent_corpora_are_named_with_the_remedy(trained):
    without = replace(trained, tasks={name: trained.tasks[name] for name in ("UDP POS", "topic")})
    text = taggers.source_table(without).set_index("task")["text"]
    assert text["SEM (fine)"].startswith("absent, so left out. To have it, place semtags/")
    silver = replace(trained, tasks={**without.tasks, "PTB POS": trained.tasks["topic"]})
    assert "gmb is absent" in taggers.source_table(silver).set_index("task")["text"]["PTB POS"]


def test_tables_beside_the_paper_have_two_rows_a_task(trained, tables):
    table = page.taggers_beside_paper(tables["taggers"])
    assert len(table) == 2 * len(trained.tasks)
    assert table.loc[("topic", "paper"), "y[t+1]"] == "36% · 19.1"


def test_the_explorer_shows_true_tags_first_in_a_panel_for_each_layer(trained, tables):
    output = only(tables["trajectories"], tagger="output", shared=True)
    traces = figures.task_explorer(output).data
    assert len(traces) == 3 * 3 * len(trained.tasks)
    assert sum(trace.visible for trace in traces) == 3 * len(trained.tasks)


def in_order(table):
    """A table with its rows in one order, whatever order they came in."""
    return table.sort_values(list(table.columns), ignore_index=True)


def test_slices_come_back_from_csv_as_the_study_that_they_make_up(tables, tmp_path, jobs):
    slices = list(Recording({"chapter_4": SMALL}, tmp_path).record())
    assert [home.relative_to(tmp_path).as_posix() for home in slices] == [
        f"chapter_4-smoke/{name}" for name in ("seed-0", "seed-1", "seeds-0-1")
    ]
    assert jobs == [], "all was measured for the study"
    again = recorded.load("chapter_4", SMALL, tmp_path)
    assert [about["settings"]["epochs"] for about in again.slices] == [2, 2, 2]
    assert {"gmb", "pmb", "wikipedia-sample"} >= again.slices[0]["corpora"].keys() >= {"wikipedia-sample"}
    read = [about["tokens_read"] for about in again.slices]
    assert read[0] == read[1] > 0 == read[2]
    assert again.tables.keys() == tables.keys() - set(LEFT_OUT) | {"rules"}
    pd.testing.assert_frame_equal(again.tables["rules"], CLAIMS.rule_table(), check_dtype=False)
    for name in tables.keys() - set(LEFT_OUT):
        as_text = name in ("properties", "ran")
        kinds = [each.astype(str) if as_text else each for each in (again.tables[name], tables[name])]
        pd.testing.assert_frame_equal(*map(in_order, kinds), rtol=1e-4, check_dtype=False)
    before, after = (CLAIMS.verdict_table(each) for each in (tables, again.tables))
    assert after["verdict"].tolist() == before["verdict"].tolist()
    for shown in (page.under_measures, page.example):
        assert len(shown(again.tables)) > 0


def test_a_study_that_was_done_measures_nothing_nor_does_one_of_fewer_seeds(tables, jobs):
    again, alone = study(SMALL), study(replace(SMALL, seeds=(1,)))
    assert jobs == []
    for name in ("taggers", "trajectories", "probes"):
        pd.testing.assert_frame_equal(again[name], tables[name])
        own = only(tables[name], seed=1).reset_index(drop=True)
        pd.testing.assert_frame_equal(alone[name], own)


def test_other_probes_leave_all_else_as_it_is(tables, monkeypatch):
    def refuse(function, *job):
        raise RuntimeError(f"not done yet: {function.__name__}")

    monkeypatch.setattr(grid, "_keep", refuse)
    with joblib.parallel_config("sequential"), pytest.raises(RuntimeError, match="not done yet: accuracies"):
        study(replace(SMALL, probe_test_tokens=900))
