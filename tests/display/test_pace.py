"""The time that is left: of whole searches on a clock that a test sets, and of trainings and predictions."""

import heapq
import random

import pytest
from conftest import Clock

from helixband.display import progress
from helixband.display.pace import Pace, ToDo
from helixband.display.progress import Progress
from helixband.search.schedules import make_schedule, plan


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def search(
    clock: Clock, kind: str, max_epochs: int, workers: int, cold: float, beside: float, epoch: float
) -> list[tuple[float, float, str]]:
    """After each event of a search: the share of its work that is done, when it was, and what is told then.

    Each worker takes `cold` seconds for its first job more than for others, each job `beside` seconds more
    than its epochs, and an epoch `epoch` seconds on average, some trials a quarter of what others take:
    but not of 32 workers, where those that end first, in the first 5 %, say nothing of the others.
    """
    rng, shown = random.Random(0), Progress()
    rungs = plan(kind, max_epochs, 3)
    schedule = make_schedule(kind, rungs, 3, lambda trial, results: {"trial": trial}, None)
    spread = 1.2 if workers < 32 else 0.0
    costs = [epoch * (1 + spread * (rng.random() - 0.5)) for _ in range(1000)]
    shown.begin_search(rungs)
    events: list[tuple[float, int, str, int, int, int]] = []  # time, worker, what, trial, epoch, epochs
    free, fresh, told = list(range(workers)), set(range(workers)), []
    done: dict[int, int] = {}
    while True:
        while free and (job := schedule.ask()):
            worker = free.pop()
            begun = done.get(job.trial, 0)
            shown.begin_job(str(job.trial), job.bracket, job.rung, begun, job.epochs)
            now = clock.seconds + beside + (cold if worker in fresh else 0)
            fresh.discard(worker)
            for number in range(begun + 1, job.epochs + 1):
                now += costs[job.trial]
                heapq.heappush(events, (now, worker, "epoch", job.trial, number, job.epochs))
            heapq.heappush(events, (now, worker, "over", job.trial, job.epochs, job.epochs))
            done[job.trial] = job.epochs
        if not events:
            assert shown.done == shown.total
            return told
        clock.seconds, worker, what, trial, number, epochs = heapq.heappop(events)
        if what == "epoch":
            shown.epoch(str(trial), {"epoch": number, "seconds": costs[trial]})
        else:
            reward = rng.random()
            schedule.tell(trial, epochs, reward)
            shown.end_job(str(trial), {}, reward, None)
            free.append(worker)
        told.append((shown.done / shown.total, clock.seconds, shown.time_left()))


def seconds(told: str) -> float:
    """What "1:02:03 left" means."""
    found = 0
    for part in told.removesuffix(" left").split(":"):
        found = 60 * found + int(part)
    return found


@pytest.mark.parametrize("kind", ["hyperband", "asha", "none"])
@pytest.mark.parametrize("workers", [1, 4, 8, 32])
@pytest.mark.parametrize(("cold", "beside", "epoch"), [(0, 0, 60), (600, 0, 10), (60, 20, 5), (120, 60, 600)])
def test_the_time_left_of_a_search_is_known_within_a_factor_of_two_after_five_percent(
    clock: Clock, kind: str, workers: int, cold: float, beside: float, epoch: float
) -> None:
    # What asynchronous promotions will come to is not known: it depends on whether one more trial gets far.
    surely, factor = (0.8, 3) if kind == "asha" else (0.95, 2)
    found = search(clock, kind, 27, workers, cold, beside, epoch)
    end = found[-1][1]
    assert not any(told for share, _, told in found if share < 0.05)
    checked = [(share, end - now, told) for share, now, told in found if told and 0.05 <= share < surely]
    assert checked[0][0] < max(0.1, 0.02 * workers)
    wrong = [
        (round(share, 2), round(left), seconds(told))
        for share, left, told in checked
        if not left / factor <= seconds(told) <= left * factor
    ]
    assert not wrong


def test_what_the_first_epoch_takes_longer_is_left_out(clock: Clock) -> None:
    shown = Progress()
    shown.begin_training("single", 0, 60)
    told = []
    for epoch in range(1, 61):
        clock.seconds += 100 if epoch == 1 else 2
        shown.epoch("single", {"epoch": epoch})
        told.append(shown.time_left())

    assert told[:4] == ["", "", "1:54 left", "1:52 left"]
    assert told[-2:] == ["0:02 left", "0:00 left"]


def test_the_time_left_goes_on_falling_within_a_long_epoch() -> None:
    pace = Pace()
    pace.begin_job("", now=0)
    for now in (10, 20):
        pace.did("", now)

    assert [pace.left([ToDo("", 2, 2)], now) for now in (20, 24, 30, 50)] == [20, 16, 10, 10]


def test_nothing_is_known_of_a_pace_that_was_not_seen() -> None:
    pace = Pace()
    assert pace.left([], now=3, units=5) is None
    pace.begin_job("", now=3)
    pace.did("", now=5)
    assert pace.left([ToDo("", 4, 4)], now=5) is None
    pace.did("", now=6)
    assert pace.left([ToDo("", 3, 3)], now=6) == 3
    assert pace.left([ToDo("", 39, 39)], now=6) is None  # two of 41


def test_jobs_of_an_earlier_run_tell_nothing() -> None:
    pace = Pace()
    for name in "abc":
        pace.begin_job(name, now=0)
        pace.end_job(name, now=0)
    pace.begin_job("d", now=0)
    pace.did("d", now=100)
    pace.did("d", now=110)

    assert pace.left([ToDo("d", 3, 3)], now=110) == 30
