"""The state of a training: all that its next epoch depends on, as a checkpoint holds it."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from helixband import randomness
from helixband.errors import DefinitionError, ResultsMismatch, StorageError
from helixband.generators.base import BatchGenerator
from helixband.training import options, snapshot
from helixband.training.constants import Constants
from helixband.training.holdings import Holdings, Look, Opaque, look, put, unchanged
from helixband.training.objects import is_stateful, walk
from helixband.training.settings import can_be_left, differences, settings_of
from helixband.training.stored import (
    capture_parts,
    check_shapes,
    copied,
    is_in_state_of,
    is_plain,
    load_parts,
    put_back,
    revived,
    shapes_of,
    state_of,
)

_OF_TRAINING = (((".", "optimizer"),), ((".", "scheduler"),))
"""Where paths go on that lead to what only training needs."""
MODEL = ("self", "the network", "the criterion")
TRAIN, VAL = "the training generator", "the validation generator"
"""What the parts of a model, and generators, are called in messages."""


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
        self._holdings = Holdings()
        self._holdings.begin(self._look(model, parts))
        self._shapes: dict[str, Any] = {}
        self.opaque: list[Opaque] = []
        """What was found latest of files, and of iterators whose place no checkpoint holds."""
        self._settings, self._options = settings_of(model), model.engine.options.described()

    def differences(self, content: Mapping[str, Any]) -> list[str]:
        """In which settings of optimizer, scheduler and training a state was begun otherwise, in words."""
        return [
            *differences(content.get("settings", self._settings), self._settings),
            *options.differences(content.get("options", self._options), self._options),
        ]

    def begin(self, model: Any, generator: Any) -> None:
        """Take the state of the model, the generator and the definition's modules for the one at first."""
        parts = self._parts(model)
        for name, part in parts.items():
            if is_stateful(part) and not isinstance(part, nn.Module):
                state_of(part, name)  # raises for what a checkpoint cannot hold
        self._shapes = {name: shapes_of(part) for name, part in parts.items() if isinstance(part, nn.Module)}
        now = self._look_at_all(model, parts, generator)
        self.opaque = now.opaque
        self._holdings.begin(now)

    def capture(self, model: Any, generator: Any) -> dict[str, Any]:
        """All that the model's next epoch over this generator depends on but the global random numbers.

        Raises `DefinitionError` for a part that got a state, or other tensors, only in training: it could
        not be put back.
        """
        parts = self._parts(model)
        for name, part in parts.items():
            if is_stateful(part) != (name in self._stateful):
                raise DefinitionError(
                    f"{name} became a {type(part).__name__} in training; make it in init_model"
                )
        now = self._look_at_all(model, parts, generator)
        self.opaque = now.opaque
        of_model, of_generator = _by_holder(now)
        states = capture_parts(parts)
        state = self._constants.left_out(states)
        for name, shapes in self._shapes.items():
            check_shapes(name, parts[name], states[name], shapes)
        return {
            **state,
            "generator": copied(generator.state_dict(), TRAIN) if is_stateful(generator) else None,
            "generator_random": _states_of(of_generator),
            "model_random": _states_of(of_model),
            "plain": self._holdings.changes(now, kept=(*MODEL, TRAIN)),
            "settings": self._settings,
            "options": self._options,
        }

    def restore(self, model: Any, content: Mapping[str, Any], generator: Any, where: str) -> None:
        """Put back what `capture` gave, or raise a `StorageError` that names `where` it is from.

        Raises `ResultsMismatch` where it was begun with other settings of the optimizer or the scheduler.
        """
        self._check_settings(model, content, where)
        parts = self._parts(model)
        of_model, of_generator = _by_holder(self._look_at_all(model, parts, generator))
        model_random = content.get("model_random") or _states_of(of_model)
        if _kinds(of_model) != [kind for kind, _ in model_random]:
            raise StorageError(
                f"{where} does not fit the definition: the model holds other random generators than there; "
                "make them in init_model"
            )
        kinds = [kind for kind, _ in content["generator_random"]]
        if _kinds(of_generator) != kinds or is_stateful(generator) != (content["generator"] is not None):
            raise StorageError(
                f"{where} does not fit {type(generator).__name__}: it holds the random numbers "
                f"{_kinds(of_generator)}, and held {kinds}; make them in __init__, and give it state_dict() "
                "always or never"
            )
        put_back(model, load_parts(self._constants.added(content), parts, where))
        if is_stateful(generator):
            generator.load_state_dict(revived(content["generator"]))
        stored = [*model_random, *content["generator_random"]]
        for source, (_, state) in zip([*of_model, *of_generator], stored, strict=True):
            randomness.put_state(source, revived(state))
        roots = {**self.roots(model), TRAIN: generator}
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
        parts = self._parts(model)
        plain = self._holdings.changes(self._look(model, parts), kept=MODEL)
        return {**self._constants.left_out(capture_parts(_inferring(parts))), "plain": plain}

    def weights_in(self, model: Any, content: Mapping[str, Any]) -> dict[str, Any]:
        """Of what `capture` gave, what evaluation and prediction depend on."""
        parts = {name: content[name] for name in _inferring(self._parts(model))}
        return {**parts, "plain": _plain_of_model(content["plain"])}

    def use(self, model: Any, content: Mapping[str, Any], where: str) -> None:
        """Take the weights of a checkpoint, and the moment of schedules that they are from."""
        put_back(model, load_parts(self._constants.added(content), _inferring(self._parts(model)), where))
        put(self.roots(model), content.get("plain", {}), where)
        model.config.set_time(max(0, content["epoch"] - 1), max(0, content["steps"] - 1))

    def use_but_network(self, model: Any, content: Mapping[str, Any], where: str) -> list[str]:
        """As `use`, for all but the tensors of the network, which it has; of `weights` and `capture` alike.

        Gives the names of the other parts with a state of which the content has nothing.
        """
        kept = {name: part for name, part in content.items() if name not in ("network", "plain")}
        moment = {"epoch": content.get("epoch", 0), "steps": content.get("steps", 0)}
        plain = _plain_of_model(content.get("plain", {}))
        self.use(model, {**kept, **moment, "plain": plain}, where)
        network = content.get("network", {})
        extra = {name: revived(value) for name, value in network.items() if not isinstance(value, Tensor)}
        model.network.load_state_dict(extra, strict=False)  # what get_extra_state of modules gave
        lacking = self._stateful - {"network", *content}
        return sorted(name for name in lacking if self.weights(model).get(name))

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
        """Around code of ours: model, network, optimizer and random numbers are afterwards as before.

        What a definition computes in it leaves no trace, and no gradient under way is lost.
        """
        before, parts = dict(vars(model)), self._parts(model)
        groups = [
            (group, dict(group))
            for part in parts.values()
            if isinstance(part, Optimizer)
            for group in part.param_groups
        ]
        scales = [value for _, group in groups for value in group.values() if isinstance(value, Tensor)]
        modules = [part for part in parts.values() if isinstance(part, nn.Module)]
        try:
            with (
                snapshot.modules_kept(modules),
                snapshot.tensors_kept(scales),
                unchanged(self.roots(model), self._is_own, _covered(parts), strict=False),
            ):
                yield
        finally:
            vars(model).clear()
            vars(model).update(before)
            for group, held in groups:
                group.clear()
                group.update(held)

    def marks(self, model: Any) -> dict[Any, Any]:
        """Something that is equal as long as the model and the definition's modules hold the same."""
        roots = {**self.roots(model), **randomness.held.variables()}
        return {path: mark for path, (_, mark) in look(roots, self._is_own).plain.items()}

    def roots(self, model: Any) -> dict[str, Any]:
        """Where what the model holds begins, by names for messages."""
        return dict(zip(MODEL, (model, model.network, model.criterion), strict=True))

    def _look(
        self,
        model: Any,
        parts: Mapping[str, Any],
        others: Mapping[str, Any] | None = None,
        whole: Iterable[Any] = (),
    ) -> Look:
        """What the model of these parts holds now, and others by name."""
        users = [part for name, part in parts.items() if name.startswith("self.")]
        closed = [part for part in users if is_stateful(part) and not isinstance(part, nn.Module)]
        roots = {**self.roots(model), **(others or {})}
        return look(roots, self._is_kept, _covered(parts), [*closed, *whole])

    def _look_at_all(self, model: Any, parts: Mapping[str, Any], generator: Any) -> Look:
        """What the model, the training generator and the definition's modules hold now."""
        others = {TRAIN: generator, **randomness.held.variables()}
        return self._look(model, parts, others, [generator] if is_stateful(generator) else [])

    def _is_own(self, holder: Any) -> Callable[[str], bool] | None:
        """Which attributes of a model are none of the user's."""
        return self._own.__contains__ if type(holder) is self._kind else None

    def _is_kept(self, holder: Any) -> Callable[[str], bool] | None:
        """Which attributes are plain and kept otherwise, or are none of the user's."""
        if isinstance(holder, LRScheduler):
            return is_in_state_of(holder)
        if type(holder) is not self._kind:
            return _is_order(holder)

        def left_out(name: str) -> bool:
            value = vars(holder).get(name)
            return is_plain(value) or (name in self._own and name not in ("optimizer", "scheduler"))

        return left_out


