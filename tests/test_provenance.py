import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from lmdynamics.ground import provenance
from lmdynamics.ground.provenance import code_fingerprint, imported_modules

fingerprint = partial(code_fingerprint, as_imported=False)

SOURCE = '''
"""What the module is for."""
from lmdynamics.ground import base


def double(x):
    """Twice x."""
    return 2 * base(x)  # why
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in place of our own: top imports middle, which imports ground; aside is alone."""
    monkeypatch.setattr(provenance, "_FOLDER", tmp_path)
    (tmp_path / "studies").mkdir()
    files = {
        "__init__": '"""All."""',
        "studies/__init__": "",
        "studies/top": "def study():\n    import lmdynamics.middle as m\n\n    return m.double(1)",
        "middle": SOURCE,
        "ground": "from . import progress\n\n\ndef base(x):\n    return x",
        "progress": "",
        "aside": "",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Twice x.", "Two times x."),
        ("  # why", ""),
        ("What the module is for.", "Something else."),
        ("2 * base(x)", "(2*base( x ))"),
    ],
)
def test_words_and_layout_keep_the_fingerprint(package, old, new):
    before = fingerprint("lmdynamics.middle")
    edit(package / "middle.py", old, new)
    assert fingerprint("lmdynamics.middle") == before


@pytest.mark.parametrize("name", ["studies/top", "middle", "ground", "studies/__init__", "__init__"])
def test_an_edit_of_anything_imported_changes_the_fingerprint(package, name):
    before = fingerprint("lmdynamics.studies.top")
    path = package / f"{name}.py"
    path.write_text(path.read_text() + "\nx = 1\n")
    assert fingerprint("lmdynamics.studies.top") != before


@pytest.mark.parametrize("name", ["aside", "studies/top", "progress"])
def test_an_edit_of_what_is_not_imported_or_only_reports_keeps_the_fingerprint(package, name):
    before = fingerprint("lmdynamics.middle")
    (package / f"{name}.py").write_text("x = 1\n")
    assert fingerprint("lmdynamics.middle") == before


def test_the_order_of_modules_does_not_matter(package):
    assert fingerprint("lmdynamics.middle", "lmdynamics.aside") == fingerprint(
        "lmdynamics.aside", "lmdynamics.middle"
    )


@pytest.mark.parametrize("name", ["lmdynamics.absent", "numpy"])
def test_a_module_that_is_not_ours_is_refused(package, name):
    with pytest.raises(ValueError, match=f"need the name of a module of lmdynamics, .* got '{name}'"):
        fingerprint(name)


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import numpy", set()),
        ("import lmdynamics.studies.top", {"lmdynamics", "lmdynamics.studies", "lmdynamics.studies.top"}),
        (
            "from lmdynamics import aside, middle as m",
            {"lmdynamics", "lmdynamics.aside", "lmdynamics.middle"},
        ),
        ("from lmdynamics.middle import double", {"lmdynamics", "lmdynamics.middle"}),
        ("def f():\n    from lmdynamics import aside", {"lmdynamics", "lmdynamics.aside"}),
    ],
)
def test_every_form_of_import_is_seen(package, source, modules):
    assert imported_modules(source) == modules


@pytest.mark.parametrize(
    ("source", "inside", "modules"),
    [
        ("from . import aside", "lmdynamics", {"lmdynamics", "lmdynamics.aside"}),
        ("from .aside import x", "lmdynamics", {"lmdynamics", "lmdynamics.aside"}),
        ("from ..aside import x", "lmdynamics.studies", {"lmdynamics", "lmdynamics.aside"}),
    ],
)
def test_relative_imports_start_from_their_package(package, source, inside, modules):
    assert imported_modules(source, package=inside) == modules


PROCESS = """
import importlib
from pathlib import Path
{first}
from lmdynamics import provenance
def fingerprint(**options):
    return provenance.code_fingerprint("lmdynamics.middle", **options)
def edit(old, new):
    path = Path(provenance.__file__).with_name("middle.py")
    path.write_text(path.read_text().replace(old, new))
before = fingerprint()
{then}
print(fingerprint() == before, fingerprint(as_imported=False) == before)
"""
ANOTHER_NUMBER, ANOTHER_WORD = "edit('2 *', '3 *')", "edit('why', 'because')"
IMPORT = "import lmdynamics.middle"
AGAIN = "importlib.reload(lmdynamics.middle)"


def process(package, first, *then):
    """What becomes of the fingerprint of a module in a process that imports it, while its file is edited."""
    (package / "provenance.py").write_text(Path(provenance.__file__).read_text())
    script = PROCESS.format(first=first, then="\n".join(then))
    run = subprocess.run(
        [sys.executable, "-B", "-c", script], cwd=package.parent, capture_output=True, text=True
    )
    return run.stdout or run.stderr


@pytest.fixture
def importable(package, tmp_path_factory):
    """The small package, where a process finds it before our own."""
    return package.rename(tmp_path_factory.mktemp("path") / "lmdynamics")


def test_code_that_was_imported_keeps_its_fingerprint_when_its_file_is_edited(importable):
    assert process(importable, IMPORT, ANOTHER_NUMBER) == "True False\n"


def test_code_that_was_not_imported_has_the_fingerprint_of_its_file(importable):
    assert process(importable, "", ANOTHER_NUMBER) == "False False\n"


@pytest.mark.parametrize(("first", "then"), [("", IMPORT), (IMPORT, AGAIN)])
def test_code_that_is_imported_after_an_edit_has_no_fingerprint(importable, first, then):
    said = process(importable, first, ANOTHER_NUMBER, then)
    assert "RuntimeError: lmdynamics.middle was edited since this process began" in said


@pytest.mark.parametrize(("first", "then"), [("", IMPORT), (IMPORT, AGAIN)])
def test_code_that_is_imported_after_an_edit_of_words_has_the_same_fingerprint(importable, first, then):
    assert process(importable, first, ANOTHER_WORD, then) == "True True\n"


def test_work_for_a_process_with_other_code_is_refused():
    provenance.require_code(code_fingerprint("lmdynamics.ground.paths"), "lmdynamics.ground.paths")
    with pytest.raises(RuntimeError, match=r"lmdynamics\.paths, or what it imports, was edited since"):
        provenance.require_code("other", "lmdynamics.ground.paths")


def test_provenance_names_versions_machine_and_date():
    found = provenance.provenance()
    assert {"date", "python", "numpy", "torch", "machine"} <= set(found)
    assert found["date"].endswith("+00:00")
