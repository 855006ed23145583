import json
import math
import threading
from dataclasses import replace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from conftest import never

from lmdynamics.ground.provenance import reached
from lmdynamics.models import runs, training
from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.models.runs import Run, RunError, RunSettings
from lmdynamics.models.together import company, steps, ways
from lmdynamics.models.together.captured import Captured
from lmdynamics.models.together.company import Company
from lmdynamics.models.together.single import Single
from lmdynamics.models.together.stack import Stack
from lmdynamics.models.together.steps import Pass
from lmdynamics.models.training import TrainingError, TrainingSettings
from lmdynamics.text.streams import Examples, Parts

WORDS = [f"word{n}" for n in range(20)]
TAGS = ["a", "b", "c"]
SHAPE = ModelSettings(layers=2, units=8, dropout=0.0)
HOW = TrainingSettings(epochs=3, batch=5, steps_back=4, learning_rate=5.0)
RATES = (5.0, 1.25, 0.3)
ONE_BY_ONE = ("streams", "graphs")


def text(seed, tokens=148, classes=20):
    """In each of five streams 29 tokens: seven whole steps and one of a token; three are left over."""
    rng = np.random.default_rng(seed)
    return Examples(rng.integers(0, len(WORDS), tokens), rng.integers(0, classes, tokens))


def models(number, shape=SHAPE, classes=20):
    return [RecurrentModel(shape, words=len(WORDS), classes=classes, seed=seed) for seed in range(number)]


def passes(models, *, how=HOW, classes=20, after_step=lambda tokens: None, tokens=148):
    return [
        Pass(model, text(at, tokens, classes), how, 70 + at, RATES[at], after_step)
        for at, model in enumerate(models)
    ]


def alone(each, monkeypatch):
    """What `training.steps` makes of a pass: the losses of its steps."""
    monkeypatch.setattr(training, "_epoch_seed", lambda seed, epoch: seed)
    taken = training.steps(each.model, each.examples, each.settings, seed=each.seed, epoch=1, rate=each.rate)
    return [step.loss.item() for step in taken]


def grouped(way, members):
    """The passes of a way in the groups that take their steps at once."""
    return [[each] for each in members] if way in ONE_BY_ONE else [members]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("shape", [SHAPE, replace(SHAPE, layers=1)], ids=["two layers", "one layer"])
