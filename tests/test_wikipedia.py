import bz2
import calendar
import io
import re
import time
import tracemalloc
from html import unescape

import pytest

from lmdynamics.text import corpora, downloads, wikipedia, xmldump
from lmdynamics.text.wikipedia import Document, article, clean

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
        ("H<sub>2</sub>O at 10<sup>6</sup> on the 19<sup>th</sup>.", "H2O at 10^6 on the 19th."),
        ("[[File:A.jpg|thumb|200px|A [[cat]], seen]]It sat.", "It sat."),
        ("[[Image:A.jpg|A cat]] [[Category:Cats]] [[fr:Chat]] It sat.", "It sat."),
        ("[[:Category:Cats|Cats]] sat.", "Cats sat."),
        ("Line one<br />line two.", "Line one line two."),
        ("A ''stray cat sat.{{cite|title=''Cats}}", "A stray cat sat."),
        ("Wrapped\nlines are one.", "Wrapped lines are one."),
        ("__NOTOC__ Text.", "Text."),
        ("__INIT__ is Text.", "__INIT__ is Text."),
        ("Q&A on AT&T &notaword; and R&D.", "Q&A on AT&T &notaword; and R&D."),
        ("<nowiki>''[[a]]''</nowiki> is markup.", "''[[a]]'' is markup."),
        ("A bare <b>tag and </i>another.", "A bare tag and another."),
        ("See http://a.org/x. It ran.", "See. It ran."),
        (".NET is older [...] than f() and [] are.", ".NET is older [...] than f() and [] are."),
        ("!Kung is a language.", "!Kung is a language."),
        (
            "[[Pan: A Story]] and [[doi:10.1]] are not [[fr:Chat]]languages.",
            "Pan: A Story and doi:10.1 are not languages.",
        ),
        ("[[Media:A.ogg|Listen]] to it.", "Listen to it."),
        ("{{nowrap|1=''E'' = ''mc''<sup>2</sup>}} holds.", "E = mc^2 holds."),
        ("Of ''Eagle''{{'s}} pads and ''GQ''{{'}}s.", "Of Eagle's pads and GQ's."),
        ("<ruby>a<rt>b</rt></ruby> is read.", "a b is read."),
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


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("In 1914{{ndash}}1918 it was 5.98{{e|24}} kg.", "In 1914–1918 it was 5.98×10^24 kg."),
        ("Of {{val|6.241|e=18}} or {{val|1.2|0.3|u=kg}} units.", "Of 6.241×10^18 or 1.2±0.3 kg units."),
        ("On computers{{mdashb}}following it.", "On computers—following it."),
        ("About 2{{frac|1|2}}, {{frac|3}} or {{frac|1|1|2}}.", "About 2 1/2, 1/3 or 1 1/2."),
        ("A {{convert|5|ft|11|in|m}} man.", "A 5 ft 11 in man."),
        ("It is {{convert|3|-|4|km|mi}} away.", "It is 3–4 km away."),
        ("It is {{convert|2|x|3.5|m|ft}} large.", "It is 2 × 3.5 m large."),
        ("It is {{convert|1+1/2|mi|km}} away.", "It is 1 1/2 mi away."),
        ("It has {{convert|87|e6acre|km2}}.", "It has 87×10^6 acre."),
        (
            "Ions {{chem|SO|4|2-}}, {{chem|NH|4|+}} and {{chem|Se|''x''|2-}}.",
            "Ions SO4^2-, NH4+ and Se_x^2-.",
        ),
        ("CO<sub>3</sub><sup>2−</sup> at 10<sup>−6</sup>.", "CO3^2− at 10^−6."),
        ("At 20<sub>16</sub>, x<sup>n</sup> and x<sup>n+1</sup>.", "At 20_16, x^n and x^(n+1)."),
        ("C<sub>n</sub>H<sub>2n+2</sub> and T<sub>max</sub>.", "C_n H_(2n+2) and T_max."),
        ("It was {{as of|2014|lc=y}} so.", "It was as of 2014 so."),
        ("{{As of|2015|06|30}} it was so.", "As of 30 June 2015 it was so."),
        ("It is {{formatnum:30031}} m.", "It is 30,031 m."),
        (
            "She wrote {{ill|de|Das Buch}} and {{ill|The Book|de|lt=a book}}.",
            "She wrote Das Buch and a book.",
        ),
        ("One<ref>A.</ref>two.<ref>B.</ref>Three<br>four, five{{cn}}six.", "One two. Three four, five six."),
    ],
)
def test_values_and_signs_are_kept_and_neighbours_apart(wikitext, text):
    assert clean(wikitext) == [text]


