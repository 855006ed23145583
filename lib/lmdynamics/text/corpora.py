"""Corpora as arrays of words, sentences, articles, tags and syntactic heads, one row per token.

`load` reads any corpus the project knows by name, a folder of ``.txt`` files,
or a MediaWiki dump, into one type, `Corpus`. What it has read it keeps in the
cache as one Parquet table, named by a fingerprint of the source's bytes, the
tools and the code here and below, so a change in any of them reads it again.
"""

import hashlib
import importlib.util
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int8, Int32, Int64

from lmdynamics.ground import grid, storage
from lmdynamics.ground.paths import cache_directory
from lmdynamics.ground.provenance import code_fingerprint
from lmdynamics.text import annotation, downloads, treebanks, wikipedia
from lmdynamics.text.annotation import Batch, Column
from lmdynamics.text.treebanks import TaggedDocument
from lmdynamics.text.wikipedia import Document

PARTS = ("train", "dev", "test")
"""The parts of a corpus; the codes of `Corpus.parts` index it."""

_LARGEST_FILE = 2**28  # bytes of one text
_LONGEST_PARAGRAPH = 20_000  # characters
_LONGEST_WORD = re.compile(r"\S{200}(?=\S)")  # a tokeniser takes time quadratic in signs without a space
_LONGEST_NAME = 100  # bytes of a corpus's name in that of its table
_INVISIBLE = re.compile(
    "[\u00ad\u200b\u200e\u200f\u2060\ufeff]"
)  # soft hyphens, byte order marks and the like
_OTHER_COLUMNS = {"word", "sentence_start", "article_start", "head", "part"}  # all but tags

