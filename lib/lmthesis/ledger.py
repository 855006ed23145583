"""The ledger: what each scale says of each finding; and what the largest record says in all.

`python -m lmthesis.ledger` draws the picture of the README and writes its sentence.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from lmdynamics import claims, plots
from lmdynamics.claims import Claim, Claims, Verdict, decide
from lmdynamics.ground import storage
from lmthesis import findings, html, places, recorded
from lmthesis.places import Place
from lmthesis.recorded import RESULTS, SOURCES, Tables
from lmthesis.scales import NAMES

README = RESULTS.parents[1] / "README.md"
_SENTENCE = re.compile(r"(?<=<!-- recorded -->\n).*(?=\n<!-- /recorded -->)")


@dataclass(frozen=True)
class Column:
    """The tables of one chapter at one scale, and what they say of its findings."""

    claims: Claims
    tables: Tables
    is_run: bool = False
    """Whether they were computed for the page."""

    @property
    def scale(self) -> str:
        """Its name."""
        return str(self.tables["ran"]["scale"].iloc[0])

    @property
    def label(self) -> str:
        """The scale, and whether it was run for the page."""
        return f"{self.scale}, this run" if self.is_run else self.scale

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """On all claims of the chapter; what its tables cannot decide is out of reach."""
        return tuple(_verdict(claim, self.tables) for claim in self.claims.values())

    @property
    def head(self) -> Markup:
        """The label, what each language model read, and of how many seeds."""
        ran = self.tables["ran"]
        tokens, seeds = plots.short(ran["tokens_read"].max()), _number(ran["seed"].nunique(), "seed")
        return Markup("{}<br><small>{} tokens<br>{}</small>").format(self.label, tokens, seeds)

    def cell(self, verdict: Verdict) -> Markup:
        """Return a verdict in a few words, with what it rests on in small print."""
        outcome = Markup('<strong class="{}">{}</strong>').format(
            verdict.outcome.replace(" ", "-"), verdict.outcome
        )
        notes = [*_numbers(verdict), *self.claims.rule_changes(verdict.claim, self.tables)]
        if verdict.seeds and verdict.seeds != self.tables["ran"]["seed"].nunique():
            notes.append(_number(verdict.seeds, "seed"))
        return Markup("{}<br><small>{}</small>").format(outcome, Markup("<br>").join(notes))


@dataclass(frozen=True)
class Chapter:
    """The findings of a chapter by scale, as a page shows them, and what ran at each."""

    columns: Sequence[Column]
    places: Sequence[Place | None]
    """Of each finding, on the chapter's page."""

    def _repr_html_(self) -> str:
        rows = zip(*(column.verdicts for column in self.columns), strict=True)
        shown = pd.DataFrame(
            [
                [
                    _finding(verdicts[0].claim, place),
                    *(column.cell(each) for column, each in zip(self.columns, verdicts, strict=True)),
                ]
                for verdicts, place in zip(rows, self.places, strict=True)
            ],
            columns=pd.Index(["finding", *(column.head for column in self.columns)], dtype=object),
            dtype=object,
        )
        table = html.markup(html.table(shown, classes="dataframe findings ledger"))
        return "\n".join([table, *map(_what_ran, self.columns)])


@dataclass(frozen=True)
class Ledger:
    """The findings of all chapters by scale."""

    columns: Mapping[str, Sequence[Column]]
    """Of each chapter, the smallest scale first."""

    def counts(self) -> html.Styler:
        """Return how many findings of each chapter and scale have which verdict, as a page shows it."""
        outcomes: dict[tuple[str, str], list[str]] = {}
        for name, columns in self.columns.items():
            for column in columns:
                verdicts: list[str] = [verdict.outcome for verdict in column.verdicts]
                outcomes[name.replace("_", " "), column.label] = verdicts
                outcomes.setdefault(("in all", column.label), []).extend(verdicts)
        rows = sorted(outcomes, key=lambda row: row[0] == "in all")
        table = claims.verdict_counts({row: outcomes[row] for row in rows})
        return html.table(table, index=True, classes="dataframe compact")

    def chapter(self, name: str) -> Chapter:
        """Return the findings of a chapter, by the name of its folder."""
        known, columns = places.by_finding(), self.columns[name]
        return Chapter(columns, [known.get((name, claim)) for claim in columns[0].claims])

    @property
    def largest(self) -> dict[str, Tables]:
        """Of each chapter, the tables of its largest scale."""
        return {name: columns[-1].tables for name, columns in self.columns.items()}


def by_scale(scale_name: str, *, source: str = "run", folder: Path = RESULTS) -> Ledger:
    """Return the ledger: every scale that is recorded, and where the source is `run` that scale run now.

    Parameters
    ----------
    scale_name
        What `run` computes.
    source
        `run`, or `recorded`, which computes nothing.
    folder
        Where recorded results are kept.

    Raises
    ------
    ValueError
        If source or scale are unknown.
    FileNotFoundError
        If nothing was run, and of a chapter nothing recorded.
    RecordError
        If a file of a record is damaged.
    """
    if source not in SOURCES:
        raise ValueError(f"a source is one of {', '.join(SOURCES)}, got {source!r}")
    run = findings.results(scale_name) if source == "run" else {}
    columns = {}
    for name, known in findings.chapters().items():
        of_run = [Column(known, run[name], is_run=True)] if run else []
        scales = recorded.scale_names(name, folder)
        if not (run or scales):
            scales = (scale_name,)  # reading it says how to record it
        kept = [Column(known, recorded.read(name, each, folder=folder).tables) for each in scales]
        columns[name] = sorted(of_run + kept, key=lambda column: NAMES.index(column.scale))
    return Ledger(columns)


