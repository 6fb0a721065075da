"""Links in a folder that somebody else may have filled: nothing is written or removed through them."""

import os
import shutil
import stat
from pathlib import Path

from helixband.errors import StorageError

_closed_to_links: set[str] = set()
"""The absolute paths of folders of `refuse_links_in`, each with a separator at its end."""


def refuse_links_in(folder: Path) -> None:
    """Have this process write, replace and remove nothing through a symbolic link in a folder.

    The folder itself may be reached by one.
    """
    _closed_to_links.add(os.path.join(folder.absolute(), ""))


def check_links(path: str | os.PathLike[str]) -> None:
    """Raise `StorageError` where a path leads through, or to, a link in a folder of `refuse_links_in`."""
    place = str(Path(path).absolute())  # as text from here on, as this is done for each file that is written
    around = [folder for folder in _closed_to_links if place.startswith(folder)]
    if not around:
        return
    folder = min(around, key=len)
    parts, place = place.removeprefix(folder).split(os.sep), folder
    for part in parts:
        place = os.path.join(place, part)
        if part == os.pardir or os.path.islink(place):
            led = f"to {os.readlink(place)}" if os.path.islink(place) else "out of it"
            raise StorageError(
                f"cannot write to the result directory {folder[:-1]}: {place} leads {led}, and no link in "
                "it is followed; remove the link, or choose another directory with --result"
            )


def make_folder(path: Path) -> None:
    """Make a folder and those above it; raises `StorageError` where that cannot be, or for a link."""
    check_links(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {path}: {error.strerror or error}") from error


def remove_file(path: Path) -> None:
    """Remove a file, if it is there; raises `StorageError` where that cannot be, or for a link."""
    check_links(path)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error.strerror}; remove it by hand") from error


def remove_folder(path: Path) -> None:
    """Remove a folder, if it is there, and all in it; raises `StorageError` as `remove_file` does."""
    check_links(path)
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error.strerror or error}; remove it by hand") from error


def open_in_place(path: Path, flags: int = os.O_RDWR, create: bool = True) -> int:
    """The descriptor of a file that is changed where it is.

    With `create` it is made, with its folder, where it is missing.

    Raises `StorageError` for a link and for what is no file, `OSError` where it cannot be opened.
    """
    check_links(path)
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags |= os.O_CREAT
    # Not to wait for the other end, of a pipe in the place of the file.
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageError(f"{path} is no file; remove it")
    return descriptor
