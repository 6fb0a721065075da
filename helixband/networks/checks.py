"""The settings of networks, held against their rules when a network is made."""

from collections.abc import Collection, Sequence
from numbers import Integral, Real
from typing import Any

from torch import Tensor, nn

from helixband.errors import DataError, DefinitionError, in_one_line, listed

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


def check_sizes(network: object, **sizes: Any) -> None:
    """Refuse a size that is not a whole number from 1; the names are those of the arguments."""
    for name, size in sizes.items():
        if not _is_size(size):
            raise DefinitionError(f"{_named(network, name, size)}; it has to be a whole number from 1")


def check_list_of_sizes(network: object, **lists: Any) -> None:
    """Refuse what is not at least one whole number from 1."""
    for name, sizes in lists.items():
        is_list = isinstance(sizes, Sequence) and not isinstance(sizes, str)
        if not is_list or not sizes or not all(map(_is_size, sizes)):
            raise DefinitionError(
                f"{_named(network, name, sizes)}; it has to be a list of whole numbers from 1, such as [64, "
                "128]"
            )


def check_kernels(network: object, **kernels: Any) -> None:
    """Refuse a kernel of an even number of positions: its output would lie between two positions."""
    check_sizes(network, **kernels)
    for name, size in kernels.items():
        if size % 2 == 0:
            raise DefinitionError(
                f"{_named(network, name, size)}; it has to be odd, so that each output is at the middle of "
                f"its kernel: {size - 1} or {size + 1}"
            )


def check_share(network: object, **shares: Any) -> None:
    """Refuse a dropout that is not from 0 to below 1."""
    for name, share in shares.items():
        if not is_number(share) or not 0 <= share < 1:
            raise DefinitionError(f"{_named(network, name, share)}; it has to be from 0 to below 1")


def check_choice(network: object, name: str, value: Any, choices: Collection[str]) -> None:
    """Refuse what is none of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise DefinitionError(
            f"{_named(network, name, value)}; it has to be one of {listed(map(repr, choices), 10)}"
        )


def check_padding(network: object, padding: Any) -> None:
    """Refuse what is no index of a token; None is none."""
    if padding is not None and not (_is_size(padding) or (type(padding) is int and padding == 0)):
        raise DefinitionError(
            f"{_named(network, 'padding', padding)}; it has to be the index of padding, such as DNA.empty"
        )


def check_flags(network: object, **flags: Any) -> None:
    """Refuse what is neither True nor False."""
    for name, flag in flags.items():
        if type(flag) is not bool:
            raise DefinitionError(f"{_named(network, name, flag)}; it has to be True or False")


def check_features(network: object, x: Tensor, channels: int) -> None:
    """Raise `DataError` for features that are not (N, channels, S)."""
    if x.ndim != 3 or x.shape[1] != channels:
        raise DataError(
            f"{type(network).__name__} was given features of the shape {tuple(x.shape)}; it was made for "
            f"{channels} channels, (N, {channels}, S)"
        )


def is_number(value: Any) -> bool:
    """Whether it is a number, of Python or of NumPy; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _named(network: object, name: str, value: Any) -> str:
    return f"{name} of {type(network).__name__} is {in_one_line(value)}"
