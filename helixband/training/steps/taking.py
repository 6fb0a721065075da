"""Steps of a pack whose numbers are read, in a block or computed one by one where that fails."""

from collections.abc import Sequence

import torch
from torch import Tensor

from helixband.nested import nbytes
from helixband.training.member import Batch, StepResult
from helixband.training.steps.numbers import Numbers
from helixband.training.steps.pack import Pack
from helixband.training.steps.stacks import split, stacked

BYTES = 256 << 20
"""Of a pack with more there is no copy to go back to where a block fails."""

Steps = list[list[StepResult | None]]
"""What each member got of each step."""


class Copy:
    """What a pack's steps change, as it was before a block of them."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self._values = [each.clone() for each in pack.tensors]

    @torch.no_grad()
    def put_back(self) -> None:
        """Give the pack the values again."""
        for tensor, value in zip(self._pack.tensors, self._values, strict=True):
            tensor.copy_(value)


def copy_of(pack: Pack) -> Copy | None:
    """The copy of a pack; None where it is too large, or memory does not suffice."""
    try:
        return Copy(pack) if nbytes(pack.tensors) <= BYTES else None
    except torch.OutOfMemoryError:
        return None


def computed(pack: Pack, rounds: Sequence[Sequence[Batch]], numbers: Numbers) -> Steps:
    """The steps of some rounds, each computed as a block would."""
    found: Steps = []
    notes: list[dict[str, Tensor]] = []
    for number, batches in enumerate(rounds):
        values, keys = numbers.of(number)
        batch = stacked(batches)
        result, norms = pack.whole_step(batch, values, pack.dropout.draw(batch[0], values, keys))
        notes.append(norms)
        found.append(list(split(result, len(pack.members))))
    for norms in notes:
        pack.note(norms)
    pack.count(len(rounds))
    return found
