"""Data that stay on a device: placed once a process, and shared by all trainings that read them."""

import os
import weakref
import zlib
from collections.abc import Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from mmap import mmap
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from helixband.generators.base import BatchGenerator
from helixband.generators.gathers import Gather
from helixband.nested import leaves, length, map_leaves
from helixband.training.feed import Fed, Place, Split, as_tensor, for_training, pinned_to, to_device
from helixband.training.objects import is_known_code

SHARE = 0.5
"""Data take this much of a device's free memory at most: a training needs the rest."""

CHUNK_BYTES = 64 << 20
"""Memory-mapped data are copied, and data are checked for changes, in pieces of so many bytes."""

THREADS = 8
"""At most so many pieces are checked at once."""


class Placed(NamedTuple):
    """The copy of an array or tensor on a device."""

    held: weakref.ref[Any]
    copy: Tensor
    mark: Hashable
    """Of the array or tensor as it was copied, see `_mark`."""


class Residence:
    """The arrays and tensors that are on devices. Each is there once, as long as it is on the host.

    What changes in place on the host is seen at the next epoch that begins, by its bytes, of which a core of
    a CPU checks some 4 GB in a second. Read-only arrays, such as those of files mapped for reading, are taken
    to stay as they are; of a tensor on a GPU, changes are seen as torch counts them.
    """

    def __init__(self) -> None:
        self._placed: dict[tuple[int, torch.device], Placed] = {}

    def place(self, leaf: Any, device: torch.device, stays: bool = False) -> Tensor:
        """The copy of an array or tensor on a device, which nobody may change, as the host has it now.

        One that `stays` as it is on the host is not looked at again.
        """
        key = id(leaf), device
        placed = self._placed.get(key)
        if placed is not None and stays:
            return placed.copy
        mark = None if stays else _mark(leaf)
        if placed is None:
            held = weakref.ref(leaf, lambda _: self._placed.pop(key, None))
            placed = Placed(held, _copied(leaf, device), mark)
        elif placed.mark != mark:
            placed.copy.copy_(as_tensor(leaf))  # in place, as there may be no room for another
            placed = placed._replace(mark=mark)
        self._placed[key] = placed
        return placed.copy

    def fits(self, gather: Gather, device: torch.device, free: float) -> bool:
        """Whether data are on a device, or have room in so many free bytes of it."""
        missing = [leaf for leaf in leaves(gather.data) if (id(leaf), device) not in self._placed]
        return sum(int(leaf.nbytes) for leaf in missing) <= SHARE * free

    def batches(
        self,
        generator: BatchGenerator,
        gather: Gather,
        device: torch.device,
        place: Place,
        keeps: bool,
        stays: bool = False,
    ) -> Iterator[Fed]:
        """The batches of a generator's next epoch, or of its stream from a place on, as it yields them.

        The iteration begins at once: trials that are trained together share a generator. What was changed in
        place before is in all of its batches, unless data are said to stay as they are.
        """
        data = map_leaves(lambda leaf: self.place(leaf, device, stays), gather.data)
        orders = (
            gather.order(*generator._next_epoch()) if place is None else _stream(generator, gather, place)
        )
        return self._gathered(gather, data, orders, device, keeps)

    def _gathered(
        self, gather: Gather, data: Any, orders: Iterator[dict[str, Any]], device: torch.device, keeps: bool
    ) -> Iterator[Fed]:
        for rows in orders:
            x, y = gather.take(data, to_device(rows, device))
            kept = gather.labels(rows) if keeps else None
            for first in range(0, length(y), gather.rows):
                cut = slice(first, first + gather.rows)
                yield Fed(_cut(x, cut), _cut(y, cut), None, _cut(kept, cut), is_there=True)


RESIDENCE = Residence()
"""That of this process."""


def may_change_data(kind: type[Any]) -> bool:
    """Whether a class of models has methods of a definition's besides `init_model`, which may change data."""
    own = (vars(each) for each in kind.__mro__ if not is_known_code(each))
    return any(callable(value) and name != "init_model" for names in own for name, value in names.items())


