"""Where the book's pages decide findings: at the figure or section that comes before each verdict."""

import re
from dataclasses import dataclass
from pathlib import Path

PAGES = Path(__file__).resolve().parents[2] / "chapters"
"""The texts of the book's pages."""

_MARK = re.compile(
    r"^\((?P<section>[\w-]+)\)=\n##+ .*$"
    r"|^(?P<heading>##+ .*)$"
    r"|^ +name: (?P<figure>[\w-]+)$"
    r"|^from lmthesis\.(?P<chapter>\w+)\.claims import .*$"
    r"|^CLAIMS\.verdicts\((?P<call>[^)]*)\)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Place:
    """A figure or a section of a page."""

    page: str
    """Its name, without an ending."""
    name: str
    kind: str

    @property
    def address(self) -> str:
        """Of a page beside it in the built book, with the place in it."""
        return f"{self.page}.html#{self.name}"


def by_finding(folder: Path = PAGES) -> dict[tuple[str, str], Place]:
    """Return where each finding is decided for the first time, by chapter and name of the claim.

    It is the figure before the verdict, or where a section has none until then the section, by its name.

    Parameters
    ----------
    folder
        Of pages. Each takes the claims of one chapter.

    Raises
    ------
    ValueError
        If there is neither.
    """
    places: dict[tuple[str, str], Place] = {}
    for path in sorted(folder.glob("*.md")):
        chapter, place = "", None
        for mark in _MARK.finditer(path.read_text(encoding="utf-8")):
            kind = str(mark.lastgroup)
            text = mark[kind]
            if kind == "chapter":
                chapter = text
            elif kind == "heading":
                place = None
            elif kind in ("section", "figure"):
                place = Place(path.stem, text, kind)
            elif place is None:
                raise ValueError(
                    f"{path} needs a figure with a name before {mark[0]!r}, or a name of the section, such "
                    "as (sec-costs)= above its heading, got neither"
                )
            else:
                for name in re.findall(r'"(\w+)"', text):
                    places.setdefault((chapter, name), place)
    return places
