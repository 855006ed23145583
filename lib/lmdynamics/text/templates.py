"""What a template of the English Wikipedia puts into a sentence.

`shown` knows the templates that stand for words or signs, those that add nothing to a text (notes, requests
for sources, boxes), and those that may be dropped between commas or brackets (how a word is pronounced).
A template that it does not know may hold a value: where it stands in a sentence, that sentence is lost.
"""

import calendar
import re
from collections.abc import Callable, Mapping

LOST = "\ue001"
"""Mark of something with a meaning that has no text, such as a formula."""
UNKNOWN = "\ue002"
"""Mark of an unknown template: nothing where it stands alone on a line or after a full stop, else `LOST`."""
ASIDE = "\ue003"
"""Mark of a pronunciation or a name in another language: nothing beside brackets and commas, else `LOST`."""
GAP = "\ue004"
"""Mark of something without a meaning of its own that keeps its neighbours apart, such as a note."""
PICTURE = "\ue008"
"""Mark of a picture: nothing where a line begins or ends, else `LOST`."""
SUB = "\ue007"
"""Mark before the digits of an index; it keeps them apart from digits before it."""

_Arguments = Mapping[str, str]
"""The text of each argument by its name, ``"1"`` for the first without a name."""

# fmt: off
_APOSTROPHE = "&#39;"  # not beside others, which would stand for italics
_SIGNS = {
    "!": "|", "'": _APOSTROPHE, "'-": _APOSTROPHE, "-'": _APOSTROPHE, "'s": f"{_APOSTROPHE}s", "-\"": "\"",
    "' \"": f"{_APOSTROPHE}\"", "'\"": f"{_APOSTROPHE}\"", "\" '": f"\"{_APOSTROPHE}",
    "\"'": f"\"{_APOSTROPHE}", "=": "=", "\\": "/", "·": " ·", "bull": "•", "dash": " – ", "dot": " ·",
    "em dash": "—", "em": "—", "en dash": "–",
    "eqm": "⇌", "ldquo": "“", "mdash": "—", "mdashb": "—", "minus": "−", "nbh": "-", "nbhyph": "-",
    "nbsp": " ", "ndash": "–", "pi": "π", "pipe": "|", "rdquo": "”", "snd": " – ", "snds": " – ",
    "spaced en dash": " – ", "spaced mdash": " — ", "spaced ndash": " – ", "spaces": " ", "thin space": " ",
    "thinsp": " ", "times": "×",
}
_SHOWN = {
    "lang": 2, "rtl-lang": 2, "script": 2, "resize": 2, "transl": -1, "transliteration": -1,
    "font color": -1,
} | dict.fromkeys([
    "abbr", "abbrlink", "angbr", "angle bracket", "big", "center", "dfn", "flag", "flagcountry", "gloss",
    "grc", "iast", "intitle", "ipa", "kbd", "large", "lookfrom", "longitem", "midsize", "mono", "mvar",
    "math", "nastaliq", "noitalic", "nobold", "nobr", "nowrap", "nq", "nts", "pslink", "sc", "small",
    "smallcaps", "smaller", "tooltip", "unicode", "url", "vanchor", "var", "visible anchor", "vr", "wrap",
], 1)
"""Place of the argument that is shown, from the end where it is negative."""
_QUOTATIONS = frozenset(["blockquote", "bquote", "cquote", "quotation", "quote"])
_SHIPS = frozenset(["hmas", "hmcs", "hms", "rms", "sms", "ss", "uss"])
_NOTHING = re.compile(
    # notes and their lists
    r"#tag:ref.*|cite .*|citation.*|cnote.*|efn.*|inflation-fn|note.*|r|ref label|refn.*|rp|sfn.*|vcite .*|"
    # requests for better sources or words
    r".* needed|.* source|.*[ -]inline|.*\?|according to whom|by whom|clarify.*|cn|dead link|dubious.*|fact|"
    r"failed verification|full|or|qualify evidence|refimprove.*|specify|unreferenced.*|update.*|vague|"
    r"verify.*|when|where|which|who|whom|"
    # boxes, pictures and lists of links
    r".*(info|nav|tax|species)box.*|.*sidebar.*|multiple images?|double image|flag(deco|icon).*|.. icon|"
    r"wayback|webarchive|see also|main.*|further.*|details.*|about|for|other uses.*|redirect.*|"
    r"hatnote|"
    # marks of a page, its columns and its table of contents
    r"-|anchor|authority control|bots|clear.*|col-.*|colbegin|colend|coord missing|defaultsort:.*|"
    r"displaytitle:.*|div col.*|(featured|good) article|italic title|pp|pp-.*|ref(begin|end|list).*|"
    r"short description|toc.*|use .*"
)
_ASIDE = re.compile(r"(ipa|ipac|lang)-.*|audio|ipa audio|pronunciation|respell|zh")
# fmt: on
_RANGES = {
    **{word: f" {word} " for word in ("to", "and", "or", "by")},
    **dict.fromkeys(["-", "–"], "–"),
    **dict.fromkeys(["x", "×", "*", "xx"], " × "),
    **dict.fromkeys(["+/-", "±"], " ± "),
    **{"to(-)": " to ", "to-": " to ", "and(-)": " and ", "and-": " and "},
}
_SMALLER_UNITS = frozenset(
    [("ft", "in"), ("lb", "oz"), ("st", "lb"), ("mi", "yd"), ("mi", "ft"), ("yd", "ft")]
)
_INPUT_IS_SHOWN = frozenset(["", "b", "br", "br()", "comma", "flip", "or", "s", "slash", "/", "sqbr"])
_NUMBER = re.compile(
    r"([-−+]?\d[\d,.]*|[-−+]?\.\d+)(?:e([-−+]?\d+))?(?:[+&](\d+/+\d+))?|(\d+/+\d+)", re.IGNORECASE
)
_MONTHS = {str(number): calendar.month_name[number] for number in range(1, 13)}
_IN_BRACKETS = re.compile(r"[(\[].*[)\]]", re.DOTALL)
_AS_IS = re.compile(rf"st|nd|rd|th|ª|º|TM|SM|™|®|©|[-−–+*†‡′″°]+|{_IN_BRACKETS.pattern}", re.DOTALL)
"""Raised text that reads the same beside what it belongs to: ordinals, trade marks, signs."""
_MUSIC = {"flat": "♭", "natural": "♮", "sharp": "♯"}


