"""Where batches come from: what a generator yields, checked, cut to size, and as tensors on the device."""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice, repeat
from numbers import Real
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from helixband.errors import DataError
from helixband.generators.arrays import to_numpy
from helixband.generators.base import BatchGenerator, Lot, Unpadded
from helixband.nested import is_nested, leaves, length, map_leaves

Place = tuple[int, int] | None
"""The seed of a stream, and the number of the batch with which to begin."""

EVALUATION_BYTES = {"cpu": 1 << 18, "cuda": 1 << 20}
"""A batch is cut for evaluation where its x has more bytes than this, and more rows than a training batch:
activations take tens to hundreds of times the memory of their input. On a CPU those of larger pieces are
returned to the system after each piece, and asked for anew, which takes longer than computing them."""


Split = Callable[[Any, str], tuple[Any, ...]]


def choose_device(cpu: bool = False) -> torch.device:
    """The GPU where there is one and it is not declined, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")


def as_tensor(leaf: Any) -> Tensor:
    """An array or tensor as a tensor that a network takes: floating values in torch's default dtype."""
    if not isinstance(leaf, Tensor):
        array = np.asarray(leaf)
        if array.dtype.kind not in "biufc":
            raise DataError(
                f"a batch holds an array of the type {array.dtype}; a network takes numbers: encode it"
            )
        if array.dtype.kind == "u" and array.itemsize > 1:
            array = array.astype(np.int64)  # torch computes with no other unsigned type than uint8
        elif not (array.dtype.isnative and array.flags.writeable and array.flags.forc):
            array = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
        leaf = torch.from_numpy(array)
    tensor: Tensor = leaf
    if tensor.is_floating_point() and tensor.dtype != torch.get_default_dtype():
        return tensor.to(torch.get_default_dtype())
    return tensor


def to_device(nested: Any, device: torch.device) -> Any:
    """Arrays and tensors, nested or not, as new tensors on `device`.

    On the CPU they are copies too: a network that works in place must not change the generator's data.
    """
    if isinstance(nested, Tensor):
        if nested.dtype == torch.float32 == torch.get_default_dtype():  # asked first, as it nearly always is
            if nested.device == device and not nested.requires_grad:
                return nested.clone()  # the same copy, sooner
            return nested.to(device, non_blocking=True, copy=True)
    elif is_nested(nested):
        return map_leaves(lambda leaf: to_device(leaf, device), nested)
    return as_tensor(nested).to(device, non_blocking=True, copy=True)


