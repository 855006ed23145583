import bz2
import errno
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import never

from lmdynamics.ground import provenance, storage
from lmdynamics.ground.storage import StorageError
from lmdynamics.text import annotation, corpora, downloads, wikipedia
from lmdynamics.text.annotation import Column
from lmdynamics.text.corpora import PARTS, Corpus

needs_data = pytest.mark.skipif(
    not os.environ.get("LMDYNAMICS_DATA"), reason="LMDYNAMICS_DATA names no folder of corpora"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cached(cache, monkeypatch):
    monkeypatch.setenv("LMDYNAMICS_CACHE", str(cache))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mytext"
    folder.mkdir()
    (folder / "b.txt").write_text("The dog did not bark.\n\nIt slept", encoding="utf-8")
    (folder / "a.txt").write_text('He said "No."  Then\n(at last!) he left. Cats sat.', encoding="utf-8")
    return folder


def corpus(**changes):
    """Two articles of two and one sentences: the dog . it ran | a dog ."""
    column = np.array([4, 2, 0, 3, 5, 1, 2, 0], np.int32)
    made = Corpus(
        name="made",
        words=(".", "a", "dog", "it", "the", "ran"),
        tokens=column,
        sentences=np.array([0, 3, 5, 8]),
        articles=np.array([0, 2, 3]),
        titles=("One", "Two"),
        tags={"pos": Column(("NOUN", "X"), (column == 2).astype(np.int32))},
        heads=np.array([1, 1, 1, 1, 1, 1, 1, 1], np.int32),
        parts=None,
        left_out=3,
        fingerprint="0",
    )
    return replace(made, **changes)


def sentences(read):
    cuts = zip(read.sentences[:-1], read.sentences[1:], strict=True)
    return [" ".join(read.words[code] for code in read.tokens[begin:end]) for begin, end in cuts]


def strings(column):
    return [column.values[code] for code in column.codes]


def equal(one, other):
    """Whether two corpora hold the same, whatever the order of their values."""
    arrays = ("tokens", "sentences", "articles", "heads", "parts")
    same = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
    columns = one.tags.keys() == other.tags.keys() and all(
        strings(one.tags[name]) == strings(other.tags[name]) for name in one.tags
    )
    names = ("words", "titles", "left_out")
    return same and columns and all(getattr(one, name) == getattr(other, name) for name in names)


def test_a_column_that_does_not_align_is_refused():
    with pytest.raises(ValueError, match="tags 'pos' must have 8 entries to align, got 7"):
        corpus(tags={"pos": Column(("X",), np.zeros(7, np.int32))})
    with pytest.raises(ValueError, match="heads must have 8 entries"):
        corpus(heads=np.zeros(9, np.int32))
    with pytest.raises(ValueError, match="parts must have 3 entries"):
        corpus(parts=np.zeros(2, np.int8))
    with pytest.raises(ValueError, match="each of 2 articles needs a title, got 1"):
        corpus(titles=("One",))


def test_codes_and_heads_outside_of_what_they_name_are_refused():
    with pytest.raises(ValueError, match="tokens must index"):
        corpus(words=(".", "a"))
    with pytest.raises(ValueError, match="heads must index"):
        corpus(heads=np.array([1, 1, 1, 1, 2, 1, 1, 1], np.int32))


@pytest.mark.parametrize("offsets", [[0, 3, 3, 8], [1, 3, 8], [0, 3, 7], [0]])
def test_offsets_that_leave_a_token_out_or_a_sentence_empty_are_refused(offsets):
    with pytest.raises(ValueError, match="sentences must rise from 0 to 8"):
        corpus(sentences=np.array(offsets))


def test_the_topic_of_a_token_is_its_article():
    assert strings(corpus().topics) == ["One"] * 5 + ["Two"] * 3


@pytest.mark.parametrize("parts", [None, np.array([0, 1, 2], np.int8)])
@pytest.mark.parametrize("heads", [None, np.array([1, 1, 1, 1, 1, 1, 1, 2], np.int32)])
def test_a_corpus_comes_back_from_its_table(tmp_path, parts, heads):
    words = (".", "a", "dog", "it", "ran", "the")
    written = corpus(words=words, parts=parts, heads=heads)
    corpora.write(written, tmp_path / "table.parquet")
    assert equal(corpora.read(tmp_path / "table.parquet"), written)
    assert [file.name for file in tmp_path.iterdir()] == ["table.parquet"]


def test_a_damaged_byte_is_an_error_that_names_the_file_or_changes_nothing(tmp_path):
    path = tmp_path / "table.parquet"
    written = corpus(words=(".", "a", "dog", "it", "ran", "the"))
    corpora.write(written, path)
    content = path.read_bytes()
    places = [(place, 0xFF) for place in range(0, len(content), 3)]
    places += [(content.index(name) + 1, 1) for name in (b"\x03pos", b"\x04head")]  # another name, still text
    refused = 0
    for place, bits in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :])
        try:
            assert equal(corpora.read(path), written)
        except ValueError as error:
            assert "table.parquet is a damaged table of a corpus" in str(error)  # noqa: PT017
            refused += 1
    assert refused > len(places) / 2


