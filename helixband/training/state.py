"""The state of a training: all that its next epoch depends on, as a checkpoint holds it."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helixband import randomness
from helixband.errors import DefinitionError, ResultsMismatch, StorageError
from helixband.generators.base import BatchGenerator
from helixband.nested import map_leaves
from helixband.training import options
from helixband.training.constants import Constants
from helixband.training.holdings import Holdings, put
from helixband.training.objects import found_in, is_stateful, walk
from helixband.training.schedules import Schedule
from helixband.training.settings import can_be_left, differences, settings_of

_ARRAY = "__array__"
_PLAIN = (bool, int, float, type(None))
TRAIN, VAL = "the training generator", "the validation generator"
"""What generators are called in messages."""


class ModelState:
    """What of a model has a state, by name: what it is trained with, and what a user keeps on it (`self.…`).

    `own` are the names of attributes that are not the user's. The model itself is not kept, so that it goes
    when its last user lets go of it.
    """

    def __init__(self, model: Any, own: Iterable[str]) -> None:
        self._own = set(own)
        self._kind = type(model)
        parts = self._parts(model)
        self._stateful = {name for name, part in parts.items() if is_stateful(part)}
        self._constants = Constants(parts)
        self._holdings = Holdings(self._is_kept)
        self._holdings.begin(self.roots(model), covered=self._covered(model))

        self._settings, self._options = settings_of(model), model.engine.options.described()

    def differences(self, content: Mapping[str, Any]) -> list[str]:
        """In which settings of optimizer, scheduler and training a state was begun otherwise, in words."""
        return [
            *differences(content.get("settings", self._settings), self._settings),
            *options.differences(content.get("options", self._options), self._options),
        ]

    def begin(self, model: Any, generator: Any) -> None:
        """Take the state of the model, the generator and the definition's modules for the one at first."""
        roots = {**self.roots(model), **_of_training(generator)}
        self._holdings.begin(roots, randomness.held.variables(), self._covered(model))

    def capture(self, model: Any, generator: Any) -> dict[str, Any]:
        """All that the model's next epoch over this generator depends on but the global random numbers.

        Raises `DefinitionError` for a part that got a state only in training: it could not be put back.
        """
        parts = self._parts(model)
        for name, part in parts.items():
            if is_stateful(part) != (name in self._stateful):
                raise DefinitionError(
                    f"{name} became a {type(part).__name__} in training; make it in init_model"
                )
        own = [(type(source).__name__, randomness.state_of(source)) for source in self._random_of(model)]
        roots = {**self.roots(model), **_of_training(generator)}
        plain = self._holdings.changes(roots, randomness.held.variables(), self._covered(model))
        state = self._constants.left_out(capture(parts, generator))
        return {
            **state,
            "model_random": own,
            "plain": plain,
            "settings": self._settings,
            "options": self._options,
        }

    def restore(self, model: Any, content: Mapping[str, Any], generator: Any, where: str) -> None:
        """Put back what `capture` gave, or raise a `StorageError` that names `where` it is from.

        Raises `ResultsMismatch` where it was begun with other settings of the optimizer or the scheduler.
        """
        self._check_settings(model, content, where)
        sources, stored = self._random_of(model), content.get("model_random", [])
        if stored and [type(source).__name__ for source in sources] != [kind for kind, _ in stored]:
            raise StorageError(
                f"{where} does not fit the definition: the model holds other random generators than there; "
                "make them in init_model"
            )
        put_back(model, restore(self._constants.added(content), self._parts(model), generator, where))
        for source, (_, state) in zip(sources, stored, strict=bool(stored)):
            randomness.put_state(source, _revived(state))
        roots = {**self.roots(model), **_of_training(generator)}
        self._holdings.put(roots, content.get("plain", {}), where)

    def _check_settings(self, model: Any, content: Mapping[str, Any], where: str) -> None:
        found = self.differences(content)
        forced = getattr(model.args, "force", False)
        if refused := [each for each in found if not (forced and can_be_left(each))]:
            more = f" ({len(refused) - 3} more)" if len(refused) > 3 else ""
            raise ResultsMismatch(
                f"{where} was begun with other settings: {'; '.join(refused[:3])}{more}. A training goes on "
                "with the optimizer and along the schedule that it was begun with: give the same --epoch "
                "and the same definition, or another directory with --result"
            )

    def weights(self, model: Any) -> dict[str, Any]:
        """What evaluation and prediction depend on."""
        plain = self._holdings.changes(self.roots(model), covered=self._covered(model))
        return {**self._constants.left_out(capture_parts(self._inferring(model))), "plain": plain}

    def weights_in(self, model: Any, content: Mapping[str, Any]) -> dict[str, Any]:
        """Of what `capture` gave, what evaluation and prediction depend on."""
        roots = self.roots(model)
        plain = {path: code for path, code in content["plain"].items() if path[0][1] in roots}
        return {**{name: content[name] for name in self._inferring(model)}, "plain": plain}

    def use(self, model: Any, content: Mapping[str, Any], where: str) -> None:
        """Take the weights of a checkpoint, and the moment of schedules that they are from."""
        put_back(model, load_parts(self._constants.added(content), self._inferring(model), where))
        put(self.roots(model), content.get("plain", {}), where)
        model.config.set_time(max(0, content["epoch"] - 1), max(0, content["steps"] - 1))

    def _parts(self, model: Any) -> dict[str, Any]:
        trained = {"network": model.network, "optimizer": model.optimizer}
        trained |= named("scheduler", model.scheduler) | {"average": model.engine.average}
        if isinstance(model.criterion, nn.Module):
            trained["criterion"] = model.criterion
        trained["scaler"] = model.engine.update.scaler
        trained = {name: part for name, part in trained.items() if part is not None}
        return trained | attributes_of(model, self._own, trained.values())

    @contextlib.contextmanager
    def unmoved(self, model: Any) -> Iterator[None]:
        """Around code of ours: what a user keeps on the model is afterwards as before, random numbers too."""
        before, sources = dict(vars(model)), self._random_of(model)
        states = [randomness.state_of(source) for source in sources]
        criterion = model.criterion.state_dict() if isinstance(model.criterion, nn.Module) else {}
        criterion = {name: copied(value, "the criterion") for name, value in criterion.items()}
        try:
            with self._holdings.unchanged(self.roots(model), self._covered(model), strict=False):
                yield
        finally:
            vars(model).clear()
            vars(model).update(before)
            for source, state in zip(sources, states, strict=True):
                randomness.put_state(source, state)
            if criterion:
                model.criterion.load_state_dict(_revived(criterion))

    def _random_of(self, model: Any) -> list[Any]:
        """The random generators that a user keeps on the model, in a fixed order."""
        return [
            value
            for _, value in walk(self.roots(model), _is_source, self._is_own)
            if isinstance(value, randomness.SOURCES)
        ]

    def roots(self, model: Any) -> dict[str, Any]:
        """Where what the model holds begins, by names for messages."""
        return {"self": model, "the network": model.network, "the criterion": model.criterion}

    def is_engine(self, holder: Any) -> Callable[[str], bool] | None:
        """Of a model, the attribute in which the engine keeps its own records; of anything else None."""
        return "engine".__eq__ if type(holder) is self._kind else None

    def _is_own(self, holder: Any) -> Callable[[str], bool] | None:
        return self._own.__contains__ if type(holder) is self._kind else None

    def _is_kept(self, holder: Any) -> Callable[[str], bool] | None:
        """Which attributes are kept otherwise, or are none of the user's."""
        if type(holder) is not self._kind:
            return _is_order(holder)

        def left_out(name: str) -> bool:
            value = vars(holder).get(name)
            is_part = is_stateful(value) and not isinstance(value, nn.Module)
            return name in self._own or _is_plain(value) or is_part

        return left_out

    def _covered(self, model: Any) -> Iterator[Any]:
        """The modules and tensors whose state is kept as one of the parts."""
        for part in self._parts(model).values():
            if isinstance(part, nn.Module):
                yield from part.modules()
                yield from part.state_dict(keep_vars=True).values()

    def _inferring(self, model: Any) -> dict[str, Any]:
        parts = self._parts(model)
        left_out = ("optimizer", "scheduler", "average", "scaler")
        return {name: part for name, part in parts.items() if not name.startswith(left_out)}