def pinned_to(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device, for which neither the host nor the device waits."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def kept(nested: Any) -> Any:
    """A copy on the host, for later: a generator may use its arrays again for the next batch."""
    if is_nested(nested):
        return map_leaves(kept, nested)
    return nested.clone() if isinstance(nested, Tensor) else np.array(nested)


def labelled(
    generator: Any, limit: int | None = None, split: Split | None = None, place: Place = None
) -> Generator[tuple[Any, ...]]:
    """The batches (x, y) of a generator, the first `limit` of them, or those of its stream from a place on.

    `split` makes (x, y), or (x, y, weight), of batches of another form; it is told where they are from. The
    iteration begins at once: trials that are trained together share a generator of ours, and set its order in
    turn.

    Raises `DataError` for a batch that is no pair, for a stream that ends, and, without a `split`, for a
    generator that says it is not `labelled`.
    """
    if split is None and getattr(generator, "labelled", True) is False:
        raise DataError(told_unlabelled(generator))
    source = iterate(generator) if place is None else generator.stream(*place)
    is_stream, name = place is not None, type(generator).__name__
    return _labelled(islice(source, limit), limit if is_stream else None, split, name)


def _labelled(
    source: Iterator[Any], wanted: int | None, split: Split | None, name: str
) -> Generator[tuple[Any, ...]]:
    """The batches of a source, of which `wanted` are to come, if it is known."""
    number = -1
    for number, batch in enumerate(source):
        where = f"batch {number} of {name}"
        if split is not None:
            batch = split(batch, where)
            if len(batch) > 1:  # else it is left as it is
                _check_form(batch, where)
            yield batch
            continue
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            kind = type(batch).__name__
            raise DataError(f"{where} is a {kind}, not a pair (x, y): training and evaluation need labels")
        _check_form(batch, where)
        yield batch[0], batch[1]
    if wanted is not None and number + 1 < wanted:
        raise DataError(
            f"{name}.stream ended after {number + 1} of the {wanted} batches of an epoch; "
            "it has to yield batches without end"
        )


class Pairs:
    """The (x, y) of a generator whose batches `split` makes into (x, y) or (x, y, weight)."""

    labelled = True

    def __init__(self, generator: Iterable[Any], split: Split) -> None:
        self._generator, self._split = generator, split

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for x, y, *_ in labelled(self._generator, split=self._split):
            yield x, y


def _check_form(batch: Sequence[Any], where: str) -> None:
    """Raise `DataError` where x or y are numbers or texts in a list, which is one of several arrays."""
    for name, part in zip("xy", batch, strict=False):
        if is_nested(part) and isinstance(next(leaves(part), None), Real | str | bytes):
            is_number = isinstance(next(leaves(part)), Real)
            what, of = ("numbers", "") if is_number else ("texts", " of numbers")
            raise DataError(
                f"{name} of {where} is a {type(part).__name__} of {what}; make it an array{of}, np.array(…). "
                "A list, tuple or dict holds several arrays"
            )


class Fed(NamedTuple):
    """A batch for training; `kept` is its y on the host, in arrays that stay as they are."""

    x: Any
    y: Any
    weight: Any = None
    kept: Any = None
    is_there: bool = False
    """Whether x, y and weight are on the device already, in tensors that nobody else has."""


def for_training(
    generator: Any, limit: int | None, split: Split | None, place: Place, keeps: bool
) -> Iterator[Fed]:
    """As `labelled`; with `keeps`, each batch has its labels for later, too."""
    is_ours = isinstance(generator, BatchGenerator) and generator.labelled
    lots = generator.lots() if is_ours and split is None and place is None else None
    if lots is not None:
        return islice(itertools.chain.from_iterable(map(_batches_of, lots)), limit)
    return (
        Fed(x, y, weight[0] if weight else None, kept(y) if keeps else None)
        for x, y, *weight in labelled(generator, limit, split, place)
    )


def _batches_of(lot: Lot) -> Iterator[Fed]:
    """The batches of a lot, whose arrays become tensors all at once."""
    starts = range(0, length(lot.x), lot.rows)
    if isinstance(lot.x, np.ndarray) and isinstance(lot.y, np.ndarray):
        of_y = [lot.y[start : start + lot.rows] for start in starts]
        x, y = (torch.split(as_tensor(part), lot.rows) for part in (lot.x, lot.y))
        return map(Fed, x, y, repeat(None), of_y)
    slices = (itemgetter(slice(start, start + lot.rows)) for start in starts)
    parts = ((map_leaves(cut, lot.x), map_leaves(cut, lot.y)) for cut in slices)
    return (Fed(x, y, None, y) for x, y in parts)


def told_unlabelled(generator: Any) -> str:
    """That a generator has no labels, and how one of its kind gets them."""
    labels_by = getattr(generator, "labels_by", BatchGenerator.labels_by)
    return (
        f"{type(generator).__name__} has no labels: training and evaluation need (x, y); give it {labels_by}"
    )


def unlabelled(generator: Iterable[Any], limit: int | None = None) -> Generator[Any]:
    """The x of each batch of a generator over x alone, or over (x, y) where it says that it is `labelled`.

    (x, None) is x, too. An x that is a list or tuple of one part is that part, as
    `DataLoader(TensorDataset(X))` yields it.
    """
    for batch in islice(iterate(generator), limit):
        has_labels = getattr(generator, "labelled", False) or _is_without_labels(batch)
        x = batch[0] if has_labels else batch
        yield x[0] if isinstance(x, tuple | list) and len(x) == 1 else x


def as_stored(generator: Iterable[Any]) -> Iterable[Any]:
    """A set with each example once and in the stored order, of a generator of ours or a loader of torch.

    Ours give their examples unchanged. Any other comes as it iterates, as a sampler of a user's own draws.
    """
    if isinstance(generator, BatchGenerator) and "n_examples" in vars(generator):  # it was made as ours are
        return generator.as_stored() if generator.shuffle or generator.drop_last else generator
    if type(generator) is DataLoader and not isinstance(generator.dataset, IterableDataset):
        return _loader_as_stored(generator)
    return generator


def _loader_as_stored(loader: "DataLoader[Any]") -> "DataLoader[Any]":
    """The loader with what a sampler of torch can draw, in order; itself where it neither draws nor drops."""
    batches: Any = loader.batch_sampler
    if type(batches) not in (BatchSampler, type(None)):
        return loader
    sampler: Any = loader.sampler if batches is None else batches.sampler
    numbers: Any = sampler
    if type(sampler) is RandomSampler:
        numbers = SequentialSampler(sampler.data_source)
    elif type(sampler) is SubsetRandomSampler:
        numbers = sampler.indices
    elif type(sampler) is WeightedRandomSampler:
        numbers = sampler.weights.nonzero().flatten().tolist()
    if numbers is sampler and not getattr(batches, "drop_last", False):
        return loader
    settings = {name: getattr(loader, name) for name in _OF_LOADERS}
    return DataLoader(loader.dataset, getattr(batches, "batch_size", None), sampler=numbers, **settings)


_OF_LOADERS = (
    "num_workers",
    "collate_fn",
    "pin_memory",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "generator",
    "prefetch_factor",
    "persistent_workers",
)
"""What a loader of torch has besides its data set and what comes of it."""


def without_padding(
    generator: Iterable[Any], limit: int | None = None
) -> tuple[Iterable[Any], int | None, NDArray[np.int64] | None]:
    """(what evaluation and prediction read of a set, how many batches of it, the order of its examples).

    The limit is None for all; the order is None for that of the set.
    """
    found = generator.unpadded(limit) if isinstance(generator, Unpadded) else None
    return (generator, limit, None) if found is None else (found[0], None, found[1])


def in_order(nested: Any, order: NDArray[np.int64] | None) -> Any:
    """Rows that have come in an order, (N,), as it was before: arrays (N, …), nested or not."""
    if order is None:
        return nested
    places = np.argsort(order)
    return map_leaves(lambda leaf: leaf[places], nested)


def _is_without_labels(batch: Any) -> bool:
    """Whether a batch is (x, None)."""
    return isinstance(batch, (tuple, list)) and len(batch) == 2 and batch[1] is None


def pieces(batch: Any, training_rows: int, device: torch.device) -> Iterator[Any]:
    """A batch (x, …) cut along the first dimension so that the device's memory stays bounded."""
    rows = length(batch)
    if rows <= training_rows:
        yield batch
        return
    # Small integers become floats, or vectors, in the network: they count as floats.
    row_bytes = sum(leaf.nbytes * max(1, 4 // leaf.itemsize) for leaf in leaves(batch[0])) / rows
    step = max(training_rows, int(EVALUATION_BYTES[device.type] / max(1, row_bytes)))
    for start in range(0, rows, step):
        rows_of_piece = slice(start, start + step)
        yield map_leaves(itemgetter(rows_of_piece), batch)


def iterate(generator: Any) -> Iterator[Any]:
    """The batches of a generator, which begins anew.

    One with `__getitem__` alone is read up to its length: it need not raise `IndexError` there.
    """
    by_number = not hasattr(type(generator), "__iter__")
    return islice(iter(generator), number_of_batches(generator) if by_number else None)


def number_of_batches(generator: Any) -> int | None:
    """The length of a generator, or None where it has none, or says so only when it is asked."""
    try:
        return len(generator)
    except TypeError:
        return None


def sizes(generator: Any) -> tuple[int, int] | None:
    """(examples, examples of a batch) where all are used, of our generators and torch's; None of others."""
    if getattr(generator, "drop_last", True) or getattr(generator, "batch_size", None) is None:
        return None
    examples = number_of_examples(generator)
    return None if examples is None else (examples, generator.batch_size)


def number_of_examples(generator: Any) -> int | None:
    """The examples of an epoch, of our generators and torch's; None where that is not known."""
    try:
        return generator.n_examples if isinstance(generator, BatchGenerator) else len(generator.sampler)
    except (AttributeError, TypeError):  # none of these, or its data set has no length
        return None


def no_batch(generator: Iterable[Any]) -> DataError:
    """The error of a set for training or evaluation in which there was no batch."""
    why = generator.why_no_batch() if isinstance(generator, BatchGenerator) else ""
    why = why or "a set needs one example at least, and its __iter__ has to start again each time"
    return DataError(f"{type(generator).__name__} gave no batch; {why}")


def all_finite(nested: Any) -> bool:
    """Whether no floating value of a batch's arrays is NaN or infinity."""
    arrays = (np.asarray(leaf) for leaf in leaves(to_numpy(nested)))
    return all(bool(np.isfinite(array).all()) for array in arrays if array.dtype.kind == "f")


def trouble_in_data(
    generator: Iterable[Any], limit: int | None, split: Split | None = None, place: Place = None
) -> str:
    """Why a loss is not finite, as far as the data tell. Nothing is looked for before that has happened."""
    for number, (x, y, *_) in enumerate(labelled(generator, limit, split, place)):
        for name, part in (("x", x), ("y", y)):
            if not all_finite(part):
                return f"{name} of batch {number} holds NaN or infinity: mend the data"
    return "the data are finite, so try a lower learning rate, or look for a log or division by 0"
