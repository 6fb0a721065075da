"""A guard over elementwise operations: it sees where the rows of one operand meet each row of another."""

import contextlib
import warnings
from collections.abc import Container, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helixband.errors import DefinitionError
from helixband.nested import leaves, length, map_leaves

ROWS = (7, 11, 13)
"""So many rows are looked at: the first of these numbers that is no other dimension of the data."""
SIZE_WARNING = "Using a target size"
"""What torch says of the shapes of a prediction and a label that differ."""

Shape = tuple[int, ...]


class Broadcast(Exception):
    """Two operands whose rows were combined, each with each."""

    def __init__(self, shapes: list[Shape], result: Shape) -> None:
        super().__init__(shapes, result)
        self.shapes, self.result = shapes, result


class Guard(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks at each elementwise operation of torch, and is told of those of NumPy.

    It knows a dimension of rows by its size. Rows that are chosen, as by a mask or a slice, are rows: where a
    dimension of rows goes and one of a size comes that none had, that is another size of rows. `others` are
    sizes of dimensions that are none of rows. Pairs of one array with itself, y[:, None] == y, are meant.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch would import its compiler for it

    def __init__(self, rows: int, others: Container[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes = {rows}
        """Those of dimensions of rows."""
        self._others = others

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.pointwise in func.tags and isinstance(result, Tensor):
            operands = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
            if len({leaf.untyped_storage().data_ptr() for leaf in operands}) > 1:
                self.check([tuple(leaf.shape) for leaf in operands], tuple(result.shape))
        elif func.__name__.partition(".")[0] in _CHOOSING and isinstance(args[0], Tensor):
            for part in tree_leaves(result):
                self.chosen(tuple(args[0].shape), tuple(part.shape))
        return result

    def check(self, operands: list[Shape], result: Shape) -> None:
        """Raise `Broadcast` where operands of unequal rank give something larger, each row with each."""
        with_rows = [shape for shape in operands if self._dimensions(shape) == 1]
        if (
            len({len(shape) for shape in with_rows}) > 1
            and self._dimensions(result) > 1
            and all(np.prod(result) > np.prod(shape) for shape in operands)
        ):
            raise Broadcast(with_rows, result)

    def chosen(self, before: Shape, after: Shape) -> None:
        """Take note of an operation that may have chosen rows."""
        if self._dimensions(before) == 1 and not self._dimensions(after):
            self.sizes |= {
                size for size in after if size > 1 and size not in before and size not in self._others
            }

    def _dimensions(self, shape: Shape) -> int:
        """How many dimensions of a shape are of rows."""
        return sum(size in self.sizes for size in shape)


_CHOOSING = frozenset(
    "index index_select masked_select slice narrow split split_with_sizes view _unsafe_view reshape "
    "_reshape_alias take take_along_dim gather topk".split()
)
"""Operations of torch after which rows are fewer, or flat with other dimensions."""


def watched(nested: Any, guard: Guard) -> Any:
    """The arrays as ones that tell of each elementwise operation of NumPy; tensors as they are."""

    class Watched(np.ndarray[Any, Any]):
        def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **named: Any) -> Any:
            plain = [np.asarray(part) if isinstance(part, Watched) else part for part in inputs]
            if "out" in named:
                named["out"] = tuple(np.asarray(part) for part in named["out"])
            result = getattr(ufunc, method)(*plain, **named)
            is_elementwise = method == "__call__" and ufunc.signature is None
            if is_elementwise and not (len(plain) == 2 and np.may_share_memory(plain[0], plain[1])):
                guard.check([np.shape(part) for part in plain], np.shape(result))
            return result.view(Watched) if isinstance(result, np.ndarray) else result

        def __array_finalize__(self, made_from: Any) -> None:
            if isinstance(made_from, Watched):
                guard.chosen(made_from.shape, self.shape)

    return map_leaves(
        lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else np.array(leaf).view(Watched), nested
    )


def guard_of(x: Any, y: Any) -> Guard | None:
    """A guard for a batch; None where another dimension has as many elements as there are rows."""
    others = {size for part in (x, y) for leaf in leaves(part) for size in leaf.shape[1:]}
    rows = length(y)
    return None if rows < 2 or rows in others else Guard(rows, others)


@contextlib.contextmanager
def watched_step(name: str, network: nn.Module, guard: Guard) -> Iterator[None]:
    """Around a step of a definition's own: raises `DefinitionError` where it broadcasts, as in a loss.

    A step cannot be tried out on a few rows, as it trains. So it is looked at as it is. What the network does
    is its own business.
    """
    try:
        with warnings.catch_warnings(), guard, _outside(network, guard):
            warnings.filterwarnings("error", SIZE_WARNING)
            yield
    except Broadcast as found:
        raise refusal(name, found.shapes, guard.sizes) from None
    except UserWarning as error:
        if not says_sizes_differ(error):
            raise
        raise DefinitionError(f"{name}: {error}") from None


@contextlib.contextmanager
def _outside(network: nn.Module, guard: Guard) -> Iterator[None]:
    """The guard is lifted while a module of the network is at work."""
    inner = {id(module) for module in network.modules()}
    depth = 0

    def begin(module: nn.Module, given: Any) -> None:
        nonlocal depth
        if id(module) in inner:
            depth += 1
            if depth == 1:
                guard.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def end(module: nn.Module, given: Any, result: Any) -> None:
        nonlocal depth
        if id(module) in inner:
            depth -= 1
            if depth == 0:
                guard.__enter__()  # type: ignore[no-untyped-call]

    handles = [
        register_module_forward_pre_hook(begin),
        register_module_forward_hook(end, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def says_sizes_differ(error: Exception) -> bool:
    return isinstance(error, UserWarning) and SIZE_WARNING in str(error)


def refusal(name: str, shapes: list[Shape], rows: Container[int]) -> DefinitionError:
    named = " and ".join(dict.fromkeys(_with_n(shape, rows) for shape in shapes))
    return DefinitionError(
        f"{name} combines arrays of the shapes {named}, each example with each other one. Bring them to one "
        "shape, for example with y_pred.squeeze(1) or y.unsqueeze(1)"
    )


def _with_n(shape: Shape, rows: Container[int]) -> str:
    """A shape with N for each size of rows.

    >>> _with_n((7, 4), {7}), _with_n((7,), {7})
    ('(N, 4)', '(N,)')
    """
    return written(tuple("N" if size in rows else size for size in shape))


def written(sizes: tuple[Any, ...]) -> str:
    return f"({', '.join(map(str, sizes))}{',' * (len(sizes) == 1)})"
