"""Results that were measured once and are kept: small tables beside what they were measured with.

A recorded study is a folder of one CSV file per table and `about.json`: settings, versions, machine, date,
and the seconds of the call that wrote it, in which models trained before cost nothing. It is named
`<study>-<scale>`; where the scale was given another text to read, its name follows, such as in
`chapter_5-demo-ewt-150-articles`, and the folder holds the tables alone that depend on the text. It is
written only by the code that measured it: `python -m lmthesis.recorded chapter_4 desktop` trains what is
missing and writes to `data/results`.
"""

import argparse
import importlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lmdynamics import plots
from lmdynamics.ground.provenance import code_fingerprint, provenance
from lmthesis.scales import SCALES, Scale, scale

STUDIES = ("chapter_4", "chapter_5", "chapter_6")
"""Modules of `studies` that have a `study` to record."""
LEFT_OUT = ("shown", "words", "vocabulary")
"""Tables that are not kept: they hold text by others, or a row for every word and epoch."""
RESULTS = Path(__file__).resolve().parents[2] / "data" / "results"
"""Where the book keeps them."""
PICTURES = {"chapter_4": plots.settling}
"""What is drawn of a study beside its tables, for the README."""


@dataclass(frozen=True)
class Recorded:
    """A study as it was once measured."""

    tables: dict[str, pd.DataFrame]
    about: dict[str, Any]
    """Settings, versions, machine, date (UTC) and seconds."""


class Text(NamedTuple):
    """What a scale is given to read; None for its own."""

    corpus: str | None = None
    articles: int | None = None

    @property
    def names(self) -> list[str]:
        """Parts of a folder's name."""
        return [
            *([Path(self.corpus).stem] if self.corpus else []),
            *([f"{self.articles}-articles"] if self.articles is not None else []),
        ]


OWN = Text()


def record(study: str, size: Scale, folder: Path, *, text: Text = OWN) -> Path:
    """Measure a study and keep its tables.

    Parameters
    ----------
    study
        One of `STUDIES`.
    size
        How large.
    folder
        Where recorded results are kept.
    text
        What the scale was given to read.

    Returns
    -------
    pathlib.Path
        The folder of this study, scale and text. What stood there is overwritten.
    """
    module = importlib.import_module(f"lmdynamics.studies.{study}")
    begun, code = time.monotonic(), code_fingerprint(module.__name__)
    tables: Mapping[str, pd.DataFrame] = module.study(size)
    if text != OWN:
        tables = {name: tables[name] for name in getattr(module, "OF_TEXT", tables)}
    about = {
        "study": study,
        "command": _command(study, size.name, text),
        "settings": asdict(size),
        "code": code,
        "seconds": round(time.monotonic() - begun),
        **provenance(),
    }
    home = _home(folder, study, size.name, text)
    home.mkdir(parents=True, exist_ok=True)
    for stale in home.glob("*.csv"):
        stale.unlink()
    for name, table in tables.items():
        if name in LEFT_OUT:
            continue
        table.to_csv(home / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
    (home / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return home


def load(study: str, size: str, folder: Path = RESULTS, *, text: Text = OWN) -> Recorded:
    """Read a recorded study.

    Parameters
    ----------
    study
        One of `STUDIES`.
    size
        The name of its scale.
    folder
        Where recorded results are kept.
    text
        What the scale was given to read.

    Raises
    ------
    FileNotFoundError
        If it was not recorded; names the command that records it.
    """
    home = _home(folder, study, size, text)
    if not (home / "about.json").exists():
        raise FileNotFoundError(f"{home} holds no recorded study; {_command(study, size, text)} measures it")
    return Recorded(_tables(home), json.loads((home / "about.json").read_text(encoding="utf-8")))


def _home(folder: Path, study: str, size: str, text: Text) -> Path:
    return folder / "-".join([study, size, *text.names])


def _command(study: str, size: str, text: Text) -> str:
    """What records a study, as one types it."""
    options = [f"--{name} {value}" for name, value in text._asdict().items() if value is not None]
    return " ".join(["python -m lmthesis.recorded", study, size, *options])


def _tables(home: Path) -> dict[str, pd.DataFrame]:
    return {path.stem: pd.read_csv(path) for path in sorted(home.glob("*.csv"))}


def main() -> None:
    """Record one study at one scale, from the command line."""
    parser = argparse.ArgumentParser(description="Measure a study and keep its tables.")
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("scale", choices=SCALES)
    parser.add_argument("--corpus", help="to read in place of the scale's own")
    parser.add_argument("--articles", type=int, help="to read of it, from its beginning")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="default: data/results")
    given = parser.parse_args()
    varied = importlib.import_module(f"lmdynamics.studies.{given.study}").varied
    text = Text(given.corpus, given.articles)
    size = varied(scale(given.scale), **text._asdict())
    home = record(given.study, size, given.folder, text=text)
    if given.study in PICTURES:
        plots.use_style()
        picture = PICTURES[given.study]
        figure = picture(_tables(home))
        figure.savefig(home / f"{picture.__name__}.svg", metadata={"Date": None})
    print(f"recorded in {home}")


if __name__ == "__main__":
    main()
