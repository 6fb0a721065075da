"""JSON files, and documents that carry a checksum of themselves."""

import json
import os
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from helixband.errors import StorageError
from helixband.files.reading import read_whole
from helixband.files.shapes import Shape, misfit
from helixband.files.writing import write_whole

_CHECKSUM = "checksum"


def write_document(path: Path, document: dict[str, Any], sync: bool = True) -> None:
    """Replace `path` by a JSON document that carries a checksum of itself, for `read_document`."""
    write_json(path, {**document, _CHECKSUM: _checksum(document)}, sync)


def read_document(path: Path, shape: Shape = dict, needed: Collection[str] = ()) -> dict[str, Any]:
    """What `write_document` stored; also a document without a checksum, of an earlier version.

    Raises `StorageError` where it cannot be read, is not as it was written, lacks one of the names that are
    `needed`, or has a value of another type than `shape` says.
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.pop(_CHECKSUM, None) not in (None, _checksum(document)):
        raise StorageError(f"{path} is not as it was written; put back a copy of it, or delete it")
    return _checked(path, document, shape, needed)


def _checked(path: Path, document: dict[str, Any], shape: Shape, needed: Collection[str]) -> dict[str, Any]:
    missing = [f'"{name}" is missing' for name in needed if name not in document]
    if told := missing or list(filter(None, [misfit(document, shape)])):
        raise StorageError(f"{path} is not as it was written: {told[0]}; put back a copy of it, or delete it")
    return document


def _checksum(document: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(document).encode())


def write_json(path: str | os.PathLike[str], document: Any, sync: bool = True) -> None:
    """Replace `path` by a JSON document, indented, with a final newline."""
    write_whole(path, json.dumps(document, indent=2, allow_nan=False) + "\n", sync)


def read_json(path: str | os.PathLike[str]) -> Any:
    """The document in a JSON file; raises `StorageError` where it cannot be read."""
    try:
        return json.loads(read_whole(path).decode())
    except (ValueError, RecursionError) as error:
        raise StorageError(
            f"{path} is not JSON ({error}); correct it, or delete it to continue without it"
        ) from error


def read_object(path: str | os.PathLike[str], shape: Shape = dict) -> dict[str, Any]:
    """The JSON object in a file; raises `StorageError` where it cannot be read, or holds something else."""
    document = read_json(path)
    if not isinstance(document, dict):
        raise StorageError(f"{path} holds no JSON object; put back a copy of it, or delete it")
    return _checked(Path(path), document, shape, ())
