import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import never

from lmdynamics.ground import storage
from lmdynamics.ground.storage import StorageError
from lmdynamics.models import runs
from lmdynamics.models.recurrent import ModelSettings
from lmdynamics.models.runs import Run, RunError, RunSettings
from lmdynamics.models.training import TrainingError, TrainingSettings
from lmdynamics.text.streams import Examples, Parts

WORDS = [f"word{n}" for n in range(20)]
SETTINGS = RunSettings(
    model=ModelSettings(layers=1, units=8),
    training=TrainingSettings(epochs=3, batch=5, steps_back=4, learning_rate=5.0),
    words=WORDS,
    classes=WORDS,
    about="random words",
)


def random_parts(tokens=600, seed=0):
    rng = np.random.default_rng(seed)
    return Parts(*(Examples.next_word(rng.integers(0, len(WORDS), n)) for n in (tokens, 60, 60)))


PARTS = random_parts()


def epochs(number, settings=SETTINGS):
    return replace(settings, training=replace(settings.training, epochs=number))


def contents(run):
    return {path.name: path.read_bytes() for path in run.folder.glob("epoch-*.safetensors")}


@pytest.fixture
def run(tmp_path):
    return runs.train(SETTINGS, PARTS, folder=tmp_path)


def test_a_run_holds_one_checkpoint_per_epoch_and_the_untrained_one(run):
    assert sorted(contents(run)) == [f"epoch-00{n}.safetensors" for n in range(4)]
    assert run.log["epoch"].tolist() == [0, 1, 2, 3]
    assert run.vocabulary == tuple(WORDS)
    assert not list(run.folder.glob(".*")), "nothing half-written is left"


def test_the_same_settings_are_never_trained_twice(run, tmp_path, monkeypatch):
    monkeypatch.setattr(runs.training, "_train_epoch", never)
    assert runs.train(SETTINGS, PARTS, folder=tmp_path).folder == run.folder


def test_more_epochs_extend_a_run_and_end_as_if_trained_at_once(tmp_path):
    short = runs.train(epochs(1), PARTS, folder=tmp_path / "a")
    longer = runs.train(epochs(3), PARTS, folder=tmp_path / "a")
    whole = runs.train(epochs(3), PARTS, folder=tmp_path / "b")
    assert short.folder == longer.folder
    assert contents(longer) == contents(whole)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        (replace(SETTINGS, seed=1), PARTS),
        (replace(SETTINGS, model=ModelSettings(layers=1, units=9)), PARTS),
        (replace(SETTINGS, words=[*WORDS, "another"]), PARTS),
        (SETTINGS, random_parts(seed=1)),
    ],
)
def test_whatever_decides_the_weights_names_another_run(run, settings, parts, tmp_path):
    assert runs.train(settings, parts, folder=tmp_path).folder != run.folder


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_runs
from lmdynamics.models import runs
wait = {after}
def count(*arguments, **options):
    global wait
    wait -= 1
    if wait < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)
real = {patched}
{patched} = count
runs.train(test_runs.SETTINGS, test_runs.PARTS, folder=Path({folder!r}))
"""


@pytest.mark.parametrize(
    ("patched", "after"),
    [
        ("runs.training._descend", 40),  # in the middle of an epoch
        ("Path.replace", 2),  # between writing the vocabulary and a checkpoint
        ("Path.replace", 5),  # between writing a checkpoint and its row in the log
        ("os.fsync", 6),  # in the middle of writing a file
    ],
)
def test_a_killed_run_goes_on_and_ends_in_the_same_bits(run, tmp_path, patched, after):
    folder = tmp_path / "killed"
    script = KILLED.format(tests=str(Path(__file__).parent), after=after, patched=patched, folder=str(folder))
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    resumed = runs.train(SETTINGS, PARTS, folder=folder)
    assert contents(resumed) == contents(run)
    assert not list(resumed.folder.glob(".*")), "nothing half-written is left"
    assert [e.dev_loss for e in resumed.epochs] == [e.dev_loss for e in run.epochs]


WAITING = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_runs
from lmdynamics.models import runs
trained = 0
real = runs._append
def append(*arguments):
    global trained
    trained += 1
    return real(*arguments)
runs._append = append
runs.train(test_runs.epochs(6), test_runs.random_parts(20_000), folder=Path({folder!r}))
print(trained)
"""


