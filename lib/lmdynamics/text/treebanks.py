"""Readers of corpora with tags: two Meaning Banks, and a treebank of Universal Dependencies.

Every reader here takes an open file and the path to name in errors, and yields
`TaggedDocument`s in file order, words and tags as the file has them.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOBase
from itertools import chain
from typing import NamedTuple, TextIO, cast

import numpy as np

from lmdynamics.ground.extras import extra
from lmdynamics.text.annotation import Batch, Column, merged

with extra("text"):
    import conllu
    from conllu.exceptions import ParseException

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
_DOCUMENT = "# newdoc id = "
_UD_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


class TaggedDocument(NamedTuple):
    """An article: its title, its sentences (none empty) and, if the corpus has them, its part and heads."""

    title: str
    sentences: Sequence[Sequence[tuple[str, ...]]]  # of each token the word and its tags
    part: str | None = None
    heads: Sequence[Sequence[int]] | None = None  # of each token, index in the sentence; a root is its own
    left_out: int = 0  # sentences: none
    continues: bool = False  # whether it goes on with the article before it: never


def gmb_table(file: Iterable[str], path: str) -> Iterator[TaggedDocument]:
    """Yield the Groningen Meaning Bank as one document; the tag is the part of speech.

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
            raise _format_error(path, 1, f"the columns {_GMB_COLUMNS}", header)
        for row in rows:
            if len(row) != len(_GMB_COLUMNS) or not all(map(str.strip, row[1:])) or not (row[0] or sentences):
                raise _format_error(
                    path, rows.line_num, f"{_GMB_COLUMNS}, the first only where a sentence begins", row
                )
            if row[0]:
                sentences.append([])
            sentences[-1].append((row[1], row[2]))
    except csv.Error as error:
        raise _format_error(path, rows.line_num, "comma-separated values", str(error)) from error
    sentence_of: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for sentence in sentences:
        sentence_of.setdefault(tuple(word for word, _ in sentence), sentence)
    if sentence_of:
        yield TaggedDocument("Groningen Meaning Bank", list(sentence_of.values()))


