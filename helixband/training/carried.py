"""What a model made of the pieces of a set, on its way to another process: as arrays by name."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helixband.errors import DataError
from helixband.nested import map_leaves, named_leaves
from helixband.training.feed import kept
from helixband.training.meters import Loss
from helixband.training.passes import Evaluated

Arrays = dict[str, NDArray[Any]]
Leaf = tuple[str, NDArray[Any]]
_VIEWS = {1: np.uint8, 2: np.int16}
"""NumPy types of so many bytes, for those of torch's that NumPy lacks."""


class Piece(NamedTuple):
    """The labels of a piece on the host, the weights of its examples, and what it was evaluated to."""

    y: Any
    weight: tuple[Any, ...]
    found: Evaluated

    def parts(self) -> dict[str, Any]:
        """Its nested arrays and tensors by name, but for the loss."""
        of_loss = self.found.outputs and dict(zip(("y_pred_loss", "labels"), self.found.outputs, strict=True))
        weight = {"weight": self.weight[0]} if self.weight else {}
        return {"y": self.y, **weight, "y_pred": self.found.y_pred, **(of_loss or {})}


class Recorder:
    """Evaluates the pieces of a set in this process, and keeps what came of each."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []

    def evaluated(self, step: Callable[..., Any], pieces: Iterable[Any]) -> Iterator[tuple[Any, Evaluated]]:
        """Each piece with what the step gave; its labels are a copy."""
        for x, *labels in pieces:
            y, *weight = kept(labels)
            found = step(x, *labels)
            self.pieces.append(Piece(y, tuple(weight), found))
            yield (x, y, *weight), found


@dataclass(frozen=True)
class Form:
    """How the arrays of each piece of a set are nested: as those of one of them, `like`."""

    like: Piece
    device: torch.device

    def is_known(self) -> bool:
        """Whether no two arrays have one name."""
        names = [[name for name, _ in named_leaves(part)] for part in self.like.parts().values()]
        return all(len(set(each)) == len(each) for each in names)

    def pieces(self, arrays: Mapping[str, NDArray[Any]]) -> Iterator[Piece]:
        """The pieces of which `to_arrays` made these; raises `DataError` where they are of another form."""
        of_piece: dict[int, dict[str, dict[str, Leaf]]] = {}
        for key, array in arrays.items():
            number, part, name, kind = json.loads(key)
            of_piece.setdefault(number, {}).setdefault(part, {})[name] = kind, array
        wanted = self.like.parts()
        for found in of_piece.values():
            loss = _loss_of(found.pop("loss"), self.device)
            if found.keys() != wanted.keys():
                raise DataError(
                    f"a batch of the set has {', '.join(found)}; the first has {', '.join(wanted)}"
                )
            made = {name: self._filled(name, wanted[name], leaves) for name, leaves in found.items()}
            of_loss = (made["y_pred_loss"], made["labels"]) if "labels" in made else None
            weight = (made["weight"],) if "weight" in made else ()
            yield Piece(made["y"], weight, Evaluated(loss, made["y_pred"], of_loss))

    def _filled(self, part: str, like: Any, found: dict[str, Leaf]) -> Any:
        names = [name for name, _ in named_leaves(like)]
        if set(names) != found.keys():
            raise DataError(f"the {part} of a batch has the arrays {list(found)}; the first has {names}")
        device = self.device if part in ("y_pred_loss", "labels") else torch.device("cpu")
        values = iter([_value(*found[name], device) for name in names])
        return map_leaves(lambda _: next(values), like)


def to_arrays(pieces: Iterable[Piece]) -> Arrays:
    """The arrays of some pieces; each name is JSON, [piece, part, name in it, kind]."""
    found: Arrays = {}
    for number, piece in enumerate(pieces):
        for part, nested in {**piece.parts(), "loss": _of_loss(piece.found.loss)}.items():
            for name, leaf in named_leaves(nested):
                kind, array = _leaf(leaf)
                found[json.dumps([number, part, name, kind])] = array
    return found


def _of_loss(loss: Loss) -> dict[str, Any]:
    """A loss with its parts: of each, whose name is JSON, the value and perhaps the weight."""
    losses: dict[str | None, Loss] = {None: loss}
    losses.update(loss.parts or {})
    values = {json.dumps([name, "value"]): each.value for name, each in losses.items()}
    weights = {json.dumps([name, "weight"]): each.weight for name, each in losses.items()}
    return values | {name: weight for name, weight in weights.items() if weight is not None}


def _loss_of(leaves: dict[str, Leaf], device: torch.device) -> Loss:
    # As `named_leaves` has it, a name begins with a dot.
    found = {tuple(json.loads(name[1:])): _value(*leaf, device) for name, leaf in leaves.items()}
    names = [name for name, what in found if what == "value"]
    losses = {name: Loss(found[name, "value"], found.get((name, "weight"))) for name in names}
    whole = losses.pop(None)
    return Loss(whole.value, whole.weight, losses or None)


def _leaf(value: Any) -> Leaf:
    if isinstance(value, Tensor):
        tensor = value.detach().cpu()
        try:
            return str(tensor.dtype), tensor.numpy()
        except TypeError:  # NumPy has no such type
            whole_numbers = getattr(torch, np.dtype(_VIEWS[tensor.itemsize]).name)
            flat = tensor.contiguous().reshape(-1).view(whole_numbers)
            return str(tensor.dtype), flat.numpy().reshape(tensor.shape)
    return ("array", value) if isinstance(value, np.ndarray) else ("number", np.asarray(value))


def _value(kind: str, array: NDArray[Any], device: torch.device) -> Any:
    if kind == "array":
        return array
    if kind == "number":
        return array.item()
    tensor, dtype = torch.from_numpy(np.ascontiguousarray(array)), getattr(torch, kind.removeprefix("torch."))
    if tensor.dtype != dtype:
        tensor = tensor.reshape(-1).view(dtype)
    return tensor.reshape(array.shape).to(device)
