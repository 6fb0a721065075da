"""Where the configurations of a search come from.

`get_config()` of a definition is a random sample of the hyperparameters: it draws from `random`, NumPy or
torch, whose generators are set before each call, or returns hyperopt expressions (`hp.uniform("lr", …)`),
which are then sampled here. Draw k depends on the seed and k alone.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from helixband.configuration import canonical, to_json
from helixband.errors import DefinitionError
from helixband.nested import leaves
from helixband.randomness import derive_seed, seed_everything

DRAWS_UNTIL_EXHAUSTED = 1000
"""A space is taken to be exhausted when so many draws in a row gave nothing new."""

Document = dict[str, Any]


def draw(get_config: Callable[[], Any], seed: int) -> Document:
    """One configuration as JSON values.

    Raises `DefinitionError` where `get_config` does not return a dict, or a value cannot be stored.
    """
    seed_everything(seed)
    space = get_config()
    if not isinstance(space, dict):
        kind = type(space).__name__
        raise DefinitionError(f"get_config() returned {space!r} ({kind}); it has to return a dict")
    if _holds_expressions(space):
        from hyperopt.pyll import as_apply
        from hyperopt.pyll.stochastic import sample

        sampled = sample(as_apply(space), np.random.default_rng(seed))
        space = {name: sampled[name] for name in space}  # hyperopt sorts the names
    return dict(to_json(space))


def _holds_expressions(space: Document) -> bool:
    if "hyperopt" not in sys.modules:  # then there are none, and its import takes a second
        return False
    from hyperopt.pyll import Apply

    return any(isinstance(leaf, Apply) for leaf in leaves(space))


class RandomSampler:
    """Configurations by `get_config` alone, each one once."""

    def __init__(self, get_config: Callable[[], Any], seed: int) -> None:
        self._get_config = get_config
        self._seed = seed
        self._seen: set[str] = set()

    def remember(self, config: Document) -> None:
        """Do not suggest this one again."""
        self._seen.add(canonical(config))

    def suggest(self, trial: int) -> Document | None:
        """A configuration for trial number `trial`, or None where the space is exhausted."""
        for attempt in range(DRAWS_UNTIL_EXHAUSTED):
            config = draw(self._get_config, derive_seed(self._seed, "config", trial, attempt))
            if canonical(config) not in self._seen:
                self.remember(config)
                return config
        return None
