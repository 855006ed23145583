from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import only

from lmdynamics import plots
from lmdynamics.measures import similarity
from lmdynamics.observe import activations
from lmthesis import findings as claims
from lmthesis import language_models, recorded
from lmthesis import scales as settings
from lmthesis.chapter_4 import page as tagging_report
from lmthesis.chapter_4 import probing, taggers
from lmthesis.chapter_4 import study as chapter_4
from lmthesis.chapter_4 import trajectories as tagging
from lmthesis.chapter_4.taggers import Key

SMALL = replace(
    language_models.varied(settings.SMOKE, epochs=2, tagger_epochs=1),
    probes=tuple(replace(each, epochs=10) for each in settings.SMOKE.probes),
)


@pytest.fixture(scope="module")
def found(kept):
    return taggers.trained(SMALL)


@pytest.fixture(scope="module")
def tables(found):
    return chapter_4.study(SMALL)


def states(model, ids, layer):
    return activations.states(model, ids)[layer]


def test_each_task_has_taggers_of_both_kinds_and_labels_for_each_seed(found):
    assert len(found.runs) == len(found.tasks) * 2 * 2 * len(SMALL.seeds)
    assert {"UDP POS", "PTB POS", "topic"} <= set(found.tasks)


def test_no_tagger_starts_from_the_weights_of_its_language_model_or_of_another_tagger(found):
    model = found.models.of_seed(0).model(0).embedding.weight
    starts = [run.model(0).embedding.weight for run in found.runs.values()]
    for other in [model, *starts[1:]]:
        assert abs(torch.corrcoef(torch.stack([starts[0].flatten(), other.flatten()]))[0, 1]) < 0.05


@pytest.mark.parametrize("layer", ["e", "h1", "h2"])
def test_a_row_compares_the_layers_that_it_names_on_the_same_tokens(found, tables, layer):
    key = Key("topic", "output", "true", 1)
    ids = found.shared.test.ids
    x = states(found.models.of_seed(1).model(1), ids, layer)
    y = states(found.runs[key].model(), ids, {"e": "e", "h1": "h1", "h2": "h1"}[layer])
    row = only(tables["trajectories"], **key._asdict(), epoch=1, layer=layer)
    assert row["tokens"].item() == len(ids)
    assert row["svcca"].item() == pytest.approx(similarity.svcca(x, y), abs=1e-9)
    assert row["svcca_singular_values"].item() == pytest.approx(
        similarity.svcca(x, y, rule="singular_values"), abs=1e-9
    )
    assert row["pwcca"].item() == pytest.approx(similarity.pwcca(x, y), abs=1e-7)
    assert row["cka"].item() == pytest.approx(similarity.cka(x, y), abs=1e-9)
    drawn = np.sort(np.random.default_rng(1).permutation(len(ids))[: tagging.RSA_TOKENS])
    assert row["rsa"].item() == pytest.approx(similarity.rsa(x[drawn], y[drawn]), abs=1e-9)


def test_taggers_of_other_text_are_compared_on_both_texts_and_the_rest_on_the_shared_one(found, tables):
    for name, task in found.tasks.items():
        rows = only(tables["trajectories"], task=name)
        assert set(rows["corpus"]) == {found.shared.corpus.name, task.text.corpus.name}
        assert (rows["own"] == (rows["corpus"] == task.text.corpus.name)).all()
        assert (rows["shared"] | (rows["tokens"] <= only(rows, shared=True)["tokens"].max())).all()


def test_a_text_of_their_own_is_compared_on_as_many_tokens_as_the_shared_one(found):
    text = found.tasks["topic"].text
    part = replace(text.test, ids=text.test.ids[:1003], source=text.test.source[:1003])
    short = replace(text, test=part)
    fine = replace(found.tasks["UDP POS"], name="PTB POS", text=short)
    own = replace(found, tasks={"topic": found.tasks["topic"], "PTB POS": fine})
    shared, away, beside = tagging._readings(own)
    assert (shared.shared, away.own, beside.shared, beside.own) == (True, True, False, False)
    assert away.tasks == beside.tasks == ("PTB POS",)
    assert len(away.ids) == len(beside.ids) == 1000
    assert len(shared.ids) == len(text.test.ids)


def test_the_ceiling_is_between_final_states_on_the_shared_text(found, tables):
    ids = found.shared.test.ids
    x, y = (states(found.models.of_seed(seed).model(2), ids, "h2") for seed in (0, 1))
    rows = tables["ceiling"]
    row = only(rows, seed=0, other_seed=1, layer="h2")
    assert row["svcca"].item() == pytest.approx(similarity.svcca(x, y), abs=1e-9)
    assert row["directions"].item() == min(similarity.directions(x, y))
    assert (len(rows), set(rows["epoch"])) == (6, {2})


def test_taggers_of_fewer_epochs_are_read_from_a_longer_run(found, tables):
    fewer = replace(found, epochs=dict.fromkeys(found.epochs, 0))
    key = Key("UDP POS", "output", "true", 0)
    untrained = only(taggers.performance(fewer), **key._asdict())
    trained = only(tables["taggers"], **key._asdict())
    assert (untrained["epochs"].item(), trained["epochs"].item()) == (0, 1)
    assert untrained["perplexity"].item() > trained["perplexity"].item()
    assert fewer.model(key).embedding.weight.equal(found.runs[key].model(0).embedding.weight)


def test_chance_is_far_below_what_is_measured(tables):
    last = only(tables["trajectories"], epoch=2, shared=True)
    measured, chance = (only(last, labels=labels)["svcca"] for labels in ("true", "permuted"))
    assert chance.max() < 0.2 < measured.min()


