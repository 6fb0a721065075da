"""Digests of the files of a result directory that run.json records, and what is damaged told by them."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from helixband.errors import StorageError
from helixband.files import open_to_read


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's content; raises `StorageError` where it cannot be read."""
    try:
        with open_to_read(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error


def content_digest(path: str | os.PathLike[str]) -> str:
    """A digest of what a file has, or of the names and contents of the files in a folder.

    Where it is and when it was written are no part of it. Raises `StorageError` where it cannot be read.
    """
    if not os.path.isdir(path):
        return file_digest(Path(path))
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            file = Path(folder, name)
            digest.update(f"{file.relative_to(path)}\0{file_digest(file)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def is_same_content(one: str | os.PathLike[str], two: str | os.PathLike[str]) -> bool:
    """Whether two paths lead to the same file, or to the same content."""
    return os.path.samefile(one, two) or content_digest(one) == content_digest(two)


def check_digests(files: Iterable[Path], recorded: Mapping[str, str]) -> None:
    """Raise `StorageError` for a file whose digest is another than the one recorded by its name.

    One of which none is recorded, of an earlier version, is taken as it is.
    """
    for file in files:
        if file.name in recorded and file_digest(file) != recorded[file.name]:
            raise StorageError(f"{file} is not as it was written; delete it, and it is made again")
