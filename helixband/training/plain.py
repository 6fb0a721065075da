"""Plain values: numbers, strings, arrays, and containers of them. How they are compared, and kept."""

import itertools
import zlib
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum
from io import IOBase
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helixband.training.objects import ATOMS, ITEMS, is_stateful

SAMPLE = 256
"""A large array, or a container of more than `ITEMS` items, is compared by so many of its items."""
COMPARED_BYTES = 1 << 16
"""An array of so many bytes is compared as a whole."""
BYTES = 1 << 23
"""What has more bytes is not kept."""
DEPTH = 8
"""Containers are nested so deep."""

ARRAYS = (np.ndarray, np.generic, Tensor)
CONTAINERS = (dict, list, tuple, set, frozenset, deque, bytearray, array)
SEQUENCES: dict[str, type[Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
}

# Marks: equal as long as a value is.


class NotPlain(Exception):
    """What a checkpoint does not hold, or not so much of it."""


def mark(value: Any, depth: int = DEPTH) -> Any:
    """Something small that is equal as long as a plain value is; raises `NotPlain` for others.

    A list, dict or deque that holds arrays is not taken for plain, so that each of them is compared itself.
    """
    kind: type[Any] = type(value)
    if kind in ATOMS:
        return kind, value
    if isinstance(value, Enum):
        return kind, value.name
    if isinstance(value, ARRAYS):
        return _mark_of_array(value)
    if isinstance(value, IOBase):
        return "file", place_of(value)
    if not isinstance(value, CONTAINERS) or not depth:
        raise NotPlain
    return kind, len(value), tuple(_marks_of_items(value, depth))


def _marks_of_items(value: Any, depth: int) -> Iterator[Any]:
    if isinstance(value, (bytearray, array)):
        yield bytes(value)
        return
    items: Iterable[Any] = dict.items(value) if isinstance(value, dict) else value
    if len(value) > ITEMS:
        number = len(value) // SAMPLE
        by_number = isinstance(value, (list, tuple))
        items = value[::number][:SAMPLE] + value[-1:] if by_number else itertools.islice(items, SAMPLE)
    within = isinstance(value, (list, dict, deque))
    for item in items:
        parts = item if isinstance(value, dict) else (item,)
        if within and isinstance(parts[-1], np.ndarray | Tensor):
            raise NotPlain
        yield tuple(mark(part, depth - 1) for part in parts)


def _mark_of_array(value: Any) -> Any:
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise NotPlain
        flat = value.detach().flatten()
        step = 1 if value.nbytes <= COMPARED_BYTES else max(1, flat.numel() // SAMPLE)
        return Tensor, tuple(value.shape), value.dtype, tuple(flat[::step].tolist())
    if value.dtype.kind not in "biufcUS" or value.dtype in (np.longdouble, np.clongdouble):
        raise NotPlain
    if isinstance(value, np.memmap) and not value.flags.writeable:
        return np.memmap, value.shape
    if value.nbytes <= COMPARED_BYTES:
        return (
            type(value),
            value.shape,
            value.dtype.str,
            zlib.crc32(np.ascontiguousarray(value).data.cast("B")),
        )
    step = max(1, value.size // SAMPLE)
    return type(value), value.shape, value.dtype.str, np.asarray(value).flat[::step].tobytes()


def place_of(file: IOBase) -> int | None:
    """Where a file is read next; None if it is not read. Raises `NotPlain` amid `for line in file`."""
    if file.closed or not file.readable() or not file.seekable():
        return None
    try:
        return file.tell()
    except OSError as error:
        raise NotPlain from error


# Codes: what a checkpoint holds of plain values.


def encoded(value: Any) -> tuple[str, Any]:
    """A plain value as tuples, lists, tensors and atoms; raises `NotPlain` for others, and for too much."""
    room = [BYTES]

    def code(value: Any, depth: int) -> tuple[str, Any]:
        kind: type[Any] = type(value)
        is_array = isinstance(value, ARRAYS)
        room[0] -= value.nbytes if is_array else len(value) if kind in (str, bytes, bytearray) else 8
        room[0] -= 8 * len(value) if isinstance(value, array) else 0
        if room[0] < 0 or not depth:
            raise NotPlain
        if kind is complex:
            return "complex", (value.real, value.imag)
        if kind in ATOMS:
            return "atom", value
        if isinstance(value, Enum):
            return "enum", value.name
        if isinstance(value, Tensor):
            mark(value)
            return "tensor", value.detach().to("cpu", copy=True)
        if is_array:
            mark(value)
            if value.dtype.kind in "US":
                return "words", (value.dtype.str, value.tolist())
            return "array", torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
        if isinstance(value, IOBase):
            return "file", place_of(value)
        if isinstance(value, bytearray):
            return "bytes", bytes(value)
        if isinstance(value, array):
            return "numbers", (value.typecode, value.tolist())
        if isinstance(value, dict):
            return "pairs", [(code(key, depth - 1), code(part, depth - 1)) for key, part in value.items()]
        if isinstance(value, CONTAINERS):
            name = next(name for name, each in SEQUENCES.items() if isinstance(value, each))
            return name, [code(part, depth - 1) for part in value]
        raise NotPlain

    if is_stateful(value):
        return "state", code(value.state_dict(), 3 * DEPTH)
    return code(value, DEPTH)


def decoded(code: tuple[str, Any], now: Any = None) -> Any:
    """The value of a code; made in `now`, the value at its place, where it can be: others may hold that."""
    name, content = code
    if name == "state":
        now.load_state_dict(decoded(content))
        return now
    if name == "file":
        if content is not None:
            now.seek(content)
        return now
    if name == "enum":
        return type(now)[content]
    if name in ("tensor", "array", "words"):
        return _array(name, content, now)
    if name in ("pairs", "bytes", "numbers", *SEQUENCES):
        return _container(name, content, now)
    return complex(*content) if name == "complex" else content


def _array(name: str, content: Any, now: Any) -> Any:
    if name == "tensor":
        if isinstance(now, Tensor) and now.shape == content.shape and now.dtype == content.dtype:
            now.detach().copy_(content)
            return now
        return content.to(now.device, copy=True) if isinstance(now, Tensor) else content.clone()
    value = np.array(content[1], content[0]) if name == "words" else content.numpy().copy()
    fits = isinstance(now, np.ndarray) and now.shape == value.shape and now.flags.writeable
    if fits and now.dtype == value.dtype:
        now[...] = value
        return now
    return value if isinstance(now, np.ndarray) else value[()]


def _container(name: str, content: Any, now: Any) -> Any:
    value: Any
    if name == "pairs":
        value = {decoded(key): decoded(part) for key, part in content}
    elif name == "bytes":
        value = bytearray(content)
    elif name == "numbers":
        value = array(*content)
    else:
        value = SEQUENCES[name](decoded(part) for part in content)
    if isinstance(now, dict | set) and isinstance(value, dict | set):
        now.clear()
        now.update(value)
    elif isinstance(now, list | bytearray) and isinstance(value, list | bytearray):
        now[:] = value
    elif isinstance(now, array) and isinstance(value, array):
        now[:] = value
    elif isinstance(now, deque) and isinstance(value, deque):
        now.clear()
        now.extend(value)
    elif isinstance(now, tuple) and hasattr(now, "_make"):
        return now._make(value)
    else:
        return value
    return now


def mark_of_state(state: Any, depth: int = 3 * DEPTH) -> Any:
    """The mark of a state_dict, whose containers may hold arrays."""
    if isinstance(state, dict):
        return {key: mark_of_state(part, depth - 1) for key, part in state.items()}
    if isinstance(state, (list, tuple)):
        return [mark_of_state(part, depth - 1) for part in state]
    return mark(state, depth)


def exact(value: Any) -> bool:
    """Whether a container is of a kind that its code alone can make again."""
    return type(value) in (dict, bytearray, array, *SEQUENCES.values())
