import os

import pytest
from conftest import article

from lmdynamics.text import downloads
from lmdynamics.text.extracts import is_extract, long_articles

LONG = article(1, "A long article", 1_500)


def test_articles_of_1500_words_with_their_title_are_long():
    assert long_articles([article(2, "Short &amp; good", 1_499) + LONG]) == [LONG]


def test_only_spaces_and_line_ends_divide_words():
    divided = LONG.replace(b"word word", b"word\nword")
    joined = LONG.replace(b"word word", "word\xa0word".encode(), 1)
    assert long_articles([divided, joined]) == [divided]


def test_words_beside_the_text_do_not_count():
    text = article(1, "A long article", 1_499)
    assert long_articles([text.replace(b"<doc id", b"some words\n<doc id", 1)]) == []
    assert long_articles([text.replace(b'title="A', b'title="A A A A', 1)]) == []


def test_lists_are_no_articles():
    others = [article(number, f"List{rest}", 1_500) for number, rest in enumerate(["ening", " price", "s"])]
    lists = [article(9, title, 1_500) for title in ("List of kings", "Lists of lists")]
    assert long_articles([b"".join(lists + others)]) == others


def test_articles_stand_as_they_were_in_order_of_page_number():
    first, second, third = (article(number, "Ä &quot;quoted&quot;", 1_500) for number in (9, 10, 200))
    assert long_articles([third + first, second]) == [first, second, third]


@pytest.mark.parametrize(
    ("content", "expected"), [(LONG, True), (LONG[:-1], False), (LONG[1:], False), (b"", False)]
)
def test_an_extract_begins_and_ends_with_an_article(content, expected):
    assert is_extract(content) is expected


@pytest.mark.skipif(
    not os.environ.get("LMDYNAMICS_DATA"), reason="LMDYNAMICS_DATA names no folder of corpora"
)
def test_the_articles_of_2014_are_long_in_order_and_no_lists():
    with downloads.open_bytes(downloads.fetch("enwiki-2014-long/enwiki-2014-long.txt")) as file:
        content = file.read()
    articles = long_articles([content])
    assert len(articles) == 5_753
    assert sum(len(text.split(b"\n", 1)[1].rsplit(b"\n", 2)[0].split()) for text in articles) == 16_928_734
    assert b"".join(articles) == content
