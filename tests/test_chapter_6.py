"""The tables of chapter 6 beside numbers that were reached by another way."""

from dataclasses import replace
from itertools import islice

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import only
from torch import nn

from lmdynamics.ground import grid
from lmdynamics.measures import sparsity, words
from lmdynamics.models import training
from lmdynamics.models.runs import Run
from lmdynamics.observe import gradients
from lmdynamics.observe.allocation import allocations, by_unit, loss_and_gradient
from lmdynamics.observe.gradients import GradientError
from lmdynamics.text.streams import Examples, streams
from lmthesis import language_models, ledger, recorded
from lmthesis.chapter_6 import loss_changes, page, settings
from lmthesis.chapter_6 import words as of_words
from lmthesis.chapter_6.claims import CLAIMS
from lmthesis.chapter_6.study import LEFT_OUT, study
from lmthesis.recorded.recording import Recording

SMALL = settings.scale("smoke", epochs=2)
MAIN, SHUFFLED, NARROW = of_words.MAIN, of_words.SHUFFLED, "20 units"


@pytest.fixture(scope="module")
def models(kept):
    return of_words.trained(SMALL, language_models.prepared(SMALL))


@pytest.fixture(scope="module")
def tables(models):
    return study(SMALL)


def by_autograd(model, text):
    """Each layer and its gradient at every token of a measured text: torch's own LSTM, stretch by stretch."""
    length = -(-len(text.examples.inputs) // of_words.STREAMS)
    padded = [
        np.pad(each, (0, length * of_words.STREAMS - len(each)), constant_values=fill)
        for each, fill in zip(text.examples, (0, -100), strict=True)
    ]
    inputs, targets = (torch.from_numpy(each.astype(np.int64)).view(of_words.STREAMS, -1) for each in padded)
    states, found = [None] * len(model.lstms), {}
    for begin in range(0, length, text.steps_back):
        piece = slice(begin, begin + text.steps_back)
        layers = {"e": nn.functional.embedding(inputs[:, piece], model.embedding.weight)}
        for number, lstm in enumerate(model.lstms):
            state = states[number] or torch.zeros(2, 1, of_words.STREAMS, lstm.hidden_size)
            below = list(layers.values())[-1].transpose(0, 1)
            above, reached = lstm(below, tuple(state))
            layers[f"h{number + 1}"] = above.transpose(0, 1)
            states[number] = [each.detach() for each in reached]
        layers["logits"] = model.decoder(layers["h2"])
        loss = nn.functional.cross_entropy(
            layers["logits"].flatten(0, 1), targets[:, piece].flatten(), reduction="sum"
        )
        # a layer is changed for those above it alone: its own recurrence reads what it did
        given = torch.autograd.grad(loss, list(layers.values()))
        for layer, gradient in zip(layers, given, strict=True):
            found.setdefault(("activation", layer), []).append(layers[layer].detach())
            found.setdefault(("gradient", layer), []).append(gradient)
    return {key: torch.cat(each, 1).flatten(0, 1)[: len(text.examples.inputs)] for key, each in found.items()}


@pytest.fixture(scope="module")
def values(models):
    """χ of the last model of seed 1 at every token, by kind and layer."""
    model = models.models.of_seed(1).model(2)
    return {key: sparsity.chi(each).numpy() for key, each in by_autograd(model, models.texts[MAIN]).items()}


def means_by_word(values, ids, size):
    counts = np.bincount(ids, minlength=size)
    return np.bincount(ids, values, size) / np.where(counts, counts, np.nan), counts


@pytest.mark.parametrize(
    ("side", "kind", "layer"),
    [
        ("target", "gradient", "h2"),
        ("target", "gradient", "logits"),
        ("target", "activation", "h1"),
        ("input", "activation", "e"),
        ("input", "gradient", "e"),
        ("input", "gradient", "h1"),
    ],
)
def test_correlations_and_means_by_word_are_those_of_autograd_word_by_word(
    side, kind, layer, models, tables, values
):
    text = models.texts[MAIN]
    ids = text.examples.targets if side == "target" else text.examples.inputs
    means, counts = means_by_word(values[kind, layer], ids, len(text.frequency))
    own = only(tables["words"], seed=1, epoch=2, side=side).set_index("word")
    np.testing.assert_array_equal(own.index, np.flatnonzero(counts))
    np.testing.assert_array_equal(own["tokens"], counts[counts > 0])
    np.testing.assert_allclose(own[f"{kind} {layer}"], means[counts > 0], rtol=2e-4)
    seen = (counts > 0) & (np.arange(len(counts)) > 0)  # without <unk>
    row = only(tables["rho"], model=MAIN, seed=1, epoch=2, side=side, kind=kind, layer=layer, group="all")
    row = only(row, measure="chi", how="pearson")
    wanted = np.corrcoef(means[seen], text.frequency[seen])[0, 1]
    assert row["words"].item() == seen.sum()
    assert row["correlation"].item() == pytest.approx(wanted, abs=1e-4)
    assert row["low"].item() < wanted < row["high"].item()


def test_classes_and_matched_samples_are_correlated_over_their_own_words(models, tables, values):
    text = models.texts[MAIN]
    means, counts = means_by_word(values["gradient", "h2"], text.examples.targets, len(text.frequency))
    rows = only(tables["rho"], model=MAIN, seed=1, epoch=2, side="target", layer="h2", kind="gradient")
    rows = only(rows, measure="chi", how="pearson").set_index("group")
    assert set(rows.index) == set(of_words.GROUPS)
    for group, chosen in text.groups.items():
        own = chosen & (counts > 0)
        wanted = np.corrcoef(means[own], text.frequency[own])[0, 1]
        assert rows.loc[group, "correlation"] == pytest.approx(wanted, abs=1e-4)
        assert rows.loc[group, "mean"] == pytest.approx(means[own].mean(), rel=1e-4)
    assert text.groups["open, matched"].sum() == text.groups["closed, matched"].sum() == 20
    assert not (text.groups["open"] & text.groups["closed"]).any()


def test_the_difference_between_classes_is_that_of_least_squares(models, tables, values):
    text = models.texts[MAIN]
    means, counts = means_by_word(values["gradient", "h2"], text.examples.targets, len(text.frequency))
    own = (text.classes >= 0) & (text.classes < 2) & (counts > 0)
    within = pd.DataFrame({"chi": means[own], "closed": text.classes[own] * 1.0})
    within -= within.groupby(np.floor(np.log2(text.frequency[own]) / 0.5)).transform("mean")
    wanted = (within["chi"] * within["closed"]).sum() / (within["closed"] ** 2).sum()
    found = only(tables["class_effects"], model=MAIN, seed=1, epoch=2)
    assert found["feature"].tolist() == ["closed class"]
    assert found["coefficient"].item() == pytest.approx(wanted, rel=2e-3)


def test_all_words_of_a_large_vocabulary_over_all_epochs_fit_into_100_megabytes(tables):
    table = tables["words"]
    assert "model" not in table
    a_row = table.memory_usage(index=False, deep=True).sum() / len(table)
    assert a_row * 20_000 * len(of_words.SIDES) * 51 < 100e6


def test_levels_are_means_over_all_tokens(tables, values):
    rows = only(tables["levels"], model=MAIN, seed=1, epoch=2, measure="chi").set_index(["kind", "layer"])
    for key, chi in values.items():
        assert rows.loc[key, "mean"] == pytest.approx(chi.mean(), rel=1e-4)
    assert rows.loc[("activation", "h1"), "units"] == SMALL.units


def test_where_words_give_equally_many_tokens_the_first_in_random_order_are_taken(models, tables, values):
    text = models.texts[MAIN]
    targets, chi = text.examples.targets, values["gradient", "h2"]
    counts = np.bincount(targets, minlength=len(text.frequency))
    which = words.occurrences(targets, seed=0)
    rows = only(tables["noise"], seed=1, how="pearson").set_index(["least", "tokens"])
    for least in (1, 5):
        chosen = (counts >= least) & (np.arange(len(counts)) > 0)
        for tokens, kept_ in (("as many", which < least), ("all", which >= 0)):
            means, _ = means_by_word(chi[kept_], targets[kept_], len(counts))
            wanted = np.corrcoef(means[chosen], text.frequency[chosen])[0, 1]
            assert rows.loc[(least, tokens), "correlation"] == pytest.approx(wanted, abs=1e-4)
            assert rows.loc[(least, tokens), "words"] == chosen.sum()


def test_controls_are_trained_as_long_as_they_should_be_and_measured_once(models, tables):
    assert set(models.controls) == {SHUFFLED, NARROW}
    epochs = tables["rho"].groupby("model")["epoch"].unique().map(sorted).to_dict()
    assert epochs == {MAIN: [0, 1, 2], SHUFFLED: [2], NARROW: [2]}
    assert models.controls[NARROW][0].settings["model"]["units"] == 20
    seeds = tables["rho"].groupby("model")["seed"].unique().map(sorted).to_dict()
    assert set(map(tuple, seeds.values())) == {SMALL.seeds}


def test_shuffled_text_holds_the_same_words_in_another_order(models):
    whole = replace(SMALL, tokens=None)
    plain, mixed = (
        of_words.measured_text(whole, models.models.text, shuffled=each) for each in (False, True)
    )
    for one, other in zip(plain.examples, mixed.examples, strict=True):
        assert (one != other).mean() > 0.8
        assert np.abs(np.bincount(one) - np.bincount(other, minlength=one.max() + 1)).sum() <= 2
    np.testing.assert_array_equal(plain.frequency, mixed.frequency)


# What is left out


def test_what_is_left_out_is_counted_by_hand(models, tables):
    text = models.texts[MAIN]
    found = tables["excluded"].set_index("left out")["number"]
    for side, ids in (("target", text.examples.targets), ("input", text.examples.inputs)):
        never = set(range(1, len(text.frequency))) - set(ids.tolist())
        assert found[f"words that are never the {side} in the measured text"] == len(never)
    assert found["tokens to predict that are unknown words"] == text.examples.targets.tolist().count(0)
    assert not any("too few for a matched sample" in reason for reason in found.index)


def damage(patch, place, value):
    """Let all runs give models with one weight, or one row of them, that is wrong."""
    whole = Run.model

    def model(run, *which, **how):
        found = whole(run, *which, **how)
        name, at = place
        with torch.no_grad():
            found.get_parameter(name)[at] = value
        return found

    patch.setattr(Run, "model", model)


def test_vectors_of_zeros_are_left_out_and_counted(models, monkeypatch):
    text = models.texts[MAIN]
    common = int(text.examples.inputs[text.examples.inputs > 0][0])
    damage(monkeypatch, ("embedding.weight", common), 0.0)
    tables = of_words.sparsities(MAIN, text, models.models.runs[0], 2, False)
    zeros = tables["undefined"].set_index(["kind", "layer"])["number"]
    tokens = int((text.examples.inputs == common).sum())
    assert zeros["activation", "e"] == tokens > 0
    assert zeros.sum() == tokens
    own = only(tables["words"], side="input", word=common)
    assert own["activation e"].isna().all()
    assert own["activation h1"].notna().all()
    row = only(tables["rho"], side="input", layer="e", kind="activation", measure="chi", how="pearson")
    assert row["words"].item() == len(set(text.examples.inputs.tolist()) - {0, common})
    tables["excluded"] = of_words.excluded_table(models, 20)
    shown = page.excluded(tables).set_index("left out")["number"]
    assert shown["vectors of zeros, over all checkpoints and layers"] == tokens
    assert len(shown) == len(tables["excluded"]) + 1


def test_too_few_words_for_a_matched_sample_are_told_and_the_findings_not_tested(models):
    many = replace(SMALL, matched=5_000)
    text = of_words.measured_text(many, models.models.text)
    assert set(text.groups) == {"all", "open", "closed"}
    few = replace(models, texts={**models.texts, MAIN: text})
    table = of_words.excluded_table(few, many.matched)
    (row,) = table[table["left out"].str.contains("too few for a matched sample of 5000")].itertuples()
    assert row.number == min(text.groups["open"].sum(), text.groups["closed"].sum())


def test_a_gradient_that_is_no_number_is_named_by_model_checkpoint_layer_and_token(models, monkeypatch):
    damage(monkeypatch, ("decoder.weight", (3, 1)), torch.nan)
    message = "the language model of seed 0 after epoch 1: .* at logits is not finite at token 0 of the text"
    with pytest.raises(GradientError, match=message):
        of_words.sparsities(MAIN, models.texts[MAIN], models.models.runs[0], 1, False)


def test_unknown_parts_are_refused():
    with pytest.raises(ValueError, match="part needs one of train, dev, test, got 'valid'"):
        settings.scale("smoke", part="valid")


def test_a_corpus_without_parts_of_speech_is_refused(models):
    text = models.models.text
    bare = replace(text, corpus=replace(text.corpus, tags={}))
    with pytest.raises(ValueError, match="need a corpus with parts of speech, got 'wikipedia-sample'"):
        of_words.measured_text(SMALL, bare)


# Loss change


@pytest.fixture
def one_thread():
    """As in training: how sums are rounded depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_steps_that_are_followed_are_those_that_training_took(models, tables, one_thread):
    run, text = models.models.of_seed(1), models.models.text
    examples = Examples.next_word(text.train.ids)
    sample = loss_changes.elsewhere(examples, SMALL)
    model = run.model(1)
    steps = training.steps(model, examples, SMALL.training, seed=1, epoch=2, rate=run.epochs[2].learning_rate)
    losses = [loss_and_gradient(model, sample)[0]]
    losses += [loss_and_gradient(model, sample)[0] for _ in islice(steps, SMALL.steps)]
    own = only(tables["steps"], seed=1, epoch=1)
    assert own["step"].tolist() == [1, 2]
    assert own["change"].tolist() == pytest.approx(np.diff(losses).tolist(), abs=1e-6)
    list(steps)
    for name, value in run.model(2).named_parameters():
        assert torch.equal(model.get_parameter(name), value)


def test_layers_groups_and_steps_add_up_to_the_same(tables):
    for (seed, epoch), steps in tables["steps"].groupby(["seed", "epoch"]):
        own = only(tables["allocated"], seed=seed, epoch=epoch)
        for method in ("first order", "Simpson"):
            whole = only(own, method=method)["allocated"].sum()
            assert whole == pytest.approx(steps[method].sum(), rel=1e-5)
        by_layer = only(own, method="Simpson").groupby("layer")["allocated"].sum()
        for layer in ("e", "h1", "h2", "decoder"):
            assert by_layer[layer] == pytest.approx(steps[layer].sum(), rel=1e-5, abs=1e-7)
    later = tables["steps"].query("epoch > 0")
    assert ((later["Simpson"] - later["change"]).abs() < 0.2 * later["change"].abs() + 1e-3).all()


@pytest.mark.parametrize(("batch", "back", "steps", "size"), [(40, 35, 2, 400), (3, 7, 5, 30), (1, 5, 4, 9)])
def test_the_sample_is_text_that_the_steps_do_not_read(batch, back, steps, size):
    examples = Examples(np.arange(10_000), np.arange(1, 10_001))
    own = replace(SMALL, steps=steps, sample=size, batch=batch, steps_back=back)
    sample = loss_changes.elsewhere(examples, own)
    assert len(sample.inputs) == size // batch * batch
    np.testing.assert_array_equal(sample.inputs + 1, sample.targets)
    read = streams(examples.inputs, batch)[: steps * back].flatten().tolist()
    assert not set(read) & set(sample.inputs.tolist())


def test_text_too_short_to_set_a_sample_apart_is_refused():
    examples = Examples(np.arange(1_000), np.arange(1_000))
    message = "each of 40 streams needs 140 tokens, got 25; take more text"
    with pytest.raises(ValueError, match=message):
        loss_changes.elsewhere(examples, SMALL)


@pytest.mark.parametrize(("layer", "number"), [("h1", 0), ("h2", 1)])
def test_where_loss_changes_is_correlated_with_where_gradients_are(layer, number, models, tables, one_thread):
    run, text = models.models.of_seed(1), models.models.text
    examples = Examples.next_word(text.train.ids)
    sample = loss_changes.elsewhere(examples, SMALL)
    model, how = run.model(1), SMALL.training
    (block,) = gradients.blocks(model, sample, streams=how.batch, steps_back=len(sample.inputs))
    rate = run.epochs[2].learning_rate
    steps = islice(training.steps(model, examples, how, seed=1, epoch=2, rate=rate), SMALL.steps)
    changes = [each.allocated["Simpson"] for each in allocations(model, sample, steps, batch=how.batch)]
    sizes = sum(by_unit(each, number, SMALL.units) for each in changes)
    wanted = np.corrcoef(sizes, block.gradients[layer].abs().mean(0))[0, 1]
    row = only(tables["concentration"], seed=1, epoch=1, layer=layer, among="units", how="pearson")
    assert row["correlation"].item() == pytest.approx(wanted, abs=1e-4)
    assert row["number"].item() == SMALL.units


def test_among_words_only_those_count_that_were_read_and_moved(tables):
    rows = only(tables["concentration"], layer="e", how="pearson")
    assert set(rows["among"]) == {"words"}
    read = tables["words"].query("side == 'input' and word > 0").groupby(["seed", "epoch"]).size()
    for row in rows.itertuples():
        assert 50 < row.number <= read[row.seed, row.epoch]


# As a whole


def test_every_finding_has_its_tables_and_the_page_its_own(tables):
    assert len(CLAIMS.verdict_table(tables)) == len(CLAIMS) == 31
    for table in (
        tables["properties"],
        page.later_loss_table(tables["levels"], tables["rho"]),
        page.last_correlation_table(tables["rho"], "target"),
        page.control_table(tables["rho"], tables["levels"]),
        page.allocation_error_table(tables["steps"]),
        page.loss_change_table(tables["allocated"]),
    ):
        assert len(table) > 0
        assert not table.isna().any(axis=None)


def test_what_later_words_send_back_is_nothing_at_the_top_and_something_below(tables):
    shares = page.later_loss_table(tables["levels"], tables["rho"]).set_index("layer")
    assert shares.loc["h2", "share from later words"] == "0.0%"
    assert (
        shares.loc["h2", "with target frequency, whole"]
        == shares.loc["h2", "with target frequency, own loss"]
    )
    for layer in ("e", "h1"):
        assert float(shares.loc[layer, "share from later words"].rstrip("%")) > 1


def test_recorded_tables_hold_no_text_and_decide_as_they_did(tables, tmp_path):
    home = next(iter(list(Recording({"chapter_6": SMALL}, tmp_path).record())))
    assert {path.stem for path in home.glob("*.csv")} == set(tables) - set(LEFT_OUT) | {"rules"}
    kept = recorded.results(study, SMALL, source="recorded", folder=tmp_path)
    before, after = (CLAIMS.verdict_table(each) for each in (tables, kept))
    assert after["verdict"].tolist() == before["verdict"].tolist()
    np.testing.assert_allclose(after["margin"], before["margin"], atol=1e-5)


def test_values_by_word_are_shown_of_a_run_alone(tables):
    often = page.by_word(tables, "target", "gradient h2", only_frequent=True)
    every = page.by_word(tables, "target", "gradient h2")
    assert 0 < len(often) < len(every)
    assert every["frequency"].max() == often["frequency"].max()
    assert set(page.after_training(often)["epoch"]) == {SMALL.epochs}
    kept = {name: table for name, table in tables.items() if name not in LEFT_OUT}
    assert page.after_training(page.by_word(kept, "target", "gradient h2")) is None


def test_frequent_words_are_averaged_word_by_word(tables):
    rows = of_words.frequent(tables["words"])
    own = only(rows, seed=1, epoch=2)
    row = only(tables["frequent"], seed=1, epoch=2)
    assert row["words"].item() == len(own) > 5
    assert row["mean"].item() == pytest.approx(own["gradient h2"].astype(float).mean())


def test_a_study_that_was_done_measures_nothing_and_one_more_seed_measures_one(tables, monkeypatch):
    jobs = []
    keep = grid._keep
    monkeypatch.setattr(grid, "_keep", lambda *job: jobs.append(job[0].__name__) or keep(*job))
    with joblib.parallel_config("sequential"):
        study(SMALL)
        assert jobs == []
        study(replace(SMALL, seeds=(*SMALL.seeds, 2)))
    of_one_seed = SMALL.epochs + 1 + len(SMALL.widths) + 1
    snapshots = tables["early_rho"].query("seed == 0")["steps"].nunique()
    assert snapshots > 0
    wanted = ["allocations"] * SMALL.epochs + ["early_sparsities"] * snapshots + ["sparsities"] * of_one_seed
    assert sorted(jobs) == wanted


def test_within_the_first_epoch_correlations_are_those_of_the_snapshots(models, tables):
    early, run = tables["early_rho"], models.models.runs[0]
    moment = [each for each in run.checkpoints() if 0 < each.epoch < 1][-1]
    rows = early.query("seed == 0 and steps == @moment.step")
    assert set(rows["tokens_read"]) == {moment.tokens_read}
    sums, _ = of_words._sums(models.texts[MAIN], run, moment, own=False)
    expected = of_words._rho(sums["target"], "target", models.texts[MAIN], run).query("measure == 'chi'")
    own = rows.query("side == 'target'")
    assert own["correlation"].tolist() == pytest.approx(expected["correlation"].tolist(), nan_ok=True)


def test_the_check_of_allocation_tells_rises_from_falls():
    steps = pd.DataFrame(
        {"epoch": [0, 0, 1, 1], "change": [-0.3, 0.1, 0.2, 0.4]}
        | {"first order": [-0.3, 0.0, 0.2, 0.4], "Simpson": [-0.3, 0.1, 0.2, 0.4]}
    )
    assert page.allocation_error_table(steps).to_dict("list") == {
        "epoch": [0, 1],
        "true change": ["-0.1", "+0.3"],
        "its size": ["0.2", "0.3"],
        "missed, first order": ["0.05", "0"],
        "missed, Simpson": ["0", "0"],
        "steps that lowered it": ["50%", "0%"],
    }


def test_what_ran_is_shown_as_it_is_written(tables):
    """`<unk>` is no tag of HTML."""
    whole = ledger.Ledger({"chapter_6": [ledger.Column(CLAIMS, tables, is_run=True)]})
    said = whole.chapter("chapter_6")._repr_html_()
    assert "kept, the words as &lt;unk&gt;" in said
    assert said.count("<tr>") >= len(CLAIMS)
