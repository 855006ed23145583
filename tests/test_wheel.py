"""What others install: the library alone, with a core that needs neither spaCy nor Jupyter."""

import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import closure
from packaging.metadata import Metadata

ROOT = Path(__file__).parents[1]
LIBRARY = {
    "lmdynamics/py.typed",
    *(path.relative_to(ROOT / "lib").as_posix() for path in (ROOT / "lib" / "lmdynamics").rglob("*.py")),
}
EXTRAS = {
    "lmdynamics.plots": "plots",
    "lmdynamics.text.corpora": "text",
    "lmdynamics.text.downloads": "text",
    "lmdynamics.text.tasks": "text",
    "lmdynamics.text.treebanks": "text",
    "lmdynamics.text.vocabulary": "text",
}
"""The extra that a module needs; every other module needs the core alone."""
ABSENT = (
    "spacy",
    "gensim",
    "matplotlib",
    "plotly",
    "jupyterlab",
    "IPython",
    "requests",
    "transformers",
    "dask",
)
IMPORT_ALL = """
import importlib, json, pkgutil, lmdynamics

refusals = {}
for module in pkgutil.walk_packages(lmdynamics.__path__, "lmdynamics."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        refusals[module.name] = str(error)
print(json.dumps(refusals))
"""


def built(target, folder, *, source=ROOT):
    """The one file that a build leaves in a folder."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return built("wheel:standard", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    return built("sdist", tmp_path_factory.mktemp("sdist"))


def contents(wheel):
    """Names in a wheel, and apart from them those of its metadata."""
    names = set(zipfile.ZipFile(wheel).namelist())
    about = {name for name in names if ".dist-info/" in name}
    return names - about, {name.partition(".dist-info/")[2] for name in about}


def read(wheel, pattern):
    """The text of the one file in a wheel whose name matches."""
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if re.fullmatch(pattern, name))
    return archive.read(name).decode()


def test_a_wheel_holds_the_library_and_nothing_else(wheel):
    assert contents(wheel) == (LIBRARY, {"METADATA", "WHEEL", "RECORD", "licenses/LICENSE"})


def test_an_sdist_holds_what_a_wheel_is_built_from_and_nothing_else(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    besides = {".gitignore", "LICENSE", "PKG-INFO", "README.md", "hatch_build.py", "pyproject.toml"}
    assert names == {f"lib/{name}" for name in LIBRARY} | besides


def test_a_wheel_from_the_sdist_is_the_one_from_the_checkout(wheel, sdist, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    again = built("wheel:standard", tmp_path / "dist", source=unpacked)
    assert again.read_bytes() == wheel.read_bytes()


def test_papermill_finds_the_chapters_of_a_checkout_alone(wheel, tmp_path):
    editable = built("wheel:editable", tmp_path)
    entry_points = ConfigParser(delimiters="=")
    entry_points.read_string(read(editable, r".*\.dist-info/entry_points\.txt"))
    assert dict(entry_points["papermill.io"]) == {"chapters/": "lmbook.papermill_io:ChapterHandler"}
    assert read(editable, r".*\.pth").split() == [str(ROOT / "lib")]
    assert "entry_points.txt" not in contents(wheel)[1]


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """A Python with the wheel, and of all that is installed here only what its metadata asks for."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(home), "platbase": str(home)}))
    metadata = Metadata.from_email(read(wheel, r".*\.dist-info/METADATA"), validate=False)
    core = [str(line) for line in metadata.requires_dist if not line.marker]
    for needed in closure(core):
        for top in {file.parts[0] for file in needed.files} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(needed.locate_file(top))
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-warn-script-location", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
    return python


def output(python, code, folder):
    """What some code prints in a folder of its own."""
    ran = subprocess.run(
        [python, "-I", "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_without_extras_a_module_is_imported_or_says_which_extra_it_needs(python, tmp_path):
    refusals = json.loads(output(python, IMPORT_ALL, tmp_path))
    remedy = re.compile(r"need the package .+; pip install 'lmdynamics\[(\w+)\]'")
    assert {name: remedy.sub(r"\1", said) for name, said in refusals.items()} == EXTRAS


@pytest.mark.slow
def test_the_core_brings_no_jupyter_and_no_spacy(python, tmp_path):
    code = f"import importlib.util as u; print(*(name for name in {ABSENT} if u.find_spec(name)))"
    assert all(map(find_spec, ABSENT))
    assert output(python, code, tmp_path).split() == []


@pytest.mark.slow
def test_the_example_of_the_readme_runs_with_the_core_alone(python, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (example,) = (block for block in blocks if "JointMoments" in block)
    *lines, value = example.splitlines()
    printed = output(python, "\n".join([*lines, f"print({value})"]), tmp_path)
    assert 0 < float(printed) < 1