def test_a_table_that_is_not_there_is_not_called_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        corpora.read(tmp_path / "nowhere.parquet")


def test_a_table_cut_short_is_an_error(tmp_path):
    path = tmp_path / "table.parquet"
    corpora.write(corpus(words=(".", "a", "dog", "it", "ran", "the")), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="delete it and load again"):
        corpora.read(path)


def test_a_folder_is_read_in_order_of_names_one_article_a_file(folder):
    read = corpora.load(folder, annotate=False)
    assert read.name == "mytext"
    assert read.titles == ("a", "b")
    assert sentences(read) == [
        'he said " no . "',
        "then ( at last ! ) he left .",
        "cats sat .",
        "the dog did not bark .",
        "it slept",
    ]
    assert read.articles.tolist() == [0, 3, 5]


def test_text_in_subfolders_and_with_any_case_of_the_suffix_is_read_too(folder):
    (folder / "more.txt" / "deep").mkdir(parents=True)
    for name in ("C.TXT", "more.txt/a.txt", "more.txt/deep/a.Txt"):
        (folder / name).write_text("Cats sat.")
    read = corpora.load(folder, annotate=False)
    assert read.titles == ("C", "a", "b", "more.txt/a", "more.txt/deep/a")


def test_hidden_files_and_what_is_no_file_are_left_out(folder):
    (folder / "._a.txt").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    (folder / ".#a.txt").symlink_to("nowhere")
    (folder / ".git").mkdir()
    (folder / ".git" / "d.txt").write_text("Cats sat.")
    (folder / "e.txt").mkdir()
    assert corpora.load(folder, annotate=False).titles == ("a", "b")


def test_text_behind_links_is_read_and_each_folder_once(folder, tmp_path):
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "c.txt").write_text("Cats sat.")
    (tmp_path / "elsewhere" / "deep" / "back").symlink_to(folder)
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "again").symlink_to(folder)
    (folder / "d.txt").symlink_to(tmp_path / "elsewhere" / "deep" / "c.txt")
    assert corpora.load(folder, annotate=False).titles == ("a", "b", "d", "more/deep/c")


@pytest.mark.parametrize("name", ["c.txt", "more"])
def test_a_link_to_nothing_is_named(folder, name):
    (folder / name).symlink_to("nowhere")
    with pytest.raises(ValueError, match=rf"{name}' is a link to nothing.*mend the link"):
        corpora.load(folder)


def test_what_cannot_be_read_is_named(folder, monkeypatch):
    def scandir(path):
        raise PermissionError(13, "Permission denied", str(path))

    os.mkfifo(folder / "c.txt")
    with pytest.raises(ValueError, match=r"c\.txt must be a file of text, got something else"):
        corpora.load(folder)
    monkeypatch.setattr(corpora.os, "scandir", scandir)
    with pytest.raises(ValueError, match=r"need to read '.*mytext', got Permission denied"):
        corpora.load(folder)


def test_a_file_too_large_for_one_article_is_named(folder, monkeypatch):
    monkeypatch.setattr(corpora, "_LARGEST_FILE", 30)
    with pytest.raises(ValueError, match=r"a\.txt must have at most 30 bytes, got \d+; divide it"):
        corpora.load(folder)


