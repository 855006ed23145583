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
from matplotlib import pyplot as plt

from lmdynamics.ground import storage
from lmdynamics.ground.storage import StorageError
from lmthesis import findings, recorded
from lmthesis.chapter_4 import settings as chapter_4
from lmthesis.chapter_5 import figures, page, settings
from lmthesis.chapter_5 import study as chapter_5
from lmthesis.recorded import RESULTS, RecordError, __main__

HOMES = sorted({path.parents[1] for path in RESULTS.glob("*/*/about.json")})


def read(home):
    """A record by the command that wrote it, its chapter and its scale."""
    about = json.loads(next(home.glob("seed-*/about.json")).read_text())
    chapter, scale_name, *options = shlex.split(about["command"])[3:]  # python -m lmthesis.recorded
    text = {name.removeprefix("--"): value for name, value in zip(options[::2], options[1::2], strict=True)}
    del text["seed"]
    if "articles" in text:
        text["articles"] = int(text["articles"])
    scale = importlib.import_module(f"lmthesis.{chapter}.settings").scale(scale_name, **text)
    return recorded.read(chapter, scale_name, **text, folder=home.parent), chapter, scale


@pytest.mark.parametrize("home", HOMES, ids=lambda home: home.name)
def test_recorded_tables_still_decide_every_claim_of_their_chapter(home):
    found, chapter, scale = read(home)
    claims, study = findings.chapters()[chapter], importlib.import_module(f"lmthesis.{chapter}.study")
    named = {name for claim in claims.values() for name in claim.tables}
    needed = named if found.slices[0]["completed_by"] is None else set(study.OF_TEXT)
    if home.name.endswith("articles"):  # recorded before these two tables were
        needed -= {"ran", "properties"}
    assert found.tables.keys() >= needed
    assert not named & set(study.LEFT_OUT)
    verdicts = claims.verdict_table(found.tables)
    assert len(verdicts) == sum(set(claim.tables) <= found.tables.keys() for claim in claims.values())
    assert (verdicts["seeds"] >= 2).mean() > 0.9
    for about in found.slices:
        assert {"settings", "code", "date", "machine", "torch"} <= about.keys()
    assert recorded.load(chapter, scale).slices == found.slices  # as the page asks for it


def test_all_that_is_recorded_stays_small():
    assert sum(path.stat().st_size for path in RESULTS.rglob("*.*")) < 40e6


def test_the_picture_of_the_readme_is_a_recorded_one():
    assert "(data/results/settling.svg)" in (RESULTS.parents[1] / "README.md").read_text()
    picture = (RESULTS / "settling.svg").read_text()
    assert picture.lstrip().startswith("<?xml"), "run: python -m lmthesis.ledger"


def test_every_chapter_with_a_study_can_be_recorded():
    folders = {path.parent.name for path in Path(recorded.__file__).parents[1].glob("chapter_*/study.py")}
    assert set(recorded.chapters()) == folders >= {"chapter_4", "chapter_5", "chapter_6"}


ONE_BY_ONE = [replace(settings.SMOKE, seeds=(seed,)) for seed in settings.SMOKE.seeds]


