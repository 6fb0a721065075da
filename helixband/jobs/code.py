"""The code of a job: the folder of its definition, packed as it is now.

That is what git tracks there, as it is on the disk, with Python files that git does not know yet; without
git, the Python files. What jobs and runs have written is no code: a result directory has a copy of the
definition. Equal files give an equal digest and an equal archive.
"""

import gzip
import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from helixband.errors import StorageError, UsageError

WRITTEN = ("job.json", "run.json")
"""What the folder of a job, or of the results of a run, has."""

LARGEST = 200 << 20
"""Bytes of code, before they are packed."""


@dataclass(frozen=True)
class Code:
    """`archive`: a gzipped tar; `digest`: SHA-256 of its names and contents; `commit`: of git, or None;
    `changed`: whether files differ from that commit; `files`: relative paths."""

    archive: bytes
    digest: str
    commit: str | None
    changed: bool
    files: tuple[str, ...]

    def facts(self) -> dict[str, str | bool | None]:
        """What job.json has of it."""
        return {"digest": self.digest, "commit": self.commit, "changed": self.changed}


def pack_code(definition: Path, also: Collection[str] = (), folder: Path | None = None) -> Code:
    """The code in a folder, by default the definition's, and files `also` that are named relative to it.

    Raises `UsageError` where there is no definition or the code is too large, `StorageError` for a file that
    cannot be read.
    """
    if not definition.is_file():
        raise UsageError(f"--model {definition}: there is no such file")
    folder = folder or definition.parent
    if missing := next((name for name in also if not (folder / name).is_file()), None):
        raise UsageError(f"{folder / missing}: there is no such file, and a job is to have it with its code")
    commit = _git(folder, "rev-parse", "HEAD")
    listed = _git(folder, "ls-files", "-z", "--recurse-submodules")
    if listed is not None:
        others = _git(folder, "ls-files", "-z", "--others", "--exclude-standard", "--", "*.py") or ""
        new = _without_written(folder, others.split("\0"))
        names = {name for name in [*listed.split("\0"), *new] if name}
    else:
        new = []
        names = set(_python_files(folder))
    names |= {os.path.relpath(definition, folder), *also}
    contents = _read(folder, sorted(names))
    digest = hashlib.sha256()
    for name, (executable, content) in contents.items():
        fields = [name.encode(errors="surrogateescape"), b"x" if executable else b"-", content]
        for field in fields:
            digest.update(f"{len(field)}\n".encode() + field)
    tracked = "status", "--porcelain", "--untracked-files=no", "--", "."
    changed = commit is not None and bool(new or _git(folder, *tracked))
    commit = commit.strip() if commit else None
    return Code(_packed(contents), digest.hexdigest(), commit, changed, tuple(contents))


def _python_files(folder: Path) -> list[str]:
    """The Python files below a folder: of hidden folders, virtual environments and results none."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and not any(Path(place, name, mark).exists() for mark in ("pyvenv.cfg", *WRITTEN))
        ]
        found += [
            os.path.relpath(os.path.join(place, name), folder) for name in files if name.endswith(".py")
        ]
    return found


def _without_written(folder: Path, names: Collection[str]) -> list[str]:
    """The files that lie in no folder of a job or of results."""
    parents = {parent for name in names for parent in Path(name).parents if parent != Path()}
    written = {parent for parent in parents if any((folder / parent / mark).exists() for mark in WRITTEN)}
    return [name for name in names if name and written.isdisjoint(Path(name).parents)]


def _read(folder: Path, names: list[str]) -> dict[str, tuple[bool, bytes]]:
    """name -> (whether it is executable, content), in order; those that git knows and are gone left out."""
    contents, total = {}, 0
    for name in names:
        path = folder / name
        if not path.is_file():
            continue
        try:
            total += path.stat().st_size
            if total > LARGEST:
                raise UsageError(
                    f"the files in {folder} have more than {LARGEST >> 20} MB (up to {name}), and each job "
                    "gets its code packed: keep data elsewhere, or untracked by git"
                )
            contents[name] = (os.access(path, os.X_OK), path.read_bytes())
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error
    return contents


def _packed(contents: dict[str, tuple[bool, bytes]]) -> bytes:
    """A gzipped tar without times and owners, so that equal files give equal bytes."""
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, (executable, content) in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if executable else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(tar_bytes.getvalue(), mtime=0)


def _git(folder: Path, *argv: str) -> str | None:
    """What git prints, or None where there is no git or no repository."""
    try:
        command = ["git", "-C", str(folder), *argv]
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return os.fsdecode(done.stdout) if done.returncode == 0 else None