def use_best(model: Any, content: Mapping[str, Any]) -> None:
    """Give a model the best state of its training, which is over.

    Raises `DefinitionError` where the model has changed since, so that it does not take it.
    """
    try:
        model.engine.state.use(model, content, "the best state")
    except StorageError as error:
        raise DefinitionError(
            "the model got other parameters or buffers in training and cannot go back to its best epoch; "
            f"make them in init_model ({error})"
        ) from error


@contextlib.contextmanager
def left_alone(model: Any) -> Iterator[None]:
    """Around what is tried with a model: it, the definition and random numbers are afterwards as before."""
    definition = snapshot.of_the_definition()
    try:
        with randomness.unmoved(), model.engine.state.unmoved(model):
            yield
    finally:
        definition.put_back()


def _covered(parts: Mapping[str, Any]) -> Iterator[Any]:
    """The modules, tensors, optimizers and schedulers whose state is kept as one of the parts."""
    for part in parts.values():
        if isinstance(part, Optimizer | LRScheduler):
            yield part
        elif isinstance(part, nn.Module):
            yield from part.modules()
            yield from part.state_dict(keep_vars=True).values()


def _plain_of_model(plain: Mapping[Any, Any]) -> dict[Any, Any]:
    """Of the plain values by path, those on which evaluation and prediction depend."""
    return {
        path: code for path, code in plain.items() if path[0][1] in MODEL and path[1:2] not in _OF_TRAINING
    }


