"""How alike layers of language models are, beside numbers that were reached by another way."""

from collections import Counter
from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
import pytest
from conftest import only

from lmdynamics.ground import grid
from lmdynamics.measures import similarity
from lmdynamics.models.training import mean_loss
from lmdynamics.observe import activations
from lmdynamics.text.streams import Examples
from lmthesis import language_models, recorded
from lmthesis.chapter_4 import layers, settings
from lmthesis.chapter_4.study import of_language_models, property_table

SMALL = settings.scale("smoke", epochs=2)


@pytest.fixture(scope="module")
def models(kept):
    return language_models.trained(SMALL)


@pytest.fixture(scope="module")
def tables(models):
    with joblib.parallel_config("sequential"):  # here, where shapes are checked
        return of_language_models(SMALL)


@pytest.fixture
def jobs(monkeypatch):
    """Names of the jobs that are done from now on."""
    done, keep = [], grid._keep
    monkeypatch.setattr(grid, "_keep", lambda *job: done.append(job[0].__name__) or keep(*job))
    with joblib.parallel_config("sequential"):
        yield done


def states(models, seed, epoch, layer):
    blocks = activations.blocks(models.runs[seed].model(epoch), models.text.test.ids)
    return np.concatenate([block.layers[layer].numpy() for block in blocks])


def test_the_untrained_model_guesses_all_words_alike_and_two_epochs_gain_two_nats(models, tables):
    words, losses = len(models.text.vocabulary), tables["losses"]
    assert only(losses, epoch=0)["test_perplexity"].tolist() == pytest.approx([words] * 2, rel=0.02)
    assert (only(losses, epoch=2)["test_loss"] < np.log(words) - 2).all()


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("final", (0, 2, "h1")),
        ("other seed", (1, 2, "h1")),
        ("other epoch", (0, 0, "h1")),
        ("other layer", (0, 1, "h2")),
    ],
)
def test_a_row_is_the_svcca_of_the_two_sides_that_it_names(models, tables, kind, other):
    columns = dict(zip(("other_seed", "other_epoch", "other_layer"), other, strict=True))
    row = only(tables["similarities"], comparison=kind, seed=0, epoch=1, layer="h1", **columns)
    expected = similarity.svcca(states(models, 0, 1, "h1"), states(models, *other))
    assert row["svcca"].item() == pytest.approx(expected, abs=1e-9)
    assert row["tokens"].item() == len(models.text.test.ids)


def test_a_layer_is_its_own_final_state_after_the_last_epoch(tables):
    last = only(tables["similarities"], comparison="final", epoch=2)
    np.testing.assert_allclose(last["svcca"], 1, atol=1e-9)


def test_between_final_states_of_two_seeds_it_does_not_matter_which_comes_first(tables):
    last = only(tables["similarities"], comparison="other seed", epoch=2)
    first, second = (only(last, seed=seed).sort_values("layer")["svcca"] for seed in (0, 1))
    np.testing.assert_allclose(first, second, atol=1e-9)


def test_permuted_tokens_score_near_what_independent_layers_would(models, tables):
    permuted = only(tables["similarities"], comparison="permuted", epoch=2)["svcca"]
    assert (permuted < 2 * np.sqrt(SMALL.units / len(models.text.test.ids))).all()


def test_a_model_does_not_depend_on_which_others_are_trained_beside_it(models, kept, tmp_path, monkeypatch):
    alone = language_models.trained(replace(SMALL, seeds=(1,))).runs[0]
    assert alone.folder == models.runs[1].folder
    text = language_models.prepared(SMALL)
    monkeypatch.setenv("LMDYNAMICS_CACHE", str(tmp_path))
    monkeypatch.setattr(language_models, "prepared", lambda scale: text)
    anew = language_models.trained(replace(SMALL, seeds=(1,))).runs[0]
    assert anew.folder != alone.folder
    assert anew.path(2).read_bytes() == models.runs[1].path(2).read_bytes()