@pytest.mark.parametrize(
    "lost",
    [
        "Sum <math>x^2</math> is.",
        "It weighs {{weight of|cat}} kg.",
        "Of {{convert|5|mi|km|disp=number}} km.",
        "It is {{age|1969|7|20}} years old.",
        "It lies at {{coord|30|N|74|W}}.",
        "He (in {{lang-pl|x}}) left.",
        "It has {{val|1|2|3}} units.",
        "The sign [[File:A.svg|12px]] means yes.",
        "{{#if:a|b}} cats sat.",
        "The vowel {{IPA-el|i|}} is so.",
        "It is 10<sup>6 large.",
        "It has {{weight|3 kg.",
        "It<ref>A sat.",
        "Dr. Smith of the U.S. saw <math>x</math> St. James at no. 5.",
    ],
)
def test_a_sentence_that_would_lose_a_value_is_left_out_and_counted(lost):
    assert article("Cat", f"Before it. {lost} After it.") == Document(
        "Cat", ["Before it. After it."], left_out=1
    )


def test_what_has_no_sentence_is_left_out_uncounted():
    text = "It is:\n:<math>x</math>\n* {{flag icon}} {{weight}}\n\n{{weight}}\n\n<math>x</math>\n\nIt sat."
    assert article("Cat", text) == Document("Cat", ["It is:", "It sat."])


def test_an_unknown_template_alone_or_after_a_full_stop_is_no_part_of_a_sentence():
    text = '{{Box|{{b}}}}\nIt "sat."{{note it}} It{{cn}} ran.{{note it}}\n{{Box}}\nIt slept.'
    assert article("Cat", text) == Document("Cat", ['It "sat." It ran.', "It slept."])


@pytest.mark.parametrize(
    "text",
    [
        *(
            "If a<b then c>d holds.",
            "If a < b and c > d.",
            "From <[http://a.org]> no.",
            "A <k'| state.",
            "<F4> is.",
        ),
        *("Type <Alt> + <F4>.", "If x<p and q>r.", "So <personal communication>.", "Or <1,2,3...> it is."),
    ],
)
def test_what_only_looks_like_a_tag_stays(text):
    shown = text.replace("[http://a.org]", "")
    assert clean(text) == [shown]
    (document,) = wikipedia.doc_blocks(
        ['<doc title="Cat">\n', "Cat\n", text.replace("[http://a.org]", "") + "\n", "</doc>"]
    )
    assert document.paragraphs == [shown]


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


def test_a_history_gives_the_latest_revision_wherever_it_stands():
    revisions = [("2003-01-01", "It sat."), ("2004-01-01", "It ran."), ("2002-01-01", "It slept.")]
    texts = "".join(
        f"<revision><timestamp>{time}T00:00:00Z</timestamp><text>{text}</text></revision>"
        for time, text in revisions
    )
    page = f"<page><title>Cat</title><ns>0</ns>{texts}</page>"
    without_times = (
        "<page><title>Dog</title><ns>0</ns>" + re.sub("<timestamp>.*?</timestamp>", "", texts) + "</page>"
    )
    file = io.BytesIO(f"<mediawiki>{page}{without_times}</mediawiki>".encode())
    assert [document.paragraphs for document in wikipedia.dump(file)] == [["It ran."], ["It slept."]]


ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 9))


@pytest.mark.parametrize(
    ("dump", "needed"),
    [
        (f'<!DOCTYPE a [<!ENTITY e0 "cat">{ENTITIES}]><a>&e8;</a>', "no document type"),
        ("<a>" + "<b/>" * 2**16 + "</a>", "a page in its first 131,072 bytes, got none"),
        (f"<a><page x='{'y' * 2**18}'/></a>", "tags of at most 65,536 bytes"),
        (f"<a><!--{'y' * 2**18}--></a>", "tags of at most 65,536 bytes"),
        ("<a>" * 100, "at most 16 elements in each other"),
        (
            "<a>" + PAGE.format("Cat", 0, "", "y" * (2**21 + 1)),
            "a text of at most 2,097,152 characters.*'Cat'",
        ),
        ("<a>" + PAGE.format("y" * 5000, 0, "", ""), "a title of at most 4,096 characters"),
    ],
)
def test_what_no_dump_holds_is_refused_early_and_the_file_named(dump, needed, monkeypatch):
    monkeypatch.setattr(xmldump, "_FIRST_PAGE", 2**17)
    monkeypatch.setattr(xmldump, "_LONGEST_TAG", 2**16)
    file = io.BytesIO(dump.encode() + b"<never read>")
    with pytest.raises(ValueError, match=rf"cats\.xml must be whole XML of MediaWiki with {needed}"):
        list(wikipedia.dump(file, "cats.xml"))