@pytest.fixture
def measured(monkeypatch):
    """What was asked to be measured, by a study that takes no time: the number of articles in every table."""
    asked = []

    def study(scale):
        asked.append(scale)
        names = ("rule", *chapter_5.OF_TEXT, *chapter_5.LEFT_OUT)
        rows = {"seed": scale.seeds, "number": [0.25 + seed for seed in scale.seeds]}
        return {name: pd.DataFrame({**rows, "articles": scale.articles}) for name in names}

    study.__module__ = chapter_5.__name__
    monkeypatch.setattr(chapter_5, "study", study)
    monkeypatch.setattr(chapter_5, "trainings", lambda scale: [])
    monkeypatch.setattr(recorded, "code_fingerprint", lambda function: "this code")
    monkeypatch.setattr(os, "nice", lambda by: 0)
    return asked


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Call the command with some arguments."""

    def call(line):
        monkeypatch.setattr("sys.argv", ["recorded", *line.split(), "--folder", str(tmp_path)])
        __main__.main()

    return call


def test_the_command_records_a_study_on_another_corpus_in_a_folder_of_its_own(
    measured, command, tmp_path, capsys
):
    command("chapter_5 demo --corpus ewt --articles 150")
    assert [path.name for path in tmp_path.iterdir()] == ["chapter_5-demo-ewt-150-articles"]
    assert str(tmp_path / "chapter_5-demo-ewt-150-articles" / "seed-2") in capsys.readouterr().out
    assert [scale.seeds for scale in measured] == [(0,), (1,), (2,)]
    assert {(scale.treebank, scale.corpus) for scale in measured} == {("ewt", "wikitext-2")}
    found = recorded.read("chapter_5", "demo", corpus="ewt", articles=150, folder=tmp_path)
    assert set(found.tables) == {"rules", *chapter_5.OF_TEXT}  # made-up languages are the same on any text
    assert found.tables["strata"]["number"].tolist() == [0.25, 1.25, 2.25]
    assert [about["settings"] for about in found.slices] == json.loads(json.dumps([*map(asdict, measured)]))
    assert found.seeds == (0, 1, 2)


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
    assert measured == ONE_BY_ONE
    found = recorded.load("chapter_5", settings.SMOKE, tmp_path)
    assert found.tables.keys() == {"rule", "rules", *chapter_5.OF_TEXT}  # without sentences by others
    commands = [about["command"] for about in found.slices]
    assert commands == [f"python -m lmthesis.recorded chapter_5 smoke --seed {seed}" for seed in (0, 1)]


def test_fewer_articles_of_the_same_corpus_do_not_overwrite_the_whole(measured, command, tmp_path):
    command("chapter_5 demo")
    command("chapter_5 demo --articles 3")
    assert {path.name for path in tmp_path.iterdir()} == {"chapter_5-demo", "chapter_5-demo-3-articles"}
    assert [scale.articles for scale in measured] == [None] * 3 + [3] * 3


def test_what_stood_in_the_folder_before_is_gone(measured, command, tmp_path):
    (tmp_path / "chapter_5-smoke" / "seed-0").mkdir(parents=True)
    (tmp_path / "chapter_5-smoke" / "seed-0" / "forgotten.csv").write_text("number\n1\n")
    command("chapter_5 smoke")
    assert "forgotten" not in recorded.load("chapter_5", settings.SMOKE, tmp_path).tables


def test_tables_that_do_not_depend_on_the_text_are_those_of_the_scales_own(measured, command, tmp_path):
    command("chapter_5 smoke")
    command("chapter_5 smoke --articles 3")
    tables = recorded.load("chapter_5", settings.scale("smoke", articles=3), tmp_path).tables
    assert tables["strata"]["articles"].tolist() == [3, 3]
    assert tables["rule"]["articles"].tolist() == [settings.SMOKE.articles] * 2


def test_the_code_that_measures_is_named_as_it_was_before(measured, monkeypatch, tmp_path):
    code, study = iter(["before", "after"]), chapter_5.study
    monkeypatch.setattr(recorded, "code_fingerprint", lambda function: next(code))
    monkeypatch.setattr(chapter_5, "study", lambda scale: next(code) and study(scale))
    recorded.record("chapter_5", ONE_BY_ONE[0], tmp_path)
    (about,) = recorded.load("chapter_5", settings.SMOKE, tmp_path).slices
    assert about["code"] == "before"


def test_six_digits_of_a_number_are_kept(measured, monkeypatch, tmp_path):
    study = chapter_5.study
    monkeypatch.setattr(
        chapter_5, "study", lambda scale: study(scale) | {"rule": pd.DataFrame({"omega": [1 / 3]})}
    )
    recorded.record("chapter_5", ONE_BY_ONE[0], tmp_path)
    assert (tmp_path / "chapter_5-smoke" / "seed-0" / "rule.csv").read_text() == "omega\n0.333333\n"


def test_truths_come_back_as_truths_and_words_as_words(measured, monkeypatch, tmp_path):
    table = pd.DataFrame({"labels": "true", "rescaled": [True, False], "word": ["None", "nan"], "n": [1, 2]})
    study = chapter_5.study
    monkeypatch.setattr(chapter_5, "study", lambda scale: study(scale) | {"rule": table})
    recorded.record("chapter_5", ONE_BY_ONE[0], tmp_path)
    pd.testing.assert_frame_equal(recorded.load("chapter_5", settings.SMOKE, tmp_path).tables["rule"], table)


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
    home, random = tmp_path / "chapter_5-smoke" / "seed-1", Random(what)
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
    path = tmp_path / "chapter_5-smoke" / "seed-1" / "rule.csv"
    path.unlink()
    with pytest.raises(
        RecordError, match=rf"{path} is damaged .*: python -m lmthesis\.recorded chapter_5 smoke --seed 1$"
    ):
        recorded.read("chapter_5", "smoke", folder=tmp_path)


def test_a_record_without_checksums_is_an_error_that_names_it(measured, command, tmp_path):
    command("chapter_5 smoke")
    path = tmp_path / "chapter_5-smoke" / "seed-0" / "about.json"
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
    with pytest.raises(StorageError, match=r"chapter_5-smoke/seed-0 \(No space left on device\)"):
        command("chapter_5 smoke --again")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_a_place_that_cannot_be_written_is_an_error_before_anything_is_measured(measured, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"could not write .*/file/chapter_5-smoke"):
        recorded.record("chapter_5", ONE_BY_ONE[0], tmp_path / "file")
    assert measured == []


def test_results_outside_a_checkout_are_an_error_before_anything_is_computed(measured, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"need recorded results in .*absent.*they lie in a checkout"):
        recorded.results(chapter_5.study, settings.SMOKE, folder=tmp_path / "absent")
    assert measured == []


@pytest.fixture
def picture(monkeypatch):
    """The tables of which a picture of chapter 5 was drawn."""
    drawn = []

    def curves(tables):
        drawn.append(tables["rule"])
        return plt.figure()

    monkeypatch.setattr(figures, "PICTURE", curves, raising=False)
    return drawn


def test_the_picture_of_a_chapter_is_of_all_slices_of_its_largest_scale(measured, command, tmp_path, picture):
    command("chapter_5 smoke")
    assert not picture
    command("chapter_5 desktop --seed 0")
    command("chapter_5 demo")
    command("chapter_5 desktop --seed 1")
    assert [table["number"].tolist() for table in picture] == [[0.25]] * 4 + [[0.25, 1.25]]
    assert (tmp_path / "curves.svg").read_text().lstrip().startswith("<?xml")
    assert not plt.get_fignums()


def test_a_chapter_without_a_picture_draws_none(measured, command, tmp_path):
    command("chapter_5 demo --seed 0")
    assert [path.name for path in tmp_path.iterdir()] == ["chapter_5-demo"]


def test_scales_are_named_the_smallest_first_without_smoke_and_other_texts(measured, command, tmp_path):
    for given in ("smoke", "gpu --articles 3", "desktop --seed 0", "demo --seed 0"):
        command(f"chapter_5 {given}")
    assert recorded.scale_names("chapter_5", tmp_path) == ("demo", "desktop")
    assert recorded.scale_names("chapter_4", tmp_path) == ()


def test_a_recording_among_our_results_writes_the_sentence_of_the_readme(measured, monkeypatch, tmp_path):
    written = []
    monkeypatch.setattr(__main__.ledger, "write_readme", lambda: written.append(1))
    monkeypatch.setattr(recorded, "RESULTS", tmp_path)
    for folder in (tmp_path / "elsewhere", tmp_path):
        monkeypatch.setattr("sys.argv", f"recorded chapter_5 smoke --seed 0 --folder {folder}".split())
        __main__.main()
    assert written == [1]


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


# Slices


def test_what_is_kept_is_not_measured_again_unless_it_is_asked_for(measured, command):
    command("chapter_5 smoke --seed 1")
    command("chapter_5 smoke")
    assert measured == ONE_BY_ONE[::-1]
    command("chapter_5 smoke --again")
    assert measured == [*ONE_BY_ONE[::-1], *ONE_BY_ONE]


def test_a_seed_that_is_none_of_the_scales_is_recorded_and_read_where_it_is_asked_for(
    measured, command, tmp_path
):
    command("chapter_5 smoke")
    command("chapter_5 smoke --seed 7")
    assert recorded.load("chapter_5", settings.SMOKE, tmp_path).seeds == (0, 1)
    seven = recorded.load("chapter_5", settings.scale("smoke", seeds=[7]), tmp_path)
    assert seven.tables["rule"]["number"].tolist() == [7.25]


def test_slices_of_other_settings_are_not_mixed(measured, command, tmp_path, monkeypatch):
    command("chapter_5 smoke --seed 0")
    monkeypatch.setattr(settings, "scale", lambda name, **given: replace(settings.SMOKE, cases=7))
    command("chapter_5 smoke --seed 1")
    assert recorded.load("chapter_5", settings.SMOKE, tmp_path).seeds == (0,)
    assert recorded.load("chapter_5", replace(settings.SMOKE, cases=7), tmp_path).seeds == (1,)


def test_rules_that_any_slice_was_recorded_under_are_kept(measured, command, tmp_path, monkeypatch):
    command("chapter_5 smoke --seed 0")
    once = recorded.load("chapter_5", settings.SMOKE, tmp_path).tables["rules"]
    claims = findings.chapters()["chapter_5"]
    table = claims.rule_table()
    table.loc[0, "fingerprint"] = "another"
    monkeypatch.setattr(claims, "rule_table", lambda: table)
    command("chapter_5 smoke --seed 1")
    both = recorded.load("chapter_5", settings.SMOKE, tmp_path).tables["rules"]
    assert len(both) == len(once) + 1
    assert set(both.loc[both["finding"] == table.loc[0, "finding"], "fingerprint"]) == {
        "another",
        once.loc[0, "fingerprint"],
    }


def test_a_slice_says_what_a_sceptic_asks(measured, command, tmp_path):
    command("chapter_5 smoke --seed 0")
    (about,) = recorded.load("chapter_5", settings.SMOKE, tmp_path).slices
    asked = ("commit", "clean", "corpora", "tokens_read", "seconds", "seconds_of_training", "precision")
    assert {*asked, "threads", "processor", "accelerator", "blas", "numpy", "date"} <= about.keys()
    assert about["commit"] is None or re.fullmatch("[0-9a-f]{40}", about["commit"])
    ((file, digest),) = about["corpora"]["wikipedia-sample"].items()
    assert file.endswith(".bz2")
    assert len(digest) == 64


def test_more_than_two_seeds_are_no_slice():
    with pytest.raises(ValueError, match=r"a slice of chapter_5 is of one seed, got \(0, 1\)"):
        recorded.record("chapter_5", settings.SMOKE)
    with pytest.raises(ValueError, match=r"a slice of chapter_4 is of one seed, or two, got \(0, 1, 2\)"):
        recorded.record("chapter_4", replace(chapter_4.SMOKE, seeds=(0, 1, 2)))


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
        assert tables["gold_strata"]["articles"].tolist() == [150] * 3
        assert tables["strata"]["articles"].tolist() == [settings.SMOKE.articles] * 2


def test_it_is_said_how_gold_trees_were_measured(measured, command, tmp_path):
    command("chapter_5 demo --corpus ewt --articles 150")
    said = page.measured_as(chapter_5.measured_once(tmp_path)["gold_ran"])
    home = tmp_path / "chapter_5-demo-ewt-150-articles"
    about = json.loads((home / "seed-2" / "about.json").read_text())
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
