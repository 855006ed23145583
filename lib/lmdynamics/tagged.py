"""Text that comes with its tags: the table of the Groningen Meaning Bank, the layers of the Parallel one.

Every reader here takes an open file and the path to name in errors, and yields
`TaggedDocument`s in file order, words and tags as the file has them.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from lmdynamics.annotation import Batch, Column, merged

COARSE = {
    "ANA": ("PRO", "DEF", "HAS", "REF", "EMP"),  # anaphora
    "ACT": ("GRE", "ITJ", "HES", "QUE"),  # speech acts
    "ATT": ("QUC", "QUV", "COL", "IST", "SST", "PRI", "DEG", "INT", "REL", "SCO"),  # attributes
    "COM": ("EQU", "APX", "MOR", "LES", "TOP", "BOT", "ORD"),  # comparison
    "UNE": ("CON", "ROL", "GRP"),  # entities without a name
    "DXS": ("PRX", "MED", "DST", "DXP", "DXT", "DXD"),  # deixis
    "LOG": ("ALT", "XCL", "NIL", "DIS", "IMP", "AND"),  # logic
    "MOD": ("NOT", "NEC", "POS"),  # modality
    "DSC": ("SUB", "COO", "APP", "BUT"),  # discourse
    "NAM": ("PER", "GPE", "GPO", "GEO", "ORG", "ART", "HAP", "UOM", "CTC", "URL", "LIT", "NTH"),  # names
    "EVE": ("EXS", "ENS", "EPS", "EFS", "EXG", "EXT"),  # events
    "TNS": ("NOW", "PST", "FUT", "PRG", "PFT"),  # tense and aspect
    "TIM": ("DAT", "DOM", "YOC", "DOW", "MOY", "DEC", "CLO"),  # times
}
"""The thirteen coarse classes of semantic tags and the tags of each.

They are those of Abzianidze and Bos (2017), Table 1, with the tags that later
releases added (APX, PRX, MED, DST, EFS).
"""

_COARSE_OF = {tag: coarse for coarse, tags in COARSE.items() for tag in tags}
_GMB_COLUMNS = ["Sentence #", "Word", "POS", "Tag"]
_PMB_COLUMNS = 7
_PMB_DOCUMENT = "# newdoc id = "


class TaggedDocument(NamedTuple):
    """One article: its title, its sentences (none empty) and, where a corpus says so, its part."""

    title: str
    sentences: Sequence[Sequence[tuple[str, ...]]]  # of each token the word and its tags
    part: str | None = None


def gmb_table(file: Iterable[str], path: str) -> Iterator[TaggedDocument]:
    """The Groningen Meaning Bank as one document; the tag is the part of speech.

    Of sentences with the same words only the first is kept, so that none can
    stand in two parts.

    Raises
    ------
    ValueError
        If a row is not a row of the table.
    """
    rows = csv.reader(file, strict=True)
    sentences: list[list[tuple[str, ...]]] = []
    try:
        if (header := next(rows, [])) != _GMB_COLUMNS:
            raise _unreadable(path, 1, f"the columns {_GMB_COLUMNS}", header)
        for row in rows:
            if len(row) != len(_GMB_COLUMNS) or not all(map(str.strip, row[1:])) or not (row[0] or sentences):
                raise _unreadable(
                    path, rows.line_num, f"{_GMB_COLUMNS}, the first only where a sentence begins", row
                )
            if row[0]:
                sentences.append([])
            sentences[-1].append((row[1], row[2]))
    except csv.Error as error:
        raise _unreadable(path, rows.line_num, "comma-separated values", str(error)) from error
    distinct: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for sentence in sentences:
        distinct.setdefault(tuple(word for word, _ in sentence), sentence)
    if distinct:
        yield TaggedDocument("Groningen Meaning Bank", list(distinct.values()))


def pmb_layers(file: Iterable[str], path: str, part: str) -> Iterator[TaggedDocument]:
    """Documents of the Parallel Meaning Bank; the tags are the semantic tag and its class of `COARSE`.

    Raises
    ------
    ValueError
        If a line is not seven columns, its word is empty or its tag unknown,
        or it stands in no document.
    """
    title: str | None = None
    sentences: list[list[tuple[str, ...]]] = []
    in_sentence = False
    for number, line in enumerate(file, start=1):
        text = line.rstrip("\n")
        is_token = text != "" and not text.startswith(("# ", "###"))
        if text.startswith(_PMB_DOCUMENT):
            if title is not None and sentences:
                yield TaggedDocument(title, sentences, part)
            title, sentences = text.removeprefix(_PMB_DOCUMENT), []
        elif is_token:
            row = text.split("\t")
            if len(row) != _PMB_COLUMNS or not row[0].strip() or row[3] not in _COARSE_OF or title is None:
                needed = f"{_PMB_COLUMNS} columns below a line {_PMB_DOCUMENT!r}, a word and in the fourth a "
                raise _unreadable(path, number, needed + "semantic tag of lmdynamics.tagged.COARSE", row)
            if not in_sentence:
                sentences.append([])
            sentences[-1].append((row[0], row[3], _COARSE_OF[row[3]]))
        in_sentence = is_token
    if title is not None and sentences:
        yield TaggedDocument(title, sentences, part)


def batch(documents: Sequence[TaggedDocument], tags: tuple[str, ...]) -> Batch:
    """The documents as aligned arrays; ``tags`` names what each token has beside its word."""
    sentences = [sentence for document in documents for sentence in document.sentences]
    words, *found = zip(*chain.from_iterable(sentences), strict=True)
    starts = np.zeros(len(words), bool)
    starts[np.cumsum([0, *map(len, sentences[:-1])])] = True
    lengths = [sum(map(len, document.sentences)) for document in documents]
    columns = {name: _column(values) for name, values in zip(tags, found, strict=True)}
    return Batch(_column(words), starts, lengths, columns, None)


def _column(of_tokens: tuple[str, ...]) -> Column:
    return merged([Column(of_tokens, np.arange(len(of_tokens), dtype=np.int32))])


def _unreadable(path: str, line: int, needed: str, got: object) -> ValueError:
    return ValueError(
        f"{path}, line {line}: needed {needed}, got {got!r}; put the file back as published (data/README.md)"
    )