def shown(name: str, arguments: _Arguments) -> str:
    """Return what a template shows, as text or as one of the marks.

    Parameters
    ----------
    name
        As written; capitals do not count.
    arguments
        The text of each by its name.
    """
    name = " ".join(name.replace("_", " ").lower().split()).removeprefix("template:")
    in_order = _in_order(arguments)
    if name in _SIGNS:
        return _SIGNS[name]
    if place := _SHOWN.get(name, 1 if name.startswith("script/") else 0):
        return _nth(in_order, place) or UNKNOWN
    if name in _QUOTATIONS:
        text = arguments.get("text") or arguments.get("quote") or arguments.get("1")
        return f"\n\n{text}\n\n" if text else UNKNOWN
    if name in _SHIPS and in_order:
        return f"{name.upper()} {in_order[0]}"
    if name.startswith("formatnum:"):
        return _grouped(name.removeprefix("formatnum:").strip())
    if name in _RENDERED:
        return _RENDERED[name](in_order, arguments) or LOST
    if name == "coord":
        return GAP if arguments.get("display") == "title" else LOST
    if _NOTHING.fullmatch(name):
        return GAP
    return ASIDE if _ASIDE.fullmatch(name) else UNKNOWN


def superscript(text: str) -> str:
    """Return raised text: a power after a caret, an ordinal's letters and a trade mark as they are."""
    plain = text.replace("''", "").strip()
    if not plain or _AS_IS.fullmatch(plain):
        return text
    return f"^{_in_brackets(plain)}"


def subscript(text: str) -> str:
    """Return lowered text: digits beside the letter that they belong to, else after a low line."""
    plain = text.replace("''", "").strip()
    if not plain or _IN_BRACKETS.fullmatch(plain):
        return text
    if re.fullmatch(r"\d+", plain):
        return SUB + plain
    return f"_{_in_brackets(plain)}"


def _in_brackets(text: str) -> str:
    """Return an expression in brackets, a number as it is, and a name kept apart from letters after it."""
    if re.fullmatch(r"[-−–+]?[\d.]+[-−–+]?", text):
        return text
    return f"{text}{GAP}" if re.fullmatch(r"[-−–+]?[\w.]+[-−–+]?", text) else f"({text})"


def _in_order(arguments: _Arguments) -> list[str]:
    """Return the arguments without a name."""
    in_order: list[str] = []
    while (argument := arguments.get(str(len(in_order) + 1))) is not None:
        in_order.append(argument)
    return in_order


def _nth(in_order: list[str], place: int) -> str:
    return in_order[place - 1 if place > 0 else place] if len(in_order) >= abs(place) else ""


