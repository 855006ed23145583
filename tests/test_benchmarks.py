import importlib
import math
import shutil
import tomllib

import pytest
import torch
from benchmarks import perplexity
from benchmarks.__main__ import changed, main, processor, suites

from lmdynamics.models.training import Epoch

NUMBERS = ("ours", "alternative", "ratio")
SUITES = {
    "breaks_at_import": "import torch\ntorch.set_num_threads(1)\nfrom nowhere import anything",
    "breaks_in_the_middle": """
from benchmarks._timing import Row
FULL = TINY = None
def rows(size):
    yield Row("came before the fault", 1.0, 2.0, 0.5, "s", "")
    raise RuntimeError("no more of it")
""",
    "endless": """
from dataclasses import dataclass
from benchmarks._timing import Row
@dataclass
class Size:
    epochs: int
    corpus: str = "whole"
HOURS = True
FULL, TINY = Size(6), Size(1)
def rows(size):
    yield Row(f"{size.epochs} epochs of {size.corpus}", 3.0, 4.0, 0.75, "ppl", "")
""",
    "sound": """
import torch
from benchmarks._timing import Row
FULL, TINY = "full", "tiny"
def rows(size):
    yield Row(f"{size} size, threads", torch.get_num_threads(), 8.0, 0.25, "threads", "<= 1.2")
""",
    "_helper": "raise RuntimeError('a helper is no suite')",
}


@pytest.fixture
def threads():
    """Suites choose a number of threads; the tests after them keep their own."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(root, tmp_path):
    """The program that runs suites, with suites of ours in the folder instead of its own."""
    package = tmp_path / "benchmarks"
    package.mkdir()
    for name in ("__init__.py", "__main__.py", "_timing.py"):
        shutil.copy(root / "benchmarks" / name, package)
    for name, code in SUITES.items():
        (package / f"{name}.py").write_text(code)
    return tmp_path


def test_every_module_of_the_folder_without_an_underscore_is_a_suite(root):
    assert suites() == sorted(path.stem for path in (root / "benchmarks").glob("[!_]*.py"))
    assert "sparsity" in suites()


@pytest.mark.parametrize("suite", suites())
def test_every_suite_runs_at_a_tiny_size_and_each_number_is_finite_and_positive(
    suite, threads, tmp_path, monkeypatch
):
    monkeypatch.setenv("LMDYNAMICS_CACHE", str(tmp_path))
    module = importlib.import_module(f"benchmarks.{suite}")
    rows = list(module.rows(module.TINY))
    assert rows
    numbers = {f"{row.name}, {field}": getattr(row, field) for row in rows for field in NUMBERS}
    assert {name: n for name, n in numbers.items() if not (math.isfinite(n) and n > 0)} == {}


def test_a_suite_that_fails_is_named_with_its_fault_and_silences_no_other(folder, command):
    done = command("python -m benchmarks", cwd=folder, OMP_NUM_THREADS="2")
    assert done.returncode == 1
    _, columns, *lines = done.stdout.splitlines()
    assert columns.split() == ["name", "ours", "alternative", "ratio", "unit", "target"]
    assert [" ".join(line.split()) for line in lines] == [
        "came before the fault 1 2 0.5 s",
        "endless takes hours: python -m benchmarks endless",
        "full size, threads 2 8 0.25 threads <= 1.2",  # not the one thread of the suite before
    ]
    for fault in (
        "the suite breaks_at_import failed:\nTraceback",
        "ModuleNotFoundError: No module named 'nowhere'",
        "the suite breaks_in_the_middle failed:\nTraceback",
        "RuntimeError: no more of it",
    ):
        assert fault in done.stderr
    assert "sound" not in done.stderr


def test_suites_that_succeed_exit_with_0(folder, command):
    done = command("python -m benchmarks --tiny sound", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tiny size" in done.stdout
    assert "came before" not in done.stdout


def test_a_suite_of_hours_runs_where_it_is_named_and_with_the_size_that_is_asked_for(folder, command):
    done = command("python -m benchmarks endless --set epochs=2 --set corpus=a-part", cwd=folder)
    assert [" ".join(line.split()) for line in done.stdout.splitlines()[2:]] == [
        "2 epochs of a-part 3 4 0.75 ppl"
    ]


def test_a_size_without_such_a_field_is_refused_with_those_that_it_has(capsys):
    with pytest.raises(ValueError, match="size has corpus, articles, units, batch, epochs, seed, got epoch"):
        changed(perplexity.FULL, {"epoch": 1})
    with pytest.raises(SystemExit):
        main(["--set", "epochs"])
    assert "needs NAME=VALUE, got epochs" in capsys.readouterr().err


def test_the_model_that_is_tested_is_the_one_with_the_lowest_loss_on_dev():
    losses = ((9.0, 9.0), (5.0, math.log(150)), (4.9, math.log(140)), (5.1, math.log(130)))
    epochs = [
        Epoch(
            epoch=at,
            steps=at,
            learning_rate=20.0,
            train_loss=None,
            dev_loss=dev,
            test_loss=test,
            seconds=1.0,
            rescaled=False,
        )
        for at, (dev, test) in enumerate(losses)
    ]
    assert perplexity.tested(epochs) == pytest.approx(140)


def test_the_yardstick_is_trained_as_what_it_is_compared_with():
    size = perplexity.FULL
    assert (size.corpus, size.articles, size.units, size.batch, size.epochs) == (
        "wikitext-2",
        None,
        200,
        20,
        6,
    )


def test_the_first_line_names_the_processor(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.__main__.suites", lambda: [])
    assert main([]) == 0
    assert capsys.readouterr().out.startswith(f"{processor()}, ")
    assert processor()


def test_an_unknown_suite_is_refused_with_the_list(capsys):
    with pytest.raises(SystemExit) as refused:
        main(["sparsity", "speed"])
    assert refused.value.code == 2
    captured = capsys.readouterr()
    assert f"no suite named speed; there are {', '.join(suites())}" in " ".join(captured.err.split())
    assert captured.out == ""


def test_types_of_the_benchmarks_are_checked_with_those_of_the_library(root):
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["mypy"]
    assert {"lib", "benchmarks"} <= set(settings["files"])
    assert settings["disallow_untyped_defs"]
