"""What checkpoints hold of the parts of a training: states and plain values, in forms that torch reads.

Tensors are copied to the CPU, arrays are marked tensors, all else is numbers, strings and containers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from helixband.errors import DefinitionError, StorageError, in_one_line
from helixband.nested import like
from helixband.training.objects import ATOMS, is_stateful
from helixband.training.plain import ARRAYS
from helixband.training.schedules import Schedule

_ARRAY = "__array__"
_PLAIN = (bool, int, float, type(None))
_STORABLE = {*ATOMS, set, bytearray, torch.dtype, torch.device, torch.Size}
"""What torch reads with `weights_only=True`, besides tensors and containers."""


def capture_parts(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The states of parts alone, by name, on the CPU."""
    return {name: state_of(part, name) for name, part in parts.items()}


def load_parts(state: Mapping[str, Any], parts: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The parts' states alone; parts that the state does not have are left as they are."""
    plain = {name: revived(kept) for name, kept in state.items() if name.startswith("self.")}
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
            part.load_state_dict(revived(state[name]))
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise StorageError(f"{where} does not fit the {name} of this definition: {error}") from error
    return plain


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...] | None]:
    """The shapes of the tensors in a module's state by name; None for what is not made yet, or no tensor."""
    return {name: _shape_of(name, value) for name, value in module.state_dict(keep_vars=True).items()}


def check_shapes(name: str, module: nn.Module, state: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """Raise `DefinitionError` where a new module would not take this state: it was `made` with other tensors.

    Modules that load their state in a way of their own may take it.
    """
    now = {key: _shape_of(key, value) for key, value in state.items()}
    other = {key for key in now.keys() ^ made.keys() if not _loads_itself(module, key)}
    other |= {
        key
        for key in now.keys() & made.keys()
        if not _are_alike(now[key], made[key]) and not _loads_itself(module, key)
    }
    if other:
        has, had = (
            " and ".join(f"{key}{list(shapes[key] or ())}" for key in sorted(other & shapes.keys())[:3])
            for shapes in (now, made)
        )
        raise DefinitionError(
            "the model got other parameters or buffers in training and cannot go back to a checkpoint: the "
            f"{name} has {has or 'none'} in place of {had or 'none'}; make them in init_model (for pruning: "
            "torch.nn.utils.prune.identity)"
        )


def _shape_of(name: str, value: Any) -> tuple[int, ...] | None:
    is_known = isinstance(value, Tensor) and not is_lazy(value) and not name.endswith("_extra_state")
    return tuple(value.shape) if is_known else None


def _are_alike(now: tuple[int, ...] | None, made: tuple[int, ...] | None) -> bool:
    """Whether torch loads a tensor of the one shape into the other: a number also from a vector."""
    return now is None or made is None or now == made or (made == () and len(now) == 1)


def _loads_itself(module: nn.Module, key: str) -> bool:
    """Whether the holder of an entry of the state, or what that lies in, has a way of its own to load it."""
    if type(module).load_state_dict is not nn.Module.load_state_dict:
        return True
    lies_in: list[Any] = [module]
    for name in key.split(".")[:-1]:
        lies_in.append(getattr(lies_in[-1], name, None))
    return any(
        type(each)._load_from_state_dict is not nn.Module._load_from_state_dict
        or each._load_state_dict_pre_hooks
        or each._load_state_dict_post_hooks
        for each in lies_in
        if isinstance(each, nn.Module)
    )


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


def is_plain(value: Any) -> bool:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.kind in "biufc" and value.dtype.itemsize <= 16 and value.dtype != np.longdouble
    if isinstance(value, Tensor):
        return value.layout == torch.strided
    return type(value) in _PLAIN  # exactly: an Enum or a schedule is more than its number


def state_of(part: Any, name: str) -> Any:
    try:
        state = part.state_dict() if is_stateful(part) else part
    except KeyError as error:
        if not isinstance(part, Optimizer):
            raise
        raise DefinitionError(
            f"the {name} holds the state of a parameter that is in none of its param_groups: take the "
            f"parameter out of {name}.state, too"
        ) from error
    if isinstance(part, LRScheduler):  # its attributes, of which some may be objects: they are looked at
        attributes = vars(part)
        state = {
            key: value
            for key, value in state.items()
            if value is not attributes.get(key) or _is_storable(value)
        }
    return copied(state, name)


def copied(nested: Any, name: str) -> Any:
    """State in what checkpoints hold: tensors copied to the CPU, arrays as marked tensors, plain numbers.

    Raises `DefinitionError` naming whose state has something that a checkpoint cannot hold.
    """

    def copy(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            leaf = leaf.detach()
            return leaf.clone() if leaf.is_cpu else leaf.to("cpu")  # both copy; `to` takes longer on the CPU
        if isinstance(leaf, (np.ndarray, np.generic)):
            try:
                return {_ARRAY: torch.from_numpy(np.array(leaf, dtype=leaf.dtype.newbyteorder("=")))}
            except TypeError as error:
                raise DefinitionError(
                    f"the state of {name} holds {leaf!r}, which a checkpoint cannot: {error}"
                ) from error
        if isinstance(leaf, Schedule):
            return float(leaf)
        if type(leaf) not in _STORABLE:
            raise DefinitionError(
                f"the state of {name} holds {in_one_line(leaf)}, a {type(leaf).__name__}, which a checkpoint "
                "cannot: leave it out of state_dict(), or give it as numbers, strings and tensors"
            )
        return leaf

    return _mapped(copy, nested)


def _mapped(function: Callable[[Any], Any], state: Any) -> Any:
    """A state with `function` applied to all but its containers; dicts and lists become plain ones."""
    if isinstance(state, dict):
        return {key: _mapped(function, value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        values = [_mapped(function, value) for value in state]
        return like(state, values) if isinstance(state, tuple) else values
    return function(state)


def is_in_state_of(scheduler: LRScheduler) -> Callable[[str], bool]:
    """Which attributes of a scheduler its `state_dict` gives to a checkpoint."""
    attributes, state = vars(scheduler), scheduler.state_dict()

    def is_in_state(name: str) -> bool:
        return name in state and attributes[name] is state[name] and _is_storable(attributes[name])

    return is_in_state


def _is_storable(value: Any) -> bool:
    if isinstance(value, (dict, list, tuple)):
        return all(map(_is_storable, value.values() if isinstance(value, dict) else value))
    return type(value) in _STORABLE or isinstance(value, ARRAYS + (Schedule,))


def revived(nested: Any) -> Any:
    """A copy of the state with its arrays as they were: an optimizer goes on in the tensors that it gets."""
    if isinstance(nested, dict) and nested.keys() == {_ARRAY}:
        return nested[_ARRAY].numpy().copy()[()]
    if isinstance(nested, dict):
        return {key: revived(value) for key, value in nested.items()}
    if isinstance(nested, (list, tuple)):
        return type(nested)(revived(value) for value in nested)
    return nested.clone() if isinstance(nested, Tensor) else nested
