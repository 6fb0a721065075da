"""Which sampler a search has."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from helixband.errors import UsageError
from helixband.randomness import derive_seed, seed_everything
from helixband.search.samplers.density import DensitySampler
from helixband.search.samplers.evidence import Document, Evidence
from helixband.search.samplers.random import RandomSampler, call, holds_expressions
from helixband.search.samplers.tpe import TpeSampler
from helixband.training.configuration import to_json

SAMPLE = 8
"""So many draws are looked at for hyperopt expressions, which may be in some of them alone."""


class Sampler(Protocol):
    """Suggests configurations, each one once."""

    name: str
    uses_evidence: bool
    """Whether a suggestion depends on results, and not on the configurations alone."""

    def suggest(self, trial: int, evidence: Evidence, pending: Iterable[Document] = ()) -> Document | None:
        """A configuration for trial number `trial`, or None where the space is exhausted.

        `evidence` holds all that the suggestion may depend on. `pending` are the configurations drawn before
        whose results it does not hold: they count as the worst and not toward the first trials. What is in
        either is not suggested again.
        """
        ...


def make_sampler(kind: str, get_config: Callable[[], Any], seed: int) -> Sampler:
    """The sampler "random", "tpe", for a space of hyperopt expressions, "density", for any other function, or
    "auto", the one of these two that goes with the space.

    Raises `UsageError` where the space is of the other kind.
    """
    kinds = [_holds_expressions(get_config, derive_seed(seed, "space", index)) for index in range(SAMPLE)]
    fitting = "tpe" if any(kinds) else "density"
    if kind == "random":
        return RandomSampler(get_config, seed)
    if kind not in ("auto", fitting):
        has = "has" if fitting == "tpe" else "has no"
        raise UsageError(
            f"--sampler {kind}: get_config() {has} hyperopt expressions; take {fitting}, or auto"
        )
    if fitting == "tpe":
        return TpeSampler(get_config, seed)
    return DensitySampler(lambda: dict(to_json(call(get_config))), seed)


def _holds_expressions(get_config: Callable[[], Any], seed: int) -> bool:
    seed_everything(seed)
    return holds_expressions(call(get_config))