def fed(
    generator: Any,
    device: torch.device,
    limit: int | None,
    split: Split | None,
    place: Place,
    keeps: bool,
    stays: bool = False,
) -> Iterator[Fed]:
    """As `feed.for_training`, the same batches; on a GPU those of our generators come to it as it suits.

    Data for which half the free memory is enough are kept there, and batches are gathered there. Of other
    data, each batch is copied while the step before is computed. `stays`: nobody changes the data.
    """
    is_ours = isinstance(generator, BatchGenerator) and generator.labelled and split is None
    if device.type != "cpu" and is_ours and (gather := _resident(generator, device)) is not None:
        return islice(RESIDENCE.batches(generator, gather, device, place, keeps, stays), limit)
    # Only now, as an iteration of a generator takes its next epoch.
    batches = for_training(generator, limit, split, place, keeps)
    return copied_ahead(batches, device) if device.type == "cuda" and is_ours else batches


def _resident(generator: BatchGenerator, device: torch.device) -> Gather | None:
    """How the batches of a generator are gathered on a device, if its data have room there."""
    gather = generator.gather()
    has_room = gather is not None and RESIDENCE.fits(gather, device, torch.cuda.mem_get_info(device)[0])
    return gather if has_room else None


def copied_ahead(batches: Iterable[Fed], device: torch.device) -> Iterator[Fed]:
    """The batches (x, y) on a GPU, each copied on a stream of its own while the one before is used."""
    copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    before: Fed | None = None
    done: torch.cuda.Event | None = None
    for batch in batches:
        with torch.cuda.stream(copies):
            x, y = (
                map_leaves(lambda leaf: pinned_to(as_tensor(leaf), device), part)
                for part in (batch.x, batch.y)
            )
            next_done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            next_done.record(copies)
        if before is not None and done is not None:
            yield _arrived(before, done)
        before, done = Fed(x, y, None, batch.kept, is_there=True), next_done
    if before is not None and done is not None:
        yield _arrived(before, done)


def _arrived(batch: Fed, done: torch.cuda.Event) -> Fed:
    """A batch for which the stream under way waits, and whose memory it is not to lose before it is used."""
    stream = torch.cuda.current_stream()
    stream.wait_event(done)
    for leaf in leaves((batch.x, batch.y)):
        leaf.record_stream(stream)
    return batch


def _stream(generator: BatchGenerator, gather: Gather, place: tuple[int, int]) -> Iterator[dict[str, Any]]:
    """The rows of the stream from a place on."""
    seed, start = place
    epoch, first = generator._located(seed, start)
    while True:
        yield from gather.order(seed, epoch, first)
        epoch, first = epoch + 1, 0


def _mark(leaf: Any) -> Hashable:
    """What is another as soon as an array or tensor is changed in place; None where nobody can change it."""
    if isinstance(leaf, Tensor) and leaf.device.type != "cpu":
        return leaf._version
    if not (isinstance(leaf, Tensor) or _is_writable(leaf)):
        return None
    rows = max(1, CHUNK_BYTES // max(1, leaf[:1].nbytes)) if leaf.ndim else 1
    parts = [leaf[first : first + rows] for first in range(0, len(leaf), rows)] if leaf.ndim else [leaf]
    if len(parts) == 1:
        return _sum(parts[0])
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        return tuple(pool.map(_sum, parts))


def _sum(part: Any) -> int:
    """The checksum of the bytes of an array, or a tensor on the CPU."""
    if isinstance(part, Tensor):
        part = part.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    return zlib.crc32(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)


def _is_writable(array: Any) -> bool:
    """Whether an array, or what it is a view of, can be written to."""
    while isinstance(array, np.ndarray | memoryview):
        if isinstance(array, np.ndarray) and array.flags.writeable:
            return True
        array = array.obj if isinstance(array, memoryview) else array.base
    return not (array is None or isinstance(array, bytes | mmap))


def _cut(nested: Any, rows: slice) -> Any:
    return None if nested is None else map_leaves(lambda leaf: leaf[rows], nested)


def _copied(leaf: Any, device: torch.device) -> Tensor:
    """An array or tensor on a device, in a type that a network takes.

    A read-only array, which may be a mapped file, is copied in pieces: torch takes writable memory alone.
    """
    if isinstance(leaf, Tensor) or leaf.flags.writeable or not leaf.ndim:
        return as_tensor(leaf).to(device, copy=True)
    rows = max(1, CHUNK_BYTES // max(1, leaf[:1].nbytes))
    parts = (as_tensor(np.array(leaf[first : first + rows])) for first in range(0, len(leaf), rows))
    found = None
    for number, part in enumerate(parts):
        if found is None:
            found = torch.empty((len(leaf), *part.shape[1:]), dtype=part.dtype, device=device)
        found[number * rows : number * rows + len(part)] = part
    return as_tensor(leaf).to(device) if found is None else found
