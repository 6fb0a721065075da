"""What a run tells of itself: the count of epochs, plain lines, and the live display."""

import io
import math
import os
import pty
import random
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Clock, Project
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from terminal import ToyTerminal

from helixband import interruption
from helixband.display import plain, progress
from helixband.display.live import Lines, LiveProgress, make_progress
from helixband.display.plain import PlainProgress
from helixband.display.progress import BracketCount, Progress
from helixband.display.screen import Screen
from helixband.display.text import show_config, show_number, show_row
from hyperband import brackets

PLAN = [[(3, 1), (1, 3)], [(2, 3)]]
ROUND = [[(27, 1), (9, 3), (3, 9), (1, 27)], [(12, 3), (4, 9), (1, 27)], [(6, 9), (2, 27)], [(4, 27)]]
"""Hyperband to epoch 27 with eta 3."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (progress, plain):
        monkeypatch.setattr(module, "time", clock)
    return clock


def test_ctrl_c_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(interruption, "_pending", [2])
    with Screen(Console(file=written), lambda: "frame"):
        deadline = time.monotonic() + 30
        while "stopping" not in written.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.3)
    assert written.getvalue().count("stopping: what is finished is stored first\n") == 1


def tell_search(shown: Progress, clock: Clock) -> None:
    """The first jobs of a search: a good trial, a failure, a better trial, and its promotion under way."""
    shown.begin_search(PLAN)
    for name, reward, error in [
        ("0000", -0.5, None),
        ("0001", -math.inf, "RuntimeError: no memory\nand much more"),
        ("0002", -0.25, None),
    ]:
        shown.begin_job(name, 0, 0, 0, 1)
        clock.seconds += 30
        if error is None:
            shown.epoch(name, {"epoch": 1, "train_loss": 1.5, "val_loss": -reward, "reward": reward})
        shown.end_job(name, {"lr": 0.0012345678, "layers": [8, "[bold]"]}, reward, error)
    shown.begin_job("0002", 0, 1, 1, 3)
    clock.seconds += 30
    shown.epoch("0002", {"epoch": 2, "train_loss": 1.25, "val_loss": 0.125, "reward": math.nan})


def do_job(
    shown: Progress, name: str, bracket: int, rung: int, epochs: int, error: str | None = None
) -> None:
    """A job of which no epoch is told, as those of an earlier run."""
    shown.begin_job(name, bracket, rung, 0, epochs)
    shown.end_job(name, {}, -1.0, error)


def expected(bracket: BracketCount) -> list[int]:
    """How many trials each rung will have had."""
    return [rung.expected for rung in bracket.rungs]


# The count.


@given(
    max_epochs=st.integers(1, 30),
    eta=st.integers(2, 4),
    workers=st.integers(1, 5),
    found=st.integers(0, 20),
    seed=st.integers(0, 1000),
)
def test_a_search_ends_at_its_total_whatever_fails_and_however_small_the_space(
    max_epochs: int, eta: int, workers: int, found: int, seed: int
) -> None:
    plan = [[tuple(rung) for rung in rungs] for rungs in brackets(max_epochs, eta)]
    rng = random.Random(seed)
    shown = Progress()
    shown.begin_search(plan)
    before, trials = 0.0, 0
    for index, rungs in enumerate(plan):
        drawn = min(rungs[0][0], found - trials)
        if drawn < rungs[0][0]:  # there are no more configurations
            rest = [[(0, epochs) for _, epochs in others] for others in plan[index + 1 :]]
            shown.begin_search([*plan[:index], [(drawn, rungs[0][1]), *rungs[1:]], *rest])
        pool = [f"{trials + number:04d}" for number in range(drawn)]
        trials += drawn
        for rung, (configurations, epochs) in enumerate(rungs):
            pool, waiting, at_work = [], pool[:configurations], []
            while waiting or at_work:
                if waiting and len(at_work) < workers:
                    at_work.append(waiting.pop(0))
                    shown.begin_job(at_work[-1], index, rung, 0, epochs)
                else:
                    name = at_work.pop(rng.randrange(len(at_work)))
                    end = rng.choice(["failed", "hopeless", "", "", ""])
                    shown.end_job(name, {}, 0.5, end if end == "failed" else None, end == "hopeless")
                    pool += [] if end else [name]
                assert shown.done <= shown.total and before <= shown.done / max(1, shown.total)
                before = shown.done / max(1, shown.total)
        if drawn < rungs[0][0]:
            break

    assert shown.done == shown.total
    assert all(bracket.finished for bracket in shown.brackets)
    assert not shown.running


@pytest.mark.parametrize(
    ("rungs", "epochs"), [([(5, 4)], 20), ([(9, 1), (3, 3), (1, 9)], 9 + 3 * 2 + 6), ([(2, 3), (2, 6)], 12)]
)
def test_a_promoted_trial_counts_from_where_it_was(rungs: list[tuple[int, int]], epochs: int) -> None:
    assert BracketCount(rungs).total == epochs


def test_a_search_counts_the_epochs_of_all_that_run() -> None:
    shown = Progress()
    shown.begin_search(ROUND)
    do_job(shown, "0000", 0, 0, 1)
    shown.begin_job("0000", 0, 1, 1, 3)
    shown.begin_job("0027", 1, 0, 0, 3)
    shown.epoch("0000", {"epoch": 2})
    shown.epoch("0027", {"epoch": 1})
    shown.epoch("0027", {"epoch": 2})

    assert (shown.done, shown.total) == (1 + 1 + 2, 357)


def test_failures_take_their_trials_from_the_later_rungs() -> None:
    shown = Progress()
    shown.begin_search([[(9, 1), (3, 3), (1, 9)]])
    for number in range(7):
        do_job(shown, f"{number:04d}", 0, 0, 1, "RuntimeError")
    assert (expected(shown.brackets[0]), shown.total) == ([9, 2, 1], 9 + 4 + 6)

    for number in range(7, 9):
        do_job(shown, f"{number:04d}", 0, 0, 1, "RuntimeError")
    assert (expected(shown.brackets[0]), shown.done, shown.total) == ([9, 0, 0], 9, 9)
    assert (shown.failures, shown.last_failure) == (9, "0008: RuntimeError")


def test_a_hopeless_trial_is_no_failure_but_takes_its_place_in_the_later_rungs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = PlainProgress()
    shown.begin_search([[(3, 1), (2, 3)]])
    do_job(shown, "0000", 0, 0, 1)
    for name in ("0001", "0002"):
        shown.begin_job(name, 0, 0, 0, 1)
        shown.end_job(name, {}, -9.0, None, hopeless=True)

    assert (expected(shown.brackets[0]), shown.failures, len(shown.rewards)) == ([3, 1], 0, 3)
    assert capsys.readouterr().out.splitlines()[-1] == (
        "  bracket 1/1, rung 1/2, trial 0002, to epoch 1: reward -9, stopped as hopeless  [60 %]"
    )


def test_asynchronous_promotions_leave_a_rung_open_and_may_be_more_than_planned() -> None:
    shown = Progress()
    shown.begin_search([[(9, 1), (3, 3), (1, 9)]])
    for number in range(8):
        do_job(shown, f"{number:04d}", 0, 0, 1)
        if number % 2:
            do_job(shown, f"{number:04d}", 0, 1, 3)

    assert expected(shown.brackets[0]) == [9, 4, 1]
    assert (shown.done, shown.total) == (8 + 4 * 2, 9 + 4 * 2 + 6)


def test_a_plan_that_changes_keeps_what_was_done() -> None:
    shown = Progress()
    shown.begin_search([[(9, 1), (3, 3)], [(3, 3)]])
    shown.begin_job("0000", 0, 0, 0, 1)
    do_job(shown, "0001", 0, 0, 1)

    shown.begin_search([[(2, 1), (3, 3)]])
    assert (shown.done, shown.total, expected(shown.brackets[0])) == (1, 2 + 2 * 2, [2, 2])

    shown.begin_search([[(2, 1), (3, 3)], [(5, 3)]])
    assert (shown.done, shown.total) == (1, 6 + 15)
    assert list(shown.running) == ["0000"]


def test_a_trial_that_begins_again_elsewhere_runs_once() -> None:
    shown = Progress()
    shown.begin_search(PLAN)
    for _ in range(2):
        shown.begin_job("0000", 0, 0, 0, 1)
    assert (len(shown.running), shown.brackets[0].rungs[0].running) == (1, 1)

    shown.end_job("0000", {}, 0.5, None)
    shown.epoch("0000", {"epoch": 1})  # of the worker that only seemed dead
    assert (shown.done, shown.brackets[0].rungs[0].running, shown.time_left()) == (1, 0, "")


def test_a_training_that_goes_on_counts_what_it_had(clock: Clock) -> None:
    shown = Progress()
    shown.begin_training("single", 5, 10)
    assert (shown.done, shown.total, shown.time_left()) == (5, 10, "")

    shown.epoch("single", {"epoch": 6})
    clock.seconds = 20
    shown.epoch("single", {"epoch": 7})
    assert (shown.done, shown.time_left()) == (7, "1:00 left")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0:00 left"), (59.6, "1:00 left"), (3599, "59:59 left"), (3600, "1:00:00 left")],
)
def test_time_left_is_told_in_hours_minutes_and_seconds(clock: Clock, seconds: float, told: str) -> None:
    shown = Progress()
    shown.begin_training("single", 0, 3)
    shown.epoch("single", {"epoch": 1})
    clock.seconds = seconds
    shown.epoch("single", {"epoch": 2})

    assert shown.time_left() == told


def test_time_left_is_at_the_pace_of_all_trials_together_without_those_of_an_earlier_run(
    clock: Clock,
) -> None:
    shown = Progress()
    shown.begin_search([[(20, 3)]])
    for number in range(10):
        do_job(shown, f"{number:04d}", 0, 0, 3)
    for name in ("0010", "0011"):
        shown.begin_job(name, 0, 0, 1, 3)  # one epoch of it is of the earlier run
    for epoch in (2, 3):
        clock.seconds += 10
        for name in ("0010", "0011"):
            shown.epoch(name, {"epoch": epoch})

    assert (shown.done, shown.total) == (36, 60)
    assert shown.time_left() == "2:00 left"  # 24 epochs of 10 seconds, two at a time


def test_time_left_is_never_more_than_the_rest_of_the_time_budget(clock: Clock) -> None:
    shown = Progress()
    shown.time_budget(120)
    shown.begin_search([[(20, 1)]])
    clock.seconds = 10
    assert shown.time_left() == "at most 1:50 left"

    for name in ("0000", "0001"):
        shown.begin_job(name, 0, 0, 0, 1)
        clock.seconds += 10
        shown.epoch(name, {"epoch": 1})
        shown.end_job(name, {}, 0.5, None)
    assert shown.time_left() == "1:30 left"  # and not 18 times 10 seconds

    clock.seconds = 150
    assert shown.time_left() == "0:00 left"

    shown.end()
    shown.begin_training("0000", 0, 20)
    shown.epoch("0000", {"epoch": 1})
    clock.seconds = 250
    shown.epoch("0000", {"epoch": 2})
    assert shown.time_left() == "30:00 left"


def test_the_best_trials_are_the_five_of_the_highest_reward() -> None:
    shown = Progress()
    shown.begin_search([[(7, 1)]])
    for number, reward in enumerate([0.1, 0.7, 0.3, 0.7, 0.2, 0.6, 0.5]):
        shown.begin_job(f"{number:04d}", 0, 0, 0, 1)
        shown.end_job(f"{number:04d}", {"x": number}, reward, None)

    assert [(best.name, best.reward) for best in shown.best()] == [
        ("0001", 0.7), ("0003", 0.7), ("0005", 0.6), ("0006", 0.5), ("0002", 0.3),
    ]  # fmt: skip


def test_the_best_trials_follow_those_at_work_until_they_fail() -> None:
    shown = Progress()
    shown.begin_search(PLAN)
    for name, reward in (("0000", 0.5), ("0001", 0.25)):
        shown.begin_job(name, 0, 0, 0, 1, {"lr": reward})
        shown.epoch(name, {"epoch": 1, "reward": reward})
        shown.end_job(name, {"lr": reward}, reward, None)
    shown.begin_job("0001", 0, 1, 1, 3, {"lr": 0.25})
    shown.epoch("0001", {"epoch": 2, "reward": math.nan})
    assert shown.best() == [("0000", 0.5, {"lr": 0.5}, False), ("0001", 0.25, {"lr": 0.25}, False)]

    shown.epoch("0001", {"epoch": 3, "reward": 0.75})
    assert shown.best()[0] == ("0001", 0.75, {"lr": 0.25}, True)
    assert shown.summary() == [
        "2 of 5 trials have a result, 1 more at work; 4 of 11 epochs are done",
        "best so far: trial 0001, still at work, reward 0.75  lr=0.25",
    ]

    shown.end_job("0001", {"lr": 0.25}, -math.inf, "RuntimeError")
    assert [(best.name, best.reward) for best in shown.best()] == [("0000", 0.5), ("0001", 0.25)]


def test_a_training_and_a_prediction_that_are_stopped_tell_how_far_they_came() -> None:
    shown = Progress()
    assert shown.summary() == []

    shown.begin_training("single", 0, 4)
    assert shown.summary() == ["0 of 4 epochs are done"]
    for epoch, reward in enumerate([0.25, 0.5, math.nan], 1):
        shown.epoch("single", {"epoch": epoch, "reward": reward})
    assert shown.summary() == ["3 of 4 epochs are done", "best so far: epoch 2, reward 0.5"]

    shown.end()
    shown.begin_windows(500)
    shown.windows(1000, 5000)
    assert shown.summary() == ["1,000 of 5,000 windows are done"]


# Numbers and rows.


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.123456, "0.1235"),
        (1.0, "1"),
        (-12345.6, "-1.235e+04"),
        (math.nan, "undefined"),
        (-math.inf, "-inf"),
    ],
)
def test_a_number_has_four_digits(value: float, told: str) -> None:
    assert show_number(value) == told


def test_a_row_and_a_configuration_are_one_line_each() -> None:
    row = {"epoch": 3, "train_loss": 0.5, "val_auroc": math.nan}

    assert show_row(row) == "train_loss 0.5  val_auroc undefined"
    assert show_config({"lr": 0.00123456, "units": 4, "act": "relu"}) == "lr=0.001235  units=4  act=relu"


def test_no_hyperparameters_are_called_so() -> None:
    assert show_config({}) == "no hyperparameters"
    assert show_config({"a": "x\ny", "b": "\x1b[2J", "c": "ü z"}) == "a=x y  b= [2J  c=ü z"


# Lines.


def test_a_search_is_told_in_a_line_for_each_trial(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    tell_search(PlainProgress(), clock)

    assert capsys.readouterr().out.splitlines() == [
        "  bracket 1: trials: 3 to epoch 1, 1 to epoch 3",
        "  bracket 2: trials: 2 to epoch 3",
        "  bracket 1/2, rung 1/2, trial 0000, to epoch 1: reward -0.5  lr=0.001235  layers=[8, '[bold]']  "
        "[9 %]",
        "  bracket 1/2, rung 1/2, trial 0001, to epoch 1: failed: RuntimeError: no memory  lr=0.001235  "
        "layers=[8, '[bold]']  [18 %]",
        "  bracket 1/2, rung 1/2, trial 0002, to epoch 1: reward -0.25  lr=0.001235  layers=[8, '[bold]']  "
        "[27 %, 4:00 left]",
    ]


def test_each_of_several_trials_is_told_with_its_own_place(capsys: pytest.CaptureFixture[str]) -> None:
    shown = PlainProgress()
    shown.begin_search(PLAN)
    shown.begin_job("0000", 0, 0, 0, 1)
    shown.begin_job("0003", 1, 0, 0, 3)
    shown.end_job("0000", {}, 0.5, None)
    shown.begin_job("0000", 0, 1, 1, 3)
    shown.end_job("0003", {}, 0.25, None)
    shown.end_job("0000", {}, 0.75, None)

    assert capsys.readouterr().out.splitlines()[2:] == [
        "  bracket 1/2, rung 1/2, trial 0000, to epoch 1: reward 0.5  [9 %]",
        "  bracket 2/2, rung 1/1, trial 0003, to epoch 3: reward 0.25  [36 %]",
        "  bracket 1/2, rung 2/2, trial 0000, to epoch 3: reward 0.75  [54 %]",
    ]


def test_each_kind_of_bracket_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    shown = PlainProgress()
    shown.begin_search([*PLAN * 10, [(1, 3)]])
    shown.begin_search(PLAN * 10)

    assert capsys.readouterr().out.splitlines() == [
        "  brackets 1, 3, 5 and 7 more: trials: 3 to epoch 1, 1 to epoch 3",
        "  brackets 2, 4, 6 and 7 more: trials: 2 to epoch 3",
        "  bracket 21: trials: 1 to epoch 3",
    ]


def test_a_training_is_told_in_a_line_for_each_epoch(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = PlainProgress()
    shown.begin_training("single", 1, 4)
    for epoch in (2, 3, 4):
        clock.seconds += 5
        row = {"epoch": epoch, "train_loss": 1 / epoch, "val_auroc": math.nan, "reward": -0.5}
        shown.epoch("single", row)
    shown.end()
    shown.say("done")

    assert capsys.readouterr().out.splitlines() == [
        "  epoch 2/4  train_loss 0.5  val_auroc undefined  reward -0.5",
        "  epoch 3/4  train_loss 0.3333  val_auroc undefined  reward -0.5  0:05 left",
        "  epoch 4/4  train_loss 0.25  val_auroc undefined  reward -0.5  0:00 left",
        "done",
    ]


def test_nothing_is_told_where_quiet(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    shown = make_progress(quiet=True)
    tell_search(shown, clock)
    shown.say("done")

    assert capsys.readouterr().out == ""


def test_a_prediction_tells_its_pace_and_the_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = PlainProgress()
    shown.begin_windows(500)
    shown.windows(1000, 5000)  # of an earlier run
    clock.seconds = 5
    shown.windows(2000, 5000)
    clock.seconds = 10
    shown.windows(3000, 5000)
    assert capsys.readouterr().out == "  3,000/5,000 windows  [60 %, 0.1 Mb/s, 0:10 left]\n"


# The live display.


def display(width: int, height: int = 25) -> LiveProgress:
    """A live display on a terminal of that size, which is not shown by itself."""
    return LiveProgress(Console(file=io.StringIO(), width=width, height=height))


def rendered(shown: LiveProgress) -> list[str]:
    """The lines of the display, as they stand on the screen."""
    shown._console.file = screen = io.StringIO()
    shown._console.print(shown._render())
    return [line.rstrip() for line in screen.getvalue().splitlines()]


def tell_long_search(shown: Progress, clock: Clock, rounds: int, at_work: int) -> None:
    """One whole bracket, a failure in it, and so many trials at work in the next."""
    shown.begin_search(ROUND * rounds)
    for rung, (configurations, epochs) in enumerate(ROUND[0]):
        for number in range(configurations):
            name = f"{number:04d}"
            had = ROUND[0][rung - 1][1] if rung else 0
            shown.begin_job(name, 0, rung, had, epochs)
            for epoch in range(had + 1, epochs + 1):
                clock.seconds += 0.5
                shown.epoch(name, {"epoch": epoch})
            error = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (100x32 and 64x1)\n  in forward"
            config = {
                "lr": 0.001 * (number + 1),
                "units": 64,
                "schedule": {"__schedule__": "Cosine", "warmup": 2},
            }
            shown.end_job(name, config, -0.01 * (number + 1), error if number == 20 else None)
    for number in range(at_work):
        name = f"{27 + number:04d}"
        shown.begin_job(name, 1, 0, 0, 3)
        shown.epoch(name, {"epoch": 1, "tp": 0.75, "val_loss": 0.5, "val_auroc": 0.875, "reward": -0.5})


SEARCH = """
search  ━━━━━━━━━━━━━━━━━━━━━━━━╸                                             4/11 epochs  3:30 left
0002  ━━━━━━━━━━━━━         2/3  reward undefined  val_loss 0.125  train_loss 1.25

