"""Places where this process may write: through no link of somebody else, and not in a folder it has lost.

Each way to write, replace or remove something that `helixband.files` has asks `check_place` first.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from helixband.errors import StorageError

_closed_to_links: set[str] = set()
"""The absolute paths of folders of `refuse_links_in`, each with a separator at its end."""

_guarded: list[tuple[str, Callable[[], None]]] = []
"""The folders of `guarding`, by paths as above, with their checks."""


def refuse_links_in(folder: Path) -> None:
    """Have this process write, replace and remove nothing through a symbolic link in a folder.

    The folder itself may be reached by one.
    """
    _closed_to_links.add(os.path.join(folder.absolute(), ""))


@contextlib.contextmanager
def guarding(folder: Path, check: Callable[[], None]) -> Iterator[None]:
    """In the body, have `check` called before this process writes, replaces or removes anything in a folder.

    It raises where that is not to be.
    """
    guard = os.path.join(folder.absolute(), ""), check
    _guarded.append(guard)
    try:
        yield
    finally:
        _guarded.remove(guard)


def check_place(path: str | os.PathLike[str]) -> None:
    """Raise where nothing is to be written to a path.

    `StorageError` as `check_links` does, and what the check of a folder of `guarding` raises.
    """
    place = _absolute(path)
    for folder, check in _guarded:
        if place.startswith(folder):
            check()
    _check_links(place)


def check_links(path: str | os.PathLike[str]) -> None:
    """Raise `StorageError` where a path leads through, or to, a link in a folder of `refuse_links_in`."""
    _check_links(_absolute(path))


def _absolute(path: str | os.PathLike[str]) -> str:
    """A path from the root on, as text, for this is done twice for each file that is written."""
    is_whole = isinstance(path, Path) and path.is_absolute()
    return str(path if is_whole else Path(path).absolute())


def _check_links(place: str) -> None:
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
    check_place(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {path}: {error.strerror or error}") from error


def remove_file(path: Path) -> None:
    """Remove a file, if it is there; raises `StorageError` where that cannot be, or for a link."""
    check_place(path)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error.strerror}; remove it by hand") from error


def remove_folder(path: Path) -> None:
    """Remove a folder, if it is there, and all in it; raises `StorageError` as `remove_file` does."""
    check_place(path)
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error.strerror or error}; remove it by hand") from error


def set_aside(path: Path) -> None:
    """Rename what is at a path to the first of `<name>.copy`, `<name>.copy2`, … that is free.

    Raises `StorageError` where that cannot be.
    """
    number, copy = 1, path.with_name(f"{path.name}.copy")
    while os.path.lexists(copy):
        number += 1
        copy = path.with_name(f"{path.name}.copy{number}")
    check_place(path)
    try:
        os.rename(path, copy)
    except OSError as error:
        raise StorageError(f"cannot rename {path} to {copy}: {error.strerror or error}") from error


def replace_by_link(path: Path, target: str) -> None:
    """Have a path be a symbolic link, in one step where a file or a link is there.

    Raises `StorageError` where that cannot be.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    check_place(temporary)  # a link that is replaced is not followed
    try:
        for left_over in path.parent.glob(f".{path.name}.*tmp"):  # by a process that was killed
            if left_over.is_symlink():
                left_over.unlink()
        temporary.symlink_to(target)
        try:
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink()
            raise
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
