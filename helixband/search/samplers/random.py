"""Where the configurations of a search come from.

`get_config()` of a definition is a random sample of the hyperparameters: it draws from `random`, NumPy, torch
or generators that stand in the definition's modules, which are set before each call, or returns hyperopt
expressions (`hp.uniform("lr", …)`), which are then sampled here. Draw k depends on the seed and k alone.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from helixband.errors import DefinitionError, in_one_line
from helixband.nested import leaves
from helixband.randomness import derive_seed, held, seed_everything
from helixband.search.samplers.evidence import Document, Evidence
from helixband.training.configuration import canonical, to_json

LOG_SCALED = ("loguniform", "qloguniform", "lognormal", "qlognormal", "pow", "exp")
"""Expressions of hyperopt whose values lie evenly on a log scale."""

DRAWS_UNTIL_EXHAUSTED = 1000
"""A space is taken to be exhausted when so many draws in a row gave nothing new."""


def draw(get_config: Callable[[], Any], seed: int) -> Document:
    """One configuration as JSON values.

    Raises `DefinitionError` where `get_config` does not return a dict, or a value cannot be stored.
    """
    seed_everything(seed)
    held.seed(seed)
    space = call(get_config)
    if holds_expressions(space):
        from hyperopt.pyll import as_apply
        from hyperopt.pyll.stochastic import sample

        sampled = sample(as_apply(space), np.random.default_rng(seed))
        space = {name: sampled[name] for name in space}  # hyperopt sorts the names
    return dict(to_json(space))


def call(get_config: Callable[[], Any]) -> Document:
    """What `get_config` returns; raises `DefinitionError` where that is no dict."""
    space = get_config()
    if not isinstance(space, dict):
        kind = type(space).__name__
        raise DefinitionError(f"get_config() returned {in_one_line(space)} ({kind}); it has to return a dict")
    return space


def holds_expressions(space: Document) -> bool:
    """Whether a leaf is a hyperopt expression."""
    if "hyperopt" not in sys.modules:  # then there are none, and its import takes a second
        return False
    from hyperopt.pyll import Apply

    return any(isinstance(leaf, Apply) for leaf in leaves(space))


def log_scaled(space: Document) -> list[str] | None:
    """The paths, as in JSON Pointer without the first "/", of what hyperopt expressions draw on a log scale.

    None of a space without expressions, which does not tell.
    """
    if not holds_expressions(space):
        return None
    from hyperopt.pyll import as_apply

    return sorted(set(_log_scaled(as_apply(space), "")))


def _log_scaled(node: Any, path: str) -> Iterator[str]:
    if node.name in ("dict", "pos_args"):
        parts = node.named_args if node.name == "dict" else enumerate(node.pos_args)
        for key, part in parts:
            name = str(key).replace("~", "~0").replace("/", "~1")
            yield from _log_scaled(part, f"{path}/{name}" if path else name)
    elif node.name == "switch":  # a choice: which one, and then what there is to choose from
        for option in node.pos_args[1:]:
            yield from _log_scaled(option, path)
    else:
        from hyperopt.pyll import dfs

        if any(part.name in LOG_SCALED for part in dfs(node)):
            yield path


class RandomSampler:
    """Configurations by `get_config` alone, each one once.

    That of trial k depends on the seed, k and the configurations that there are.
    """

    name = "random"
    space = "any"
    uses_evidence = False

    def __init__(self, get_config: Callable[[], Any], seed: int) -> None:
        self._get_config = get_config
        self._seed = seed

    def suggest(self, trial: int, evidence: Evidence, pending: Iterable[Document] = ()) -> Document | None:
        """A configuration for trial number `trial`, or None where the space is exhausted.

        It is none of the evidence's and none of the `pending` ones, those without a result yet.
        """
        seen = set(map(canonical, [*evidence.configs(), *pending]))
        for attempt in range(DRAWS_UNTIL_EXHAUSTED):
            config = draw(self._get_config, derive_seed(self._seed, "config", trial, attempt))
            if canonical(config) not in seen:
                return config
        return None
