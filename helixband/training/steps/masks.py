"""Masks of dropout from counters: bits that are a function of a member's seed, its step and the place alone.

Such numbers have no state that a process would have to carry, and are the same on every device (Salmon et
al. 2011, Parallel random numbers: as easy as 1, 2, 3). The function is the 32-bit finalizer of C. Wellons's
hash prospector, `lowbias32`, of the place, and again of that with the keys. Each number is for two places.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MULTIPLIERS = 0x7FEB352D, 0x846CA68B - 2**32  # the latter as a signed number
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LEVELS = 2**16
"""So many values have the bits of a place: a share is one of as many, at most 8e-6 from what is asked for."""
_ALL = _LEVELS // 2
"""The limit with which all is kept."""
CACHED = 2**17
"""So many pairs of places are drawn at once on a CPU, so that they stay in its caches."""


def keys(
    seeds: Sequence[int], steps: NDArray[np.int64], shares: Sequence[NDArray[np.float64]]
) -> NDArray[np.int32]:
    """The keys (…, K, 2 + layers) of K members with their seeds, at steps (…, K).

    Two are those of the hash. The others are the limits below which bits keep a place, given the shares that
    each layer keeps, (…, K) or what is broadcast to it.
    """
    with np.errstate(over="ignore"):
        mixed = np.array(seeds, np.uint64) + (steps.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # of splitmix64
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed = mixed ^ (mixed >> np.uint64(31))
    limits = [_levels(each) - _LEVELS // 2 for each in shares]
    columns = [np.broadcast_to(each, steps.shape).astype(np.int32) for each in limits]
    return np.concatenate([mixed[..., None].view(np.int32), *(each[..., None] for each in columns)], -1)


def scales(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is kept is multiplied by, so that the mean stays; 0 where nothing is kept."""
    levels = _levels(shares)
    return np.where(levels > 0, _LEVELS / np.maximum(levels, 1), 0.0)


def _levels(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.round(np.asarray(shares) * _LEVELS)


def without(keys: Tensor) -> Tensor:
    """The keys with which all is kept."""
    return torch.cat([keys[..., :2], torch.full_like(keys[..., 2:], _ALL)], -1)


def places(shapes: Sequence[Sequence[torch.Size]], device: torch.device) -> Tensor:
    """A number for each pair of places of masks of these shapes, int32: no two are the same."""
    count = sum(math.prod(shape) for of_layer in shapes for shape in of_layer)
    return _mixed(torch.arange(-(-count // 2), dtype=torch.int32, device=device))


def draw(
    shapes: Sequence[Sequence[torch.Size]],
    scales: Sequence[Tensor],
    keys: Tensor,
    places: Tensor,
    into: Tensor | None = None,
) -> Tensor:
    """Masks (R, n) of R rows, those of each layer and call one after another: 0, or what keeps the mean.

    They have the type of the `scales`, (R, 1) of each layer. `keys` are int32 (R, 2 + layers), and `places`
    those of the shapes. What is drawn for a row depends on its keys and scales alone.
    """
    sizes = [sum(map(math.prod, of_layer)) for of_layer in shapes]
    found = scales[0].new_empty((len(keys), sum(sizes))) if into is None else into
    at_once = len(keys) if keys.is_cuda else max(1, CACHED // max(1, len(places)))
    for first in range(0, len(keys), at_once):
        rows = slice(first, first + at_once)
        bits = _bits(keys[rows], places)[:, : sum(sizes)].split_with_sizes(sizes, 1)
        limits = keys[rows, 2:].to(torch.float32).split_with_sizes([1] * len(sizes), 1)
        parts = found[rows].split_with_sizes(sizes, 1)
        for scale, limit, of_layer, part in zip(scales, limits, bits, parts, strict=True):
            # 1 below the limit and 0 elsewhere, in a quarter of the time of a comparison on a CPU.
            is_exact = part.element_size() >= 4  # and holds the bits as they are
            kept = part if is_exact else torch.empty_like(part, dtype=torch.float32)
            torch.sub(limit, kept.copy_(of_layer), out=kept).clamp_(0, 1)
            torch.mul(kept, scale[rows], out=part)
    return found


def cut(shapes: Sequence[Sequence[torch.Size]], drawn: Tensor) -> list[list[Tensor]]:
    """Views (R, …) of what `draw` gives, of each layer and call."""
    sizes = [math.prod(shape) for of_layer in shapes for shape in of_layer]
    parts = iter(drawn.split_with_sizes(sizes, 1))
    return [[next(parts).view(len(drawn), *shape) for shape in of_layer] for of_layer in shapes]


def _bits(keys: Tensor, places: Tensor) -> Tensor:
    """Random bits, int16 (K, 2 n), given keys, int32 (K, 2 or more), and places, int32 (n,)."""
    added, factor = keys[:, :1], keys[:, 1:2] | 1  # odd, so that no two places get the same number
    return _mixed((places ^ added).mul_(factor)).view(torch.int16)


def _mixed(bits: Tensor) -> Tensor:
    """The hash of integers, in place. Shifts of torch keep the sign, so what they fill in is masked out."""
    found = bits
    for shift, factor in zip((16, 15, 16), (*_MULTIPLIERS, None), strict=True):
        found = found.bitwise_xor_((found >> shift).bitwise_and_(2 ** (32 - shift) - 1))
        if factor is not None:
            found = found.mul_(factor)
    return found