def test_models_are_compared_on_as_many_tokens_as_are_asked_for(models):
    ids = activations.spread(models.text.test.ids, 1_000)
    (row,) = layers.ceiling_table(models, ids).query("seed == 1 and layer == 'e'").to_dict("records")
    x, y = (activations.states(models.runs[seed].model(2), ids)["e"] for seed in (1, 0))
    assert row["svcca"] == pytest.approx(similarity.svcca(x, y), abs=1e-9)
    assert (row["tokens"], row["other_seed"]) == (1_000, 0)


def test_a_study_that_was_done_measures_nothing_and_one_more_seed_measures_itself_and_its_pairs(tables, jobs):
    pd.testing.assert_frame_equal(of_language_models(SMALL)["similarities"], tables["similarities"])
    assert jobs == []
    more = of_language_models(replace(SMALL, seeds=(2, *SMALL.seeds)))["similarities"]
    own = {"within_model": 1, "within_first_epoch": 1, "early_losses": 1}
    assert Counter(jobs) == {**own, "between_models": 2}
    before, both = tables["similarities"], more[(more[["seed", "other_seed"]] < 2).all(axis=1)]
    pd.testing.assert_frame_equal(both.reset_index(drop=True), before)


def test_one_seed_has_no_other_to_be_compared_with(tables, jobs, models):
    alone = of_language_models(replace(SMALL, seeds=(1,)))["similarities"]
    own = tables["similarities"].query("seed == 1 and comparison != 'other seed'").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, own)
    one = replace(models, runs=models.runs[1:])
    ceiling = layers.ceiling_table(one, models.text.test.ids)
    assert (len(ceiling), set(ceiling) | {"tokens_read"}) == (0, set(alone))
    assert jobs == []


def test_a_study_that_was_not_recorded_is_an_error_that_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m lmthesis\.recorded chapter_4 thesis"):
        recorded.load("chapter_4", settings.THESIS, tmp_path)


def test_the_properties_name_what_ran(models):
    scale = replace(SMALL, compared_tokens=1_000)
    properties = property_table(scale, models.text).set_index("property")["this run"]
    assert properties["tokens to train on"] == f"{len(models.text.train.ids):,}"
    assert properties["tokens to compare layers on"] == "1,000"


def test_within_the_first_epoch_layers_are_compared_with_their_final_state_and_with_each_other(
    tables, models
):
    early, run = tables["early_similarities"], models.of_seed(1)
    moments = [each for each in run.checkpoints() if 0 < each.epoch < 1]
    assert sorted(set(early["steps"])) == [each.step for each in moments]
    assert len(early) == 2 * len(moments) * (3 + 3 + 3), "final, permuted, pairs of layers; two seeds"
    last, moment = models.epochs, moments[-1]
    (row,) = early.query(
        "seed == 1 and comparison == 'final' and layer == 'h1' and steps == @moment.step"
    ).to_dict("records")
    assert (row["epoch"], row["tokens_read"]) == (moment.epoch, moment.tokens_read)
    ids = activations.spread(models.text.test.ids, SMALL.compared_tokens)
    x, y = (activations.states(model, ids)["h1"] for model in (run.at(moment), run.model(last)))
    assert row["svcca"] == pytest.approx(similarity.svcca(x, y), abs=1e-9)


def test_losses_within_the_first_epoch_are_those_of_the_snapshots(tables, models):
    early = tables["early_losses"].query("seed == 0")
    run, examples = models.of_seed(0), Examples.next_word(models.text.test.ids)
    moments = [each for each in run.checkpoints() if 0 < each.epoch < 1]
    assert early["tokens_read"].tolist() == [each.tokens_read for each in moments]
    losses = [mean_loss(run.at(each), examples) for each in moments]
    assert early["test_loss"].tolist() == pytest.approx(losses)
    assert losses[0] > losses[-1]


def test_all_tables_over_training_say_how_much_was_read(tables, models):
    for name in ("losses", "similarities"):
        table = tables[name]
        assert (table["tokens_read"] == table["epoch"] * models.tokens).all()
    assert tables["ran"]["tokens_read"].tolist() == [models.tokens * models.epochs] * 2
