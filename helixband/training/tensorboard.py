"""TensorBoard logs of a trial, where the package is installed (the extra `tracking`).

Its events are written as they come, in the package's own record format: torch's `SummaryWriter` has a thread
for them, whose start and end take longer than a short trial.
"""

import contextlib
import importlib.util
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from helixband.errors import StorageError
from helixband.files import make_folder
from helixband.results.directory import Row
from helixband.results.pictures import Picture

SETS = {"train_": "train", "val_": "val"}
"""By what the columns of a set begin with, its name; the curves of both are in one group."""
GROUPS = ("lr", "hp", "gradient_norm")
"""Other columns of a group: <group>_<name>."""


class TensorBoardLog:
    """Scalars of each epoch under their names; a context manager, which does nothing without the package.

    Each epoch is written within `writing()`.
    """

    def __init__(
        self, directory: Path, writing: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    ) -> None:
        self._directory = directory
        self._writing = writing
        self._writer: Any = None

    def __enter__(self) -> "TensorBoardLog":
        return self

    def add(self, row: Row) -> None:
        """Log an epoch; undefined values are left out. Raises `StorageError` where it cannot be written."""
        if self._writer is None and not _is_installed():
            return
        with self._telling(), self._writing():
            self._add(row)

    @property
    def is_open(self) -> bool:
        """Whether anything was logged."""
        return self._writer is not None

    def show(self, pictures: Mapping[str, Picture], epoch: int) -> None:
        """Log pictures as images, of the state after an epoch; as `add`."""
        if not pictures or (self._writer is None and not _is_installed()):
            return
        from helixband.training.drawing import png

        with self._telling(), self._writing():
            if self._writer is None:
                self._open(epoch + 1)
            for name, picture in pictures.items():
                data, width, height = png(picture)
                image = {"encoded_image_string": data, "width": width, "height": height, "colorspace": 3}
                self._write(step=epoch, summary={"value": [{"tag": name, "image": image}]})
            self._writer.flush()

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"cannot write to {self._directory}: {error.strerror or error}") from error

    def _add(self, row: Row) -> None:
        if self._writer is None:
            self._open(int(row["epoch"]))
        values = []
        for name, value in row.items():
            if name != "epoch" and math.isfinite(value):
                values.append({"tag": tag_of(name), "simple_value": value})
        self._write(step=int(row["epoch"]), summary={"value": values})
        self._writer.flush()

    def _open(self, epoch: int) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

        make_folder(self._directory)
        name = f"events.out.tfevents.{time.time():017.6f}.{os.uname().nodename}.{os.getpid()}"
        self._writer = RecordWriter(open(self._directory / name, "xb"))
        self._write(file_version="brain.Event:2")
        # Epochs from here on replace those of a run that was killed after logging them.
        self._write(step=epoch, session_log={"status": "START"})

    def _write(self, **event: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]

        self._writer.write(Event(wall_time=time.time(), **event).SerializeToString())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._writer is not None:
            with self._telling():
                self._writer.close()


def tag_of(column: str) -> str:
    """The tag of a column of an epoch's row; what comes before the stroke is a group of charts.

    >>> [tag_of(column) for column in ("train_loss", "val_loss", "lr", "lr_1", "hp_weight_decay", "reward")]
    ['loss/train', 'loss/val', 'lr', 'lr/1', 'hp/weight_decay', 'reward']
    """
    for group, part in SETS.items():
        if column.startswith(group):
            return f"{column.removeprefix(group)}/{part}"
    for group in GROUPS:
        if column.startswith(f"{group}_"):
            return f"{group}/{column.removeprefix(f'{group}_')}"
    return column


def _is_installed() -> bool:
    """Whether `tensorboard` is the package, and no file or folder of a user's."""
    found = importlib.util.find_spec("tensorboard")
    return found is not None and any(
        (Path(place) / "summary").is_dir() for place in found.submodule_search_locations or ()
    )
