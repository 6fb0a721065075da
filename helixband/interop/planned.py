"""A Trainer that tells by what totals a module plans its schedules."""

from collections.abc import Callable
from typing import Any


class Trainer:
    """A part of a Trainer. It has the name of the whole: PL_TRAINER_PRECISION and others are found by it."""

    max_steps: int
    lightning_module: Any
    on_total: Callable[[str, float], None] | None = None
    """Gets the name and the value of a total of the training that was read."""

    @property
    def estimated_stepping_batches(self) -> float:
        """The optimizer steps of the training; told where they depend on its epochs."""
        told, self.on_total = self.on_total, None  # for it reads max_epochs
        try:
            value: float = super().estimated_stepping_batches  # type: ignore[misc]
        finally:
            self.on_total = told
        if told is not None and value != self.max_steps:
            told("estimated_stepping_batches", value)
        return value

    @property
    def max_epochs(self) -> int | None:
        """The epochs of the training; told where configure_optimizers reads it, for others only show it."""
        value: int | None = super().max_epochs  # type: ignore[misc]
        told = self.on_total
        if told is not None and self.lightning_module._current_fx_name == "configure_optimizers":
            told("max_epochs", value or 0)
        return value
