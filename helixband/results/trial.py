"""The files of one trial in a result directory."""

import csv
import io
import json
import math
import re
import zlib
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helixband.errors import StorageError
from helixband.files import (
    Shape,
    check_links,
    exists,
    read_document,
    read_object,
    read_whole,
    remove_file,
    remove_folder,
    remove_left_over,
    size_of,
    write_document,
    write_json,
    write_whole,
)
from helixband.results import shapes
from helixband.results.attempt import Attempt

Row = dict[str, float]

_EPOCH = "epoch-"
SINGLE = "single"
"""The id of the one trial that is trained where nothing is searched."""


class Trial:
    """The files of one trial.

    Who trains it begins an attempt, or joins one that was begun for it. Once there is another attempt, what
    is written through this object is refused with `Superseded`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.config_file = path / "config.json"
        self.history_file = path / "train_results.csv"
        self._history_facts = path / "train_results.json"
        self.last_checkpoint = path / "checkpoints" / "last.pt"
        self.best_checkpoint = path / "checkpoints" / "best.pt"
        self.plan_file = path / "plan.json"
        self.start_file = path / "start.json"
        self.error_file = path / "error.txt"
        self.output_file = path / "output.txt"
        self._attempt = Attempt(path / "attempt")
        self.begin_attempt, self.join_attempt = self._attempt.begin, self._attempt.join
        self.writing = self._attempt.writing

    def config(self) -> dict[str, Any] | None:
        """The stored configuration, or None where the trial has not begun."""
        return read_object(self.config_file) if self._has_config() else None

    def write_config(self, document: dict[str, Any]) -> None:
        """Store the configuration, once; a trial's configuration does not change."""
        if not self._has_config():
            with self.writing():
                write_json(self.config_file, document, sync=False)

    def check_config(self, document: dict[str, Any] | None) -> None:
        """Raise `StorageError` where the stored configuration is another than the one of this document."""
        stored = self.config()
        if None not in (stored, document) and _canonical(stored) != _canonical(document):
            raise StorageError(
                f"{self.config_file} has {stored}, and the trial was begun with {document}; put back a copy "
                "of it, or delete it to use what was recorded"
            )

    def _has_config(self) -> bool:
        # Syncing takes most of the time of a short trial: what a crash leaves empty is written again instead,
        # this, and the history from the last state.
        return size_of(self.config_file) > 0

    def plan(self) -> dict[str, Any] | None:
        """The `epochs` and `steps_per_epoch` that a trial was begun with, where its model depends on them."""
        return self._own(self.plan_file, shapes.PLAN, ("epochs",)) if exists(self.plan_file) else None

    def write_plan(self, plan: dict[str, Any]) -> None:
        """Store what the schedule of a trial is made for."""
        with self.writing():
            write_document(self.plan_file, {"trial": self.id, **plan})

    def write_start(self, match: dict[str, Any]) -> None:
        """Store what of its network the trial has from a file."""
        with self.writing():
            write_document(self.start_file, match, sync=False)

    def write_history(self, rows: list[Row], ended: str | None = None, ways: list[str] | None = None) -> None:
        """One CSV row an epoch; a column for each name that any epoch has, empty where undefined.

        `ended` says why the training ended by itself, where it did. `ways` says for each epoch how its steps
        were computed, where not all were computed one by one.
        """
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            values = [row.get(name, math.nan) for name in columns]
            writer.writerow(["" if math.isnan(value) else str(value) for value in values])
        content = text.getvalue().encode()
        # First the facts, which hold for the old table too: a kill between the two leaves one that fits.
        before = [zlib.crc32(read_whole(self.history_file))] if exists(self.history_file) else []
        written = datetime.now(UTC).isoformat(timespec="seconds")
        checksums = [zlib.crc32(content), *before]
        facts = {"trial": self.id, "epochs": len(rows), "checksums": checksums, "written": written}
        facts |= {} if ended is None else {"ended": ended}
        facts |= {} if ways is None else {"steps": ways}
        rewards = [row["reward"] for row in rows if math.isfinite(row.get("reward", math.nan))]
        facts |= {"reward": max(rewards)} if rewards else {}
        with self.writing():
            write_document(self._history_facts, facts, sync=False)
            write_whole(self.history_file, content, sync=False)

    def history(self) -> list[dict[str, str]]:
        """The stored epochs, each column as text; where the machine crashed, none.

        Raises `StorageError` where they cannot be read, or are not as they were written.
        """
        if not exists(self.history_file):
            return []
        content = read_whole(self.history_file)
        checksums = self._facts().get("checksums", [])
        if content and checksums and zlib.crc32(content) not in checksums:
            raise self._damaged("is not as it was written")
        rows = _epochs_in(content)
        if rows is None:
            raise self._damaged("is damaged: it is no table that has each epoch once")
        return rows

    def _damaged(self, how: str) -> StorageError:
        check_links(self.history_file)  # where it is one, that is why
        return StorageError(
            f"{self.history_file} {how}; put back a copy of it, or delete it: a training that goes on from "
            "the last checkpoint writes it again"
        )

    def written(self) -> str | None:
        """When the last epochs were stored, ISO 8601 in UTC; None where an earlier version stored them."""
        return self._facts().get("written")

    def ended(self) -> str | None:
        """Why the training ended by itself, so that it is not trained on; None where it did not."""
        return self._facts().get("ended")

    def ways(self) -> list[str]:
        """How the steps of each epoch were computed; [] where all were computed one by one."""
        return list(self._facts().get("steps", []))

    def _facts(self) -> dict[str, Any]:
        file = self._history_facts
        return self._own(file, shapes.HISTORY) if size_of(file) else {}

    def _own(self, file: Path, shape: Shape, needed: Collection[str] = ()) -> dict[str, Any]:
        """A document of this trial; raises `StorageError` where it was written for another one."""
        document = read_document(file, shape, needed)
        if (other := document.pop("trial", self.id)) != self.id:
            raise StorageError(f"{file} is of trial {other}; put back the one of trial {self.id}")
        return document

    def epochs(self) -> int:
        """How many epochs are stored."""
        return len(self.history())

    def trained_epochs(self) -> int:
        """How many epochs it has had: those that are stored, or that a table had which is missing."""
        return self.epochs() if exists(self.history_file) else int(self._facts().get("epochs", 0))

    def rewards(self) -> list[float]:
        """The stored rewards by epoch, NaN where undefined."""
        return [float(row.get("reward") or "nan") for row in self.history()]

    def has_history(self, epochs: int) -> bool:
        """Whether so many epochs are stored, as they were written."""
        try:
            return self.epochs() == epochs
        except StorageError:
            return False

    def discard_checkpoints(self) -> None:
        """Delete what the training could go on from, and its weights; whoever was at it writes none again."""
        folder = self.last_checkpoint.parent
        if exists(folder):
            self.begin_attempt()
            with self.writing():
                remove_folder(folder)

    def forget(self) -> None:
        """Remove the trial; an attempt that is under way writes nothing more."""
        self.begin_attempt()
        with self.writing():
            for path in self.path.iterdir():
                if path.is_dir():
                    remove_folder(path)
                elif path != self._attempt.file:  # which is held
                    remove_file(path)
        remove_folder(self.path)

    def epoch_checkpoint(self, epoch: int) -> Path:
        """Where the state after an epoch is kept, if it is asked for."""
        return self.last_checkpoint.with_name(f"{_EPOCH}{epoch:04d}.pt")

    def forget_epochs(self, last: int) -> None:
        """Remove the kept states of the epochs up to `last`; for the writer of checkpoints, in `writing`.

        Those that a killed process did not write to the end are removed, too.
        """
        for file in list(self.last_checkpoint.parent.glob(f"*{_EPOCH}*.pt*")):
            found = re.fullmatch(rf"{_EPOCH}(\d+)\.pt|\.({_EPOCH}(\d+)\.pt)\..+", file.name)
            if found is None or int(found[1] or found[3]) > last:
                continue
            if found[1]:
                remove_file(file)
            else:
                remove_left_over(file.with_name(found[2]))

    def resumable_epochs(self) -> int:
        """How many epochs a training goes on from: none where its checkpoints were deleted."""
        return self.trained_epochs() if self.is_resumable else 0

    @property
    def is_resumable(self) -> bool:
        """Whether there is what a training goes on from; a copy may have left out either of the two."""
        return exists(self.last_checkpoint) and exists(self.best_checkpoint)

    def write_error(self, traceback: str) -> None:
        """Store why the trial failed."""
        with self.writing():
            write_whole(self.error_file, traceback)

    def clear_error(self) -> None:
        """Remove what an attempt that failed has stored, now that another succeeded."""
        if exists(self.error_file):
            with self.writing():
                remove_file(self.error_file)


def _epochs_in(content: bytes) -> list[dict[str, str]] | None:
    """The rows of a table of epochs, or None where it cannot be one: it has each epoch once, in order."""
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))
        epochs = [float(row.get("epoch", number)) for number, row in enumerate(rows, 1)]
        for row in rows:
            float(row.get("reward") or "nan")
    except (ValueError, TypeError, csv.Error):  # TypeError: of a row that is too short
        return None
    return rows if epochs == list(range(1, len(rows) + 1)) and all(None not in row for row in rows) else None


def _canonical(document: dict[str, Any] | None) -> str:
    """One text for each configuration, in which true is no 1."""
    return json.dumps(document, sort_keys=True)


def trial_name(trial: int) -> str:
    """The id of a trial of a search, which is its directory's name.

    >>> trial_name(7)
    '0007'
    """
    return f"{trial:04d}"
