"""The order of a recording, and what its plan says."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lmdynamics.models import runs
from lmthesis import recorded
from lmthesis.chapter_5 import settings as chapter_5
from lmthesis.chapter_6 import settings as chapter_6
from lmthesis.recorded import recording
from lmthesis.recorded.recording import Recording

TINY = {
    "chapter_5": replace(chapter_5.SMOKE, epochs=1, rule_epochs=1, articles=3, tokens=200),
    "chapter_6": replace(chapter_6.SMOKE, epochs=1, articles=3),
}


@pytest.fixture(scope="module")
def trained(kept):
    """What a recording of two chapters and two seeds trains and records, in its order."""
    order: list[tuple[str, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording.grid, "results", lambda function, calls: order.extend(map(said, calls)))
        patch.setattr(
            Recording, "_record", lambda self, each: order.append((each.chapter, each.scale.seeds[0]))
        )
        list(Recording(TINY).record())
    return order


def said(training):
    return training[0].about, training[0].seed


def test_of_each_seed_all_models_are_trained_then_all_chapters_measured(trained):
    slices = [each for each in trained if each[0].startswith("chapter_")]
    assert slices == [("chapter_5", 0), ("chapter_6", 0), ("chapter_5", 1), ("chapter_6", 1)]
    first = trained[: trained.index(slices[0])]
    assert {seed for _, seed in first} == {0}
    assert len(first) > 4
    assert trained[trained.index(slices[1]) + 1 : -2], "models of the second seed come after"


def test_the_longest_training_comes_first(trained):
    assert trained[0] == ("language model of wikipedia-sample", 0)


def test_models_that_chapters_share_are_trained_once():
    both = {"chapter_6": TINY["chapter_6"], "chapter_4": TINY["chapter_6"]}
    slices = [slice_ for seed in (0, 1) for slice_ in Recording(both)._of_seed(seed)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            recording, "_study", lambda chapter: recording.importlib.import_module("lmthesis.chapter_6.study")
        )
        once, twice = (recording._trainings(some) for some in (slices[::2], slices))
    assert [runs.name(*each) for each in once] == [runs.name(*each) for each in twice]


def test_of_two_lengths_of_one_model_the_longer_is_trained(kept):
    short, longer = TINY["chapter_6"], replace(TINY["chapter_6"], epochs=4)
    slices = [recording.Slice("chapter_6", replace(scale, seeds=(0,))) for scale in (short, longer)]
    main = [each for each in recording._trainings(slices) if each[0].model.units == 40]
    assert sorted(each[0].training.epochs for each in main) == [2, 4], "shuffled text, and text"


def test_a_plan_says_what_is_to_be_trained_and_what_is_there(kept, tmp_path):
    scale = replace(TINY["chapter_6"], seeds=(0, 1))
    work = Recording({"chapter_6": scale}, tmp_path)
    before = work.plan(seconds=0.0)
    wanted = recording._trainings(work._of_seed(0))
    tokens = sum(each[0].training.epochs * len(each[1].train.inputs) for each in wanted)
    row = next(line.split() for line in before.splitlines() if line.strip().startswith("chapter_6, seed 0"))
    assert row[3:6] == ["no", str(len(wanted)), f"{tokens:,}"]
    assert f"In all {2 * len(wanted)} models, {2 * tokens:,} tokens" in before
    assert before.endswith("Measuring comes on top.")
    runs.train(*wanted[0])
    less = work.plan(seconds=0.0)
    assert f"In all {2 * len(wanted) - 1} models" in less


def test_a_plan_names_what_is_kept_and_by_which_code(kept, tmp_path, monkeypatch):
    scale = replace(TINY["chapter_6"], seeds=(0,))
    home = tmp_path / "chapter_6-smoke" / "seed-0"
    home.mkdir(parents=True)
    about = {
        "settings": recorded._plain(recorded.asdict(scale)),
        "code": "old",
        "seconds": 30,
        "seconds_of_training": 60,
    }
    (home / "about.json").write_bytes(recorded._sealed(about, {}))
    plan = Recording({"chapter_6": scale}, tmp_path).plan(seconds=0.0)
    assert "chapter_6, seed 0 yes, by other code" in plan
    assert "In all 0 models, 0 tokens, 0.0 hours" in plan
    assert "in what is recorded, 50 % of the hours of training" in plan
    monkeypatch.setattr(recorded, "code_fingerprint", lambda function: "old")
    assert "chapter_6, seed 0  yes " in Recording({"chapter_6": scale}, tmp_path).plan(seconds=0.0)
    assert json.loads((home / "about.json").read_text())["code"] == "old"


KILLED = """
import os, signal, sys
from pathlib import Path
import joblib
from lmdynamics.ground import grid
sys.path.insert(0, {tests!r})
from test_recording import TINY, Recording, one_seed
left = {jobs}
keep = grid._keep
def count(*job):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    keep(*job)
grid._keep = count
with joblib.parallel_config("sequential"):
    list(Recording(one_seed(), Path({folder!r})).record())
"""


def one_seed():
    """A chapter at a tiny scale with one seed."""
    return {"chapter_6": replace(TINY["chapter_6"], seeds=(0,))}


def numbers(folder):
    """The tables of a recording, without what says when and how long."""
    tables = recorded.load("chapter_6", one_seed()["chapter_6"], folder).tables
    return {
        name: table.loc[:, ~table.columns.str.contains("seconds")].to_csv(index=False)
        for name, table in tables.items()
        if name != "ran"
    }


def test_two_recordings_are_equal_to_the_bit_though_one_was_killed_in_the_middle(tmp_path, monkeypatch):
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        monkeypatch.setenv("LMDYNAMICS_CACHE", str(folder / "cache"))
        if folder.name == "killed":
            script = KILLED.format(tests=str(Path(__file__).parent), jobs=3, folder=str(folder / "results"))
            process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
            assert process.returncode == -signal.SIGKILL, process.stderr
            assert len(list((folder / "cache" / "tables").glob("*/job.json"))) == 3
            assert not list(folder.rglob("about.json"))
        list(Recording(one_seed(), folder / "results").record())
    whole, killed = (numbers(folder / "results") for folder in folders)
    assert whole == killed
    assert "rho" in whole