def test_a_name_that_is_not_utf8_is_refused(folder):
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("Cats sat.")
    with pytest.raises(ValueError, match=r"a name in UTF-8, got '.*caf\\udce9\.txt'; rename it"):
        corpora.load(folder)
    with pytest.raises(ValueError, match=r"a name in UTF-8, got '.*\\udce9'; rename it"):
        corpora.load(folder.rename(folder.with_name(os.fsdecode(b"caf\xe9"))))


def test_a_long_name_is_read_and_one_too_long_for_a_path_is_refused(folder):
    long = folder.rename(folder.with_name("é" * 127))
    assert corpora.load(long, annotate=False).name == "é" * 127
    with pytest.raises(
        ValueError, match=r"a path that can be looked up, got 'y+' .File name too long.; correct it"
    ):
        corpora.load("y" * 300)


def test_an_empty_text_is_no_path(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=r"a corpus is one of .*, got ''"):
        corpora.load("")
    with pytest.raises(ValueError, match=r"a corpus is one of .*, got ''"):
        corpora.at_hand("")
    assert corpora.load(".", annotate=False).titles == ("a", "b")


@pytest.mark.parametrize("when", ["paragraphs are read", "all is read"])
def test_a_text_that_changes_while_it_is_read_is_named_and_not_kept(folder, tmp_path, monkeypatch, when):
    monkeypatch.setenv("LMDYNAMICS_CACHE", str(tmp_path / "another"))
    read_text, annotated = Path.read_text, annotation.annotated

    def change():
        (folder / "b.txt").write_text("The dog did not BARK.\n\nIt slept")

    def changed_before(path, **settings):
        change()
        return read_text(path, **settings)

    def changed_after(*arguments, **settings):
        change()
        return annotated(*arguments, **settings)

    with monkeypatch.context() as patch:
        if when == "all is read":
            patch.setattr(annotation, "annotated", changed_after)
        else:
            patch.setattr(Path, "read_text", changed_before)
        with pytest.raises(
            ValueError, match=r"b\.txt must stay as it is while a corpus is read.*load the corpus again"
        ):
            corpora.load(folder, annotate=False, articles=1 if when == "all is read" else None)
    assert "it slept" in sentences(corpora.load(folder, annotate=False))


def test_a_text_that_comes_while_others_are_read_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LMDYNAMICS_CACHE", str(tmp_path / "another"))
    annotated = annotation.annotated

    def added(*arguments, **settings):
        (folder / "c.txt").write_text("Cats sat.")
        return annotated(*arguments, **settings)

    monkeypatch.setattr(annotation, "annotated", added)
    with pytest.raises(ValueError, match=r"c\.txt must stay as it is"):
        corpora.load(folder, annotate=False)


def test_a_known_file_that_changes_while_it_is_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("LMDYNAMICS_DATA", str(tmp_path))
    for part in ("train", "valid", "test"):
        name = f"wikitext-2/wiki.{part}.tokens"
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(" = Cats = \n \n They sat . \n")
        monkeypatch.setitem(downloads.SOURCES, name, downloads.Source(downloads.sha256(tmp_path / name)))
    lines = wikipedia.wikitext_lines

    def changed(file, part):
        yield from lines(file, part)
        (tmp_path / "wikitext-2/wiki.test.tokens").write_text(" = Dogs = \n \n They sat . \n")

    monkeypatch.setattr(wikipedia, "wikitext_lines", changed)
    with pytest.raises(downloads.DownloadError, match=r"wiki\.test\.tokens must have SHA-256"):
        corpora.load("wikitext-2", annotate=False)


def test_composed_and_decomposed_letters_are_the_same_and_marks_without_width_go(folder):
    (folder / "a.txt").write_text(
        "\ufeffWe saw a cafe\u0301. A caf\u00e9.\n\n\ufeffA so\u00adfa\u200b.", encoding="utf-8"
    )
    read = corpora.load(folder, annotate=False, articles=1)
    assert sentences(read) == ["we saw a café .", "a café .", "a sofa ."]


