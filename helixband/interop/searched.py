"""The hyperparameters of a YAML experiment: what a search tunes, and what the command line sets.

A search space is read from the node `hydra.sweeper` in the two forms that projects have:

    params:                                    search_space:
      model.lr: tag(log, interval(1e-4, 0.1))    model.lr: {type: float, low: 1e-4, high: 0.1, log: true}
      model.units: choice(32, 64)                model.units: {type: categorical, choices: [32, 64]}
      model.depth: range(1, 4)                   model.depth: {type: int, low: 1, high: 3, step: 1}

Both ends of an interval and of the second form are included; the end of `range` is not, as in Hydra.
"""

from collections.abc import Mapping
from typing import Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from helixband.errors import DefinitionError, UsageError, in_one_line, meant
from helixband.hparams import Hparams, Range, hparam
from helixband.hparams.declaration import NAME
from helixband.interop.composing import Composed, first_line, keys_of

Search = Range | list[Any]
SCALARS = (bool, int, float, str)


def hyperparameters(composed: Composed, job: DictConfig) -> dict[str, dict[str, Any]]:
    """By dotted path `{"default": …}`, and `"search"` as JSON where a search tunes it.

    They are the keys of the search space, then the scalar values that overrides set in `job`, which is the
    configuration as it is run. Raises `UsageError`.
    """
    found: dict[str, dict[str, Any]] = {}
    for key, search in space(composed).items():
        default = _value(job, key, f"the search space has {key}")
        as_json = search.to_json() if isinstance(search, Range) else search
        found[key] = {"default": default, "search": as_json}
    for override in composed.overrides:
        key = override.key_or_group
        if key in found or key.startswith("hydra.") or override.is_delete() or not _is_name(key):
            continue
        value = OmegaConf.select(job, key)
        if isinstance(value, SCALARS) and not SETTINGS & {key, key.partition(".")[0]}:
            found[key] = {"default": value}
    return found


def _is_name(key: str) -> bool:
    """Whether a key can be that of a hyperparameter; `model._target_` is none."""
    return bool(NAME.fullmatch(key)) and not any(part.startswith("_") for part in key.split("."))


SETTINGS = {"trainer.max_epochs", "seed", "ckpt_path", "train", "test", "task_name", "extras"}
"""Keys that are flags of a run, or its name, or change nothing in it."""


def declared(parameters: Mapping[str, Mapping[str, Any]]) -> type[Hparams]:
    """A class of these hyperparameters, as `hyperparameters` gives them."""
    body: dict[str, Any] = {"__doc__": "The hyperparameters of the experiment.", "__annotations__": {}}
    for name, told in parameters.items():
        search = told.get("search")
        body["__annotations__"][name] = _type(told["default"], search)
        body[name] = hparam(told["default"], f"{name} of the experiment", search=search)
    return type("Experiment", (Hparams,), body)


def space(composed: Composed) -> dict[str, Search]:
    """What the node `hydra.sweeper` has to be searched, by dotted path; `UsageError` for what has no form."""
    sweeper = composed.config.hydra.sweeper
    found = {}
    for form, read in (("search_space", _of_mapping), ("params", _of_text)):
        node = OmegaConf.select(sweeper, form)
        plainly = OmegaConf.to_container(node, resolve=True) if node else {}
        assert isinstance(plainly, dict)
        for key, value in map(_with_text, plainly.items()):
            where = f"hydra.sweeper.{form}.{key}"
            try:
                found[key] = read(key, value)
            except (DefinitionError, HydraException, KeyError, TypeError, ValueError) as error:
                reason = (
                    f"{first_line(error)} is missing" if isinstance(error, KeyError) else first_line(error)
                )
                raise UsageError(f"{composed.file}: {where} is {in_one_line(value)}: {reason}") from error
    return found


def _with_text(item: tuple[Any, Any]) -> tuple[str, Any]:
    return str(item[0]), item[1]


def _of_mapping(key: str, told: Any) -> Search:
    """`{type: float, low: 0, high: 1}` and the like."""
    if not isinstance(told, Mapping):
        raise ValueError("it has to be a mapping with type, and low and high or choices")
    kind, names = told.get("type"), set(told) - {"type"}
    if kind == "categorical":
        return _choices(list(told["choices"]))
    known = {"float": {"low", "high", "log", "step", "q"}, "int": {"low", "high", "log", "step"}}
    older = {"uniform": "float", "loguniform": "float", "discrete_uniform": "float"}
    form = older.get(str(kind), kind)
    if form not in known:
        raise ValueError(f"the type {kind} is none; {meant(str(kind), [*known, 'categorical'])}")
    if unknown := sorted(names - known[form]):
        raise ValueError(f"{form} has no {unknown[0]}; {meant(unknown[0], known[form])}")
    cast = int if form == "int" else float
    step = told.get("step", told.get("q"))
    log = bool(told.get("log", kind == "loguniform"))
    return Range(cast(told["low"]), cast(told["high"]), log, None if step is None else cast(step))


def _of_text(key: str, text: Any) -> Search:
    """`interval(0, 1)` and the like, as Hydra reads overrides."""
    override = OverridesParser.create().parse_override(f"{key}={text}")
    value = override.value()
    if not override.is_sweep_override():
        raise ValueError(
            "it is one value, and nothing to search: write interval(a, b), range(a, b) or choice(a, b)"
        )
    tags = set(getattr(value, "tags", ()))
    if unknown := sorted(tags - {"log", "float", "int"}):
        raise ValueError(f"the tag {unknown[0]} is none; {meant(unknown[0], ['log'])}")
    if isinstance(value, IntervalSweep):
        cast = int if type(value.start) is int and type(value.end) is int else float
        low, high = (cast(end) for end in (value.start, value.end) if end is not None)
        return Range(low, high, "log" in tags)
    if isinstance(value, ChoiceSweep):
        return _choices([plain(item) for item in value.list])
    if isinstance(value, RangeSweep):
        return _choices([plain(item) for item in override.sweep_iterator()])
    raise ValueError("it has to be interval(a, b), range(a, b) or choice(a, b)")


def _choices(values: list[Any]) -> list[Any]:
    if wrong := [value for value in values if not isinstance(value, SCALARS)]:
        raise ValueError(f"a choice is {in_one_line(wrong[0])}; it has to be a number, a text, true or false")
    if not values:
        raise ValueError("it has no choice")
    return values


def plain(item: Any) -> Any:
    """What Hydra has of a word in an override, without its quotes."""
    return item.text if hasattr(item, "text") else item


def _value(config: DictConfig, key: str, who: str) -> Any:
    value = OmegaConf.select(config, key)
    if value is None and key not in (known := keys_of(config)):
        raise UsageError(f"{who}, and the experiment has no such key; {meant(key, known)}")
    if value is not None and not isinstance(value, SCALARS):
        raise UsageError(f"{who}, which is no single value there but {type(value).__name__}")
    return value


def _type(default: Any, search: Any) -> Any:
    """The type of a hyperparameter whose default and values of a search are these."""
    values = [search["low"], search["high"]] if isinstance(search, Mapping) else list(search or ())
    values += [] if default is None else [default]
    kinds = {type(value) for value in values}
    if kinds <= {int, float} and kinds:
        return float if float in kinds else int
    return kinds.pop() if len(kinds) == 1 else Literal[tuple(dict.fromkeys(values))]
