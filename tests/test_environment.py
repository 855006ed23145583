"""The three places that say what is installed agree."""

import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PINS = {
    canonicalize_name(r.name): r for r in (Requirement(line) for line in LINES if not line.startswith("#"))
}
DIRECT = [
    *PROJECT["dependencies"],
    *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
]


@pytest.mark.parametrize("line", DIRECT)
def test_each_dependency_is_pinned_within_its_range(line):
    needed = Requirement(line)
    (pin,) = PINS[canonicalize_name(needed.name)].specifier
    assert pin.operator == "=="
    assert needed.specifier.contains(pin.version)


def test_constraints_name_versions_only():
    assert all(pin.url is None and "+" not in str(pin.specifier) for pin in PINS.values())


def test_conda_installs_everything_through_the_same_constraints():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = (entry["pip"] for entry in dependencies if isinstance(entry, dict))
    assert pip == ["-c constraints.txt", f"-e .[{','.join(PROJECT['optional-dependencies'])}]"]


def test_conda_takes_the_same_pythons():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert f"python{PROJECT['requires-python']}" in dependencies


def test_make_installs_through_the_constraints():
    assert "pip install -qq -c constraints.txt -e '.[book,test]'" in (ROOT / "Makefile").read_text()