@pytest.mark.parametrize("word", ["(", "'", "US$", "'s", "(a\u0301", "#@"])
def test_a_text_without_spaces_takes_time_linear_in_its_length(folder, word):
    def seconds(characters):
        (folder / "a.txt").write_text(word * (characters // len(word)), encoding="utf-8")
        _, reader = corpora._reader(folder)
        times = []
        for _ in range(3):
            begin = time.process_time()
            document = corpora._ready_to_cut(next(reader.documents()))
            annotation.annotated([document], tags=False)
            times.append(time.process_time() - begin)
        return min(times)

    assert seconds(32_000) < 20 * seconds(4_000) + 0.05  # 8 times the length; 64 times the time if quadratic


def test_an_article_that_is_too_long_goes_on_in_the_next_batch(monkeypatch):
    monkeypatch.setattr(annotation, "_BATCH_CHARACTERS", 25)
    documents = [wikipedia.Document("One", ["x" * 20] * 3, left_out=2), wikipedia.Document("Two", ["y" * 20])]
    found = [
        [(piece.title, len(piece.paragraphs), piece.continues, piece.left_out) for piece in batch]
        for batch in annotation.batches(documents)
    ]
    assert found == [[("One", 2, False, 2)], [("One", 1, True, 0), ("Two", 1, False, 0)]]


def test_a_folder_of_text_may_be_hidden_itself(folder):
    assert corpora.load(folder.rename(folder.with_name(".text")), annotate=False).titles == ("a", "b")


def test_annotation_keeps_the_tokens_and_adds_tags_and_heads(folder):
    plain = corpora.load(folder, annotate=False, lowercase=False)
    read = corpora.load(folder, lowercase=False)
    words = [read.words[code] for code in read.tokens]
    assert words == [plain.words[code] for code in plain.tokens]
    found = dict(
        zip(words, zip(strings(read.tags["pos"]), strings(read.tags["tag"]), strict=True), strict=True)
    )
    assert found["dog"] == ("NOUN", "NN")
    assert found["bark"] == ("VERB", "VB")
    begin, end = read.sentences[read.articles[1] :][:2]
    dog = words[begin:end]
    heads = dict(zip(dog, (dog[head] for head in read.heads[begin:end]), strict=True))
    assert heads == {"The": "dog", "dog": "bark", "did": "bark", "not": "bark", "bark": "bark", ".": "bark"}


def test_lower_casing_merges_words_and_leaves_tags_alone(folder):
    cased, lower = corpora.load(folder, lowercase=False), corpora.load(folder)
    assert [cased.words[code].lower() for code in cased.tokens] == [
        lower.words[code] for code in lower.tokens
    ]
    assert np.array_equal(cased.tags["tag"].codes, lower.tags["tag"].codes)
    assert {"The", "the"} & set(lower.words) == {"the"}


def test_many_batches_over_processes_give_what_one_gives(folder, tmp_path, monkeypatch):
    whole = corpora.load(folder)
    monkeypatch.setattr(annotation, "_BATCH_CHARACTERS", 1)
    monkeypatch.setenv("LMDYNAMICS_CACHE", str(tmp_path / "another"))
    assert equal(corpora.load(folder), whole)


def test_the_first_articles_are_the_same_as_in_the_whole(folder):
    first = corpora.load(folder, articles=1, annotate=False)
    whole = corpora.load(folder, annotate=False)
    assert first.titles == whole.titles[:1]
    assert sentences(first) == sentences(whole)[:3]
    assert first.fingerprint != whole.fingerprint


def test_what_was_read_once_is_read_from_the_cache(folder, monkeypatch):
    first = corpora.load(folder, annotate=False)
    monkeypatch.delattr(annotation, "annotated")
    again = corpora.load(folder, annotate=False)
    assert equal(again, first)
    assert again.fingerprint == first.fingerprint


def test_what_was_read_once_is_read_from_a_disk_that_cannot_be_written(folder, monkeypatch):
    first = corpora.load(folder, annotate=False)
    for name in ("lock", "write"):
        monkeypatch.setattr(storage, name, never)
    assert equal(corpora.load(folder, annotate=False), first)


def test_a_full_disk_is_an_error_that_names_the_table_and_leaves_nothing(folder, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = tmp_path / "cache" / "corpora"
    cache.mkdir(parents=True)
    monkeypatch.setenv("LMDYNAMICS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"corpora/mytext-\w+\.parquet \(No space left.*LMDYNAMICS_CACHE"):
        corpora.load(folder, annotate=False)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_a_changed_file_or_tool_gives_another_fingerprint(folder, monkeypatch):
    seen = {corpora.load(folder, annotate=False).fingerprint}
    seen.add(corpora.load(folder).fingerprint)
    (folder / "a.txt").write_text("Something else.")
    seen.add(corpora.load(folder, annotate=False).fingerprint)
    monkeypatch.setattr(corpora, "version", lambda _: "0")
    seen.add(corpora.load(folder, annotate=False).fingerprint)
    assert len(seen) == 4


def edit(monkeypatch, module, old, new):
    """Have a process as it is where a module was imported with other code."""
    path = provenance._FOLDERS["lmdynamics"] / "text" / f"{module}.py"
    source = provenance._SOURCES[path]
    assert old in source
    monkeypatch.setitem(provenance._SOURCES, path, source.replace(old, new))


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("corpora", "_LONGEST_PARAGRAPH = 20_000", "_LONGEST_PARAGRAPH = 19_999"),
        ("corpora", 'encoding="utf-8-sig"', 'encoding="utf-8"'),  # a mark at the beginning goes in any case
        ("annotation", "def annotated(", "EDITED = 1\n\n\n@str\ndef annotated("),
        ("wikipedia", 'END_OF_LINE = "<eos>"', 'END_OF_LINE = "<end>"'),
    ],
)
def test_an_edit_of_the_code_that_reads_a_corpus_reads_it_again(folder, monkeypatch, module, old, new):
    before = corpora.load(folder, annotate=False)
    edit(monkeypatch, module, old, new)
    after = corpora.load(folder, annotate=False)
    assert after.fingerprint != before.fingerprint
    assert equal(after, before)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("wikipedia", "def clean(", "# why\ndef clean("),
        ("wikipedia", "def clean(", "@str\ndef clean("),  # of another reader
        ("treebanks", "def gmb_table(", "@str\ndef gmb_table("),
        ("corpora", '"ewt": _ewt,', '"ewt": _ewt, "new": _ewt,'),
        ("downloads", "SOURCES = {", 'SOURCES = {"new": Source("0"),'),
        ("vocabulary", "def prepare(", "@str\ndef prepare("),
    ],
)
def test_an_edit_of_prose_or_of_other_code_reads_nothing_again(folder, monkeypatch, module, old, new):
    before = corpora.load(folder, annotate=False)
    edit(monkeypatch, module, old, new)
    monkeypatch.delattr(annotation, "annotated")
    assert corpora.load(folder, annotate=False).fingerprint == before.fingerprint


def test_progress_counts_articles(folder):
    calls = []
    corpora.load(
        folder, annotate=False, lowercase=False, articles=2, progress=lambda *call: calls.append(call)
    )
    assert calls == [(2, 2)]


def test_a_paragraph_too_long_to_parse_is_cut_between_words(folder):
    (folder / "a.txt").write_text("word " * 10_000)
    read = corpora.load(folder, annotate=False, articles=1)
    assert len(read.tokens) == 10_000
    assert len(read.sentences) == 4


def test_a_long_paragraph_is_not_cut_at_a_hyphen(folder):
    (folder / "a.txt").write_text("well " + "well-known " * 3_000)
    read = sentences(corpora.load(folder, annotate=False, articles=1))
    assert len(read) == 2
    assert {(words.split()[0], words.split()[-1]) for words in read} == {("well", "known")}


def test_a_word_longer_than_a_piece_is_cut_where_the_piece_is_full(folder):
    (folder / "a.txt").write_text("x " + "y" * 30_000)
    read = sentences(corpora.load(folder, annotate=False, articles=1))
    assert [len(words.replace(" ", "")) for words in read] == [19_801, 10_200]
    assert set(" ".join(read).split()) == {"x", "y" * 200}


def test_unknown_names_list_the_known_ones():
    with pytest.raises(
        ValueError, match=r"one of wikipedia-sample, wikitext-2, enwiki-2014, gmb, pmb, ewt, a folder.*'wiki'"
    ):
        corpora.load("wiki")


def test_a_folder_without_text_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"needs \.txt files"):
        corpora.load(tmp_path)
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(ValueError, match="needs text, got none"):
        corpora.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ("café".encode("latin-1"), "can't decode byte 0xe9"),
        ("One cat.".encode("utf-16"), "can't decode byte 0xff"),
        ("One cat.".encode("utf-16-le"), "got a NUL character at 1"),
        (b"One\0cat.", "got a NUL character at 3"),
    ],
)
def test_a_file_that_is_not_utf8_text_is_named(folder, content, got):
    (folder / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.txt must be UTF-8 text.*{got}.*; save it as UTF-8"):
        corpora.load(folder, annotate=False)


def test_fewer_than_one_article_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        corpora.load(articles=0)


def test_a_dump_is_read_by_its_path(tmp_path):
    page = "<page><title>Cat</title><ns>0</ns><revision><text>''Cats'' sat.</text></revision></page>"
    (tmp_path / "cats.xml").write_text(f"<mediawiki>{page}</mediawiki>")
    read = corpora.load(tmp_path / "cats.xml", annotate=False)
    assert (read.name, read.titles, sentences(read)) == ("cats", ("Cat",), ["cats sat ."])


def test_a_dump_counts_the_sentences_that_it_leaves_out(tmp_path):
    text = "Cats sat. They weigh {{weight}} kg.\n\nTheir {{size}} grew."
    page = f"<page><title>Cat</title><ns>0</ns><revision><text>{text}</text></revision></page>"
    (tmp_path / "cats.xml").write_text(f"<mediawiki>{page}</mediawiki>")
    read = corpora.load(tmp_path / "cats.xml", annotate=False)
    assert (sentences(read), read.left_out) == (["cats sat ."], 2)
    assert corpora.load(tmp_path / "cats.xml", annotate=False).left_out == 2


def test_a_packed_dump_that_unpacks_without_end_is_refused_early(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "_LARGEST_GROWTH", 10)
    page = "<page><title>Cat</title><ns>0</ns><revision><text>It sat.</text></revision></page>"
    (tmp_path / "cats.xml.bz2").write_bytes(bz2.compress(f"<mediawiki>{page}{' ' * 2**20}".encode()))
    with pytest.raises(
        ValueError, match=r"cats\.xml\.bz2 must unpack to at most 10 times its size, got 7\d\d,"
    ):
        corpora.load(tmp_path / "cats.xml.bz2")


def test_the_sample_begins_with_anarchism():
    read = corpora.load(articles=1, annotate=False)
    assert read.titles == ("Anarchism",)
    assert sentences(read)[0].startswith("anarchism is a political philosophy that advocates self - governed")


def test_annotated_text_has_no_white_space_tokens_and_the_universal_classes():
    read = corpora.load(articles=2)
    universal = {
        *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN")
    }
    universal |= {"PUNCT", "SCONJ", "SYM", "VERB", "X"}
    assert set(read.tags["pos"].values) <= universal
    assert not any(word != word.strip() or not word for word in read.words)
    assert read.words == tuple(sorted(read.words))


@needs_data
def test_wikitext_has_the_published_counts():
    read = corpora.load("wikitext-2", annotate=False, lowercase=False)
    lengths = np.diff(read.sentences)
    of_articles = read.parts[read.articles[:-1]]
    assert len(read.words) == 33_278
    assert [lengths[read.parts == part].sum() for part in range(3)] == [2_088_628, 217_646, 245_569]
    assert np.bincount(of_articles).tolist() == [600, 60, 60]


@needs_data
def test_a_corpus_in_parts_gives_the_first_articles_of_each():
    read = corpora.load("wikitext-2", articles=1)
    assert [PARTS[part] for part in read.parts[read.articles[:-1]]] == ["train", "dev", "test"]
    assert read.titles[0] == "Valkyria Chronicles III"


@needs_data
def test_line_ends_of_wikitext_head_themselves_in_a_class_of_their_own():
    read = corpora.load("wikitext-2", articles=1)
    ends = np.flatnonzero(read.tokens == read.words.index("<eos>"))
    begins = np.repeat(read.sentences[:-1], np.diff(read.sentences))
    assert np.array_equal(read.heads[ends], ends - begins[ends])
    assert {read.tags["pos"].values[code] for code in read.tags["pos"].codes[ends]} == {"X"}
    heads = read.heads + begins
    others = np.setdiff1d(np.arange(len(read.tokens)), ends)
    assert not np.isin(heads[others], ends).any()


@needs_data
def test_articles_of_2014_are_read_without_the_rest():
    read = corpora.load("enwiki-2014", articles=3, annotate=False)
    assert read.titles[0] == "Gustave Borgnis-Desbordes"
    assert sentences(read)[0].startswith("gustave borgnis - desbordes ( 22 october 1839")
