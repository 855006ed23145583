import pytest

from lmdynamics import provenance
from lmdynamics.provenance import code_fingerprint, imported_modules

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
    before = code_fingerprint("lmdynamics.middle")
    edit(package / "middle.py", old, new)
    assert code_fingerprint("lmdynamics.middle") == before


@pytest.mark.parametrize("name", ["studies/top", "middle", "ground", "studies/__init__", "__init__"])
def test_an_edit_of_anything_imported_changes_the_fingerprint(package, name):
    before = code_fingerprint("lmdynamics.studies.top")
    path = package / f"{name}.py"
    path.write_text(path.read_text() + "\nx = 1\n")
    assert code_fingerprint("lmdynamics.studies.top") != before


@pytest.mark.parametrize("name", ["aside", "studies/top", "progress"])
def test_an_edit_of_what_is_not_imported_or_only_reports_keeps_the_fingerprint(package, name):
    before = code_fingerprint("lmdynamics.middle")
    (package / f"{name}.py").write_text("x = 1\n")
    assert code_fingerprint("lmdynamics.middle") == before


def test_the_order_of_modules_does_not_matter(package):
    assert code_fingerprint("lmdynamics.middle", "lmdynamics.aside") == code_fingerprint(
        "lmdynamics.aside", "lmdynamics.middle"
    )


@pytest.mark.parametrize("name", ["lmdynamics.absent", "numpy"])
def test_a_module_that_is_not_ours_is_refused(package, name):
    with pytest.raises(ValueError, match=f"need the name of a module of lmdynamics, .* got '{name}'"):
        code_fingerprint(name)


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


def test_provenance_names_versions_machine_and_date():
    found = provenance.provenance()
    assert {"date", "python", "numpy", "torch", "machine"} <= set(found)
    assert found["date"].endswith("+00:00")
