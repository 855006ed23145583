"""The three places that say what is installed agree."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import closure
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PINS = {
    canonicalize_name(r.name): r for r in (Requirement(line) for line in LINES if not line.startswith("#"))
}
EXTRAS = PROJECT["optional-dependencies"]
DIRECT = [
    line
    for lines in (PROJECT["dependencies"], *EXTRAS.values())
    for line in lines
    if Requirement(line).name != PROJECT["name"]
]
INSTALLED = "book", "test"
"""The extras that a checkout is installed with."""


@pytest.mark.parametrize("line", DIRECT)
def test_each_dependency_is_pinned_within_its_range(line):
    needed = Requirement(line)
    (pin,) = PINS[canonicalize_name(needed.name)].specifier
    assert pin.operator == "=="
    assert needed.specifier.contains(pin.version)


def test_all_that_an_install_brings_is_pinned_and_has_that_version():
    for needed in closure(DIRECT):
        pin = PINS.get(canonicalize_name(needed.name))
        assert pin or needed.name in {each.name for each in closure(["torch"])}, (
            needed.name
        )  # pinned by torch
        assert not pin or pin.specifier.contains(needed.version), f"{needed.name} {needed.version}"


def reached(extras):
    """Those extras and the ones that they bring along."""
    brought = {
        extra
        for name in extras
        for needed in map(Requirement, EXTRAS[name])
        if needed.name == PROJECT["name"]
        for extra in needed.extras
    }
    return brought | set(extras)


def test_a_checkout_is_installed_with_every_extra():
    assert reached(INSTALLED) == set(EXTRAS)


def test_constraints_name_versions_only():
    assert all(pin.url is None and "+" not in str(pin.specifier) for pin in PINS.values())


def test_conda_installs_everything_through_the_same_constraints():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = (entry["pip"] for entry in dependencies if isinstance(entry, dict))
    assert pip == ["-c constraints.txt", f"-e .[{','.join(INSTALLED)}]"]


def test_conda_takes_the_same_pythons():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert f"python{PROJECT['requires-python']}" in dependencies


def test_make_looks_for_the_same_pythons():
    (names,) = re.findall(r"^PYTHONS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    supported = SpecifierSet(PROJECT["requires-python"])
    assert set(names.split()) == {f"python3.{x}" for x in range(99) if supported.contains(f"3.{x}")}


def test_make_installs_through_the_constraints():
    command = f"pip install -qq -c constraints.txt -e '.[{','.join(INSTALLED)}]'"
    assert command in (ROOT / "Makefile").read_text()