def named(name: str, part: Any) -> dict[str, Any]:
    """A part by its name; of a list of them each by the name and its number.

    >>> named("scheduler", [3, 4])
    {'scheduler 0': 3, 'scheduler 1': 4}
    """
    if isinstance(part, list | tuple):
        return {f"{name} {number}": each for number, each in enumerate(part)}
    return {name: part}


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
    """The states of parts by name, and of a generator, on the CPU.

    A part is `Stateful`, or a plain value that is kept as it is.
    """
    state = capture_parts(parts)
    own = copied(generator.state_dict(), "the generator") if is_stateful(generator) else None
    found = found_in(generator, randomness.SOURCES)
    sources = [(type(source).__name__, randomness.state_of(source)) for source in found]
    return state | {"generator": own, "generator_random": sources}


def capture_parts(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The states of parts alone, by name, on the CPU."""
    return {name: _state_of(part, name) for name, part in parts.items()}


def restore(state: Mapping[str, Any], parts: Mapping[str, Any], generator: Any, where: str) -> dict[str, Any]:
    """Put back what `capture` gave; the plain values among the parts, for the caller to put back.

    Raises `StorageError` naming `where` it came from, where it does not fit.
    """
    plain = load_parts(state, parts, where)
    sources, stored = found_in(generator, randomness.SOURCES), state["generator_random"]
    kinds, stored_kinds = [type(source).__name__ for source in sources], [kind for kind, _ in stored]
    if kinds != stored_kinds or is_stateful(generator) != (state["generator"] is not None):
        raise StorageError(
            f"{where} does not fit {type(generator).__name__}: it holds the random numbers {kinds}, and held "
            f"{stored_kinds}; make them in __init__, and give it state_dict() always or never"
        )
    if is_stateful(generator):
        generator.load_state_dict(_revived(state["generator"]))
    for source, (_, source_state) in zip(sources, stored, strict=True):
        randomness.put_state(source, _revived(source_state))
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


def set_epoch(generator: Any, seed: int, epoch: int) -> None:
    """Set the order of an epoch in our generators, and in all that has a `set_epoch`, as torch's samplers."""
    for _, holder in walk({"": generator}, lambda value, path: False):
        kind: Any = type(holder)
        if callable(getattr(kind, "set_epoch", None)):
            holder.set_epoch(*(seed, epoch) if _takes_seed(kind) else (epoch,))


@functools.lru_cache(maxsize=256)
def _takes_seed(kind: Any) -> bool:
    return "seed" in inspect.signature(kind.set_epoch).parameters


@contextlib.contextmanager
def validation_numbers(generator: Any, seed: int, epoch: int, name: str = VAL) -> Iterator[None]:
    """Around a validation, or another pass that leaves no trace: what it sees depends on (seed, epoch) alone.

    That holds for the global random numbers and those that the definition's modules hold, which the caller
    puts back, for those that the generator holds, and for what else it holds that changes as it is read,
    which are put back here. Raises `DefinitionError` where something cannot be put back.
    """
    sources = found_in(generator, randomness.SOURCES)
    before = [randomness.state_of(source) for source in sources]
    randomness.seed_everything(randomness.derive_seed(seed, "validation", epoch))
    randomness.held.seed(randomness.derive_seed(seed, "validation", epoch))
    for number, source in enumerate(sources):
        randomness.seed_source(source, randomness.derive_seed(seed, "validation", epoch, number))
    try:
        with Holdings(_is_order).unchanged({name: generator}):
            set_epoch(generator, randomness.derive_seed(seed, "validation"), epoch)
            yield
    finally:
        for source, state in zip(sources, before, strict=True):
            randomness.put_state(source, state)


def _of_training(generator: Any) -> dict[str, Any]:
    """The training generator by its name, where it does not keep its state itself."""
    return {} if is_stateful(generator) else {TRAIN: generator}


def _is_source(value: Any, path: Any) -> bool:
    return isinstance(value, randomness.SOURCES)


def _is_order(holder: Any) -> Callable[[str], bool] | None:
    """Of one of our generators, the attributes which `set_epoch` sets."""
    return ("_seed", "_epoch").__contains__ if isinstance(holder, BatchGenerator) else None


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
