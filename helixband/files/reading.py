"""Reading files that somebody else may have put there: regular files alone, and none that makes one wait."""

import io
import os
import stat
from pathlib import Path

from helixband.errors import StorageError

_KINDS = {
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def check_regular(path: str | os.PathLike[str], mode: int) -> None:
    """Raise `StorageError` where a mode, of `os.stat`, is of no regular file."""
    if stat.S_ISDIR(mode):
        raise StorageError(
            f"cannot read {path}: Is a directory; move it away, or put back a copy of the file"
        )
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS.items() if test(mode)), "no regular file")
        raise StorageError(f"{path} is no file but {kind}; remove it, or put back a copy of the file")


def open_to_read(path: str | os.PathLike[str]) -> io.BufferedReader:
    """A regular file, open to read.

    Raises `FileNotFoundError` where there is none, `StorageError` for what is no file and for one that cannot
    be opened.
    """
    try:
        check_regular(path, os.stat(path).st_mode)  # before, as to open a device may already have an effect
        # Not to wait for the other end, of a pipe that came in the place of the file in between.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            check_regular(path, os.fstat(file).st_mode)
            return open(file, "rb")
        except BaseException:
            os.close(file)
            raise
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error


def read_whole(path: str | os.PathLike[str]) -> bytes:
    """The content of a file; raises `StorageError` as `open_to_read` does, and where it is missing."""
    try:
        with open_to_read(path) as file:
            return file.read()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether something is there; raises `StorageError` where that cannot be known, as on a failing disk."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    return True


def size_of(path: Path) -> int:
    """The bytes of a file, 0 where there is none; raises `StorageError` for what is no file."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    check_regular(path, status.st_mode)
    return status.st_size
