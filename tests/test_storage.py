"""What is written appears whole or not at all, whoever is killed, and what a killed writer left is swept."""

import errno
import os
import pickle
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lmdynamics.ground import storage
from lmdynamics.ground.storage import BEING_WRITTEN, StorageError

KILLED = """
import os, shutil, signal
from pathlib import Path
from lmdynamics.ground import storage

place, wait = Path("made"), 0

def stop(real):
    def count(*arguments, **options):
        global wait
        wait -= 1
        if wait < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return count

def held():
    return {p.relative_to(place).as_posix(): p.read_bytes() for p in place.rglob("*") if p.is_file()}

for after in range(30):
    shutil.rmtree(place, ignore_errors=True)
    if OLD:
        storage.write(place / "file", b"old")
        storage.write_folder(place / "folder", dict.fromkeys("abc", b"old"))
    child = os.fork()
    if not child:
        wait = after
        for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "replace"), (shutil, "rmtree")):
            setattr(owner, name, stop(getattr(owner, name)))
        WRITE
        os._exit(0)
    _, status = os.waitpid(child, 0)
    storage.write(place / "next", b"")
    print(held())
    if not status:
        break
"""
FILE = "storage.write(place / 'file', b'new')"
FOLDER = "storage.write_folder(place / 'folder', dict.fromkeys('ad', b'new'))"
OLD = {"file": b"old", "folder/a": b"old", "folder/b": b"old", "folder/c": b"old", "next": b""}


@pytest.mark.parametrize(
    ("write", "before", "after"),
    [
        (FILE, {"next": b""}, {"file": b"new", "next": b""}),
        (FILE, OLD, OLD | {"file": b"new"}),
        (FOLDER, {"next": b""}, {"folder/a": b"new", "folder/d": b"new", "next": b""}),
        (FOLDER, OLD, {"file": b"old", "folder/a": b"new", "folder/d": b"new", "next": b""}),
    ],
)
def test_a_writer_killed_at_any_point_leaves_what_was_there_or_all_that_is_new(
    tmp_path, write, before, after
):
    script = KILLED.replace("OLD", str(before is OLD)).replace("WRITE", write)
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    seen = [eval(line) for line in process.stdout.splitlines()]
    assert seen[0] == before
    assert seen[-1] == after
    assert all(each in (before, after) for each in seen)
    assert len(seen) > 4


def test_what_is_written_has_the_rights_of_any_other_file(tmp_path):
    (tmp_path / "plain").touch()
    (tmp_path / "folder").mkdir()
    storage.write(tmp_path / "a" / "file", b"content")
    storage.write_folder(tmp_path / "b", {"file": b"content"})
    assert (
        len({path.stat().st_mode for path in (tmp_path / "plain", tmp_path / "a/file", tmp_path / "b/file")})
        == 1
    )
    assert (tmp_path / "b").stat().st_mode == (tmp_path / "folder").stat().st_mode


def test_each_file_is_on_the_disk_before_it_has_its_name_and_then_its_folder_is(tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: events.append(name_of(handle)) or fsync(handle))
    monkeypatch.setattr(Path, "replace", lambda one, other: events.append(other.name) or replace(one, other))
    storage.write(tmp_path / "new" / "name", b"content")
    assert events == [tmp_path.name, "file", "name", "new"]


def name_of(handle):
    return Path(f"/proc/self/fd/{handle}").readlink().name


@pytest.fixture
def left(tmp_path):
    """Make what another writer left, given host, process and age in seconds."""

    def make(host, process, age):
        folder = tmp_path / f"{BEING_WRITTEN}{host}-{process}-abcdefgh"
        folder.mkdir()
        (folder / "file").write_bytes(b"half")
        os.utime(folder, (folder.stat().st_atime - age,) * 2)
        return folder

    return make


DAY = 86_400


@pytest.mark.parametrize(
    ("here", "alive", "age", "swept"),
    [
        (True, False, 0, True),
        (True, True, 0, False),
        (True, True, 2 * DAY, False),
        (False, False, 0, False),
        (False, False, 2 * DAY, True),
    ],
)
def test_what_is_being_written_is_swept_only_when_nobody_writes_it_any_longer(
    tmp_path, left, here, alive, age, swept
):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    process = os.getppid() if alive else ended.pid
    folder = left(socket.gethostname() if here else "another-host", process, age)
    storage.write(tmp_path / "file", b"content")
    assert folder.exists() != swept


def raising(number):
    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize(
    ("what", "write"),
    [
        ("file", lambda path: storage.write(path, b"content" * 1000)),
        ("folder", lambda path: storage.write_folder(path, {"a": b"content" * 999, "b": b"content"})),
    ],
)
def test_what_cannot_be_written_is_an_error_that_names_file_need_and_remedy(
    tmp_path, monkeypatch, number, what, write
):
    storage.write(tmp_path / "file", b"old")
    storage.write_folder(tmp_path / "folder", {"a": b"old"})
    monkeypatch.setattr(os, "fsync", raising(number))
    with pytest.raises(StorageError) as caught:
        write(tmp_path / what)
    said = str(caught.value)
    assert f"could not write {tmp_path / what} ({os.strerror(number)}); it needs 7,000 bytes" in said
    assert "LMDYNAMICS_CACHE" in said
    assert str(pickle.loads(pickle.dumps(caught.value))) == said  # as it comes from another process
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}
    assert (tmp_path / "file").read_bytes() == (tmp_path / "folder" / "a").read_bytes() == b"old"


def test_a_place_below_a_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"could not write .*file/below/name \(Not a directory\)"):
        storage.write(tmp_path / "file" / "below" / "name", b"content")
    with (
        pytest.raises(StorageError, match=r"could not write .*file/below/lock \(Not a directory"),
        storage.lock(tmp_path / "file" / "below" / "lock", label="a thing"),
    ):
        pass


def test_a_folder_that_cannot_come_into_its_place_leaves_the_old_one_there(tmp_path, monkeypatch):
    storage.write_folder(tmp_path / "folder", {"a": b"old"})
    renames = iter([Path.rename, raising(errno.EIO), Path.rename])
    monkeypatch.setattr(Path, "rename", lambda one, other: next(renames)(one, other))
    with pytest.raises(StorageError, match="Input/output error"):
        storage.write_folder(tmp_path / "folder", {"a": b"new"})
    assert (tmp_path / "folder" / "a").read_bytes() == b"old"


def test_what_is_there_is_not_locked(tmp_path):
    (tmp_path / "table").touch()
    with storage.lock_unless_there(tmp_path / "table", label="a table") as missing:
        assert not missing
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


def test_of_several_that_need_a_file_one_makes_it(tmp_path):
    made, begin = [], threading.Barrier(4)

    def need(number):
        begin.wait()
        with storage.lock_unless_there(tmp_path / "table", label="a table") as missing:
            if missing:
                made.append(number)
                storage.write(tmp_path / "table", b"")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(need, range(4)))
    assert len(made) == 1


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_an_error_that_says_so(tmp_path, monkeypatch, number):
    monkeypatch.setattr("fcntl.flock", raising(number))
    with (
        pytest.raises(StorageError, match=r"could not lock .*table\.lock .*flock.*LMDYNAMICS_CACHE"),
        storage.lock_unless_there(tmp_path / "table", label="a table"),
    ):
        pass


def test_a_lock_that_cannot_be_made_is_an_error_that_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", raising(errno.EROFS))
    with (
        pytest.raises(
            StorageError, match=r"could not write .*lock \(Read-only file system\).*LMDYNAMICS_CACHE"
        ),
        storage.lock(tmp_path / "lock", label="a table"),
    ):
        pass
