"""The map of the code, kept true: imports point down, and the science does not know the book."""

import ast
import re
from pathlib import Path

import jaxtyping
import pytest
import torch

from lmdynamics.ground.provenance import imported_modules
from lmdynamics.measures import sparsity
from lmthesis import language_models

ROOT = Path(__file__).parents[1]
CONTRIBUTING, LIBRARY = ROOT / "CONTRIBUTING.md", ROOT / "lib" / "lmdynamics"
MODULES = sorted(LIBRARY.rglob("*.py"))


def dotted(path):
    parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """The modules of the library that a module imports; packages that it only passes through are left out."""
    package = dotted(path) if path.name == "__init__.py" else dotted(path).rpartition(".")[0]
    return imported_modules(path.read_text(), package=package) - {
        "lmdynamics",
        "lmdynamics.studies",
        dotted(path),
    }


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_the_science_never_imports_the_book(path):
    named = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    tops = {alias.name.split(".")[0] for node in named for alias in node.names}
    tops |= {(node.module or "").split(".")[0] for node in named if isinstance(node, ast.ImportFrom)}
    assert not tops & {"lmbook", "papermill", "jupytext", "nbformat", "sphinx"}


def test_imports_have_an_order_from_top_to_bottom():
    waiting = {dotted(path): imports(path) for path in MODULES}
    while bottom := {name for name, needs in waiting.items() if not needs & set(waiting)}:
        waiting = {name: needs for name, needs in waiting.items() if name not in bottom}
    assert not waiting, f"imported in a circle: {sorted(waiting)}"


@pytest.mark.parametrize("path", [p for p in MODULES if "studies" not in p.parts], ids=dotted)
def test_nothing_below_imports_a_study(path):
    assert not {name for name in imports(path) if name.startswith("lmdynamics.studies.")}


def row_of_the_map():
    """Row of the table in CONTRIBUTING.md in which each module stands."""
    rows = [line.split("|")[2] for line in CONTRIBUTING.read_text().splitlines() if line.startswith("|")]
    return {name: at for at, cell in enumerate(rows) for name in re.findall(r"`(\w+)/?`", cell)}


def on_the_map(module):
    return module.removeprefix("lmdynamics.").split(".")[0]


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__init__.py"], ids=dotted)
def test_each_module_is_on_the_map_and_imports_only_from_below(path):
    rows = row_of_the_map()
    for needed in imports(path):
        assert rows[on_the_map(dotted(path))] <= rows[on_the_map(needed)], needed


def test_shapes_and_types_are_checked_while_tests_run():
    with pytest.raises(jaxtyping.TypeCheckError):
        sparsity.stretched(torch.zeros(2), "no number")
    with pytest.raises(jaxtyping.TypeCheckError):
        language_models.parallel("no function", [])
