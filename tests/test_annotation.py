"""The model that tags and parses: that it is the one that it should be."""

import importlib.util
import shutil

import pytest

from lmdynamics.text import annotation, corpora
from lmdynamics.text.annotation import ModelError

needs_copy = pytest.mark.skipif(
    annotation._installed_model() != annotation._COPY, reason="another model of spaCy is installed"
)


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A folder of the model with the recorded files alone."""
    home = annotation._copy_folder()
    for name in annotation._COPY_FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(home / name, tmp_path / name)
    monkeypatch.setattr(annotation, "_copy_folder", lambda: tmp_path)
    return tmp_path


@needs_copy
def test_the_model_is_loaded_from_the_files_that_are_checked_and_from_no_other(copy):
    sentence = annotation._pipeline.__wrapped__()("The dog did not bark.")
    assert [(word.pos_, word.head.text) for word in sentence][1:3] == [("NOUN", "bark"), ("AUX", "bark")]


@needs_copy
@pytest.mark.parametrize(
    "damage", [lambda content: content[:-1] + bytes([content[-1] ^ 1]), lambda content: content + b"\n"]
)
def test_a_file_of_the_model_with_other_bytes_is_an_error_that_names_it(copy, damage):
    for name in annotation._COPY_FILES:
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(damage(content))
        with pytest.raises(
            ModelError, match=rf"{name} must have SHA-256 \w+, got \w+; install the model again"
        ):
            annotation._pipeline.__wrapped__()
        (copy / name).write_bytes(content)


@needs_copy
def test_a_file_that_the_model_lacks_is_an_error_that_names_it(copy, tmp_path, monkeypatch):
    (copy / "parser" / "moves").unlink()
    monkeypatch.setenv("LMDYNAMICS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(annotation, "_pipeline", annotation._pipeline.__wrapped__)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("Dogs bark.")
    with pytest.raises(ModelError, match=r"parser/moves must have SHA-256 \w+, got no file"):
        corpora.load(tmp_path / "text")


def test_the_official_package_is_preferred(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert annotation._installed_model() == "en_core_web_sm"