Progress = Callable[[int, int | None], None]
"""A function of the number of articles read and, if it is known, of all articles."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Corpus:
    """A text: its tokens in reading order, and their sentences, articles, tags and heads.

    No article and no sentence is empty, and the words are sorted.

    Raises
    ------
    ValueError
        If a column does not align with the tokens, or offsets do not cover them.
    """

    name: str
    words: tuple[str, ...]  # the types
    tokens: Int32[np.ndarray, " _"]  # index into words
    sentences: Int64[np.ndarray, " _"]  # token at which each sentence begins, and the number of tokens
    articles: Int64[np.ndarray, " _"]  # sentence at which each article begins, and the number of sentences
    titles: tuple[str, ...]  # of the articles
    tags: Mapping[str, Column]  # pos (Universal Dependencies), tag (Penn Treebank), sem and sem_coarse (PMB)
    heads: Int32[np.ndarray, " _"] | None  # index in the sentence; a root is its own head
    parts: Int8[np.ndarray, " _"] | None  # of each sentence, where the corpus says so; index into PARTS
    left_out: int = 0  # sentences of the articles, since they hold something that cannot be read
    fingerprint: str  # of source, tools and code

    def __post_init__(self) -> None:
        tokens, sentences = len(self.tokens), len(self.sentences) - 1
        _check_codes("tokens", self.tokens, len(self.words), tokens)
        _check_offsets("sentences", self.sentences, tokens)
        _check_offsets("articles", self.articles, sentences)
        if len(self.titles) != len(self.articles) - 1:
            raise ValueError(
                f"each of {len(self.articles) - 1} articles needs a title, got {len(self.titles)}"
            )
        for name, column in self.tags.items():
            _check_codes(f"tags {name!r}", column.codes, len(column.values), tokens)
        if self.heads is not None:
            _check_codes(
                "heads", self.heads, np.repeat(np.diff(self.sentences), np.diff(self.sentences)), tokens
            )
        if self.parts is not None:
            _check_codes("parts", self.parts, len(PARTS), sentences)

    @property
    def topics(self) -> Column:
        """The article of each token, its topic in the thesis. Values are `titles`, in their order."""
        lengths = np.diff(self.sentences[self.articles])
        return Column(self.titles, np.repeat(np.arange(len(self.titles), dtype=np.int32), lengths))


class _Reader(NamedTuple):
    """A source of documents, and what is known about it."""

    name: str
    fingerprint: str  # of the source's bytes
    documents: Callable[[], Iterator[Document]] | Callable[[], Iterator[TaggedDocument]]
    articles: int | None = None  # how many, where it is known
    cut: bool = True  # whether paragraphs are still to be cut into tokens
    tags: tuple[str, ...] = ()  # the tags that documents bring along
    files: tuple[str, ...] = ()  # in downloads.SOURCES
    in_articles: bool = True  # whether there are articles to take the first of
    in_parts: bool = False  # whether each article is of train, dev or test
    digests: Mapping[Path, str] = {}  # SHA-256 of each file that is not in downloads.SOURCES


_Source = Callable[..., _Reader]
"""A function that returns the reader of a corpus."""


def load(
    name_or_path: str | Path = "wikipedia-sample",
    *,
    articles: int | None = None,
    annotate: bool = True,
    lowercase: bool = True,
    progress: Progress | None = None,
) -> Corpus:
    """Load a corpus from the cache or from its source.

    Parameters
    ----------
    name_or_path
        One of `NAMES`, a folder of ``.txt`` files (UTF-8, one article each, in
        order of path; those of subfolders and behind links too, hidden ones
        not), or a MediaWiki dump (``.xml`` or ``.xml.bz2``; of a history, the
        latest revisions).
    articles
        Read only so many from the beginning (of each part, where the corpus
        comes in parts); None for all. Refused for ``gmb``, which has none.
    annotate
        Add the tags and heads of a spaCy model, which takes about a minute per
        million tokens and core. Without it sentences are cut by a rule. ``gmb``,
        ``pmb`` and ``ewt`` have tags and sentences of their own, ``ewt`` heads
        too: nothing is added.
    lowercase
        Lower-case the words. Tags are always those of the words as written.
    progress
        Called after each batch of articles.

    Raises
    ------
    ValueError
        If the name is unknown, the source holds no text, cannot be read or
        changes meanwhile, there are no articles to count, or the cached table
        is damaged.
    lmdynamics.text.downloads.DownloadError
        If a file of a known corpus is not to be had.
    lmdynamics.ground.storage.StorageError
        If the table cannot be kept, such as on a full disk.
    """
    if articles is not None and articles < 1:
        raise ValueError(f"articles must be at least 1, or None for all, got {articles}")
    source, reader = _reader(name_or_path)
    if articles is not None and not reader.in_articles:
        raise ValueError(
            f"corpus {reader.name!r} is one list of sentences without articles, so articles must be None "
            f"(all of it), got {articles}"
        )
    fingerprint = _fingerprint(source, reader, articles=articles, annotate=annotate, lowercase=lowercase)
    path = _table(reader, fingerprint)
    with storage.lock_unless_there(path, label=f"corpus {reader.name}") as missing:
        if not missing:
            return read(path)
        corpus = _from_source(
            reader, fingerprint, articles=articles, annotate=annotate, lowercase=lowercase, progress=progress
        )
        _check_unchanged(name_or_path, reader)
        write(corpus, path)
    return corpus


def at_hand(
    name_or_path: str | Path, *, articles: int | None = None, annotate: bool = True, lowercase: bool = True
) -> bool:
    """Tell whether `load` with the same arguments would download nothing. The corpus is not read.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    try:
        source, reader = _reader(name_or_path)
    except ModuleNotFoundError:  # the package that carries the corpus
        return False
    fingerprint = _fingerprint(source, reader, articles=articles, annotate=annotate, lowercase=lowercase)
    return all(map(downloads.at_hand, reader.files)) or _table(reader, fingerprint).exists()


def digests(name_or_path: str | Path) -> dict[str, str]:
    """Return the SHA-256 of each file that a corpus is read from, by its name."""
    reader = _reader(name_or_path)[1]
    known = {name: downloads.SOURCES[name].sha256 for name in reader.files}
    return known | {path.name: digest for path, digest in reader.digests.items()}


