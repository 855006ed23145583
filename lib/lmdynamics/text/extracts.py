"""Long articles of an extracted Wikipedia dump, whose files hold ``<doc ...>`` blocks.

An extract is a file as WikiExtractor writes it: articles one after another, each a line
``<doc id="..." url="..." title="...">``, its text, which begins with the title, and a line ``</doc>``.
"""

import re
from collections.abc import Iterable

LEAST_WORDS = 1_500
"""Words of a long article at least, of its whole text, title and all, as spaces and line ends divide it."""
_LISTS = (b"List of", b"Lists of")
_ARTICLE = re.compile(rb'^<doc id="(\d+)" url="[^"\n]*" title="([^\n]*)">\n(.*?)^</doc>\n', re.M | re.S)


def is_extract(content: bytes) -> bool:
    """Tell whether a file begins and ends as an extract does."""
    return content.startswith(b"<doc ") and content.endswith(b"\n</doc>\n")


def long_articles(contents: Iterable[bytes]) -> list[bytes]:
    """Return the long articles of some extracts as they stand there, in order of page number; no lists.

    Words are those of the bytes: a no-break space divides none.
    """
    articles = []
    for content in contents:
        for match in _ARTICLE.finditer(content):
            number, title, text = match.groups()
            if len(text.split()) >= LEAST_WORDS and not title.startswith(_LISTS):
                articles.append((int(number), match[0]))
    return [article for _, article in sorted(articles)]
