"""Results that were measured once and are kept, in slices: small tables beside what they were measured with.

A slice is one seed of a chapter at a scale, or what compares two seeds: a folder of one CSV file per table
and `about.json`: settings, corpora, commit, versions, machine, date, the seconds of the call that wrote it,
in which jobs done before cost nothing, and the SHA-256 of each file, its own among them, which is checked
when it is read. Its table `rules` holds the rules of verdict as they were then. The folder is replaced as a
whole. It is named `<chapter>-<scale>/seed-<n>`, or `seeds-<m>-<n>` for two; where the scale was given
another text to read, its name follows that of the scale, such as in `chapter_5-demo-ewt-150-articles` (of a
path its last part and a hash), and tables that do not depend on the text are left out. A study is the
concatenation of its slices. They are written only by the code that measured them:
`python -m lmthesis.recorded chapter_4 desktop --seed 0` trains and measures what is missing and writes to
`data/results`.
"""

import datetime
import hashlib
import importlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any, cast

import pandas as pd
from matplotlib import pyplot as plt

import lmthesis
from lmdynamics import plots
from lmdynamics.ground import storage
from lmdynamics.ground.provenance import code_fingerprint, provenance
from lmdynamics.models import runs
from lmdynamics.text import corpora
from lmthesis.scales import NAMES, Settings

Tables = dict[str, pd.DataFrame]
Study = Callable[[Any], Tables]
"""The function `study` of a chapter: its settings in, all tables of its page out."""

RESULTS = Path(__file__).resolve().parents[3] / "data" / "results"
"""Where the book keeps recorded results."""
ABOUT = "about.json"
RULES = "rules"
"""Table of the rules of verdict as they were when a slice was recorded."""
SOURCES = ("run", "recorded")
"""Where a page's tables come from: computed now (what was done before is not done again), or kept."""


class RecordError(ValueError):
    """A recorded study is damaged; the message names the file and the remedy."""


@dataclass(frozen=True)
class Recorded:
    """A study as it was once measured, slice by slice."""

    tables: Tables
    slices: tuple[dict[str, Any], ...]
    """Of each slice: settings, versions, machine, date (UTC) and seconds."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of all slices."""
        return tuple(sorted({seed for about in self.slices for seed in about["settings"]["seeds"]}))


def chapters() -> tuple[str, ...]:
    """Names of the chapters that can be recorded: folders of this package with a `study`."""
    return tuple(
        path.parent.name for path in sorted(Path(lmthesis.__file__).parent.glob("chapter_*/study.py"))
    )


def results(study: Study, scale: Settings, *, source: str = "run", folder: Path = RESULTS) -> Tables:
    """Return the tables of a chapter's page.

    A module with a study may have a function `measured_once`, of the folder of recorded results: tables that
    the page shows at every scale, and that are recorded apart.

    Parameters
    ----------
    study
        The chapter's.
    scale
        Its settings.
    source
        `run` computes what is missing; `recorded` reads what was kept, trains nothing and reads no corpus.
    folder
        Where recorded results are kept.

    Raises
    ------
    ValueError
        If the source is unknown.
    FileNotFoundError
        If these settings were not recorded; names the command that records them, and what was recorded.
    RecordError
        If a file of the record is damaged.
    """
    if source not in SOURCES:
        raise ValueError(f"a source is one of {', '.join(SOURCES)}, got {source!r}")
    once = getattr(sys.modules[study.__module__], "measured_once", None)
    kept = once(folder) if once else {}
    return kept | (study(scale) if source == "run" else load(chapter_of(study), scale, folder).tables)


def largest(study: Study, ran: pd.DataFrame, folder: Path = RESULTS) -> Tables:
    """Return what was recorded at the scale at which models read most, if they read more than here.

    Parameters
    ----------
    study
        The chapter's.
    ran
        What ran here: a table of `ran_table`.
    folder
        Where recorded results are kept.

    Returns
    -------
    dict[str, pandas.DataFrame]
        Its tables; none where nothing larger was recorded.
    """
    chapter, tables = chapter_of(study), Tables()
    read_here = ran["tokens_read"].max()
    for name in scale_names(chapter, folder):
        there = read(chapter, name, folder=folder).tables
        if there["ran"]["tokens_read"].max() > read_here:
            tables, read_here = there, there["ran"]["tokens_read"].max()
    return tables


