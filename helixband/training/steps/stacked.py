"""The optimizers of several members as one, each with its own hyperparameters."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from helixband.training.objects import is_known_code
from helixband.training.parts.schedule import schedulers
from helixband.training.steps.rows import Rows
from helixband.training.steps.updates import KINDS


class StackedOptimizer:
    """Updates parameters in rows as the optimizer of each member would; it has their state till `write_back`.

    The members have optimizers of one kind and groups of the same parameters. Each has the state of a step.
    """

    def __init__(self, models: Sequence[Any], parameters: Rows) -> None:
        self._parameters = parameters
        first = models[0].optimizer
        self._kind, self._names = KINDS[type(first)], trained_names(models[0])
        self._flags = [{flag: bool(each[flag]) for flag in self._kind.flags} for each in first.param_groups]
        self._groups = [number for number, names in enumerate(self._names) if names]
        self._states = {
            number: {
                key: Rows([_state(model, self._names[number], key) for model in models])
                for key in state_names(models[0], first.param_groups[number])
            }
            for number in self._groups
        }
        self._count(models)

    def take(self, models: Sequence[Any]) -> None:
        """Have the state of as many other members, at the same place in memory."""
        for number, states in self._states.items():
            for key, rows in states.items():
                rows.take([_state(model, self._names[number], key) for model in models])
        self._count(models)

    def _count(self, models: Sequence[Any]) -> None:
        self._models, self._steps = models, {}
        for number in self._groups if self._kind.counts else ():
            counted = [_state(model, self._names[number][:1], "step") for model in models]
            self._steps[number] = np.array([float(next(iter(each.values()))) for each in counted])

    @property
    def matrices(self) -> list[Tensor]:
        """The state, each (K, n)."""
        return [rows.matrix for states in self._states.values() for rows in states.values()]

    def count(self, steps: int) -> None:
        """Count steps that were taken."""
        for counted in self._steps.values():
            counted += steps

    def take_back(self, members: Sequence[int]) -> None:
        """Do not count the last step of some members."""
        for steps in self._steps.values():
            steps[list(members)] -= 1

    def read(self) -> dict[str, list[float]]:
        """The hyperparameters of the members at the moment, by <group>.<name>."""
        found = {}
        for number in self._groups:
            groups = [model.optimizer.param_groups[number] for model in self._models]
            for name in self._kind.numbers:
                found[f"{number}.{name}"] = _of_groups(groups, name)
        return found

    def prepared(self, read: Mapping[str, NDArray[np.float64]], count: int) -> dict[str, Any]:
        """What `count` steps are computed with, (count, K) by <group>.<name>, given what was read."""
        found = {}
        for number in self._groups:
            numbers: dict[str, Any] = {name: read[f"{number}.{name}"] for name in self._kind.numbers}
            if self._kind.counts:
                numbers["step"] = self._steps[number] + np.arange(1, count + 1)[:, None]
            for name, values in self._kind.prepare(numbers, self._flags[number]).items():
                found[f"{number}.{name}"] = values
        return found

    def update(self, gradients: Tensor, values: Mapping[str, Tensor]) -> None:
        """Take a step, given the gradients (K, columns) of what is trained and the prepared values (K, 1)."""
        for number in self._groups:
            own = {
                name.removeprefix(f"{number}."): value
                for name, value in values.items()
                if name.startswith(f"{number}.")
            }
            columns = self._parameters.columns(self._names[number])
            change = -gradients[:, columns] if self._flags[number]["maximize"] else gradients[:, columns]
            state = {key: rows.matrix for key, rows in self._states[number].items()}
            self._kind.update(self._parameters.matrix[:, columns], change, state, own, self._flags[number])

    def write_back(self) -> None:
        """Give each optimizer its state, and let go of it."""
        for number in self._groups:
            for rows in self._states[number].values():
                rows.write_back()
            for model, count in zip(self._models, self._steps.get(number, ()), strict=False):
                for step in _state(model, self._names[number], "step").values():
                    step.fill_(count)
        self._models = []


def trained_names(model: Any) -> list[list[str]]:
    """The names of the parameters that are trained, of each group of the optimizer."""
    names = {id(value): name for name, value in model.network.named_parameters()}
    groups = model.optimizer.param_groups
    return [[names[id(each)] for each in group["params"] if each.requires_grad] for group in groups]


def state_names(model: Any, group: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the state of a parameter of a group: of what its next step takes, and what it may later.

    That is a buffer of momentum, which stays as it is as long as the momentum is 0.
    """
    kind, buffer = KINDS[type(model.optimizer)], "momentum_buffer"
    wanted = kind.state(group)
    if "momentum" not in kind.numbers or buffer in wanted:
        return wanted
    states = [model.optimizer.state.get(each, {}) for each in group["params"] if each.requires_grad]
    is_there = bool(states) and all(state.get(buffer) is not None for state in states)
    return (*wanted, buffer) if is_there else wanted


def may_begin_momentum(model: Any) -> bool:
    """Whether a scheduler may set a momentum within an epoch of which there is no state yet."""
    if not model.engine.schedules.by_step:
        return False
    is_own = not all(is_known_code(type(each)) for each in schedulers(model.scheduler))
    return any(
        group.get("momentum") == 0
        and (is_own or "base_momentum" in group)
        and "momentum_buffer" not in state_names(model, group)
        for group in model.optimizer.param_groups
    )


def without_state(model: Any) -> Iterator[Tensor]:
    """The parameters whose state an optimizer has yet to make, as it does when they first get a gradient."""
    kind = KINDS[type(model.optimizer)]
    for group in model.optimizer.param_groups:
        wanted = [*kind.state(group), *(("step",) if kind.counts else ())]
        for parameter in group["params"]:
            state = model.optimizer.state.get(parameter, {})
            if parameter.requires_grad and any(state.get(key) is None for key in wanted):
                yield parameter


def without_gradient(model: Any) -> str | None:
    """The name of a parameter that has no state, and got no gradient in a step of the others."""
    if all(parameter.grad is None for parameter in model.network.parameters()):  # there was no step
        return None
    lacking = {id(parameter) for parameter in without_state(model) if parameter.grad is None}
    return next((name for name, value in model.network.named_parameters() if id(value) in lacking), None)


def counts_apart(model: Any) -> bool:
    """Whether the parameters of a group have had different numbers of steps."""
    if not KINDS[type(model.optimizer)].counts:
        return False
    counts = (_state(model, names, "step").values() for names in trained_names(model))
    return any(len({float(each) for each in steps}) > 1 for steps in counts)


def _state(model: Any, names: Sequence[str], key: str) -> dict[str, Tensor]:
    """Of each parameter of these names, that part of the optimizer's state."""
    state = model.optimizer.state
    return {name: state[model.network.get_parameter(name)][key] for name in names}


def _of_groups(groups: Sequence[Any], name: str) -> list[float]:
    """A hyperparameter of each member; of one that is a tuple, the part <name>_<index>."""
    stem, _, index = name.rpartition("_")
    is_part = index.isdigit()
    return [float(each[stem][int(index)] if is_part else each[name]) for each in groups]
