"""Writing files so that a reader finds the whole of the new one or the whole of the old one."""

import contextlib
import errno
import fcntl
import io
import os
import secrets
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path

from helixband.errors import StorageError
from helixband.files.links import check_place

CHECKED_BYTES = 1 << 24
"""A checksum is of a block of so many bytes; the last block of a file is shorter."""

SYNCED_TOGETHER = 16
"""So many files of a lot are synced at the same time."""

SMALL_FOLDER = 1000
"""A folder of no more files is looked through for what killed processes left, at each file written to it."""

QUICK_SYNC = 5e-4
"""A disk that syncs a file in fewer seconds is quick: starting a thread takes as long."""

_is_quick = False  # the disk, when a file was synced last
_unseen: dict[str, int] = {}  # how many files may be written to a folder before it is looked through again
NOT_AS_WRITTEN = "what is read back is not what was written; the disk may be faulty"


class Checksums:
    """CRC-32 of each block of `CHECKED_BYTES` of what is added, one piece after another."""

    def __init__(self) -> None:
        self.size = 0
        self._full: list[int] = []
        self._last = 0

    def add(self, content: bytes | memoryview) -> None:
        """Take the next bytes."""
        left = memoryview(content).cast("B")
        while len(left):
            piece = left[: CHECKED_BYTES - self.size % CHECKED_BYTES]
            self._last = zlib.crc32(piece, self._last)
            self.size += len(piece)
            if self.size % CHECKED_BYTES == 0:
                self._full.append(self._last)
                self._last = 0
            left = left[len(piece) :]

    def blocks(self) -> list[int]:
        """Those of the blocks so far; the last block may be begun."""
        return [*self._full, self._last] if self.size % CHECKED_BYTES else list(self._full)

    def check(self, file: io.BufferedRandom) -> None:
        """Read a whole file; raises `OSError` where it is not what was added."""
        found = Checksums()
        while block := os.pread(file.fileno(), CHECKED_BYTES, found.size):
            found.add(block)
        if (found.size, found.blocks()) != (self.size, self.blocks()):
            raise OSError(errno.EIO, NOT_AS_WRITTEN)


class NewFile:
    """A file that is written from its beginning to its end."""

    def __init__(self, file: io.BufferedRandom, written: Checksums) -> None:
        self._file = file
        self.written = written
        """The bytes that were written, and checksums of them."""

    def write(self, content: bytes | memoryview) -> int:
        """Add bytes, of a C-contiguous buffer; how many these are."""
        count = self._file.write(content)
        self.written.add(content)
        return count

    def read(self, start: int, size: int) -> bytes:
        """What was written at [start, start + size)."""
        self.flush()
        return os.pread(self.fileno(), size, start)

    def flush(self) -> None:
        """Hand what was written to the system."""
        self._file.flush()

    def fileno(self) -> int:
        """The descriptor."""
        return self._file.fileno()


class Lot:
    """Files that are synced to the disk at the same time, which takes hardly longer than syncing one.

    What is written while the lot is `filling` is read back and is in its place at once, but is synced with
    the lot: a kill leaves it whole, and a crash of the machine may not.
    """

    def __init__(self) -> None:
        self._paths: dict[Path, None] = {}

    @contextlib.contextmanager
    def filling(self) -> Iterator[None]:
        """Take what this thread writes in the body."""
        token = _filling.set(self)
        try:
            yield
        finally:
            _filling.reset(token)

    def add(self, path: Path) -> None:
        """A file that is to be synced, if it is there by then."""
        self._paths[path] = None

    def sync(self) -> None:
        """Sync all files and forget them; raises `StorageError` naming one that cannot be synced."""
        with ThreadPoolExecutor(SYNCED_TOGETHER) as pool:
            list(pool.map(_sync, self._paths))
        self._paths = {}


_filling: ContextVar[Lot | None] = ContextVar("filling", default=None)


def lot_in_filling() -> Lot | None:
    """The lot that takes what this thread writes, if one does."""
    return _filling.get()


