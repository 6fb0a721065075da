"""Masks of dropout from counters: bits that are a function of a member's seed, its step and the place alone.

Such numbers have no state that a process would have to carry, and are the same on every device (Salmon et
al. 2011, Parallel random numbers: as easy as 1, 2, 3). The function is the 32-bit finalizer of C. Wellons's
hash prospector, `lowbias32`, applied twice with a key before each.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MULTIPLIERS = 0x7FEB352D, 0x846CA68B - 2**32  # the latter as a signed number
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def keys(seeds: Sequence[int], steps: NDArray[np.int64]) -> NDArray[np.int32]:
    """The keys (…, K, 2) of K members with their seeds, at steps (…, K)."""
    with np.errstate(over="ignore"):
        mixed = np.array(seeds, np.uint64) + (steps.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # of splitmix64
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed = mixed ^ (mixed >> np.uint64(31))
    found: NDArray[np.int32] = mixed[..., None].view(np.int32)
    return found


def bits(keys: Tensor, count: int) -> Tensor:
    """Random bits, int32 (K, count), given keys, int32 (K, 2)."""
    places = torch.arange(count, dtype=torch.int32, device=keys.device)
    first, second = keys[:, :1], keys[:, 1:]
    return _mixed(_mixed(places ^ first).add_(second))


def _mixed(bits: Tensor) -> Tensor:
    """The hash of integers, in place. Shifts of torch keep the sign, so what they fill in is masked out."""
    found = bits
    for shift, factor in zip((16, 15, 16), (*_MULTIPLIERS, None), strict=True):
        found = found.bitwise_xor_((found >> shift).bitwise_and_(2 ** (32 - shift) - 1))
        if factor is not None:
            found = found.mul_(factor)
    return found


def draw(
    shapes: Sequence[Sequence[torch.Size]], keep: Sequence[Tensor], keys: Tensor, dtype: torch.dtype
) -> list[list[Tensor]]:
    """Masks (K, …) of each layer and call: 0, or else what keeps the mean.

    `keep` are the shares that are kept, (K, 1) of each layer. What is drawn for a member depends on its keys
    and shares alone.
    """
    sizes = [math.prod(shape) for of_layer in shapes for shape in of_layer]
    drawn = iter(torch.split(bits(keys, sum(sizes)).to(torch.float32), sizes, 1))
    found = []
    for share, of_layer in zip(keep, shapes, strict=True):
        # At most: the largest bits are rounded up to the limit of a share of 1. A share of 0 has the scale 0.
        limit, scale = share * 2.0**32 - 2.0**31, torch.where(share > 0, 1 / share, 0.0)
        masks = [(next(drawn) <= limit).to(dtype).mul_(scale) for _ in of_layer]
        found.append([mask.view(-1, *shape) for mask, shape in zip(masks, of_layer, strict=True)])
    return found