def test_accuracy_and_majority_are_shares_of_the_test_tokens(found, tables):
    key = Key("UDP POS", "input", "true", 0)
    row = only(tables["taggers"], **key._asdict())
    test = found.tasks["UDP POS"].examples("test", tagger="input", labels="true", seed=0)
    model = found.model(key)
    with torch.inference_mode():
        logits = model.decoder(states(model, test.ids, "h1"))
    assert row["accuracy"].item() == pytest.approx((logits.argmax(1).numpy() == test.classes).mean())
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(test.classes).long()).exp().item()
    assert row["perplexity"].item() == pytest.approx(loss, rel=1e-4)
    train = found.tasks["UDP POS"].examples("train", tagger="input", labels="true", seed=0)
    commonest = np.bincount(train.classes).argmax()
    assert row["majority"].item() == pytest.approx((test.classes == commonest).mean())
    begin = slice(len(test.ids))
    answers = activations.answers(model, train.ids[begin])
    assert row["train_accuracy"].item() == pytest.approx((answers == train.classes[begin]).mean())


def test_probes_have_a_row_for_each_layer_epoch_task_target_and_baseline(found, tables):
    table = tables["probes"]
    of_layers = len(found.tasks) * 2 * 2 * 2 * len(SMALL.seeds) * 3 * 3
    baseline = only(table, layer="random")
    assert len(table) == of_layers + len(baseline)
    assert set(baseline["epoch"]) == {0}
    assert len(baseline) == of_layers / 9
    assert table["accuracy"].between(0, 1).all()


def test_linear_probes_of_the_word_just_read_beat_the_most_frequent_class(tables):
    wanted = {"task": "UDP POS", "layer": "e", "epoch": 2, "predicts": "y[t]", "labels": "true"}
    rows = only(tables["probes"], **wanted, hidden=False)
    assert (rows["accuracy"] > rows["majority"]).all()


def test_probes_read_each_label_beside_its_own_word(found):
    read = probing._read(list(found.tasks.values())[:1], "train", 500, seed=0)
    (ahead,) = (key for key in read.labels if key.predicts == "y[t+1]")
    (here,) = (key for key in read.labels if key.predicts == "y[t]")
    np.testing.assert_array_equal(read.labels[here][1:], read.labels[ahead][:-1])
    np.testing.assert_array_equal(read.words["y[t]"][1:], read.words["y[t+1]"][:-1])
    assert len(read.labels[here]) == len(read.words["y[t]"]) == 500


def test_less_shuffled_takes_each_shuffled_tagger_from_its_true_one(tables):
    table = tables["trajectories"]
    wanted = {"task": "topic", "tagger": "input", "seed": 0, "epoch": 1, "layer": "h2", "shared": True}
    true, shuffled = (only(table, **wanted, labels=labels)["cka"].item() for labels in ("true", "shuffled"))
    less = tagging_report.less_shuffled(table)
    assert only(less, **wanted)["cka"].item() == pytest.approx(true - shuffled)


def test_orders_agree_with_themselves(tables):
    output = only(tables["trajectories"], tagger="output", shared=True)
    table = tagging_report.orders(output)
    assert only(table, measure="svcca")["tau"].tolist() == pytest.approx([1, 1])
    assert set(table["measure"]) == set(tagging.MEASURES)


def test_costs_add_up_to_the_whole(found, tables):
    table = tagging_report.costs(
        found, *(tables[name] for name in ("similarities", "trajectories", "probes"))
    )
    assert table["share"].sum() == pytest.approx(1)
    assert (table["seconds"] > 0).all()
    among = table.loc["observing language models among themselves", "seconds"]
    of_seed = tables["similarities"].groupby("seed")["observing_seconds"]
    assert (of_seed.nunique() == 1).all()
    assert among == pytest.approx(of_seed.first().sum())


def test_the_example_shows_every_task_for_every_token(found):
    table = tagging_report.example(found)
    assert table.notna().all(axis=None)
    assert len(table.columns) == 1 + len(found.tasks)


def test_absent_corpora_are_named_with_the_remedy(found):
    without = replace(found, tasks={name: found.tasks[name] for name in ("UDP POS", "topic")})
    table = tagging_report.sources(without)
    assert table.loc["SEM (fine)", "text"].startswith("absent, so left out. To have it, place semtags/")
    silver = replace(found, tasks={**without.tasks, "PTB POS": found.tasks["topic"]})
    assert "gmb is absent" in tagging_report.sources(silver).loc["PTB POS", "text"]


def test_tables_beside_the_paper_have_two_rows_a_task(found, tables):
    table = tagging_report.compared(tables["taggers"])
    assert len(table) == 2 * len(found.tasks)
    assert table.loc[("topic", "paper"), "y[t+1]"] == "36% · 19.1"


def test_the_explorer_shows_true_tags_first_in_a_panel_for_each_layer(found, tables):
    output = only(tables["trajectories"], tagger="output", shared=True)
    traces = plots.task_explorer(output).data
    assert len(traces) == 3 * 3 * len(found.tasks)
    assert sum(trace.visible for trace in traces) == 3 * len(found.tasks)


def test_a_recorded_study_comes_back_with_its_settings_and_verdicts(tables, tmp_path):
    home = recorded.record("chapter_4", SMALL, tmp_path)
    again = recorded.load("chapter_4", "smoke", tmp_path)
    assert home.name == "chapter_4-smoke"
    assert again.about["settings"]["training"]["epochs"] == 2
    assert {"date", "torch", "machine", "seconds"} <= again.about.keys()
    for name, table in tables.items():
        pd.testing.assert_frame_equal(again.tables[name], table, rtol=1e-4, check_dtype=False)
    assert claims.overview(again.tables)["verdict"].tolist() == claims.overview(tables)["verdict"].tolist()
