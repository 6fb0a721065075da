"""A bundle: the files of a folder, which are in it whole, and its document, which has their digests.

BUNDLE/
  bundle.json           format, versions, digests of the files, configuration, settings, environment, how
                        inputs are read, scores
  README.md             the card
  weights.safetensors   the tensors of the best state;  state.json  all else of it
  code-<digest>/        the definition and the modules of its folder; of other code, another folder
  model.onnx            the graph, where there is one
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from helixband.errors import StorageError, UsageError
from helixband.files import Shape, exists, read_document, read_json, write_document
from helixband.results.digests import file_digest

FORMAT = 1

DOCUMENT = "bundle.json"
WEIGHTS, STATE, GRAPH, CARD, CALIBRATION = (
    "weights.safetensors",
    "state.json",
    "model.onnx",
    "README.md",
    "calibration.json",
)

SHAPE: Shape = {
    "format": int,
    "helixband": str,
    "versions": {...: str},
    "files": {...: str},
    "definition": str,
    "classes": [str],
    "trial": str,
    "config": dict,
    "plan": dict,
    "settings": dict,
    "environment": {...: str},
    "os_environ": {...: (str, None)},
    "form": (dict, None),
    "example": (list, None),
    "graph": (dict, None),
    "windowed": bool,
}


class Bundle:
    """A bundle that is there, as it was made.

    Raises `UsageError` where there is none, and `StorageError` for one that a newer version made, or in which
    a file was altered, is missing, or was added to its code.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not is_bundle(path):
            raise UsageError(f"{path} is no bundle: it has no {DOCUMENT}")
        self.document = _read(path / DOCUMENT)
        self._check()

    @property
    def definition(self) -> Path:
        """Its def.py."""
        return self.path / str(self.document["definition"])

    def _check(self) -> None:
        files = self.document["files"]
        for name, digest in files.items():
            file = self.path / name
            if os.path.isabs(name) or os.pardir in Path(name).parts:
                raise StorageError(f"{self.path / DOCUMENT} names {name}, which is not in the bundle")
            if not exists(file):
                raise StorageError(f"{file} is missing; take a whole copy of the bundle")
            if file_digest(file) != digest:
                raise StorageError(f"{file} was altered after the bundle was made; take a copy as it was")
        for file in sorted(self.definition.parent.rglob("*")):
            name = str(file.relative_to(self.path))
            if file.is_file() and "__pycache__" not in file.parts and name not in files:
                raise StorageError(f"{file} was added after the bundle was made; remove it")


def is_bundle(path: Path) -> bool:
    """Whether a folder is a bundle."""
    return exists(path / DOCUMENT)


def check_place(path: Path) -> None:
    """Raise `UsageError` where a bundle cannot be put: over what is no bundle."""
    if path.is_symlink() or (os.path.lexists(path) and not path.is_dir()):
        raise UsageError(f"{path} is there, and is no bundle; give another place for the bundle")
    if path.is_dir() and any(path.iterdir()) and not is_bundle(path):
        raise UsageError(f"{path} is a folder with other things, and no bundle; give another place")


def write(path: Path, document: dict[str, Any], fill: Callable[[Path], None]) -> None:
    """Make a bundle, whole or not at all, in the place of an earlier one.

    `fill` writes its files into a folder. Raises as `check_place`, and `StorageError` where it cannot be
    written.
    """
    check_place(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        fill(made)
        files = {str(file.relative_to(made)): file_digest(file) for file in _files(made)}
        write_document(made / DOCUMENT, {"format": FORMAT, **document, "files": files})
        made.chmod(0o755)
        _put(made, path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def code_folder(sources: Mapping[str, bytes]) -> str:
    """The name of the folder of some code.

    It differs for other code: in one process, a module is known by the path of its definition.
    """
    digest = hashlib.sha256()
    for name, source in sorted(sources.items()):
        digest.update(f"{name}\0{hashlib.sha256(source).hexdigest()}\n".encode())
    return f"code-{digest.hexdigest()[:12]}"


def _put(made: Path, path: Path) -> None:
    """Have what was made be at the path, or what was there before."""
    if not os.path.lexists(path) or not any(path.iterdir()):
        os.replace(made, path)
        return
    before = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    os.replace(path, before)
    try:
        os.replace(made, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.replace(before, path)
        raise
    shutil.rmtree(before, ignore_errors=True)


def _files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.rglob("*")) if file.is_file()]


def _read(path: Path) -> dict[str, Any]:
    found = read_json(path)
    newest = found.get("format") if isinstance(found, dict) else None
    if isinstance(newest, int) and newest > FORMAT:
        raise StorageError(
            f"{path} has format {newest}, of Helixband {found.get('helixband')}; this version reads up to "
            f"{FORMAT}: use the version that made the bundle, or a newer one"
        )
    try:
        return read_document(path, SHAPE, SHAPE.keys())
    except StorageError as error:
        raise StorageError(f"{path} was altered after the bundle was made: {error}") from error
