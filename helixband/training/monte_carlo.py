"""Monte Carlo dropout: passes with dropout left on, and what they say together.

Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016.
"""

from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from helixband.errors import DefinitionError
from helixband.nested import zip_leaves


def dropout_modules(network: nn.Module) -> list[nn.Module]:
    """The dropout layers of a network; raises `DefinitionError` where there is none."""
    found: list[nn.Module] = [module for module in network.modules() if isinstance(module, _DropoutNd)]
    if not found:
        raise DefinitionError(
            f"{type(network).__name__} has no dropout module: Monte Carlo passes would all be alike"
        )
    return found


def mean(passes: list[Any]) -> Any:
    """The mean of each value over the passes."""
    return zip_leaves(lambda arrays: np.mean(arrays, axis=0), passes)


def spread(passes: list[Any]) -> Any:
    """The standard deviation of each value over the passes."""
    return zip_leaves(lambda arrays: np.std(arrays, axis=0), passes)
