"""Checkpoints: written whole or not at all, read without running code, known by their format number.

A checkpoint is a dict of tensors, numbers, strings and containers of them, in torch's file format, which is a
zip archive. The archive's comment is a SHA-256 of all bytes before it.
"""

import hashlib
import io
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from helixband.errors import StorageError
from helixband.files import open_to_read, write_together

FORMAT = 1

_MARK = b"sha256:"
_COMMENT_BYTES = len(_MARK) + 64
_BLOCK_BYTES = 1 << 20
_END_BYTES = 22  # of the last record of an archive without a comment
_FOLDER = 0x10  # of MS-DOS: torch takes what is marked so for empty, and gives memory as it is


def save(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write `content`; whatever goes wrong, an older checkpoint at `path` stays as it was.

    Raises `StorageError` where the disk is full, the place is not writable, or something cannot be stored.
    """
    save_together({Path(path): content})


def save_together(contents: Mapping[Path, dict[str, Any]]) -> None:
    """Write several checkpoints one after another, in that order, each as `save` does."""
    write_together({path: _packed(path, content) for path, content in contents.items()})


def load(path: str | os.PathLike[str], trial: str | None = None) -> dict[str, Any]:
    """The content of a checkpoint, its tensors on the CPU.

    Raises `StorageError` where it is missing, damaged, no checkpoint, from a newer Helixband, or written for
    another trial than the one of that id. One of an earlier version does not say for which.
    """
    try:
        with open_to_read(path) as file:
            check(file)
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise StorageError(
            f"{path} is damaged or no checkpoint ({_reason(error)}); put back a copy of it, or, "
            "where it is of a trial, delete the trial's folder checkpoints/ to train it anew"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise StorageError(f"{path} is a torch file, but no Helixband checkpoint")
    check_format(content, path)
    if trial is not None and content.get("trial", trial) != trial:
        raise StorageError(f"{path} is of trial {content['trial']}; put back the one of trial {trial}")
    return content


def check_format(content: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Raise `StorageError` where the content of a checkpoint is of a newer format than this version reads."""
    if content["format"] > FORMAT:
        raise StorageError(
            f"{path} has format {content['format']}; this version reads up to {FORMAT}: "
            "use the version that wrote it, or a newer one"
        )


def check(file: io.BufferedReader) -> None:
    """Raise `BadZipFile` where the bytes are not as they were written; torch does not look at that."""
    left = max(0, file.seek(0, os.SEEK_END) - _COMMENT_BYTES)
    file.seek(left)
    comment = file.read()
    if comment.startswith(_MARK):
        file.seek(0)
        digest = hashlib.sha256()
        while left and (block := file.read(min(left, _BLOCK_BYTES))):
            digest.update(block)
            left -= len(block)
        if comment != _MARK + digest.hexdigest().encode():
            raise zipfile.BadZipFile("it is not as it was written")
        return
    # Of an earlier version, which wrote no comment: checksums of the parts are all there is.
    if not (comment[-_END_BYTES:].startswith(b"PK\5\6") and comment.endswith(b"\0\0")):  # of no comment
        raise zipfile.BadZipFile("its end is not as it was written")
    with zipfile.ZipFile(file) as archive:
        part = archive.testzip()
        folders = [info.filename for info in archive.infolist() if info.external_attr & _FOLDER]
        if part or folders:
            raise zipfile.BadZipFile(f"the part {part or folders[0]} is not as it was written")


def _packed(path: Path, content: dict[str, Any]) -> bytes:
    # In memory first: torch's own writer does not survive a failing disk with a usable error.
    buffer = io.BytesIO()
    try:
        torch.save({"format": FORMAT, **content}, buffer)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise StorageError(f"cannot write {path}: a state in it cannot be stored: {error}") from error
    # The comment of an archive is its end, and its length stands right before it.
    buffer.seek(-2, os.SEEK_END)
    buffer.write(_COMMENT_BYTES.to_bytes(2, "little"))
    # Not by getbuffer: where writing fails, Python 3.12.1 dies as it looks through what is left of that.
    buffer.write(_MARK + hashlib.sha256(buffer.getvalue()).hexdigest().encode())
    return buffer.getvalue()  # which is no copy as long as nothing is written


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):  # torch's text tells how to run the code all the same
        return "it holds more than tensors, numbers, strings and containers of them"
    return (str(error).splitlines() or [type(error).__name__])[0]
