"""Batches as gathers: data in tensors that stay on a device, and the rows of each epoch in order.

Rows say which examples come, in the order and with the changes that a generator draws for (seed, epoch).
What is gathered by them is, value for value, what the generator yields.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helixband.nested import map_leaves
from helixband.sequence import bigwig
from helixband.sequence.alphabet import Alphabet, Codes
from helixband.sequence.store import SequenceStore

Rows = dict[str, Any]
"""Arrays, or tensors on the device, of some examples in order."""


class Gather(Protocol):
    """How the batches of a generator are gathered."""

    data: Any
    """The arrays and tensors from which `take` gathers, nested, the same at each call."""

    rows: int
    """The examples of a batch."""

    def order(self, seed: int, epoch: int, start: int = 0) -> Iterator[Rows]:
        """The rows of an epoch from batch `start` on, many whole batches at a time."""
        ...

    def take(self, data: Any, rows: Rows) -> tuple[Any, Any]:
        """(x, y) of rows, y None without labels; `data` and `rows` as tensors on one device."""
        ...

    def labels(self, rows: Rows) -> Any:
        """The y of rows on the host, as the generator yields it."""
        ...


class ArrayGather:
    """Examples of arrays in memory, by number. `order(seed, epoch)` gives an epoch's; None is as stored."""

    def __init__(
        self,
        x: Any,
        y: Any,
        n_examples: int,
        rows: int,
        order: Callable[[int, int], NDArray[np.int64] | None],
        drop_last: bool,
    ) -> None:
        self.data = x if y is None else (x, y)
        self.rows = rows
        self._y, self._n_examples, self._order, self._drop_last = y, n_examples, order, drop_last

    def order(self, seed: int, epoch: int, start: int = 0) -> Iterator[Rows]:
        drawn = self._order(seed, epoch)
        numbers = np.arange(self._n_examples) if drawn is None else drawn
        full = len(numbers) - len(numbers) % self.rows if self._drop_last else len(numbers)
        if start * self.rows < full:
            yield {"number": numbers[start * self.rows : full]}

    def take(self, data: Any, rows: Rows) -> tuple[Any, Any]:
        taken = map_leaves(lambda leaf: leaf[rows["number"]], data)
        return (taken, None) if self._y is None else taken

    def labels(self, rows: Rows) -> Any:
        return None if self._y is None else map_leaves(lambda leaf: leaf[rows["number"]], self._y)


def windows(codes: Tensor, rows: Rows, length: int, empty: int, complement: Tensor | None) -> Tensor:
    """Windows of `codes`, uint8 (T,), as uint8 (N, length).

    Of each row, position j is at `base` + j, or `base` − j where it is `backwards`, and its complement where
    it is `complemented`. Positions before `first` and from `last` on are the token `empty`.

    >>> rows = {"base": [1, 3], "backwards": [False, True], "complemented": [False, True]}
    >>> rows |= {"first": [0, 1], "last": [3, 3]}
    >>> rows = {name: torch.tensor(values) for name, values in rows.items()}
    >>> complement = torch.tensor([3, 2, 1, 0, 4], dtype=torch.uint8)
    >>> windows(torch.arange(4, dtype=torch.uint8), rows, 3, 4, complement).tolist()
    [[1, 2, 3], [4, 1, 2]]
    """
    places = torch.arange(length, device=codes.device)
    step = 1 - 2 * rows["backwards"].long()
    index = rows["base"][:, None] + step[:, None] * places
    inside = (places >= rows["first"][:, None]) & (places < rows["last"][:, None])
    found = codes[index.clamp(0, len(codes) - 1)]
    if complement is not None:
        found = torch.where(rows["complemented"][:, None], complement[found.long()], found)
    return torch.where(inside, found, empty)


def one_hot(codes: Tensor, layout: str, n_tokens: int) -> Tensor:
    """As `arrays.laid_out`, of tensors, on their device."""
    if layout == "NL":
        return codes
    tokens = torch.arange(n_tokens, dtype=torch.uint8, device=codes.device)
    if layout == "NLC":
        return (codes[..., None] == tokens).to(torch.float32)
    hot = (codes[:, None] == tokens[:, None]).to(torch.float32)
    return hot[:, :, None] if layout == "NC1L" else hot


