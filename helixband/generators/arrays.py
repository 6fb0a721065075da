"""Arrays and tensors, nested or not, as generators yield them: joined, and as NumPy arrays."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from helixband.nested import CONTAINERS, map_leaves, zip_leaves


def to_numpy(nested: Any) -> Any:
    """Tensors and arrays, nested or not, as NumPy arrays; bfloat16, which NumPy lacks, as float32."""
    if isinstance(nested, CONTAINERS):
        return map_leaves(to_numpy, nested)
    if not isinstance(nested, Tensor):
        return nested
    return (nested.float() if nested.dtype == torch.bfloat16 else nested).numpy(force=True)


def concatenate(parts: list[Any]) -> Any:
    """Arrays or tensors, nested alike or not, one after another along the first dimension."""
    return zip_leaves(
        lambda places: torch.cat(places) if isinstance(places[0], Tensor) else np.concatenate(places), parts
    )
