"""The masks of a pack's layers of dropout, drawn for many steps at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from helixband.nested import map_leaves
from helixband.training import precision
from helixband.training.steps import masks
from helixband.training.steps.numbers import Values, scale
from helixband.training.steps.stacks import signature
from helixband.training.steps.template import Template

Shapes = Sequence[Sequence[torch.Size]]
"""Those of the masks of each layer, of each call."""


class Dropout:
    """Draws the masks for a network, and tells their layers apart.

    `tensors_of_one` gives tensors with which the network can be called, which tells the shapes.
    """

    def __init__(self, template: Template, tensors_of_one: Callable[[], dict[str, Tensor]]) -> None:
        self._template, self._tensors = template, tensors_of_one
        self._layers = range(len(template.names))
        self._found: dict[Any, tuple[Shapes, Tensor]] = {}
        """Shapes, and the numbers of their places, by the shapes of a batch."""

    @torch.no_grad()
    def draw(self, x: Any, values: Values, keys: Tensor, into: Tensor | None = None) -> Tensor:
        """The masks (R, n) of R rows, one of a member at a step, for batches like x, (K, N, …).

        Each row has all masks one after another. `values` have the scale of each layer, (R, 1), and `keys`
        are int32 (R, 2 + layers). Without such layers n is 0.
        """
        if not self._layers:
            return keys.new_empty((len(keys), 0))
        shapes, places = self._shapes(x, keys.device)
        return masks.draw(shapes, [values[scale(layer)] for layer in self._layers], keys, places, into)

    def cut(self, x: Any, drawn: Tensor) -> list[list[Tensor]]:
        """Of the masks (K, n) for x, those of each layer and call, (K, …): views."""
        return masks.cut(self._shapes(x, drawn.device)[0], drawn) if self._layers else []

    def _shapes(self, x: Any, device: torch.device) -> tuple[Shapes, Tensor]:
        key = signature(x), precision.is_single()
        if key not in self._found:
            shapes = self._template.shapes(self._tensors(), map_leaves(lambda leaf: leaf[0], x))
            self._found[key] = shapes, masks.places(shapes, device)
        return self._found[key]
