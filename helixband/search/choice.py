"""Which sampler a search has."""

from collections.abc import Callable
from typing import Any, Protocol

from helixband.configuration import to_json
from helixband.errors import UsageError
from helixband.randomness import derive_seed, seed_everything
from helixband.search.density import DensitySampler
from helixband.search.evidence import Evidence
from helixband.search.samplers import Document, RandomSampler, call, holds_expressions
from helixband.search.tpe import TpeSampler


class Sampler(Protocol):
    """Suggests configurations, each one once."""

    def suggest(self, trial: int, evidence: Evidence) -> Document | None:
        """A configuration for trial number `trial`, or None where the space is exhausted."""
        ...


def make_sampler(kind: str, get_config: Callable[[], Any], seed: int) -> Sampler:
    """The sampler "random", "tpe", for a space of hyperopt expressions, "density", for any other function, or
    "auto", the one of these two that goes with the space.

    Raises `UsageError` where the space is of the other kind.
    """
    seed_everything(derive_seed(seed, "space"))
    space = call(get_config)
    fitting = "tpe" if holds_expressions(space) else "density"
    if kind == "random":
        return RandomSampler(get_config, seed)
    if kind not in ("auto", fitting):
        has = "has" if fitting == "tpe" else "has no"
        raise UsageError(
            f"--sampler {kind}: get_config() {has} hyperopt expressions; take {fitting}, or auto"
        )
    if fitting == "tpe":
        return TpeSampler(space, seed)
    return DensitySampler(lambda: dict(to_json(call(get_config))), seed)
