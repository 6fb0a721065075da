"""Padding: which positions of a batch belong to no sequence.

A padding mask is (N, S), bool, True at padding, as `src_key_padding_mask` of PyTorch's transformer.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from helixband.errors import DataError, in_one_line


def padding_mask(lengths: Tensor, size: int) -> Tensor:
    """The mask (N, size) of sequences that begin at position 0 and have `lengths`, integers (N,).

    >>> padding_mask(torch.tensor([1, 3]), 3)
    tensor([[False,  True,  True],
            [False, False, False]])
    """
    if not isinstance(lengths, Tensor) or lengths.ndim != 1 or lengths.is_floating_point():
        shown = (tuple(lengths.shape), lengths.dtype) if isinstance(lengths, Tensor) else in_one_line(lengths)
        raise DataError(f"lengths is {shown}; it has to be a tensor of integers, (N,)")
    return torch.arange(size, device=lengths.device) >= lengths.unsqueeze(1)


def check_mask(mask: Tensor | None, n: int, size: int) -> None:
    """Raise `DataError` for what is no padding mask of n sequences of `size` positions; None is none."""
    if mask is not None and not isinstance(mask, Tensor):
        raise DataError(
            f"the padding mask is {in_one_line(mask)}; it has to be a tensor ({n}, {size}), torch.bool"
        )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != (n, size)):
        raise DataError(
            f"the padding mask has the shape {tuple(mask.shape)}, {mask.dtype}; it has to be ({n}, {size}), "
            "torch.bool, and True at padding"
        )


def without_padding(x: Tensor, mask: Tensor | None) -> Tensor:
    """x, (N, C, S), with 0 at padding."""
    return x if mask is None else x.masked_fill(mask.unsqueeze(1), 0.0)


def pooled_mask(mask: Tensor, size: int) -> Tensor:
    """The mask (N, ⌈S / size⌉) of windows: one is padding if all its positions are."""
    whole = F.pad(mask, (0, -mask.shape[1] % size), value=True)
    return whole.reshape(len(mask), -1, size).all(2)


def lengths_of(mask: Tensor) -> Tensor:
    """Positions of each sequence up to its last that is not padding, (N,), int64.

    >>> lengths_of(torch.tensor([[False, True, False, True], [True, True, True, True]]))
    tensor([3, 0])
    """
    return mask.shape[1] - mask.flip(1).long().cumprod(1).sum(1)
