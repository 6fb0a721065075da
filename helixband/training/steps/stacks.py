"""Nested tensors of several members as one, and back."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


def signature(nested: Any) -> Any:
    """The shapes and types of nested tensors."""
    if isinstance(nested, Tensor):  # asked here, as it nearly always is one
        return nested.shape, nested.dtype
    if isinstance(nested, tuple):
        return tuple(map(signature, nested))
    found, spec = pytree.tree_flatten(nested)
    return spec, tuple((each.shape, each.dtype) if isinstance(each, Tensor) else each for each in found)


def stacked(batches: Sequence[Any]) -> Any:
    """Nested tensors of several members as one, (K, …)."""
    if isinstance(batches[0], Tensor):  # asked here, as it nearly always is one
        return torch.stack(list(batches))
    if type(batches[0]) is tuple:
        return tuple(stacked(each) for each in zip(*batches, strict=True))
    flat = [pytree.tree_flatten(each) for each in batches]
    tensors = [torch.stack(each) for each in zip(*(found for found, _ in flat), strict=True)]
    return pytree.tree_unflatten(tensors, flat[0][1])


def split(nested: Any, count: int) -> list[Any]:
    """What has tensors (count, …), and other leaves that hold for all, for each of them."""
    if isinstance(nested, Tensor):
        return list(nested.unbind())
    if isinstance(nested, tuple) and hasattr(nested, "_make"):  # asked here, as a step gives such tuples
        columns = [split(part, count) for part in nested]
        return [type(nested)._make(row) for row in zip(*columns, strict=True)]
    if nested is None:
        return [None] * count
    found, spec = pytree.tree_flatten(nested)
    if count == 0:
        return []
    columns = [list(each.unbind()) if isinstance(each, Tensor) else [each] * count for each in found]
    return [pytree.tree_unflatten(list(row), spec) for row in zip(*columns, strict=True)]


def of_one(compute: Callable[..., Any], given: Sequence[Any]) -> Any:
    """What torch.vmap would give of a computation for the one of which there are tensors (1, …)."""
    # Not leaf[0], whose gradient would be made of zeros first.
    found = compute(*pytree.tree_map(lambda leaf: leaf.squeeze(0), list(given)))
    return pytree.tree_map(lambda leaf: leaf[None], found)
