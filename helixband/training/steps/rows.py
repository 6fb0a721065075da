"""Tensors of several members as the rows of one matrix, so that a step changes them all at once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from helixband.training.parts.update import gradients_of


class Rows:
    """Tensors of the same names and shapes of K members, in a matrix (K, columns) of their own.

    The columns of a name are together, in the order of the names. Until `write_back`, the tensors of the
    members are views of it: whoever reads or changes one of them in place has what the matrix has.
    """

    def __init__(self, members: Sequence[Mapping[str, Tensor]]) -> None:
        self._shapes = {name: value.shape for name, value in members[0].items()}
        self._columns: dict[str, slice] = {}
        end = 0
        for name, value in members[0].items():
            self._columns[name] = slice(end, end + value.numel())
            end += value.numel()
        first = next(iter(members[0].values()))
        self.matrix = first.new_empty((len(members), end))
        self.take(members)

    @torch.no_grad()
    def take(self, members: Sequence[Mapping[str, Tensor]]) -> None:
        """Have the values of as many members, perhaps others than before, at the same place in memory."""
        for row, each in zip(self.matrix, members, strict=True):
            torch.cat([value.detach().reshape(-1) for value in each.values()], out=row)
        self._lent = []
        for number, each in enumerate(members):
            views = self.of(number)
            self._lent += [Lent(value, views[name]) for name, value in each.items()]

    def stacked(self, name: str) -> Tensor:
        """The tensors of a name, (K, …): a view."""
        return self.matrix[:, self._columns[name]].view(len(self.matrix), *self._shapes[name])

    def of(self, member: int) -> dict[str, Tensor]:
        """The tensors of a member by name: views."""
        row = self.matrix[member]
        return {name: row[self._columns[name]].view(shape) for name, shape in self._shapes.items()}

    def columns(self, names: Iterable[str]) -> slice:
        """The columns of names that follow one another."""
        found = [self._columns[name] for name in names]
        return slice(found[0].start, found[-1].stop) if found else slice(0, 0)

    @torch.no_grad()
    def write_back(self) -> None:
        """Give each member its values, in the tensors that it had, and let go of these."""
        give_back(self._lent)
        self._lent = []


class Lent:
    """A tensor that is a view of another one until it is given back; what it had before is kept for then."""

    def __init__(self, tensor: Tensor, view: Tensor) -> None:
        self.tensor, self.place, self.view = tensor, tensor.data, view
        tensor.data = view


@torch.no_grad()
def give_back(lent: Sequence[Lent]) -> None:
    """Have the tensors where they were before, with the values of now."""
    for each in reversed(lent):  # as one tensor may be lent twice
        if _overlaps(each.place):
            each.tensor.data = each.view.clone()
        else:
            each.place.copy_(each.view)
            each.tensor.data = each.place


def waiting_gradients(models: Sequence[Any], names: Sequence[str]) -> Tensor | None:
    """The gradients of batches that wait for others of their step, (K, columns); None where none wait."""
    if not models[0].engine.update.pending:
        return None
    found = [gradients_of([model.network.get_parameter(name) for name in names]) for model in models]
    return torch.stack([torch.cat([each.reshape(-1) for each in gradients]) for gradients in found])


def give_gradients(models: Sequence[Any], names: Sequence[str], rows: Tensor) -> None:
    """Give the parameters of these names in each model the gradients of its row: views."""
    for model, row in zip(models, rows, strict=True):
        parameters = [model.network.get_parameter(name) for name in names]
        parts = row.split([each.numel() for each in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)


def _overlaps(tensor: Tensor) -> bool:
    """Whether several elements are at one place in memory, as in an expanded tensor."""
    return any(size > 1 and not stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
