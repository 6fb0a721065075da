"""The calls of torch's operators that a computation makes on a CPU, recorded once and replayed.

A replay leaves out what stands between a network and the operators: its modules, torch.func, and the graph of
the gradients. It calls the same operators on the same places, and so it gives the same bits.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

_CLONE, _LIFT = torch.ops.aten.clone.default, torch.ops.aten.lift_fresh.default
_INDEX = torch.ops.aten.index.Tensor


class TapeError(Exception):
    """Why a computation cannot be replayed, in words."""


def recorded(compute: Callable[[], Any]) -> Callable[[], None]:
    """What replays a computation, which is run once for it.

    Tensors that are there before it are read and written at their places. Raises `TapeError` where it draws
    random numbers, or where Python gets to know numbers of its tensors, and what goes wrong in it.
    """
    recorder = _Recorder()
    with recorder:
        compute()
    calls, count = recorder.calls, len(recorder.last)

    @torch.inference_mode()
    def replay() -> None:
        values: list[Any] = [None] * count
        for operator, args, kwargs, takes, gives, parts, ends in calls:
            for container, key, number in takes:
                container[key] = values[number]
            found = operator(*args, **kwargs)
            for number in gives:
                values[number] = found
            for place, number in parts:
                values[number] = found[place]
            for container, key, _ in takes:
                container[key] = None
            for number in ends:  # so that memory is free after its last use
                values[number] = None

    return replay


def is_recording() -> bool:
    """Whether a computation is recorded, which may not look at numbers."""
    return _Recorder.is_on


class _Call(NamedTuple):
    """A call of an operator. Tensors that the computation makes are put into its arguments."""

    operator: Any
    args: list[Any]
    kwargs: dict[str, Any]
    takes: list[tuple[Any, Any, int]]
    """A list or dict of arguments, the place there, and the number of the tensor."""
    gives: list[int]
    """The number of the tensor that it makes, where it gives one."""
    parts: list[tuple[int, int]]
    """The places and numbers of those that it makes, where it gives several."""
    ends: list[int]
    """The numbers of the tensors that no later call takes."""


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operators that are called in its context."""

    is_on = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch would import its compiler for it

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[_Call] = []
        self._made: list[Tensor] = []
        """What the computation made, in the order of their numbers; kept, so that no other has their ids."""
        self._numbers: dict[int, int] = {}
        self._storages: set[int] = set()
        self.last: list[_Call] = []
        """The last call that makes or takes each of them."""

    def __enter__(self) -> Any:
        type(self).is_on = True
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *raised: Any) -> None:
        type(self).is_on = False
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        for number, call in enumerate(self.last):
            call.ends.append(number)
        self._made.clear()

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if _draws(operator, args, kwargs or {}):
            raise TapeError(f"it draws random numbers ({operator.name()})")
        if operator is _LIFT:  # of a tensor that Python has just made of numbers
            operator, args = _CLONE, (args[0].clone(),)
        call = _Call(operator, list(args), dict(kwargs or {}), [], [], [], [])
        self._make_holes(call)
        found = operator(*args, **(kwargs or {}))
        if not call.takes and (operator.is_view or torch.Tag.data_dependent_output in operator.tags):
            return found  # it stays, as the tensor does of which it is a part
        if _tells_numbers(operator, args):
            raise TapeError(f"Python gets to know numbers of its tensors ({operator.name()})")
        self.calls.append(call)
        if isinstance(found, Tensor):
            call.gives.extend(self._numbered([found], call).values())
        elif isinstance(found, list | tuple):
            call.parts.extend(self._numbered(found, call).items())
        return found

    def _make_holes(self, call: _Call) -> None:
        """Leave room in the arguments for what the computation has made."""
        containers: list[Any] = [call.args, call.kwargs]
        for container in containers:
            for key, value in container.items() if isinstance(container, dict) else enumerate(container):
                if isinstance(value, list | tuple):
                    container[key] = list(value)
                    containers.append(container[key])
                elif isinstance(value, Tensor) and (number := self._number_of(value)) is not None:
                    container[key] = None
                    call.takes.append((container, key, number))
                    self.last[number] = call

    def _number_of(self, value: Tensor) -> int | None:
        """The number of a tensor that was made; None of one that was there before."""
        number = self._numbers.get(id(value))
        if number is None and _storage(value) in self._storages:
            raise TapeError("its operators are given a tensor in a way that is not seen")
        return number

    def _numbered(self, found: Sequence[Any], call: _Call) -> dict[int, int]:
        """The numbers of new tensors of a call, by their places."""
        new = {}
        for place, value in enumerate(found):
            if isinstance(value, Tensor) and not (id(value) in self._numbers or _is_given(value, call)):
                new[place] = self._numbers[id(value)] = len(self._made)
                self._made.append(value)
                self._storages.add(_storage(value))
                self.last.append(call)
        return new


def _draws(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operator draws random numbers. Attention does where it has dropout."""
    names = [each.name for each in operator._schema.arguments]
    share = {**dict(zip(names, args, strict=False)), **kwargs}.get("dropout_p", 0.0)
    return torch.Tag.nondeterministic_seeded in operator.tags and ("dropout_p" not in names or share > 0)


def _tells_numbers(operator: Any, args: Sequence[Any]) -> bool:
    """Whether an operator gives Python a number, or a tensor whose shape depends on numbers."""
    if operator is _INDEX:  # whose tags are those of masks
        return any(isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8) for each in args[1])
    return bool({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & {*operator.tags})


def _is_given(value: Tensor, call: _Call) -> bool:
    """Whether a tensor that a call gives back is one that stays, which it has changed."""
    return any(value is each for each in pytree.tree_leaves((call.args, call.kwargs)))


def _storage(value: Tensor) -> int:
    return int(value.untyped_storage()._cdata)
