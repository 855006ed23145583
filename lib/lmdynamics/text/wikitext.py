"""Text from wikitext, in one pass over its marks.

Templates, links and tables stand in each other, so what is open is kept on a stack of at most `_DEEPEST`
frames; a frame that closes becomes text in the frame around it. A mark without its partner is no markup.
Time and memory are linear in the text, whatever it is.
"""

import re
from html import unescape
from html.entities import html5
from typing import NamedTuple, no_type_check

from lmdynamics.text.templates import GAP, LOST, PICTURE, shown, subscript, superscript

LIST_ITEM = "\ue000"
"""Mark of the beginning of a list item."""
HEADING = "\ue005"
"""Mark of a heading: its level and its words follow, to the end of the line."""
TERM = "\ue006"
"""Mark of the beginning of a term and, after a colon, its meaning."""
_OURS = re.compile("[\ue000-\ue008]")
_DEEPEST = 30
_TOKEN = re.compile(
    r"^[*\#:;]*+[ \t]*+\{\||^[ \t]*+\|\}(?!\})|^[*\#:;]++|^-{4,}+"
    r"|(?P<heading>^={1,6}+(?=[^\n]*=[ \t]*(?:<!--[^\n]*)?$))"
    r"|\{\{|\}\}|\[\[|\]\]|[|=<\n\]]"
    r"|\[(?=(?:(?:https?|ftps?|ircs?|news|git|svn|ssh|telnet|gopher):)?//|mailto:)",
    re.MULTILINE | re.IGNORECASE,
)
_ANYWHERE = ("", "{{", "[[", "[", "{|")
_MEANS_SOMETHING_IN = {"|": ("{{", "[["), "=": ("{{",), "\n": ("[",), "]": ("[",)}
"""Frames in which a mark is one; of other marks `_ANYWHERE`."""
# fmt: off
_HIDDEN = frozenset([
    "ce", "categorytree", "chem", "gallery", "graph", "hiero", "imagemap", "includeonly", "inputbox",
    "mapframe", "maplink", "math", "pre", "ref", "references", "score", "section", "source",
    "syntaxhighlight", "templatedata", "templatestyles", "timeline",
])
"""Tags whose content is no running text; nothing in them is markup."""
_FORMULAS = frozenset([
    "ce", "chem", "graph", "hiero", "maplink", "math", "score", "source", "syntaxhighlight",
])
"""Those that may stand in a sentence as a word does."""
_EXTENSIONS = _HIDDEN | {"noinclude", "nowiki", "onlyinclude", "poem"}
_ITEMS = frozenset(["dd", "dt", "li"])
_BLOCKS = frozenset([
    "blockquote", "center", "div", "dl", "gallery", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "ol", "p",
    "poem", "pre", "ul",
])
_GAPS = frozenset([
    "caption", "col", "colgroup", "ref", "rp", "rt", "rtc", "tbody", "td", "tfoot", "th", "thead", "tr",
])
_INLINE = frozenset([
    "abbr", "b", "bdi", "bdo", "big", "br", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins",
    "kbd", "mark", "q", "rb", "ruby", "s", "samp", "small", "span", "strike", "strong", "sub", "sup",
    "table", "time", "tt", "u", "var", "wbr",
])
_HTML = _INLINE | _ITEMS | _BLOCKS | _GAPS
_BESIDE_TEXT = frozenset(["center", "frame", "framed", "left", "none", "right", "thumb", "thumbnail"])
_NO_LANGUAGES = frozenset(["doi", "hdl", "rfc"])
_BARE_ATTRIBUTES = "clear|compact|hidden|inline|itemscope|line|noshade|nowrap|reversed"
# fmt: on
_TAG = re.compile(
    # an extension's tag, whatever is in it
    rf"<(?P<end>/?)(?:(?P<extension>{'|'.join(sorted(_EXTENSIONS, key=len, reverse=True))})(?=[\s/>])[^<>]*?"
    # a tag of HTML, whose attributes have values
    rf"|(?P<html>{'|'.join(sorted(_HTML, key=len, reverse=True))})"
    rf"(?:\s++(?:[^\s\"'<>/=]++\s*+=\s*+(?:\"[^\"<>]*+\"|'[^'<>]*+'|[^\s\"'<>]++)|(?:{_BARE_ATTRIBUTES})(?=[\s/>])))*+\s*+)"
    r"(?P<alone>/?)>",
    re.IGNORECASE,
)
_LANGUAGE = re.compile("[a-z]{2,3}(-[a-z-]+)?|simple")
_ENTITY = re.compile(r"&(#\d{1,7}|#x[\da-f]{1,6}|[a-z]\w{1,31});", re.IGNORECASE | re.ASCII)