def _number(text: str) -> str:
    """Return a number as it is read, its power of ten and its fraction too; nothing for what is no number."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        return ""
    number, exponent, fraction, only_fraction = match.groups()
    parts = [number or "", only_fraction or fraction or ""]
    return " ".join(filter(None, parts)).replace("//", "/") + (f"×10^{exponent}" if exponent else "")


def _grouped(number: str) -> str:
    """Return a number with a comma between thousands."""
    match = re.fullmatch(r"([-−]?)(\d+)(\.\d+)?", number)
    return f"{match[1]}{int(match[2]):,}{match[3] or ''}" if match else LOST


def _convert(in_order: list[str], named: _Arguments) -> str:
    """Return the quantity that is converted, without what it is converted to: 3 to 4 km, 5 ft 11 in."""
    if named.get("disp", "") not in _INPUT_IS_SHOWN or not in_order:
        return ""
    numbers = [in_order[0]]
    rest, words = in_order[1:], ""
    while len(rest) > 1 and rest[0] in _RANGES:
        words, numbers, rest = _RANGES[rest[0]], [*numbers, rest[1]], rest[2:]
    numbers = [_number(number) for number in numbers]
    if not all(numbers) or not rest or not rest[0]:
        return ""
    power = re.match(r"e(\d+)", rest[0])
    unit = rest[0].removeprefix(power[0]) if power else rest[0]
    quantity = f"{words.join(numbers)}{f'×10^{power[1]}' if power else ''} {unit}"
    if tuple(rest[0:3:2]) in _SMALLER_UNITS:
        quantity += f" {_number(rest[1])} {rest[2]}"
    return quantity


def _value(in_order: list[str], named: _Arguments) -> str:
    """Return a measured value with its error, power of ten and unit."""
    if not in_order or len(in_order) > 2 or not _number(re.sub(r"\(\d+\)$", "", in_order[0])):
        return ""
    value = in_order[0] + (f"±{in_order[1]}" if len(in_order) > 1 else "")
    power = f"×10^{named['e']}" if named.get("e") else ""
    unit = named.get("u") or named.get("ul") or ""
    per = named.get("up") or named.get("upl") or ""
    before, after = named.get("p", ""), named.get("s", "")
    return f"{before}{value}{power}{f' {unit}' if unit else ''}{f'/{per}' if per else ''}{after}"


def _fraction(in_order: list[str], _: _Arguments) -> str:
    """Return 1/n, a/b or w a/b, kept apart from a whole number before it."""
    if not 1 <= len(in_order) <= 3 or not all(in_order):
        return ""
    *whole, above, below = in_order if len(in_order) > 1 else ("1", *in_order)
    parts = [
        part if re.fullmatch(r"[\w.]+", part.replace("''", "")) else f"({part})" for part in (above, below)
    ]
    return GAP + " ".join([*whole, "/".join(parts)])


def _formula(in_order: list[str], _: _Arguments) -> str:
    """Return a chemical formula from its symbols, numbers and charge."""
    return "".join(map(_formula_piece, in_order))


def _formula_piece(piece: str) -> str:
    if re.fullmatch(r"\d*[-−–+]", piece):
        return superscript(piece)
    return piece if re.match(r"[A-Z(\[]", piece) else subscript(piece)


def _as_of(in_order: list[str], named: _Arguments) -> str:
    """Return "As of" with a date."""
    if named.get("alt"):
        return named["alt"]
    if {"bare", "post", "pre"} & named.keys() or not in_order:
        return ""
    year, *rest = in_order
    if rest:
        month = _MONTHS.get(rest[0].lstrip("0"), rest[0])
        if month not in _MONTHS.values():
            return ""
        year = " ".join([*rest[1:2], month, year])
    words = "Since" if named.get("since") else "As of"
    return f"{words.lower() if named.get('lc') else words} {year}"


def _in_japanese(in_order: list[str], _: _Arguments) -> str:
    return next((in_order[place] for place in (0, 2, 1) if place < len(in_order) and in_order[place]), "")


def _other_language(in_order: list[str], named: _Arguments) -> str:
    """Return the words of a link to an article that another language has."""
    codes_first = in_order[1:] and re.fullmatch("[a-z]{2,3}", in_order[0])
    return named.get("lt") or _nth(in_order, 2 if codes_first else 1)


def _before(prefix: str, after: str = "") -> Callable[[list[str], _Arguments], str]:
    """Return a function that puts text around the only argument."""
    return lambda in_order, _: f"{prefix}{in_order[0]}{after}" if len(in_order) == 1 else ""


_RENDERED: Mapping[str, Callable[[list[str], _Arguments], str]] = {
    **dict.fromkeys(["convert", "cvt"], _convert),
    **dict.fromkeys(["frac", "fraction", "sfrac"], _fraction),
    **dict.fromkeys(["nihongo", "nihongo2", "nihongo3"], _in_japanese),
    **dict.fromkeys(["ill", "interlanguage link"], _other_language),
    **dict.fromkeys(["e", "esp", "x10^"], _before("×10^")),
    **dict.fromkeys(["c.", "ca.", "circa"], lambda in_order, _: " ".join(["c.", *in_order[:1]])),
    "as of": _as_of,
    "bibleref": lambda in_order, _: " ".join(in_order[:2]),
    "chem": _formula,
    "deg": _before("", "°"),
    "dts": _before(""),
    "gaps": lambda in_order, _: " ".join(in_order),
    "ipaslink": _before("/", "/"),
    "keypress": lambda in_order, _: "+".join(in_order),
    "linktext": _before(""),
    "music": lambda in_order, _: _MUSIC.get("".join(in_order), ""),
    "oldstyledate": lambda dates, _: f"{dates[0]} [O.S. {dates[2]}] {dates[1]}" if len(dates) == 3 else "",
    "pow": lambda in_order, _: in_order[0] + superscript(in_order[1]) if len(in_order) == 2 else "",
    "sic": lambda in_order, _: " ".join([*in_order, "[sic]"]),
    "sub": lambda in_order, _: subscript("".join(in_order)),
    "sup": lambda in_order, _: superscript("".join(in_order)),
    "us$": _before("US$"),
    "val": _value,
}
"""How a template is written out, given its arguments without a name, and all; empty if it cannot be."""
