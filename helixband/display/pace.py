"""How long the rest of a work takes, from what was seen of it.

Work is made of jobs, each of so many equal units: epochs of a training, or windows of a prediction. A job
also takes its time beside them, as to make the data and the model. Times are those of the caller's clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

KNOWN_FROM = 0.05
"""The share of the work from which on its pace is known well enough to be told."""


class ToDo(NamedTuple):
    """Of a job at work: the units that it still has, and those that may follow one another until the end."""

    job: str
    units: int
    chain: int


@dataclass
class _Seen:
    """A job at work, and what is known of its own pace."""

    told: float
    is_warm: bool
    has_units: bool = False
    units: int = 0
    seconds: float = 0


@dataclass
class Pace:
    """The mean time of a unit and of what is beside the units of a job.

    The first unit of each job that began before any job ended is left out, with what was beside it: these are
    the first jobs of their processes, where modules are imported, memory is taken and kernels are chosen.

    >>> pace = Pace()
    >>> pace.begin_job("a", now=0)
    >>> for now in (60, 62, 64):
    ...     pace.did("a", now)
    >>> pace.left([ToDo("a", units=7, chain=7)], now=64)
    14.0
    """

    _jobs: dict[str, _Seen] = field(default_factory=dict)
    _units: int = 0
    _warm_units: int = 0
    _seconds: float = 0  # of the warm units
    _ended: int = 0
    _warm_jobs: int = 0
    _beside: float = 0  # seconds of the warm jobs
    _counted: float = 0  # when the next two were
    _wall: float = 0  # seconds with a warm unit in the past
    _busy: float = 0  # of these, the sum over jobs

    def begin_job(self, name: str, now: float) -> None:
        """A job begins, perhaps anew."""
        self._count(now)
        self._jobs[name] = _Seen(now, is_warm=self._ended > 0)

    def did(self, name: str, now: float, units: int = 1, seconds: float | None = None) -> None:
        """A job has done so many units since it was last told of.

        `seconds` is what they took alone; without it, they took all of the time.
        """
        self._count(now)
        job = self._jobs[name]
        took, job.told = now - job.told, now
        is_first, job.has_units = not job.has_units, True
        beside = took - min(took, seconds) if is_first and seconds is not None else 0.0
        self._units += units
        if job.is_warm or not is_first:
            job.units += units
            job.seconds += took - beside
            self._warm_units += units
            self._seconds += took - beside
            self._beside += beside

    def end_job(self, name: str, now: float) -> None:
        """A job is over; one without a unit, as of an earlier run, tells nothing."""
        self._count(now)
        job = self._jobs.pop(name)
        if not job.has_units:
            return
        self._ended += 1
        if job.is_warm:
            self._warm_jobs += 1
            self._beside += now - job.told

    def left(
        self, at_work: Iterable[ToDo], now: float, units: int = 0, jobs: int = 0, chain: int = 0
    ) -> float | None:
        """Seconds for what the jobs at work have to do, and so many units in so many jobs after them.

        None where too little was seen. `chain` is the number of these units that have to follow one another.
        """
        at_work = list(at_work)
        to_do = units + sum(job.units for job in at_work)
        if not self._warm_units or self._units < KNOWN_FROM * (self._units + to_do):
            return None
        mean = self._seconds / self._warm_units
        beside = self._beside / self._warm_jobs if self._warm_jobs else 0.0
        work, longest = units * mean + jobs * beside, chain * mean
        for name, own, follow in at_work:
            job = self._jobs[name]
            unit, since = job.seconds / job.units if job.units else mean, now - job.told
            if job.units or job.is_warm:  # it goes on falling within a long unit, and then stands still
                since = min(since, unit)
                work -= since
                longest = max(longest, follow * unit - since)
            work += own * unit
        return max(0.0, work / self._at_a_time(), longest)

    def _at_a_time(self) -> float:
        """How many jobs there were on average: fewer than one, if there is a wait between them."""
        return self._busy / self._wall if self._busy else max(1.0, len(self._jobs))

    def _count(self, now: float) -> None:
        if self._warm_units:
            self._wall += now - self._counted
            self._busy += len(self._jobs) * (now - self._counted)
        self._counted = now
