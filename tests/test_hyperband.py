"""The arithmetic of Hyperband and the machine that runs it, without a model or a file."""

import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helixband.errors import UsageError
from helixband.search.schedules import SCHEDULES, make_schedule, plan
from hyperband import Hyperband, Job, Result, Rung, Schedule, brackets

Reward = Callable[[Job], float]


def number(trial: int, results: Any) -> dict[str, Any]:
    return {"x": trial}


def drive(search: Hyperband, reward: Reward) -> list[Job]:
    """Run a search to its end, one job at a time; the jobs in order."""
    jobs = []
    while (job := search.ask()) is not None:
        jobs.append(job)
        search.tell(job.trial, job.epochs, reward(job))
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
    jobs = drive(Hyperband(brackets(9, 3), 3, number), lambda job: job.trial)

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
    assert all(
        job.config == {"x": job.trial} for job in drive(Hyperband(brackets(9, 3), 3, number), lambda job: 0.0)
    )


def test_equal_rewards_go_by_the_order_of_trials() -> None:
    jobs = drive(Hyperband(brackets(9, 3), 3, number), lambda job: 0.5)
    assert [job.trial for job in jobs if job.bracket == 0 and job.rung == 1] == [0, 1, 2]


def test_the_best_is_the_highest_reward_of_any_rung() -> None:
    search = Hyperband(brackets(9, 3), 3, number)
    drive(search, lambda job: 2.0 if (job.trial, job.epochs) == (4, 1) else 1.0)
    assert search.best == (4, 2.0)


@pytest.mark.parametrize("failure", [-math.inf, math.nan])
def test_a_failure_is_never_promoted_nor_best(failure: float) -> None:
    search = Hyperband(brackets(9, 3), 3, number)
    jobs = drive(search, lambda job: 1.0 if job.trial == 3 else failure)

    assert [(job.trial, job.epochs) for job in jobs if job.rung > 0] == [(3, 3), (3, 9)]
    assert search.best == (3, 1.0)


def test_a_search_in_which_all_fail_ends_without_a_best() -> None:
    search = Hyperband(brackets(9, 3), 3, number)
    jobs = drive(search, lambda job: -math.inf)
    assert (len(jobs), search.best) == (9 + 5 + 3, None)


def test_an_exhausted_space_ends_the_bracket_early_and_the_search_after_it() -> None:
    search = Hyperband(brackets(9, 3), 3, lambda trial, results: {"x": trial} if trial < 4 else None)
    jobs = drive(search, lambda job: job.trial)
    assert [(job.trial, job.epochs) for job in jobs] == [
        *((trial, 1) for trial in range(4)),
        (3, 3),
        (2, 3),
        (1, 3),
        (3, 9),
    ]


def test_several_jobs_are_handed_out_at_a_time_and_the_next_rung_waits_for_all() -> None:
    search = Hyperband(brackets(3, 3), 3, number, lag=None)
    first = [search.ask() for _ in range(6)]
    # Where the rung of the first bracket has to wait, trials of the second are begun.
    assert [job and (job.trial, job.epochs) for job in first] == [
        (0, 1),
        (1, 1),
        (2, 1),
        (3, 3),
        (4, 3),
        None,
    ]
    assert not search.finished
    for trial in (2, 0):
        search.tell(trial, 1, 1.0)
    assert search.ask() is None
    search.tell(1, 1, 5.0)
    assert search.ask() == Job(trial=1, config={"x": 1}, epochs=3, bracket=0, rung=1)


def test_a_suggestion_waits_for_all_results_but_the_last_few_before_it() -> None:
    seen: dict[int, list[int]] = {}

    def suggest(trial: int, results: Any) -> dict[str, Any]:
        seen[trial] = [result.trial for result in results]
        return {"x": trial}

    search = Hyperband(brackets(3, 3), 3, suggest, lag=2)
    assert [job and job.trial for job in (search.ask(), search.ask(), search.ask())] == [0, 1, 2]
    for trial in (1, 2):
        search.tell(trial, 1, 0.0)
    assert search.ask() is None  # trial 3, the fifth job, may not be drawn before that of trial 0 is told
    search.tell(0, 1, 1.0)
    assert [job and job.trial for job in (search.ask(), search.ask(), search.ask())] == [0, 3, 4]
    assert seen == {0: [], 1: [], 2: [], 3: [0, 1], 4: [0, 1, 2]}  # not the second job of trial 0


