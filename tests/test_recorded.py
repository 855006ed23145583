"""Results that are kept: what is written, what is read again, and what is said of it."""

import errno
import importlib
import json
import os
import re
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

import pandas as pd
import pytest

from lmdynamics.ground import storage
from lmdynamics.ground.storage import StorageError
from lmthesis import findings, recorded
from lmthesis.chapter_5 import page, settings
from lmthesis.chapter_5 import study as chapter_5
from lmthesis.recorded import RESULTS, RecordError

HOMES = sorted(path.parent for path in RESULTS.glob("*/about.json"))


def read(home):
    """A record by the command that wrote it, its chapter and its scale."""
    about = json.loads((home / "about.json").read_text())
    chapter, scale_name, *options = shlex.split(about["command"])[3:]  # python -m lmthesis.recorded
    text = {name.removeprefix("--"): value for name, value in zip(options[::2], options[1::2], strict=True)}
    if "articles" in text:
        text["articles"] = int(text["articles"])
    scale = importlib.import_module(f"lmthesis.{chapter}.settings").scale(scale_name, **text)
    return recorded.read(chapter, scale_name, **text, folder=home.parent), chapter, scale


@pytest.mark.parametrize("home", HOMES, ids=lambda home: home.name)
def test_recorded_tables_still_decide_every_claim_of_their_chapter(home):
    found, chapter, scale = read(home)
    claims, study = findings.chapters()[chapter], importlib.import_module(f"lmthesis.{chapter}.study")
    named = {name for claim in claims.values() for name in claim.tables}
    needed = named if found.about["completed_by"] is None else set(study.OF_TEXT)
    if "note" in found.about:  # recorded before these two tables were
        needed -= {"ran", "properties"}
    assert found.tables.keys() >= needed
    assert not named & set(study.LEFT_OUT)
    verdicts = claims.verdict_table(found.tables)
    assert len(verdicts) == sum(set(claim.tables) <= found.tables.keys() for claim in claims.values())
    assert (verdicts["seeds"] >= 2).mean() > 0.9
    assert {"settings", "code", "date", "machine", "torch"} <= found.about.keys()
    assert recorded.load(chapter, scale).about == found.about  # as the page asks for it


def test_the_picture_of_the_readme_is_a_recorded_one():
    assert "data/results/chapter_4-demo/settling.svg" in (RESULTS.parents[1] / "README.md").read_text()
    assert (RESULTS / "chapter_4-demo" / "settling.svg").read_text().lstrip().startswith("<?xml")


def test_every_chapter_with_a_study_can_be_recorded():
    folders = {path.parent.name for path in Path(recorded.__file__).parent.glob("chapter_*/study.py")}
    assert set(recorded.chapters()) == folders >= {"chapter_4", "chapter_5", "chapter_6"}