def pmb_layers(file: Iterable[str], path: str, part: str) -> Iterator[TaggedDocument]:
    """Yield documents of the Parallel Meaning Bank; the tags are the semantic tag and its class of `COARSE`.

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
        if text.startswith(_DOCUMENT):
            if title is not None and sentences:
                yield TaggedDocument(title, sentences, part)
            title, sentences = text.removeprefix(_DOCUMENT), []
        elif is_token:
            row = text.split("\t")
            if len(row) != _PMB_COLUMNS or not row[0].strip() or row[3] not in _COARSE_OF or title is None:
                needed = f"{_PMB_COLUMNS} columns below a line {_DOCUMENT!r}, a word and in the fourth a "
                raise _format_error(
                    path, number, needed + "semantic tag of lmdynamics.text.treebanks.COARSE", row
                )
            if not in_sentence:
                sentences.append([])
            sentences[-1].append((row[0], row[3], _COARSE_OF[row[3]]))
        in_sentence = is_token
    if title is not None and sentences:
        yield TaggedDocument(title, sentences, part)


class _Lines(TextIOBase):
    """The lines of a file, and the number of the line at which the current sentence begins."""

    def __init__(self, file: Iterable[str]) -> None:
        self._file = file
        self.begin = 0

    def __iter__(self) -> Iterator[str]:  # type: ignore[override] # as TextIOBase itself
        between = True
        for number, line in enumerate(self._file, start=1):
            if between and line.strip():
                self.begin = number
            between = not line.strip()
            yield line


def ud_trees(file: Iterable[str], path: str, part: str) -> Iterator[TaggedDocument]:
    """Yield documents of a treebank of Universal Dependencies; the tags are UPOS and XPOS.

    The tokens are the syntactic words, two of *don't*: rows of multiword
    tokens (3-4) and empty nodes (8.1) are left out.

    Raises
    ------
    ValueError
        If a line is not one of CoNLL-U, a word lacks its form, a tag or its
        head, the heads of a sentence are no tree, or it stands in no
        document. It names the line at which the sentence begins.
    """
    lines = _Lines(file)
    title: str | None = None
    sentences: list[list[tuple[str, ...]]] = []
    heads: list[list[int]] = []
    try:
        for rows in conllu.parse_incr(cast(TextIO, lines), fields=(*_UD_COLUMNS, "one too many")):
            new_title = rows.metadata.get("newdoc id")
            if "newdoc" in rows.metadata or (title is None and new_title is None):
                raise _format_error(
                    path, lines.begin, f"a sentence below a line {_DOCUMENT!r}", rows.metadata
                )
            if new_title is not None:
                if title is not None:
                    yield TaggedDocument(title, sentences, part, heads)
                title, sentences, heads = new_title, [], []
            words = _words(rows, path, lines.begin)
            sentences.append([(word["form"], word["upos"], word["xpos"]) for word in words])
            heads.append(_heads(words, path, lines.begin))
    except ParseException as error:
        raise _format_error(path, lines.begin, "a sentence in CoNLL-U", str(error)) from error
    if title is not None:
        yield TaggedDocument(title, sentences, part, heads)


def batch(documents: Sequence[TaggedDocument], tags: tuple[str, ...]) -> Batch:
    """Return documents as aligned arrays; ``tags`` names the tags of each token."""
    sentences = [sentence for document in documents for sentence in document.sentences]
    words, *tag_columns = zip(*chain.from_iterable(sentences), strict=True)
    begins = np.cumsum([0, *map(len, sentences[:-1])])
    starts = np.zeros(len(words), bool)
    starts[begins] = True
    lengths = [sum(map(len, document.sentences)) for document in documents]
    columns = {name: _column(values) for name, values in zip(tags, tag_columns, strict=True)}
    heads = None
    if documents[0].heads is not None:
        of_sentences = chain.from_iterable(document.heads or () for document in documents)
        batch_heads = [
            np.add(of, begin, dtype=np.int32) for of, begin in zip(of_sentences, begins, strict=True)
        ]
        heads = np.concatenate(batch_heads)
    return Batch(_column(words), starts, lengths, columns, heads)


def _words(rows: Sequence[conllu.Token], path: str, line: int) -> list[conllu.Token]:
    """Return the words of the sentence that begins at a line."""
    for row in rows:
        if tuple(row) != _UD_COLUMNS or row["id"] is None:
            raise _format_error(path, line, f"rows of the columns {_UD_COLUMNS}", list(row.values()))
    words = [row for row in rows if isinstance(row["id"], int)]
    numbers = [word["id"] for word in words]
    if numbers != list(range(1, len(words) + 1)):
        raise _format_error(path, line, "a sentence with words numbered from 1 on", numbers)
    for word in words:
        if not word["form"].strip() or word["upos"] in ("", "_") or word["xpos"] is None:
            got = [word[column] for column in ("id", "form", "upos", "xpos")]
            raise _format_error(path, line, "a sentence with form, UPOS and XPOS of each word", got)
    return words


def _heads(words: Sequence[conllu.Token], path: str, line: int) -> list[int]:
    """Return the index of each word's head in the sentence that begins at a line."""
    places = range(len(words) + 1)
    if outside := [(word["id"], word["form"], word["head"]) for word in words if word["head"] not in places]:
        raise _format_error(path, line, f"a sentence with heads from 0 to {len(words)}", outside[0])
    roots = [place for place, word in enumerate(words) if word["head"] == 0]
    if len(roots) != 1:
        raise _format_error(path, line, "a sentence with one root", [words[root]["form"] for root in roots])
    heads = [word["head"] - 1 if word["head"] else place for place, word in enumerate(words)]
    ancestors = np.array(heads)
    for _ in range(len(words).bit_length()):  # twice as far up each time
        ancestors = ancestors[ancestors]
    if rootless_words := [
        word["form"] for word, top in zip(words, ancestors, strict=True) if top != roots[0]
    ]:
        raise _format_error(path, line, "a sentence with a path from each word to the root", rootless_words)
    return heads


def _column(of_tokens: tuple[str, ...]) -> Column:
    return merged([Column(of_tokens, np.arange(len(of_tokens), dtype=np.int32))])


def _format_error(path: str, line: int, needed: str, got: object) -> ValueError:
    return ValueError(
        f"{path}, line {line}: needed {needed}, got {got!r}; put the file back as published (data/README.md)"
    )
