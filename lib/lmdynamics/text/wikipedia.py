"""Readers of Wikipedia articles as plain paragraphs, from three file formats.

A MediaWiki dump (XML holding wikitext), the ``<doc>`` blocks of an extracted
dump, and the line-by-line files of WikiText. Every reader here takes an open
file and yields `Document`s in file order, one at a time, so that a dump of any
size can be read and the first articles of one cost only themselves. Paragraphs
hold single spaces, no line ends and a word of two letters at least.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from html import unescape
from itertools import chain, pairwise
from typing import Any, NamedTuple

from lmdynamics.ground.extras import extra

with extra("text"):
    import mwparserfromhell
    from mwparserfromhell.nodes import ExternalLink, Heading, HTMLEntity, Node, Tag, Template, Text, Wikilink
    from mwparserfromhell.wikicode import Wikicode

END_OF_LINE = "<eos>"
"""The word that stands for a line end in WikiText, as language models on it have it."""

# fmt: off
_SECTIONS_OF_LINKS = frozenset([
    "bibliography", "citations", "cited sources", "discography", "external links", "filmography", "footnotes",
    "further reading", "gallery", "general references", "links", "literature", "notes", "primary sources",
    "notes and references", "publications", "references", "references and notes", "related links",
    "secondary sources", "see also", "selected bibliography", "sources", "works cited",
])
_HIDDEN_TAGS = frozenset([
    "ce", "chem", "gallery", "graph", "hiero", "imagemap", "mapframe", "math", "pre", "ref", "references",
    "score", "source", "syntaxhighlight", "table", "td", "templatestyles", "th", "timeline", "tr",
])
_LIST_TAGS = frozenset(["dd", "dt", "li"])
_BLOCK_TAGS = _LIST_TAGS | {"blockquote", "center", "div", "dl", "hr", "ol", "p", "poem", "ul"}
_HIDDEN_NAMESPACES = frozenset(["category", "file", "image", "media", "template"])
_SHOWN_ARGUMENT = {"lang": 2, "transl": -1, "transliteration": -1} | dict.fromkeys([
    "abbr", "angbr", "blockquote", "cquote", "dts", "flag", "gloss", "ipa", "keypress", "mvar", "nihongo",
    "nobold", "nobr", "noitalic", "nowrap", "nts", "quotation", "quote", "sc", "small", "smallcaps",
    "smaller", "tooltip", "unicode", "val", "vanchor", "var",
], 1)
# fmt: on
_SHOWN_TEXT = {"'s": "'s", "'": "'", "nbsp": " ", "spaces": " ", "snd": " – ", "spaced ndash": " – "}
_SHIPS = frozenset(["hmas", "hmcs", "hms", "rms", "sms", "ss", "uss"])
_LIST_ITEM = "\ue000"  # marks the start of a list item until its line is judged


class Document(NamedTuple):
    """An article: its title, its paragraphs and, if the corpus has parts, its part."""

    title: str
    paragraphs: list[str]
    part: str | None = None


def dump(file: Any) -> Iterator[Document]:
    """Yield the articles of a MediaWiki XML dump in order; redirects and other pages are left out.

    Raises
    ------
    ValueError
        If the XML is broken or cut short.
    """
    try:
        events = ET.iterparse(file, events=("start", "end"))
        _, root = next(events)
        for event, element in events:
            if event == "end" and (element.tag.endswith("}page") or element.tag == "page"):
                if element.findtext("{*}ns") == "0" and element.find("{*}redirect") is None:
                    text = element.findtext("{*}revision/{*}text") or ""
                    yield Document(element.findtext("{*}title") or "", clean(text))
                root.clear()
    except (ET.ParseError, EOFError, OSError) as error:
        raise ValueError(
            f"a MediaWiki dump must be whole XML, got a damaged one ({error}); download it again"
        ) from error


def doc_blocks(file: Iterable[str]) -> Iterator[Document]:
    """Yield articles written as ``<doc ... title="...">``, the title again, paragraphs, ``</doc>``."""
    title, lines = "", list[str]()
    for line in file:
        if line.startswith("<doc "):
            title = unescape(re.search('title="(.*)">', line)[1])  # type: ignore[index]
            lines = []
        elif line.startswith("</doc>"):
            yield Document(title, [text for line in lines[1:] if (text := _tidy(_without_remains(line)))])
        else:
            lines.append(line)


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

    Left out: tables, references, galleries, captions, templates other than the
    few that stand for words (``{{convert}}``, ``{{lang}}``, ...), mathematics,
    section names, sections that only list links or references, links to
    categories and other languages. A list item stays if it ends as a sentence does.
    """
    texts, skip_level = [], 7  # 7 is below every level of heading
    for node in mwparserfromhell.parse(wikitext, skip_style_tags=True).nodes:
        if isinstance(node, Heading):
            if node.level <= skip_level:
                skip_level = node.level if _is_section_of_links(node) else 7
            texts.append("\n\n")
        elif skip_level == 7:
            texts.append(_visible_text(node))
    text = re.sub(f"(?m)^\\s*{_LIST_ITEM}.*$", r"\n\g<0>\n", _without_remains("".join(texts)))
    return [paragraph for block in re.split(r"\n\s*\n", text) if (paragraph := _paragraph(block))]


