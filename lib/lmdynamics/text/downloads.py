"""Files of the known corpora, from a folder or from their addresses, always checked.

A file is named as in ``data/README.md``, for instance
``wikitext-2/wiki.train.tokens``. It is looked for in the folder that the
environment variable ``LMDYNAMICS_DATA`` names, where it may also stand packed
as ``NAME.xz``; failing that it is downloaded once into the cache. Whatever
comes back has the SHA-256 recorded here (of the unpacked bytes). A file without
a copy of its own may be made of many others, its pieces: what was fetched of
them stays until the file is whole. No SHA-256 of each is known, so that of the
file stands for them.
"""

import bz2
import hashlib
import lzma
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BufferedIOBase, BufferedReader, FileIO, RawIOBase, TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from lmdynamics.ground import grid, storage
from lmdynamics.ground.extras import extra
from lmdynamics.ground.paths import cache_directory, named_by
from lmdynamics.ground.progress import Progress
from lmdynamics.text import extracts

with extra("text"):
    import requests
    from urllib3.exceptions import HTTPError

NOT_IN_NUMBERS = ("SOURCES", "fetch")  # the hash of each file that is read stands for them
DATA_VARIABLE = "LMDYNAMICS_DATA"
"""The environment variable naming a folder of corpora."""
_PATIENCE, _LEAST = 60.0, 60_000
"""A download is given up that brings fewer bytes in so many seconds."""
_AT_ONCE = 4  # pieces
_BLOCK = 2**20  # bytes
_LARGEST_GROWTH = 1000  # of a packed file; text grows to ten times its size, all versions of it to a hundred
_SMALL = 2**16  # bytes that are read ahead


class Source(NamedTuple):
    """The SHA-256 of a file (unpacked) and its official address, if it has one.

    A file with pieces is made of the long articles in them; its address is then that of their folder.
    """

    sha256: str
    address: str | None = None
    pieces: tuple[str, ...] = ()  # extracts (see `extracts`), by their paths under the address


_WIKITEXT_2 = (
    "https://raw.githubusercontent.com/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8"
    "/word_language_model/data/wikitext-2/"
)
_PMB = (
    "https://raw.githubusercontent.com/RikVN/DRS_parsing/190838f9adea2af616eb76156d2e66c8565a6c6e"
    "/parsing/layer_data/4.0.0/en/gold/"
)
_EXTRACTS = (
    "https://raw.githubusercontent.com/ZhouYii/PatchedDistro/961716d8a5a0df1a6373a4d61e360a0b5d1b85cd/data/"
)
_EXTRACT_FILES = tuple(
    f"A{letter}/wiki_{number:02}"
    for letter in "ABCDEFGHI"
    for number in range(27 if letter == "I" else 100)
    if (letter, number) != ("A", 0)  # its pages come before the first of the corpus
)
_EWT = "https://raw.githubusercontent.com/UniversalDependencies/UD_English-EWT/r2.16/"
SOURCES = {
    "wikitext-2/wiki.train.tokens": Source(
        "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f", _WIKITEXT_2 + "train.txt"
    ),
    "wikitext-2/wiki.valid.tokens": Source(
        "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8", _WIKITEXT_2 + "valid.txt"
    ),
    "wikitext-2/wiki.test.tokens": Source(
        "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0", _WIKITEXT_2 + "test.txt"
    ),
    "enwiki-2014-long/enwiki-2014-long.txt": Source(
        "424ad27b4bd0bcd72714bc50f33357b8efbb36456c9a7181ad373756e211173e", _EXTRACTS, _EXTRACT_FILES
    ),
    "gmb/ner_dataset.csv": Source("83257dd94ed59596809dc9f5b28f1f035c9d925d5a647f266db43a2f098e8f1a"),
    "semtags/pmb-4.0.0-en-gold/train.conll": Source(
        "cdbb6035a71112ad1c0e1707b9a16f7180cc78fe6e5d308f9240ec2da22a3f7a", _PMB + "train.conll"
    ),
    "semtags/pmb-4.0.0-en-gold/dev.conll": Source(
        "ac2abf3c55607a13efea523d258854633b1225d6173031e69bf56023adafc761", _PMB + "dev.conll"
    ),
    "semtags/pmb-4.0.0-en-gold/test.conll": Source(
        "1c6c137292ad2cb6750fa2fd22655bb17eb71aa282b9e15b88ba0a11217c83c9", _PMB + "test.conll"
    ),
    "semtags/pmb-4.0.0-en-gold/eval.conll": Source(
        "cd5a92a0e07ed03d4e10e9d28b79c7ae8b6d18fe4efc99059845a267913aa8b6", _PMB + "eval.conll"
    ),
    "ud-english-ewt-2.16/en_ewt-ud-train.conllu": Source(
        "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b", _EWT + "en_ewt-ud-train.conllu"
    ),
    "ud-english-ewt-2.16/en_ewt-ud-dev.conllu": Source(
        "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6", _EWT + "en_ewt-ud-dev.conllu"
    ),
    "ud-english-ewt-2.16/en_ewt-ud-test.conllu": Source(
        "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd", _EWT + "en_ewt-ud-test.conllu"
    ),
}
"""Every known file; a new one is one more entry."""
_CORPUS_NAMES = {"enwiki-2014-long": "enwiki-2014", "pmb-4.0.0-en-gold": "pmb", "ud-english-ewt-2.16": "ewt"}
"""Name of the corpus in each folder that is called otherwise."""


