import json

import pandas as pd
import pytest

from lmthesis import findings as claims
from lmthesis import recorded
from lmthesis import scales as settings
from lmthesis.chapter_5 import study as chapter_5
from lmthesis.recorded import RESULTS, Text

HOMES = sorted(path.parent for path in RESULTS.glob("*/about.json"))


@pytest.mark.parametrize("home", HOMES, ids=lambda home: home.name)
def test_recorded_tables_still_decide_every_claim_of_their_study(home):
    about = json.loads((home / "about.json").read_text())
    study, size, *options = about["command"].split()[3:]  # python -m lmthesis.recorded
    corpus, articles = (
        dict(zip(options[::2], options[1::2], strict=True)).get(f"--{name}") for name in Text._fields
    )
    text = Text(corpus, articles and int(articles))
    found = recorded.load(study, size, text=text)
    verdicts = claims.overview(found.tables)
    own = getattr(claims, study).CLAIMS.values()
    named = {name for claim in own for name in claim.tables} - set(recorded.LEFT_OUT)
    assert found.tables.keys() >= (named & set(chapter_5.OF_TEXT) if text != recorded.OWN else named)
    assert len(verdicts) == sum(set(claim.tables) <= found.tables.keys() for claim in claims.CLAIMS.values())
    assert set(verdicts["verdict"]) <= {"holds", "does not hold", "open", "not tested"}
    assert (verdicts["seeds"] >= 2).mean() > 0.9
    assert {"settings", "code", "date", "machine", "torch"} <= found.about.keys()


def test_the_picture_of_the_readme_is_a_recorded_one():
    assert "data/results/chapter_4-demo/settling.svg" in (RESULTS.parents[1] / "README.md").read_text()
    assert (RESULTS / "chapter_4-demo" / "settling.svg").read_text().lstrip().startswith("<?xml")


@pytest.fixture
def measured(monkeypatch):
    """What was asked to be measured, by a study that takes no time."""
    asked = []

    def study(size):
        asked.append(size)
        return {name: pd.DataFrame({"number": [0.25]}) for name in ("rule", *chapter_5.OF_TEXT)}

    monkeypatch.setattr(chapter_5, "study", study)
    return asked


def test_the_command_records_a_study_on_another_corpus_in_a_folder_of_its_own(
    measured, monkeypatch, tmp_path, capsys
):
    command = ["chapter_5", "demo", "--corpus", "ewt", "--articles", "150", "--folder", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["recorded", *command])
    recorded.main()
    assert [path.name for path in tmp_path.iterdir()] == ["chapter_5-demo-ewt-150-articles"]
    assert str(tmp_path / "chapter_5-demo-ewt-150-articles") in capsys.readouterr().out
    (size,) = measured
    assert (size.english.treebank, size.english.corpus.corpus) == ("ewt", "wikitext-2")
    found = recorded.load("chapter_5", "demo", tmp_path, text=Text("ewt", 150))
    assert set(found.tables) == set(chapter_5.OF_TEXT)  # made-up languages are the same on any text
    assert found.tables["strata"]["number"].tolist() == [0.25]
    said = chapter_5.recorded_by(found.about)
    assert "Models of wikitext-2, its first 150 articles, 3 epochs, seeds 0, 1, 2" in said
    assert f"measured on 15,000 tokens of ewt, {found.about['date'][:10]}" in said
    assert said.endswith("`python -m lmthesis.recorded chapter_5 demo --corpus ewt --articles 150`.")


def test_a_study_on_the_corpus_of_its_scale_is_named_by_the_scale_alone(measured, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["recorded", "chapter_5", "smoke", "--folder", str(tmp_path)])
    recorded.main()
    assert [path.name for path in tmp_path.iterdir()] == ["chapter_5-smoke"]
    assert measured == [settings.SMOKE]
    found = recorded.load("chapter_5", "smoke", tmp_path)
    assert "rule" in found.tables
    assert found.about["command"] == "python -m lmthesis.recorded chapter_5 smoke"


def test_fewer_articles_of_the_same_corpus_do_not_overwrite_the_whole(measured, monkeypatch, tmp_path):
    for more in ([], ["--articles", "3"]):
        monkeypatch.setattr("sys.argv", ["recorded", "chapter_5", "demo", *more, "--folder", str(tmp_path)])
        recorded.main()
    assert {path.name for path in tmp_path.iterdir()} == {"chapter_5-demo", "chapter_5-demo-3-articles"}
    assert measured[1].english.corpus.articles == 3


def test_the_code_that_measures_is_named_as_it_was_before(monkeypatch, tmp_path):
    code = iter(["before", "after"])
    monkeypatch.setattr(recorded, "code_fingerprint", lambda module: next(code))
    monkeypatch.setattr(chapter_5, "study", lambda size: next(code) and {})
    recorded.record("chapter_5", settings.SMOKE, tmp_path)
    assert recorded.load("chapter_5", "smoke", tmp_path).about["code"] == "before"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (Text(), ""),
        (Text("wikitext-2"), " --corpus wikitext-2"),
        (Text("ewt", 150), " --corpus ewt --articles 150"),
        (Text(articles=3), " --articles 3"),
    ],
)
def test_a_study_that_was_not_recorded_is_an_error_that_names_the_whole_command(text, options, tmp_path):
    command = rf"python -m lmdynamics\.recorded chapter_5 demo{options} measures"
    with pytest.raises(FileNotFoundError, match=command):
        recorded.load("chapter_5", "demo", tmp_path, text=text)


def test_all_of_a_corpus_is_said_to_be_all_of_it():
    about = {
        "command": "python -m lmthesis.recorded chapter_5 thesis",
        "settings": {
            "name": "thesis",
            "seeds": [0, 1],
            "english": {
                "corpus": {"corpus": "wikitext-2", "articles": None},
                "training": {"epochs": 50},
                "treebank": "ewt",
                "tokens": None,
            },
        },
        "date": "2026-01-02T03:04:05+00:00",
        "torch": "2.11",
        "machine": "Linux",
    }
    said = chapter_5.recorded_by(about)
    assert "wikitext-2, all of it, 50 epochs" in said
    assert "all tokens of ewt, 2026-01-02" in said
    assert said.endswith("Again: `python -m lmthesis.recorded chapter_5 thesis`.")


def test_shares_of_edges_found_are_means_over_seeds():
    rows = [
        {
            "seed": seed,
            "epoch": epoch,
            "weights": weights,
            "found": found + 0.1 * epoch,
            "low": found - 0.1,
            "high": found + 0.1,
        }
        for seed, weights, found in ((0, "x", 0.2), (0, "a", 0.5), (1, "x", 0.4), (1, "a", 0.7))
        for epoch in (0, 1, 2)
    ]
    found = chapter_5.found_edges(pd.DataFrame(rows))
    assert found.to_dict("list") == {
        "weights": ["x", "a"],
        "after training": [
            "50.0%<br><small>20.0% to 40.0%</small>",
            "80.0%<br><small>50.0% to 70.0%</small>",
        ],
        "untrained": ["30.0%<br><small>20.0% to 40.0%</small>", "60.0%<br><small>50.0% to 70.0%</small>"],
    }