def scale_names(chapter: str, folder: Path = RESULTS) -> tuple[str, ...]:
    """Return at which scales a chapter is recorded on their own text, the smallest first, without `smoke`."""
    return tuple(name for name in NAMES if name != "smoke" and _slices(_home(folder, chapter, name)))


def ran_table(scale: Settings, tokens: int) -> pd.DataFrame:
    """Return what a page says at its top of what ran.

    Parameters
    ----------
    scale
        Its settings.
    tokens
        That each language model has read in training.

    Returns
    -------
    pandas.DataFrame
        One row per seed: `scale, tokens_read, seed, date`.
    """
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    rows = [(scale.name, tokens, seed, today) for seed in scale.seeds]
    return pd.DataFrame(rows, columns=["scale", "tokens_read", "seed", "date"])


@dataclass(frozen=True)
class Top:
    """What a page says at its top: where its numbers come from."""

    ran: pd.DataFrame
    source: str

    def _repr_html_(self) -> str:
        how = {"run": "Run for this page", "recorded": "Recorded results"}[self.source]
        (scale,), (tokens,) = self.ran["scale"].unique(), self.ran["tokens_read"].unique()
        dates = " to ".join(sorted({str(self.ran["date"].min()), str(self.ran["date"].max())}))
        said = (
            f"<strong>{how}.</strong> Scale <em>{escape(str(scale))}</em>: each language model read "
            f"{tokens:,} tokens; seeds {escape(', '.join(map(str, self.ran['seed'])))}; {escape(dates)}."
        )
        return f'<div class="ran {self.source}"><p>{said}</p></div>'


def record(
    chapter: str,
    scale: Settings,
    folder: Path = RESULTS,
    *,
    corpus: str | None = None,
    articles: int | None = None,
) -> Path:
    """Measure one slice of a chapter and keep its tables.

    Parameters
    ----------
    chapter
        One of `chapters()`.
    scale
        Its settings, with one seed; or with two, for what compares them.
    folder
        Where recorded results are kept.
    corpus, articles
        What the scale was given to read in place of its own text. Then of a study with `OF_TEXT` those tables
        alone are kept that depend on the text.

    Returns
    -------
    pathlib.Path
        The folder of the slice. What stood there is replaced.

    Raises
    ------
    ValueError
        If there are more seeds, or two for a chapter that compares none.
    lmdynamics.ground.storage.StorageError
        If it cannot be written. What stood there is kept.
    """
    module = _module(chapter, "study")
    measure = _measure(module, scale.seeds)
    home = _home(folder, chapter, scale.name, corpus=corpus, articles=articles) / _slice(scale.seeds)
    storage.require_place(home)  # before hours of work
    begun, code = time.monotonic(), code_fingerprint(measure)
    rules = _module(chapter, "claims").CLAIMS.rule_table()  # before what they judge is known
    checkout = _checkout()
    tables: Mapping[str, pd.DataFrame] = measure(scale)
    of_text = getattr(module, "OF_TEXT", ()) if corpus or articles else ()
    trained = module.trainings(scale) if len(scale.seeds) == 1 else []  # pairs train nothing
    about = {
        "chapter": chapter,
        "command": _command(chapter, scale.name, corpus=corpus, articles=articles, seed=max(scale.seeds)),
        "settings": asdict(scale),
        "completed_by": f"{chapter}-{scale.name}" if of_text else None,  # where the other tables stand
        "corpora": {name: corpora.digests(name) for name in module.corpora_read(scale)},
        "tokens_read": sum(settings.training.epochs * len(parts.train.inputs) for settings, parts in trained),
        "seconds_of_training": round(sum(runs.seconds(*each) for each in trained)),
        "seconds": round(time.monotonic() - begun),
        "precision": "bfloat16" if scale.training.bf16 else "float32",
        "threads": 1,  # of each job
        "code": code,
        **checkout,
        **provenance(),
    }
    kept = [name for name in of_text or tables if name in tables and name not in module.LEFT_OUT]
    contents = {
        f"{name}.csv": table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()
        for name, table in {**{name: tables[name] for name in kept}, RULES: rules}.items()
    }
    storage.write_folder(home, {**contents, ABOUT: _sealed(about, contents)})
    draw(chapter, folder)
    return home


