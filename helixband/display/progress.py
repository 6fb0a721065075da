"""What a run tells of itself while it goes: the count, and plain lines for a pipe or log file.

`helixband.display.live` has the display of a terminal. Progress is counted in epochs; a search knows from its
brackets how many it will train at most, and from its failures how many fewer these become. Several trials
run at a time, and each method may be called from any thread.
"""

import heapq
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from helixband.results.directory import Row

Plan = Sequence[Sequence[tuple[int, int]]]
"""Brackets of rungs of (configurations, epochs); the rounds of Hyperband one after the other."""

BEST_SHOWN = 5
SECONDS_BETWEEN_LINES = 10


@dataclass
class RungCount:
    """The trials of one rung."""

    planned: int
    epochs: int  # that a trial has had when it leaves the rung
    span: int  # how many of these are trained in this rung
    running: int = 0
    ended: int = 0
    out: int = 0  # of them, those that can go on to no later rung: failures, and trials stopped as hopeless
    expected: int = 0  # how many it will have had in the end, as far as is known


class BracketCount:
    """The rungs of one bracket, and how many epochs their trials will take.

    A trial that ended counts with all the epochs of its rung, though it failed before them: what is left to
    do is then right, and the same after a restart, when nobody knows any more how far it came.

    >>> bracket = BracketCount([(9, 1), (3, 3), (1, 9)])
    >>> bracket.total
    21
    >>> bracket.rungs[0].ended, bracket.rungs[0].out = 9, 7
    >>> bracket.recount()
    >>> [rung.expected for rung in bracket.rungs], bracket.total
    ([9, 2, 1], 19)
    """

    def __init__(self, rungs: Sequence[tuple[int, int]]) -> None:
        earlier = [0] + [epochs for _, epochs in rungs]
        spans = [epochs - had for (_, epochs), had in zip(rungs, earlier, strict=False)]
        self.rungs = [RungCount(n, epochs, span) for (n, epochs), span in zip(rungs, spans, strict=True)]
        self.recount()

    def replan(self, rungs: Sequence[tuple[int, int]]) -> None:
        """Other numbers of configurations for the same rungs."""
        for rung, (configurations, _) in zip(self.rungs, rungs, strict=True):
            rung.planned = configurations
        self.recount()

    def recount(self) -> None:
        """How many trials each rung will have had, and with them `total` and `ended`, in epochs.

        As many as planned, but no more than the rung before can give; and more where more have begun, since
        asynchronous promotions may promote more than their share.
        """
        able = self.rungs[0].planned
        for rung in self.rungs:
            rung.expected = max(rung.running + rung.ended, min(rung.planned, able))
            able = rung.expected - rung.out
        self.total = sum(rung.expected * rung.span for rung in self.rungs)
        self.ended = sum(rung.ended * rung.span for rung in self.rungs)

    @property
    def begun(self) -> bool:
        """Whether a trial has begun here."""
        return any(rung.running or rung.ended for rung in self.rungs)

    @property
    def finished(self) -> bool:
        """Whether nothing runs and nothing is to come."""
        return all(rung.ended == rung.expected for rung in self.rungs)


@dataclass
class Job:
    """A trial that is trained now, up to `epochs` epochs."""

    name: str
    epoch: int
    epochs: int
    bracket: int = 0
    rung: int = 0
    row: Row = field(default_factory=dict)