def _inferring(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts on which evaluation and prediction depend."""
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
        if name not in but and id(value) not in known and (is_plain(value) or is_stateful(value))
    }


def set_epoch(generator: Any, seed: int, epoch: int) -> None:
    """Set the order of an epoch in our generators, and in all that has a `set_epoch`, as torch's samplers."""
    if isinstance(generator, BatchGenerator) and generator.is_data_alone():
        generator.set_epoch(seed, epoch)
        return
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
    is_data = isinstance(generator, BatchGenerator) and generator.is_data_alone()
    with unchanged({} if is_data else {name: generator}, _is_order) as sources:
        randomness.seed_everything(randomness.derive_seed(seed, "validation", epoch))
        randomness.held.seed(randomness.derive_seed(seed, "validation", epoch))
        for number, source in enumerate(sources):
            randomness.seed_source(source, randomness.derive_seed(seed, "validation", epoch, number))
        set_epoch(generator, randomness.derive_seed(seed, "validation"), epoch)
        yield


def _by_holder(now: Look) -> tuple[list[Any], list[Any]]:
    """The random generators that the model holds, and those of the training generator."""
    of_model = [source for path, source in now.sources if path[0][1] in MODEL]
    return of_model, [source for path, source in now.sources if path[0][1] == TRAIN]


def _states_of(sources: Iterable[Any]) -> list[tuple[str, Any]]:
    return [(type(source).__name__, randomness.state_of(source)) for source in sources]


def _kinds(sources: Iterable[Any]) -> list[str]:
    return [type(source).__name__ for source in sources]


def _is_order(holder: Any) -> Callable[[str], bool] | None:
    """Of one of our generators, the attributes which `set_epoch` sets."""
    return ("_seed", "_epoch").__contains__ if isinstance(holder, BatchGenerator) else None