class _Frame(NamedTuple):
    """Something that is open: its mark, its parts between bars, and the names of a template's arguments."""

    kind: str
    scope: str  # its kind or, of a tag, that of the frame around it
    parts: list[list[str]]
    names: dict[int, str]

    @property
    def texts(self) -> list[str]:
        return ["".join(part) for part in self.parts]


@no_type_check  # at run time: each mark calls it
class _Stack:
    """What is open at a place, and the text before it."""

    def __init__(self) -> None:
        self.frames = [_Frame("", "", [[]], {})]

    def write(self, text: str) -> None:
        """Add text to what is open."""
        if text:
            self.frames[-1].parts[-1].append(text)

    def open(self, kind: str) -> None:
        """Begin a frame, or leave it out where it lies too deep."""
        if len(self.frames) > _DEEPEST:
            self.write(LOST)
        else:
            scope = self.frames[-1].scope if kind.isalpha() else kind
            self.frames.append(_Frame(kind, scope, [[]], {}))

    def close(self, kind: str, inside: str = "") -> _Frame | None:
        """Take the innermost frame of a kind from the stack, those in it dissolved; None if there is none.

        It is not looked for outside of a frame of the kind ``inside``.
        """
        for depth in range(len(self.frames) - 1, 0, -1):
            if self.frames[depth].kind == kind:
                if depth + 1 < len(self.frames):
                    self._dissolve(depth + 1)
                return self.frames.pop()
            if inside and self.frames[depth].kind in inside.split():
                break
        return None

    def part(self) -> None:
        """Begin the next part of the innermost template or link."""
        if self.frames[-1].kind.isalpha():
            self._dissolve_tags()
        self.frames[-1].parts.append([])

    def name(self) -> bool:
        """Take the part up to here for the name of a template's argument; tell whether it is one."""
        frame = self.frames[-1]
        place = len(frame.parts) - 1
        if frame.kind != "{{" or place == 0 or place in frame.names:
            return False
        frame.names[place] = "".join(frame.parts[-1]).strip()
        frame.parts[-1].clear()
        return True

    def text(self) -> str:
        """Return all text, what is still open dissolved."""
        self._dissolve(1)
        return self.frames[0].texts[0]

    def _dissolve_tags(self) -> None:
        depth = len(self.frames)
        while self.frames[depth - 1].kind.isalpha():
            depth -= 1
        self._dissolve(depth)

    def _dissolve(self, depth: int) -> None:
        """Turn the frames from a depth on into text, since their marks have no partners."""
        while len(self.frames) > depth:
            frame = self.frames.pop()
            self.write({"[[": "", "[": "", "{|": "\n{|", "table": "\n\n"}.get(frame.kind, LOST))
            for place, text in enumerate(frame.texts):
                self.write("|" if place else "")
                self.write(f"{frame.names[place]}=" if place in frame.names else "")
                self.write(text)


def marked_text(wikitext: str) -> str:
    """Return the text that a reader of an article sees, with the marks of `templates` and of this module.

    Entities, apostrophes that stand for italics, and bare addresses are still in it.
    """
    text = _OURS.sub("\ufffd", wikitext)
    stack = _Stack()
    absent: set[str] = set()
    begin = place = 0  # of what is not yet written, of what is not yet read
    while token := _TOKEN.search(text, place):
        place = token.end()
        if stack.frames[-1].scope in _MEANS_SOMETHING_IN.get(token[0], _ANYWHERE):
            stack.write(text[begin : token.start()])
            begin = place = _read(token, text, stack, absent)
    stack.write(text[begin:])
    return stack.text()


def without_tags(text: str) -> str:
    """Remove the tags from a text, and comments; what only looks like a tag stays."""
    return _TAG.sub(lambda tag: " " if _margin(_name(tag), end=False) else "", text)


def without_entities(text: str) -> str:
    """Replace the named and numbered characters of HTML by themselves; those that it does not know stay."""
    return _ENTITY.sub(_character, text)


def _character(entity: re.Match[str]) -> str:
    is_known = entity[1][0] == "#" or f"{entity[1]};" in html5
    return unescape(entity[0]) if is_known else entity[0]


def _read(token: re.Match[str], text: str, stack: _Stack, absent: set[str]) -> int:
    """Write what a token stands for, and return the place after it."""
    mark, place = token[0], token.end()
    if mark == "<":
        return _read_tag(token.start(), text, stack, absent)
    if token["heading"]:
        return _read_heading(token, text, stack)
    if mark.endswith("{|"):
        stack.write("\n")
        stack.open("{|")
    elif mark.endswith("|}"):
        stack.write("\n" if stack.close("{|", inside="{{") else mark)
    elif mark in ("{{", "[[", "["):
        stack.open(mark)
    elif mark == "}}":
        template = stack.close("{{")
        stack.write(_template(template) if template else GAP)
    elif mark in ("]]", "]"):
        return _read_end_of_link(mark, place, stack)
    elif mark == "\n":
        link = stack.close("[")
        stack.write(f"{link.texts[0] if link else ''}\n")
    elif mark == "|":
        stack.part()
    elif mark == "=":
        stack.write("" if stack.name() else mark)
    elif mark.startswith("-"):
        stack.write("\n\n")
    else:
        stack.write(TERM if ";" in mark else LIST_ITEM)
    return place


