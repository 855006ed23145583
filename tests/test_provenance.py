"""Fingerprints of code: what a function reaches, and what an edit makes another."""

import ast
import gc
import importlib
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from lmdynamics.ground import paths, provenance
from lmdynamics.ground.provenance import (
    Definition,
    code_fingerprint,
    imported_modules,
    reached,
    text_fingerprint,
)

fingerprint = partial(code_fingerprint, as_imported=False)

FILES = {
    "__init__": '"""All."""',
    "studies/__init__": "",
    "studies/top": """
from typing import TYPE_CHECKING

from small import aside
from small.middle import double, unused as other

LIMIT = 3


def study(model: "Model", words: list) -> int:
    import small.middle as m

    return m.double(LIMIT) + len(words)


def by_table():
    return TABLE["double"](1)


TABLE = {"double": double}


def whole():
    return vars(aside)


class Model:
    def read(self):
        return other()
""",
    "middle": '''
"""What the module is for."""
from small.ground import base


def double(x):
    """Twice x."""
    return 2 * base(x)  # why


def unused():
    return [words for words in range(3)]


words = 7
''',
    "ground": "from . import progress\n\n\ndef base(x):\n    progress.say(x)\n    return x",
    "progress": 'NOT_IN_NUMBERS = ("*",)\n\n\ndef say(x):\n    pass',
    "aside": "ALONE = 1",
    "edges": """
try:
    from small.middle import words as fast
except ImportError:
    from small.aside import ALONE as fast
from functools import partial
from small.ground import *
from small.ground import base as wrapped

wrapped = partial(wrapped)


def either():
    return fast


def starred():
    return base(1)


def rebound():
    return wrapped(1)


def iterated():
    return [studies for studies in studies()]


def studies():
    return base(2)


def waiting(meanwhile=lambda studies: None):
    return studies()


def chosen(quick):
    if quick:
        from small.middle import words as x
    else:
        from small.aside import ALONE as x
    return x


twin = partial(either)
""",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package that is tracked: top needs middle, which needs ground; aside is used whole alone."""
    home = tmp_path / "small"
    (home / "studies").mkdir(parents=True)
    for name, text in FILES.items():
        (home / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    provenance.track("small")
    yield home
    for name in ("small", "json"):
        provenance._FOLDERS.pop(name, None)
    for name in [name for name in sys.modules if name.split(".")[0] == "small"]:
        del sys.modules[name]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def names(function):
    return {
        f"{module.removeprefix('small.')}:{name}" for module, name in reached(function, as_imported=False)
    }


def top(name):
    return getattr(importlib.import_module("small.studies.top"), name)


def test_a_function_reaches_what_it_names_and_what_that_names(package):
    assert names(top("study")) == {
        "studies.top:study",
        "studies.top:LIMIT",
        "studies.top:Model",  # through its annotation
        "middle:unused",  # through a method of the model
        "middle:double",
        "ground:base",
    }


def test_what_a_table_of_functions_holds_is_reached(package):
    assert names(top("by_table")) == {
        "studies.top:by_table",
        "studies.top:TABLE",
        "middle:double",
        "ground:base",
    }


def test_a_module_that_is_used_as_a_value_counts_whole(package):
    assert names(top("whole")) == {"studies.top:whole", "aside:ALONE"}


def edges(name):
    return getattr(importlib.import_module("small.edges"), name)


@pytest.mark.parametrize(
    ("name", "reached_too"),
    [
        ("either", {"middle:words", "aside:ALONE"}),
        ("starred", {"ground:base"}),
        ("rebound", {"edges:wrapped", "ground:base"}),
        ("iterated", {"edges:studies", "ground:base"}),
        ("waiting", {"edges:studies", "ground:base"}),
        ("chosen", {"middle:words", "aside:ALONE"}),
    ],
)
def test_imports_that_depend_stars_wrappers_and_what_is_iterated_are_followed(package, name, reached_too):
    assert names(edges(name)) >= {f"edges:{name}"} | reached_too


def test_a_function_that_its_name_does_not_stand_for_is_refused(package):
    with pytest.raises(ValueError, match=r"need (code of a module|a function at the top level)"):
        fingerprint(edges("twin"))


def test_local_names_hide_those_of_the_module(package):
    assert "middle:words" not in names(top("study"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Twice x.", "Two times x."),
        ("  # why", ""),
        ("What the module is for.", "Something else."),
        ("2 * base(x)", "(2*base( x ))"),
        ("words = 7", "words = 8"),
    ],
)
def test_words_layout_and_other_definitions_keep_the_fingerprint(package, old, new):
    before = fingerprint(top("by_table"))
    edit(package / "middle.py", old, new)
    assert fingerprint(top("by_table")) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("middle", "2 * base(x)", "3 * base(x)"),
        ("ground", "return x", "return -x"),
        ("studies/top", "LIMIT = 3", "LIMIT = 4"),
        ("middle", "range(3)", "range(4)"),
    ],
)
def test_an_edit_of_anything_reached_changes_the_fingerprint(package, name, old, new):
    before = fingerprint(top("study"))
    edit(package / f"{name}.py", old, new)
    assert fingerprint(top("study")) != before


def test_what_runs_when_a_module_is_imported_counts_with_each_of_its_functions(package):
    before = fingerprint(top("study"))
    with (package / "ground.py").open("a") as file:
        file.write("\nprint(1)\n")
    assert fingerprint(top("study")) != before


def test_what_a_module_excepts_does_not_count(package):
    before = fingerprint(top("study"))
    edit(package / "progress.py", "pass", "return x")
    assert fingerprint(top("study")) == before


def test_a_module_by_its_name_counts_whole(package):
    before = fingerprint("small.middle")
    edit(package / "middle.py", "words = 7", "words = 8")
    assert fingerprint("small.middle") != before


def test_the_order_does_not_matter(package):
    assert fingerprint("small.middle", "small.aside") == fingerprint("small.aside", "small.middle")


@pytest.mark.parametrize(("name", "top_name"), [("small.absent", "small"), ("json.absent", "json")])
def test_a_module_that_is_not_there_is_refused(package, name, top_name):
    with pytest.raises(ValueError, match=f"need the name of a module of {top_name}, .* got '{name}'"):
        fingerprint(name)


def test_a_function_within_another_is_refused(package):
    def inner():
        return 1

    with pytest.raises(ValueError, match="need a function at the top level of"):
        fingerprint(inner)


def test_a_text_reaches_what_its_statements_use(package):
    text = "from small import middle\nfrom small.studies import top as t\n\nmiddle.double(2)\n"
    before = text_fingerprint(text)
    edit(package / "middle.py", "words = 7", "words = 8")
    assert text_fingerprint(text + "# a comment\n") == before
    edit(package / "ground.py", "return x", "return -x")
    assert text_fingerprint(text) != before


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import numpy", set()),
        ("import small.studies.top as x", {"small.studies.top"}),
        ("from small import aside, middle as m", {"small.aside", "small.middle"}),
        ("from small.middle import double", {"small.middle"}),
        ("def f():\n    from small import aside", {"small.aside"}),
    ],
)
def test_every_form_of_import_is_seen(package, source, modules):
    assert imported_modules(source) == modules


@pytest.mark.parametrize(
    ("source", "inside", "modules"),
    [
        ("from . import aside", "small", {"small.aside"}),
        ("from .aside import x", "small", {"small.aside"}),
        ("from ..aside import x", "small.studies", {"small.aside"}),
    ],
)
def test_relative_imports_start_from_their_package(package, source, inside, modules):
    assert imported_modules(source, package=inside) == modules


PROCESS = """
import importlib, sys
from pathlib import Path
from lmdynamics.ground import provenance
provenance.track("small")
{first}
def fingerprint(**options):
    return provenance.code_fingerprint("small.middle", **options)
def edit(old, new):
    path = Path("small/middle.py")
    path.write_text(path.read_text().replace(old, new))
before = fingerprint()
{then}
print(fingerprint() == before, fingerprint(as_imported=False) == before)
"""
ANOTHER_NUMBER, ANOTHER_WORD = "edit('2 *', '3 *')", "edit('why', 'because')"
IMPORT = "import small.middle"
AGAIN = "importlib.reload(small.middle)"


def process(package, first, *then):
    """What becomes of the fingerprint of a module in a process that imports it, while its file is edited."""
    script = PROCESS.format(first=first, then="\n".join(then))
    run = subprocess.run(
        [sys.executable, "-B", "-c", script], cwd=package.parent, capture_output=True, text=True, check=False
    )
    return run.stdout or run.stderr


def test_code_that_was_imported_keeps_its_fingerprint_when_its_file_is_edited(package):
    assert process(package, IMPORT, ANOTHER_NUMBER) == "True False\n"


def test_code_that_was_not_imported_has_the_fingerprint_of_its_file(package):
    assert process(package, "", ANOTHER_NUMBER) == "False False\n"


@pytest.mark.parametrize(("first", "then"), [("", IMPORT), (IMPORT, AGAIN)])
def test_code_that_is_imported_after_an_edit_has_no_fingerprint(package, first, then):
    said = process(package, first, ANOTHER_NUMBER, then)
    assert "RuntimeError: small.middle was edited since this process began" in said


@pytest.mark.parametrize(("first", "then"), [("", IMPORT), (IMPORT, AGAIN)])
def test_code_that_is_imported_after_an_edit_of_words_has_the_same_fingerprint(package, first, then):
    assert process(package, first, ANOTHER_WORD, then) == "True True\n"


class Finalized:
    """What runs Python code when it is collected, so that other threads interrupt one that parses."""

    def __init__(self):
        self.cycle = self

    def __del__(self):
        sum(range(50))


@pytest.fixture
def interrupted_often():
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    collected = lambda *_: Finalized()  # noqa: E731
    gc.callbacks.append(collected)
    gc.set_threshold(50, 2, 2)
    sys.setswitchinterval(1e-6)
    yield
    gc.callbacks.remove(collected)
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


def test_threads_that_take_fingerprints_at_once_get_those_of_one(interrupted_often):
    modules = [f"lmdynamics.{name}" for name in ("ground.grid", "measures.probes", "text.corpora", "plots")]
    alone = [code_fingerprint(name) for name in modules]
    for kept in (provenance._tree, provenance._code_of):
        kept.cache_clear()
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(code_fingerprint, modules)) == alone


def test_a_package_is_tracked_while_other_threads_import(package, monkeypatch):
    class Meanwhile(ModuleType):
        __spec__ = property(lambda _: sys.modules.setdefault("small.late", sys))

    monkeypatch.setitem(sys.modules, "small.early", Meanwhile("small.early"))
    provenance._FOLDERS.pop("small")
    provenance.track("small")
    assert "small" in provenance.tracked_packages()


def test_a_thread_waits_for_another_that_reads_the_same_package(package, monkeypatch):
    top("study")
    expected, reading, read_text = code_fingerprint("small.middle"), threading.Event(), Path.read_text
    provenance._FOLDERS.pop("small")
    for path in [path for path in provenance._SOURCES if path.is_relative_to(package)]:
        del provenance._SOURCES[path]

    def slowly(path, **options):
        reading.set()
        time.sleep(0.02)
        return read_text(path, **options)

    monkeypatch.setattr(Path, "read_text", slowly)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(provenance.track, "small")
        reading.wait()
        assert threads.submit(code_fingerprint, "small.middle").result() == expected
        first.result()


def test_work_for_a_process_with_other_code_is_refused():
    provenance.require_code(code_fingerprint(paths.cache_directory), paths.cache_directory)
    with pytest.raises(
        RuntimeError, match=r"lmdynamics\.ground\.paths\.cache_directory, or what it needs, was edited since"
    ):
        provenance.require_code("other", paths.cache_directory)


def test_provenance_names_versions_machine_and_date():
    found = provenance.provenance()
    assert {"date", "python", "numpy", "torch", "machine", "processor", "accelerator"} <= set(found)
    assert found["blas"].startswith("NumPy: ")
    assert "PyTorch: " in found["blas"]
    assert found["date"].endswith("+00:00")


def test_definitions_are_named_by_module_and_name():
    assert Definition("lmdynamics.ground.paths", "cache_directory") in reached(paths.cache_directory)


def test_the_packages_of_this_project_are_read_from_files():
    import lmthesis

    assert Path(lmthesis.__file__).parent == provenance._FOLDERS["lmthesis"]


def test_code_is_the_same_on_every_python():
    source = (
        "def f(x: int = 1, *, y=(1, 2)) -> str:\n    'It.'\n"
        "    return f'{x!r:>{y[0]}} of \"{y}\"' 'b'  # more\n"
    )
    assert provenance._bare_code(ast.parse(source)) == (
        "Module(body=[FunctionDef(name='f', args=arguments(args=[arg(arg='x', annotation=Name(id='int'))], "
        "kwonlyargs=[arg(arg='y')], kw_defaults=[Tuple(elts=[Constant(value=1), Constant(value=2)])], "
        "defaults=[Constant(value=1)]), body=[Return(value=JoinedStr(values=[FormattedValue(value="
        "Name(id='x'), conversion=114, format_spec=JoinedStr(values=[Constant(value='>'), FormattedValue("
        "value=Subscript(value=Name(id='y'), slice=Constant(value=0)), conversion=-1)])), "
        "Constant(value=' of \"'), FormattedValue(value=Name(id='y'), conversion=-1), "
        "Constant(value='\"b')]))], returns=Name(id='str'))])"
    )
