"""Results that were measured once and are kept: small tables beside what they were measured with.

A recorded study is a folder of one CSV file per table and `about.json`: settings, versions, machine, date,
and the seconds of the call that wrote it, in which jobs done before cost nothing, and the SHA-256 of each
file, its own among them, which is checked when it is read. Its table `rules` holds the rules of verdict as
they were then. The folder is replaced as a whole. It is named `<chapter>-<scale>`; where the scale was
given another text to read, its name follows, such as in `chapter_5-demo-ewt-150-articles` (of a path its
last part and a hash), and tables that do not depend on the text are left out. It is written only by the
code that measured it: `python -m lmthesis.recorded chapter_4 desktop` trains and measures what is missing
and writes to `data/results`.
"""

import argparse
import datetime
import hashlib
import importlib
import io
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from lmdynamics import plots
from lmdynamics.ground import paths, storage
from lmdynamics.ground.provenance import code_fingerprint, provenance
from lmthesis.scales import Settings

Tables = dict[str, pd.DataFrame]
Study = Callable[[Any], Tables]
"""The function `study` of a chapter: its settings in, all tables of its page out."""

RESULTS = Path(__file__).resolve().parents[2] / "data" / "results"
"""Where the book keeps recorded results."""
ABOUT = "about.json"
SOURCES = ("run", "recorded")
"""Where a page's tables come from: computed now (what was done before is not done again), or kept."""


class RecordError(ValueError):
    """A recorded study is damaged; the message names the file and the remedy."""


@dataclass(frozen=True)
class Recorded:
    """A study as it was once measured."""

    tables: Tables
    about: dict[str, Any]
    """Settings, versions, machine, date (UTC) and seconds."""