def _is_section_of_links(heading: Heading) -> bool:
    return _text(heading.title).strip().strip(":").lower() in _SECTIONS_OF_LINKS


def _paragraph(block: str) -> str:
    """Return a tidy block on one line, or an empty text for a list item that is no sentence."""
    text = _tidy(block.replace(_LIST_ITEM, " "))
    return "" if _LIST_ITEM in block and not re.search(r"[.!?][\"'”’)]*$", text) else text


def _text(code: Wikicode | None) -> str:
    return "" if code is None else "".join(map(_visible_text, code.nodes))


def _visible_text(node: Node) -> str:
    """Return the text of a node that a reader of the article sees."""
    match node:
        case Text():
            return str(node.value)
        case HTMLEntity():
            return node.normalize()
        case Wikilink():
            return _link(node)
        case ExternalLink():
            return _text(node.title)
        case Tag():
            return _tag(node)
        case Template():
            return _template(node)
    return ""  # comments, arguments, headings inside other nodes


def _link(node: Wikilink) -> str:
    title = str(node.title).strip()
    space = title.partition(":")[0].strip().lower() if ":" in title else ""
    if space in _HIDDEN_NAMESPACES:
        return ""
    if node.text is not None:
        return _text(node.text)
    is_other_language = re.fullmatch("[a-z]{2,3}(-[a-z-]+)?|simple", space)
    return "" if is_other_language else title.lstrip(":")


def _tag(node: Tag) -> str:
    name = str(node.tag).strip().lower()
    if name in _HIDDEN_TAGS:
        return ""
    if name == "br":
        return " "
    text = _text(node.contents)
    if name == "sup" and re.fullmatch(r"[-−+]?\d+", text):
        return f"^{text}"  # 10 to the sixth is not 106
    if name in _BLOCK_TAGS:
        margin = "" if node.wiki_markup else "\n\n"
        return margin + (_LIST_ITEM if name in _LIST_TAGS else "") + text + margin
    return text


def _template(node: Template) -> str:
    name = str(node.name).strip().lower()
    arguments = [_text(p.value).strip() for p in node.params if not p.showkey]
    if name in _SHOWN_TEXT:
        return _SHOWN_TEXT[name]
    if name in ("convert", "cvt"):
        is_range = len(arguments) > 3 and arguments[2][:1].isdigit()  # 3, to, 4, km
        return " ".join(arguments[: 4 if is_range else 2])
    if name == "as of" and arguments:
        return "As of " + arguments[0]
    if name in ("chem", "frac"):
        return ("/" if name == "frac" else "").join(arguments)
    if name in _SHIPS and arguments:
        return f"{name.upper()} {arguments[0]}"
    place = _SHOWN_ARGUMENT.get(name)
    if place is None or len(arguments) < abs(place):
        return ""
    return arguments[place - 1 if place > 0 else place]


def _without_remains(text: str) -> str:
    """Remove remains of markup from a text: unbalanced brackets, tables, tags, formula names."""
    text = re.sub(r"(?s)<!--.*?-->|</?[a-zA-Z][^<>\n]{0,200}>|__[A-Z]+__|formula_\d+", " ", text)
    text = re.sub(r"(?m)^\s*(\{\||\|[-}+]?|!).*$", "", text)
    text = re.sub(r"(?m)^File:.*\||https?://\S+", "", text)
    return re.sub(r"\[\[|\]\]|\{\{|\}\}|'{2,}", "", text)


def _tidy(line: str) -> str:
    """Tidy a line: single spaces, no stray punctuation; it is empty if no word is left."""
    line = unescape(" ".join(line.split()))
    before = None
    while before != line:
        before = line
        line = re.sub(r"[(\[][\s,;:.–—/·•\"'-]*[)\]]", "", line)
        line = re.sub(r"([(\[])[\s,;:·•]+", r"\1", line)
        line = re.sub(r"[\s,;:·•]+([)\]])", r"\1", line)
        line = re.sub(r"\s+([,;.:!?](?=\s|$))", r"\1", line)
        line = re.sub(r"([,;:])(?:\s*[,;:])+(?=\s|$)", r"\1", line)
        line = re.sub(r"[,;:]+\.", ".", line)
        line = " ".join(line.split())
    line = line.lstrip("*#•·|:;,. ")
    return line if re.search(r"[^\W\d_]{2}", line) else ""
