"""Readers of Wikipedia articles as plain paragraphs, from three file formats.

A MediaWiki dump (XML holding wikitext), the ``<doc>`` blocks of an extracted
dump, and the line-by-line files of WikiText. Every reader here takes an open
file and yields `Document`s in file order, one at a time, so that a dump of any
size can be read and the first articles of one cost only themselves. Paragraphs
hold single spaces, no line ends and a word of two letters at least.
"""

import re
from collections.abc import Iterable, Iterator
from html import unescape
from itertools import chain, pairwise
from typing import Any, NamedTuple

from lmdynamics.text.prose import prose
from lmdynamics.text.templates import GAP, LOST
from lmdynamics.text.wikitext import HEADING, marked_text, without_tags
from lmdynamics.text.xmldump import pages

END_OF_LINE = "<eos>"
"""The word that stands for a line end in WikiText, as language models on it have it."""

# fmt: off
_SECTIONS_OF_LINKS = frozenset([
    "bibliography", "citations", "cited sources", "discography", "external links", "filmography", "footnotes",
    "further reading", "gallery", "general references", "links", "literature", "notes", "primary sources",
    "notes and references", "publications", "references", "references and notes", "related links",
    "secondary sources", "see also", "selected bibliography", "sources", "works cited",
])
# fmt: on
_NO_LEVEL = 7  # below every level of heading


class Document(NamedTuple):
    """An article: its title, its paragraphs and, if the corpus has parts, its part."""

    title: str
    paragraphs: list[str]
    part: str | None = None
    left_out: int = 0  # sentences, since they hold something that cannot be read
    continues: bool = False  # whether it goes on with the article before it


def dump(file: Any, name: str = "a MediaWiki dump") -> Iterator[Document]:
    """Yield the articles of a MediaWiki XML dump in order; redirects and other pages are left out.

    Parameters
    ----------
    file
        Open for bytes.
    name
        What errors call it.

    Raises
    ------
    ValueError
        If the file is no whole dump, or of another kind than a dump can be (see `xmldump.pages`).
    """
    for page in pages(file, name):
        if page.namespace == "0" and not page.is_redirect:
            yield article(page.title, page.text)


def doc_blocks(file: Iterable[str]) -> Iterator[Document]:
    """Yield articles written as ``<doc ... title="...">``, the title again, paragraphs, ``</doc>``."""
    title, lines = "", list[str]()
    for line in file:
        if line.startswith("<doc "):
            title = unescape(re.search('title="(.*)">', line)[1])  # type: ignore[index]
            lines = []
        elif line.startswith("</doc>"):
            paragraphs, left_out = prose("\n\n".join(map(_with_marks, lines[1:])))
            yield Document(title, paragraphs, left_out=left_out)
        else:
            lines.append(line)


def _with_marks(line: str) -> str:
    """Return an extracted line with marks of the formulas, words and markup that its extraction left out."""
    line = re.sub(r"formula_\d+", LOST, without_tags(line))
    line = re.sub(r"^(?:\[\[)?File:.*\||\[\[|\]\]|\{\{|\}\}", "", line)
    line = re.sub(r"(?<![,;:])(?<![,;:]\s)([,;:])(?:\s*+[,;:])++(?=\s|$)", r"\1", line)
    line = re.sub(r"(?<![,;:])[,;:]++\.(?=\s|$)", ".", line)
    line = re.sub(r"(?<!\S)[(\[](?=[\s,;:·•'\"–—-]*[)\]])|[(\[](?=[\s,;:·•])", rf"\g<0>{GAP}", line)
    return re.sub(r"(?<=[\s,;:·•])[)\]]", rf"{GAP}\g<0>", line)


def wikitext_lines(file: Iterable[str], part: str) -> Iterator[Document]:
    """Yield the articles of a WikiText file; each line ends in `END_OF_LINE`.

    An article begins at a line `` = Title = `` between two blank lines. A blank
    line adds its `END_OF_LINE` to the paragraph before it (the file's first, to
    the one after), so that the paragraphs in a row are the file word for word.
    """
    title, paragraphs, first_blanks = "", list[str](), list[str]()
    lines = chain([[]], map(str.split, file), [[]])
    for (before, words), (_, after) in pairwise(pairwise(lines)):
        if words[:1] == words[-1:] == ["="] and words[1:2] != ["="] and len(words) > 2 and not before + after:
            if paragraphs:
                yield Document(title, paragraphs, part)
            title, paragraphs = " ".join(words[1:-1]), []
        line = " ".join([*first_blanks, *words, END_OF_LINE])
        first_blanks = []
        if words:
            paragraphs.append(line)
        elif paragraphs:
            paragraphs[-1] += " " + line
        else:
            first_blanks = [line]
    if paragraphs:
        yield Document(title, paragraphs, part)


def clean(wikitext: str) -> list[str]:
    """Return the running text of an article as paragraphs, without its markup.

    Left out: tables, references, galleries, captions, section names, sections that only list links or
    references, links to categories and other languages, and templates that add nothing to a sentence. Those
    that stand for words or signs are written out (`templates`). A sentence with any other, or with a formula,
    is left out, for it would lose a value. A list item stays if it ends as a sentence does.
    """
    return article("", wikitext).paragraphs


def article(title: str, wikitext: str) -> Document:
    """Return an article as `clean` does, with the number of sentences left out."""
    paragraphs, left_out = prose(_without_sections_of_links(marked_text(wikitext)))
    return Document(title, paragraphs, left_out=left_out)


def _without_sections_of_links(text: str) -> str:
    """Return a text without the sections that only list links, with all below them, and without headings."""
    kept, skip_level = [], _NO_LEVEL
    for section in f"{HEADING}{_NO_LEVEL - 1}\n{text}".split(HEADING)[1:]:
        heading, _, body = section.partition("\n")
        level = int(heading[0])
        if level <= skip_level:
            skip_level = level if heading[1:].strip(": ").lower() in _SECTIONS_OF_LINKS else _NO_LEVEL
        if skip_level == _NO_LEVEL:
            kept.append(body)
    return "\n\n".join(kept)