def chapters() -> tuple[str, ...]:
    """Names of the chapters that can be recorded: folders of this package with a `study`."""
    return tuple(path.parent.name for path in sorted(Path(__file__).parent.glob("chapter_*/study.py")))


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
        One row: `scale, tokens_read, seeds, date`.
    """
    seeds = ", ".join(map(str, scale.seeds))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return pd.DataFrame([{"scale": scale.name, "tokens_read": tokens, "seeds": seeds, "date": today}])


@dataclass(frozen=True)
class Top:
    """What a page says at its top: where its numbers come from."""

    ran: pd.DataFrame
    source: str

    def _repr_html_(self) -> str:
        (row,) = self.ran.to_dict("records")
        how = {"run": "Run for this page", "recorded": "Recorded results"}[self.source]
        said = (
            f"<strong>{how}.</strong> Scale <em>{escape(str(row['scale']))}</em>: each language model read "
            f"{row['tokens_read']:,} tokens; seeds {escape(str(row['seeds']))}; {escape(str(row['date']))}."
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
    """Measure a chapter and keep its tables.

    Parameters
    ----------
    chapter
        One of `chapters()`.
    scale
        Its settings.
    folder
        Where recorded results are kept.
    corpus, articles
        What the scale was given to read in place of its own text. Then of a study with `OF_TEXT` those tables
        alone are kept that depend on the text.

    Returns
    -------
    pathlib.Path
        The folder of this chapter, scale and text. What stood there is replaced.

    Raises
    ------
    lmdynamics.ground.storage.StorageError
        If it cannot be written. What stood there is kept.
    """
    module = _module(chapter, "study")
    home = _home(folder, chapter, scale.name, corpus=corpus, articles=articles)
    storage.require_place(home)  # before hours of work
    begun, code = time.monotonic(), code_fingerprint(module.study)
    rules = _module(chapter, "claims").CLAIMS.rule_table()  # before what they judge is known
    tables: Mapping[str, pd.DataFrame] = module.study(scale)
    of_text = getattr(module, "OF_TEXT", ()) if corpus or articles else ()
    about = {
        "chapter": chapter,
        "command": _command(chapter, scale.name, corpus=corpus, articles=articles),
        "settings": asdict(scale),
        "completed_by": f"{chapter}-{scale.name}" if of_text else None,  # where the other tables stand
        "code": code,
        "seconds": round(time.monotonic() - begun),
        **provenance(),
    }
    kept = [name for name in of_text or tables if name not in module.LEFT_OUT]
    contents = {
        f"{name}.csv": table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()
        for name, table in {**{name: tables[name] for name in kept}, "rules": rules}.items()
    }
    contents |= _picture(chapter, contents)
    storage.write_folder(home, {**contents, ABOUT: _sealed(about, contents)})
    return home


def load(chapter: str, scale: Settings, folder: Path = RESULTS) -> Recorded:
    """Read a recorded study of exactly these settings.

    Where another text was recorded, tables that do not depend on it are those of the scale's own text.

    Raises
    ------
    FileNotFoundError
        If it was not recorded; names what was recorded, and where the scale's own settings are asked for, the
        command that records them.
    RecordError
        If a file of it is damaged.
    """
    _require_folder(folder)
    settings = json.loads(json.dumps(asdict(scale)))
    abouts = {path.parent: _about(path.parent) for path in sorted(folder.glob(f"{chapter}-*/{ABOUT}"))}
    for home, about in abouts.items():
        if about["settings"] == settings:
            other = about.get("completed_by")
            if other and not (folder / other / ABOUT).exists():
                command = _command(chapter, scale.name)
                raise FileNotFoundError(f"{home} needs {other} for its other tables, got none; {command}")
            return Recorded((_tables(folder / other) if other else {}) | _tables(home), about)
    names = ", ".join(home.name for home in abouts) or "none"
    own = abouts.get(_home(folder, chapter, scale.name))
    if own is None:
        what, remedy = f"scale {scale.name}", f", or record it: {_command(chapter, scale.name)}"
    else:
        changed = [name for name, value in settings.items() if value != own["settings"].get(name)]
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
    """Read a recorded study of these names, whatever its other settings are; arguments as of `record`.

    Raises
    ------
    FileNotFoundError
        If it was not recorded; names the command that records it.
    RecordError
        If a file of it is damaged.
    """
    _require_folder(folder)
    home = _home(folder, chapter, scale_name, corpus=corpus, articles=articles)
    if not (home / ABOUT).exists():
        command = _command(chapter, scale_name, corpus=corpus, articles=articles)
        raise FileNotFoundError(f"{home} holds no recorded study; record it: {command}")
    return Recorded(_tables(home), _about(home))


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
    return {  # an empty cell alone is NaN: "None" may be a word
        name.removesuffix(".csv"): pd.read_csv(io.BytesIO(content), keep_default_na=False, na_values=[""])
        for name, content in sorted(contents.items())
        if name.endswith(".csv")
    }


def _picture(chapter: str, contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the file of the chapter's picture, drawn from its tables as they are recorded, if it has one."""
    picture = getattr(_module(chapter, "figures"), "PICTURE", None)
    if picture is None:
        return {}
    plots.use_style()
    drawn = io.BytesIO()
    picture(_tables_of(contents)).savefig(drawn, format="svg", metadata={"Date": None})
    return {f"{picture.__name__}.svg": drawn.getvalue()}


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


def _command(chapter: str, scale_name: str, *, corpus: str | None = None, articles: int | None = None) -> str:
    """What records a chapter, as one types it."""
    options = [f"--corpus {shlex.quote(corpus)}"] if corpus else []
    options += [f"--articles {articles}"] if articles is not None else []
    return " ".join(["python -m lmthesis.recorded", chapter, scale_name, *options])


def main() -> None:
    """Record one chapter at one scale, from the command line."""
    parser = argparse.ArgumentParser(description="Measure a chapter and keep its tables.")
    parser.add_argument("chapter", choices=chapters())
    parser.add_argument("scale", help="smoke, demo, desktop or thesis")
    parser.add_argument("--corpus", help="to read in place of the scale's own")
    parser.add_argument("--articles", type=int, help="to read of it, from its beginning")
    parser.add_argument("--folder", type=paths.path, default=RESULTS, help="default: data/results")
    call = parser.parse_args()
    chosen = _module(call.chapter, "settings").scale
    try:
        scale = chosen(call.scale, corpus=call.corpus, articles=call.articles)
    except ValueError as error:
        parser.error(str(error))
    home = record(call.chapter, scale, call.folder, corpus=call.corpus, articles=call.articles)
    print(f"recorded in {home}")


if __name__ == "__main__":
    main()
