"""The state of a trained model as two files: tensors in safetensors, and all else in JSON.

In the JSON, a number, text, truth value or null stands for itself; whatever else is an object with one key,
which says what it is.
"""

import math
from collections import OrderedDict
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from helixband.errors import StorageError


def split(state: Any) -> tuple[bytes, Any]:
    """(the tensors as a file of safetensors, the rest as JSON) of what a checkpoint has.

    Raises `StorageError` for what neither can hold.
    """
    tensors: dict[str, Tensor] = {}
    document = _written(state, "state", tensors, {})
    try:
        return save(tensors), document
    except (ValueError, KeyError) as error:  # a sparse tensor, or one of a type that the format does not have
        raise StorageError(f"the weights cannot be stored as safetensors: {error}") from error


def joined(tensors: dict[str, Tensor], document: Any) -> Any:
    """What `split` was given."""
    if not isinstance(document, dict):
        return document
    ((kind, content),) = document.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {joined(tensors, key): joined(tensors, value) for key, value in content}
    if kind == "ordered":
        return OrderedDict((joined(tensors, key), joined(tensors, value)) for key, value in content)
    if kind in ("float", "bytes"):
        return float(content) if kind == "float" else bytes.fromhex(content)
    parts = [joined(tensors, part) for part in content]
    return {"list": list, "tuple": tuple, "set": set}[kind](parts)


def _written(value: Any, name: str, tensors: dict[str, Tensor], known: dict[Any, str]) -> Any:
    if isinstance(value, Tensor):
        # The same memory in two places, as tied weights are, is stored once.
        key = (value.data_ptr(), value.dtype, value.shape, value.stride()) if value.numel() else name
        if key not in known:
            known[key] = name
            tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": known[key]}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, dict):
        pairs = [
            [
                _written(key, f"{name}.{key} as a key", tensors, known),
                _written(part, f"{name}.{key}", tensors, known),
            ]
            for key, part in value.items()
        ]
        return {"ordered" if isinstance(value, OrderedDict) else "dict": pairs}
    for kind, cls in (("list", list), ("tuple", tuple), ("set", set)):
        if type(value) is cls or (kind == "tuple" and isinstance(value, torch.Size)):
            return {
                kind: [_written(part, f"{name}.{place}", tensors, known) for place, part in enumerate(value)]
            }
    raise StorageError(f"{name} is a {type(value).__name__}, which a bundle cannot hold")
