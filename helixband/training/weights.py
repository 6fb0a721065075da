"""Weights from a file of whatever training: read without running code, unless the file is trusted."""

import hashlib
import io
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from helixband.errors import StorageError, UsageError, first_line
from helixband.files import open_to_read
from helixband.results import checkpoints

ENTRIES = ("state_dict", "model_state_dict", "model", "network")
"""Under which of these names a file of a training has the weights; the first that is there."""

_CODE = re.compile(r"Unsupported (?:global|class)|GLOBAL|Trying to|TorchScript")
"""What torch says of a file that only code can read."""


class Weights(NamedTuple):
    """The tensors of a file by name, on the CPU; what kind of file it is, in words, and its SHA-256.

    `checkpoint` is all that the file has, if it is a checkpoint of Helixband, and else empty;
    `hyperparameters` are those that a checkpoint of Lightning has of its module.
    """

    kind: str
    tensors: dict[str, Tensor]
    sha256: str
    checkpoint: Mapping[str, Any] = {}
    hyperparameters: Mapping[str, Any] = {}


def read_weights(path: str, where: str, trusted: bool = False) -> Weights:
    """The weights in a checkpoint of ours or of Lightning, a state_dict, or a file of safetensors.

    Of a trusted file, code is run where it is needed to read it. Raises `UsageError`, with `where` for the
    file, where there is none, for a directory, and for what holds no weights or cannot be read.
    """
    if os.path.isdir(path):
        raise UsageError(f"{where} is a directory; give a file{_file_in(Path(path))}")
    try:
        with open_to_read(path) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if path.endswith(".safetensors") or _begins_as_safetensors(file):
                return Weights("safetensors", _of_safetensors(file, where), sha256)
            content = _content(file, where, trusted)
            kind, tensors = _weights_in(content, where)
            checkpoint = content if _is_of_helixband(content) else {}
            return Weights(kind, tensors, sha256, checkpoint, _hyperparameters_in(content))
    except FileNotFoundError:
        raise UsageError(f"{where} does not exist") from None
    except OSError as error:
        raise UsageError(f"{where}: {error.strerror or error}") from error
    except StorageError as error:
        raise UsageError(f"{where}: {error}") from error


def _file_in(folder: Path) -> str:
    """What may be meant by a folder, in words; "" where nothing is there."""
    for name in ("best_config/checkpoints/best.pt", "checkpoints/best.pt", "best.pt"):
        if (folder / name).is_file():
            return f", such as {folder / name}"
    return ""


def _content(file: io.BufferedReader, where: str, trusted: bool) -> Any:
    """What torch reads from a file."""
    try:
        file.seek(0)
        if file.read(4) == b"PK\3\4":
            checkpoints.check(file)
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = first_line(error) or type(error).__name__
        if not (isinstance(error, pickle.UnpicklingError | RuntimeError) and _CODE.search(str(error))):
            if isinstance(error, pickle.UnpicklingError):  # its first line tells how to run code all the same
                reason = "it is no file of torch"
            raise UsageError(
                f"{where} is damaged or no checkpoint ({reason}); it has to be a checkpoint of Helixband or "
                "Lightning, a state_dict that torch.save wrote, or a file of safetensors"
            ) from error
        if not trusted:
            raise UsageError(_untrusted(where, str(error))) from error
    try:
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=False)
    except Exception as error:  # whatever its code raises
        raise UsageError(f"{where} cannot be read: {type(error).__name__}: {error}") from error


def _untrusted(where: str, reason: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", reason)
    what = found[1] if found else "more than tensors, numbers, strings and containers of them"
    return (
        f"{where} holds {what}, which can only be read by running code that the file names. If you trust "
        "whoever made it, add --trust-checkpoint; or save its state_dict alone, with "
        "torch.save(model.state_dict(), FILE)"
    )


def _weights_in(content: Any, where: str) -> tuple[str, dict[str, Tensor]]:
    """The kind of what torch has read, and the tensors of its network."""
    if isinstance(content, nn.Module):
        return "a module", _tensors(content)
    if not isinstance(content, Mapping):
        raise UsageError(f"{where} holds a {type(content).__name__}; it has to hold weights by their names")
    if _is_of_helixband(content):
        checkpoints.check_format(content, "it")
        return "a checkpoint of Helixband", _tensors(content["network"])
    entries = [key for key in ENTRIES if _tensors(content.get(key))]
    if entries:
        of_lightning = "pytorch-lightning_version" in content and entries[0] == "state_dict"
        kind = "a checkpoint of Lightning" if of_lightning else f"a checkpoint with the entry {entries[0]}"
        return kind, _tensors(content[entries[0]])
    if tensors := _tensors(content):
        return "a state_dict", tensors
    several = [str(key) for key, value in content.items() if _tensors(value)]
    if len(several) == 1:
        return f"a checkpoint with the entry {several[0]}", _tensors(content[several[0]])
    has = ", ".join(map(str, content)) or "nothing"
    raise UsageError(
        f"{where} has no weights under a name that is known ({', '.join(ENTRIES)}); it has {has}. Save the "
        "state_dict alone, with torch.save(model.state_dict(), FILE)"
    )


def _is_of_helixband(content: Any) -> bool:
    has_both = isinstance(content, Mapping) and {"format", "network"} <= content.keys()
    return has_both and isinstance(content["format"], int) and isinstance(content["network"], Mapping)


def _hyperparameters_in(content: Any) -> Mapping[str, Any]:
    found = content.get("hyper_parameters") if isinstance(content, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _tensors(found: Any) -> dict[str, Tensor]:
    """The tensors by name in a mapping, or of a module; {} of anything else."""
    if isinstance(found, nn.Module):
        found = found.state_dict()
    if not isinstance(found, Mapping):
        return {}
    return {
        name: value.detach()
        for name, value in found.items()
        if isinstance(name, str) and isinstance(value, Tensor) and not value.is_meta
    }


def _begins_as_safetensors(file: io.BufferedReader) -> bool:
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    return file.read(1) == b"{" and 8 + length <= os.fstat(file.fileno()).st_size


def _of_safetensors(file: io.BufferedReader, where: str) -> dict[str, Tensor]:
    file.seek(0)
    try:
        tensors: dict[str, Tensor] = load(file.read())
    except (SafetensorError, KeyError) as error:  # KeyError: of a type that torch does not have
        raise UsageError(f"{where} is a damaged file of safetensors, or none: {error}") from error
    if not tensors:
        raise UsageError(f"{where} holds no tensor")
    return tensors
