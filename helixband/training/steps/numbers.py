"""The numbers that steps of a pack are computed with besides their batches, read for many steps at a time."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helixband.randomness import derive_seed
from helixband.training.feed import pinned_to
from helixband.training.member import Member
from helixband.training.schedules import Schedule
from helixband.training.steps import masks
from helixband.training.steps.stacked import StackedOptimizer
from helixband.training.steps.template import Template

Values = Mapping[str, Tensor]
"""The numbers of a step by name, each (K, 1)."""
Reading = Mapping[str, list[float]]
"""The numbers of the members at a moment, by name."""


class Numbers(NamedTuple):
    """What some steps are computed with, on the device."""

    names: tuple[str, ...]
    table: Tensor
    """(steps, names, K)"""
    keys: Tensor
    """Of the masks of dropout, int32 (steps, K, 2 + layers)."""

    @property
    def first(self) -> "Numbers":
        """Those of the first step alone."""
        return Numbers(self.names, self.table[:1], self.keys[:1])

    def of_members(self, places: Sequence[int]) -> "Numbers":
        """Those of some of the members."""
        chosen = list(places)
        return Numbers(self.names, self.table[:, :, chosen], self.keys[:, chosen])

    def in_rows(self) -> tuple[dict[str, Tensor], Tensor]:
        """Those of all steps by name, (steps · K, 1), and the keys, (steps · K, 2 + layers)."""
        return named(self.names, self.table.transpose(0, 1).flatten(1)), self.keys.flatten(0, 1)

    def of(self, step: int) -> tuple[dict[str, Tensor], Tensor]:
        """Those of one step by name, (K, 1), and its keys."""
        return named(self.names, self.table[step]), self.keys[step]


def named(names: Sequence[str], rows: Tensor) -> dict[str, Tensor]:
    """The rows (names, K) by name, each (K, 1)."""
    return dict(zip(names, rows[:, :, None].unbind(), strict=True))


def scale(layer: int) -> str:
    """The name of what a layer of dropout multiplies by where it keeps a place."""
    return f"scale.{layer}"


def without_dropout(values: Values, keys: Tensor) -> tuple[Values, Tensor]:
    """The numbers with which dropout keeps all."""
    ones = {name: torch.ones_like(value) for name, value in values.items() if name.startswith("scale.")}
    return {**values, **ones}, masks.without(keys)


class Read:
    """Reads the numbers of members: of their optimizers, options and layers of dropout."""

    def __init__(
        self, members: Sequence[Member], optimizer: StackedOptimizer, template: Template, averages: bool
    ) -> None:
        self._models = [member.model for member in members]
        self._seeds = [derive_seed(member.seed, "dropout") for member in members]
        self._optimizer, self._template = optimizer, template
        options = self._models[0].engine.options
        self._options = [name for name in ("clip_value", "clip_norm") if getattr(options, name) is not None]
        self._options += ["ema_decay"] if averages else []

    def now(self) -> Reading:
        """Those of the step that has begun."""
        found = self._optimizer.read()
        for name in self._options:
            found[name] = [float(each.engine.options.at(name, each.config.time)) for each in self._models]
        kept = [self._template.kept(model.network) for model in self._models]
        return found | {_keep(layer): list(each) for layer, each in enumerate(zip(*kept, strict=True))}

    @property
    def stays(self) -> bool:
        """Whether what is read holds for all steps of an epoch."""
        return not any(
            model.engine.schedules.by_step
            or not model.engine.schedules.empty
            or any(isinstance(getattr(model.engine.options, name), Schedule) for name in self._options)
            for model in self._models
        )

    def numbers(self, readings: Sequence[Reading], count: int, like: Tensor) -> Numbers:
        """Those of `count` steps, the last of which has begun; a single reading holds for all of them."""
        read: dict[str, NDArray[np.float64]]
        read = {name: np.array([each[name] for each in readings]) for name in readings[0]}
        found = self._optimizer.prepared(read, count)
        shares = [read[_keep(layer)] for layer in range(len(self._template.names))]
        found |= {name: read[name] for name in self._options}
        found |= {scale(layer): masks.scales(each) for layer, each in enumerate(shares)}
        shape = count, len(self._models)
        table = np.stack([np.broadcast_to(each, shape) for each in found.values()], 1)
        records = [(model.engine.record, model.engine.update.pending) for model in self._models]
        steps = np.array([record.steps + (pending << 40) for record, pending in records])
        keys = masks.keys(self._seeds, steps + np.arange(1 - count, 1)[:, None], shares)
        sent_table = pinned_to(torch.from_numpy(table).to(like.dtype), like.device)
        return Numbers(tuple(found), sent_table, pinned_to(torch.from_numpy(keys), like.device))


def _keep(layer: int) -> str:
    """The name of the share that a layer of dropout keeps."""
    return f"keep.{layer}"
