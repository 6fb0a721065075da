"""The arithmetic of Hyperband and the machine that runs it, without a model or a file."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helixband.errors import UsageError
from hyperband import Hyperband, Job, brackets

Reward = Callable[[Job], float]


def number(trial: int) -> dict[str, Any]:
    return {"x": trial}


def drive(search: Hyperband, reward: Reward) -> list[Job]:
    """Run a search to its end, one job at a time; the jobs in order."""
    jobs = []
    while (job := search.ask()) is not None:
        jobs.append(job)
        search.tell(job.trial, reward(job))
    assert search.finished
    return jobs


# The tables of the paper (Li et al. 2018, Algorithm 1), (configurations, epochs) of each rung.


def test_r_27_eta_3() -> None:
    assert brackets(27, 3) == [
        [(27, 1), (9, 3), (3, 9), (1, 27)],
        [(12, 3), (4, 9), (1, 27)],
        [(6, 9), (2, 27)],
        [(4, 27)],
    ]


def test_r_81_eta_3() -> None:
    assert brackets(81, 3) == [
        [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        [(34, 3), (11, 9), (3, 27), (1, 81)],
        [(15, 9), (5, 27), (1, 81)],
        [(8, 27), (2, 81)],
        [(5, 81)],
    ]


def test_r_243_eta_3_has_six_brackets_though_its_logarithm_is_below_five_in_floating_point() -> None:
    assert math.log(243) / math.log(3) < 5
    assert [rungs[0] for rungs in brackets(243, 3)] == [
        (243, 1),
        (98, 3),
        (41, 9),
        (18, 27),
        (9, 81),
        (6, 243),
    ]


def test_r_1000_eta_10_has_four_brackets_though_its_logarithm_is_below_three_in_floating_point() -> None:
    assert math.log(1000, 10) < 3
    assert brackets(1000, 10) == [
        [(1000, 1), (100, 10), (10, 100), (1, 1000)],
        [(134, 10), (13, 100), (1, 1000)],
        [(20, 100), (2, 1000)],
        [(4, 1000)],
    ]


def test_epochs_are_rounded_to_the_nearest_halves_up() -> None:
    assert brackets(52, 3)[0] == [(27, 2), (9, 6), (3, 17), (1, 52)]
    assert brackets(1000, 3)[0] == [
        (729, 1),
        (243, 4),
        (81, 12),
        (27, 37),
        (9, 111),
        (3, 333),
        (1, 1000),
    ]
    assert brackets(27, 2)[0] == [(16, 2), (8, 3), (4, 7), (2, 14), (1, 27)]
    assert [rungs[0] for rungs in brackets(27, 4)] == [(16, 2), (6, 7), (3, 27)]


def test_one_epoch_is_one_trial() -> None:
    assert brackets(1, 3) == [[(1, 1)]]


@pytest.mark.parametrize(("max_epochs", "eta"), [(0, 3), (-1, 3), (27, 1), (27, 0)])
def test_impossible_settings_are_refused(max_epochs: int, eta: int) -> None:
    with pytest.raises(UsageError, match=f"got {max_epochs} and {eta}"):
        brackets(max_epochs, eta)


@given(st.integers(1, 5000), st.integers(2, 12))
def test_brackets_are_what_the_paper_says(max_epochs: int, eta: int) -> None:
    plan = brackets(max_epochs, eta)
    s_max = len(plan) - 1
    assert eta**s_max <= max_epochs < eta ** (s_max + 1)
    for s, rungs in zip(range(s_max, -1, -1), plan, strict=True):
        assert len(rungs) == s + 1
        assert rungs[-1].epochs == max_epochs
        # n is the ceiling of (s_max + 1) / (s + 1) * eta^s
        assert (
            (rungs[0].configurations - 1) * (s + 1)
            < (s_max + 1) * eta**s
            <= rungs[0].configurations * (s + 1)
        )
        for earlier, later in zip(rungs, rungs[1:], strict=False):
            assert later.configurations <= earlier.configurations // eta
            assert later.epochs > earlier.epochs
        for share, rung in zip(range(s, -1, -1), rungs, strict=True):
            assert abs(rung.epochs * eta**share - max_epochs) * 2 <= eta**share


# The machine.


def test_the_best_of_each_rung_go_on() -> None:
    jobs = drive(Hyperband(9, 3, number), lambda job: job.trial)

    assert [(job.trial, job.epochs) for job in jobs if job.bracket == 0] == [
        *((trial, 1) for trial in range(9)),
        (8, 3),
        (7, 3),
        (6, 3),
        (8, 9),
    ]
    assert [(job.trial, job.epochs) for job in jobs if job.bracket == 1] == [
        *((trial, 3) for trial in range(9, 14)),
        (13, 9),
    ]
    assert [(job.trial, job.epochs) for job in jobs if job.bracket == 2] == [(14, 9), (15, 9), (16, 9)]


def test_a_job_has_the_configuration_that_was_suggested_for_its_trial() -> None:
    assert all(job.config == {"x": job.trial} for job in drive(Hyperband(9, 3, number), lambda job: 0.0))


def test_equal_rewards_go_by_the_order_of_trials() -> None:
    jobs = drive(Hyperband(9, 3, number), lambda job: 0.5)
    assert [job.trial for job in jobs if job.bracket == 0 and job.rung == 1] == [0, 1, 2]


def test_the_best_is_the_highest_reward_of_any_rung() -> None:
    search = Hyperband(9, 3, number)
    drive(search, lambda job: 2.0 if (job.trial, job.epochs) == (4, 1) else 1.0)
    assert search.best == (4, 2.0)


@pytest.mark.parametrize("failure", [-math.inf, math.nan])
def test_a_failure_is_never_promoted_nor_best(failure: float) -> None:
    search = Hyperband(9, 3, number)
    jobs = drive(search, lambda job: 1.0 if job.trial == 3 else failure)

    assert [(job.trial, job.epochs) for job in jobs if job.rung > 0] == [(3, 3), (3, 9)]
    assert search.best == (3, 1.0)


def test_a_search_in_which_all_fail_ends_without_a_best() -> None:
    search = Hyperband(9, 3, number)
    jobs = drive(search, lambda job: -math.inf)
    assert (len(jobs), search.best) == (9 + 5 + 3, None)


def test_an_exhausted_space_ends_the_bracket_early_and_the_search_after_it() -> None:
    search = Hyperband(9, 3, lambda trial: {"x": trial} if trial < 4 else None)
    jobs = drive(search, lambda job: job.trial)
    assert [(job.trial, job.epochs) for job in jobs] == [
        *((trial, 1) for trial in range(4)),
        (3, 3),
        (2, 3),
        (1, 3),
        (3, 9),
    ]


def test_several_jobs_are_handed_out_at_a_time_and_the_next_rung_waits_for_all() -> None:
    search = Hyperband(3, 3, number)
    first = [search.ask() for _ in range(4)]
    assert [job.trial if job else None for job in first] == [0, 1, 2, None]
    assert not search.finished
    for trial in (2, 0):
        search.tell(trial, 1.0)
    assert search.ask() is None
    search.tell(1, 5.0)
    assert search.ask() == Job(trial=1, config={"x": 1}, epochs=3, bracket=0, rung=1)


def test_the_order_in_which_jobs_are_told_of_does_not_matter() -> None:
    def next_rung(order: list[int]) -> list[int]:
        search = Hyperband(9, 3, number)
        for _ in range(9):
            search.ask()
        for trial in order:
            search.tell(trial, float(trial % 4))
        promoted = [search.ask() for _ in range(3)]
        return [job.trial for job in promoted if job]

    assert next_rung(list(range(9))) == next_rung([8, 3, 5, 1, 0, 7, 6, 2, 4]) == [3, 7, 2]


def test_a_reward_for_a_job_that_nobody_asked_for_is_refused() -> None:
    search = Hyperband(3, 3, number)
    with pytest.raises(ValueError, match="trial 0 has no job under way"):
        search.tell(0, 1.0)
    search.ask()
    search.tell(0, 1.0)
    with pytest.raises(ValueError, match="trial 0 has no job under way"):
        search.tell(0, 1.0)


@given(st.integers(1, 100), st.integers(2, 5), st.integers(0, 2**32))
def test_a_search_trains_no_more_than_its_plan(max_epochs: int, eta: int, seed: int) -> None:
    plan = brackets(max_epochs, eta)
    jobs = drive(Hyperband(max_epochs, eta, number), lambda job: hash((seed, job.trial, job.epochs)) % 7)

    ran = [[0] * len(rungs) for rungs in plan]
    for job in jobs:
        assert job.epochs == plan[job.bracket][job.rung].epochs
        ran[job.bracket][job.rung] += 1
    assert ran == [[rung.configurations for rung in rungs] for rungs in plan]
