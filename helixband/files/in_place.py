"""Files that are changed where they are: they grow, are cut, or are locked.

None of it reaches a file elsewhere that shares its content by a hard link, as snapshots made by `cp -al` do.
"""

import errno
import os
import shutil
from pathlib import Path

from helixband.errors import StorageError
from helixband.files.links import check_links, check_place
from helixband.files.reading import check_regular, open_to_read, size_of
from helixband.files.writing import CHECKED_BYTES, NOT_AS_WRITTEN, lot_in_filling, writing_whole

_COPIED_BYTES = 1 << 20


def open_in_place(path: Path, flags: int = os.O_RDWR, create: bool = True, shared: bool = False) -> int:
    """The descriptor of a file that is changed where it is.

    With `create` it is made, with its folder, where it is missing. A file that has other names too, by hard
    links, is replaced by a copy first, so that those keep what they have. One that is to be `shared` is not:
    it is opened for a lock, and nothing is written yet.

    Raises `StorageError` as `check_place` does, or for one that is shared as `check_links` does, and for what
    is no file; `OSError` where it cannot be opened.
    """
    (check_links if shared else check_place)(path)
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags |= os.O_CREAT
    file = _open(path, flags)
    if not shared and has_other_names(file):
        os.close(file)
        make_own(path)
        file = _open(path, flags)
    return file


def has_other_names(file: int) -> bool:
    """Whether what is written to an open file is in others too, by hard links."""
    return os.fstat(file).st_nlink > 1


def make_own(path: Path) -> None:
    """Replace a file by a copy of it that nothing else has by a hard link."""
    with open_to_read(path) as shared, writing_whole(path) as own:
        shutil.copyfileobj(shared, own, _COPIED_BYTES)


def _open(path: Path, flags: int) -> int:
    # Not to wait for the other end, of a pipe in the place of the file.
    file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        check_regular(path, os.fstat(file).st_mode)
    except BaseException:
        os.close(file)
        raise
    return file


def append(path: Path, content: bytes | memoryview, sync: bool = True) -> None:
    """Add bytes to the end of a file; they are on the disk, and read back, when this returns.

    Without `sync` they are there with what is next added with it. Raises `StorageError` where they cannot be
    written, or for a link; the file is then as long as it was.
    """
    try:
        file = open_in_place(path, os.O_RDWR | os.O_APPEND)
        try:
            before = os.fstat(file).st_size
            lot = lot_in_filling() if sync else None
            try:
                _append(file, memoryview(content), before, sync and lot is None)
            except OSError:
                os.truncate(file, before)
                raise
            if lot is not None:
                lot.add(path)
        finally:
            os.close(file)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def cut(path: Path, size: int) -> None:
    """Shorten a file that is longer than so many bytes; raises `StorageError` as `append` does."""
    try:
        if size_of(path) > size:
            file = open_in_place(path, create=False)
            try:
                os.truncate(file, size)
            finally:
                os.close(file)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def _append(file: int, content: memoryview, start: int, sync: bool) -> None:
    """Write at the end, which is at `start`, and read it back."""
    left = content
    while len(left):
        left = left[os.write(file, left) :]
    if sync:
        os.fsync(file)
    for first in range(0, len(content), CHECKED_BYTES):
        piece = content[first : first + CHECKED_BYTES]
        if os.pread(file, len(piece), start + first) != piece:
            raise OSError(errno.EIO, NOT_AS_WRITTEN)
