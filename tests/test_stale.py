# ruff: noqa: E501
"""What an edit makes stale, exactly: runs, corpora, tables of each chapter, pages.

Each row is an edit of one file of a copy of the code. A number depends on the code that computes it and on
nothing else: neither on words of a page, nor on figures, claims, other chapters or readers of other corpora.
"""

import re
import shutil
from pathlib import Path

import pytest

from lmbook import chapters
from lmdynamics.ground import provenance
from lmdynamics.ground.provenance import code_fingerprint, text_fingerprint
from lmdynamics.models import training
from lmdynamics.text import corpora
from lmthesis.chapter_4 import layers, probing, taggers, trajectories
from lmthesis.chapter_5 import english, scaffolds
from lmthesis.chapter_6 import loss_changes, words

ROOT = Path(__file__).parents[1]
JOBS = {
    "runs": training.epochs,
    "layers within": layers.within_model,
    "layers between": layers.between_models,
    "taggers": taggers.performance,
    "trajectories": trajectories.trajectories,
    "probes": probing.accuracies,
    "English": english.pair_tables,
    "sentences": english.sentence_pairs,
    "rule": scaffolds.rule,
    "decomposed": scaffolds.decomposed,
    "consumed": scaffolds.consumed,
    "gradients": scaffolds.gradients,
    "words": words.sparsities,
    "loss changes": loss_changes.allocations,
}
"""The function of each kind of job."""
CORPORA = {
    f"corpus {name}": corpora._KNOWN[name] for name in ("wikipedia-sample", "wikitext-2", "ewt", "gmb")
}
PAGES = {
    f"page {number}": ROOT / "chapters" / name
    for number, name in {
        "4": "04_similarity.md",
        "5": "05_interdependence.md",
        "6": "06_sparsity.md",
        "findings": "findings.md",
    }.items()
}
CHAPTER_4 = {"layers within", "layers between", "taggers", "trajectories", "probes"}
CHAPTER_5 = {"English", "sentences", "rule", "decomposed", "consumed", "gradients"}
CHAPTER_6 = {"words", "loss changes"}
ALL_PAGES = set(PAGES)
DECOMPOSING = {"English", "sentences", "decomposed", "consumed"}


def of_page(name):
    return {f"page {name}", "page findings"}


EDITS = [
    ("the moments", "lmdynamics/measures/moments.py", r"_RENEWED = 2\*\*15|_ROOM = 2\*\*24", "_ROOM = 2**23",
     {"layers within", "layers between", "trajectories"} | of_page("4")),
    ("a probe", "lmdynamics/measures/probes.py", r"_TOGETHER = 16", "_TOGETHER = 8",
     {"probes"} | of_page("4")),
    ("a reader of another corpus", "lmdynamics/text/corpora.py", r"def _gmb\(\) -> _Reader:\n",
     "def _gmb() -> _Reader:\n    assert True\n", {"corpus gmb"} | ALL_PAGES),
    ("a new reader", "lmdynamics/text/corpora.py", r'    "ewt": _ewt,\n', '    "ewt": _ewt,\n    "new": _ewt,\n',
     ALL_PAGES),
    ("a new source", "lmdynamics/text/downloads.py", r"SOURCES = \{", 'SOURCES = {"new": Source("0"),', set()),
    ("how markup is cleaned", "lmdynamics/text/wikipedia.py", r"def article\((.*)\) -> Document:\n",
     r"def article(\1) -> Document:\n    assert True\n", {"corpus wikipedia-sample"} | ALL_PAGES),
    ("a docstring", "lmdynamics/measures/similarity.py", r'"""Mean canonical correlation, all', '"""The mean, all',
     set()),
    ("a comment", "lmdynamics/models/training.py", r"import math\n", "import math  # of numbers\n", set()),
    ("the learning", "lmdynamics/models/training.py", r"\+ 1e-6\)", "+ 2e-6)",
     {"runs", "loss changes"} | {f"page {n}" for n in ("4", "5", "6", "findings")}),
    ("progress", "lmdynamics/ground/progress.py", r"import time\n", "import time\nSLOW = 1\n", set()),
    ("the grid", "lmdynamics/ground/grid.py", r"THREADS = 4", "THREADS = 8", set()),
    ("how files are written", "lmdynamics/ground/storage.py", r"_WAIT = 2\.0", "_WAIT = 3.0", set()),
    ("how a run is kept", "lmdynamics/models/runs.py", r"def _append\((.*)\) -> None:\n",
     r"def _append(\1) -> None:\n    assert True\n", set()),
    ("a figure", "lmthesis/chapter_6/figures.py", r"def heat_map\((.*)\) -> Axes:\n",
     r"def heat_map(\1) -> Axes:\n    assert True\n", {"page 6"}),
    ("a shared figure", "lmdynamics/plots.py", r"def use_style\(\) -> None:\n",
     "def use_style() -> None:\n    assert True\n", {"page 4", "page 5", "page 6"}),
    ("a claim", "lmthesis/chapter_5/claims.py", r"CLAIMS = Claims\(", "EXTRA = 1\nCLAIMS = Claims(*() ,",
     of_page("5")),
    ("words of a page", "lmthesis/chapter_4/page.py", r'"(%.0f|–)"', '"-"', {"page 4"}),
    ("another chapter's settings", "lmthesis/chapter_4/settings.py", r"SMOKE = Settings\(",
     "SMOKE = Settings(*(),", of_page("4")),
    ("what a chapter's settings have in common", "lmthesis/scales.py", r"DEMO: dict\[str, Any\] = \{",
     'DEMO: dict[str, Any] = {**{},', {"page 4", "page 6", "page findings"}),
    ("how a verdict is decided", "lmdynamics/claims.py", r"< ERROR / len\(cells\)", "<= ERROR / len(cells)", ALL_PAGES),
    ("contextual decomposition", "lmdynamics/observe/decomposition.py", r"alpha=0\.5", "alpha=0.25",
     DECOMPOSING | of_page("5")),
    ("records", "lmthesis/recorded/__init__.py", r'float_format="%.6g"', 'float_format="%.7g"', set()),
]  # fmt: skip


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the code, whose files count in place of our own."""
    for package in ("lmdynamics", "lmthesis"):
        shutil.copytree(
            ROOT / "lib" / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
        monkeypatch.setitem(provenance._FOLDERS, package, tmp_path / package)
    return tmp_path


def cells(page):
    notebook = chapters.read(page.read_text())
    return "\n".join(cell.source for cell in chapters.code_cells(notebook))


def fingerprints():
    found = {name: code_fingerprint(function, as_imported=False) for name, function in JOBS.items()}
    found |= {
        name: code_fingerprint(corpora._from_source, reader, as_imported=False)
        for name, reader in CORPORA.items()
    }
    return found | {name: text_fingerprint(cells(path)) for name, path in PAGES.items()}


@pytest.mark.parametrize(("edit", "file", "old", "new", "stale"), EDITS, ids=[edit[0] for edit in EDITS])
def test_an_edit_makes_stale_what_depends_on_it_and_nothing_else(edit, file, old, new, stale, copy):
    before, path = fingerprints(), copy / file
    text = path.read_text()
    edited = re.sub(old, new, text, count=1)
    assert edited != text, f"{file} has no {old}"
    path.write_text(edited)
    after = fingerprints()
    assert {name for name in before if before[name] != after[name]} == stale
