"""Where a line of code lives: imports point one way, and each one that does not is named."""

from pathlib import Path

import jaxtyping
import pytest
import torch

import lmthesis
from lmdynamics.ground import grid, provenance
from lmdynamics.measures import sparsity
from lmthesis import findings, recorded

ROOT = Path(__file__).parents[1]
LIB = ROOT / "lib"
PACKAGES = ("lmdynamics", "lmthesis", "lmbook")
FILES = sorted(path for package in PACKAGES for path in (LIB / package).rglob("*.py"))
BELOW = {
    "lmdynamics.ground": {"lmdynamics.ground"},
    "lmdynamics.measures": {"lmdynamics.measures", "lmdynamics.ground"},
    "lmdynamics.text": {"lmdynamics.text", "lmdynamics.ground"},
    "lmdynamics.models": {"lmdynamics.models", "lmdynamics.text", "lmdynamics.ground"},
    "lmdynamics.observe": {
        *("lmdynamics.observe", "lmdynamics.models", "lmdynamics.text", "lmdynamics.measures"),
        "lmdynamics.ground",
    },
    "lmdynamics.claims": {"lmdynamics.measures", "lmdynamics.ground"},
    "lmdynamics.plots": {"lmdynamics.measures", "lmdynamics.ground"},
    "lmdynamics": {"lmdynamics.observe", "lmdynamics.models", "lmdynamics.measures"},
    "lmthesis": {"lmdynamics", "lmthesis"},
    "lmbook": {"lmdynamics", "lmthesis", "lmbook"},
}
"""What each part may import: the first key that a module's name begins with, the most exact first."""
SHOWN = {"page", "figures", "drawings", "claims", "study"}
"""Modules of a chapter that show what others measure: only its page, its study and each other import them."""


@pytest.fixture(scope="module", autouse=True)
def tracked():
    for package in PACKAGES:
        provenance.track(package)


def dotted(path):
    parts = path.relative_to(LIB).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    package = dotted(path) if path.name == "__init__.py" else dotted(path).rpartition(".")[0]
    return provenance.imported_modules(path.read_text(), package=package) - {dotted(path)}


def within(name, part):
    return name == part or name.startswith(f"{part}.")


def part_of(module):
    return next(part for part in sorted(BELOW, key=len, reverse=True) if within(module, part))


def chapter_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1].startswith("chapter_") else None


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_imports_point_down(path):
    allowed = BELOW[part_of(dotted(path))]
    offending = {name for name in imports(path) if not any(within(name, part) for part in allowed)}
    assert not offending, f"{dotted(path)} may not import {', '.join(sorted(offending))}"


@pytest.mark.parametrize("path", [path for path in FILES if chapter_of(dotted(path))], ids=dotted)
def test_a_chapter_imports_no_other_and_what_measures_imports_nothing_that_shows(path):
    own = dotted(path)
    others = {name for name in imports(path) if chapter_of(name) not in (None, chapter_of(own))}
    assert not others, f"{own} may not import another chapter: {', '.join(sorted(others))}"
    if own.split(".")[-1] not in SHOWN:
        shown = {name for name in imports(path) if chapter_of(name) and name.split(".")[-1] in SHOWN}
        assert not shown, f"{own} measures, and may not import {', '.join(sorted(shown))}"


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if dotted(path).startswith("lmthesis.") and not chapter_of(dotted(path))],
    ids=dotted,
)
def test_what_chapters_share_names_no_chapter(path):
    named = {name for name in imports(path) if chapter_of(name)}
    assert not named, f"{dotted(path)} may not import {', '.join(sorted(named))}: they are found by folder"


def test_imports_have_an_order_from_top_to_bottom():
    modules = {dotted(path): imports(path) for path in FILES if path.name != "__init__.py"}
    waiting = dict(modules)
    while bottom := {name for name, needs in waiting.items() if not needs & set(waiting)}:
        waiting = {name: needs for name, needs in waiting.items() if name not in bottom}
    assert not waiting, f"imported in a circle: {sorted(waiting)}"


def test_only_the_grid_knows_of_processes_devices_and_clusters():
    engines = ("joblib", "distributed", "multiprocessing", "concurrent.futures", "cuda.is_available")
    found = {
        f"{dotted(path)}: {engine}"
        for path in FILES
        for engine in engines
        if engine in path.read_text()
        and within(dotted(path), "lmdynamics")
        and dotted(path) not in ("lmdynamics.ground.grid", "lmdynamics.ground.provenance")
    }
    assert not found


def test_chapters_are_found_by_folder():
    folders = {path.name for path in (LIB / "lmthesis").glob("chapter_*")}
    assert set(findings.chapters()) == folders == set(recorded.chapters())
    assert lmthesis.__name__ == "lmthesis"


def test_each_folder_of_the_code_is_on_the_map():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    folders = {path.parent for path in FILES if path.parent.name not in PACKAGES}
    named = {f"{folder.relative_to(LIB)}/".split("/")[1] for folder in folders}
    missing = {name for name in named if f"{name}/" not in text and not name.startswith("chapter_")}
    assert not missing, f"CONTRIBUTING.md does not name {', '.join(sorted(missing))}"


def test_shapes_and_types_are_checked_while_tests_run():
    with pytest.raises(jaxtyping.TypeCheckError):
        sparsity.stretched(torch.zeros(2), "no number")
    with pytest.raises(jaxtyping.TypeCheckError):
        grid.results("no function", [])
    with pytest.raises(jaxtyping.TypeCheckError):
        recorded.ran_table("no settings", 1)
