"""Files: written so that a reader finds the whole of the new one or of the old one; locked; found."""

import contextlib
import fcntl
import glob
import io
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from helixband.errors import DataError, StorageError


@contextlib.contextmanager
def writing_whole(path: str | os.PathLike[str], sync: bool = True) -> Iterator[io.BufferedRandom]:
    """A file to write that becomes `path` in one step, synced to the disk, so that a crash leaves old or new.

    Without `sync` that holds for a kill; when the machine itself crashes, a new file may be left empty.

    Raises `StorageError` where it cannot be written; the old file is then still there, as it is where the
    body raises.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w+b") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; what was there before is unchanged"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], content: str | bytes | memoryview, sync: bool = True) -> None:
    """Replace `path` by `content` in one step, as `writing_whole` does."""
    with writing_whole(path, sync) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_together(contents: Mapping[Path, memoryview]) -> None:
    """Replace several files one after another, in that order, each in one step as `writing_whole` does.

    They are synced at the same time, which takes hardly longer than syncing one of them.
    """
    with contextlib.ExitStack() as stack:
        # Begun with the last, for what is begun last is ended first.
        files = [stack.enter_context(writing_whole(path, sync=False)) for path in reversed(list(contents))]
        for file, content in zip(files, reversed(list(contents.values())), strict=True):
            file.write(content)
            file.flush()
        with ThreadPoolExecutor(len(files)) as pool:
            list(pool.map(os.fsync, [file.fileno() for file in files]))


def write_json(path: str | os.PathLike[str], document: Any, sync: bool = True) -> None:
    """Replace `path` by a JSON document, indented, with a final newline."""
    write_whole(path, json.dumps(document, indent=2, allow_nan=False) + "\n", sync)


def read_json(path: str | os.PathLike[str]) -> Any:
    """The document in a JSON file; raises `StorageError` where it cannot be read."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise StorageError(
            f"{path} is not JSON ({error}); correct it, or delete it to continue without it"
        ) from error


def file_facts(path: str | os.PathLike[str]) -> list[int]:
    """What tells a changed file from the same one: size, times of content and status in ns, inode.

    Another file that came by the name has another inode, even where size and times are the same. The device
    is left out, as one file system has other numbers on other machines.

    Raises `DataError` where there is no such file.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def natural_key(path: str) -> list[str | int]:
    """Sort key under which `x.batch2` comes before `x.batch10`.

    >>> sorted(["b10", "b2", "a"], key=natural_key)
    ['a', 'b2', 'b10']
    """
    parts = re.split(r"([0-9]+)", path)  # text and digits in turn
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def collapsed(path: str) -> str:
    """A path without `.` and `//`, and without `..` where that makes no difference.

    Behind a symbolic link it does: the parent of what the link points to is not the folder the link is in.
    """
    short = os.path.normpath(path)
    if os.pardir in path.split(os.sep) and os.path.realpath(short) != os.path.realpath(path):
        return path
    return short


def absolute(path: str | os.PathLike[str]) -> str:
    """A path from the root, `collapsed`, which holds whatever folder the process changes to."""
    return collapsed(os.path.join(os.getcwd(), path))


def matching_files(pattern: str, directory: str = "") -> list[str]:
    """The file of that very name under a directory, or the files that a glob matches, in natural order.

    Raises `DataError` where there is none.
    """
    wanted = os.path.join(directory, pattern)
    if os.path.exists(wanted):
        return [collapsed(wanted)]
    if not directory and os.path.isdir(os.path.dirname(pattern)):
        directory, pattern = os.path.split(pattern)
    # Apart from the pattern, as its own name may hold what globs are made of.
    found = glob.glob(pattern, root_dir=directory or None)
    found = [collapsed(os.path.join(directory, path)) for path in found]
    paths = sorted(sorted(found), key=natural_key)  # b1 and b01 have one key, and still an order
    if not paths:
        raise DataError(f"no file matches {wanted!r} (from the folder {os.getcwd()})")
    return paths


@contextlib.contextmanager
def locked_file(path: str | os.PathLike[str], seconds: float = 0.0, create: bool = True) -> Iterator[int]:
    """The descriptor of a file, open to read and write, under an exclusive lock that only this process has.

    The lock ends with the body, or with the process, however that ends: its forks have no part in it. A file
    that is replaced while it is waited for is opened anew, so that the lock is of the file at `path`. A
    symbolic link is not followed.

    Raises `BlockingIOError` where another process holds the lock for longer than so many seconds, and any
    other `OSError` as it comes.
    """
    until = time.monotonic() + seconds
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    while True:
        file = os.open(path, flags, 0o666)
        _locked.add(file)
        try:
            _lock(file, until)
            if is_at(file, path):
                yield file
                return
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


_locked: set[int] = set()
"""The descriptors of files that this process has locked, or waits for."""


def _forget_locks() -> None:
    """In a fork: a lock is of all the processes that have its descriptor, and would outlive its owner."""
    for file in _locked:
        os.close(file)
    _locked.clear()


os.register_at_fork(after_in_child=_forget_locks)