def write(corpus: Corpus, path: Path) -> None:
    """Write a corpus as a Parquet table with one row per token; the file appears whole or not at all."""
    columns = {"word": Column(corpus.words, corpus.tokens), **corpus.tags}
    arrays = {
        name: pa.DictionaryArray.from_arrays(c.codes, pa.array(c.values)) for name, c in columns.items()
    }
    arrays["sentence_start"] = _marks(corpus.sentences, len(corpus.tokens))
    arrays["article_start"] = _marks(corpus.sentences[corpus.articles], len(corpus.tokens))
    if corpus.heads is not None:
        arrays["head"] = pa.array(corpus.heads)
    if corpus.parts is not None:
        arrays["part"] = pa.array(np.repeat(corpus.parts, np.diff(corpus.sentences)))
    about = json.dumps(
        {
            "name": corpus.name,
            "titles": corpus.titles,
            "fingerprint": corpus.fingerprint,
            "left_out": corpus.left_out,
            "columns": list(arrays),
        }
    )
    table = pa.table(arrays).replace_schema_metadata({"corpus": about, "sha256": _sha256(about)})
    content = pa.BufferOutputStream()
    pq.write_table(table, content, compression="zstd", write_page_checksum=True)
    storage.write(path, content.getvalue().to_pybytes())