class DownloadError(OSError):
    """An error about a corpus file that is missing; it names the file, its address and the remedy."""


def fetch(name: str) -> Path:
    """Return the path of a known file, whole and checked; it may end in ``.xz``.

    Raises
    ------
    DownloadError
        If the folder's file has other bytes, or the file is in no folder and
        cannot be downloaded whole, or only at less than a kilobyte a second, or
        is made of pieces that give other bytes.
        What a broken download left is kept and the next call goes on from there.
    lmdynamics.ground.storage.StorageError
        If the file cannot be kept, such as on a full disk.
    """
    if path := _local_path(name):
        _check(path, name)
        return path
    path = _cache_path(name)
    return path if _is_whole(path, name) else _download(name)


def at_hand(name: str) -> bool:
    """Tell whether a known file needs no download; `fetch` checks its bytes."""
    return _local_path(name) is not None or _cache_path(name).exists()


@contextmanager
def open_text(path: Path, *, encoding: str = "utf-8") -> Iterator[TextIO]:
    """Open a file as text with its line ends kept, unpacked if it ends in ``.xz``."""
    with open_bytes(path) as file, TextIOWrapper(file, encoding=encoding, newline="\n") as text:
        yield text


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unpacked if it ends in ``.xz`` or ``.bz2``."""
    with path.open("rb") as file:
        if path.suffix in (".xz", ".bz2"):
            with (lzma if path.suffix == ".xz" else bz2).open(file) as unpacked:
                yield BufferedReader(_Unpacked(unpacked, file, str(path)))
        else:
            yield file


class _Unpacked(RawIOBase):
    """A packed file as it is unpacked; what grows more than any text does is refused."""

    def __init__(self, file: BufferedIOBase, packed: BufferedIOBase, name: str) -> None:
        self._file, self._packed, self._name = file, packed, name
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        self._size += len(block)
        packed_size = max(self._packed.tell(), _SMALL)
        if self._size > _LARGEST_GROWTH * packed_size:
            raise ValueError(
                f"{self._name} must unpack to at most {_LARGEST_GROWTH:,} times its size, got "
                f"{self._size:,} bytes from {packed_size:,}; it is no text"
            )
        return len(block)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, unpacked if it ends in ``.xz``; an unchanged file is read once."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


@cache
def _sha256(path: Path, *_: int) -> str:
    digest = hashlib.sha256()
    with open_bytes(path) if path.suffix == ".xz" else path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def forget() -> None:
    """Forget all SHA-256, so that each file is read again for its next one."""
    _sha256.cache_clear()


def _local_path(name: str) -> Path | None:
    """Return the path of a file in the folder of corpora, or None if it is not there."""
    folder = named_by(DATA_VARIABLE)
    if folder is None:
        return None
    if not folder.is_dir():
        raise DownloadError(
            f"{DATA_VARIABLE} must name a folder of corpora, got {str(folder)!r}, which is no folder; "
            "correct the variable or unset it"
        )
    paths = (Path(folder, name), Path(folder, name + ".xz"))
    return next((path for path in paths if path.exists()), None)


def _cache_path(name: str) -> Path:
    """Return the path of a downloaded file in the cache; the file appears there whole."""
    return cache_directory() / "downloads" / name


def _check(path: Path, name: str) -> None:
    try:
        digest = sha256(path)
    except (lzma.LZMAError, EOFError, ValueError) as error:
        raise DownloadError(f"{path} is no whole .xz file ({error}); {_remedy(name)}") from error
    if digest != SOURCES[name].sha256:
        raise DownloadError(
            f"{path} must have SHA-256 {SOURCES[name].sha256} unpacked, got {digest}; {_remedy(name)}"
        )


def _remedy(name: str) -> str:
    source, folder = SOURCES[name], Path(name).parent.name
    if source.address is None:
        origin = "which has no public address of its own (see data/README.md)"
    elif source.pieces:
        origin = f"made of {len(source.pieces)} files of {source.address} (see data/README.md)"
    else:
        origin = f"from {source.address}"
    return (
        f"corpus {_CORPUS_NAMES.get(folder, folder)!r} needs the file {name} {origin}, "
        f"placed under the folder that the environment variable {DATA_VARIABLE} names"
    )


def _is_whole(path: Path, name: str) -> bool:
    return path.exists() and sha256(path) == SOURCES[name].sha256


def _download(name: str) -> Path:
    """Download a file into the cache, unless another process has done so meanwhile."""
    address = SOURCES[name].address
    if address is None:
        raise DownloadError(f"need a copy of {name}, got none; {_remedy(name)}")
    path = _cache_path(name)
    part = path.with_name(f"{path.name}.part")
    with storage.lock(path.with_name(f"{path.name}.lock"), label=f"download of {name}"):
        if not _is_whole(path, name):
            (_download_pieces if SOURCES[name].pieces else _download_whole)(name, address, part)
            storage.move(part, path)
    return path


def _download_whole(name: str, address: str, part: Path) -> None:
    """Download a file that has an address of its own as a partial file, and check it."""
    _go_on(name, address, part)
    if (digest := sha256(part)) != SOURCES[name].sha256:
        part.unlink()
        raise DownloadError(
            f"{address} gave other bytes than expected: SHA-256 {digest} in place of "
            f"{SOURCES[name].sha256}; {_remedy(name)}"
        )


def _download_pieces(name: str, address: str, part: Path) -> None:
    """Make a file of its pieces as a partial file, and check it; pieces go when it is right."""
    folder = part.with_suffix(".pieces")
    if not _is_whole(part, name):  # unless it was made by a process that was stopped before it moved it
        _fetch_pieces(name, address, folder)
        articles = _write_articles(name, folder, part)
        if (digest := sha256(part)) != SOURCES[name].sha256:
            part.unlink()
            raise DownloadError(
                f"{len(SOURCES[name].pieces)} files of {address} gave other bytes than expected: "
                f"{articles:,} articles of {extracts.LEAST_WORDS:,} words or more, SHA-256 {digest} in "
                f"place of {SOURCES[name].sha256}; the files stay in {folder}: delete those that differ from "
                f"their address, or all, and try again; {_remedy(name)}"
            )
    shutil.rmtree(folder, ignore_errors=True)


def _fetch_pieces(name: str, address: str, folder: Path) -> None:
    """Download the pieces that are missing in a folder, a few at a time, until one of them fails."""
    pieces = SOURCES[name].pieces
    missing = [piece for piece in pieces if not (folder / piece).exists()]
    done = len(pieces) - len(missing)
    with Progress(f"download of {name}", len(pieces), unit="files", done=done) as progress:
        calls = ((name, address + piece, folder / piece) for piece in missing)
        for _ in grid.thread_stream(_fetch_piece, calls, threads=_AT_ONCE):
            progress.advance()


def _fetch_piece(name: str, address: str, path: Path) -> None:
    """Download a piece, which appears whole."""
    part = path.with_name(f"{path.name}.part")
    with storage.errors_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    _go_on(name, address, part)
    if not extracts.is_extract(part.read_bytes()):
        part.unlink()
        raise DownloadError(
            f"{address} must be a file of articles, from <doc ...> to </doc>, got other bytes; try again; "
            f"{_remedy(name)}"
        )
    storage.move(part, path)


def _write_articles(name: str, folder: Path, part: Path) -> int:
    """Write the long articles of all pieces to a file and return how many they are."""
    pieces = SOURCES[name].pieces
    with Progress(f"articles of {name}", len(pieces), unit="files") as progress:

        def contents() -> Iterator[bytes]:
            for piece in pieces:
                yield (folder / piece).read_bytes()
                progress.advance()

        articles = extracts.long_articles(contents())
    with storage.errors_named(part, sum(map(len, articles))), part.open("wb") as file:
        file.writelines(articles)
    return len(articles)


def _go_on(name: str, address: str, part: Path) -> None:
    """Go on with a download where a partial file ends; an error says what it is for."""
    try:
        _receive(address, part)
    except (requests.RequestException, HTTPError) as error:
        raise DownloadError(
            f"downloading {address} broke off ({error}); try again; {_remedy(name)}"
        ) from error


def _receive(address: str, part: Path) -> None:
    """Append what is missing to a partial file; give up a server that sends next to nothing."""
    with storage.errors_named(part):
        file = part.open("ab", buffering=0)
    with file:  # closed when the transfer is given up, which then cannot write any longer
        transfer = _Transfer(address, file)
        transfer.start()
        while transfer.is_alive():
            before = transfer.received
            transfer.join(_PATIENCE)
            received = transfer.received - before
            if transfer.is_alive() and received < _LEAST:
                raise requests.Timeout(f"{received:,} bytes in {_PATIENCE:g} s, of {_LEAST:,} at least")
    if transfer.error is not None:
        raise transfer.error


class _Transfer(threading.Thread):
    """The download of a file in a thread of its own, which can be given up whatever the server does."""

    def __init__(self, address: str, file: FileIO) -> None:
        super().__init__(daemon=True)
        self.address, self.file = address, file
        self.received = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._append()
        except Exception as error:
            self.error = error

    def _append(self) -> None:
        size = self.file.tell()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={size}-"} if size else {})
        with requests.get(self.address, headers=headers, stream=True, timeout=30) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                return  # nothing is left
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                self.file.truncate(0)
            while block := response.raw.read1(2**16):  # what has come, however little
                self.received += len(block)
                with storage.errors_named(Path(self.file.name)):
                    while block:
                        block = block[self.file.write(block) :]
