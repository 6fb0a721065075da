"""What a run tells of itself while it goes: the count, which subclasses show.

Progress is counted in epochs; a search knows from its brackets how many it will train at most, and from its
failures how many fewer these become. Several trials run at a time, and each method may be called from any
thread.
"""

import heapq
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from helixband.display.pace import Pace, ToDo
from helixband.display.text import first_line, show_config, show_number
from helixband.results.directory import Row

Plan = Sequence[Sequence[tuple[int, int]]]
"""Brackets of rungs of (configurations, epochs); the rounds of Hyperband one after the other."""

BEST_SHOWN = 5
WINDOWS = "windows"


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
        self.jobs = sum(rung.expected - rung.ended for rung in self.rungs)  # still to end
        self.last = max((rung.epochs for rung in self.rungs if rung.expected), default=0)
        waiting = (rung for rung in self.rungs if rung.expected > rung.ended + rung.running)
        self.longest = max((self.last - rung.epochs + rung.span for rung in waiting), default=0)

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
    config: Mapping[str, Any] = field(default_factory=dict)
    row: Row = field(default_factory=dict)
    reward: float = -math.inf  # the highest of its epochs
    best_epoch: int = 0


class Leader(NamedTuple):
    """One of the best trials; of one that is `at_work` the reward so far."""

    name: str
    reward: float
    config: Mapping[str, Any]
    at_work: bool = False


