"""Gradients clipped and measured, before each update."""

import math

import torch
from torch import Tensor, nn

from helixband.training.options import TrainingOptions
from helixband.training.parts.update import gradients_of

KINDS = {"L1": 1.0, "L2": 2.0, "max": math.inf}
"""The norms of all gradients as one vector, by what they are called."""


class Norms:
    """The norms of the gradients of an epoch's steps; they stay on the device until they are asked for."""

    def __init__(self) -> None:
        self._found: dict[str, list[Tensor]] = {}
        self.optimizer: str | None = None
        """Of several optimizers, the name of the one whose step it is."""

    def add(self, kind: str, norm: Tensor) -> None:
        """Take the norm of a step."""
        name = f"gradient_norm_{kind}" + (f"_{self.optimizer}" if self.optimizer else "")
        self._found.setdefault(name, []).append(norm.detach())

    @staticmethod
    def columns(options: TrainingOptions) -> list[str]:
        """The columns that an epoch's row has under these options."""
        kinds = {options.gradient_norm, "L2" if options.clip_norm is not None else None}
        return [f"gradient_norm_{kind}" for kind in kinds if kind is not None]

    def means(self) -> dict[str, float]:
        """Their means over the epoch, those left out that are not finite, by the names of columns."""
        found, self._found = self._found, {}
        return {name: _mean(torch.stack(norms).double()) for name, norms in found.items()}


def _mean(norms: Tensor) -> float:
    return float(norms[norms.isfinite()].mean())


class Measure:
    """Keeps the norm of the gradients."""

    def __init__(self, kind: str, norms: Norms) -> None:
        self._kind, self._norms = kind, norms

    def __call__(self, parameters: list[Tensor], time: tuple[int, int]) -> None:
        norm = nn.utils.get_total_norm(gradients_of(parameters), KINDS[self._kind])
        self._norms.add(self._kind, norm)


class ClipValue:
    """Brings each element of the gradients into [-limit, limit]."""

    def __init__(self, options: TrainingOptions) -> None:
        self._options = options

    def __call__(self, parameters: list[Tensor], time: tuple[int, int]) -> None:
        nn.utils.clip_grad_value_(parameters, self._options.at("clip_value", time))


class ClipNorm:
    """Scales the gradients so that their L2 norm, as one vector, is at most the limit; keeps it as it was."""

    def __init__(self, options: TrainingOptions, norms: Norms) -> None:
        self._options, self._norms = options, norms

    def __call__(self, parameters: list[Tensor], time: tuple[int, int]) -> None:
        limit = self._options.at("clip_norm", time)
        self._norms.add("L2", nn.utils.clip_grad_norm_(parameters, limit))


def norms_of_rows(gradients: Tensor, kind: str) -> Tensor:
    """The norm of each member's gradients, (K,), given these as rows, (K, n)."""
    norms: Tensor = torch.linalg.vector_norm(gradients, KINDS[kind], dim=1)
    return norms


def clip_values_of_rows(gradients: Tensor, limits: Tensor) -> None:
    """`ClipValue` of each member's gradients, in place, given the limits (K, 1)."""
    torch.minimum(torch.maximum(gradients, -limits, out=gradients), limits, out=gradients)


def clip_norms_of_rows(gradients: Tensor, limits: Tensor) -> Tensor:
    """`ClipNorm` of each member's gradients, in place, given the limits (K, 1); the norms before, (K,)."""
    norms = norms_of_rows(gradients, "L2")
    gradients.mul_((limits / (norms[:, None] + 1e-6)).clamp_(max=1))
    return norms
