"""Files that appear whole or not at all, also after a power cut, and locks between processes.

What is written stands first in a folder of its own beside its place, reaches the disk, and is then renamed.
Such a folder is named after the process that writes it: where that was killed, the next one that writes there
removes what it left.
"""

import contextlib
import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from lmdynamics.ground.progress import report

NOT_IN_NUMBERS = ("*",)  # where numbers are kept, not what they are
BEING_WRITTEN = ".being-written-"
"""Begins the names of folders in which files are not whole yet."""
_BEFORE = "before"  # in such a folder: the one that is replaced
_ABANDONED = 86_400.0  # seconds after which what a process of another machine writes is taken for abandoned
_WAIT = 2.0  # seconds between two reports that another process holds a lock
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
_NO_SYNC = (errno.EINVAL, errno.EOPNOTSUPP)  # of a folder, where its disk has no such thing


class StorageError(OSError):
    """A file that cannot be written or locked; the message names it, what it needs and the remedy."""


def write(path: Path, content: bytes) -> None:
    """Write a file in place of any that is there.

    Raises
    ------
    StorageError
        If the disk is full or the place cannot be written. What was there before is still there.
    """
    with errors_named(path, len(content)), _folder_beside(path) as folder:
        whole = folder / "file"
        _write_through(whole, content)
        whole.replace(path)


def write_folder(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write a folder of files, given by name, in place of any that is there: all files or none.

    Between the old folder and the new one there is a moment without either; a process that is stopped in it
    leaves none, and the next one that writes beside it puts the old one back.

    Raises
    ------
    StorageError
        If the disk is full or the place cannot be written. What was there before is still there.
    """
    with errors_named(path, sum(map(len, contents.values()))), _folder_beside(path) as folder:
        whole, before = folder / "folder", folder / _BEFORE / path.name
        whole.mkdir()
        for name, content in contents.items():
            _write_through(whole / name, content)
        _sync(whole)
        if path.exists():
            before.parent.mkdir()
            path.rename(before)
        try:
            whole.rename(path)
        except OSError:
            _put_back(folder)
            raise


def require_place(path: Path) -> None:
    """Raise an error unless a file or folder can be written here, before there is anything to write.

    Raises
    ------
    StorageError
        If the place cannot be written.
    """
    with errors_named(path), _folder_beside(path):
        pass


def move(file: Path, path: Path) -> None:
    """Move a whole file of the same folder to its place, in place of any that is there.

    Raises
    ------
    StorageError
        If the place cannot be written. The file is then where it was.
    """
    with errors_named(path):
        with file.open("rb+") as content:
            os.fsync(content.fileno())
        file.replace(path)
        _sync(path.parent)


@contextlib.contextmanager
def lock(path: Path, *, label: str) -> Iterator[None]:
    """Hold a lock for this process, which the system frees if it is killed; others wait, and say so.

    Parameters
    ----------
    path
        Of the file that is locked. It is made where it is missing, and stays.
    label
        What is being made, for who waits.

    Raises
    ------
    StorageError
        If the file cannot be written, or its disk has no locks between processes.
    """
    holder = FileLock(path, fallback_to_soft=False)  # a soft one would outlive a process that is killed
    with errors_named(path):
        _make_folder(path.parent)
        while not _is_acquired(holder):
            report(f"{label}: waiting for another process that makes it")
    try:
        yield
    finally:
        holder.release()


@contextlib.contextmanager
def lock_unless_there(path: Path, *, label: str) -> Iterator[bool]:
    """Tell whether a file or folder is missing; while it is made, no other process makes it.

    What is there already is not locked, so that it can be read from a disk that cannot be written.

    Parameters
    ----------
    path
        Of the file or folder; it appears whole.
    label
        What is being made, for who waits.

    Raises
    ------
    StorageError
        As of `lock`.
    """
    if path.exists():
        yield False
        return
    with lock(path.with_name(f"{path.name}.lock"), label=label):
        yield not path.exists()


@contextlib.contextmanager
def errors_named(path: Path, size: int = 0) -> Iterator[None]:
    """Tell what the system's errors do not: the file, how many bytes it needs, and what helps.

    Raises
    ------
    StorageError
        In place of any other OSError.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        need = f"{size:,} bytes in " if size else ""
        raise StorageError(
            f"could not write {path} ({error.strerror or error}); it needs {need}a folder that can be "
            "written: make room, or name another folder (LMDYNAMICS_CACHE names that of all that is kept)"
        ) from error


@contextlib.contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    """Yield a new folder beside a place; in the end all in it is gone, and the place is on the disk."""
    _make_folder(path.parent)
    prefix = f"{BEING_WRITTEN}{socket.gethostname()}-{os.getpid()}-"
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    try:
        _sweep(path.parent, now=folder.stat().st_mtime)  # by the clock of the disk
        yield folder
        _sync(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_folder(path: Path) -> None:
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        _sync(folder.parent)


def _sweep(place: Path, *, now: float) -> None:
    """Remove what killed processes left in a folder."""
    for left in place.glob(f"{BEING_WRITTEN}*"):
        with contextlib.suppress(OSError):  # another process sweeps too, or it is another user's
            if _is_abandoned(left, now):
                _put_back(left)
                shutil.rmtree(left, ignore_errors=True)


def _is_abandoned(left: Path, now: float) -> bool:
    """Tell whether the process is gone that wrote a folder."""
    host, _, process = left.name.removeprefix(BEING_WRITTEN).rpartition("-")[0].rpartition("-")
    if host != socket.gethostname() or not process.isdecimal():
        return now - left.stat().st_mtime > _ABANDONED
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _put_back(folder: Path) -> None:
    """Put the folder back that was to be replaced, where nothing has come into its place."""
    for before in folder.glob(f"{_BEFORE}/*"):
        place = folder.parent / before.name
        if not place.exists():
            before.rename(place)


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(handle)


def _is_acquired(holder: BaseFileLock) -> bool:
    """Acquire a lock, unless another process holds it for some time."""
    try:
        holder.acquire(timeout=_WAIT)
    except Timeout:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise StorageError(
            f"could not lock {holder.lock_file} ({error.strerror}); it needs a disk with locks between "
            "processes (flock), which some network disks lack: let LMDYNAMICS_CACHE name a folder elsewhere"
        ) from error
    return True
