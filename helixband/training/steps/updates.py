"""The updates of torch's optimizers for several members at once, each with its own hyperparameters.

Tensors are (K, n): a row is a member, a column an element of its parameters.
The formulas are those of the documentation of `torch.optim`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, optim

State = Mapping[str, Tensor]
Numbers = Mapping[str, Any]
"""Hyperparameters by name, those of a tuple as <name>_<index>, and `step` from 1: NumPy, (K,)."""
Values = Mapping[str, Tensor]
"""What an update is computed with: tensors (K, 1)."""
Flags = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """How an optimizer updates: `update(parameters, gradients, state, values, flags)`, in place."""

    prepare: Callable[[Numbers, Flags], dict[str, Any]]
    """The values of an update, computed in double precision; a decay of 0 is left out."""
    update: Callable[[Tensor, Tensor, State, Values, Flags], None]
    state: Callable[[Mapping[str, Any]], tuple[str, ...]]
    """The names of the state of a parameter in a group, but for `step`."""
    numbers: tuple[str, ...]
    """The hyperparameters in which members may differ."""
    flags: tuple[str, ...] = ("maximize",)
    """Those in which they may not."""
    counts: bool = True
    """Whether the state has `step`."""


def _decay(numbers: Numbers) -> dict[str, Any]:
    decay = numbers["weight_decay"]
    return {"decay": decay} if decay.any() else {}


def _decayed(parameters: Tensor, gradients: Tensor, values: Values) -> Tensor:
    return torch.addcmul(gradients, parameters, values["decay"]) if "decay" in values else gradients


def _momentum(numbers: Numbers, rest: Any) -> dict[str, Any]:
    """What a buffer keeps, and how much of a direction it takes: where there is no momentum, all and nothing.

    `on`, which says where there is some, is left out where all have it.
    """
    on = numbers["momentum"] != 0
    values = {"kept": np.where(on, numbers["momentum"], 1.0), "rest": np.where(on, rest, 0.0)}
    return values if on.all() else {**values, "on": on}


def _along(direction: Tensor, buffer: Tensor, values: Values) -> Tensor:
    """The buffer, or the direction itself where there is no momentum."""
    return torch.where(values["on"] > 0, buffer, direction) if "on" in values else buffer


def _for_sgd(n: Numbers, flags: Flags) -> dict[str, Any]:
    numbers = {"rate": -n["lr"], **_momentum(n, 1 - n["dampening"]), **_decay(n)}
    return {**numbers, "momentum": n["momentum"]} if flags["nesterov"] else numbers


def _sgd(p: Tensor, g: Tensor, state: State, v: Values, flags: Flags) -> None:
    g = _decayed(p, g, v)
    if "momentum_buffer" in state:
        buffer = state["momentum_buffer"].mul_(v["kept"]).addcmul_(g, v["rest"])
        g = torch.addcmul(g, buffer, v["momentum"]) if flags["nesterov"] else _along(g, buffer, v)
    p.addcmul_(g, v["rate"])


def _for_adam(n: Numbers, flags: Flags) -> dict[str, Any]:
    first, second, step = n["betas_0"], n["betas_1"], n["step"]
    decay = _decay(n)
    if decay and flags["decoupled_weight_decay"]:
        decay = {"kept": 1 - n["lr"] * n["weight_decay"]}
    return {
        "new": 1 - first,
        "second": second,
        "rest": 1 - second,
        "root": np.sqrt(1 - second**step),
        "rate": -n["lr"] / (1 - first**step),
        "eps": n["eps"],
        **decay,
    }


def _adam(p: Tensor, g: Tensor, state: State, v: Values, flags: Flags) -> None:
    if "kept" in v:
        p.mul_(v["kept"])
    g = _decayed(p, g, v)
    mean, square = state["exp_avg"].lerp_(g, v["new"]), state["exp_avg_sq"]
    square.mul_(v["second"]).addcmul_(g * v["rest"], g)
    if flags["amsgrad"]:
        square = torch.maximum(state["max_exp_avg_sq"], square, out=state["max_exp_avg_sq"])
    p.addcdiv_(mean * v["rate"], square.sqrt().div_(v["root"]).add_(v["eps"]))


def _for_rmsprop(n: Numbers, flags: Flags) -> dict[str, Any]:
    numbers = {"alpha": n["alpha"], "new": 1 - n["alpha"], "eps": n["eps"], **_momentum(n, 1.0)}
    return {"rate": -n["lr"], **numbers, **_decay(n)}


def _rmsprop(p: Tensor, g: Tensor, state: State, v: Values, flags: Flags) -> None:
    g = _decayed(p, g, v)
    square = state["square_avg"].mul_(v["alpha"]).addcmul_(g * v["new"], g)
    if flags["centered"]:
        mean = state["grad_avg"].lerp_(g, v["new"])
        square = torch.addcmul(square, mean, mean, value=-1)
    direction = g / square.sqrt().add_(v["eps"])
    if "momentum_buffer" in state:
        buffer = state["momentum_buffer"].mul_(v["kept"]).addcmul_(direction, v["rest"])
        direction = _along(direction, buffer, v)
    p.addcmul_(direction, v["rate"])


def _for_adadelta(n: Numbers, flags: Flags) -> dict[str, Any]:
    return {"rate": -n["lr"], "rho": n["rho"], "rest": 1 - n["rho"], "eps": n["eps"], **_decay(n)}


def _adadelta(p: Tensor, g: Tensor, state: State, v: Values, flags: Flags) -> None:
    g = _decayed(p, g, v)
    changes = state["acc_delta"]
    square = state["square_avg"].mul_(v["rho"]).addcmul_(g * v["rest"], g)
    change = (changes + v["eps"]).sqrt_().div_((square + v["eps"]).sqrt_()).mul_(g)
    changes.mul_(v["rho"]).addcmul_(change * v["rest"], change)
    p.addcmul_(change, v["rate"])


def _for_adagrad(n: Numbers, flags: Flags) -> dict[str, Any]:
    rate = -n["lr"] / (1 + (n["step"] - 1) * n["lr_decay"])
    return {"rate": rate, "eps": n["eps"], **_decay(n)}


def _adagrad(p: Tensor, g: Tensor, state: State, v: Values, flags: Flags) -> None:
    g = _decayed(p, g, v)
    total = state["sum"].addcmul_(g, g)
    p.addcdiv_(g * v["rate"], total.sqrt().add_(v["eps"]))


def _with_buffer(group: Mapping[str, Any]) -> tuple[str, ...]:
    return ("momentum_buffer",) if group["momentum"] != 0 else ()


def _of_adam(group: Mapping[str, Any]) -> tuple[str, ...]:
    return ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if group["amsgrad"] else ()))


def _of_rmsprop(group: Mapping[str, Any]) -> tuple[str, ...]:
    return ("square_avg", *(("grad_avg",) if group["centered"] else ()), *_with_buffer(group))


_ADAM = Kind(
    _for_adam,
    _adam,
    _of_adam,
    ("lr", "betas_0", "betas_1", "eps", "weight_decay"),
    ("maximize", "amsgrad", "decoupled_weight_decay"),
)

KINDS: dict[type[optim.Optimizer], Kind] = {
    optim.SGD: Kind(
        _for_sgd,
        _sgd,
        _with_buffer,
        ("lr", "momentum", "dampening", "weight_decay"),
        ("maximize", "nesterov"),
        counts=False,
    ),
    optim.Adam: _ADAM,
    optim.AdamW: _ADAM,
    optim.RMSprop: Kind(
        _for_rmsprop,
        _rmsprop,
        _of_rmsprop,
        ("lr", "alpha", "eps", "weight_decay", "momentum"),
        ("maximize", "centered"),
    ),
    optim.Adadelta: Kind(
        _for_adadelta,
        _adadelta,
        lambda group: ("square_avg", "acc_delta"),
        ("lr", "rho", "eps", "weight_decay"),
    ),
    optim.Adagrad: Kind(
        _for_adagrad, _adagrad, lambda group: ("sum",), ("lr", "lr_decay", "eps", "weight_decay")
    ),
}
"""The optimizers whose steps several members can take at once."""