def test_a_reward_for_a_job_that_nobody_asked_for_is_refused() -> None:
    search = Hyperband(brackets(3, 3), 3, number)
    with pytest.raises(ValueError, match="trial 0 has no job to epoch 1 under way"):
        search.tell(0, 1, 1.0)
    search.ask()
    search.tell(0, 1, 1.0)
    with pytest.raises(ValueError, match="trial 0 has no job to epoch 1 under way"):
        search.tell(0, 1, 1.0)


@settings(deadline=None)
@given(st.integers(1, 100), st.integers(2, 5), st.integers(0, 2**32))
def test_a_search_trains_no_more_than_its_plan(max_epochs: int, eta: int, seed: int) -> None:
    plan = brackets(max_epochs, eta)
    jobs = drive(Hyperband(plan, eta, number), lambda job: hash((seed, job.trial, job.epochs)) % 7)

    ran = [[0] * len(rungs) for rungs in plan]
    for job in jobs:
        assert job.epochs == plan[job.bracket][job.rung].epochs
        ran[job.bracket][job.rung] += 1
    assert ran == [[rung.configurations for rung in rungs] for rungs in plan]


# Whatever the number of workers and the order in which they finish.


def by_evidence(trial: int, results: Any) -> dict[str, Any]:
    """A sampler whose configurations depend on all that it sees."""
    return {"x": hash((trial, *results)) % 1000}


def noisy(job: Job) -> float:
    return float((job.config["x"] * 7 + job.epochs * 13) % 101) if job.config["x"] % 11 else -math.inf


def search_with(workers: int, draw: random.Random, search: Schedule) -> dict[tuple[int, int], float]:
    """The rewards by (trial, epochs) of a search by so many workers that finish in a random order."""
    running: list[Job] = []
    while True:
        while len(running) < workers and (job := search.ask()):
            running.append(job)
        if not running:
            assert search.finished
            return {(trial, epochs): reward for trial, epochs, reward in search.results()}
        job = running.pop(draw.randrange(len(running)))
        search.tell(job.trial, job.epochs, noisy(job))


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(2, 4), st.integers(0, 6), st.randoms(use_true_random=False))
def test_any_number_of_workers_does_the_same_jobs(
    max_epochs: int, eta: int, lag: int, draw: random.Random
) -> None:
    plan = brackets(max_epochs, eta)
    alone = search_with(1, draw, Hyperband(plan, eta, by_evidence, lag))
    for workers in (2, 5):
        assert search_with(workers, draw, Hyperband(plan, eta, by_evidence, lag)) == alone


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(2, 4), st.sampled_from(SCHEDULES), st.randoms(use_true_random=False))
def test_a_search_that_is_told_its_earlier_results_goes_on_as_it_would_have(
    max_epochs: int, eta: int, kind: str, draw: random.Random
) -> None:
    rungs = plan(kind, max_epochs, eta)
    whole = make_schedule(kind, rungs, eta, by_evidence, lag=0)
    interrupted = make_schedule(kind, rungs, eta, by_evidence, lag=0)
    stops, told = {}, []
    for _ in range(draw.randrange(60)):
        if (job := interrupted.ask()) is None:
            break
        told.append(Result(job.trial, job.epochs, noisy(job)))
        stops[told[-1]] = interrupted.tell(*told[-1])

    again = make_schedule(kind, rungs, eta, by_evidence, lag=0)
    for entry in interrupted.trials:
        again.restore_trial(entry.config, entry.bracket)
    draw.shuffle(told)
    for result in told:
        again.restore_result(result, stops[result])
    assert search_with(1, draw, again) == search_with(1, draw, whole)
    assert again.best == whole.best


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(2, 4), st.sampled_from(SCHEDULES), st.integers(1, 6))
def test_only_those_that_are_never_promoted_are_put_out_of_the_race(
    max_epochs: int, eta: int, kind: str, workers: int
) -> None:
    search = make_schedule(kind, plan(kind, max_epochs, eta, trials=25), eta, by_evidence, lag=None)
    out: set[int] = set()
    running: list[Job] = []
    while True:
        while len(running) < workers and (job := search.ask()):
            assert job.trial not in out
            running.append(job)
        if not running:
            break
        job = running.pop(0)
        stops = search.tell(job.trial, job.epochs, noisy(job))
        assert not out & set(stops)
        out |= set(stops)
    assert search.finished
    failed = {trial for trial, _, reward in search.results() if reward == -math.inf}
    racing = set(range(len(search.trials))) - out - failed
    # What is left are the best of the last rungs, as many as one more rung would take.
    assert all(search.trials[trial].reward_at(max_epochs) is not None for trial in racing)
    ended = Counter(
        search.trials[trial].bracket for trial, epochs, _ in search.results() if epochs == max_epochs
    )
    most = {bracket: max(1, count // eta) for bracket, count in ended.items()}
    assert not Counter(search.trials[trial].bracket for trial in racing) - Counter(most)


# A search that has ended is extended.


def extended(old: Schedule, plan: list[list[Rung]], place: Callable[[int], int]) -> Hyperband:
    """A search of a larger plan that is told all of an earlier one; `place` maps its brackets."""
    new = Hyperband(plan, 3, number)
    for entry in old.trials:
        new.restore_trial(entry.config, place(entry.bracket))
    for result in old.results():
        new.restore_result(result, [])
    for trial, entry in enumerate(old.trials):
        new.trials[trial].out = entry.out
    return new


def test_more_trials_are_further_brackets() -> None:
    old = Hyperband(plan("hyperband", 3, 3, trials=3), 3, number)
    drive(old, lambda job: job.trial)
    new = extended(old, plan("hyperband", 3, 3, trials=7), lambda bracket: bracket)

    # Bracket 0 was whole; now come the two of bracket 1, and two of a second round's bracket 0.
    assert [(job.trial, job.epochs, job.bracket) for job in drive(new, lambda job: job.trial)] == [
        (3, 3, 1),
        (4, 3, 1),
        (5, 1, 2),
        (6, 1, 2),
        (6, 3, 2),
    ]


def test_more_epochs_go_on_with_the_best_and_fill_the_larger_brackets() -> None:
    old = Hyperband(brackets(3, 3), 3, number)
    drive(old, lambda job: job.trial)
    new = extended(old, brackets(9, 3), lambda bracket: bracket)
    jobs = [(job.trial, job.epochs) for job in drive(new, lambda job: job.trial)]

    # Of the first bracket's 3 trials, 2 had gone on to 3 epochs; 6 new ones join, and the best of them.
    assert jobs[:6] == [(trial, 1) for trial in range(5, 11)]
    assert jobs[6:9] == [(10, 3), (9, 3), (10, 9)]
    # Of the second bracket's 2 trials at 3 epochs the better is still in the race; 3 new ones join.
    assert jobs[9:13] == [(11, 3), (12, 3), (13, 3), (13, 9)]
    assert jobs[13:] == [(14, 9), (15, 9), (16, 9)]
    assert not {(trial, epochs) for trial, epochs, _ in old.results()} & set(jobs)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 60), st.integers(1, 40), st.integers(0, 40))
