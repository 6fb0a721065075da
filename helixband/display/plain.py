"""Plain lines, for a pipe, a log file or a terminal that moves no cursor."""

import time
from collections.abc import Mapping
from typing import Any

from helixband.display.progress import Plan, Progress
from helixband.display.text import first_line, show_number, show_row
from helixband.errors import StorageError, discard_output
from helixband.results.directory import Row

SECONDS_BETWEEN_LINES = 10


class PlainProgress(Progress):
    """One line for each epoch of a training, each trial of a search, and each while of a prediction."""

    def __init__(self) -> None:
        super().__init__()
        self._told = 0.0

    def say(self, text: str) -> None:
        with self._lock:  # so that the lines of two threads stay apart
            try:
                print(text, flush=True)
            except BrokenPipeError:  # whoever read has gone
                raise
            except OSError as error:
                discard_output()
                raise StorageError(
                    f"the output cannot be written where it goes ({error.strerror}): make room there, or "
                    "send it elsewhere; the same command goes on from here"
                ) from error

    def begin_search(self, plan: Plan) -> None:
        with self._lock:
            begun = bool(self.brackets)
            super().begin_search(plan)
            if not begun:
                self._tell_brackets(plan)

    def _tell_brackets(self, plan: Plan) -> None:
        """Each kind of bracket once."""
        alike: dict[tuple[tuple[int, int], ...], list[int]] = {}
        for number, rungs in enumerate(plan, 1):
            alike.setdefault(tuple(rungs), []).append(number)
        for path, numbers in alike.items():
            if path[0][0] == 0:  # that an extended search has no trials for
                continue
            more = f" and {len(numbers) - 3} more" if len(numbers) > 3 else ""
            which = ", ".join(map(str, numbers[:3])) + more
            trials = ", ".join(f"{n} to epoch {epochs}" for n, epochs in path)
            self.say(f"  bracket{'s' * (len(numbers) > 1)} {which}: trials: {trials}")

    def epoch(self, name: str, row: Row) -> None:
        with self._lock:
            super().epoch(name, row)
            job = self.running.get(name)
            if job is not None and not self.brackets:
                told = [f"epoch {job.epoch}/{job.epochs}", show_row(job.row), self.time_left()]
                self.say(f"  {'  '.join(filter(None, told))}")

    def begin_windows(self, bases: float) -> None:
        super().begin_windows(bases)
        self._told = time.monotonic()

    def windows(self, done: int, total: int) -> None:
        super().windows(done, total)
        if time.monotonic() - self._told >= SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            stand = [f"{100 * done // total} %", self.bases_a_second(), self.time_left()]
            self.say(f"  {done:,}/{total:,} windows  [{', '.join(filter(None, stand))}]")

    def end_job(
        self, name: str, config: Mapping[str, Any], reward: float, error: str | None, hopeless: bool = False
    ) -> None:
        with self._lock:
            job = self.running[name]
            super().end_job(name, config, reward, error, hopeless)
            what = f"failed: {first_line(error)}" if error else f"reward {show_number(reward)}"
            what += ", stopped as hopeless" if hopeless else ""
            stand = [f"{100 * self.done // max(1, self.total)} %", self.time_left()]
            told = [f"{self.place(job)}, trial {name}, to epoch {job.epochs}: {what}"]
            told += [self.show_config(config)] * bool(config)
            self.say(f"  {'  '.join(told)}  [{', '.join(filter(None, stand))}]")
