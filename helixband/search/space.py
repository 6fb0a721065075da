"""Where the configurations of a definition come from: its `get_config`, its class `hparams`, or both."""

import random
from collections.abc import Callable
from functools import cache
from typing import Any

from helixband.definition import Definition
from helixband.errors import DefinitionError, HelixbandError, UsageError
from helixband.hparams import Hparam, Hparams
from helixband.hparams.hparams import drawn_from, log_scaled
from helixband.hparams.kinds import plain as in_json
from helixband.search.given import GetConfig, fixed, sample
from helixband.search.samplers import random as plain
from helixband.search.samplers.evidence import Document
from helixband.search.samplers.random import call, holds_expressions
from helixband.training.configuration import to_json


def configurations(definition: Definition, values: Document, seed: int, searches: bool) -> GetConfig:
    """A function that draws configurations with these values.

    Of a definition with `hparams`, each has all hyperparameters: their defaults, but for what `get_config`
    returns and, in a search, for what is declared to be searched. Raises `UsageError` for a value that fits
    no configuration.
    """
    get_config, kind = definition.function("get_config"), definition.hparams
    if kind is None:
        assert get_config is not None  # the contract asks for it
        return fixed(get_config, values, seed)
    if get_config is None:
        return _Declared(kind, dict, values, searches)
    drawn = {name for config in (sample(get_config, seed) if values else []) for name in config}
    of_get_config = {name: value for name, value in values.items() if name in drawn}
    return _Declared(kind, fixed(get_config, of_get_config, seed, together=searches), values, searches)


def log_scaled_names(definition: Definition, values: Document) -> list[str] | None:
    """The paths of what a search draws on a log scale, or None where that is not known."""
    get_config, kind = definition.function("get_config"), definition.hparams
    space = call(get_config) if get_config is not None else {}
    found = plain.log_scaled(space)
    if kind is None or (space and found is None):
        return found
    return sorted([*(found or []), *log_scaled(kind.space([*values, *space]))])


class _Declared:
    """Draws configurations of declared hyperparameters: these values, or else what `get_config` returns."""

    def __init__(self, kind: type[Hparams], get_config: GetConfig, values: Document, searches: bool) -> None:
        self._kind, self._get_config, self._values = kind, get_config, values
        self._space = kind.space(values) if searches else {}

    def __call__(self) -> dict[str, Any]:
        """One configuration; raises `DefinitionError` for what `get_config` returns and is not declared.

        A hyperopt expression stays one, of values in their one form; those that do not fit are in it too.
        """
        config = call(self._get_config)
        try:
            fields = {name: self._kind.field(name) for name in config if name not in self._values}
            searched = {name: search for name, search in self._space.items() if name not in fields}
            drawn = {name: config[name] for name in fields if holds_expressions({name: config[name]})}
            known = to_json({name: config[name] for name in fields if name not in drawn})
            whole = self._kind({**drawn_from(searched, random.random), **known, **self._values}).to_json()
        except UsageError as error:
            raise DefinitionError(f"get_config() returned {config}: {error}") from error
        return {**whole, **{name: _in_its_form()(fields[name], value) for name, value in drawn.items()}}


@cache
def _in_its_form() -> Callable[[Hparam, Any], Any]:
    """A function of hyperopt's, for expressions: the value of a hyperparameter, as JSON has it."""
    from hyperopt.pyll import scope

    @scope.define  # type: ignore[untyped-decorator]
    def helixband_hyperparameter(field: Hparam, value: Any) -> Any:
        try:
            return in_json(field.value(to_json(value)))
        except HelixbandError:  # told where the model gets it; here hyperopt would print the whole expression
            return value

    made: Callable[[Hparam, Any], Any] = scope.helixband_hyperparameter
    return made
