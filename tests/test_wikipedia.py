import bz2
import io
import re
import tracemalloc

import pytest

from lmdynamics.text import corpora, wikipedia
from lmdynamics.text.wikipedia import Document, clean

PAGE = "<page><title>{}</title><ns>{}</ns>{}<revision><text>{}</text></revision></page>"


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Bold''' and ''it'' stay.", "Bold and it stay."),
        ("A [[cat]] and [[dog|dogs]].", "A cat and dogs."),
        ("See [http://a.org the site] and [http://b.org].", "See the site and."),
        ("Bare http://a.org/x?y=1 address.", "Bare address."),
        ("One<ref>{{cite web|url=http://a.org}}</ref> fact<ref name=b />.", "One fact."),
        ("It is {{convert|20|km|mi}} away.", "It is 20 km away."),
        ("From {{convert|3|to|4|km|mi}} away.", "From 3 to 4 km away."),
        ("The {{lang|fr|chien}} barks{{citation needed|date=May}}.", "The chien barks."),
        ("The {{HMS|Ajax|22|6}} sank.", "The HMS Ajax sank."),
        ("Anna ({{IPAc-en|a}}; {{lang-de|Anna}}, born 1900) sang.", "Anna (born 1900) sang."),
        ("Anna ({{IPAc-en|a}}, ) sang.", "Anna sang."),
        ("About&nbsp;ten &amp; more &ndash; some.", "About ten & more – some."),
        ("Twice &amp;nbsp; escaped.", "Twice escaped."),
        ("Here<!-- not {{this}} --> it is.", "Here it is."),
        ("Sum <math>x^2</math> is.", "Sum is."),
        ("H<sub>2</sub>O at 10<sup>6</sup> on the 19<sup>th</sup>.", "H2O at 10^6 on the 19th."),
        ("[[File:A.jpg|thumb|200px|A [[cat]], seen]]It sat.", "It sat."),
        ("[[Image:A.jpg|A cat]] [[Category:Cats]] [[fr:Chat]] It sat.", "It sat."),
        ("[[:Category:Cats|Cats]] sat.", "Cats sat."),
        ("Line one<br />line two.", "Line one line two."),
        ("A ''stray cat sat.{{cite|title=''Cats}}", "A stray cat sat."),
        ("Wrapped\nlines are one.", "Wrapped lines are one."),
        ("__NOTOC__ Text.", "Text."),
    ],
)
def test_running_text_is_what_a_reader_sees(wikitext, text):
    assert clean(wikitext) == [text]


@pytest.mark.parametrize(
    "wikitext",
    [
        "{| class=wikitable\n! Head\n|-\n| Cell || other\n|}",
        "<gallery>\nFile:A.jpg|A cat sat.\n</gallery>",
        "{{Infobox cat|name=Tom|text={{small|He sat.}}}}",
        "<table><tr><td>A cell.</td></tr></table>",
        "== Name of a section ==",
        "* \n* {{flag}}\n*",
        "B",
    ],
)
def test_what_is_no_running_text_is_left_out(wikitext):
    assert clean(f"Before.\n\n{wikitext}\n\nAfter.") == ["Before.", "After."]


def test_sections_of_links_go_with_their_subsections():
    text = "Lead.\n==See also==\nCats.\n===More===\nDogs.\n==Life==\nLived.\n== References ==\nBooks."
    assert clean(text) == ["Lead.", "Lived."]


def test_a_list_item_stays_if_it_is_a_sentence():
    assert clean('They:\n* Cats sat.\n* [[Cats]]\n# "Dogs ran."\nThen.') == [
        "They:",
        "Cats sat.",
        '"Dogs ran."',
        "Then.",
    ]


def test_paragraphs_follow_blank_lines_and_blocks():
    assert clean("One.\n\nTwo.<blockquote>Three.</blockquote>Four.") == ["One.", "Two.", "Three.", "Four."]


def test_only_articles_of_a_dump_are_read():
    pages = [("Cat", 0, "", "It sat."), ("Dog", 0, "<redirect/>", "x"), ("Talk:Cat", 1, "", "x")]
    dump = "<mediawiki xmlns='http://a'>" + "".join(PAGE.format(*page) for page in pages) + "</mediawiki>"
    assert list(wikipedia.dump(io.BytesIO(dump.encode()))) == [Document("Cat", ["It sat."])]


def test_pages_of_a_dump_leave_nothing_behind():
    def peak(pages):
        page = PAGE.format("Cat", 0, "<redirect/>", "x")
        file = io.BytesIO(f"<mediawiki>{page * pages}</mediawiki>".encode())
        tracemalloc.start()
        try:
            assert not list(wikipedia.dump(file))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(20_000) < 2 * peak(2_000)


def test_a_dump_without_a_byte_is_an_error():
    with pytest.raises(ValueError, match="must be whole XML"):
        list(wikipedia.dump(io.BytesIO()))


@pytest.mark.parametrize("cut", [lambda whole: whole[:-20], lambda whole: b"BZh" + whole[9:]])
def test_a_damaged_dump_is_an_error(tmp_path, cut):
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(cut(bz2.compress(b"<mediawiki>" + PAGE.format("Cat", 0, "", "It sat.").encode())))
    with pytest.raises(ValueError, match="must be whole XML"), bz2.open(path) as file:
        list(wikipedia.dump(file))


def test_doc_blocks_lose_their_repeated_title_and_remains():
    lines = [
        '<doc id="1" url="http://a?curid=1" title="Cat &amp; Dog">\n',
        *("Cat & Dog\n", "\n", "They sat<br>down at formula_12.\n", "formula_1\n", "</doc>\n"),
    ]
    assert list(wikipedia.doc_blocks(lines)) == [Document("Cat & Dog", ["They sat down at."])]


def test_only_titles_between_blank_lines_begin_an_article_of_wikitext():
    lines = [
        " \n",
        " = Cats = \n",
        " \n",
        " They sat . \n",
        " = Points ; legend = \n",
        " \n",
        " = Dogs = \n",
        " \n",
    ]
    lines += [" = = A section = = \n", " \n"]
    cats, dogs = wikipedia.wikitext_lines(lines, "dev")
    assert (cats.title, dogs.title, dogs.part) == ("Cats", "Dogs", "dev")
    assert len(cats.paragraphs) == 3


def test_the_first_article_of_wikitext_costs_no_more_than_the_title_after_it():
    article = [" \n", " = Cats = \n", " \n", " They sat . \n"]
    lines = iter(article * 100)
    assert next(wikipedia.wikitext_lines(lines, "dev")).title == "Cats"
    assert len(list(lines)) == 99 * 4 - 3


def test_wikitext_paragraphs_are_the_file_word_for_word():
    lines = [" \n", " = Cats = \n", " \n", " They sat . \n", " \n", " \n", " = Dogs = \n", " \n", " ran \n"]
    words = [word for line in lines for word in [*line.split(), "<eos>"]]
    read = [p for document in wikipedia.wikitext_lines(lines, "dev") for p in document.paragraphs]
    assert " ".join(read).split() == words


def test_nothing_of_the_markup_is_left_in_the_sample():
    leftovers = (
        r"\{\{|\}\}|\[\[|\]\]|\{\||\|\}|\|\||\|-|==|<ref|</|<br|http|thumb\||\d+px|&\w+;|''|__|"
        r"(?i:category|file|image):|\([\s,;.]*\)|\( | \)| [,;.](?: |$)|  |style=|align=|formula_|"
        r"\ue000|\bcite (?:web|book|news|journal)"
    )
    _, reader = corpora._reader("wikipedia-sample")
    found = [
        (document.title, match.group(), text[max(0, match.start() - 30) : match.end() + 30])
        for document in reader.documents()
        for text in document.paragraphs
        for match in re.finditer(leftovers, text)
    ]
    assert found == []
