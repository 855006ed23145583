from dataclasses import replace

import numpy as np
import pytest
from conftest import only

from lmdynamics.measures import similarity
from lmdynamics.observe import activations
from lmthesis import language_models, recorded
from lmthesis import scales as settings
from lmthesis.chapter_4 import layers as study_of_similarity

SMALL = language_models.varied(settings.SMOKE, epochs=2)


@pytest.fixture(scope="module")
def models(kept):
    return language_models.trained(SMALL)


@pytest.fixture(scope="module")
def tables(models):
    return study_of_similarity.study(SMALL)


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
    assert (permuted < 2 * np.sqrt(SMALL.model.units / len(models.text.test.ids))).all()


def test_a_model_does_not_depend_on_which_others_are_trained_beside_it(models, kept, tmp_path, monkeypatch):
    alone = language_models.trained(replace(SMALL, seeds=(1,))).runs[0]
    assert alone.folder == models.runs[1].folder
    text = language_models.prepared(SMALL)
    monkeypatch.setenv("LMDYNAMICS_CACHE", str(tmp_path))
    monkeypatch.setattr(language_models, "prepared", lambda scale: text)
    anew = language_models.trained(replace(SMALL, seeds=(1,))).runs[0]
    assert anew.path(2).read_bytes() == models.runs[1].path(2).read_bytes()


def test_a_study_that_was_not_recorded_is_an_error_that_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m lmdynamics\.recorded chapter_4 thesis"):
        recorded.load("chapter_4", "thesis", tmp_path)


def test_the_description_names_what_ran(models):
    described = language_models.described(SMALL)["this run"]
    assert described["tokens to train on"] == f"{len(models.text.train.ids):,}"
    assert described["seeds"] == "0, 1"


def test_a_scale_is_varied_only_where_asked():
    varied = language_models.varied(settings.DEMO, corpus="wikitext-2", epochs=3, seeds=[7], min_count=5)
    assert (varied.corpus.corpus, varied.corpus.min_count) == ("wikitext-2", 5)
    assert (varied.training.epochs, varied.seeds) == (3, (7,))
    assert language_models.varied(settings.DEMO) == settings.DEMO


def test_the_scales_differ_from_the_thesis_only_where_they_say():
    assert settings.THESIS.training == settings.TrainingSettings()
    assert settings.DEMO.model == settings.THESIS.model
    assert replace(settings.DEMO.training, epochs=50) == settings.THESIS.training


@pytest.mark.parametrize("seeds", [[], [0, 0], [-1]])
def test_seeds_are_different_and_at_least_0(seeds):
    with pytest.raises(ValueError, match="seeds are one or more different integers from 0 on"):
        language_models.varied(settings.DEMO, seeds=seeds)


def test_an_unknown_scale_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match="one of smoke, demo, desktop, thesis, got 'huge'"):
        settings.scale("huge")


def test_other_processes_refuse_to_run_a_function_that_was_edited_since(monkeypatch):
    jobs = [(np.arange(40), 20)] * 2
    monkeypatch.setattr(language_models.joblib, "cpu_count", lambda: 2)
    assert len(language_models.parallel(activations.spread, jobs)) == 2
    monkeypatch.setattr(language_models, "code_fingerprint", lambda module: "before the edit")
    with pytest.raises(RuntimeError, match=r"lmdynamics\.activations, or what it imports, was edited since"):
        language_models.parallel(activations.spread, jobs)
