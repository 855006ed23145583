"""Paragraphs of running text, from text with marks of what is not in it.

A sentence that would lose a value, a sign or a word is left out and counted; other marks go, with the
commas and brackets that stood around them. All patterns take time linear in the text.
"""

import re
from typing import NamedTuple

from lmdynamics.text.templates import ASIDE, GAP, LOST, PICTURE, SUB, UNKNOWN
from lmdynamics.text.wikitext import LIST_ITEM, TERM, without_entities

_ADDRESS = re.compile(r"(?:https?|ftp)://[^\s\[\]]*[^\s\[\].,;:!?'\")(}]")
_REMAINS = re.compile(
    r"^[ \t]*+(?:\{\||\|[-}+]?|!(?=[\s!]|[^|\n]*+\|)).*$"
    r"|__(?:(?:FORCE|NO)?TOC|(?:NO)?NEWSECTIONLINK|NOEDITSECTION|NOGALLERY|HIDDENCAT|NOINDEX|INDEX)__",
    re.MULTILINE,
)
"""Rows of a table without its end, and words to the software."""
_ALONE = re.compile(rf"^[ \t]*+[{GAP}{PICTURE}{UNKNOWN}][ \t{GAP}{PICTURE}{UNKNOWN}]*+$", re.MULTILINE)
"""Lines of boxes, pictures and notes; they end a paragraph."""
_MARK = re.compile(f"[{ASIDE}{GAP}{PICTURE}{SUB}{UNKNOWN}]")
_BLANKS = re.compile("&(?:nbsp|thinsp|ensp|emsp|#160);")
_ASIDES = re.compile(rf"{ASIDE}(?:\s*+(?:[,;/]|or|and)?+\s*+{ASIDE})++")
_HARMLESS_ASIDE = re.compile(
    rf"([(\[,;][\s{GAP}]*+){ASIDE}(?=[\s{GAP}]*+(?:[)\],;(]|''))|(''[\s{GAP}]*+){ASIDE}"
)
_NOTE = re.compile(rf"([.!?][\"'”’)\]]*+)[{GAP}{UNKNOWN}]++(?=\s|$)")
_EMPTY_BRACKETS = re.compile(rf"[(\[](?:[\s,;:.–—/·•\"'-]*+{GAP})++[\s,;:.–—/·•\"'-]*+[)\]]")
_AFTER_BRACKET = re.compile(rf"([(\[])(?:[\s,;:·•]*+{GAP})++[\s,;:·•]*+")
_BEFORE_BRACKET = re.compile(rf"(?<![\s,;:·•{GAP}])(?:[\s,;:·•]*+{GAP})++[\s,;:·•]*+([)\]])")
_TWO_COMMAS = re.compile(rf"[,;:](?:\s*+{GAP})++\s*+([,;:.])")
_BETWEEN_WORDS = re.compile(rf"(?<=[\w.,;:!?)\]”\"’%]){GAP}++(?=[\w(\[“\"])")
_SPACE_AFTER_BRACKET = re.compile(r"([(\[]) ")
_SPACE_BEFORE_SIGN = re.compile(r" ([)\]]|[,;.:!?](?= |$))")
_LEADING = re.compile(r"(?:[*#•·|:;,.\s]++(?<=\s))++")
_STOP = re.compile(r"[.!?][\"'”’)\]]*+\s+")
_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*$")
_WORD = re.compile(r"[^\W\d_]{2}")
# fmt: off
_ABBREVIATIONS = frozenset([
    "al", "approx", "apr", "aug", "bros", "ca", "capt", "cf", "co", "col", "corp", "dec", "dept", "dr",
    "ed", "eds", "est", "etc", "feb", "fig", "figs", "gen", "gov", "hon", "inc", "jan", "jr", "lt", "ltd",
    "maj", "messrs", "mr", "mrs", "ms", "mt", "no", "nos", "nov", "oct", "pp", "prof", "pt", "rep", "rev",
    "sen", "sep", "sept", "sgt", "sr", "st", "trans", "univ", "viz", "vol", "vols", "vs",
])
# fmt: on
_LONGEST_ABBREVIATION = 12  # characters before a full stop that are looked at


