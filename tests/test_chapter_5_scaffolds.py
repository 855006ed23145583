"""What the study of scaffolds says of its models is what the models themselves give, asked in another way."""

from dataclasses import asdict, replace

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import never, only
from torch import nn

from lmdynamics.ground import grid
from lmdynamics.models import runs, training
from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.models.runs import Run
from lmdynamics.observe import decomposition, interdependence
from lmdynamics.observe.decomposition import Convention
from lmdynamics.text.synthetic import CONTEXT, Language
from lmthesis.chapter_5 import languages, scaffolds, settings
from lmthesis.chapter_5.languages import Key
from lmthesis.chapter_5.scaffolds import Scaffolds

UNITS = 8
EPOCHS = 2
SCALE = settings.scale(
    "smoke",
    types=8,
    language_tokens=600,
    rules=20,
    phrases=4,
    repetitions=5,
    lengths=(1, 3),
    rarer=(6,),
    cases=7,
    steps_back=12,
    rule_units=UNITS,
    rule_epochs=EPOCHS,
    rule_batch=5,
    rule_learning_rate=5.0,
    seeds=(0, 1),
)
KEY = Key(3, False, 20, 1)
USUAL = asdict(Convention())
KEYS = [Key(1, True, 20, 0), KEY, Key(3, False, 6, 0)]


@pytest.fixture(scope="module")
def here(kept):
    """A cache of its own, and all in this process, where shapes are checked."""
    with joblib.parallel_config("sequential"):
        yield


def trained():
    return Scaffolds.of(SCALE, grid.results(runs.train, scaffolds.jobs(SCALE)))


@pytest.fixture(scope="module")
def found(here):
    return trained()


@pytest.fixture(scope="module")
def tables(found):
    return scaffolds.tables(found)


class Handmade(Run):
    """A run whose model was not trained."""

    def __init__(self, model):
        self._model, self.settings = model, {"about": "made by hand", "seed": 0}

    def model(self, epoch=-1, **settings):
        return self._model


