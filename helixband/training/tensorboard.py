"""TensorBoard logs of a trial, where the package is installed (the extra `tracking`)."""

import importlib.util
import math
from pathlib import Path
from types import TracebackType
from typing import Any

from helixband.errors import StorageError
from helixband.results import Row


class TensorBoardLog:
    """Scalars of each epoch under their names; a context manager, which does nothing without the package."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writer: Any = None

    def __enter__(self) -> "TensorBoardLog":
        return self

    def add(self, row: Row) -> None:
        """Log an epoch; undefined values are left out. Raises `StorageError` where it cannot be written."""
        try:
            self._add(row)
        except OSError as error:
            raise StorageError(f"cannot write to {self._directory}: {error.strerror or error}") from error

    def _add(self, row: Row) -> None:
        if self._writer is None:
            if importlib.util.find_spec("tensorboard") is None:
                return
            from torch.utils.tensorboard import SummaryWriter

            # Epochs from here on replace those of a run that was killed after logging them.
            self._writer = SummaryWriter(str(self._directory), purge_step=int(row["epoch"]))
        for name, value in row.items():
            if name != "epoch" and math.isfinite(value):
                part, _, metric = name.partition("_")
                self._writer.add_scalar(f"{metric}/{part}" if metric else name, value, int(row["epoch"]))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
