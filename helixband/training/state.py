"""The state of a training: all that its next epoch depends on, as a checkpoint holds it."""

import random
from collections.abc import Iterable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from helixband import randomness
from helixband.errors import DefinitionError, StorageError
from helixband.nested import map_leaves
from helixband.training.schedules import Schedule

T = TypeVar("T")

DEPTH = 6
WIDTH = 50
"""How deep in a generator, and in containers of how many items, random numbers are looked for."""

_ARRAY = "__array__"
_NO_HOLDERS: tuple[type[Any], ...] = (
    str,
    bytes,
    type,
    ModuleType,
    FunctionType,
    BuiltinFunctionType,
    MethodType,
)
_NO_HOLDERS += (np.ndarray, Tensor, nn.Module, random.SystemRandom)
_PLAIN = (bool, int, float, type(None))
_RANDOM: tuple[type[Any], ...] = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


@runtime_checkable
class Stateful(Protocol):
    """What gives its state and takes it back: torch's parts, and what follows their example."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


class ModelState:
    """What of a model has a state, by name: what it is trained with, and what a user keeps on it (`self.…`).

    `own` are the names of attributes that are not the user's.
    """

    def __init__(self, model: Any, own: Iterable[str]) -> None:
        self._model = model
        self._own = set(own)
        self._stateful = {name for name, part in self._parts().items() if is_stateful(part)}

    def capture(self, generator: Any) -> dict[str, Any]:
        """All that the next epoch over this generator depends on.

        Raises `DefinitionError` for a part that got a state only in training: it could not be put back.
        """
        parts = self._parts()
        for name, part in parts.items():
            if is_stateful(part) != (name in self._stateful):
                raise DefinitionError(
                    f"{name} became a {type(part).__name__} in training; make it in init_model"
                )
        return capture(parts, generator)

    def restore(self, content: Mapping[str, Any], generator: Any, where: str) -> None:
        """Put back what `capture` gave, or raise a `StorageError` that names `where` it is from."""
        put_back(self._model, restore(content, self._parts(), generator, where))

    def weights(self) -> dict[str, Any]:
        """What evaluation and prediction depend on."""
        return self.weights_in(capture(self._inferring(), None))

    def weights_in(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Of what `capture` gave, what evaluation and prediction depend on."""
        return {name: content[name] for name in self._inferring()}

    def use(self, content: Mapping[str, Any], where: str) -> None:
        """Take the weights of a checkpoint, and the moment of schedules that they are from."""
        put_back(self._model, load_parts(content, self._inferring(), where))
        self._model.config.set_time(max(0, content["epoch"] - 1), max(0, content["steps"] - 1))

    def _parts(self) -> dict[str, Any]:
        model = self._model
        trained = {"network": model.network, "optimizer": model.optimizer, "scheduler": model.scheduler}
        if isinstance(model.criterion, nn.Module):
            trained["criterion"] = model.criterion
        trained = {name: part for name, part in trained.items() if part is not None}
        return trained | attributes_of(model, self._own, trained.values())

    def _inferring(self) -> dict[str, Any]:
        return {name: part for name, part in self._parts().items() if name not in ("optimizer", "scheduler")}


def attributes_of(model: Any, but: Iterable[str], parts: Iterable[Any]) -> dict[str, Any]:
    """What a user keeps on a model: numbers, arrays, tensors, and what has a state.

    `but` are the names that are not the user's; what is one of `parts`, or in it, is kept with it.
    """
    known = set()
    for part in parts:
        known |= {id(module) for module in (part.modules() if isinstance(part, nn.Module) else [part])}
    return {
        f"self.{name}": value
        for name, value in vars(model).items()
        if name not in but and id(value) not in known and (_is_plain(value) or is_stateful(value))
    }


def is_stateful(value: Any) -> bool:
    """Whether a value gives its state and takes it back; a class only says how its instances do."""
    return isinstance(value, Stateful) and not isinstance(value, type)


def put_back(model: Any, plain: Mapping[str, Any]) -> None:
    """The plain values that `restore` gave, under their names; tensors in place, as optimizers hold them."""
    for name, value in plain.items():
        attribute = name.removeprefix("self.")
        now = getattr(model, attribute, None)
        if isinstance(value, Tensor):
            value = value.to(now.device if isinstance(now, Tensor) else model.device)
        if isinstance(now, nn.Parameter) and isinstance(value, Tensor) and now.shape == value.shape:
            now.data.copy_(value)
        else:
            setattr(model, attribute, value)


def capture(parts: Mapping[str, Any], generator: Any) -> dict[str, Any]:
    """The states of parts by name, of a generator's own, and of the global random numbers, on the CPU.

    A part is `Stateful`, or a plain value that is kept as it is.
    """
    state = {name: _state_of(part, name) for name, part in parts.items()}
    own = copied(generator.state_dict(), "the generator") if is_stateful(generator) else None
    sources = [(type(source).__name__, _random_state(source)) for source in found_in(generator, _RANDOM)]
    return state | {"generator": own, "generator_random": sources, "random": randomness.get_state()}