def untrained(spoken, *, scale=1.0, seed=0):
    classes = len(spoken.settings.words)
    model = RecurrentModel(
        ModelSettings(layers=1, units=UNITS, dropout=0.0), words=classes, classes=classes, seed=seed
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def cases_of(found, key, domain):
    """Test cases as a model reads them, ω left out."""
    return torch.from_numpy(found.languages[key].cases(domain, SCALE.cases)[:, :-1]).T.long()


def exact(found, key, epoch):
    """A model in double precision."""
    return found.runs[key].model(epoch).double()


def omega_by_focus(model, ids, positions, convention=None):
    """Mean probability of the last symbol by some positions alone, one case at a time."""
    focus = torch.zeros(1, len(ids), dtype=torch.bool)
    focus[0, list(positions)] = True
    found = []
    for case in ids.split(1, dim=1):
        with torch.no_grad():
            (layer,) = decomposition.decompose(
                model.lstms[0], model.embedding(case), focus, convention=convention
            )
        logits = model.decoder.weight.detach() @ layer.relevant[0, -1, 0]
        found.append((logits - logits.logsumexp(0)).exp()[-1].item())
    return np.mean(found)


def test_a_scale_trains_both_kinds_of_language_for_each_length_and_unfamiliar_ones_with_fewer_rules():
    assert set(languages.keys(SCALE)) == {
        Key(length, familiar, rules, seed)
        for seed in (0, 1)
        for length in (1, 3)
        for familiar, rules in ((False, 20), (True, 20), (False, 6))
    }
    assert len(languages.keys(SCALE)) == 12


def test_the_thesis_names_eight_symbols_a_thousand_rules_and_fewer():
    asked = languages.keys(settings.THESIS)
    assert {Key(8, False, 1000, 0), Key(8, True, 1000, 3), Key(8, False, 100, 0)} <= set(asked)
    assert len(set(asked)) == len(asked) == 4 * 3 * 4
    for key in asked:
        languages.language(settings.THESIS, key)  # raises where the counts do not fit


def test_a_key_names_its_language():
    spoken = languages.language(SCALE, KEY)
    assert spoken.seed == 1
    assert spoken.settings == SCALE.language(3, familiar=False, rules=20)


def test_each_model_learns_the_next_symbol_of_its_own_language():
    asked = dict(zip(languages.keys(SCALE), scaffolds.jobs(SCALE), strict=True))
    for key, (how, parts) in asked.items():
        spoken = languages.language(SCALE, key)
        assert (how.seed, how.words, how.classes) == (key.seed, spoken.settings.words, spoken.settings.words)
        ids = spoken.text().ids
        assert np.array_equal(parts.train.inputs, ids[:-1])
        assert np.array_equal(parts.train.targets, ids[1:])
        assert len(parts.dev.inputs) == 60 - 1
        assert parts.test is None
    assert asked[KEY][0].about == "unfamiliar scaffolds of 3 symbols, 20 rules"


def test_each_key_has_a_run_of_its_own(found):
    assert list(found.runs) == list(found.languages) == languages.keys(SCALE)
    assert len({run.folder for run in found.runs.values()}) == 12
    for key, run in found.runs.items():
        kind = "familiar" if key.familiar else "unfamiliar"
        assert run.settings["about"] == f"{kind} scaffolds of {key.length} symbols, {key.rules} rules"
        assert run.settings["seed"] == key.seed
        assert len(run.epochs) == EPOCHS + 1


def test_models_of_fewer_rules_are_measured_after_the_last_epoch_alone(found):
    measured = {key.rules: found.measured_epochs(key) for key in found.runs}
    assert measured == {20: list(range(EPOCHS + 1)), 6: [EPOCHS]}


def test_a_run_too_few_is_refused(found):
    with pytest.raises(ValueError, match="shorter"):
        Scaffolds.of(SCALE, list(found.runs.values())[1:])


def test_tables_have_one_row_for_each_model_epoch_domain_and_place(tables):
    of_keys = pd.DataFrame(languages.keys(SCALE))
    epochs = pd.DataFrame({"epoch": range(EPOCHS + 1)})
    domains = pd.DataFrame({"domain": ["in", "out"]})
    places = pd.DataFrame([(n, at) for n in (1, 3) for at in range(n + 1)], columns=["length", "place"])
    conventions = pd.DataFrame([asdict(each) for each in Convention.all()])
    usual = pd.DataFrame([USUAL]).merge(epochs, how="cross")
    others = conventions[1:].merge(epochs[1:], how="cross")
    wanted = {
        "rule": of_keys.merge(epochs, how="cross").merge(domains, how="cross"),
        "decomposed": of_keys.merge(domains, how="cross").merge(pd.concat([usual, others]), how="cross"),
        "consumed": of_keys.merge(domains, how="cross")
        .merge(conventions, how="cross")
        .merge(places.rename(columns={"place": "symbols"})),
        "gradients": of_keys.merge(epochs, how="cross").merge(places.rename(columns={"place": "offset"})),
    }
    for name, expected in wanted.items():
        names = expected.columns.tolist()
        if "epoch" in names:  # of fewer rules, the last alone
            main = SCALE.rules
            expected = expected[(expected["rules"] == main) | (expected["epoch"] == EPOCHS)]
        rows = tables[name][names].sort_values(names, ignore_index=True)
        pd.testing.assert_frame_equal(rows, expected.sort_values(names, ignore_index=True), check_dtype=False)
        assert tables[name].notna().all(axis=None)
    assert tables["decomposed"].columns[-3:].tolist() == [
        *("omega_from_alpha", "omega_from_scaffold", "interdependence")
    ]


def test_conventions_are_compared_from_the_first_epoch_to_the_last():
    assert scaffolds.compared_epochs(40) == [1, 9, 17, 25, 33, 40]
    assert scaffolds.compared_epochs(1) == [1]
    assert scaffolds.compared_epochs(0) == [0]


def test_each_model_that_has_learnt_anything_has_numbers_of_its_own(tables):
    for name, columns in (
        ("rule", ["omega"]),
        ("decomposed", ["omega_from_alpha", "omega_from_scaffold", "interdependence"]),
        ("gradients", ["whole", "of_omega"]),
    ):
        for column in columns:
            learnt = tables[name].query("epoch > 0")
            if name == "decomposed":
                learnt = only(learnt, **USUAL)
            assert learnt[column].round(9).nunique() == len(learnt)


def test_untrained_models_of_one_seed_and_length_are_the_same_and_meet_the_same_cases(tables):
    untrained = only(tables["decomposed"], epoch=0, domain="out")
    assert (untrained.groupby(["seed", "length"])["interdependence"].nunique() == 1).all()
    assert untrained["interdependence"].nunique() == 2 * 2


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("domain", ["in", "out"])
def test_omega_is_what_the_model_expects_after_the_last_symbol_of_the_scaffold(found, tables, key, domain):
    ids = cases_of(found, key, domain)
    for epoch in found.measured_epochs(key):
        model = exact(found, key, epoch)
        with torch.no_grad():
            logits = model.decoder(model(ids).layers["h1"])[CONTEXT + key.length]
        expected = logits.softmax(1)[:, 9].mean().item()
        row = only(tables["rule"], **key._asdict(), epoch=epoch, domain=domain)
        assert row["omega"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("domain", ["in", "out"])
def test_omega_by_alpha_or_by_the_scaffold_is_by_the_logits_that_they_leave(found, tables, key, domain):
    ids = cases_of(found, key, domain)
    usual = [(epoch, Convention()) for epoch in found.measured_epochs(key)]
    for epoch, convention in [*usual, *((EPOCHS, each) for each in Convention.all())]:
        model = exact(found, key, epoch)
        row = only(tables["decomposed"], **key._asdict(), epoch=epoch, domain=domain, **asdict(convention))
        by_alpha = omega_by_focus(model, ids, [CONTEXT], convention)
        by_scaffold = omega_by_focus(model, ids, range(CONTEXT + 1, CONTEXT + 1 + key.length), convention)
        assert row["omega_from_alpha"].item() == pytest.approx(by_alpha, rel=1e-5)
        assert row["omega_from_scaffold"].item() == pytest.approx(by_scaffold, rel=1e-5)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("domain", ["in", "out"])
def test_interdependence_is_that_of_alpha_and_the_whole_scaffold(found, tables, key, domain):
    pair = ([CONTEXT], range(CONTEXT + 1, CONTEXT + 1 + key.length))
    usual = [(epoch, Convention()) for epoch in found.measured_epochs(key)]
    for epoch, convention in [*usual, *((EPOCHS, each) for each in Convention.all())]:
        model = exact(found, key, epoch)
        inputs = model.embedding(cases_of(found, key, domain)).detach()
        expected = interdependence.between(model.lstms, inputs, [pair], convention=convention).mean().item()
        row = only(tables["decomposed"], **key._asdict(), epoch=epoch, domain=domain, **asdict(convention))
        assert row["interdependence"].item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("domain", ["in", "out"])
def test_symbols_are_consumed_from_alpha_on_until_the_whole_scaffold_is_in_focus(found, tables, key, domain):
    ids, model = cases_of(found, key, domain), exact(found, key, EPOCHS)
    for convention in Convention.all():
        rows = only(tables["consumed"], **key._asdict(), domain=domain, **asdict(convention))
        for symbols, omega in rows.set_index("symbols")["omega"].items():
            expected = omega_by_focus(model, ids, range(CONTEXT, CONTEXT + 1 + symbols), convention)
            assert omega == pytest.approx(expected, rel=1e-5)


def test_no_symbol_consumed_is_alpha_alone(tables):
    of_row = [*Key._fields, "domain", *USUAL]
    alone = only(tables["consumed"], symbols=0).set_index(of_row)["omega"]
    last = only(tables["decomposed"], epoch=EPOCHS).set_index(of_row)["omega_from_alpha"]
    np.testing.assert_allclose(alone, last[alone.index], rtol=1e-5)


def loss_after(model, ids, changed, step):
    """Loss of each case from a step on, its hidden state there changed: by the equations of the LSTM."""
    (lstm,) = model.lstms
    weights, recurrent = lstm.weight_ih_l0, lstm.weight_hh_l0
    bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
    cases = ids.shape[1]
    h = c = torch.zeros(cases, UNITS, dtype=torch.float64)
    losses = []
    for now in range(len(ids) - 1):
        i, f, g, o = (model.embedding(ids[now]) @ weights.T + h @ recurrent.T + bias).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        if now == step:
            h = h + changed
        logits = h @ model.decoder.weight.T + model.decoder.bias
        losses.append(logits.logsumexp(1) - logits[torch.arange(cases), ids[now + 1]])
    return torch.stack(losses)


@pytest.mark.parametrize("key", KEYS)
def test_gradients_are_what_a_small_change_of_one_hidden_state_does_to_the_loss(found, tables, key):
    ids = torch.from_numpy(found.languages[key].cases("in", SCALE.cases)).T.long()
    small = 1e-5
    for epoch in {0, EPOCHS} & set(found.measured_epochs(key)):
        model = exact(found, key, epoch)
        rows = only(tables["gradients"], **key._asdict(), epoch=epoch).set_index("offset")
        for offset in range(key.length + 1):
            slopes = []
            for direction in torch.eye(UNITS, dtype=torch.float64) * small:
                with torch.no_grad():
                    up, down = (
                        loss_after(model, ids, change, CONTEXT + offset) for change in (direction, -direction)
                    )
                slopes.append((up - down) / (2 * small))
            slope = torch.stack(slopes)  # unit, target, case
            whole = slope.sum(1).norm(dim=0).mean().item()
            omega = slope[:, -1].norm(dim=0).mean().item()
            assert rows.loc[offset, "whole"] == pytest.approx(whole, rel=1e-4)
            assert rows.loc[offset, "of_omega"] == pytest.approx(omega, rel=1e-4, abs=1e-7)


def test_at_the_last_symbol_the_loss_of_omega_is_all_that_is_left(tables):
    for length in (1, 3):
        last = only(tables["gradients"], length=length, offset=length)
        np.testing.assert_allclose(last["whole"], last["of_omega"], rtol=1e-5)
        earlier = only(tables["gradients"], length=length, offset=length - 1)
        assert (earlier["whole"] > 1.05 * earlier["of_omega"]).all()


def test_a_second_call_trains_and_measures_nothing(found, tables, monkeypatch):
    def written():
        return {
            path: path.stat().st_mtime_ns for run in found.runs.values() for path in run.folder.glob("e*")
        }

    before = written()
    assert len(before) == 12 * (EPOCHS + 1)
    monkeypatch.setattr(grid, "_keep", never)
    monkeypatch.setattr(training, "_train_epoch", never)
    again = scaffolds.tables(trained())
    assert written() == before
    for name, table in tables.items():
        pd.testing.assert_frame_equal(again[name], table)


@pytest.mark.parametrize("change", [{"cases": 3}, {"epochs": 1}])
def test_other_cases_or_epochs_are_measured_anew(found, tables, change):
    other = replace(found, runs={KEY: found.runs[KEY]}, **change)
    after, before = scaffolds.tables(other)["rule"], only(tables["rule"], **KEY._asdict())
    assert len(after) == 2 * (other.epochs + 1)
    same = before.query("epoch <= @other.epochs")["omega"]
    assert np.allclose(after["omega"], same, rtol=1e-9) == ("epochs" in change)


def test_a_model_that_knows_only_its_bias_expects_omega_by_none_of_its_words():
    # the decoder's bias is no word's own: what α or the scaffold give leaves all symbols alike
    spoken = Language(SCALE.language(3, familiar=False, rules=20), 0)
    model = untrained(spoken)
    with torch.no_grad():
        model.decoder.weight.zero_()
        model.decoder.bias[9] = 2.0
    assert scaffolds.rule(Handmade(model), spoken, [0], 5)["omega"][0] == pytest.approx(
        np.exp(2) / (np.exp(2) + 9), rel=1e-6
    )
    parts = scaffolds.decomposed(Handmade(model), spoken, [0], 5)
    for column in ("omega_from_alpha", "omega_from_scaffold"):
        np.testing.assert_allclose(parts[column], 0.1, rtol=1e-6)
    np.testing.assert_allclose(scaffolds.consumed(Handmade(model), spoken, 0, 5)["omega"], 0.1, rtol=1e-6)


def adding(spoken, size):
    """A model of one unit that halves what it holds and adds half of tanh(x); only α weighs anything."""
    cell = nn.LSTM(1, 1)
    model = RecurrentModel(ModelSettings(layers=1, units=1, dropout=0.0), words=10, classes=10, seed=0)
    with torch.no_grad():
        for parameter in (*cell.parameters(), *model.decoder.parameters(), model.embedding.weight):
            parameter.zero_()
        cell.weight_ih_l0[2] = 1
        model.embedding.weight[spoken.settings.alpha] = size
        model.decoder.weight[spoken.settings.omega] = 3
    model.lstms[0].load_state_dict(cell.state_dict())
    return model


@pytest.mark.parametrize("length", [1, 3])
def test_a_model_that_remembers_alpha_alone_owes_omega_to_it_alone(length):
    spoken = Language(SCALE.language(length, familiar=False, rules=20), 0)
    model = adding(spoken, 1.0)
    # half of tanh(1), halved at each symbol; the output gate stands at a half
    logit = 3 * 0.5 * np.tanh(0.5 * np.tanh(1.0) / 2**length)
    omega = np.exp(logit) / (np.exp(logit) + 9)
    np.testing.assert_allclose(scaffolds.rule(Handmade(model), spoken, [0], 5)["omega"], omega, rtol=1e-6)
    parts = scaffolds.decomposed(Handmade(model), spoken, [0], 5)
    np.testing.assert_allclose(parts["omega_from_alpha"], omega, rtol=1e-6)
    np.testing.assert_allclose(parts["omega_from_scaffold"], 0.1, rtol=1e-6)
    np.testing.assert_allclose(parts["interdependence"], 0, atol=1e-6)


def test_what_one_unit_remembers_flows_back_halved_by_nothing_but_its_cell():
    # without recurrent weights nothing flows from one hidden state to the next: each has its own loss only
    spoken = Language(SCALE.language(3, familiar=False, rules=20), 0)
    model = adding(spoken, 1.0)
    rows = scaffolds.gradients(Handmade(model), spoken, [0], 5)
    logits = [3 * 0.5 * np.tanh(0.5 * np.tanh(1.0) / 2**steps) for steps in range(4)]
    omega = [np.exp(logit) / (np.exp(logit) + 9) for logit in logits]
    assert rows["offset"].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(rows["of_omega"], [0, 0, 0, 3 * (1 - omega[3])], atol=1e-6)
    np.testing.assert_allclose(rows["whole"], [*(3 * p for p in omega[:3]), 3 * (1 - omega[3])], rtol=1e-5)