class Prose(NamedTuple):
    """Paragraphs, and the number of sentences left out of them."""

    paragraphs: list[str]
    left_out: int


def prose(text: str) -> Prose:
    """Return the running text in a text with marks.

    Blocks end at blank lines. A list item stays if it ends as a sentence does. Paragraphs hold single spaces,
    no line ends and a word of two letters at least.
    """
    text = _ALONE.sub("", _REMAINS.sub("", text))
    text = re.sub(rf"(?m)^[^\S\n]*+{TERM}([^\n:]*+):", rf"{LIST_ITEM}\1\n{LIST_ITEM}", text)
    text = re.sub(rf"(?m)^[^\S\n]*+[{LIST_ITEM}{TERM}].*$", r"\n\g<0>\n", text)
    found = [_paragraph(block) for block in re.split(r"\n\s*\n", text)]
    return Prose([paragraph for paragraph, _ in found if paragraph], sum(left_out for _, left_out in found))


def _paragraph(block: str) -> tuple[str, int]:
    """Return a block as one line, empty if it is no sentence, and the number of sentences left out of it."""
    is_item = LIST_ITEM in block or TERM in block
    lines = (_without_pictures(line) for line in block.split("\n"))
    text = _tidy(" ".join(lines).replace(LIST_ITEM, " ").replace(TERM, " "))
    if is_item and not _SENTENCE_END.search(text):
        return "", 0
    sentences = _sentences(text)
    whole = [sentence for sentence in sentences if LOST not in sentence]
    left_out = sum(_WORD.search(sentence) is not None for sentence in sentences if LOST in sentence)
    text = "".join(whole).strip()
    return text if _WORD.search(text) else "", left_out


def _without_pictures(line: str) -> str:
    """Return a line without pictures around it."""
    return line.strip(f"{PICTURE}{GAP} ") if PICTURE in line else line


def _tidy(text: str) -> str:
    """Return a line without any mark but `LOST`, and without what removed words leave around them."""
    text = _ADDRESS.sub(GAP, _BLANKS.sub(" ", text))
    text = _without_marks(text) if _MARK.search(text) else re.sub("'{2,}", "", text)
    text = " ".join(without_entities(without_entities(text)).split())
    text = _SPACE_BEFORE_SIGN.sub(r"\1", _SPACE_AFTER_BRACKET.sub(r"\1", text))
    leading = _LEADING.match(text)
    return text[leading.end() :] if leading else text


def _without_marks(text: str) -> str:
    """Return a line without italics, and without any mark but `LOST`."""
    text = _HARMLESS_ASIDE.sub(rf"\1\2{GAP}", _ASIDES.sub(ASIDE, text))
    text = _NOTE.sub(r"\1", text)
    text = re.sub("'{2,}", "", re.sub(f"[{ASIDE}{PICTURE}{UNKNOWN}]", LOST, text))
    for _ in range(3):  # brackets in brackets, lists of commas
        text = _EMPTY_BRACKETS.sub(GAP, text)
        text = _AFTER_BRACKET.sub(r"\1", text)
        text = _BEFORE_BRACKET.sub(r"\1", text)
        text = _TWO_COMMAS.sub(r"\1", text)
    text = _BETWEEN_WORDS.sub(" ", text).replace(GAP, "")
    return re.sub(rf"(?<=\d){SUB}", "_", text).replace(SUB, "")


def _sentences(text: str) -> list[str]:
    """Return the sentences of a line with the space after each; where it is in doubt, two are one."""
    ends = [stop.end() for stop in _STOP.finditer(text) if _ends_sentence(text, stop)]
    return [text[begin:end] for begin, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def _ends_sentence(text: str, stop: re.Match[str]) -> bool:
    before = text[max(0, stop.start() - _LONGEST_ABBREVIATION) : stop.start()]
    word = re.split(r"[\s(\[\"'“‘–—-]", before)[-1]
    abbreviates = stop[0][0] == "." and (
        (len(word) == 1 and word.isalpha()) or "." in word or word.lower() in _ABBREVIATIONS
    )
    after = text[stop.end() : stop.end() + 3].lstrip("\"'“‘([")
    return not abbreviates and not after[:1].islower()