def test_of_two_processes_that_ask_for_a_run_one_trains_and_the_other_reads(tmp_path):
    script = WAITING.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    pair = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(2)]
    trained = sorted(int(process.communicate(timeout=120)[0]) for process in pair)
    assert trained == [0, 7]


def test_threads_that_ask_for_a_run_at_once_all_get_it(tmp_path):
    begin = threading.Barrier(4)

    def ask(seed):
        begin.wait()
        return runs.train(replace(epochs(1), seed=seed), PARTS, folder=tmp_path).folder

    with ThreadPoolExecutor(4) as threads:
        assert [len(set(threads.map(ask, [seed] * 4))) for seed in range(5)] == [1] * 5


def test_a_loaded_model_gives_the_loss_that_the_log_says(run):
    model = run.model(2)
    loss = runs.training.mean_loss(model, PARTS.dev)
    assert loss == run.epochs[2].dev_loss


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b""])
def test_a_damaged_checkpoint_is_an_error_that_names_it(run, damage):
    path = run.path(2)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunError, match=r"epoch-002\.safetensors is damaged"):
        run.model(2)
    run.model(1)


def test_a_damaged_last_checkpoint_stops_the_run_from_going_on(run, tmp_path):
    run.path(3).write_bytes(b"nonsense")
    with pytest.raises(RunError, match=r"epoch-003\.safetensors is damaged"):
        runs.train(epochs(5), PARTS, folder=tmp_path)


def test_a_missing_checkpoint_is_an_error_that_names_it(run):
    run.path(1).unlink()
    with pytest.raises(RunError, match=r"epoch-001\.safetensors is missing"):
        run.model(1)


@pytest.mark.parametrize("epochs_lost", [[2], [0], [3], [1, 2]])
def test_a_checkpoint_that_is_deleted_is_made_again_to_the_same_bits(run, tmp_path, epochs_lost):
    before, log = contents(run), (run.folder / "log.json").read_bytes()
    run.path(epochs_lost[0]).write_bytes(b"nonsense")
    with pytest.raises(RunError, match=r"is damaged: .*; delete it, and train the run once more"):
        run.model(epochs_lost[0])
    for epoch in epochs_lost:
        run.path(epoch).unlink()
    runs.train(SETTINGS, PARTS, folder=tmp_path)
    assert contents(run) == before
    assert (run.folder / "log.json").read_bytes() == log


def test_only_what_is_asked_for_is_made_again(run, tmp_path, monkeypatch):
    run.path(3).unlink()
    monkeypatch.setattr(runs.training, "_train_epoch", never)
    runs.train(epochs(2), PARTS, folder=tmp_path)


def test_a_checkpoint_that_is_made_again_with_other_bits_is_not_kept(run, tmp_path, monkeypatch):
    run.path(2).unlink()
    descend = runs.training._descend
    monkeypatch.setattr(runs.training, "_descend", lambda *a, **k: descend(*a, **{**k, "rate": 1.0}))
    with pytest.raises(
        RunError, match=r"epoch-002\.safetensors was made again with other bits than log\.json"
    ):
        runs.train(SETTINGS, PARTS, folder=tmp_path)
    assert not run.path(2).exists()


@pytest.mark.parametrize("name", ["settings.json", "vocabulary.txt"])
def test_settings_and_vocabulary_that_are_deleted_are_written_again(run, tmp_path, name):
    before = (run.folder / name).read_bytes()
    (run.folder / name).unlink()
    runs.train(SETTINGS, PARTS, folder=tmp_path)
    assert (run.folder / name).read_bytes() == before


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("log.json", lambda text: "{"),
        ("log.json", lambda text: "{}"),
        ("log.json", lambda text: '[{"epoch": 0}]'),
        ("settings.json", lambda text: "{"),
        ("settings.json", lambda text: text.replace('"seed": 0', '"seed": 5')),
    ],
)
def test_damaged_settings_and_logs_are_errors_that_name_them(run, name, damage, tmp_path):
    path = run.folder / name
    path.write_text(damage(path.read_text()))
    with pytest.raises(RunError, match=f"{name} is damaged"):
        runs.train(epochs(5), PARTS, folder=tmp_path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda rows: rows[1].update(dev_loss=0.0),
        lambda rows: rows[1].update(dev_loss="low"),
        lambda rows: rows[1].update(rescaled=not rows[1]["rescaled"]),
        lambda rows: rows.pop(1),
        lambda rows: rows.reverse(),
    ],
)
def test_a_log_that_was_edited_is_an_error_that_names_it(run, edit, tmp_path):
    log = run.folder / "log.json"
    rows = json.loads(log.read_text())
    edit(rows)
    log.write_text(json.dumps(rows))
    with pytest.raises(RunError, match=r"log\.json is damaged \(row . or one before it"):
        runs.train(epochs(5), PARTS, folder=tmp_path)