def draw(chapter: str, folder: Path = RESULTS) -> None:
    """Draw the chapter's picture, if it has one, of the largest scale at which the chapter is recorded."""
    picture = getattr(_module(chapter, "figures"), "PICTURE", None)
    scales = scale_names(chapter, folder)
    if picture is None or not scales:
        return
    plots.use_style()
    drawn = io.BytesIO()
    figure = picture(read(chapter, scales[-1], folder=folder).tables)
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    plt.close(figure)
    storage.write(folder / f"{picture.__name__}.svg", drawn.getvalue())


def is_recorded(
    chapter: str,
    scale: Settings,
    folder: Path = RESULTS,
    *,
    corpus: str | None = None,
    articles: int | None = None,
) -> bool:
    """Tell whether a slice of exactly these settings is kept; arguments as of `record`."""
    home = _home(folder, chapter, scale.name, corpus=corpus, articles=articles) / _slice(scale.seeds)
    return (home / ABOUT).exists() and bool(_about(home)["settings"] == _plain(asdict(scale)))


def is_current(
    chapter: str,
    scale: Settings,
    folder: Path = RESULTS,
    *,
    corpus: str | None = None,
    articles: int | None = None,
) -> bool:
    """Tell whether a slice that is kept was measured by the code of now; arguments as of `record`."""
    home = _home(folder, chapter, scale.name, corpus=corpus, articles=articles) / _slice(scale.seeds)
    return bool(_about(home)["code"] == code_fingerprint(_measure(_module(chapter, "study"), scale.seeds)))


def seeds(
    chapter: str,
    scale: Settings,
    folder: Path = RESULTS,
    *,
    corpus: str | None = None,
    articles: int | None = None,
) -> tuple[int, ...]:
    """Return which seeds of these settings are recorded, be they in them or not; arguments as of `record`."""
    home = _home(folder, chapter, scale.name, corpus=corpus, articles=articles)
    settings = _plain({**asdict(scale), "seeds": None})
    abouts = [_about(each)["settings"] for each in _slices(home)]
    return tuple(
        each["seeds"][0] for each in abouts if {**each, "seeds": None} == settings and len(each["seeds"]) == 1
    )


def abouts(
    chapter: str,
    scale_name: str,
    folder: Path = RESULTS,
    *,
    corpus: str | None = None,
    articles: int | None = None,
) -> list[dict[str, Any]]:
    """Return what is said of each slice that is recorded under these names; arguments as of `record`."""
    return list(map(_about, _slices(_home(folder, chapter, scale_name, corpus=corpus, articles=articles))))


def load(chapter: str, scale: Settings, folder: Path = RESULTS) -> Recorded:
    """Read the slices of a recorded study of exactly these settings: those of its seeds that are kept.

    Where another text was recorded, tables that do not depend on it are those of the scale's own text.

    Raises
    ------
    FileNotFoundError
        If no slice was recorded; names what was recorded, and where the scale's own settings are asked for,
        the command that records them.
    RecordError
        If a file of it is damaged.
    """
    _require_folder(folder)
    settings = _plain(asdict(scale))
    abouts = {home: _about(home) for place in sorted(folder.glob(f"{chapter}-*")) for home in _slices(place)}
    chosen = [
        home
        for home, about in abouts.items()
        if {**about["settings"], "seeds": None} == {**settings, "seeds": None}
        and set(about["settings"]["seeds"]) <= set(scale.seeds)
    ]
    if chosen:
        study = _together(chosen)
        return Recorded(_other_tables(study, folder) | study.tables, study.slices)
    names = ", ".join(sorted({home.relative_to(folder).parts[0] for home in abouts})) or "none"
    own = [abouts[home] for home in _slices(_home(folder, chapter, scale.name))]
    if not own:
        what, remedy = f"scale {scale.name}", f", or record it: {_command(chapter, scale.name)}"
    else:
        differs = {name for name, value in settings.items() if value != own[0]["settings"].get(name)}
        changed = [name for name in settings if name in differs - {"seeds"}] or ["seeds"]
        what, remedy = f"{scale.name} with other {', '.join(changed)}", ""
    raise FileNotFoundError(
        f"{chapter} was not recorded at {what} (there are: {names}); set source to run{remedy}"
    )


