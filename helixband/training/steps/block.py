"""Many steps of a pack, one after another, without the host between them."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from helixband import interruption
from helixband.errors import first_line
from helixband.nested import nbytes
from helixband.training import graphs, tape
from helixband.training.graphs import CaptureError
from helixband.training.member import Batch, Model, StepResult
from helixband.training.steps.numbers import Numbers, Values, named
from helixband.training.steps.pack import Pack
from helixband.training.steps.stacks import split, stacked
from helixband.training.steps.trying import relative

MOST = 64
"""The most steps of a block."""
BYTES = 64 << 20
"""The bytes of their batches at most, and those of what they give, where these are several."""
CACHED = 4 << 20
"""The bytes of masks for which a CPU has room in its caches: so many are drawn before the steps."""
TOLERANCE = {"32": 1e-4, "tf32": 1e-3, "bf16": 1e-2}
"""How much a step replayed on a GPU may differ from the same one computed, relative to the largest number.

The order of sums differs there from time to time, which is rounded to the precision of the network.
"""


def steps_at_once(of_one: Any) -> int:
    """How many steps are taken in one block, given the batches of one step, or what it gives."""
    return max(1, min(MOST, BYTES // max(1, nbytes(of_one))))


class Block:
    """The step of a pack on batches of one shape, with everything that it reads and writes at fixed places.

    It is captured and replayed: on a GPU in a CUDA graph, elsewhere on a tape. Which of the batches it takes
    it counts on the device.
    """

    def __init__(self, pack: Pack, rounds: Sequence[Sequence[Batch]], numbers: Numbers) -> None:
        """Capture the step, given rounds of a batch of each member and the numbers of a step.

        The pack stays as it is. The step of the first round is captured, that of the last is compared.
        Raises `CaptureError`, and `torch.OutOfMemoryError` where memory does not suffice.
        """
        batches = rounds[0]
        self._pack, self.names = pack, numbers.names
        # A member's own may go or change while the block serves other members.
        self._criterion = copy.deepcopy(pack.members[0].model.criterion)
        self._results: list[Tensor] = []
        self._spec: Any = None
        try:
            self._make_room(batches, numbers)
            self._fill([batches], numbers)
            self._replay = self._recorded(rounds[-1], numbers)
        except (CaptureError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise CaptureError(f"{type(error).__name__}: {first_line(error)}") from error

    def _make_room(self, batches: Sequence[Batch], numbers: Numbers) -> None:
        self._at = torch.zeros(1, dtype=torch.long, device=numbers.table.device)
        masks = self._pack.dropout.draw(stacked(batches)[0], *numbers.first.in_rows())
        self.steps = steps_at_once(list(batches))
        self._draws_ahead = masks.nbytes * self.steps <= (BYTES if self._is_on_gpu else CACHED)
        shape = self.steps, len(batches)
        self._batch = pytree.tree_map(lambda leaf: leaf.new_empty((*shape, *leaf.shape)), batches[0])
        self._table = numbers.table.new_zeros((self.steps, *numbers.table.shape[1:]))
        self._keys = numbers.keys.new_zeros((self.steps, *numbers.keys.shape[1:]))
        self._masks = masks.new_empty((self.steps if self._draws_ahead else 0, *masks.shape))

    def run(self, rounds: Sequence[Sequence[Batch]], numbers: Numbers) -> list[list[StepResult | None]]:
        """Take the steps of some rounds, each of a batch of each member; what each gave."""
        self._fill(rounds, numbers)
        for _ in rounds:
            interruption.check()  # on a CPU a block can take long
            self._replay()
        count = len(rounds)
        flat = [each[:count].clone() if isinstance(each, Tensor) else each for each in self._results]
        found, norms = pytree.tree_unflatten(flat, self._spec)
        for each in split(norms, count):
            self._pack.note(each)
        self._pack.count(count)
        members = len(self._pack.members)
        in_rows = pytree.tree_map(_in_rows, found)
        results = split(in_rows, count * members)
        return [results[first : first + members] for first in range(0, count * members, members)]

    @torch.no_grad()
    def _fill(self, rounds: Sequence[Sequence[Batch]], numbers: Numbers) -> None:
        """Put what the next steps take where they take it."""
        given = [pytree.tree_leaves(batch) for batches in rounds for batch in batches]
        for place, each in zip(pytree.tree_leaves(self._batch), zip(*given, strict=True), strict=True):
            torch.stack(each, out=place[: len(rounds)].flatten(0, 1))
        self._table[: len(rounds)].copy_(numbers.table)
        self._keys[: len(rounds)].copy_(numbers.keys)
        if self._draws_ahead:
            x = pytree.tree_map(lambda leaf: leaf[0], self._batch[0])
            self._pack.dropout.draw(x, *numbers.in_rows(), self._masks[: len(rounds)].flatten(0, 1))
        self._at.zero_()

    def _step(self) -> None:
        """The step whose number is counted on the device."""
        at = self._at
        batch = pytree.tree_map(lambda leaf: leaf.index_select(0, at)[0], self._batch)
        values = named(self.names, self._table.index_select(0, at)[0])
        with _criterion_of(self._pack.members[0].model, self._criterion):
            given = self._pack.whole_step(batch, values, self._masks_of(batch[0], values))
        found, self._spec = pytree.tree_flatten(given)
        if not self._results:
            self.steps = min(self.steps, steps_at_once([each for each in found if isinstance(each, Tensor)]))
            self._results = [_of_all(each, self.steps) for each in found]
        with torch.no_grad():
            for place, each in zip(self._results, found, strict=True):
                if isinstance(each, Tensor):
                    place.index_copy_(0, at, each[None])
            at.add_(1)

    def _masks_of(self, x: Any, values: Values) -> Tensor:
        """The masks of dropout of the step, as `Dropout.draw` gives them."""
        if self._draws_ahead:
            return self._masks.index_select(0, self._at)[0]
        return self._pack.dropout.draw(x, values, self._keys.index_select(0, self._at)[0])

    def _recorded(self, others: Sequence[Batch], numbers: Numbers) -> Callable[[], Any]:
        """What takes a step when it is called, tried beside the step computed; nothing stays of it."""
        before = self._state()
        try:
            return self._tried(others, numbers)
        finally:
            self._put_back(before)

    def _tried(self, others: Sequence[Batch], numbers: Numbers) -> Callable[[], Any]:
        attributes = self._pack.template.attributes()
        self._warm_up()
        if self._pack.template.attributes() != attributes:
            raise CaptureError("its network changes its attributes as it computes")
        # Another step is compared than the one that is recorded: what stays of that would show.
        after_one = self._state()
        self._at.zero_()
        replay = self._recorder()
        self._put_back(after_one)
        self._fill([others], numbers)
        self._turn_around()
        self._warm_up()
        computed = self._outcome()
        self._put_back(after_one)
        replay()
        precision = self._pack.members[0].model.engine.options.precision
        tolerance = TOLERANCE[precision] if self._is_on_gpu else 0.0
        for one, other in zip(computed, self._outcome(), strict=True):
            if not relative(one.double(), other.double()) <= tolerance:
                raise CaptureError("a replayed step differs from the same one computed")
        return replay

    def _recorder(self) -> Callable[[], Any]:
        """What replays the step of the first batch."""
        if self._is_on_gpu:
            # A wait for the device is found here: not all is as before where a capture has failed by it.
            graphs.on_side_stream(self._step, may_wait=False)
            self._at.zero_()
            replay, _ = graphs.recorded(self._step)
            return replay
        self._pack.is_one_of_several = True
        try:
            self._step()
        finally:
            self._pack.is_one_of_several = False
        self._at.zero_()
        return tape.recorded(self._step)

    @torch.no_grad()
    def _turn_around(self) -> None:
        """Put the examples of the first batch in the opposite order."""
        for leaf in pytree.tree_leaves(self._batch):
            if leaf.ndim > 2:
                leaf[0].copy_(leaf[0].flip(1))

    @property
    def _is_on_gpu(self) -> bool:
        return self._at.device.type == "cuda"

    def _warm_up(self) -> None:
        """One step, on a GPU on a stream of its own, as a capture needs it."""
        if self._is_on_gpu:
            graphs.on_side_stream(self._step)
        else:
            self._step()

    def _state(self) -> list[Tensor]:
        return [each.clone() for each in self._pack.tensors]

    def _outcome(self) -> list[Tensor]:
        """The state after the first step, and what that gave."""
        return self._state() + [each[0].clone() for each in self._results if isinstance(each, Tensor)]

    @torch.no_grad()
    def _put_back(self, before: Sequence[Tensor]) -> None:
        for tensor, value in zip(self._pack.tensors, before, strict=True):
            tensor.copy_(value)
        self._at.zero_()


@contextmanager
def _criterion_of(model: Model, criterion: Any) -> Iterator[None]:
    """The model computes losses with another criterion."""
    before, model.criterion = model.criterion, criterion
    try:
        yield
    finally:
        model.criterion = before


def _of_all(each: Any, steps: int) -> Any:
    """The place of what each of the steps gives."""
    return each.new_empty((steps, *each.shape)) if isinstance(each, Tensor) else each


def _in_rows(each: Any) -> Any:
    """(steps, K, …) as (steps · K, …)."""
    return each.flatten(0, 1) if isinstance(each, Tensor) else each