def test_a_long_page_that_is_no_article_is_no_error():
    page, talk = PAGE.format("Cat", 0, "", "It sat."), PAGE.format("Talk:Cat", 1, "", "y" * 2**22)
    dump = f"<mediawiki>{talk}{page}</mediawiki>".encode()
    assert list(wikipedia.dump(io.BytesIO(dump))) == [Document("Cat", ["It sat."])]


# fmt: off
UNITS = [
    "\n", " \n", "{{a|", "[[a|", "[[File:a|", '<b a="', "<ref", "<ref>", "<!--", "{|\n|-\n", "\n==a", "==a",
    "{", "<", "[http://a ", "<sup>", "((", "( ", "(,", ",", ",;", "'", "&amp;", ". ", '."', "\n*", "*",
    "<math>", "<nowiki>", "&#12;", "a<ref/>,", "{{IPA-de|a}}, ", "''{{IPA-de|a}}", "{{b}}\n", "U.S. ", "http://a..",
    "\n;a:", "{{a}}.", "(<ref/>",
]
# fmt: on


@pytest.mark.parametrize("unit", UNITS)
def test_an_article_takes_time_linear_in_its_length_whatever_it_is(unit):
    def seconds(characters):
        text = unit * (characters // len(unit))
        times = []
        for _ in range(3):
            begin = time.process_time()
            clean(text)
            times.append(time.process_time() - begin)
        return min(times)

    assert seconds(12_000) < 20 * seconds(1_500) + 0.02  # 8 times the length; 64 times the time if quadratic


def test_deep_markup_breaks_nothing():
    for begin, end in (("{{a|", "}}"), ("[[a|", "]]"), ("<sup>", "</sup>"), ("{", "}")):
        clean(begin * 3_000 + "a" + end * 3_000)


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
        *(
            "Cat & Dog\n",
            "\n",
            "They sat<br>down (, ) or,,, then in (; [...]) f(),.\n",
            "At formula_12. Then.\n",
            "formula_1\n",
            "</doc>\n",
        ),
    ]
    assert list(wikipedia.doc_blocks(lines)) == [
        Document("Cat & Dog", ["They sat down or, then in ([...]) f().", "Then."], left_out=1)
    ]


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


@pytest.fixture(scope="module")
def sample():
    """The wikitext of each article, and what is read from it."""
    _, reader = corpora._reader("wikipedia-sample")
    (path,) = reader.digests
    with downloads.open_bytes(path) as file:
        pages = [page for page in xmldump.pages(file, "") if page.namespace == "0" and not page.is_redirect]
    return [(page.text, article(page.title, page.text)) for page in pages]


def test_nothing_of_the_markup_is_left_in_the_sample(sample):
    leftovers = (
        r"\{\{|\}\}|\[\[|\]\]|\{\||\|\}|\|\||\|-|==|<ref|</|<br|http|thumb\||\d+px|&\w+;|''|__|"
        r"(?i:category|file|image):|(?<!')\([\s,;.]*\)|\( | \)| [,;.](?: |$)|  |style=|align=|formula_|"
        r"[\ue000-\ue008]|\bcite (?:web|book|news|journal)"
    )
    found = [
        (document.title, match.group(), text[max(0, match.start() - 30) : match.end() + 30])
        for _, document in sample
        for text in document.paragraphs
        for match in re.finditer(leftovers, text)
    ]
    assert found == []


def test_no_word_of_the_sample_is_made_by_what_stood_between_its_parts(sample):
    def words(text):
        return set(re.findall(r"[^\W\d_]+|\d+", re.sub(r"(?<=\d),(?=\d{3})", "", text)))

    written_out = {"As", *calendar.month_name}
    for wikitext, document in sample:
        source = re.sub(r"\[\[(?:[^\[\]|]*\|)?|\]\]|'{2,}", " ", wikitext)
        joined = re.sub(r"\[\[(?:[^\[\]|]*\|)?|\]\]|'{2,}", "", wikitext)
        known = words(unescape(unescape(source))) | words(unescape(unescape(joined)))
        made = {word for text in document.paragraphs for word in words(text)} - known - written_out
        assert made <= {"Madalyn"}, document.title  # a caption ends before this link


def test_few_sentences_of_the_sample_are_left_out(sample):
    assert 0 < sum(document.left_out for _, document in sample) < 100
