import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib.metadata import packages_distributions

import numpy as np
import pytest
import torch
from conftest import closure

from lmdynamics.models import runs
from lmdynamics.models.recurrent import ModelSettings
from lmdynamics.models.runs import Run, RunSettings
from lmdynamics.models.together import __main__ as runner
from lmdynamics.models.together import packing
from lmdynamics.models.together.company import Company
from lmdynamics.models.together.packing import PackError
from lmdynamics.models.together.ways import WAYS
from lmdynamics.models.training import TrainingSettings
from lmdynamics.text.streams import Examples, Parts
from lmthesis import packed
from lmthesis.chapter_4 import study

WORDS = tuple(f"wörd\x85{n}" for n in range(300))
TAGS = ("a", "b\u2028", "")
GPU_MACHINE = ["torch", "numpy", "scipy", "pandas", "pyarrow", "safetensors", "joblib"]
"""What a machine with a GPU has."""
CARRIED = ["jaxtyping", "filelock", "platformdirs"]
"""What the core needs beside that: small packages of Python alone, which travel with it."""


def language_model(seed=0, tokens=151, corpus=0):
    rng = np.random.default_rng(corpus)
    ids = (rng.integers(0, len(WORDS), n).astype(np.int32) for n in (tokens, 61, 61))
    settings = RunSettings(
        model=ModelSettings(layers=2, units=8),
        training=TrainingSettings(epochs=2, batch=5, steps_back=4, learning_rate=5.0),
        words=WORDS,
        classes=WORDS,
        seed=seed,
        about="random wörds",
        snapshots=True,
    )
    return settings, Parts(*map(Examples.next_word, ids))


def tagger(seed=0):
    settings, parts = language_model(seed)
    model = replace(settings.model, layers=1)
    tagged = (
        Examples(each.inputs, np.random.default_rng(seed).integers(0, 3, len(each.inputs)))
        for each in parts[:2]
    )
    return replace(settings, model=model, classes=TAGS, about="tagger", snapshots=False), Parts(*tagged)


JOBS = [language_model(0), language_model(1), tagger(0), tagger(1)]


def test_what_is_read_is_what_was_packed_and_names_the_same_runs(tmp_path):
    packing.pack(JOBS, tmp_path / "pack")
    there = packing.read(tmp_path / "pack")
    assert [settings for settings, _ in there] == [settings for settings, _ in JOBS]
    for (_, got), (_, wanted) in zip(there, JOBS, strict=True):
        for ours, theirs in zip(got, wanted, strict=True):
            assert (ours is None) == (theirs is None)
            for column, other in zip(ours or (), theirs or (), strict=True):
                assert column.dtype == other.dtype
                assert np.array_equal(column, other)
    for way in (None, *map(Company, WAYS.values())):
        names = [runs.name(*job, way=way) for job in there]
        assert names == [runs.name(*job, way=way) for job in JOBS]
        assert len(set(names)) == 4


def test_each_distinct_text_is_packed_once_and_as_the_smallest_integers(tmp_path):
    packing.pack(JOBS, tmp_path / "pack")
    with zipfile.ZipFile(tmp_path / "pack") as archive:
        columns = {name: np.load(archive.open(name)) for name in archive.namelist() if name.endswith(".npy")}
    by_type = {}
    for column in columns.values():
        by_type.setdefault(column.dtype.name, []).append(len(column))
    # the text of both language models, what taggers read of it, and the tags of each
    assert by_type == {"uint16": [151, 61, 61, 150, 60], "uint8": [150, 60, 150, 60]}


def test_a_token_of_20_thousand_types_takes_less_than_two_bytes(tmp_path):
    rng = np.random.default_rng(0)
    words = tuple(f"w{n}" for n in range(20_000))
    share = 1 / np.arange(1, len(words) + 1)
    ids = rng.choice(len(words), 200_000, p=share / share.sum())
    settings = replace(JOBS[0][0], words=words, classes=words)
    packing.pack([(settings, Parts(Examples.next_word(ids), Examples.next_word(ids[:50])))], tmp_path / "a")
    packing.pack([(settings, Parts(*(Examples.next_word(ids[:50]) for _ in "ab")))], tmp_path / "b")
    per_token = ((tmp_path / "a").stat().st_size - (tmp_path / "b").stat().st_size) / len(ids)
    assert per_token * 10e6 < 20e6, "7M, 1M and 2M tokens, far from 40 MB"
    assert per_token > 1.2, "no code is shorter than the entropy of so many types"


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-30], lambda b: b"nonsense", lambda b: b.replace(b"PK", b"KP")]
)
def test_a_damaged_pack_is_an_error_that_names_it(tmp_path, damage):
    path = tmp_path / "pack"
    packing.pack(JOBS, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(PackError, match=r"pack holds no whole pack .*; pack again"):
        packing.read(path)


def test_a_pack_with_a_changed_byte_in_a_text_is_an_error(tmp_path):
    path = tmp_path / "pack"
    packing.pack(JOBS, path)
    with zipfile.ZipFile(path) as archive:
        begin = archive.getinfo("0.npy").header_offset + 200
    content = bytearray(path.read_bytes())
    content[begin] ^= 1
    path.write_bytes(content)
    with pytest.raises(PackError):
        packing.read(path)


def test_nothing_to_pack_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="need runs to pack, got none"):
        packing.pack([], tmp_path / "pack")
    with pytest.raises(PackError, match="No such file"):
        packing.read(tmp_path / "pack")