def read(
    chapter: str,
    scale_name: str,
    *,
    corpus: str | None = None,
    articles: int | None = None,
    folder: Path = RESULTS,
) -> Recorded:
    """Read a recorded study of these names, with the settings of its latest slice; arguments as of `record`.

    Raises
    ------
    FileNotFoundError
        If it was not recorded; names the command that records it.
    RecordError
        If a file of it is damaged.
    """
    _require_folder(folder)
    home = _home(folder, chapter, scale_name, corpus=corpus, articles=articles)
    if not (slices := _slices(home)):
        command = _command(chapter, scale_name, corpus=corpus, articles=articles)
        raise FileNotFoundError(f"{home} holds no recorded study; record it: {command}")
    settings = {home: {**_about(home)["settings"], "seeds": None} for home in slices}
    latest = max(slices, key=lambda home: _about(home)["date"])
    return _together([home for home in slices if settings[home] == settings[latest]])


def _other_tables(study: Recorded, folder: Path) -> Tables:
    """Tables of a study that do not depend on its text, where it is not that of its scale."""
    about = study.slices[0]
    if (other := about.get("completed_by")) is None:
        return {}
    beside = [
        home for home in _slices(folder / other) if {*_about(home)["settings"]["seeds"]} <= {*study.seeds}
    ]
    if not beside:
        command = _command(about["chapter"], about["settings"]["name"])
        raise FileNotFoundError(
            f"{about['chapter']} on another text needs {folder / other} for its other tables, got none of "
            f"its seeds; record it: {command}"
        )
    return _together(beside).tables


def _together(slices: Sequence[Path]) -> Recorded:
    """Return slices as one study."""
    return Recorded(_concatenation(map(_tables, slices)), tuple(map(_about, slices)))


def _concatenation(parts: Iterable[Tables]) -> Tables:
    """Return the tables of slices as one: rows of seeds after one another, other tables once."""
    every = list(parts)
    tables: Tables = {}
    for name in dict.fromkeys(name for part in every for name in part):
        several = [part[name] for part in every if name in part]
        if name == RULES:
            tables[name] = pd.concat(several).drop_duplicates(ignore_index=True)
        elif "seed" in several[0]:
            filled = [table for table in several if len(table)] or several[:1]
            tables[name] = pd.concat(filled, ignore_index=True)
        else:
            tables[name] = several[0]
    return tables


def _slices(home: Path) -> list[Path]:
    """Folders of slices in that of a chapter and scale: of single seeds first, in their order."""
    places = [path.parent for path in home.glob(f"seed*/{ABOUT}")]
    return sorted(places, key=lambda path: (path.name.count("-"), [*map(int, path.name.split("-")[1:])]))


def _slice(seeds: Sequence[int]) -> str:
    """The name of the folder of a slice."""
    return "-".join(["seed" if len(seeds) == 1 else "seeds", *map(str, seeds)])


def _measure(module: Any, seeds: Sequence[int]) -> Study:
    """What measures a slice."""
    if len(seeds) == 1:
        return cast(Study, module.study)
    if len(seeds) == 2 and hasattr(module, "of_pairs"):
        return cast(Study, module.of_pairs)
    some = "one seed, or two" if hasattr(module, "of_pairs") else "one seed"
    raise ValueError(f"a slice of {module.__name__.split('.')[-2]} is of {some}, got {tuple(seeds)}")