class Progress:
    """Keeps count, and shows nothing; the subclasses show what it counts."""

    def __init__(self) -> None:
        self.brackets: list[BracketCount] = []
        self.running: dict[str, Job] = {}  # in the order in which they began
        self.at_a_time = 0  # the most trials that ran at once
        self.total = 0  # epochs of the whole search or training
        self.done = 0
        self.unit = "epochs"
        self.bases = 0  # of a window, where windows are counted
        self.failures = 0
        self.last_failure = ""
        self.rewards: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._lock = threading.RLock()
        self._started = time.monotonic()
        self._timed = 0
        self._ended = 0
        self._deadline = math.inf

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        """Show progress while the block runs."""
        yield self

    def say(self, text: str) -> None:
        """A line to the user."""

    def begin_search(self, plan: Plan) -> None:
        """A search of these brackets begins.

        Told again before `end`, its plan has changed: brackets came or fell away, or have other numbers of
        configurations, as where the space holds no more; what then cannot fill the later rungs is left out.
        """
        with self._lock:
            if not self.brackets:
                self._begin(0)
            known = self.brackets[: len(plan)]
            for bracket, rungs in zip(known, plan, strict=False):
                bracket.replan(rungs)
            self.brackets = known + [BracketCount(rungs) for rungs in plan[len(known) :]]
            self.total = sum(bracket.total for bracket in self.brackets)
            self._ended = sum(bracket.ended for bracket in self.brackets)
            self._add_up()

    def time_budget(self, seconds_left: float) -> None:
        """The search ends after so many seconds at the latest."""
        with self._lock:
            self._deadline = time.monotonic() + seconds_left

    def begin_training(self, name: str, done: int, epochs: int) -> None:
        """One configuration is trained from `done` up to `epochs` epochs, outside a search."""
        with self._lock:
            self._begin(epochs)
            self.running = {name: Job(name, done, epochs)}
            self._add_up()

    def begin_job(self, name: str, bracket: int, rung: int, done: int, epochs: int) -> None:
        """A trial of the search is to be trained from `done` up to `epochs` epochs.

        `bracket` is its index in the plan. Told again before `end_job`, it begins again elsewhere.
        """
        with self._lock:
            if name not in self.running:
                self._rung(bracket, rung).running += 1
            self.running[name] = Job(name, done, epochs, bracket, rung)
            self.at_a_time = max(self.at_a_time, len(self.running))
            self._recount(bracket)

    def epoch(self, name: str, row: Row) -> None:
        """An epoch was trained."""
        with self._lock:
            job = self.running.get(name)
            if job is None:  # the last words of a worker that was given up
                return
            job.epoch, job.row = int(row["epoch"]), row
            self._timed += 1
            self._add_up()

    def end_job(
        self, name: str, config: Mapping[str, Any], reward: float, error: str | None, hopeless: bool = False
    ) -> None:
        """The trial has had its epochs, in this run or an earlier one, or has failed; or is `hopeless`.

        That is, it was stopped before its last epoch, and goes on to no later rung.
        """
        with self._lock:
            job = self.running.pop(name)
            rung = self._rung(job.bracket, job.rung)
            rung.running -= 1
            rung.ended += 1
            rung.out += error is not None or hopeless
            if error is None:
                self.rewards[name] = (reward, config)
            else:
                self.failures += 1
                self.last_failure = f"{name}: {first_line(error)}"
            self._recount(job.bracket)

    def begin_windows(self, bases: int) -> None:
        """Windows of so many bases are to be predicted."""
        with self._lock:
            self._begin(0)
            self.unit, self.bases = "windows", bases

    def windows(self, done: int, total: int) -> None:
        """So many of them are predicted; told first of those of an earlier run."""
        with self._lock:
            self._timed += done - self.done if self.total else 0
            self.done, self.total = done, total

    def end(self) -> None:
        """The search, training or prediction is over."""
        with self._lock:
            self._begin(0)
            self._deadline = math.inf

    def best(self) -> list[tuple[str, float, Mapping[str, Any]]]:
        """(name, reward, configuration) of the best trials, the best first."""
        with self._lock:
            ranked = heapq.nsmallest(
                BEST_SHOWN, self.rewards.items(), key=lambda item: (-item[1][0], item[0])
            )
        return [(name, reward, config) for name, (reward, config) in ranked]

    def time_left(self) -> str:
        """At the pace so far of all trials together, as "2:05 left"; nothing before there is a pace.

        Never more than what is left of the time budget.
        """
        with self._lock:
            now = time.monotonic()
            pace = (now - self._started) / self._timed if self._timed else math.inf
            left = pace * (self.total - self.done) if self.done < self.total else 0
            left = min(left, max(0, self._deadline - now))
        if math.isinf(left) or (not self._timed and not left):
            return ""
        minutes, seconds = divmod(round(left), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d} left" if hours else f"{minutes}:{seconds:02d} left"

    def place(self, job: Job) -> str:
        """Where in the search, as "bracket 1/4, rung 2/3"."""
        rungs = len(self.brackets[job.bracket].rungs)
        return f"bracket {job.bracket + 1}/{len(self.brackets)}, rung {job.rung + 1}/{rungs}"

    def _begin(self, total: int) -> None:
        self.brackets, self.running, self.at_a_time = [], {}, 0
        self.total, self.done, self.unit = total, 0, "epochs"
        self._timed, self._ended, self._started = 0, 0, time.monotonic()

    def _rung(self, bracket: int, rung: int) -> RungCount:
        return self.brackets[bracket].rungs[rung]

    def _recount(self, bracket: int) -> None:
        """One bracket anew: a long search has many."""
        count = self.brackets[bracket]
        self.total -= count.total
        self._ended -= count.ended
        count.recount()
        self.total += count.total
        self._ended += count.ended
        self._add_up()

    def _add_up(self) -> None:
        """The epochs done: those of the jobs that ended, and of those that run."""
        running = self.running.values()
        self.done = self._ended + sum(self._part(job) if self.brackets else job.epoch for job in running)

    def _part(self, job: Job) -> int:
        """The epochs of its rung that a running job has had."""
        span = self._rung(job.bracket, job.rung).span
        return max(0, min(span, job.epoch - (job.epochs - span)))

    def bases_a_second(self) -> str:
        """The pace of a prediction, as "12.3 Mb/s"."""
        seconds = time.monotonic() - self._started
        counts = self.unit == "windows" and self._timed and seconds
        return f"{self._timed * self.bases / 1e6 / seconds:.3g} Mb/s" if counts else ""