@pytest.mark.parametrize("tokens", [148, 15], ids=["eight steps", "one step"])
@pytest.mark.parametrize("way", ways.WAYS)
def test_an_epoch_of_every_way_equals_the_steps_of_each_model_alone(way, tokens, shape, dropout, monkeypatch):
    shape = replace(shape, dropout=dropout)
    ours, theirs = models(3, shape, 3), models(3, shape, 3)
    losses = []
    for group in grouped(way, passes(ours, classes=3, tokens=tokens)):
        losses += Company(ways.WAYS[way])._epoch(group)
    for each, twin, loss in zip(ours, passes(theirs, classes=3, tokens=tokens), losses, strict=True):
        assert loss == pytest.approx(sum(alone(twin, monkeypatch)) / (tokens // 5 * 5), rel=1e-6)
        for (name, got), wanted in zip(each.named_parameters(), twin.model.parameters(), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6, msg=name)
    untrained = models(1, shape, 3)[0]
    assert not torch.allclose(untrained.decoder.weight, ours[0].decoder.weight, atol=1e-3)


@pytest.mark.parametrize("way", ways.WAYS)
def test_weights_are_those_of_the_step_when_a_step_is_told(way):
    members, seen = models(2), []

    def look(tokens):
        seen.append((tokens, *(model.decoder.bias.detach().clone() for model in members)))

    for group in grouped(way, passes(members, after_step=look)):
        Company(ways.WAYS[way])._epoch(group)
    assert {tokens for tokens, *_ in seen} == {20, 5}
    told = [first for _, first, _ in seen]
    assert not torch.equal(told[0], torch.zeros(20))
    assert torch.equal(told[-1], members[0].decoder.bias)
    assert len({tuple(bias.tolist()) for bias in told}) == 8


@pytest.mark.parametrize("way", ways.WAYS)
def test_weights_stay_where_they_are_in_memory(way):
    """A GPU's LSTM wants them side by side."""
    members = models(2)
    before = [each.data_ptr() for model in members for each in model.parameters()]
    for group in grouped(way, passes(members)):
        Company(ways.WAYS[way])._epoch(group)
    assert [each.data_ptr() for model in members for each in model.parameters()] == before


def test_what_the_steps_never_do_is_wait_for_the_device(monkeypatch):
    """Each of these would bring a number, or a size that depends on numbers, to the host."""
    members = models(2, replace(SHAPE, dropout=0.3))
    group = passes(members)
    waits = (
        "item",
        "tolist",
        "cpu",
        "numpy",
        "nonzero",
        "unique",
        "coalesce",
        "__bool__",
        "__float__",
        "__int__",
    )
    for way in ways.WAYS:
        for part in grouped(way, group):
            taken = ways.WAYS[way]([each.model for each in part], HOW)
            taken.begin(part)
            taken.reset(part)
            words = torch.zeros(len(part), 4, 5, dtype=torch.int64)
            with monkeypatch.context() as patch:
                for name in waits:
                    patch.setattr(torch.Tensor, name, never)
                taken.step(words, words)
            taken.finish()


class Graph:
    """In place of a CUDA graph: takes the step that was captured again, on the memory of the capture."""

    def __init__(self):
        self.replays, self.registered = 0, []

    def register_generator_state(self, generator):
        self.registered.append(generator)

    def replay(self):
        self.replays += 1
        self.step()


def test_a_capture_leaves_no_trace_and_replays_are_the_steps_themselves(monkeypatch):
    """With all of CUDA replaced but for the order in which it is called."""
    shape = replace(SHAPE, dropout=0.3)
    (ours,), (theirs,) = models(1, shape), models(1, shape)
    steps_of = Captured(Single([ours], HOW))
    graph, cuda = Graph(), MagicMock()
    graph.step = lambda: steps_of._steps.step(steps_of._words, steps_of._targets)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True, raising=False)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    for name in ("Stream", "stream", "current_stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, cuda)
    (loss,) = Company(lambda models, how: steps_of)._epoch(passes([ours]))
    monkeypatch.undo()
    assert (graph.replays, graph.registered) == (7, list(steps_of.generators)), "the eighth step is shorter"
    (twin_loss,) = Company(ways.streams)._epoch(passes([theirs]))
    assert loss == twin_loss
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_large_logits_cost_no_precision():
    hidden, weight = 300 * torch.randn(2, 6, 4), torch.randn(2, 5, 4, requires_grad=True)
    hidden.requires_grad_()
    bias, targets = torch.randn(2, 5, requires_grad=True), torch.randint(5, (2, 6))
    ours = steps.decoded(hidden.detach(), weight.detach(), bias.detach(), targets)
    for at in range(2):
        logits = (hidden @ weight.mT + bias[:, None])[at]
        mean = torch.nn.functional.cross_entropy(logits, targets[at])
        assert ours.losses[at].item() == pytest.approx(6 * mean.item(), rel=1e-6)
        wanted = torch.autograd.grad(mean, (hidden, weight, bias))
        for got, part in zip(ours[1:], wanted, strict=True):
            torch.testing.assert_close(got[at], part[at], rtol=1e-5, atol=1e-5)


def test_bfloat16_learns_about_what_float32_learns():
    for way in ways.WAYS:
        after = []
        for bf16 in (False, True):
            members = models(2)
            for group in grouped(way, passes(members, how=replace(HOW, bf16=bf16))):
                Company(ways.WAYS[way])._epoch(group)
            after.append(members[1].decoder.weight.detach())
        start = models(2)[1].decoder.weight.detach()
        gap, way_gone = (after[1] - after[0]).norm(), (after[0] - start).norm()
        assert 0 < gap < 0.1 * way_gone, way


# Runs on disk.


def language_model(seed=0, **changes):
    tokens = changes.pop("tokens", 148)
    how = replace(HOW, **changes)
    settings = RunSettings(
        model=replace(SHAPE, dropout=0.2),
        training=how,
        words=WORDS,
        classes=WORDS,
        seed=seed,
        about="random words",
        snapshots=True,
    )
    return settings, Parts(text(10 + seed, tokens), text(20, 60), text(21, 60))


def tagger(seed=0, tags=TAGS):
    settings, _ = language_model(seed)
    model = replace(settings.model, layers=1)
    parts = Parts(*(text(at + seed, n, len(tags)) for at, n in ((30, 148), (40, 60))))
    return replace(settings, model=model, classes=tags, about="tagger"), parts


JOBS = [language_model(0), language_model(1), tagger(0), tagger(1), tagger(2, [*TAGS, "d"])]


def contents(run):
    return {path.name: path.read_bytes() for path in run.folder.glob("*.safetensors")}


@pytest.mark.parametrize("way", ways.WAYS)
def test_every_way_leaves_runs_with_the_files_and_numbers_of_runs_trained_alone(way, tmp_path):
    together = ways.train(JOBS, way=way, folder=tmp_path / "a", device="cpu")
    for job, run in zip(JOBS, together, strict=True):
        twin = runs.train(*job, folder=tmp_path / "b", device="cpu")
        assert {path.name for path in run.folder.iterdir()} == {path.name for path in twin.folder.iterdir()}
        assert run.checkpoints() == twin.checkpoints()
        assert len(run.checkpoints()) == 4 + 3, "snapshots after 1, 2 and 4 of 8 steps"
        for name in ("train_loss", "dev_loss", "learning_rate", "steps", "rescaled"):
            assert run.log[name].tolist() == pytest.approx(twin.log[name].tolist(), rel=1e-5, nan_ok=True)
        for moment in run.checkpoints():
            for got, wanted in zip(run.at(moment).parameters(), twin.at(moment).parameters(), strict=True):
                torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", ways.WAYS)
def test_runs_go_on_from_their_last_whole_epoch_to_the_same_bits(way, tmp_path):
    whole = ways.train(JOBS, way=way, folder=tmp_path / "a", device="cpu")
    once = [(replace(s, training=replace(s.training, epochs=1)), parts) for s, parts in JOBS]
    for jobs in (once, JOBS):
        halted = ways.train(jobs, way=way, folder=tmp_path / "b", device="cpu")
    assert [contents(run) for run in halted] == [contents(run) for run in whole]
    for run in whole[:2]:  # the last bits depend on how many models are stacked
        run.path(2).unlink()
    again = ways.train(JOBS, way=way, folder=tmp_path / "a", device="cpu")
    assert [contents(run) for run in again] == [contents(run) for run in halted]


def test_a_run_says_which_way_trained_it_and_each_way_has_runs_of_its_own(tmp_path):
    names = {runs.name(*JOBS[0])}
    for way in ways.WAYS:
        (run,) = ways.train(JOBS[:1], way=way, folder=tmp_path, device="cpu")
        assert run.settings["way"] == f"lmdynamics.models.together.ways.{way}"
        assert run.settings["code"] == Company(ways.WAYS[way]).code
        names.add(run.fingerprint)
    assert len(names) == 4


def test_models_that_differ_in_epochs_finish_when_they_finish(tmp_path):
    jobs = [language_model(0, epochs=1), language_model(1, epochs=3), language_model(2, epochs=2)]
    for way in ways.WAYS:
        trained = ways.train(jobs, way=way, folder=tmp_path, device="cpu")
        assert [len(run.epochs) for run in trained] == [2, 4, 3]


def test_equal_models_are_stacked_and_others_are_not(tmp_path, monkeypatch):
    sizes = []

    def counted(models, settings):
        sizes.append(len(models))
        return Stack(models, settings)

    monkeypatch.setattr(ways, "Stack", counted)
    ways.train(JOBS, way="stacked", folder=tmp_path, device="cpu")
    assert sorted(sizes) == [1, 2, 2]


def test_equal_jobs_are_trained_once(tmp_path):
    first, second = ways.train([JOBS[0], JOBS[0]], way="stacked", folder=tmp_path, device="cpu")
    assert first.folder == second.folder
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize("way", ways.WAYS)
def test_when_time_is_up_whole_epochs_are_kept_and_training_goes_on_another_time(way, tmp_path, monkeypatch):
    whole = ways.train(JOBS[:2], way=way, folder=tmp_path / "a", device="cpu")
    moments, lock = iter(range(10**6)), threading.Lock()

    class Clock:
        @staticmethod
        def monotonic():
            with lock:
                return next(moments)

        perf_counter = staticmethod(training.time.perf_counter)

    monkeypatch.setattr(company, "time", Clock)
    monkeypatch.setattr(ways, "time", Clock)
    # of the two models one after another 48 steps are asked for, of the stack 24
    halted = ways.train(JOBS[:2], way=way, folder=tmp_path / "b", device="cpu", minutes=10 / 60)
    assert sum(len(run.epochs) for run in halted) < 8
    assert all(len(run.epochs) >= 1 for run in halted)
    assert all(Run(run.folder).model() for run in halted)
    monkeypatch.undo()
    resumed = ways.train(JOBS[:2], way=way, folder=tmp_path / "b", device="cpu")
    assert [contents(run) for run in resumed] == [contents(run) for run in whole]


def test_a_checkpoint_that_there_is_no_time_to_make_again_is_an_error(tmp_path):
    (run,) = ways.train(JOBS[:1], way="streams", folder=tmp_path, device="cpu")
    run.path(2).unlink()
    with pytest.raises(RunError, match="could not be made again in the time that was given"):
        ways.train(JOBS[:1], way="streams", folder=tmp_path, device="cpu", minutes=-1.0)


@pytest.mark.parametrize("way", ways.WAYS)
def test_a_model_that_fails_is_an_error_after_the_others_are_trained(way, tmp_path):
    broken = language_model(5, learning_rate=1e38, clip=1e38)
    with pytest.raises(TrainingError, match=r"loss of epoch 1 is (nan|inf)"):
        ways.train([broken, *JOBS[:2]], way=way, folder=tmp_path, device="cpu")
    names = [runs.name(*job, way=Company(ways.WAYS[way])) for job in (broken, *JOBS[:2])]
    assert [len(Run(tmp_path / name).epochs) for name in names] == [1, 4, 4]


def test_an_error_within_the_steps_of_a_stack_reaches_all_its_models_and_none_waits_for_ever(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(steps, "descend", never)
    monkeypatch.setattr("lmdynamics.models.together.stack.descend", never)
    with pytest.raises(AssertionError, match="nothing is left to compute"):
        ways.train(JOBS[:2], way="stacked", folder=tmp_path, device="cpu")


def test_an_unknown_way_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match="one of streams, graphs, stacked, got 'graph'"):
        ways.train([], way="graph")


def test_what_is_trained_already_is_not_trained_again(tmp_path, monkeypatch):
    before = ways.train(JOBS, way="stacked", folder=tmp_path, device="cpu")
    monkeypatch.setattr(Company, "epochs", never)
    after = ways.train(JOBS, way="stacked", folder=tmp_path, device="cpu")
    assert [run.folder for run in after] == [run.folder for run in before]


def test_ways_leave_the_names_of_other_runs_as_they_were(tmp_path):
    run = runs.train(*JOBS[0], folder=tmp_path)
    settings = json.loads((run.folder / "settings.json").read_text())
    assert "way" not in settings
    assert math.isfinite(run.epochs[-1].dev_loss)


def test_the_code_of_a_way_is_its_own_steps_and_no_way_is_in_the_code_of_training():
    own = {"streams": {"single"}, "graphs": {"single", "captured"}, "stacked": {"stack", "captured"}}
    for way, steps_of in ways.WAYS.items():
        modules = {each.module.rpartition(".")[2] for each in reached(Company, steps_of)}
        assert modules & {"single", "stack", "captured"} == own[way]
        assert modules >= {"steps", "company", "losses", "recurrent", "streams"}
    assert not any("together" in each.module for each in reached(training.epochs))
