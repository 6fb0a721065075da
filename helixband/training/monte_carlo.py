"""Monte Carlo dropout: passes with dropout left on, and what they say together.

Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from helixband.errors import DefinitionError
from helixband.nested import leaves, zip_leaves


def spreads(passes: list[dict[str, float]], names: Iterable[str]) -> dict[str, float]:
    """The standard deviation of values over the passes, as <name>_std."""
    return {f"{name}_std": float(np.std([values[name] for values in passes])) for name in names}


def mean(passes: list[Any]) -> Any:
    """The mean of each value over the passes."""
    return zip_leaves(lambda arrays: np.mean(arrays, axis=0), passes)


def spread(passes: list[Any]) -> Any:
    """The standard deviation of each value over the passes."""
    return zip_leaves(lambda arrays: np.std(arrays, axis=0), passes)


def check(passes: list[Any]) -> None:
    """Raise `DefinitionError` if all passes are equal, because nothing in the network is random."""
    first = list(leaves(passes[0]))
    others = [list(leaves(other)) for other in passes[1:]]
    if all(
        np.array_equal(a, b, equal_nan=True) for other in others for a, b in zip(first, other, strict=True)
    ):
        raise DefinitionError(
            f"{len(passes)} passes with dropout left on are all alike: it takes two, and dropout"
        )