@pytest.fixture
def measured(monkeypatch):
    """What was asked to be measured, by a study that takes no time: the number of articles in every table."""
    asked = []

    def study(scale):
        asked.append(scale)
        names = ("rule", *chapter_5.OF_TEXT, *chapter_5.LEFT_OUT)
        return {name: pd.DataFrame({"number": [0.25], "articles": [scale.articles]}) for name in names}

    study.__module__ = chapter_5.__name__
    monkeypatch.setattr(chapter_5, "study", study)
    monkeypatch.setattr(recorded, "code_fingerprint", lambda function: "this code")
    return asked


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Call the command with some arguments."""

    def call(line):
        monkeypatch.setattr("sys.argv", ["recorded", *line.split(), "--folder", str(tmp_path)])
        recorded.main()

    return call


def test_the_command_records_a_study_on_another_corpus_in_a_folder_of_its_own(
    measured, command, tmp_path, capsys
):
    command("chapter_5 demo --corpus ewt --articles 150")
    assert [path.name for path in tmp_path.iterdir()] == ["chapter_5-demo-ewt-150-articles"]
    assert str(tmp_path / "chapter_5-demo-ewt-150-articles") in capsys.readouterr().out
    (scale,) = measured
    assert (scale.treebank, scale.corpus) == ("ewt", "wikitext-2")
    found = recorded.read("chapter_5", "demo", corpus="ewt", articles=150, folder=tmp_path)
    assert set(found.tables) == {"rules", *chapter_5.OF_TEXT}  # made-up languages are the same on any text
    assert found.tables["strata"]["number"].tolist() == [0.25]
    assert found.about["settings"] == json.loads(json.dumps(asdict(scale)))


def test_different_texts_are_recorded_in_different_folders(tmp_path):
    texts = [
        *(
            "ewt",
            "./ewt",
            "a/ewt",
            "b/ewt",
            "b/ewt.txt",
            "wiki.v1",
            "wiki.v2",
            "a/<b>",
            "a/ b ",
            "a/" + "w" * 300,
        ),
        *("ewt-3-articles", "3-articles", "中", "b/中"),
    ]
    given = [{"corpus": text, "articles": articles} for text in (None, *texts) for articles in (None, 3)]
    names = [recorded._home(tmp_path, "chapter_5", "demo", **each).name for each in given]
    assert len(set(names)) == len(names)
    assert {"chapter_5-demo", "chapter_5-demo-3-articles", "chapter_5-demo-ewt-3-articles"} <= set(names)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,80}", name) for name in names)


def test_the_command_that_records_a_text_names_it_as_a_shell_reads_it():
    line = recorded._command("chapter_5", "demo", corpus="my $texts/a b")
    assert shlex.split(line)[-1] == "my $texts/a b"


def test_a_study_on_the_text_of_its_scale_is_named_by_the_scale_alone(measured, command, tmp_path):
    command("chapter_5 smoke")
    assert [path.name for path in tmp_path.iterdir()] == ["chapter_5-smoke"]
    assert measured == [settings.SMOKE]
    found = recorded.load("chapter_5", settings.SMOKE, tmp_path)
    assert found.tables.keys() == {"rule", "rules", *chapter_5.OF_TEXT}  # without sentences by others
    assert found.about["command"] == "python -m lmthesis.recorded chapter_5 smoke"


def test_fewer_articles_of_the_same_corpus_do_not_overwrite_the_whole(measured, command, tmp_path):
    command("chapter_5 demo")
    command("chapter_5 demo --articles 3")
    assert {path.name for path in tmp_path.iterdir()} == {"chapter_5-demo", "chapter_5-demo-3-articles"}
    assert measured[1].articles == 3


def test_what_stood_in_the_folder_before_is_gone(measured, command, tmp_path):
    (tmp_path / "chapter_5-smoke").mkdir()
    (tmp_path / "chapter_5-smoke" / "forgotten.csv").write_text("number\n1\n")
    command("chapter_5 smoke")
    assert "forgotten" not in recorded.load("chapter_5", settings.SMOKE, tmp_path).tables


def test_tables_that_do_not_depend_on_the_text_are_those_of_the_scales_own(measured, command, tmp_path):
    command("chapter_5 smoke")
    command("chapter_5 smoke --articles 3")
    tables = recorded.load("chapter_5", settings.scale("smoke", articles=3), tmp_path).tables
    assert tables["strata"]["articles"].tolist() == [3]
    assert tables["rule"]["articles"].tolist() == [settings.SMOKE.articles]


def test_the_code_that_measures_is_named_as_it_was_before(measured, monkeypatch, tmp_path):
    code, study = iter(["before", "after"]), chapter_5.study
    monkeypatch.setattr(recorded, "code_fingerprint", lambda function: next(code))
    monkeypatch.setattr(chapter_5, "study", lambda scale: next(code) and study(scale))
    recorded.record("chapter_5", settings.SMOKE, tmp_path)
    assert recorded.load("chapter_5", settings.SMOKE, tmp_path).about["code"] == "before"


def test_six_digits_of_a_number_are_kept(measured, monkeypatch, tmp_path):
    study = chapter_5.study
    monkeypatch.setattr(
        chapter_5, "study", lambda scale: study(scale) | {"rule": pd.DataFrame({"omega": [1 / 3]})}
    )
    recorded.record("chapter_5", settings.SMOKE, tmp_path)
    assert (tmp_path / "chapter_5-smoke" / "rule.csv").read_text() == "omega\n0.333333\n"


DAMAGES = {
    "a bit": lambda content, at, random: (
        content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]
    ),
    "a page": lambda content, at, random: content[:at] + bytes(4096) + content[at + 4096 :],
    "the end": lambda content, at, random: content[:at],
    "a digit": lambda content, at, random: content[:at] + b"%d" % random.randrange(10) + content[at + 1 :],
    "a row": lambda content, at, random: content + content[at:],
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_file_of_a_record_is_an_error_that_names_it_and_the_remedy(
    measured, command, tmp_path, what
):
    command("chapter_5 smoke")
    home, random = tmp_path / "chapter_5-smoke", Random(what)
    for path in home.iterdir():
        content = path.read_bytes()
        for _ in range(20):
            damaged = DAMAGES[what](content, random.randrange(len(content)), random)
            path.write_bytes(damaged)
            for read in (
                lambda: recorded.load("chapter_5", settings.SMOKE, tmp_path),
                lambda: recorded.read("chapter_5", "smoke", folder=tmp_path),
            ):
                if damaged != content:
                    with pytest.raises(
                        RecordError, match=rf"{path} is damaged .*git checkout.*record it again"
                    ):
                        read()
        path.write_bytes(content)
    recorded.load("chapter_5", settings.SMOKE, tmp_path)


def test_a_file_that_a_record_lacks_is_an_error_that_names_it(measured, command, tmp_path):
    command("chapter_5 smoke")
    path = tmp_path / "chapter_5-smoke" / "rule.csv"
    path.unlink()
    with pytest.raises(
        RecordError, match=rf"{path} is damaged .*: python -m lmthesis\.recorded chapter_5 smoke$"
    ):
        recorded.read("chapter_5", "smoke", folder=tmp_path)


def test_a_record_without_checksums_is_an_error_that_names_it(measured, command, tmp_path):
    command("chapter_5 smoke")
    path = tmp_path / "chapter_5-smoke" / "about.json"
    about = json.loads(path.read_text())
    del about["sha256"]
    path.write_text(json.dumps(about))
    with pytest.raises(RecordError, match=rf"{path} is damaged \(it holds no checksum of itself"):
        recorded.load("chapter_5", settings.SMOKE, tmp_path)


def test_a_recording_that_fails_leaves_what_was_recorded_before(measured, command, tmp_path, monkeypatch):
    command("chapter_5 smoke")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    study = chapter_5.study
    monkeypatch.setattr(chapter_5, "study", lambda scale: {name: t * 2 for name, t in study(scale).items()})
    monkeypatch.setattr(storage, "require_place", lambda path: None)
    with pytest.raises(StorageError, match=r"chapter_5-smoke \(No space left on device\)"):
        command("chapter_5 smoke")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_a_place_that_cannot_be_written_is_an_error_before_anything_is_measured(measured, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"could not write .*/file/chapter_5-smoke"):
        recorded.record("chapter_5", settings.SMOKE, tmp_path / "file")
    assert measured == []


def test_results_outside_a_checkout_are_an_error_before_anything_is_computed(measured, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"need recorded results in .*absent.*they lie in a checkout"):
        recorded.results(chapter_5.study, settings.SMOKE, folder=tmp_path / "absent")
    assert measured == []


def test_the_picture_of_a_chapter_is_drawn_from_the_tables_as_they_are_recorded(monkeypatch):
    contents = {path.name: path.read_bytes() for path in (RESULTS / "chapter_4-demo").glob("*.csv")}
    ((name, content),) = recorded._picture("chapter_4", contents).items()
    assert (name, content[:5]) == ("settling.svg", b"<?xml")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ({}, ""),
        ({"corpus": "wikitext-2"}, " --corpus wikitext-2"),
        ({"corpus": "ewt", "articles": 150}, " --corpus ewt --articles 150"),
        ({"articles": 3}, " --articles 3"),
    ],
)
def test_a_study_that_was_not_recorded_is_an_error_that_names_the_whole_command(text, options, tmp_path):
    command = rf"record it: python -m lmthesis\.recorded chapter_5 demo{options}$"
    with pytest.raises(FileNotFoundError, match=command):
        recorded.read("chapter_5", "demo", **text, folder=tmp_path)


def test_a_scale_that_was_not_recorded_is_an_error_that_names_those_that_were(measured, command, tmp_path):
    command("chapter_5 smoke")
    with pytest.raises(
        FileNotFoundError,
        match=r"not recorded at scale demo \(there are: chapter_5-smoke\); set source to run, or record it: "
        r"python -m lmthesis\.recorded chapter_5 demo$",
    ):
        recorded.load("chapter_5", settings.DEMO, tmp_path)


def test_settings_that_were_not_recorded_are_named(measured, command, tmp_path):
    command("chapter_5 smoke")
    other = replace(settings.SMOKE, epochs=7, lengths=(5,))
    with pytest.raises(FileNotFoundError, match=r"at smoke with other epochs, lengths .*set source to run$"):
        recorded.load("chapter_5", other, tmp_path)


# What a page takes


def test_a_page_takes_what_is_run_or_what_was_kept_and_what_was_measured_once(measured, command, tmp_path):
    command("chapter_5 demo --corpus ewt --articles 150")
    command("chapter_5 smoke")
    measured.clear()
    kept = recorded.results(chapter_5.study, settings.SMOKE, source="recorded", folder=tmp_path)
    assert measured == []
    run = recorded.results(chapter_5.study, settings.SMOKE, folder=tmp_path)
    assert measured == [settings.SMOKE]
    gold = {f"gold_{name}" for name in (*chapter_5.english.TABLES, "ran")}
    assert kept.keys() == {"rule", "rules", *chapter_5.OF_TEXT} | gold
    assert run.keys() == kept.keys() - {"rules"} | set(chapter_5.LEFT_OUT)
    for tables in (kept, run):
        assert tables["gold_strata"]["articles"].tolist() == [150]
        assert tables["strata"]["articles"].tolist() == [settings.SMOKE.articles]


def test_it_is_said_how_gold_trees_were_measured(measured, command, tmp_path):
    command("chapter_5 demo --corpus ewt --articles 150")
    said = page.measured_as(chapter_5.measured_once(tmp_path)["gold_ran"])
    about = json.loads((tmp_path / "chapter_5-demo-ewt-150-articles" / "about.json").read_text())
    assert "Models of wikitext-2, its first 150 articles, 3 epochs, seeds 0, 1, 2" in said.text
    assert f"measured on 15,000 tokens of ewt, {about['date'][:10]}" in said.text
    assert said.command == "python -m lmthesis.recorded chapter_5 demo --corpus ewt --articles 150"


def test_a_source_is_run_or_recorded():
    with pytest.raises(ValueError, match="a source is one of run, recorded, got 'cache'"):
        recorded.results(chapter_5.study, settings.SMOKE, source="cache")


@pytest.mark.parametrize(("source", "said"), [("run", "Run for this page"), ("recorded", "Recorded results")])
def test_the_top_of_a_page_says_where_its_numbers_come_from(source, said):
    ran = recorded.ran_table(replace(settings.SMOKE, name="<smoke>", seeds=(0, 3)), 12_345)
    shown = recorded.Top(ran, source)._repr_html_()
    assert said in shown
    assert "<em>&lt;smoke&gt;</em>: each language model read 12,345 tokens; seeds 0, 3; 20" in shown