def test_a_run_whose_rows_have_no_hash_goes_on_and_its_next_row_is_of_all_before(run, tmp_path):
    log = run.folder / "log.json"
    rows = json.loads(log.read_text())
    log.write_text(json.dumps([{k: v for k, v in row.items() if k != "so_far"} for row in rows]))
    runs.train(epochs(4), PARTS, folder=tmp_path)
    log.write_text(log.read_text().replace('"epoch": 0', '"epoch": 1'))
    with pytest.raises(RunError, match=r"log\.json is damaged \(row 4 or one before"):
        Run(run.folder)


@pytest.mark.parametrize("damage", [lambda path: path.write_text("a\nb\n"), Path.unlink])
def test_a_damaged_or_missing_vocabulary_is_an_error_that_names_it(run, damage):
    damage(run.folder / "vocabulary.txt")
    with pytest.raises(RunError, match=r"vocabulary\.txt is damaged"):
        _ = run.vocabulary


def test_words_keep_every_sign_that_some_take_for_the_end_of_a_line(tmp_path):
    words = [f"a\x85{n}\u2028" for n in range(20)]
    assert runs.train(replace(epochs(0), words=words), PARTS, folder=tmp_path).vocabulary == tuple(words)
    with pytest.raises(ValueError, match="a word has no line break in it"):
        runs.train(replace(SETTINGS, words=[*WORDS[:-1], "a\nb"]), PARTS, folder=tmp_path)


WITH_SNAPSHOTS = replace(SETTINGS, snapshots=True)
SNAPSHOTS = [1, 2, 4, 8, 16]  # of 30 steps: 119 tokens in each of 5 streams, 4 at a time


def kept(run):
    return contents(run) | {path.name: path.read_bytes() for path in run.folder.glob("step-*")}


def test_snapshots_are_the_model_after_powers_of_two_of_steps_within_the_first_epoch(run, tmp_path):
    other = runs.train(WITH_SNAPSHOTS, PARTS, folder=tmp_path)
    assert other.folder == run.folder, "what is kept is no part of what is trained"
    model, states = run.model(0), {}
    steps = runs.training.steps(model, PARTS.train, SETTINGS.training, seed=0, epoch=1, rate=5.0)
    for number, _ in enumerate(steps, start=1):
        states[number] = {name: value.clone() for name, value in model.state_dict().items()}
    assert len(states) == 30
    early = [each for each in other.checkpoints() if 0 < each.epoch < 1]
    assert [each.step for each in early] == SNAPSHOTS
    for each in early:
        for name, value in other.at(each).state_dict().items():
            assert torch.equal(value, states[each.step][name])


def test_checkpoints_say_how_much_was_read(tmp_path):
    run = runs.train(WITH_SNAPSHOTS, PARTS, folder=tmp_path)
    early = [(step * 20 / 595, step, step * 20) for step in SNAPSHOTS]
    late = [(epoch, 30 * epoch, 595 * epoch) for epoch in (1, 2, 3)]
    assert [tuple(each) for each in run.checkpoints()] == [(0, 0, 0), *early, *late]
    assert run.checkpoints(1) == run.checkpoints()[:7]
    assert run.checkpoints(0) == run.checkpoints()[:1]
    assert torch.equal(run.at(run.checkpoints()[-1]).decoder.weight, run.model(3).decoder.weight)
    plain = runs.train(SETTINGS, PARTS, folder=tmp_path / "plain")
    assert [each.epoch for each in plain.checkpoints()] == [0, 1, 2, 3]


@pytest.mark.parametrize("lost", [SNAPSHOTS, [1], [16], ["json"]])
def test_snapshots_that_are_not_there_are_made_again_to_the_same_bits(tmp_path, lost):
    run = runs.train(WITH_SNAPSHOTS, PARTS, folder=tmp_path)
    before = kept(run)
    for step in lost:
        (run.folder / "snapshots.json" if step == "json" else run.snapshot_path(step)).unlink()
    assert kept(runs.train(WITH_SNAPSHOTS, PARTS, folder=tmp_path)) == before


