"""The number format of a network's computation: single precision, TF32, bfloat16, or 16 bits with a scale.

Autocast is on around the network alone. Its outputs are float32 before losses, metrics and files see them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from helixband.errors import DefinitionError, in_one_line
from helixband.nested import is_nested, leaves, map_leaves

DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}
_ENTERED: list[Any] = []
"""The autocasts of the networks that are at work, the innermost last; None for a part of one at work."""
_SINGLE = [False]
"""Whether networks compute in single precision, whatever theirs is."""


def set_up(
    network: nn.Module, precision: str, device: torch.device, by_parts: bool = False
) -> GradScaler | None:
    """Have the network compute in a precision; what scales its losses, where that is needed.

    `by_parts`: a definition may call its parts alone.

    Raises `DefinitionError` where the device does not have it.
    """
    _check(precision, device)
    if precision in DTYPES:
        for module in network.modules() if by_parts else (network,):
            is_part = module is not network
            module.register_forward_pre_hook(_Enter(device.type, DTYPES[precision], is_part))
            module.register_forward_hook(_leave, always_call=True)
    return GradScaler(device.type) if precision == "16" else None


def begin_pass(precision: str) -> None:
    """Have the device multiply float32 as a model wants it; others of the process may want it otherwise."""
    if precision == "tf32":
        if not _BEFORE:
            _BEFORE.append(_of_device())
        _set_device(["tf32"] * len(_BEFORE[0]))
    elif _BEFORE:
        _set_device(_BEFORE.pop())


_BEFORE: list[list[str]] = []
"""The settings that a pass in TF32 has changed."""


def _of_device() -> list[str]:
    """How the device multiplies float32 in products, convolutions and recurrent layers.

    Torch's older settings, `allow_tf32`, cannot be read where a definition has set these.
    """
    return [each.fp32_precision for each in _places()]


def _set_device(precisions: Sequence[str]) -> None:
    for place, precision in zip(_places(), precisions, strict=True):
        place.fp32_precision = precision


def _places() -> tuple[Any, ...]:
    backends: Any = torch.backends
    return backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn


def is_single() -> bool:
    """Whether networks compute in single precision, as within `single`."""
    return _SINGLE[0]


@contextmanager
def single(is_on: bool = True) -> Iterator[None]:
    """Networks compute in single precision, and the device multiplies so: rounding hides what differs.

    Within it, `single(False)` has them compute in their own.
    """
    before = _of_device(), _SINGLE[0]
    if is_on:
        _set_device(["ieee"] * len(before[0]))
    _SINGLE[0] = is_on
    try:
        yield
    finally:
        _SINGLE[0] = before[1]
        _set_device(before[0])


def is_ours(hook: Any) -> bool:
    """Whether a hook of a network is one that `set_up` has put there."""
    return hook is _leave or isinstance(hook, _Enter)


def _check(precision: str, device: torch.device) -> None:
    if precision in ("16", "tf32") and device.type == "cpu":
        raise DefinitionError(
            f"precision is {precision!r}, which a CPU does not have; leave it out, or take 'bf16'"
        )
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        name = torch.cuda.get_device_name(device)
        raise DefinitionError(f"precision is 'bf16', which {name} does not have; take '16'")


class _Enter:
    """Turns autocast on before the network, or a part of it alone, computes."""

    def __init__(self, device: str, dtype: torch.dtype, is_part: bool) -> None:
        self._device, self._dtype, self._is_part = device, dtype, is_part

    def __call__(self, network: nn.Module, args: Any) -> None:
        autocast: Any = None
        # Within autocast a part is computed again, for gradients, as it was within the network.
        is_first = not _ENTERED and not _SINGLE[0]
        if is_first and not (self._is_part and torch.is_autocast_enabled(self._device)):
            autocast = torch.autocast(self._device, self._dtype)
            autocast.__enter__()
        _ENTERED.append(autocast)


def _leave(network: nn.Module, args: Any, output: Any) -> Any:
    """Turns it off again, after an error too, of which there is no output."""
    autocast = _ENTERED.pop() if _ENTERED else None
    if autocast is None:
        return output
    autocast.__exit__(None, None, None)
    return _single(output)


def _single(output: Any) -> Any:
    """An output in float32; raises `DefinitionError` for an object whose tensors cannot be brought there."""
    if is_nested(output):
        return map_leaves(_single, output)
    if isinstance(output, Tensor):
        return output.float() if _is_half(output) else output
    for name, value in getattr(output, "__dict__", {}).items():
        if any(map(_is_half, leaves(value))):
            raise DefinitionError(
                f"the network returned {in_one_line(output)}, a {type(output).__name__} whose {name} is in "
                "16 bits, and cannot be brought to float32: return tensors, or a dict, tuple, list or "
                "dataclass of them, or leave precision out"
            )
    return output


def _is_half(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in DTYPES.values()