def restore(state: Mapping[str, Any], parts: Mapping[str, Any], generator: Any, where: str) -> dict[str, Any]:
    """Put back what `capture` gave; the plain values among the parts, for the caller to put back.

    Raises `StorageError` naming `where` it came from, where it does not fit.
    """
    plain = load_parts(state, parts, where)
    sources, stored = found_in(generator, _RANDOM), state["generator_random"]
    kinds, stored_kinds = [type(source).__name__ for source in sources], [kind for kind, _ in stored]
    if kinds != stored_kinds or is_stateful(generator) != (state["generator"] is not None):
        raise StorageError(
            f"{where} does not fit {type(generator).__name__}: it holds the random numbers {kinds}, and held "
            f"{stored_kinds}; make them in __init__, and give it state_dict() always or never"
        )
    if is_stateful(generator):
        generator.load_state_dict(_revived(state["generator"]))
    for source, (_, source_state) in zip(sources, stored, strict=True):
        _set_random_state(source, source_state)
    randomness.set_state(state["random"])
    return plain


def load_parts(state: Mapping[str, Any], parts: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The parts' states alone; parts that the state does not have are left as they are."""
    plain = {name: _revived(kept) for name, kept in state.items() if name.startswith("self.")}
    for name, part in parts.items():
        if name not in state:
            continue
        held = isinstance(state[name], dict) and state[name].keys() != {_ARRAY}
        if is_stateful(part) != held:
            raise StorageError(f"{where} does not fit the definition: {name} is of another kind there")
        if not held:
            continue
        plain.pop(name, None)
        try:
            part.load_state_dict(_revived(state[name]))
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise StorageError(f"{where} does not fit the {name} of this definition: {error}") from error
    return plain


def copied(nested: Any, name: str) -> Any:
    """State in what checkpoints hold: tensors copied to the CPU, arrays as marked tensors, plain numbers.

    Raises `DefinitionError` naming whose state has an array that torch cannot hold.
    """

    def copy(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf.detach().to("cpu", copy=True)
        if isinstance(leaf, np.ndarray | np.generic):
            try:
                return {_ARRAY: torch.from_numpy(np.array(leaf, dtype=leaf.dtype.newbyteorder("=")))}
            except TypeError as error:
                raise DefinitionError(
                    f"the state of {name} holds {leaf!r}, which a checkpoint cannot: {error}"
                ) from error
        return float(leaf) if isinstance(leaf, Schedule) else leaf

    return map_leaves(copy, dict(nested) if isinstance(nested, dict) else nested)


def found_in(root: Any, kinds: type[T] | tuple[type[T], ...]) -> list[T]:
    """The objects of some kinds that an object holds in its attributes and containers, in a fixed order."""
    seen: set[int] = set()

    def walk(holder: Any, depth: int) -> Iterator[Any]:
        if id(holder) in seen or isinstance(holder, _NO_HOLDERS) or depth > DEPTH:
            return
        seen.add(id(holder))
        if isinstance(holder, kinds):
            yield holder
            return
        if not isinstance(holder, dict | list | tuple):
            attributes = getattr(holder, "__dict__", None)
            items = list(attributes.values()) if isinstance(attributes, dict) else []
        elif len(holder) > WIDTH:
            return
        else:
            items = list(dict.values(holder) if isinstance(holder, dict) else holder)
        for item in items:
            yield from walk(item, depth + 1)

    return list(walk(root, 0))


def _is_plain(value: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "biufc" and value.dtype.itemsize <= 16 and value.dtype != np.longdouble
    if isinstance(value, Tensor):
        return value.layout == torch.strided
    return type(value) in _PLAIN  # exactly: an Enum or a schedule is more than its number


def _state_of(part: Any, name: str) -> Any:
    return copied(part.state_dict() if is_stateful(part) else part, name)


def _revived(nested: Any) -> Any:
    """A copy of the state with its arrays as they were: an optimizer goes on in the tensors that it gets."""
    if isinstance(nested, dict) and nested.keys() == {_ARRAY}:
        return nested[_ARRAY].numpy().copy()[()]
    if isinstance(nested, dict):
        return {key: _revived(value) for key, value in nested.items()}
    if isinstance(nested, list | tuple):
        return type(nested)(_revived(value) for value in nested)
    return nested.clone() if isinstance(nested, Tensor) else nested


def _random_state(source: Any) -> Any:
    if isinstance(source, torch.Generator):
        return source.get_state()
    if isinstance(source, random.Random):
        return source.getstate()
    bits = source.bit_generator.state if isinstance(source, np.random.Generator) else source.get_state(False)
    return copied(bits, "a generator's random numbers")


def _set_random_state(source: Any, state: Any) -> None:
    if isinstance(source, torch.Generator):
        source.set_state(state)
    elif isinstance(source, random.Random):
        version, internal, gauss_next = state
        source.setstate((version, tuple(internal), gauss_next))
    elif isinstance(source, np.random.Generator):
        source.bit_generator.state = _revived(state)
    else:
        source.set_state(_revived(state))
