"""One training by several processes: the rows of each, and what they add up.

All processes read the same batches, and each computes its rows of them. The loss of a batch is put together
from theirs by its weights, as that of a set from its batches; a process backpropagates its share of it. The
gradients of all, added up, are therefore those that one process computes from the whole batch, whatever the
loss divides by. Everything after that is the same in all processes, and none is told what another decided.
"""

import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.utils.data import DistributedSampler

from helixband import randomness
from helixband.env import number_of_processes
from helixband.errors import DataError, DefinitionError, HelixbandWarning
from helixband.generators.arrays import to_numpy
from helixband.nested import leaves, length, map_leaves
from helixband.training.feed import Fed, kept
from helixband.training.meters import Loss
from helixband.training.processes import Processes

BUCKET_BYTES = 1 << 25
"""Gradients are added up in lots of about so many bytes."""
PIECES = 8
"""So many pieces of a set are evaluated by each process between two exchanges."""
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Shared:
    """The part of this process in the training of a model by several."""

    def __init__(self, processes: Processes, model: Any) -> None:
        self._processes = processes
        self._model = model
        self._total = self._start = self._stop = 0  # the rows of the batch under way, and this process's
        norms = [module for module in model.network.modules() if isinstance(module, _BatchNorm)]
        self.synchronises = bool(norms) and model.device.type == "cuda"
        """Whether normalisations by the batch see the rows of all processes."""
        self._norms = [(module, type(module)) for module in norms] if self.synchronises else []
        for module, kind in self._norms:
            if kind in _NORMS:  # in place, as optimizers, hooks and the user hold the module
                module.__class__ = nn.SyncBatchNorm
                module.process_group = None  # type: ignore[assignment]
        if norms and not self.synchronises and processes.rank == 0:
            warnings.warn(
                "on CPUs BatchNorm takes its statistics from the rows of each process, not from the whole "
                "batch, so that a training by several differs from one by one; on GPUs it takes those of all",
                HelixbandWarning,
                stacklevel=2,
            )

    def leave(self) -> None:
        """Make the model one of this process alone again."""
        for module, kind in self._norms:
            module.__class__ = kind

    # The rows of a batch.

    def next_rows(self, batch: Fed | None) -> Fed | None:
        """This process's rows of the next batch; None after the last."""
        self._check_alike(-1 if batch is None else length(batch.y), 0 if batch is None else _mark(batch))
        return None if batch is None else self.rows(batch)

    def rows(self, batch: Fed) -> Fed:
        """This process's rows of a batch; its kept labels stay whole.

        A batch of fewer rows than processes leaves some without any. They compute the whole batch, which
        counts for nothing, so that all do the same; or, where normalisations are synchronised, no row.
        """
        rank, count = self._processes.rank, self._processes.count
        self._total = length(batch.y)
        self._start, self._stop = self._total * rank // count, self._total * (rank + 1) // count
        if not self._has_rows and not self.synchronises:
            return batch
        cut = itemgetter(slice(self._start, self._stop))
        weight = None if batch.weight is None else cut(batch.weight)
        return Fed(map_leaves(cut, batch.x), map_leaves(cut, batch.y), weight, batch.kept)

    def _check_alike(self, rows: int, mark: int) -> None:
        """Raise `DataError` where the next batches of the processes are not the same."""
        if self._processes.largest([rows, -rows, mark, -mark]) != [rows, -rows, mark, -mark]:
            raise DataError(
                "the processes of this training got different batches, and each has to get the same: let the "
                "generator draw its order from seeds, and from nothing that differs from process to process"
            )

    @property
    def _has_rows(self) -> bool:
        return self._stop > self._start

    def outputs(self, nested: Any) -> Any:
        """The outputs for the whole batch, (N, …), from those for the rows of each process."""
        return map_leaves(self._outputs, nested)

    def _outputs(self, leaf: Any) -> Tensor:
        count = self._processes.count
        given = torch.as_tensor(leaf, device=self._model.device).detach()
        mine = given[: self._stop - self._start]  # nothing of a batch that does not count
        padded = mine.new_zeros((-(-self._total // count), *mine.shape[1:]))
        padded[: len(mine)] = mine
        bounds = [self._total * rank // count for rank in range(count + 1)]
        parts = zip(self._processes.gathered(padded), bounds, bounds[1:], strict=False)
        return torch.cat([part[: stop - start] for part, start, stop in parts])

    # Losses and gradients.

    def whole(self, loss: Loss) -> Loss:
        """The loss of the whole batch, from that of this process's rows, whose share its gradient is."""
        if loss.parts:
            *wholes, together = self._wholes([*loss.parts.values(), loss])
            detached = (Loss(part.value.detach(), part.weight) for part in wholes)
            parts = dict(zip(loss.parts, detached, strict=True))
            return Loss(torch.stack([part.value for part in wholes]).sum(), together.weight, parts)
        return self._wholes([loss])[0]

    def _wholes(self, losses: list[Loss]) -> list[Loss]:
        values = torch.stack([loss.value for loss in losses])
        sums_alone = [loss.weight is None for loss in losses]  # which have no weight, and are not divided
        weights = torch.stack([self._weight(loss) for loss in losses])
        values = torch.where(weights == 0, 0.0, values)  # where it may be NaN
        sums = torch.stack([values.detach().double() * weights, weights])
        self._processes.sum(sums)
        divisors = torch.where(torch.tensor(sums_alone, device=sums.device) | (sums[1] == 0), 1.0, sums[1])
        totals = (sums[0] / divisors).to(values.dtype)
        if values.requires_grad:
            shares = values * (weights / divisors).to(values.dtype)
            totals = shares + (totals - shares.detach())
        total_weights = sums[1].to(values.dtype)
        return [
            Loss(total, None if alone else weight)
            for total, weight, alone in zip(totals, total_weights, sums_alone, strict=True)
        ]

    def _weight(self, loss: Loss) -> Tensor:
        weight = torch.as_tensor(1.0 if loss.weight is None else loss.weight, device=loss.value.device)
        return weight.detach().double() * self._has_rows

    def add_up(self, optimizer: Any) -> None:
        """Make the gradients of an optimizer's parameters the sums of those of all processes."""
        parameters = {id(each): each for group in optimizer.param_groups for each in group["params"]}
        has = [int(each.grad is not None) for each in parameters.values()]
        anywhere = self._processes.largest(has)
        used = [each for each, is_used in zip(parameters.values(), anywhere, strict=True) if is_used]
        for each in used:
            if each.grad is None:
                each.grad = torch.zeros_like(each)
        for bucket in _buckets([each.grad for each in used]):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            self._processes.sum(flat)
            sums = torch.split(flat, [gradient.numel() for gradient in bucket])
            for gradient, total in zip(bucket, sums, strict=True):
                gradient.copy_(total.view_as(gradient))

    # A whole set, and what all have to have alike.

    def evaluated(self, step: Callable[..., Any], pieces: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Each piece of a set, in order, with what the step on it gave, in whichever process."""
        rank, count, device = self._processes.rank, self._processes.count, self._model.device
        copies = map(kept, pieces)  # a generator may use its arrays again for the next batch
        while lot := list(islice(copies, PIECES * count)):
            mine = [_to(step(*piece), torch.device("cpu")) for piece in lot[rank::count]]
            found = self._processes.all(mine)
            for at, piece in enumerate(lot):
                yield piece, _to(found[at % count][at // count], device)

    def gradients(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of gradients by name, on the CPU, the sums over all processes."""
        found: dict[str, Tensor] = {}
        for each in self._processes.all(gradients):
            for name, gradient in each.items():
                found[name] = found[name] + gradient if name in found else gradient
        return found

    @property
    def is_first(self) -> bool:
        """Whether this is process 0."""
        return self._processes.rank == 0

    def same(self, value: Any) -> Any:
        """The value that process 0 has."""
        return self._processes.from_first(value)

    def begin(self) -> None:
        """Give all processes the weights and random numbers of process 0."""
        randomness.set_state(self.same(randomness.get_state()))
        for tensor in self._tensors(lambda part: [*part.parameters(), *part.buffers()]):
            self._processes.copy_from_first(tensor)

    def end_epoch(self) -> None:
        """Give all processes the buffers of process 0, such as the statistics of BatchNorm."""
        for tensor in self._tensors(lambda part: part.buffers()):
            self._processes.copy_from_first(tensor)

    def _tensors(self, of: Callable[[nn.Module], Iterable[Tensor]]) -> Iterator[Tensor]:
        for part in (self._model.network, self._model.criterion):
            if isinstance(part, nn.Module):
                yield from of(part)

    def numbers(self, seed: int, epoch: int) -> randomness.Stream:
        """Random numbers of this process's own, for the steps of an epoch: of dropout, for example."""
        with randomness.unmoved():
            own = randomness.derive_seed(seed, "process", epoch, self._processes.rank)
            randomness.seed_everything(own)
            randomness.held.seed(own)
            return randomness.Stream()


def check(model: Any, generator: Any) -> None:
    """Raise `DefinitionError` for what the processes of this run cannot train, if there are several."""
    if number_of_processes() == 1:
        return
    kind = type(model).__name__
    for name, module in model.network.named_modules():
        if any(is_lazy(each) for each in module.parameters(recurse=False)):
            raise DefinitionError(
                f"the layer {name!r} of {kind}'s network, a {type(module).__name__}, gets its weights with "
                "the first batch, of which each process has other rows: give it its sizes, or do without "
                "torchrun"
            )
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse:
            raise DefinitionError(
                f"the layer {name!r} of {kind}'s network has sparse=True, and several processes add up dense "
                "gradients alone: leave it out, or train without torchrun"
            )
    samplers = (getattr(generator, "sampler", None), getattr(generator, "batch_sampler", None))
    if any(isinstance(getattr(each, "sampler", each), DistributedSampler) for each in samplers):
        raise DefinitionError(
            f"the training generator, a {type(generator).__name__}, has a DistributedSampler; Helixband "
            "gives each process its rows of each batch: leave it out"
        )


def _mark(batch: Fed) -> int:
    """A number that tells batches on the host apart: of the labels, and of the first and last row of x."""
    mark = 0
    for leaf in (*leaves(batch.y), *(part for each in leaves(batch.x) for part in (each[:1], each[-1:]))):
        if not (isinstance(leaf, Tensor) and leaf.is_cuda):  # for which there would be a wait
            mark = zlib.crc32(np.asarray(to_numpy(leaf)).tobytes(), mark)
    return mark


def _buckets(gradients: list[Any]) -> Iterator[list[Tensor]]:
    """Gradients of one kind each, in lots of a limited size."""
    by_kind: dict[Any, list[Tensor]] = {}
    for gradient in gradients:
        by_kind.setdefault((gradient.device, gradient.dtype), []).append(gradient)
    for alike in by_kind.values():
        bucket: list[Tensor] = []
        for gradient in alike:
            if bucket and sum(each.nbytes for each in bucket) + gradient.nbytes > BUCKET_BYTES:
                yield bucket
                bucket = []
            bucket.append(gradient)
        yield bucket


def _to(nested: Any, device: torch.device) -> Any:
    """Tensors in what a step gave, on a device."""
    return map_leaves(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, nested)
