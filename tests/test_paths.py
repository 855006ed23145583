"""An empty text is no path, wherever one is named; Python takes it for the folder where one stands."""

import sys
from pathlib import Path

import pytest

from lmdynamics.ground import paths
from lmdynamics.models import pretrained
from lmdynamics.text import corpora
from lmthesis.recorded import __main__


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder that would do for all of them."""
    (tmp_path / "article.txt").write_text("One two.\n")
    (tmp_path / "step0").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_path_is_what_its_name_says_and_needs_one():
    assert paths.path(".") == Path()
    assert paths.path(Path("a")) == Path("a")
    with pytest.raises(ValueError, match=r"a path needs a name, got ''; the folder where you stand is '\.'"):
        paths.path("")


def test_no_corpus_and_no_checkpoints_are_read_from_a_folder_without_a_name():
    with pytest.raises(ValueError, match=r"a corpus is one of .* got ''"):
        corpora.load("")
    with pytest.raises(ValueError, match="a path needs a name"):
        pretrained.checkpoints("")
    assert corpora._reader(".")[1].articles == 1
    assert list(pretrained.checkpoints(".")) == [0]


@pytest.mark.parametrize(
    ("option", "message"), [("--folder", "invalid path value: ''"), ("--corpus", "corpus needs text")]
)
def test_nothing_is_recorded_of_or_in_a_folder_without_a_name(monkeypatch, capsys, option, message):
    monkeypatch.setattr(sys, "argv", ["recorded", "chapter_6", "smoke", option, ""])
    with pytest.raises(SystemExit) as exit_:
        __main__.main()
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_a_variable_names_a_whole_path_seen_from_here_and_an_empty_one_none(monkeypatch, here):
    monkeypatch.setenv("HOME", str(here / "home"))
    for text, path in (("", None), ("a b", here / "a b"), ("~/c", here / "home" / "c")):
        monkeypatch.setenv("A_FOLDER", text)
        assert paths.named_by("A_FOLDER") == path
    monkeypatch.delenv("A_FOLDER")
    assert paths.named_by("A_FOLDER") is None
