"""A network of a structure that computes with any member's tensors, its dropout by masks that it is given."""

import copy
import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helixband.training.configuration import Config
from helixband.training.objects import walk
from helixband.training.steps.described import LIFTED, is_of_training, structure
from helixband.training.steps.unfolded import unfoldable

MOST = 64
"""So many templates are kept."""
_BATCHED: dict[type[nn.Module], int | None] = {nn.Dropout1d: 3, nn.Dropout2d: None, nn.Dropout3d: 5}
"""Layers that drop whole channels, which come second in a batch: the dimensions of a batch; None for any.

Of other dimensions it is a single example, whose channels come first. So has torch it, in nn.functional.
"""


class Template:
    """A copy of a network, to be called by `torch.func.functional_call` with a member's tensors."""

    def __init__(self, network: nn.Module) -> None:
        held = [each for _, each in walk({"": network}, lambda value, path: is_of_training(value))]
        # A model that a network holds stays the one, so that what is read of it is of the moment.
        same = {id(each): each for each in held if is_of_training(each)}
        guards = {id(each): guarded(each) for each in held if isinstance(each, Config)}
        self._configs = list(guards.values())
        layers = {name: module for name, module in network.named_modules() if type(module) in LIFTED}
        self.names = list(layers)
        """The dropout layers."""
        self._layers = [_Masked(layer) for layer in layers.values()]
        # In the place of the layers wherever they are held: one may have several names, or be in a list.
        masked = dict(zip(map(id, layers.values()), self._layers, strict=True))
        self.network = copy.deepcopy(network, {**same, **guards, **masked})
        self.network.train()
        self._convolutions = unfoldable(self.network)
        self.is_undecided = bool(self._convolutions)
        """Whether it is yet to be found which way of its convolutions is the faster."""

    def allow(self, names: Iterable[str]) -> None:
        """Have the network read nothing else of its configuration: members may differ in that."""
        for config in self._configs:
            config.allowed = frozenset(names)

    @torch.no_grad()
    def spoil(self) -> None:
        """Have what computes with its own tensors, as a hook on a gradient might, give no number."""
        for each in (*self.network.parameters(), *self.network.buffers()):
            if each.is_floating_point() or each.is_complex():
                each.fill_(math.nan)

    def unfold(self, unfolds: bool) -> None:
        """Take convolutions as products of matrices, or not."""
        self.is_undecided = False
        for each in self._convolutions:
            each.unfolds = unfolds

    def kept(self, network: nn.Module) -> list[float]:
        """The shares that a member's layers of dropout keep now."""
        return [1 - float(network.get_submodule(name).p) for name in self.names]  # type: ignore[arg-type]

    def attributes(self) -> Hashable:
        """What equals itself as long as no layer changes an attribute."""
        return structure(self.network, apart=_Masked)

    def use(self, masks: Sequence[Sequence[Tensor]]) -> None:
        """Have the next pass take these masks, those of each layer in the order of its calls."""
        for layer, given in zip(self._layers, masks, strict=True):
            layer.masks = iter(given)

    def shapes(self, tensors: dict[str, Tensor], x: Any) -> list[list[torch.Size]]:
        """The shapes of the masks of each layer for a batch of a member, in the order of its calls."""
        for layer in self._layers:
            layer.masks, layer.seen = None, []
        with torch.no_grad():
            torch.func.functional_call(self.network, tensors, (x,))
        return [layer.seen for layer in self._layers]


class Templates:
    """The templates of kinds of networks, `MOST` at most: those used last."""

    def __init__(self) -> None:
        self._held: dict[Hashable, Template] = {}

    def of(self, kind: Hashable, network: nn.Module, reads: Iterable[str]) -> Template:
        """That of a kind, made from a network which reads these names of its configuration."""
        template = self._held.pop(kind, None)
        if template is None:
            template = Template(network)
            template.spoil()
            template.allow(reads)
        self._held[kind] = template
        if len(self._held) > MOST:
            del self._held[next(iter(self._held))]
        return template


class Guarded(Config):
    """A configuration of which nothing is read but what is allowed."""

    allowed: frozenset[str] | None = None
    """None: all."""

    def __getitem__(self, name: str) -> Any:
        if self.allowed is not None and name not in self.allowed:
            raise RuntimeError(
                f"the network reads {name} of its configuration, and did not at its first batch"
            )
        return super().__getitem__(name)


def guarded(config: Config) -> Guarded:
    """A copy of a configuration."""
    guard: Any = copy.copy(config)
    guard.__class__ = Guarded
    found: Guarded = guard
    return found


class _Masked(nn.Module):
    """A layer of dropout which multiplies by the masks that it has got."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self._kind, self._inplace = type(layer), bool(layer.inplace)
        self.masks: Iterator[Tensor] | None = None
        self.seen: list[torch.Size] = []

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:  # as a network's own `train` may leave it
            return x
        if self.masks is None:
            self.seen.append(_shape_of_mask(self._kind, x.shape))
            return x
        # In 16 bits it is rounded once, as torch's own.
        return x.mul_(next(self.masks)) if self._inplace else (x * next(self.masks)).to(x.dtype)


def _shape_of_mask(kind: type[nn.Module], shape: torch.Size) -> torch.Size:
    """The shape of the draws of a layer of dropout for an x of a shape, to which they are broadcast."""
    if kind not in _BATCHED:
        return shape
    of_draws = 2 if _BATCHED[kind] in (None, len(shape)) else 1
    return torch.Size((*shape[:of_draws], *[1] * (len(shape) - of_draws)))
