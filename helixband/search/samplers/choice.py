"""Which sampler a search has."""

from collections.abc import Callable, Iterable
from pkgutil import resolve_name
from typing import Any, Protocol

from helixband.errors import UsageError
from helixband.randomness import derive_seed, seed_everything
from helixband.search.samplers import SAMPLERS
from helixband.search.samplers.evidence import Document, Evidence
from helixband.search.samplers.random import call, holds_expressions

SAMPLE = 8
"""So many draws are looked at for hyperopt expressions, which may be in some of them alone."""


class Sampler(Protocol):
    """Suggests configurations, each one once. Its class is called with `get_config` and the search's seed."""

    name: str
    space: str
    """What it is made for: spaces with hyperopt "expressions", any other "function", or "any" space."""
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
    """The sampler of that name; of "auto" the first one that is made for spaces like this one.

    Raises `UsageError` where the sampler is made for spaces of another kind.
    """
    kinds = [_holds_expressions(get_config, derive_seed(seed, "space", index)) for index in range(SAMPLE)]
    space = "expressions" if any(kinds) else "function"
    samplers = {name: resolve_name(place) for name, place in SAMPLERS.items()}
    fitting = next(name for name, sampler in samplers.items() if sampler.space == space)
    chosen = samplers[fitting if kind == "auto" else kind]
    if chosen.space not in ("any", space):
        has = "has" if space == "expressions" else "has no"
        raise UsageError(
            f"--sampler {kind}: get_config() {has} hyperopt expressions; take {fitting}, or auto"
        )
    sampler: Sampler = chosen(get_config, seed)
    return sampler


def _holds_expressions(get_config: Callable[[], Any], seed: int) -> bool:
    seed_everything(seed)
    return holds_expressions(call(get_config))