def _checkout() -> dict[str, Any]:
    """The commit of the code, and whether it is all that ran."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(lmthesis.__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    return {"commit": commit or None, "clean": bool(commit) and not git("status", "--porcelain", "--", ".")}


def _plain(settings: Any) -> Any:
    """Settings as they stand in a file."""
    return json.loads(json.dumps(settings))


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"need recorded results in {folder}, got no such folder; they lie in a checkout, beside the "
            "source: run the book there, installed by `pip install -e .`"
        )


def _tables(home: Path) -> Tables:
    """Return the tables of a record whose files are all as they were written."""
    about, contents = _about(home), {}
    for name, digest in about["sha256"].items():
        path = home / name
        contents[name] = path.read_bytes() if path.is_file() else b""
        if _digest(contents[name]) != digest:
            raise _damage_error(path, f"its SHA-256 is not the one in {ABOUT}", command=about["command"])
    return _tables_of(contents)


def _tables_of(contents: Mapping[str, bytes]) -> Tables:
    return {
        name.removesuffix(".csv"): _table(content)
        for name, content in sorted(contents.items())
        if name.endswith(".csv")
    }


def _table(content: bytes) -> pd.DataFrame:
    """Return the table in a file as it was written: "None" may be a word, and "true" is no truth."""
    empty: Any = {"keep_default_na": False, "na_values": [""]}
    table = pd.read_csv(io.BytesIO(content), **empty)
    if truths := [name for name in table if table[name].dtype == bool]:
        texts = pd.read_csv(io.BytesIO(content), usecols=truths, dtype=str, **empty)
        words = [name for name in truths if not texts[name].isin(["True", "False"]).all()]
        table = table.assign(**texts[words])
    return table


def _sealed(about: Mapping[str, Any], contents: Mapping[str, bytes]) -> bytes:
    """Return the content of `about.json` with the SHA-256 of each file and of itself, less its own."""
    digests = {name: _digest(content) for name, content in contents.items()}
    itself = _digest(_json({**about, "sha256": digests}))
    return _json({**about, "sha256": {**digests, ABOUT: itself}})


def _about(home: Path) -> dict[str, Any]:
    """Return what stands in `about.json` if it is as it was written."""
    path = home / ABOUT
    try:
        about: dict[str, Any] = json.loads(path.read_bytes())
        digest = about["sha256"].pop(ABOUT)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damage_error(path, f"it holds no checksum of itself: {error!r}") from error
    if _digest(_json(about)) != digest:
        raise _damage_error(path, "its SHA-256 is not the one in it")
    return about


def _damage_error(path: Path, why: str, *, command: str = "python -m lmthesis.recorded") -> RecordError:
    return RecordError(
        f"{path} is damaged ({why}); put it back, such as by `git checkout -- {path}`, or record it again: "
        f"{command}"
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def _home(
    folder: Path, chapter: str, scale_name: str, *, corpus: str | None = None, articles: int | None = None
) -> Path:
    """The folder of a recorded study."""
    names = [_text_name(corpus)] if corpus else []
    names += [f"{articles}-articles"] if articles is not None else []
    return folder / "-".join([chapter, scale_name, *names])


def _text_name(corpus: str) -> str:
    """The name of a text in that of a folder; of a path, since others may end alike, with a hash."""
    if re.fullmatch(r"[\w-]+(?<!articles)", corpus, re.ASCII):
        return corpus
    last = re.sub(r"[^\w-]+", "-", Path(corpus).name, flags=re.ASCII).strip("-")[:40]
    return f"{last}-{hashlib.sha256(os.fsencode(corpus)).hexdigest()[:8]}"


def chapter_of(study: Study) -> str:
    """Name of the chapter that a study belongs to."""
    return study.__module__.split(".")[-2]


def _module(chapter: str, name: str) -> Any:
    return importlib.import_module(f"lmthesis.{chapter}.{name}")


def _command(
    chapter: str,
    scale_name: str,
    *,
    corpus: str | None = None,
    articles: int | None = None,
    seed: int | None = None,
) -> str:
    """What records a chapter, as one types it."""
    options = [f"--corpus {shlex.quote(corpus)}"] if corpus else []
    options += [f"--articles {articles}"] if articles is not None else []
    options += [f"--seed {seed}"] if seed is not None else []
    return " ".join(["python -m lmthesis.recorded", chapter, scale_name, *options])