def read(path: Path) -> Corpus:
    """Read a corpus from a file that `write` made.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        about_text = table.schema.metadata[b"corpus"].decode()
        # pages have checksums of their own
        if _sha256(about_text) != table.schema.metadata[b"sha256"].decode():
            raise ValueError("its titles have changed")
        about = json.loads(about_text)
        if about.get("columns", table.column_names) != table.column_names:  # early tables do not name them
            raise ValueError(f"its columns should be {about['columns']}, got {table.column_names}")
        words = _column(table, "word")
        sentences = _offsets_of(table["sentence_start"].to_numpy())
        parts = _array(table, "part")
        return Corpus(
            name=about["name"],
            words=words.values,
            tokens=words.codes,
            sentences=sentences,
            articles=np.searchsorted(sentences, _offsets_of(table["article_start"].to_numpy())),
            titles=tuple(about["titles"]),
            tags={name: _column(table, name) for name in table.column_names if name not in _OTHER_COLUMNS},
            heads=_array(table, "head"),
            parts=None if parts is None else parts[sentences[:-1]],
            left_out=about["left_out"],
            fingerprint=about["fingerprint"],
        )
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is a damaged table of a corpus ({error}); delete it and load again"
        ) from error


def _from_source(
    reader: _Reader,
    fingerprint: str,
    *,
    articles: int | None,
    annotate: bool,
    lowercase: bool,
    progress: Progress | None,
) -> Corpus:
    titles, parts, batches, begins = [], [], [], []
    left_out = 0
    limit = articles and articles * (len(PARTS) if reader.in_parts else 1)
    total = min(limit or reader.articles, reader.articles) if reader.articles else limit
    for about, batch in _batches(reader, articles=articles, annotate=annotate):
        batches.append(batch)
        begins += [not document.continues for document in about]
        titles += [document.title for document in about if not document.continues]
        parts += [document.part for document in about if not document.continues]
        left_out += sum(document.left_out for document in about)
        if progress:
            progress(len(titles), total)
    if not batches:
        raise ValueError(f"a corpus needs text, got none in {reader.name!r}")
    words = annotation.merged([batch.words for batch in batches])
    if lowercase:
        words = annotation.merged([Column(tuple(map(str.lower, words.values)), words.codes)])
    sentences = _offsets_of(np.concatenate([batch.sentence_starts for batch in batches]))
    offsets = np.cumsum([0, *chain.from_iterable(batch.document_lengths for batch in batches)])
    article_offsets = np.searchsorted(sentences, offsets[[*begins, True]])
    return Corpus(
        name=reader.name,
        words=words.values,
        tokens=words.codes,
        sentences=sentences,
        articles=article_offsets,
        titles=tuple(titles),
        tags={name: annotation.merged([b.tags[name] for b in batches]) for name in batches[0].tags},
        heads=None if batches[0].heads is None else _heads(batches, sentences),
        parts=_parts(parts, np.diff(article_offsets)),
        left_out=left_out,
        fingerprint=fingerprint,
    )


def _batches(
    reader: _Reader, *, articles: int | None, annotate: bool
) -> Iterator[tuple[list[Document] | list[TaggedDocument], Batch]]:
    """Yield batches of documents that have text, with their arrays."""
    documents: Iterator[Any] = reader.documents()
    if not reader.tags:
        texts = map(_ready_to_cut, documents) if reader.cut else documents
        texts = (document for document in texts if document.paragraphs)
        yield from _annotated_documents(_first_articles(texts, articles), tags=annotate, cut=reader.cut)
    elif tagged_documents := list(_first_articles(documents, articles)):
        yield tagged_documents, treebanks.batch(tagged_documents, reader.tags)


def _ready_to_cut(document: Document) -> Document:
    """Return a document in composed characters, in paragraphs and words that are not too long to parse."""
    pieces = [piece for paragraph in document.paragraphs for piece in _pieces(paragraph)]
    return document._replace(paragraphs=pieces)


def _pieces(paragraph: str) -> list[str]:
    """Return a paragraph on one line; if it is too long, it is cut between words.

    A word that is too long by itself is cut where its piece is full.
    """
    text = _LONGEST_WORD.sub(r"\g<0> ", _INVISIBLE.sub("", paragraph))
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return wrap(text, _LONGEST_PARAGRAPH, break_on_hyphens=False)


def _first_articles(documents: Iterable[Any], articles: int | None) -> Iterator[Any]:
    """Yield the first articles, of each part if there are parts."""
    counts: Counter[str | None] = Counter()
    for document in documents:
        if articles is None or counts[document.part] < articles:
            counts[document.part] += 1
            yield document
        if document.part is None and counts[None] == articles:
            return


def _annotated_documents(
    documents: Iterable[Document], *, tags: bool, cut: bool
) -> Iterator[tuple[list[Document], Batch]]:
    """Yield batches of documents with their arrays, from all processors if there are several batches."""
    batches = annotation.batches(documents)
    yield from grid.stream(_annotated_batch, ((batch, tags, cut) for batch in batches))


def _annotated_batch(batch: list[Document], tags: bool, cut: bool) -> tuple[list[Document], Batch]:
    about = [document._replace(paragraphs=[]) for document in batch]  # the text need not travel back
    return about, annotation.annotated(batch, tags=tags, cut=cut)


def _heads(batches: list[Batch], sentences: np.ndarray) -> np.ndarray:
    """Return the heads as indices in their sentences; batches have them as indices in the batch."""
    begins = np.cumsum([0, *(len(batch.sentence_starts) for batch in batches)])
    absolute = np.concatenate([batch.heads + begin for batch, begin in zip(batches, begins, strict=False)])
    return (absolute - np.repeat(sentences[:-1], np.diff(sentences))).astype(np.int32)


def _parts(of_articles: list[str | None], sentences: np.ndarray) -> np.ndarray | None:
    if None in of_articles:
        return None
    return np.repeat(np.array([PARTS.index(part) for part in of_articles], np.int8), sentences)


def _offsets_of(starts: np.ndarray) -> np.ndarray:
    """Return offsets from marks of beginnings; the last offset is the end."""
    return np.append(np.flatnonzero(starts), len(starts))


def _marks(offsets: np.ndarray, tokens: int) -> pa.Array:
    marks = np.zeros(tokens, bool)
    marks[offsets[:-1]] = True
    return pa.array(marks)


def _column(table: pa.Table, name: str) -> Column:
    if table[name].type != pa.dictionary(pa.int32(), pa.string()):
        raise ValueError(f"its column {name!r} must be a dictionary of texts, got {table[name].type}")
    chunks = table[name].unify_dictionaries().chunks
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in chunks])
    return annotation.merged([Column(tuple(chunks[0].dictionary.to_pylist()), codes)])


def _array(table: pa.Table, name: str) -> np.ndarray | None:
    return table[name].to_numpy() if name in table.column_names else None


def _check_codes(what: str, codes: np.ndarray, below: Any, length: int) -> None:
    if len(codes) != length:
        raise ValueError(f"{what} must have {length} entries to align, got {len(codes)}")
    if ((codes < 0) | (codes >= below)).any():
        raise ValueError(f"{what} must index what they name, got codes from {codes.min()} to {codes.max()}")


def _check_offsets(what: str, offsets: np.ndarray, end: int) -> None:
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != end or (np.diff(offsets) < 1).any():
        raise ValueError(f"{what} must rise from 0 to {end} without an empty one, got {offsets}")


def _table(reader: _Reader, fingerprint: str) -> Path:
    name = reader.name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    return cache_directory() / "corpora" / f"{name}-{fingerprint[:16]}.parquet"


def _fingerprint(source: _Source, reader: _Reader, *, annotate: bool, **settings: Any) -> str:
    """Return the fingerprint of a corpus: of the source's bytes, the tools and the code that reads it."""
    tools = [version(name) for name in ("spacy", "conllu")]
    model = annotation.model_name() if annotate and not reader.tags else None
    ingredients = [
        reader.name,
        reader.fingerprint,
        code_fingerprint(_from_source, source),
        tools,
        model,
        settings,
    ]
    return _sha256(json.dumps(ingredients, sort_keys=True))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _reader(name_or_path: str | Path) -> tuple[_Source, _Reader]:
    """Return the reader of a corpus, and the function that returned it."""
    if name_or_path in _KNOWN:
        source = _KNOWN[str(name_or_path)]
        return source, source()
    path = Path(name_or_path)
    kind = "" if name_or_path == "" else _kind(path)
    if kind == "folder":
        _check_name(path.resolve())
        return _folder, _folder(path)
    if kind == "file" and path.suffix in (".xml", ".bz2"):
        _check_name(path.resolve())
        return _dump, _dump(path, name=path.name.split(".")[0] or path.name)
    raise ValueError(
        f"a corpus is one of {', '.join(NAMES)}, a folder of .txt files or a MediaWiki dump "
        f"(.xml, .xml.bz2), got {str(name_or_path)!r}"
    )


