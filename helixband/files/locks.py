"""Locks that end with their owner."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from helixband.files.in_place import has_other_names, make_own, open_in_place

_locked: set[int] = set()
"""The descriptors of files that this process has locked, or waits for."""


@contextlib.contextmanager
def locked_file(path: str | os.PathLike[str], seconds: float = 0.0, create: bool = True) -> Iterator[int]:
    """The descriptor of a file, open to read and write, under an exclusive lock that only this process has.

    The lock ends with the body, or with the process, however that ends: its forks have no part in it. A file
    that is replaced while it is waited for is opened anew, so that the lock is of the file at `path`. A
    symbolic link is not followed, and a file that has other names by hard links is replaced by a copy.

    Raises `BlockingIOError` where another process holds the lock for longer than so many seconds,
    `StorageError` as `open_in_place` does, and any other `OSError` as it comes.
    """
    until, is_own = time.monotonic() + seconds, False
    while True:
        file = open_in_place(Path(path), create=create, shared=True)
        _locked.add(file)
        try:
            _lock(file, until)
            if is_at(file, path):
                if is_own or not has_other_names(file):
                    yield file
                    return
                make_own(Path(path))  # under the lock, as another process may be at work with it
                is_own = True
        finally:
            if file in _locked:  # and not in a fork, where it is closed
                _locked.remove(file)
                os.close(file)


def is_at(file: int, path: str | os.PathLike[str]) -> bool:
    """Whether an open file is the one at `path`, and not one that was there before."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(file: int, until: float) -> None:
    pause = 0.01
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
        time.sleep(pause)
        pause = min(0.2, 1.1 * pause)


def _forget_locks() -> None:
    """In a fork: a lock is of all the processes that have its descriptor, and would outlive its owner."""
    for file in _locked:
        os.close(file)
    _locked.clear()


os.register_at_fork(after_in_child=_forget_locks)