def test_a_run_without_snapshots_gets_them_when_they_are_asked_for(run, tmp_path):
    whole = kept(runs.train(WITH_SNAPSHOTS, PARTS, folder=tmp_path / "whole"))
    assert kept(runs.train(WITH_SNAPSHOTS, PARTS, folder=tmp_path)) == whole


@pytest.mark.parametrize("after", [5, 9, 10])  # before the second snapshot, their hashes, the epoch
def test_a_run_that_is_killed_between_snapshots_ends_in_the_same_bits(tmp_path, after):
    run, folder = runs.train(WITH_SNAPSHOTS, PARTS, folder=tmp_path), tmp_path / "killed"
    script = KILLED.format(
        tests=str(Path(__file__).parent), after=after, patched="Path.replace", folder=str(folder)
    ).replace("test_runs.SETTINGS", "test_runs.WITH_SNAPSHOTS")
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    resumed = runs.train(WITH_SNAPSHOTS, PARTS, folder=folder)
    assert kept(resumed) == kept(run)
    assert resumed.checkpoints() == run.checkpoints()


def test_a_damaged_or_missing_snapshot_is_an_error_that_names_it(tmp_path):
    run = runs.train(WITH_SNAPSHOTS, PARTS, folder=tmp_path)
    second = run.checkpoints()[2]
    content = bytearray(run.snapshot_path(2).read_bytes())
    content[-1] ^= 1
    run.snapshot_path(2).write_bytes(content)
    with pytest.raises(RunError, match=r"step-0000002.safetensors is damaged.*snapshots.json; delete it"):
        run.at(second)
    run.snapshot_path(2).unlink()
    with pytest.raises(RunError, match=r"step-0000002.safetensors is missing"):
        run.at(second)
    with pytest.raises(RunError, match="snapshots after 1, 2, 4, 8, 16 steps, got 3"):
        run.at(second._replace(step=3))


def test_an_epoch_that_was_not_trained_is_an_error(run):
    with pytest.raises(RunError, match="has epochs 0 to 3, got 4"):
        run.model(4)


def test_another_vocabulary_is_an_error(run):
    run.model(words=WORDS)
    with pytest.raises(RunError, match="vocabulary of 20 words, got another, of 20"):
        run.model(words=WORDS[::-1])


def test_ids_outside_the_vocabulary_are_refused(tmp_path):
    with pytest.raises(ValueError, match="train inputs need ids from 0 to 9, got 0 to 19"):
        runs.train(replace(SETTINGS, words=WORDS[:10]), PARTS, folder=tmp_path)


def test_parts_that_cannot_be_read_are_refused_before_anything_is_kept(tmp_path):
    train, dev, test = PARTS
    for parts, message in (
        (Parts(train, Examples(dev.inputs, dev.targets[:-1])), "the dev part needs a target for each input"),
        (Parts(Examples(train.inputs[:4], train.targets[:4]), dev, test), "needs at least 5 tokens, got 4"),
    ):
        with pytest.raises(ValueError, match=message):
            runs.train(SETTINGS, parts, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_error_that_keeps_the_epochs_before(run, tmp_path, monkeypatch):
    before = contents(run)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"epoch-004\.safetensors \(No space left on device\)"):
        runs.train(epochs(5), PARTS, folder=tmp_path)
    monkeypatch.undo()
    assert contents(run) == before
    assert not list(run.folder.glob(".*"))
    assert len(runs.train(epochs(5), PARTS, folder=tmp_path).epochs) == 6


def test_a_loss_that_is_not_finite_keeps_the_epochs_before(run, tmp_path):
    last, model = run.epochs[-1], run.model()
    with torch.no_grad():
        model.decoder.bias[0] = float("nan")
    run._log.pop()
    runs._append(run, last, model)
    with pytest.raises(TrainingError, match="loss of epoch 4 is nan"):
        runs.train(epochs(5), PARTS, folder=tmp_path)
    assert len(Run(run.folder).epochs) == 4
    Run(run.folder).model(2)


def test_waiting_for_the_lock_is_reported(run, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(storage, "report", lines.append)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from filelock import FileLock; import time\n"
            f"with FileLock({str(run.folder / 'lock')!r}): print('held', flush=True); time.sleep(4)",
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"held\n"
    begun = time.monotonic()
    runs.train(epochs(4), PARTS, folder=tmp_path)
    assert time.monotonic() - begun > 1
    assert lines[0].startswith("random words, seed 0: waiting for another process")
    holder.communicate()
