"""What a definition's hooks return, checked."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from helixband.errors import DefinitionError, in_one_line
from helixband.nested import leaves, length
from helixband.training.result import Result, plain_numbers

RESERVED = ("epoch", "reward", "seconds", "lr", "lr_", "hp_")
"""Columns of an epoch's row that come after `on_epoch_end`, and what others begin with."""


def prepared(model: Any, x: Any, y: Any, weight: Any = None) -> tuple[Any, Any]:
    """The batch that `prepare_batch` made of (x, y), on the device.

    Raises `DefinitionError` for something else than (x, y) of as many examples each, and of another number of
    examples than have a weight.
    """
    made = model.prepare_batch(x, y)
    if not isinstance(made, tuple | list) or len(made) != 2:
        raise DefinitionError(f"prepare_batch returned {in_one_line(made)}; it has to return (x, y)")
    x, y = made
    for name, part in (("x", x), ("y", y)):
        for leaf in leaves(part):
            if not isinstance(leaf, Tensor) or not leaf.ndim:
                raise DefinitionError(
                    f"prepare_batch returned {in_one_line(leaf)} in {name}; it has to be a tensor, (N, …), "
                    "or a dict, tuple or list of tensors"
                )
    if length(x) != length(y):
        raise DefinitionError(
            f"prepare_batch returned {length(x)} examples in x and {length(y)} in y; it has to be as many"
        )
    if weight is not None and length(y) != len(weight):
        raise DefinitionError(
            f"prepare_batch returned {length(y)} examples, and split_batch gave weights of {len(weight)}: "
            "return as many, in their order"
        )
    return x, y


def with_columns(model: Any, epoch: int, result: Mapping[str, float]) -> dict[str, float]:
    """The results of an epoch, with the columns that `on_epoch_end` added to its row or returned.

    Raises `DefinitionError` for a name that is taken or none, for what is no number, and where a column that
    is there was changed.
    """
    row = Result({"epoch": epoch, **result})
    before = dict(row)
    returned = model.on_epoch_end(row)
    after = plain_numbers({**row, **plain_numbers(returned or {}, "on_epoch_end")}, "on_epoch_end")
    for name, value in before.items():
        if name not in after:
            raise DefinitionError(f"on_epoch_end takes {name!r} out of the row: leave it there")
        if after[name] != value and not (after[name] != after[name] and value != value):  # NaN is like NaN
            raise DefinitionError(
                f"on_epoch_end changes {name!r}, which the row has already: give the column another name"
            )
    new = {name: value for name, value in after.items() if name not in before}
    for name in new:
        if name in RESERVED[:4] or name.startswith(RESERVED[4:]):
            raise DefinitionError(f"on_epoch_end gives the column {name!r}, which is Helixband's: rename it")
    return {**result, **new}
