import errno
import hashlib
import http.server
import lzma
import os
import re
import threading
import time
from contextlib import suppress
from io import FileIO
from pathlib import Path

import pytest
import requests
from conftest import never

from lmdynamics.ground import storage
from lmdynamics.ground.storage import StorageError
from lmdynamics.text import corpora, downloads
from lmdynamics.text.downloads import DownloadError, Source

CONTENT = bytes(range(256)) * 1000
NAME = "toy/toy.txt"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one file, with ranges.

    The server's `break_after` closes the connection early; its `drip` sends a byte at a time, of the head or
    of the body, until the other side goes; its `pause` comes after each 60,000 bytes.
    """

    def do_GET(self):
        if self.server.drip:
            with suppress(OSError):
                self.drip(
                    b"HTTP/1.1 200 OK\r\nX: " if self.server.drip == "head" else b"HTTP/1.1 200 OK\r\n\r\n"
                )
            return None
        self.server.ranges.append(self.headers["Range"])
        begin = int(re.match(r"bytes=(\d+)-", self.headers["Range"] or "bytes=0-")[1])
        if self.path != "/toy.txt":
            return self.send_error(404)
        if begin >= len(self.server.content):
            return self.send_error(416)
        rest = self.server.content[begin:]
        self.send_response(206 if self.headers["Range"] else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        rest = rest[: self.server.break_after]
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
        server.content, server.break_after, server.drip, server.ranges = CONTENT, None, None, []
        server.stopped, server.pause = threading.Event(), 0
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
    server.content = b"not this" + CONTENT
    with pytest.raises(DownloadError, match=f"other bytes.*{server.address}/toy.txt.*LMDYNAMICS_DATA"):
        downloads.fetch(NAME)
    server.content = CONTENT
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