class Progress:
    """Keeps count, and shows nothing; the subclasses show what it counts."""

    def __init__(self) -> None:
        self.brackets: list[BracketCount] = []
        self.running: dict[str, Job] = {}  # in the order in which they began
        self.at_a_time = 0  # the most trials that ran at once
        self.total = 0  # epochs of the whole search or training
        self.done = 0
        self.unit = "epochs"
        self.bases = 0.0  # that a window adds, where windows are counted
        self.failures = 0
        self.last_failure = ""
        self.defaults: Mapping[str, Any] = {}  # of hyperparameters: they are not shown
        self.rewards: dict[str, tuple[float, Mapping[str, Any]]] = {}  # of the jobs that ended
        self._tried: set[str] = set()  # the trials with a result, be it a failure
        self._lock = threading.RLock()
        self._started = time.monotonic()
        self._timed = 0
        self._pace = Pace()
        self._ended = 0
        self._deadline = math.inf

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        """Show progress while the block runs."""
        yield self

    def say(self, text: str) -> None:
        """A line to the user."""

    def show_config(self, config: Mapping[str, Any]) -> str:
        """A configuration on one line, without what has its default."""
        told = {name: value for name, value in config.items() if not self._is_default(name, value)}
        return show_config(told) if told or not config else "the defaults"

    def _is_default(self, name: str, value: Any) -> bool:
        return name in self.defaults and value == self.defaults[name]

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
            self._pace.begin_job(name, self._started)
            self._add_up()

    def begin_job(
        self,
        name: str,
        bracket: int,
        rung: int,
        done: int,
        epochs: int,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """A trial of the search is to be trained from `done` up to `epochs` epochs.

        `bracket` is its index in the plan. Told again before `end_job`, it begins again elsewhere.
        """
        with self._lock:
            if name not in self.running:
                self._rung(bracket, rung).running += 1
            self.running[name] = Job(name, done, epochs, bracket, rung, config or {})
            self._pace.begin_job(name, time.monotonic())
            self.at_a_time = max(self.at_a_time, len(self.running))
            self._recount(bracket)

    def epoch(self, name: str, row: Row) -> None:
        """An epoch was trained, in so many "seconds" where the row has them."""
        with self._lock:
            job = self.running.get(name)
            if job is None:  # the last words of a worker that was given up
                return
            job.epoch = int(row["epoch"])
            job.row = {key: value for key, value in row.items() if key != "seconds"}
            if row.get("reward", -math.inf) > job.reward:
                job.reward, job.best_epoch = row["reward"], job.epoch
            self._pace.did(name, time.monotonic(), seconds=row.get("seconds"))
            self._add_up()

    def end_job(
        self, name: str, config: Mapping[str, Any], reward: float, error: str | None, hopeless: bool = False
    ) -> None:
        """The trial has had its epochs, or has failed; or is `hopeless`.

        That is, it was stopped before its last epoch, and goes on to no later rung.
        """
        with self._lock:
            job = self.running.pop(name)
            rung = self._rung(job.bracket, job.rung)
            rung.running -= 1
            rung.ended += 1
            rung.out += error is not None or hopeless
            self._pace.end_job(name, time.monotonic())
            self._tried.add(name)
            if error is None:
                self.rewards[name] = (reward, config)
            else:
                self.failures += 1
                self.last_failure = f"{name}: {first_line(error)}"
            self._recount(job.bracket)

    def restore_job(
        self,
        name: str,
        bracket: int,
        rung: int,
        epochs: int,
        config: Mapping[str, Any],
        reward: float,
        error: str | None,
        hopeless: bool = False,
        is_done: bool = True,
    ) -> None:
        """A job that ended in an earlier run: it counts, and no line tells it again.

        Unless it `is_done`, its rung has more epochs by now: its reward counts alone.
        """
        with self._lock:
            if not is_done:
                self._tried.add(name)
                self.rewards[name] = (reward, config)
                return
            Progress.begin_job(self, name, bracket, rung, 0, epochs)
            Progress.end_job(self, name, config, reward, error, hopeless)

    def begin_windows(self, bases: float) -> None:
        """Windows are to be predicted that have so many bases each, those of several counted once."""
        with self._lock:
            self._begin(0)
            self.unit, self.bases = WINDOWS, bases
            self._pace.begin_job(WINDOWS, self._started)

    def windows(self, done: int, total: int) -> None:
        """So many of them are predicted; told first of those of an earlier run."""
        with self._lock:
            if self.total:
                self._timed += done - self.done
                self._pace.did(WINDOWS, time.monotonic(), done - self.done)
            self.done, self.total = done, total

    def end(self) -> None:
        """The search, training or prediction is over."""
        with self._lock:
            self._begin(0)
            self._deadline = math.inf

    def best(self) -> list[Leader]:
        """The best trials, the best first; of those at work, the rewards so far count too."""
        with self._lock:
            found = {name: Leader(name, reward, config) for name, (reward, config) in self.rewards.items()}
            for job in self.running.values():
                known = found.get(job.name)
                if job.reward > (known.reward if known else -math.inf):
                    found[job.name] = Leader(job.name, job.reward, job.config, at_work=True)
            return heapq.nsmallest(BEST_SHOWN, found.values(), key=lambda one: (-one.reward, one.name))

    def summary(self) -> list[str]:
        """What was reached of the work under way, for a person whose run is stopped."""
        with self._lock:
            if self.brackets:
                return self._summary_of_search()
            done = f"{self.done:,} of {self.total:,} {self.unit} are done"
            lines = [done] if self.total else []
            for job in self.running.values():
                if job.best_epoch:
                    lines.append(f"best so far: epoch {job.best_epoch}, reward {show_number(job.reward)}")
        return lines

    def _summary_of_search(self) -> list[str]:
        trials = sum(bracket.rungs[0].expected for bracket in self.brackets)
        failed = f" ({self.failures} failed)" if self.failures else ""
        begun = f", {len(self.running)} more at work" if self.running else ""
        lines = [
            f"{len(self._tried):,} of {trials:,} trials have a result{failed}{begun}; "
            f"{self.done:,} of {self.total:,} epochs are done"
        ]
        for best in self.best()[:1]:
            at_work = ", still at work" if best.at_work else ""
            told = f"trial {best.name}{at_work}, reward {show_number(best.reward)}"
            lines.append(f"best so far: {told}  {self.show_config(best.config)}")
        return lines

    def time_left(self) -> str:
        """At the pace so far, as "2:05 left"; nothing before that is known.

        Never more than what is left of the time budget.
        """
        with self._lock:
            now = time.monotonic()
            at_work = [self._to_do(job) for job in self.running.values()]
            if self.unit == WINDOWS:
                at_work = [ToDo(WINDOWS, self.total - self.done, self.total - self.done)]
            left = self._pace.left(
                at_work,
                now,
                units=self.total - self.done - sum(job.units for job in at_work),
                jobs=sum(bracket.jobs for bracket in self.brackets) - len(at_work),
                chain=max((bracket.longest for bracket in self.brackets), default=0),
            )
            budget = max(0.0, self._deadline - now)
        if left is None:
            return "" if math.isinf(budget) else f"at most {_show_time(budget)} left"
        return f"{_show_time(min(left, budget))} left"

    def place(self, job: Job) -> str:
        """Where in the search, as "bracket 1/4, rung 2/3"."""
        rungs = len(self.brackets[job.bracket].rungs)
        return f"bracket {job.bracket + 1}/{len(self.brackets)}, rung {job.rung + 1}/{rungs}"

    def _begin(self, total: int) -> None:
        self.brackets, self.running, self.at_a_time = [], {}, 0
        self.total, self.done, self.unit = total, 0, "epochs"
        self._timed, self._ended, self._started = 0, 0, time.monotonic()
        self._pace = Pace()

    def _rung(self, bracket: int, rung: int) -> RungCount:
        return self.brackets[bracket].rungs[rung]

    def _to_do(self, job: Job) -> ToDo:
        """The epochs of a job at work, and those to which its trial may come at most."""
        last = self.brackets[job.bracket].last if self.brackets else job.epochs
        return ToDo(job.name, job.epochs - job.epoch, max(0, last - job.epoch))

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
        counts = self.unit == WINDOWS and self._timed and seconds
        return f"{self._timed * self.bases / 1e6 / seconds:.3g} Mb/s" if counts else ""


def _show_time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