def _check_unchanged(name_or_path: str | Path, reader: _Reader) -> None:
    """Raise an error if a file of a corpus is not what it was before it was read."""
    downloads.forget()
    for name in reader.files:
        downloads.fetch(name)
    digests = _reader(name_or_path)[1].digests
    if changed := sorted(path for path, _ in digests.items() ^ reader.digests.items()):
        raise ValueError(
            f"{changed[0]} must stay as it is while a corpus is read, got other bytes afterwards; load the "
            "corpus again when nothing writes to it"
        )


def _kind(path: Path) -> str:
    """Tell whether a path is a folder, a file or nothing."""
    try:
        return "folder" if path.is_dir() else "file" if path.is_file() else ""
    except OSError as error:  # such as a name that is too long
        raise ValueError(
            f"a corpus needs a path that can be looked up, got {str(path)!r} ({error.strerror}); correct it"
        ) from error


def _wikipedia_sample() -> _Reader:
    gensim = importlib.util.find_spec("gensim")  # not imported: that takes seconds
    if gensim is None or gensim.origin is None:
        raise ModuleNotFoundError(
            "corpus 'wikipedia-sample' needs the package gensim, which is not installed; pip install gensim"
        )
    name = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
    path = Path(gensim.origin).parent / "test" / "test_data" / name
    return _dump(path, name="wikipedia-sample", articles=105)


def _dump(path: Path, *, name: str, articles: int | None = None) -> _Reader:
    def documents() -> Iterator[Document]:
        with downloads.open_bytes(path) as file:
            yield from wikipedia.dump(file, str(path))

    digest = downloads.sha256(path)
    return _Reader(name, digest, documents, articles, digests={path: digest})


def _wikitext_2() -> _Reader:
    files = {part: f"wikitext-2/wiki.{'valid' if part == 'dev' else part}.tokens" for part in PARTS}

    def documents() -> Iterator[Document]:
        for part, name in files.items():
            with downloads.open_text(downloads.fetch(name)) as file:
                yield from wikipedia.wikitext_lines(file, part)

    names = tuple(files.values())
    return _Reader(
        "wikitext-2", _fingerprint_of(*names), documents, 720, cut=False, files=names, in_parts=True
    )


def _enwiki_2014() -> _Reader:
    name = "enwiki-2014-long/enwiki-2014-long.txt"

    def documents() -> Iterator[Document]:
        with downloads.open_text(downloads.fetch(name)) as file:
            yield from wikipedia.doc_blocks(file)

    return _Reader("enwiki-2014", downloads.SOURCES[name].sha256, documents, 5753, files=(name,))


def _gmb() -> _Reader:
    name = "gmb/ner_dataset.csv"

    def documents() -> Iterator[TaggedDocument]:
        path = downloads.fetch(name)
        with downloads.open_text(path, encoding="cp1252") as file:
            yield from treebanks.gmb_table(file, str(path))

    return _Reader(
        "gmb", downloads.SOURCES[name].sha256, documents, 1, tags=("tag",), files=(name,), in_articles=False
    )