class PlainProgress(Progress):
    """One line for each epoch of a training, each trial of a search, and each while of a prediction."""

    def __init__(self) -> None:
        super().__init__()
        self._told = 0.0

    def say(self, text: str) -> None:
        with self._lock:  # so that the lines of two threads stay apart
            print(text, flush=True)

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
                self.say(f"  epoch {job.epoch}/{job.epochs}  {show_row(row)}  {self.time_left()}")

    def begin_windows(self, bases: int) -> None:
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
            told = f"{self.place(job)}, trial {name}, to epoch {job.epochs}: {what}"
            self.say(f"  {told}  [{', '.join(filter(None, stand))}]")


def first_line(text: str) -> str:
    """The first line of an error that may have many."""
    return text.partition("\n")[0]


def show_number(value: float) -> str:
    """Four significant digits; NaN is "undefined"."""
    return "undefined" if math.isnan(value) else f"{value:.4g}"


def show_row(row: Row) -> str:
    """The values of an epoch on one line."""
    return "  ".join(shown_values(row))


def shown_values(row: Row) -> list[str]:
    """The values of an epoch, each with its name."""
    return [f"{name} {show_number(value)}" for name, value in row.items() if name != "epoch"]


def show_config(config: Mapping[str, Any]) -> str:
    """A configuration on one line."""
    if not config:
        return "no hyperparameters"
    return "  ".join(f"{name}={_show_value(value)}" for name, value in _flattened(config))


def _flattened(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The values, those of a nested dict as "outer/inner"."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value and "__schedule__" not in value:
            yield from ((f"{name}/{inner}", part) for inner, part in _flattened(value))
        else:
            yield name, value


def _show_value(value: Any) -> str:
    if isinstance(value, dict) and "__schedule__" in value:
        parameters = (f"{name}={_show_value(part)}" for name, part in value.items() if name != "__schedule__")
        return f"{value['__schedule__']}({', '.join(parameters)})"
    if isinstance(value, list):
        return f"[{', '.join(repr(part) if isinstance(part, str) else _show_value(part) for part in value)}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
