import errno
import hashlib
import http.server
import lzma
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from io import FileIO
from pathlib import Path

import pytest
import requests
from conftest import article, never

from lmdynamics.ground import storage
from lmdynamics.ground.storage import StorageError
from lmdynamics.text import corpora, downloads
from lmdynamics.text.downloads import DownloadError, Source

CONTENT = bytes(range(256)) * 1000
NAME = "toy/toy.txt"
LONG, LONGER, SHORT, LIST = (
    article(number, title, words)
    for number, title, words in [
        (7, "Long", 1_500),
        (9, "Longer", 30_000),
        (8, "Short", 20),
        (5, "List of words", 1_600),
    ]
)
PIECES = {"AA/wiki_00": LONGER + SHORT, "AA/wiki_01": LONG + LIST, "AB/wiki_00": SHORT}
MADE = LONG + LONGER


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the server's `files`, with ranges.

    The server's `break_after` closes the connection early; its `drip` sends a byte at a time, of the head or
    of the body, until the other side goes; its `pause` comes after each 60,000 bytes; its `meeting` holds
    each request until so many are there, its `held` those for some paths for good.
    """

    def do_GET(self):
        if self.server.drip:
            with suppress(OSError):
                self.drip(
                    b"HTTP/1.1 200 OK\r\nX: " if self.server.drip == "head" else b"HTTP/1.1 200 OK\r\n\r\n"
                )
            return None
        self.server.ranges.append(self.headers["Range"])
        self.server.paths.append(self.path)
        begin = int(re.match(r"bytes=(\d+)-", self.headers["Range"] or "bytes=0-")[1])
        if self.server.meeting:
            self.server.meeting.wait(10)
        if self.path in self.server.held:
            self.server.stopped.wait()
            return None
        if self.path not in self.server.files:
            return self.send_error(404)
        if begin >= len(self.server.files[self.path]):
            return self.send_error(416)
        rest = self.server.files[self.path][begin:]
        self.send_response(206 if self.headers["Range"] else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        rest = rest[: self.server.break_after]
        with suppress(OSError):  # the other side may be gone
            for at in range(0, len(rest), 60_000):
                self.wfile.write(rest[at : at + 60_000])
                time.sleep(self.server.pause)

    def drip(self, begin):
        self.wfile.write(begin)
        while not self.server.stopped.wait(0.02):
            self.wfile.write(b"0")

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("LMDYNAMICS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LMDYNAMICS_DATA", raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files = {"/toy.txt": CONTENT, **{f"/{piece}": content for piece, content in PIECES.items()}}
        server.break_after, server.drip, server.ranges, server.paths = None, None, [], []
        server.stopped, server.pause, server.meeting, server.held = threading.Event(), 0, None, ()
        server.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        know(monkeypatch, f"{server.address}/toy.txt")
        yield server
        server.stopped.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "data" / "toy").mkdir(parents=True)
    monkeypatch.setenv("LMDYNAMICS_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def know(monkeypatch, address):
    source = Source(hashlib.sha256(CONTENT).hexdigest(), address)
    monkeypatch.setitem(downloads.SOURCES, NAME, source)


@pytest.fixture
def pieces(server, monkeypatch):
    """The folder of the pieces that are kept, of a file that is made of pieces."""
    know_pieces(monkeypatch, server)
    return downloads._cache_path(NAME).with_suffix(".txt.pieces")


def know_pieces(monkeypatch, server):
    source = Source(hashlib.sha256(MADE).hexdigest(), f"{server.address}/", tuple(PIECES))
    monkeypatch.setitem(downloads.SOURCES, NAME, source)


def test_a_file_is_downloaded_once(server):
    assert downloads.fetch(NAME).read_bytes() == CONTENT
    downloads.fetch(NAME)
    assert len(server.ranges) == 1


def test_a_truncated_download_says_so_and_is_resumed_where_it_broke_off(server):
    server.break_after = 2**17
    with pytest.raises(DownloadError, match=f"corpus 'toy'.*{server.address}/toy.txt.*LMDYNAMICS_DATA"):
        downloads.fetch(NAME)
    server.break_after = None
    assert downloads.fetch(NAME).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=131072-"]


def test_each_piece_that_comes_before_a_connection_breaks_is_kept(server):
    server.break_after = 60_000
    for _ in range(len(CONTENT) // 60_000):
        with pytest.raises(DownloadError, match="broke off"):
            downloads.fetch(NAME)
    assert downloads.fetch(NAME).read_bytes() == CONTENT
    assert server.ranges == [None, *(f"bytes={60_000 * piece}-" for piece in range(1, 5))]


@pytest.mark.parametrize("drip", ["head", "body"])
def test_a_server_that_only_drips_is_given_up(server, monkeypatch, drip):
    monkeypatch.setattr(downloads, "_PATIENCE", 0.3)
    server.drip = drip
    begun = time.monotonic()
    with pytest.raises(
        DownloadError, match=rf"{server.address}/toy\.txt broke off \(\d+ bytes in 0.3 s, of 60,000 "
    ):
        downloads.fetch(NAME)
    assert time.monotonic() - begun < 5
    server.drip = None
    (part,) = (path for path in downloads._cache_path(NAME).parent.iterdir() if path.suffix == ".part")
    part.unlink()
    assert downloads.fetch(NAME).read_bytes() == CONTENT


def test_a_slow_server_that_goes_on_is_waited_for(server, monkeypatch):
    monkeypatch.setattr(downloads, "_PATIENCE", 1.0)
    server.pause = 0.3
    assert downloads.fetch(NAME).read_bytes() == CONTENT


def test_a_download_is_read_from_a_disk_that_cannot_be_written(server, monkeypatch):
    downloads.fetch(NAME)
    monkeypatch.setattr(storage, "lock", never)
    assert downloads.fetch(NAME).read_bytes() == CONTENT


def test_a_download_that_was_damaged_is_fetched_again(server):
    path = downloads.fetch(NAME)
    path.write_bytes(CONTENT[:-1])
    assert downloads.fetch(NAME).read_bytes() == CONTENT


def test_a_full_disk_is_an_error_that_names_the_file_and_not_the_network(server, monkeypatch):
    class Full(FileIO):
        def write(self, block):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", lambda path, mode, buffering: Full(path, mode))
    with pytest.raises(StorageError, match=r"toy\.txt\.part \(No space left on device\).*LMDYNAMICS_CACHE"):
        downloads.fetch(NAME)


def test_a_download_that_was_stopped_before_its_check_is_not_fetched_again(server, tmp_path):
    part = tmp_path / "cache" / "downloads" / (NAME + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    assert downloads.fetch(NAME).read_bytes() == CONTENT


def test_a_server_without_ranges_is_read_from_the_beginning(server, tmp_path, monkeypatch):
    part = tmp_path / "cache" / "downloads" / (NAME + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"something else")
    get = requests.get
    monkeypatch.setattr(
        downloads.requests, "get", lambda *a, headers, **k: get(*a, headers={**headers, "Range": None}, **k)
    )
    assert downloads.fetch(NAME).read_bytes() == CONTENT


def test_a_wrong_download_is_refused_and_not_resumed(server):
    server.files["/toy.txt"] = b"not this" + CONTENT
    with pytest.raises(DownloadError, match=f"other bytes.*{server.address}/toy.txt.*LMDYNAMICS_DATA"):
        downloads.fetch(NAME)
    server.files["/toy.txt"] = CONTENT
    assert downloads.fetch(NAME).read_bytes() == CONTENT
    assert server.ranges == [None, None]


def test_a_missing_address_is_an_error_that_names_it(server, monkeypatch):
    know(monkeypatch, f"{server.address}/gone.txt")
    with pytest.raises(
        DownloadError, match=rf"404.*corpus 'toy'.*{server.address}/gone.txt.*LMDYNAMICS_DATA"
    ):
        downloads.fetch(NAME)


def test_without_network_the_error_names_corpus_address_and_variable(server, monkeypatch):
    know(monkeypatch, "http://127.0.0.1:9/toy.txt")
    with pytest.raises(DownloadError, match=r"corpus 'toy'.*http://127.0.0.1:9/toy.txt.*LMDYNAMICS_DATA"):
        downloads.fetch(NAME)


def test_a_file_without_address_must_be_in_the_folder(server, folder, monkeypatch):
    know(monkeypatch, None)
    with pytest.raises(DownloadError, match=r"corpus 'toy'.*no public address.*LMDYNAMICS_DATA"):
        downloads.fetch(NAME)


@pytest.mark.parametrize("suffix", ["", ".xz"])
def test_the_folder_comes_before_the_network(server, folder, suffix):
    packed = lzma.compress(CONTENT) if suffix else CONTENT
    (folder / (NAME + suffix)).write_bytes(packed)
    assert downloads.fetch(NAME) == folder / (NAME + suffix)
    assert server.ranges == []


@pytest.mark.parametrize("suffix", ["", ".xz"])
def test_text_is_read_packed_or_not(tmp_path, suffix):
    path = tmp_path / ("text" + suffix)
    path.write_bytes(lzma.compress("é\n".encode()) if suffix else "é\n".encode())
    with downloads.open_text(path) as file:
        assert file.read() == "é\n"


def test_a_wrong_file_in_the_folder_is_an_error_not_a_download(server, folder):
    (folder / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match=r"toy\.txt must have SHA-256 .*LMDYNAMICS_DATA"):
        downloads.fetch(NAME)
    assert server.ranges == []


def test_a_packed_file_cut_short_is_an_error(server, folder):
    (folder / (NAME + ".xz")).write_bytes(lzma.compress(CONTENT)[:-20])
    with pytest.raises(DownloadError, match=r"no whole \.xz file"):
        downloads.fetch(NAME)


def test_a_file_is_hashed_again_only_when_it_changed(server, folder):
    (folder / NAME).write_bytes(CONTENT)
    downloads.fetch(NAME)
    read = downloads._sha256.cache_info().misses
    downloads.fetch(NAME)
    assert downloads._sha256.cache_info().misses == read
    (folder / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError):
        downloads.fetch(NAME)


def test_a_folder_that_is_none_is_an_error(server, monkeypatch):
    monkeypatch.setenv("LMDYNAMICS_DATA", "/nowhere")
    with pytest.raises(DownloadError, match="LMDYNAMICS_DATA must name a folder"):
        downloads.fetch(NAME)


def test_an_empty_variable_names_no_folder(server, folder, monkeypatch):
    (folder / NAME).write_bytes(b"not this")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LMDYNAMICS_DATA", "")
    assert downloads.fetch(NAME).read_bytes() == CONTENT


def test_a_packed_file_that_unpacks_without_end_is_refused(server, folder, monkeypatch):
    monkeypatch.setattr(downloads, "_LARGEST_GROWTH", 2)
    (folder / (NAME + ".xz")).write_bytes(lzma.compress(bytes(2**20)))
    with pytest.raises(
        DownloadError, match=r"toy\.txt\.xz must unpack to at most 2 times its size.*LMDYNAMICS_DATA"
    ):
        downloads.fetch(NAME)


def test_files_are_of_corpora_by_the_names_that_load_knows():
    folders = {Path(name).parent.name for name in downloads.SOURCES}
    assert {downloads._CORPUS_NAMES.get(folder, folder) for folder in folders} <= set(corpora.NAMES)
    assert set(downloads._CORPUS_NAMES) <= folders


def test_a_file_in_pieces_is_made_of_their_long_articles_in_order_of_page_number(server, pieces):
    path = downloads.fetch(NAME)
    assert path.read_bytes() == MADE
    assert sorted(server.paths) == sorted(f"/{piece}" for piece in PIECES)
    assert {file.name for file in path.parent.iterdir()} == {"toy.txt", "toy.txt.lock"}
    assert downloads.fetch(NAME) == path
    assert len(server.paths) == len(PIECES)


def test_a_file_in_pieces_is_looked_for_in_the_folder_first(server, pieces, folder):
    (folder / NAME).write_bytes(MADE)
    assert downloads.fetch(NAME) == folder / NAME
    assert server.paths == []


def test_four_pieces_are_fetched_at_once(server, monkeypatch):
    content, names = LONG + LONGER, tuple(f"AA/wiki_{number:02}" for number in range(12))
    server.files |= {f"/{name}": content if name.endswith("00") else SHORT for name in names}
    source = Source(hashlib.sha256(MADE).hexdigest(), f"{server.address}/", names)
    monkeypatch.setitem(downloads.SOURCES, NAME, source)
    asked = []

    def meet():
        time.sleep(0.1)  # for one more to come, which would be counted
        asked.append(len(server.paths))

    server.meeting = threading.Barrier(4, action=meet)
    assert downloads.fetch(NAME).read_bytes() == MADE
    assert asked == [4, 8, 12]


def test_a_piece_that_breaks_off_goes_on_and_the_others_are_not_fetched_again(server, pieces):
    server.break_after = 60_000
    with pytest.raises(DownloadError, match=f"{server.address}/AA/wiki_00 broke off.*'toy'.*LMDYNAMICS_DATA"):
        downloads.fetch(NAME)
    assert (pieces / "AA/wiki_01").read_bytes() == PIECES["AA/wiki_01"]
    server.break_after = None
    server.paths.clear()
    server.ranges.clear()
    assert downloads.fetch(NAME).read_bytes() == MADE
    assert (server.paths, server.ranges) == (["/AA/wiki_00"], ["bytes=60000-"])


def test_a_fetch_of_pieces_that_was_killed_goes_on_with_those_that_lack(server, pieces):
    server.held = ("/AA/wiki_00",)
    source = tuple(downloads.SOURCES[NAME])
    code = (
        "from lmdynamics.text import downloads\n"
        f"downloads.SOURCES[{NAME!r}] = downloads.Source(*{source!r})\n"
        f"downloads.fetch({NAME!r})\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 30
        while not all((pieces / piece).exists() for piece in list(PIECES)[1:]) and time.monotonic() < end:
            time.sleep(0.01)
        process.kill()
    server.held = ()
    server.paths.clear()
    assert downloads.fetch(NAME).read_bytes() == MADE
    assert server.paths == ["/AA/wiki_00"]
    assert not pieces.exists()


def test_a_file_that_was_made_of_its_pieces_and_not_moved_is_not_made_again(server, pieces):
    (pieces / "AA").mkdir(parents=True)
    (pieces / "AA/wiki_00").write_bytes(PIECES["AA/wiki_00"])
    pieces.with_suffix(".part").write_bytes(MADE)
    assert downloads.fetch(NAME).read_bytes() == MADE
    assert server.paths == []
    assert not pieces.exists()


def test_pieces_that_make_other_bytes_are_an_error_that_counts_articles_and_says_where_they_stay(
    server, pieces
):
    server.files["/AB/wiki_00"] = article(11, "Other", 1500)
    with pytest.raises(
        DownloadError,
        match=rf"3 files of {server.address}/ gave other bytes.* 3 articles of 1,500 words.*stay in "
        f"{re.escape(str(pieces))}: delete.*corpus 'toy'.*LMDYNAMICS_DATA",
    ):
        downloads.fetch(NAME)
    assert not downloads.at_hand(NAME)
    server.files["/AB/wiki_00"] = SHORT
    (pieces / "AB/wiki_00").unlink()
    server.paths.clear()
    assert downloads.fetch(NAME).read_bytes() == MADE
    assert server.paths == ["/AB/wiki_00"]


@pytest.mark.parametrize("content", [b"<html>Sign in</html>\n", LONG[:-8], b"\n" + LONG])
def test_a_piece_that_is_no_file_of_articles_is_refused_and_fetched_again(server, pieces, content):
    server.files["/AA/wiki_01"] = content
    with pytest.raises(
        DownloadError, match=rf"{server.address}/AA/wiki_01 must be a file of articles.*'toy'"
    ):
        downloads.fetch(NAME)
    server.files["/AA/wiki_01"] = PIECES["AA/wiki_01"]
    assert downloads.fetch(NAME).read_bytes() == MADE


def test_a_missing_piece_is_an_error_that_names_it(server, pieces):
    del server.files["/AB/wiki_00"]
    with pytest.raises(
        DownloadError,
        match=rf"{server.address}/AB/wiki_00 broke off.*404.*made of 3 files of {server.address}/ ",
    ):
        downloads.fetch(NAME)


def test_pieces_are_counted_as_they_come(server, pieces, tmp_path, monkeypatch):
    monkeypatch.setenv("LMDYNAMICS_PROGRESS", str(tmp_path / "progress"))
    downloads.fetch(NAME)
    assert f"download of {NAME}: 1 of 3 files" in (tmp_path / "progress").read_text()


def test_the_articles_of_2014_are_made_of_826_files_at_one_commit():
    source = downloads.SOURCES["enwiki-2014-long/enwiki-2014-long.txt"]
    assert re.fullmatch(r"https://raw\.githubusercontent\.com/\w+/\w+/[0-9a-f]{40}/data/", source.address)
    assert len(set(source.pieces)) == 826
    assert (source.pieces[0], source.pieces[99], source.pieces[-1]) == (
        "AA/wiki_01",
        "AB/wiki_00",
        "AI/wiki_26",
    )