def _pmb() -> _Reader:
    folder = "semtags/pmb-4.0.0-en-gold"
    part_of = {f"{folder}/{part}.conll": part for part in PARTS} | {f"{folder}/eval.conll": "test"}

    def documents() -> Iterator[TaggedDocument]:
        for name, part in part_of.items():
            path = downloads.fetch(name)
            with downloads.open_text(path) as file:
                yield from treebanks.pmb_layers(file, str(path), part)

    files = tuple(part_of)
    return _Reader(
        "pmb",
        _fingerprint_of(*files),
        documents,
        10_715,
        tags=("sem", "sem_coarse"),
        files=files,
        in_parts=True,
    )


def _ewt() -> _Reader:
    files = {part: f"ud-english-ewt-2.16/en_ewt-ud-{part}.conllu" for part in PARTS}

    def documents() -> Iterator[TaggedDocument]:
        for part, name in files.items():
            path = downloads.fetch(name)
            with downloads.open_text(path) as file:
                yield from treebanks.ud_trees(file, str(path), part)

    names = tuple(files.values())
    return _Reader(
        "ewt", _fingerprint_of(*names), documents, 1174, tags=("pos", "tag"), files=names, in_parts=True
    )


def _fingerprint_of(*names: str) -> str:
    return _sha256("".join(downloads.SOURCES[name].sha256 for name in names))


def _folder(folder: Path) -> _Reader:
    """Return the reader of the ``.txt`` files in a folder and its subfolders, hidden ones left out."""
    digests = {path: downloads.sha256(path) for path in _text_files(folder)}
    if not digests:
        raise ValueError(
            f"a folder of text needs .txt files, one article each, got none in {folder} and its subfolders"
        )

    def documents() -> Iterator[Document]:
        for path in digests:
            title = path.relative_to(folder).with_suffix("").as_posix()
            yield Document(title, re.split(r"\n\s*\n", _text(path)))

    names = {path.relative_to(folder).as_posix(): digest for path, digest in digests.items()}
    return _Reader(
        folder.resolve().name or "root",
        _sha256("".join(chain.from_iterable(names.items()))),
        documents,
        len(digests),
        digests=digests,
    )


def _text_files(folder: Path) -> list[Path]:
    """Return the ``.txt`` files in a folder in order of path; links are followed, a folder is read once."""
    found, seen = [], set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        identity = Path(parent).stat()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (identity.st_dev, identity.st_ino) in seen:  # a link leads back to it
            folders.clear()
            continue
        seen.add((identity.st_dev, identity.st_ino))
        paths = [Path(parent, name) for name in files if not name.startswith(".")]
        if broken := [path for path in paths if not path.exists()]:
            raise ValueError(
                f"{str(broken[0])!r} is a link to nothing, which may be text; mend the link or remove it"
            )
        found += [path for path in paths if path.suffix.lower() == ".txt"]
    found.sort()
    for path in found:
        _check_name(path)
        if not path.is_file():
            raise ValueError(f"{path} must be a file of text, got something else; remove it")
        if (size := path.stat().st_size) > _LARGEST_FILE:
            raise ValueError(f"{path} must have at most {_LARGEST_FILE:,} bytes, got {size:,}; divide it")
    return found


def _refuse(error: OSError) -> None:
    raise ValueError(
        f"need to read {error.filename!r}, got {error.strerror}; correct it or remove it"
    ) from error


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"a text needs a name in UTF-8, got {str(path)!r}; rename it") from error


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8 text ({error}); save it as UTF-8") from error
    if "\0" in text:  # UTF-16 can pass for UTF-8
        raise ValueError(
            f"{path} must be UTF-8 text, got a NUL character at {text.index(chr(0))}; save it as UTF-8"
        )
    return text


_KNOWN: dict[str, _Source] = {
    "wikipedia-sample": _wikipedia_sample,
    "wikitext-2": _wikitext_2,
    "enwiki-2014": _enwiki_2014,
    "gmb": _gmb,
    "pmb": _pmb,
    "ewt": _ewt,
}
NAMES = tuple(_KNOWN)
"""The corpora known by name."""