to epoch       1     3
bracket 1/2  3/3  >0/1
bracket 2/2        0/2

best trials  reward  configuration
0002          -0.25  lr=0.001235  layers=[8, '[bold]']
0000           -0.5  lr=0.001235  layers=[8, '[bold]']

1 failed, the last 0001: RuntimeError: no memory
"""
NARROW = """
search  ━━━━━━                      83/357 epochs  2:12 left
0027  ━━━         1/3  reward -0.5  val_loss 0.5
0028  ━━━         1/3  reward -0.5  val_loss 0.5

to epoch         1      3    9   27
bracket 1/4  27/27    9/9  3/3  1/1
bracket 2/4         >0/12  0/4  0/1
bracket 3/4                0/6  0/2
bracket 4/4                     0/4

best trials  reward  configuration
0000          -0.01  lr=0.001  units=64  schedule=Cosine(wa…
0001          -0.02  lr=0.002  units=64  schedule=Cosine(wa…
0002          -0.03  lr=0.003  units=64  schedule=Cosine(wa…
0003          -0.04  lr=0.004  units=64  schedule=Cosine(wa…
0004          -0.05  lr=0.005  units=64  schedule=Cosine(wa…

1 failed, the last 0020: RuntimeError: mat1 and mat2 shapes…
"""
USUAL = """
search  ━━━━━━━━━━╸                                     83/357 epochs  2:12 left
0027  ━━━━━━╸               1/3  reward -0.5  val_loss 0.5  val_auroc 0.875
0028  ━━━━━━╸               1/3  reward -0.5  val_loss 0.5  val_auroc 0.875

to epoch         1      3    9   27
bracket 1/4  27/27    9/9  3/3  1/1
bracket 2/4         >0/12  0/4  0/1
bracket 3/4                0/6  0/2
bracket 4/4                     0/4

best trials  reward  configuration
0000          -0.01  lr=0.001  units=64  schedule=Cosine(warmup=2)
0001          -0.02  lr=0.002  units=64  schedule=Cosine(warmup=2)
0002          -0.03  lr=0.003  units=64  schedule=Cosine(warmup=2)
0003          -0.04  lr=0.004  units=64  schedule=Cosine(warmup=2)
0004          -0.05  lr=0.005  units=64  schedule=Cosine(warmup=2)

1 failed, the last 0020: RuntimeError: mat1 and mat2 shapes cannot be multiplie…
"""
WIDE = """
search  ━━━━━━━━━━━━━━━                                                     83/357 epochs  2:12 left
0027  ━━━━━━╸               1/3  bracket 2/4, rung 1/3  reward -0.5  val_loss 0.5  val_auroc 0.875  tp 0.75
0028  ━━━━━━╸               1/3  bracket 2/4, rung 1/3  reward -0.5  val_loss 0.5  val_auroc 0.875  tp 0.75

to epoch         1      3    9   27
bracket 1/4  27/27    9/9  3/3  1/1
bracket 2/4         >0/12  0/4  0/1
bracket 3/4                0/6  0/2
bracket 4/4                     0/4

best trials  reward  configuration
0000          -0.01  lr=0.001  units=64  schedule=Cosine(warmup=2)
0001          -0.02  lr=0.002  units=64  schedule=Cosine(warmup=2)
0002          -0.03  lr=0.003  units=64  schedule=Cosine(warmup=2)
0003          -0.04  lr=0.004  units=64  schedule=Cosine(warmup=2)
0004          -0.05  lr=0.005  units=64  schedule=Cosine(warmup=2)

1 failed, the last 0020: RuntimeError: mat1 and mat2 shapes cannot be multiplied (100x32 and 64x1)
"""
MANY_NARROW = """
search  ╸                                 89/3,570 epochs
0027  ━━━         1/3  reward -0.5  val_loss 0.5
0028  ━━━         1/3  reward -0.5  val_loss 0.5
0029  ━━━         1/3  reward -0.5  val_loss 0.5
0030  ━━━         1/3  reward -0.5  val_loss 0.5
0031  ━━━         1/3  reward -0.5  val_loss 0.5
0032  ━━━         1/3  reward -0.5  val_loss 0.5
0033  ━━━         1/3  reward -0.5  val_loss 0.5
0034  ━━━         1/3  reward -0.5  val_loss 0.5
to epoch          1      3      9    27
bracket 1/40  27/27    9/9    3/3   1/1
bracket 2/40         >0/12    0/4   0/1
bracket 3/40                  0/6   0/2
bracket 4/40                        0/4
bracket 5/40   0/27    0/9    0/3   0/1
35 more       0/216  0/180  0/114  0/71
best trials  reward  configuration
0000          -0.01  lr=0.001  units=64  schedule=Cosine(wa…
1 failed, the last 0020: RuntimeError: mat1 and mat2 shapes…
"""
MANY_USUAL = """
search  ━                                                     89/3,570 epochs
0027  ━━━━━━╸               1/3  reward -0.5  val_loss 0.5  val_auroc 0.875
0028  ━━━━━━╸               1/3  reward -0.5  val_loss 0.5  val_auroc 0.875
0029  ━━━━━━╸               1/3  reward -0.5  val_loss 0.5  val_auroc 0.875
0030  ━━━━━━╸               1/3  reward -0.5  val_loss 0.5  val_auroc 0.875
0031  ━━━━━━╸               1/3  reward -0.5  val_loss 0.5  val_auroc 0.875
0032  ━━━━━━╸               1/3  reward -0.5  val_loss 0.5  val_auroc 0.875
0033  ━━━━━━╸               1/3  reward -0.5  val_loss 0.5  val_auroc 0.875
0034  ━━━━━━╸               1/3  reward -0.5  val_loss 0.5  val_auroc 0.875
to epoch          1      3      9    27
bracket 1/40  27/27    9/9    3/3   1/1
bracket 2/40         >0/12    0/4   0/1
bracket 3/40                  0/6   0/2
bracket 4/40                        0/4
bracket 5/40   0/27    0/9    0/3   0/1
bracket 6/40          0/12    0/4   0/1
34 more       0/216  0/168  0/110  0/70
best trials  reward  configuration
0000          -0.01  lr=0.001  units=64  schedule=Cosine(warmup=2)
0001          -0.02  lr=0.002  units=64  schedule=Cosine(warmup=2)
0002          -0.03  lr=0.003  units=64  schedule=Cosine(warmup=2)
0003          -0.04  lr=0.004  units=64  schedule=Cosine(warmup=2)
1 failed, the last 0020: RuntimeError: mat1 and mat2 shapes cannot be multiplie…
"""
MANY_LOW = """
search  ━                                                     89/3,570 epochs
0027  ━━━━━━╸               1/3  reward -0.5  val_loss 0.5  val_auroc 0.875
0028  ━━━━━━╸               1/3  reward -0.5  val_loss 0.5  val_auroc 0.875
and 6 more
to epoch      1      3    9   27
bracket 2/40     >0/12  0/4  0/1
best trials  reward  configuration
0000          -0.01  lr=0.001  units=64  schedule=Cosine(warmup=2)
1 failed, the last 0020: RuntimeError: mat1 and mat2 shapes cannot be multiplie…
"""
LEAST = """
search                89/3,570 epochs
0027  ━━━         1/3  reward -0.5
1 failed, the last 0020: RuntimeError: …
"""


def test_the_live_display_of_a_search(clock: Clock) -> None:
    shown = display(100)
    tell_search(shown, clock)

    assert rendered(shown) == SEARCH.split("\n")[1:-1]


@pytest.mark.parametrize(("width", "height", "screen"), [(60, 20, NARROW), (80, 24, USUAL), (200, 50, WIDE)])
def test_two_workers_on_terminals_of_usual_sizes(clock: Clock, width: int, height: int, screen: str) -> None:
    shown = display(width, height)
    tell_long_search(shown, clock, rounds=1, at_work=2)

    assert rendered(shown) == screen.split("\n")[1:-1]


@pytest.mark.parametrize(
    ("width", "height", "screen"),
    [(60, 20, MANY_NARROW), (80, 24, MANY_USUAL), (80, 10, MANY_LOW), (40, 5, LEAST)],
)
def test_eight_workers_of_a_search_of_many_rounds(clock: Clock, width: int, height: int, screen: str) -> None:
    shown = display(width, height)
    tell_long_search(shown, clock, rounds=10, at_work=8)

    assert rendered(shown) == screen.split("\n")[1:-1]


def test_no_value_and_no_error_breaks_its_line(clock: Clock) -> None:
    shown = display(80, 24)
    shown.begin_search(PLAN)
    shown.begin_job("0000", 0, 0, 0, 1)
    shown.end_job("0000", {"text": "one\ntwo\x1b[2J", "[red]": 1}, 0.5, None)
    do_job(shown, "0001", 0, 0, 1, "\x1b[31mError: [/b] red\rover\nmore")

    lines = rendered(shown)
    assert "0000            0.5  text=one two [2J  [red]=1" in lines
    assert lines[-1] == "1 failed, the last 0001:  [31mError: [/b] red over"


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("at_work", [1, 8, 64])
def test_the_display_of_a_search_fits_every_terminal(clock: Clock, width: int, at_work: int) -> None:
    shown = display(width)
    tell_long_search(shown, clock, rounds=10, at_work=min(at_work, 12))
    for number in range(at_work - 12):
        shown.begin_job(f"{100 + number:04d}", 4, 0, 0, 1)
    for height in (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 20, 24, 40, 80):
        shown._console.height = height
        lines = rendered(shown)
        assert len(lines) <= max(1, height - 1)
        assert max(map(len, lines)) <= width
        assert lines[0].startswith("search ")


def test_each_part_has_its_lines_as_far_as_they_go() -> None:
    assert Lines.share(50, 1, 8, 7, 5) == Lines(failures=1, trials=8, brackets=7, best=5, gap=1)
    assert Lines.share(24, 0, 2, 4, 5) == Lines(failures=0, trials=2, brackets=4, best=5, gap=1)
    assert Lines.share(12, 1, 8, 7, 5) == Lines(failures=1, trials=5, brackets=1, best=1, gap=0)
    assert Lines.share(3, 1, 8, 7, 5) == Lines(failures=1, trials=0, brackets=0, best=0, gap=0)
    assert Lines.share(1, 1, 8, 7, 5) == Lines(failures=0, trials=0, brackets=0, best=0, gap=0)


def test_finished_brackets_and_those_far_ahead_are_summed_up(clock: Clock) -> None:
    shown = display(80, 24)
    shown.begin_search(ROUND * 10)
    for index, rungs in enumerate((ROUND * 10)[:14]):
        for rung, (configurations, epochs) in enumerate(rungs):
            for number in range(configurations):
                do_job(shown, f"{index}-{number}", index, rung, epochs)
    shown.begin_job("0200", 14, 0, 0, 9)

    assert rendered(shown)[3:11] == [
        "to epoch             1      3      9     27",
        "14 finished    108/108  84/84  46/46  26/26",
        "bracket 15/40                   >0/6    0/2",
        "bracket 16/40                           0/4",
        "bracket 17/40     0/27    0/9    0/3    0/1",
        "bracket 18/40            0/12    0/4    0/1",
        "bracket 19/40                    0/6    0/2",
        "21 more          0/135  0/105   0/65   0/44",
    ]


def test_a_bracket_at_work_is_shown_before_those_ahead_of_it_that_have_not_begun(clock: Clock) -> None:
    shown = display(80, 9)
    shown.begin_search(ROUND * 10)
    shown.begin_job("0100", 17, 0, 0, 3)

    assert rendered(shown)[2:] == [
        "to epoch           1      3      9    27",
        "bracket 18/40         >0/12    0/4   0/1",
        "bracket 1/40    0/27    0/9    0/3   0/1",
        "38 more        0/243  0/189  0/123  0/78",
    ]


def test_what_is_below_the_trials_stays_in_its_place_while_one_follows_another(clock: Clock) -> None:
    shown = display(100)
    tell_long_search(shown, clock, rounds=1, at_work=3)
    before = rendered(shown)

    shown.end_job("0028", {}, -9.0, None)

    lines = rendered(shown)
    assert [line[:4] for line in lines[1:4]] == ["0027", "0029", ""]
    assert [line[:8] for line in lines[4:]] == [line[:8] for line in before[4:]]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_display_of_a_training_fits_any_width_and_parts_no_name_from_its_value(
    clock: Clock, width: int
) -> None:
    shown = display(width)
    shown.begin_training("single", 0, 4)
    shown.epoch("single", {"epoch": 1, "loss": 1.5, "val_a_metric_of_a_long_name": 0.5, "reward": math.nan})

    lines = rendered(shown)

    assert max(map(len, lines)) <= min(width, 100)
    assert any("val_a_metric_of_a_long_name 0.5" in line for line in lines)
    assert any("reward undefined" in line for line in lines)


def test_the_live_display_of_a_training_goes_when_it_ends(clock: Clock) -> None:
    shown = display(80)
    assert rendered(shown) == [""]

    shown.begin_training("single", 0, 4)
    for epoch in (1, 2):
        clock.seconds += 2
        shown.epoch("single", {"epoch": epoch, "reward": 0.5})
    first, second = rendered(shown)
    assert first.startswith("training ") and first.endswith(" 2/4 epochs  0:04 left")
    assert second == "reward 0.5"

    shown.end()
    assert rendered(shown) == [""]


def test_what_is_said_and_the_epochs_of_a_training_stay_word_for_word(clock: Clock) -> None:
    screen = ToyTerminal()
    shown = LiveProgress(Console(file=screen, width=40))
    shown.say("before")
    with shown.shown():
        shown.begin_training("single", 0, 2)
        shown.epoch("single", {"epoch": 1, "train_loss": 0.5, "reward": 0.25, "seconds": 3.0})
        shown.say("best: [bold]" + "x" * 60)
    shown.say("after")

    epoch = "  epoch 1/2  train_loss 0.5  reward 0.25"
    assert screen.seen() == ["before", epoch, "best: [bold]" + "x" * 60, "after"]


def test_what_a_definition_prints_stays_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = ToyTerminal()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", screen)
    shown = LiveProgress(Console(file=screen, width=40))
    with shown.shown():
        shown.begin_training("single", 0, 2)
        print("one\ntw", end="")
        shown.say("said")
        sys.stdout.writelines(["o\n", "\r 1 %", "\r 2 %"])
        assert sys.stdout.isatty()
    assert sys.stdout is screen

    assert screen.seen() == ["one", "said", "two", " 2 %"]


def test_what_goes_wrong_in_the_display_is_raised_when_it_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = ToyTerminal()
    shown = LiveProgress(Console(file=screen, width=40))
    monkeypatch.setattr(shown, "_whole", lambda: 1 / 0)
    shown.begin_training("single", 0, 2)
    with pytest.raises(ZeroDivisionError), shown.shown():
        time.sleep(0.01)
        shown.say("said")
    assert screen.seen() == ["said"]
    assert screen.has_cursor


def test_a_terminal_that_is_gone_ends_the_display_and_not_the_run() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    with LiveProgress(Console(file=Gone(), width=40)).shown() as shown:
        shown.begin_training("single", 0, 2)
        shown.say("said")


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
def test_a_terminal_that_moves_no_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(make_progress(quiet=False), LiveProgress)
    monkeypatch.setenv("TERM", term)
    assert isinstance(make_progress(quiet=False), PlainProgress)


# Several threads.


def run_jobs(shown: Progress, worker: int, jobs: int) -> None:
    """Jobs of one worker, one after the other; every fifth fails."""
    for number in range(jobs):
        name = f"{worker}-{number}"
        shown.begin_job(name, worker % 4, 0, 0, 2)
        for epoch in (1, 2):
            shown.epoch(name, {"epoch": epoch, "reward": float(number)})
        shown.end_job(name, {"worker": worker}, float(number), "Error: none\n" if number % 5 == 4 else None)


def in_threads(shown: Progress, workers: int, jobs: int) -> list[threading.Thread]:
    threads = [threading.Thread(target=run_jobs, args=(shown, worker, jobs)) for worker in range(workers)]
    for thread in threads:
        thread.start()
    return threads


def test_a_busy_machine_counts_every_epoch_and_leaves_nothing_over_what_was_said() -> None:
    screen, said = ToyTerminal(), []
    shown = LiveProgress(Console(file=screen, width=80, height=24, force_terminal=True))
    shown.begin_search([[(1000, 2)]] * 4)
    with shown.shown():
        threads = in_threads(shown, workers=8, jobs=500)
        while any(thread.is_alive() for thread in threads):
            said.append(f"line {len(said)}")
            shown.say(said[-1])
            time.sleep(0.001)
        assert (shown.done, shown.total, shown.failures, len(shown.rewards)) == (8000, 8000, 800, 3200)
        assert not shown.running and all(bracket.finished for bracket in shown.brackets)
        shown.end()
        said.append("done")
        shown.say(said[-1])

    assert screen.seen() == said
    assert len(screen.writers) == 1  # two would meet, if not in each run
    assert screen.has_cursor


def test_lines_of_several_threads_stay_apart_and_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    shown = PlainProgress()
    shown.begin_search([[(100, 2)]] * 4)
    for thread in in_threads(shown, workers=4, jobs=100):
        thread.join()

    lines = capsys.readouterr().out.splitlines()[1:]
    percents = [int(line.split("[")[1].split(" %")[0]) for line in lines]
    assert len(lines) == 400 and all(line.startswith("  bracket ") and line.endswith("]") for line in lines)
    assert percents == sorted(percents) and percents[-1] == 100


# Terminals.


def test_a_run_on_a_terminal_has_a_live_display(project: Project) -> None:
    parent, child = pty.openpty()
    command = [sys.executable, str(ROOT / "main.py"), *project.arguments("--epoch", "27", "--hyper")]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=environment)
    os.close(child)
    screen = b""
    end = time.monotonic() + 240
    while time.monotonic() < end and (process.poll() is None or select.select([parent], [], [], 0)[0]):
        if select.select([parent], [], [], 0.1)[0]:
            try:
                screen += os.read(parent, 65536)
            except OSError:  # the terminal's other side is closed
                break
    os.close(parent)

    assert process.wait(timeout=60) == 0
    text = screen.decode()
    assert "search: hyperband to epoch 27, eta 3, sampler density" in text
    assert "best trials" in text and "/357 epochs" in text
    assert f"results are in {project.results}" in text


SCRIPT = """
import sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}, {here!r}]
from conftest import Clock
from helixband.display import progress
from helixband.display.live import LiveProgress
from test_progress import tell_long_search

progress.time = clock = Clock()
shown = LiveProgress()
with shown.shown():
    shown.say("search: hyperband to epoch 27, eta 3, sampler density")
    tell_long_search(shown, clock, rounds={rounds}, at_work={at_work})
    while not Path({over!r}).exists():
        time.sleep(0.05)
shown.say("the search is over")
time.sleep(60)
"""


class Terminal:
    """A real terminal of a given size, in which a command runs: a tmux server of its own."""

    def __init__(self, folder: str, width: int, height: int, command: list[str]) -> None:
        (Path(folder) / "conf").write_text("set -g status off\n")
        self._tmux = ["tmux", "-u", "-S", f"{folder}/socket", "-f", f"{folder}/conf"]
        self.do("new-session", "-d", "-x", str(width), "-y", str(height), *command)

    def do(self, *command: str) -> str:
        # The environment as Python has it: a library of this process may have set COLUMNS behind its back.
        options: dict[str, Any] = {"env": dict(os.environ), "capture_output": True, "text": True}
        return subprocess.run([*self._tmux, *command], check=True, **options).stdout

    def screen(self, wanted: list[str]) -> list[str]:
        """The lines on the screen and above, without bars and fillings, once they are those wanted."""
        end = time.monotonic() + 60
        while True:
            screen = without_bars(self.do("capture-pane", "-p", "-S", "-"))
            if list(filter(None, screen)) == list(filter(None, wanted)) or time.monotonic() > end:
                return screen
            time.sleep(0.1)


def without_bars(text: str) -> list[str]:
    """A bar's rest is only of another colour than its beginning, which the text of a screen does not tell."""
    return [" ".join(line.translate({ord(part): " " for part in "━╸╺"}).split()) for line in text.split("\n")]


@pytest.fixture
def folder() -> Iterator[str]:
    """A folder with a path short enough for a socket."""
    with tempfile.TemporaryDirectory() as path:
        yield path


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux, a terminal for tests, is not installed")
@pytest.mark.parametrize(
    ("width", "height", "rounds", "at_work", "expected"),
    [(60, 20, 1, 2, NARROW), (80, 24, 1, 2, USUAL), (200, 50, 1, 2, WIDE), (60, 20, 10, 8, MANY_NARROW)],
)
def test_what_a_person_sees_in_a_terminal(
    folder: str, width: int, height: int, rounds: int, at_work: int, expected: str
) -> None:
    over = Path(folder) / "over"
    script = SCRIPT.format(
        tests=str(ROOT / "tests"),
        here=str(Path(__file__).parent),
        rounds=rounds,
        at_work=at_work,
        over=str(over),
    )
    terminal = Terminal(folder, width, height, [sys.executable, "-c", script])
    try:
        said = "search: hyperband to epoch 27, eta 3, sampler density"
        wanted = [said, *without_bars(expected)[1:-1]]
        screen = terminal.screen(wanted)
        assert screen[: len(wanted)] == wanted
        assert not any(screen[len(wanted) :])

        over.touch()
        screen = terminal.screen([wanted[0], "the search is over"])
        assert [line for line in screen if line] == [wanted[0], "the search is over"]
    finally:
        terminal.do("kill-server")
