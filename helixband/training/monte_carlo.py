"""Monte Carlo dropout: passes with dropout left on, and what they say together.

Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016.
"""

from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from helixband.errors import DefinitionError
from helixband.nested import leaves, zip_leaves


def leave_dropout_on(network: nn.Module) -> None:
    """Training mode, which is what turns any kind of dropout on, but for normalisations by the batch."""
    network.train()
    for module in network.modules():
        if isinstance(module, _NormBase):
            module.eval()


def mean(passes: list[Any]) -> Any:
    """The mean of each value over the passes."""
    return zip_leaves(lambda arrays: np.mean(arrays, axis=0), passes)


def spread(passes: list[Any]) -> Any:
    """The standard deviation of each value over the passes."""
    return zip_leaves(lambda arrays: np.std(arrays, axis=0), passes)


def check(passes: list[Any]) -> None:
    """Raise `DefinitionError` where the passes are all alike, for want of anything random."""
    first = list(leaves(passes[0]))
    others = [list(leaves(other)) for other in passes[1:]]
    if all(
        np.array_equal(a, b, equal_nan=True) for other in others for a, b in zip(first, other, strict=True)
    ):
        raise DefinitionError(
            f"{len(passes)} passes with dropout left on are all alike: it takes two, and dropout"
        )