def _verdict(claim: Claim, tables: Tables) -> Verdict:
    if missing := [name for name in claim.tables if name not in tables]:
        nothing = pd.DataFrame(columns=["margin", "low", "high", "below"], dtype=float)
        return Verdict(claim, "out of reach", nothing, 0, reason=f"it lacks the table {missing[0]}")
    return decide(claim, tables)


def _numbers(verdict: Verdict) -> list[str]:
    """How many cells are positive, the weakest one with its margin and interval; or why there is none."""
    if verdict.outcome == "out of reach":
        return [verdict.reason]
    several, name = len(verdict.cells) > 1, f"{verdict.weakest}: " if verdict.weakest else ""
    return [
        *([f"{verdict.positive} of {len(verdict.cells)} cells"] if several else []),
        f"{name}{verdict.rounded(verdict.margin)}",
        verdict.interval or "no interval",
    ]


def _finding(claim: Claim, place: Place | None) -> Markup:
    """The statement, its source, and a link to where it is decided."""
    link = Markup("")
    if place:
        link = Markup(' · <a href="{}">our {}</a>').format(place.address, place.kind)
    return Markup("{}<br><small>{}{}</small>").format(claim.statement, claim.origin, link)


def _what_ran(column: Column) -> str:
    table = Markup(html.markup(html.table(column.tables["properties"])))
    return Markup("<details><summary>What ran: {}</summary>{}</details>").format(column.label, table)


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def summary(folder: Path = RESULTS) -> str:
    """Return what the largest record of each chapter says in all, in a sentence or two for each scale.

    Raises
    ------
    FileNotFoundError
        If nothing is recorded.
    RecordError
        If a file of a record is damaged.
    """
    chapters: dict[str, list[str]] = {}
    for name in findings.chapters():
        for scale in recorded.scale_names(name, folder)[-1:]:
            chapters.setdefault(scale, []).append(name)
    if not chapters:
        raise FileNotFoundError(
            f"need recorded results in {folder}, got none; record them: python -m lmthesis.recorded all demo"
        )
    scales = sorted(chapters, key=NAMES.index, reverse=True)
    return " ".join(_sentences(scale, chapters[scale], folder) for scale in scales)


def lead(folder: Path = RESULTS) -> html.Paragraph:
    """Return `summary` as a page shows it; arguments as of it."""
    return html.Paragraph(summary(folder))


def _sentences(scale: str, chapters: Sequence[str], folder: Path) -> str:
    known = findings.chapters()
    studies = {name: recorded.read(name, scale, folder=folder) for name in chapters}
    columns = [Column(known[name], study.tables) for name, study in studies.items()]
    ran = pd.concat([column.tables["ran"] for column in columns])
    abouts = [about for study in studies.values() for about in study.slices]
    numbers = [name.removeprefix("chapter_") for name in chapters]
    which = f"chapter {numbers[0]}" if len(numbers) == 1 else f"chapters {_series(numbers)}"
    tokens = _range(ran["tokens_read"], plots.short)
    seeds = _range((column.tables["ran"]["seed"].nunique() for column in columns), str)
    verdicts = [verdict.outcome for column in columns for verdict in column.verdicts]
    counts = claims.verdict_counts({scale: verdicts}).loc[scale]
    return (
        f"The largest recorded scale of {which} is {scale}: {tokens} tokens read by each language model, "
        f"{seeds} seeds, {_hours(abouts)}. Of {len(verdicts)} findings {counts['holds']} hold, "
        f"{counts['does not hold']} do not hold, {counts['open']} are open and {counts['out of reach']} out "
        "of reach."
    )


def _hours(abouts: Sequence[Mapping[str, Any]]) -> str:
    """What slices took; a call that wrote several counts once. Some do not say their training apart."""
    seconds = sum({(about["chapter"], about["date"]): about["seconds"] for about in abouts}.values())
    training = sum(about.get("seconds_of_training", 0) for about in abouts)
    hours = plots.short(seconds / 3600)
    if not training:
        return f"{hours} hours"
    of_training = f"{plots.short(training / 3600)} hours of training, summed over each chapter's models"
    return f"{of_training}, and {hours} of measuring"


def _series(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _range(numbers: Iterable[int], shown: Callable[[int], str]) -> str:
    every = sorted(set(numbers))
    return " to ".join(dict.fromkeys(map(shown, (every[0], every[-1]))))


def write_readme(path: Path = README, folder: Path = RESULTS) -> None:
    """Write the summary where a README has its marks.

    Raises
    ------
    ValueError
        If it has none.
    """
    text = path.read_text(encoding="utf-8")
    written, count = _SENTENCE.subn(lambda _: summary(folder), text)
    if count != 1:
        raise ValueError(
            f"{path} needs one line between <!-- recorded --> and <!-- /recorded -->, each on its own line, "
            f"got {count}"
        )
    storage.write(path, written.encode())


def main() -> None:
    """Draw the picture of the README and write its sentence."""
    for name in recorded.chapters():
        recorded.draw(name)
    write_readme()


if __name__ == "__main__":
    main()
