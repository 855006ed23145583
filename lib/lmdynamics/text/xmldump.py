"""Pages of a MediaWiki XML dump, one at a time, in bounded memory."""

from collections.abc import Iterator
from typing import Any, NamedTuple, no_type_check
from xml.parsers import expat

_BLOCK = 2**16  # bytes
_FIRST_PAGE = 2**24  # bytes in which the first page begins
_LONGEST_TAG = 2**20  # bytes
_LONGEST_TEXT = 2**21  # characters: MediaWiki's own limit, in bytes
_LONGEST_FIELD = 2**12  # characters of a title, a namespace or a time
_DEEPEST = 16  # elements in each other
_FIELDS = frozenset(["ns", "redirect", "text", "timestamp", "title"])


class Page(NamedTuple):
    """A page: its namespace, its title and the text of its latest revision."""

    namespace: str
    title: str
    text: str
    is_redirect: bool


def pages(file: Any, name: str) -> Iterator[Page]:
    """Yield the pages of a dump in order, each as its latest revision.

    Parameters
    ----------
    file
        Open for bytes.
    name
        What errors call it.

    Raises
    ------
    ValueError
        If the XML is broken or cut short, declares a document type, has no page where one should be, or a
        page, a tag or a title longer than MediaWiki writes.
    """
    reader = _Reader(name)
    try:
        while block := file.read(_BLOCK):
            reader.feed(block)
            yield from reader.taken()
        reader.finish()
    except (expat.ExpatError, EOFError, OSError) as error:
        raise ValueError(
            f"{name} must be whole XML of MediaWiki, got a damaged one ({error}); download it again"
        ) from error
    yield from reader.taken()


@no_type_check  # at run time: each element calls it
class _Reader:
    """The state of reading: what is open, the page so far, and the pages not yet taken."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._open: list[str] = []
        self._fields: dict[str, list[str]] = {}
        self._size = 0  # characters of the field that is open
        self._latest: tuple[str, str] = ("", "")  # time and text
        self._pages: list[Page] = []
        self._any_page = False
        self._fed = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._declare
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end

    def feed(self, block: bytes) -> None:
        self._parser.Parse(block)
        self._fed += len(block)
        if self._fed - max(0, self._parser.CurrentByteIndex) > _LONGEST_TAG:
            raise self._error(f"tags of at most {_LONGEST_TAG:,} bytes", "a longer one")
        if not self._any_page and self._fed > _FIRST_PAGE:
            raise self._error(f"a page in its first {_FIRST_PAGE:,} bytes", "none")

    def finish(self) -> None:
        self._parser.Parse(b"", True)

    def taken(self) -> list[Page]:
        """Return the pages read since the last call."""
        pages, self._pages = self._pages, []
        return pages

    def _declare(self, *_: Any) -> None:
        raise self._error("no document type, which could name other files or grow without end", "one")

    def _start(self, tag: str, _: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        self._open.append(tag)
        if len(self._open) > _DEEPEST:
            raise self._error(f"at most {_DEEPEST} elements in each other", "more")
        if tag == "page":
            self._any_page = True
            self._fields, self._latest = {}, ("", "")
        elif tag in _FIELDS:
            self._fields[tag] = []
            self._size = 0
            if tag != "text" or self._field("ns") == "0":
                self._parser.CharacterDataHandler = self._add

    def _add(self, text: str) -> None:
        tag = self._open[-1]
        self._fields[tag].append(text)
        self._size += len(text)
        longest = _LONGEST_TEXT if tag == "text" else _LONGEST_FIELD
        if self._size > longest:
            raise self._error(
                f"a {tag} of at most {longest:,} characters", f"more in {self._field('title')!r}"
            )

    def _end(self, tag: str) -> None:
        tag = self._open.pop()
        self._parser.CharacterDataHandler = None
        if tag == "revision":
            if (time := self._field("timestamp")) >= self._latest[0]:  # of equal times, the later in the file
                self._latest = (time, self._field("text"))
            self._fields["text"] = []
        elif tag == "page":
            self._pages.append(
                Page(self._field("ns"), self._field("title"), self._latest[1], "redirect" in self._fields)
            )

    def _field(self, tag: str) -> str:
        return "".join(self._fields.get(tag, ()))

    def _error(self, needed: str, got: str) -> ValueError:
        return ValueError(
            f"{self._name} must be whole XML of MediaWiki with {needed}, got {got}; download it again from "
            "dumps.wikimedia.org"
        )
