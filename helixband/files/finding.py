"""Finding files by name or pattern, and telling a changed one from the same one."""

import glob
import os
import re

from helixband.errors import DataError


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