def test_an_extended_search_repeats_no_job_and_ends(
    max_epochs: int, more_epochs: int, trials: int, more_trials: int
) -> None:
    old = Hyperband(plan("hyperband", max_epochs, 3, trials), 3, number)
    drive(old, noisy_number)
    old_round, new_round = len(brackets(max_epochs, 3)), len(brackets(max_epochs + more_epochs, 3))
    places = {b: b // old_round * new_round + b % old_round for b in range(len(old.plan))}
    members = [0] * (max(places.values()) + 1)
    for entry in old.trials:
        members[places[entry.bracket]] += 1
    longer = plan("hyperband", max_epochs + more_epochs, 3, trials + more_trials, members)
    new = extended(old, longer, places.__getitem__)
    jobs = drive(new, noisy_number)
    before = {trial: max(entry.rewards) for trial, entry in enumerate(old.trials)}
    assert all(job.epochs > before.get(job.trial, 0) for job in jobs)
    assert len(new.trials) == trials + more_trials
    assert not any(old.trials[job.trial].out for job in jobs if job.trial < len(old.trials))


def noisy_number(job: Job) -> float:
    return float((job.trial * 7 + job.epochs * 13) % 101)


def test_what_waits_for_places_that_were_taken_before_an_extension_is_out_too() -> None:
    old = Hyperband(plan("sha", 9, 2), 2, number)
    drive(old, lambda job: job.trial)
    longer = plan("sha", 20, 2, trials=30, members=[len(old.trials)])
    new = extended(old, longer, lambda bracket: bracket)
    drive(new, lambda job: -job.trial)
    racing = [trial for trial, entry in enumerate(new.trials) if not entry.out]
    assert all(new.trials[trial].reward_at(20) is not None for trial in racing)


def test_of_a_last_rung_ten_trials_at_most_stay_in_the_race() -> None:
    for kind in ("none", "sha", "asha"):
        search = make_schedule(kind, plan(kind, 1, 3, trials=100), 3, number, lag=None)
        drive(search, lambda job: job.trial)
        assert [trial for trial, entry in enumerate(search.trials) if not entry.out] == list(range(90, 100))