def _read_end_of_link(mark: str, place: int, stack: _Stack) -> int:
    if stack.frames[-1].scope == "[":
        link = stack.close("[")
        stack.write(_address(link.texts[0]) if link else "")
        return place - len(mark) + 1
    if link := stack.close("[[", inside="{{ {|"):
        stack.write(_link(*link.texts))
    return place


def _read_heading(token: re.Match[str], text: str, stack: _Stack) -> int:
    if stack.frames[-1].scope:
        stack.write(token[0])
        return token.end()
    end = text.find("\n", token.end())
    end = len(text) if end < 0 else end
    line = text[token.start() : end].partition("<!--")[0].strip()
    title = re.sub(r"\[\[|\]\]|'{2,}", "", line.strip("=")).strip()
    stack.write(f"\n\n{HEADING}{min(len(token[0]), 6)}{title}\n\n")
    return end


def _read_tag(place: int, text: str, stack: _Stack, absent: set[str]) -> int:
    """Write what a comment or tag stands for, or the sign if it is neither, and return the place after it."""
    if text.startswith("<!--", place):
        end = text.find("-->", place)
        return len(text) if end < 0 else end + len("-->")
    tag = _TAG.match(text, place)
    if tag is None:
        stack.write("<")
        return place + 1
    name, is_end, is_whole = _name(tag), bool(tag["end"]), bool(tag["alone"])
    if name in _HIDDEN or name == "nowiki":
        return _read_hidden(tag, name, text, stack, absent)
    if name in ("sub", "sup", "table"):
        if not is_end and not is_whole:
            stack.open(name)
        elif frame := stack.close(name, inside="{{ [[ [ {|"):
            stack.write(_element(frame))
    else:
        stack.write(_margin(name, end=is_end))
    return tag.end()


def _read_hidden(tag: re.Match[str], name: str, text: str, stack: _Stack, absent: set[str]) -> int:
    """Write what stands for an element without markup in it, and return the place after it."""
    shows = LOST if name in _FORMULAS else _margin(name, end=False)
    if tag["end"] or tag["alone"]:
        stack.write("" if name == "nowiki" else shows)
        return tag.end()
    end = None if name in absent else re.compile(rf"</{name}\s*>", re.IGNORECASE).search(text, tag.end())
    if end is None:
        absent.add(name)
        stack.write(LOST)
        return tag.end()
    if name == "nowiki":
        content = text[tag.end() : end.start()]
        shows = content.replace("'", "&#39;").replace("|", "&#124;").replace("!", "&#33;")
    stack.write(shows)
    return end.end()


def _name(tag: re.Match[str]) -> str:
    return (tag["extension"] or tag["html"]).lower()


def _margin(name: str, *, end: bool) -> str:
    """Return what stands for a tag between texts."""
    if name == "br":
        return " "
    if name in _ITEMS:
        return "\n\n" if end else f"\n\n{LIST_ITEM}"
    return "\n\n" if name in _BLOCKS else GAP if name in _GAPS or name in _HIDDEN else ""


def _element(frame: _Frame) -> str:
    if frame.kind == "table":
        return "\n\n"
    content = frame.texts[0]
    return superscript(content) if frame.kind == "sup" else subscript(content)


def _template(frame: _Frame) -> str:
    name, *texts = frame.texts
    arguments: dict[str, str] = {}
    unnamed = 0
    for place, text in enumerate(texts, start=1):
        unnamed += place not in frame.names
        arguments[frame.names.get(place, str(unnamed))] = text.strip()
    return shown(name, arguments)


def _address(content: str) -> str:
    """Return the words of an external link, which begins with its address."""
    return content.partition(" ")[2].strip() or GAP


def _link(title: str, *texts: str) -> str:
    """Return the words of a link to a page; one to a picture beside the text shows no words."""
    prefix, colon, rest = title.partition(":")
    space = prefix.strip().lower() if colon else ""
    if space in ("file", "image"):
        options = {text.partition("=")[0].strip().lower() for text in texts}
        return GAP if options & _BESIDE_TEXT else PICTURE
    if space == "category":
        return ""
    if words := "|".join(texts).strip():
        return words
    is_other_language = (
        _LANGUAGE.fullmatch(prefix.strip()) and rest[:1].strip() and space not in _NO_LANGUAGES
    )
    return "" if is_other_language else title.strip().lstrip(":")