def _sync(path: Path) -> None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike[str],
    check: Callable[[io.BufferedRandom], None],
    sync: bool = True,
    ending: str = ".tmp",
) -> Iterator[io.BufferedRandom]:
    """A new file, whose name has the `ending`, that becomes `path` in one step, synced to the disk.

    `check` is called before that step; it raises `OSError` where the file does not hold what was to be in it.
    Raises as `writing_whole` does.
    """
    path = Path(path)
    check_place(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_left_over(path, ending)
        with _new_file(path, ending) as file:
            temporary = file.name
            yield file
            file.flush()
            lot = lot_in_filling() if sync else None
            if sync and lot is None:
                os.fsync(file.fileno())
            check(file)
        check_place(path)  # which may have become another's, or a link, while it was written
        os.replace(temporary, path)
        temporary = None
        if lot is not None:
            lot.add(path)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; what was there before is unchanged"
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


@contextlib.contextmanager
def writing_whole(path: str | os.PathLike[str], sync: bool = True) -> Iterator[NewFile]:
    """A file to write that is read back, and becomes `path` in one step, synced to the disk.

    So a crash leaves the old or the new one. Without `sync` that holds for a kill; when the machine itself
    crashes, a new file may be left empty.

    Raises `StorageError` where it cannot be written, where what is read back is not what was written, and
    where a link leads there in a folder of `refuse_links_in`; the old file is then still there, as it is
    where the body raises.
    """
    written = Checksums()
    with replacing(path, written.check, sync) as file:
        yield NewFile(file, written)


def write_whole(path: str | os.PathLike[str], content: str | bytes | memoryview, sync: bool = True) -> None:
    """Replace `path` by `content` in one step, as `writing_whole` does."""
    with writing_whole(path, sync) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_together(contents: Mapping[Path, bytes | memoryview]) -> None:
    """Replace several files one after another, in that order, each in one step as `writing_whole` does.

    They are synced at the same time, which takes hardly longer than syncing one of them. Where starting a
    thread takes longer than that, they are synced one after another.
    """
    with contextlib.ExitStack() as stack:
        # Begun with the last, for what is begun last is ended first.
        files = [stack.enter_context(writing_whole(path, sync=False)) for path in reversed(list(contents))]
        for file, content in zip(files, reversed(list(contents.values())), strict=True):
            file.write(content)
            file.flush()
        _sync_all([file.fileno() for file in files])


def _sync_all(files: list[int]) -> None:
    """Sync open files: one here and the others in threads, or all here while the disk is quick."""
    global _is_quick
    first, *others = files
    with ThreadPoolExecutor(max(1, len(others))) as pool:
        waited_for = [] if _is_quick else [pool.submit(os.fsync, file) for file in others]
        began = time.perf_counter()
        os.fsync(first)
        _is_quick = time.perf_counter() - began < QUICK_SYNC
        for each in waited_for:
            each.result()
    if not waited_for:
        for file in others:
            os.fsync(file)


def _new_file(path: Path, ending: str) -> io.BufferedRandom:
    """A file beside `path`, under a name that nobody can guess, locked for as long as it is open."""
    while True:
        name = f"{_head(path)}{secrets.token_hex(8)}{ending}"
        file = open(path.with_name(name), "x+b")  # which follows no link
        with contextlib.suppress(OSError):  # without locks, what a killed process leaves is left for good
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # another took it for left over before it was locked


def remove_left_over(path: Path, ending: str = ".tmp") -> None:
    """Remove the new files for `path` of processes that were killed: those that nobody has locked.

    A folder of very many files is not looked through for each one that is written to it.
    """
    folder = str(path.parent)
    if (unseen := _unseen.pop(folder, 0)) > 0:
        _unseen[folder] = unseen - 1
        return
    with os.scandir(folder) as entries:
        found = list(entries)
    _unseen[folder] = len(found) // 10 if len(found) > SMALL_FOLDER else 0
    head = _head(path)
    for name in [entry.path for entry in found if entry.name.startswith(head)]:
        if not name.endswith(ending):
            continue
        with contextlib.suppress(OSError):
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name)
            finally:
                os.close(file)


def _head(path: Path) -> str:
    return f".{path.name[:40]}."  # not all of it: the whole name has a limit