ON_A_GPU_MACHINE = """
import importlib, pkgutil, runpy, sys
from importlib.machinery import PathFinder

class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in {absent!r} else PathFinder.find_spec(name, path, target)

sys.meta_path = [Installed if each is PathFinder else each for each in sys.meta_path]
import lmdynamics.ground, lmdynamics.models, lmdynamics.text.streams
for package in (lmdynamics.ground, lmdynamics.models):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
sys.path.append({root!r})
import benchmarks.__main__, benchmarks.together
sys.argv = {command!r}
runpy.run_module("lmdynamics.models.together", run_name="__main__")
"""


def test_a_machine_without_spacy_and_all_else_that_reads_texts_trains_a_pack(tmp_path, root):
    packing.pack(JOBS, tmp_path / "pack")
    there = {
        file.parts[0].removesuffix(".py")
        for needed in closure([*GPU_MACHINE, *CARRIED])
        for file in needed.files
    }
    absent = {"lmthesis", "lmbook"} | packages_distributions().keys() - there - {"lmdynamics"}
    assert absent >= {"spacy", "gensim", "requests", "transformers", "matplotlib", "distributed"}
    places = [str(tmp_path / "pack"), str(tmp_path / "out")]
    command = ["together", *places, "--way", "stacked", "--device", "cpu"]
    code = ON_A_GPU_MACHINE.format(absent=absent, command=command, root=str(root))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root / "lib")
    assert ran.returncode == 0, ran.stderr
    *of_runs, whole = ran.stdout.splitlines()
    assert len(of_runs) == 4
    assert all(": 2 of 2 epochs, dev loss " in line for line in of_runs)
    assert whole.startswith("1,200 tokens in ")
    trained = {path.parent.name for path in (tmp_path / "out" / "runs").glob("*/settings.json")}
    assert trained == {runs.name(*job, way=Company(WAYS["stacked"])) for job in JOBS}


def test_the_time_of_a_pack_can_be_up_and_it_goes_on_another_time(tmp_path, capsys):
    packing.pack(JOBS, tmp_path / "pack")
    call = [str(tmp_path / "pack"), str(tmp_path), "--way", "graphs", "--device", "cpu"]
    runner.main([*call, "--minutes", "0"])
    *of_runs, whole = capsys.readouterr().out.splitlines()
    assert all(": 0 of 2 epochs" in line for line in of_runs)
    assert whole.startswith("0 tokens in ")
    runner.main(call)
    assert "1,200 tokens in " in capsys.readouterr().out
    runner.main(call)
    *of_runs, whole = capsys.readouterr().out.splitlines()
    assert all(": 2 of 2 epochs" in line for line in of_runs)
    assert whole.startswith("0 tokens in ")
    first = tmp_path / "runs" / runs.name(*JOBS[0], way=Company(WAYS["graphs"]))
    assert torch.isfinite(Run(first).model().decoder.weight).all()


def test_a_pack_that_is_none_is_refused(tmp_path, capsys):
    (tmp_path / "pack").write_text("nothing")
    with pytest.raises(SystemExit):
        runner.main([str(tmp_path / "pack"), str(tmp_path), "--way", "graphs"])
    assert "holds no whole pack" in " ".join(capsys.readouterr().err.split())


def test_one_command_packs_what_a_chapter_trains_with_some_of_its_seeds(tmp_path, monkeypatch, capsys):
    asked = []

    def trainings(scale):
        asked.append(scale)
        return JOBS

    monkeypatch.setattr(study, "trainings", trainings)
    packed.main(["chapter_4", "smoke", str(tmp_path / "pack"), "--seeds", "3", "5", "--articles", "7"])
    assert (asked[0].name, asked[0].seeds, asked[0].articles) == ("smoke", (3, 5), 7)
    assert capsys.readouterr().out.startswith("4 runs in ")
    assert len(packing.read(tmp_path / "pack")) == 4
    with pytest.raises(SystemExit):
        packed.main(["chapter_4", "smoke", str(tmp_path / "pack"), "--corpus", "pmb"])
    assert "corpus needs text" in " ".join(capsys.readouterr().err.split())
