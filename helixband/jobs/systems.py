"""The seam to a machine: four calls, made for few round trips; and this machine.

Another machine is a class with these four methods and a name; docs/jobs.md has one of twenty lines.
"""

import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from helixband.errors import StorageError
from helixband.jobs import machine


@dataclass(frozen=True)
class Done:
    """What a program came to."""

    code: int
    out: str
    err: str


class Os(Protocol):
    """A machine that has files and runs programs. Relative paths are from one folder there, always the same.

    Each raises `StorageError` naming the path where a file cannot be read or written.
    """

    name: str
    """What it is called in messages, and its section in jobs.toml."""
    is_here: bool
    """Whether its paths are paths of this machine."""

    def run(self, argv: Sequence[str], stdin: bytes = b"") -> Done:
        """Run a program to its end. No shell reads the words. Code 127 where there is no such program."""
        ...

    def read(self, paths: Iterable[str], tail: int | None = None) -> dict[str, tuple[float, bytes]]:
        """path -> (time of its last change in s, content, or the last `tail` bytes), of those there are."""
        ...

    def write(self, files: Mapping[str, bytes], exclusive: bool = False) -> list[str]:
        """Write files and their folders, each whole or not at all.

        An `exclusive` write replaces nothing: the paths that were there before, with other bytes, are given.
        """
        ...

    def copy(self, folder: str, target: Path) -> None:
        """Copy a folder of the machine to one here, over what has the same names there."""
        ...


class LocalOs:
    """This machine. Relative paths are from the working directory."""

    name = "here"
    is_here = True

    def run(self, argv: Sequence[str], stdin: bytes = b"") -> Done:
        return decoded(machine.run(list(argv), stdin))

    def read(self, paths: Iterable[str], tail: int | None = None) -> dict[str, tuple[float, bytes]]:
        try:
            return {path: (changed, content) for path, changed, content in machine.read(paths, tail)}
        except OSError as error:
            raise StorageError(f"cannot read {error.filename}: {error.strerror}") from error

    def write(self, files: Mapping[str, bytes], exclusive: bool = False) -> list[str]:
        try:
            return list(machine.write(files.items(), exclusive))
        except OSError as error:
            raise StorageError(f"cannot write {error.filename}: {error.strerror}") from error

    def copy(self, folder: str, target: Path) -> None:
        with tempfile.TemporaryFile() as packed:
            try:
                machine.pack(folder, packed)
            except OSError as error:
                raise StorageError(f"cannot read {error.filename}: {error.strerror}") from error
            unpack(packed, target)


def make_folder(path: Path) -> None:
    """Make a folder here, with those above it; raises `StorageError` where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {path}: {error.strerror}") from error


def unpack(packed: BinaryIO, target: Path) -> None:
    """Write what `machine.pack` packed below a folder, over what has the same names there."""
    packed.seek(0)
    try:
        with tarfile.open(fileobj=packed, mode="r:") as tar:
            tar.extractall(target, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise StorageError(f"cannot write to {target}: {error}") from error


def decoded(done: tuple[int, bytes, bytes]) -> Done:
    """What a program came to, its words as text."""
    code, out, err = done
    return Done(code, out.decode(errors="replace"), err.decode(errors="replace").strip())