def rows_of(
    store: SequenceStore,
    length: int,
    records: NDArray[np.int64],
    starts: NDArray[np.int64],
    reverse: NDArray[np.bool_],
) -> Rows:
    """How `windows` gathers those windows from a store's `codes` that its `windows` gives."""
    first = store.offsets[records] + starts
    before = np.clip(-starts, 0, length)
    past = np.clip(starts + length - store.lengths[records], 0, length)
    return {
        "base": np.where(reverse, first + length - 1, first),
        "backwards": reverse,
        "complemented": reverse,
        "first": np.where(reverse, past, before),
        "last": length - np.where(reverse, before, past),
    }


def profiles(values: Tensor, rows: Rows, margin: int) -> Tensor:
    """As `sequence.bigwig.profiles`, of tensors."""
    length = values.shape[-1] - 2 * margin
    places = margin + rows["shift"][:, None] + torch.arange(length, device=values.device)
    places = places.reshape(len(values), *[1] * (values.ndim - 2), length)
    moved = torch.take_along_dim(values, places.expand(*values.shape[:-1], length), -1)
    reverse = rows["reverse"].reshape(-1, *[1] * (values.ndim - 1))
    return torch.where(reverse, moved.flip(list(range(1, values.ndim))), moved)


def can_gather(alphabet: Alphabet) -> bool:
    """Whether windows of an alphabet can be padded, and padding is its own complement."""
    empty, complement = alphabet.empty, alphabet.complement
    return empty is not None and (complement is None or complement[empty] == empty)


class WindowGather:
    """Windows of a sequence store. `source`, a `SequenceBatchGenerator`, draws them.

    `margin`: the targets are profiles, and this much wider to both sides than the windows. `own`, uint8
    (M, L): windows that are not in the store, for rows that have `of_own`.
    """

    def __init__(self, source: Any, margin: int | None = None, own: Codes | None = None) -> None:
        self._source, self._margin = source, margin
        self.rows = source._rows
        store = source.store
        found = {"codes": store.codes, "complement": store.alphabet.complement, "own": own}
        found["targets"] = source.targets
        self.data = {name: array for name, array in found.items() if array is not None}

    def order(self, seed: int, epoch: int, start: int = 0) -> Iterator[Rows]:
        rng = self._source._rng(seed, epoch)
        of_epoch = self._source if rng is None else self._source._of_epoch(rng)
        for numbers, places, first in of_epoch._drawn_blocks(rng, start):
            rows = of_epoch._gathered_rows(numbers, places)
            if rng is not None and of_epoch.augmentation is not None:
                _change(rows, of_epoch.length, *of_epoch.augmentation.changes(len(numbers), rng))
            full = len(numbers) - len(numbers) % self.rows if of_epoch.drop_last else len(numbers)
            yield {name: each[first * self.rows : full] for name, each in rows.items()}

    def take(self, data: Any, rows: Rows) -> tuple[Any, Any]:
        source, alphabet = self._source, self._source.store.alphabet
        how = rows, source.length, alphabet.empty, data.get("complement")
        codes = windows(data["codes"], *how)
        if "own" in data:
            codes = torch.where(rows["of_own"][:, None], windows(data["own"].view(-1), *how), codes)
        x: Any = one_hot(codes, source.layout, alphabet.n_tokens)
        if "metadata" in rows:
            x = {"x": x, "metadata": rows["metadata"]}
        if source.targets is None:
            return x, None
        y = data["targets"][rows["target"]]
        return x, y if self._margin is None else profiles(y, rows, self._margin)

    def labels(self, rows: Rows) -> Any:
        if self._source.targets is None:
            return None
        y = self._source.targets[rows["target"]]
        return y if self._margin is None else bigwig.profiles(y, self._margin, rows["shift"], rows["reverse"])


def _change(
    rows: Rows,
    length: int,
    turned: NDArray[np.bool_],
    complemented: NDArray[np.bool_],
    moves: NDArray[np.int64],
) -> None:
    """Turn windows, complement them, then move them, as an `Augmentation` does."""
    first, last, step = rows["first"], rows["last"], np.where(rows["backwards"], -1, 1)
    rows["base"] = np.where(turned, rows["base"] + step * (length - 1), rows["base"])
    rows["first"], rows["last"] = np.where(turned, [length - last, length - first], [first, last])
    rows["backwards"] = rows["backwards"] ^ turned
    rows["complemented"] = rows["complemented"] ^ complemented
    rows["base"] = rows["base"] - np.where(rows["backwards"], -1, 1) * moves
    rows["first"] = np.clip(rows["first"] + moves, 0, length)
    rows["last"] = np.clip(rows["last"] + moves, 0, length)
