"""What a run tells of itself: the count of epochs, plain lines, and the live display."""

import io
import math
import os
import pty
import select
import subprocess
import sys
import time

import pytest
from conftest import ROOT, Clock, Project
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from helixband import progress
from helixband.progress import LiveProgress, PlainProgress, Progress, planned_epochs
from hyperband import Hyperband, brackets

PLAN = [[(3, 1), (1, 3)], [(2, 3)]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def tell_search(shown: Progress, clock: Clock) -> None:
    """The first jobs of a search: a good trial, a failure, a better trial, and its promotion under way."""
    shown.begin_search(PLAN)
    for name, reward, error in [
        ("0000", -0.5, None),
        ("0001", -math.inf, "RuntimeError: no memory\nand much more"),
        ("0002", -0.25, None),
    ]:
        shown.begin_job(name, 0, 0, 1)
        clock.seconds += 30
        if error is None:
            shown.epoch({"epoch": 1, "train_loss": 1.5, "val_loss": -reward, "reward": reward})
        shown.end_job({"lr": 0.0012345678, "layers": [8, "[bold]"]}, reward, error)
    shown.begin_job("0002", 0, 1, 3)
    clock.seconds += 30
    shown.epoch({"epoch": 2, "train_loss": 1.25, "val_loss": 0.125, "reward": math.nan})


# The count.


@given(max_epochs=st.integers(1, 100), eta=st.integers(2, 5))
def test_a_search_that_takes_its_course_ends_at_its_total(max_epochs: int, eta: int) -> None:
    shown = Progress()
    shown.begin_search(brackets(max_epochs, eta))
    search = Hyperband(max_epochs, eta, suggest=lambda trial: {"x": trial})
    before = 0
    while job := search.ask():
        shown.begin_job(f"{job.trial:04d}", job.bracket, job.rung, job.epochs)
        shown.end_job(job.config, 0.0, None)
        search.tell(job.trial, 0.0)
        assert before <= shown.done <= shown.total
        before = shown.done

    assert shown.done == shown.total == sum(planned_epochs(rungs) for rungs in brackets(max_epochs, eta))


@pytest.mark.parametrize(
    ("rungs", "epochs"), [([(5, 4)], 20), ([(9, 1), (3, 3), (1, 9)], 9 + 3 * 2 + 6), ([(2, 3), (2, 6)], 12)]
)
def test_a_promoted_trial_counts_from_where_it_was(rungs: list[tuple[int, int]], epochs: int) -> None:
    assert planned_epochs(rungs) == epochs


def test_a_training_that_goes_on_counts_what_it_had(clock: Clock) -> None:
    shown = Progress()
    shown.begin_training("single", 6, 10)
    assert (shown.done, shown.total, shown.time_left()) == (6, 10, "")

    clock.seconds = 20
    shown.epoch({"epoch": 7})
    assert (shown.done, shown.time_left()) == (7, "1:00 left")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0:00 left"), (59.6, "1:00 left"), (3599, "59:59 left"), (3600, "1:00:00 left")],
)
def test_time_left_is_told_in_hours_minutes_and_seconds(clock: Clock, seconds: float, told: str) -> None:
    shown = Progress()
    shown.begin_training("single", 0, 2)
    clock.seconds = seconds
    shown.epoch({"epoch": 1})

    assert shown.time_left() == told


def test_the_best_trials_are_the_five_of_the_highest_reward() -> None:
    shown = Progress()
    shown.begin_search([[(7, 1)]])
    for number, reward in enumerate([0.1, 0.7, 0.3, 0.7, 0.2, 0.6, 0.5]):
        shown.begin_job(f"{number:04d}", 0, 0, 1)
        shown.end_job({"x": number}, reward, None)

    assert [(name, reward) for name, reward, _ in shown.best()] == [
        ("0001", 0.7), ("0003", 0.7), ("0005", 0.6), ("0006", 0.5), ("0002", 0.3),
    ]  # fmt: skip


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
    assert progress.show_number(value) == told


def test_a_row_and_a_configuration_are_one_line_each() -> None:
    row = {"epoch": 3, "train_loss": 0.5, "val_auroc": math.nan}

    assert progress.show_row(row) == "train_loss 0.5  val_auroc undefined"
    assert (
        progress.show_config({"lr": 0.00123456, "units": 4, "act": "relu"})
        == "lr=0.001235  units=4  act=relu"
    )


def test_no_hyperparameters_are_called_so() -> None:
    assert progress.show_config({}) == "no hyperparameters"


# Lines.


def test_a_search_is_told_in_a_line_for_each_trial(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    tell_search(PlainProgress(), clock)

    assert capsys.readouterr().out.splitlines() == [
        "  bracket 1: trials: 3 to epoch 1, 1 to epoch 3",
        "  bracket 2: trials: 2 to epoch 3",
        "  bracket 1/2, rung 1/2, trial 0000, epoch 1: reward -0.5  [9 %, 5:00 left]",
        "  bracket 1/2, rung 1/2, trial 0001, epoch 1: failed: RuntimeError: no memory  [18 %, 9:00 left]",
        "  bracket 1/2, rung 1/2, trial 0002, epoch 1: reward -0.25  [27 %, 6:00 left]",
    ]


def test_trials_of_an_earlier_run_have_no_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    shown = PlainProgress()
    shown.begin_search([[(2, 1)]])
    shown.begin_job("0000", 0, 0, 1)
    shown.end_job({}, 0.5, None)

    assert capsys.readouterr().out.splitlines()[-1] == (
        "  bracket 1/1, rung 1/1, trial 0000, epoch 1: reward 0.5  [50 %]"
    )


def test_a_training_is_told_in_a_line_for_each_epoch(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = PlainProgress()
    shown.begin_training("single", 1, 3)
    for epoch in (2, 3):
        clock.seconds += 5
        shown.epoch({"epoch": epoch, "train_loss": 1 / epoch, "val_auroc": math.nan, "reward": -0.5})
    shown.end()
    shown.say("done")

    assert capsys.readouterr().out.splitlines() == [
        "  epoch 2/3  train_loss 0.5  val_auroc undefined  reward -0.5  0:05 left",
        "  epoch 3/3  train_loss 0.3333  val_auroc undefined  reward -0.5  0:00 left",
        "done",
    ]


def test_nothing_is_told_where_quiet(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress.make_progress(quiet=True)
    tell_search(shown, clock)
    shown.say("done")

    assert capsys.readouterr().out == ""


# The live display.


def rendered(shown: LiveProgress, console: Console) -> list[str]:
    """The lines of the display, as they stand on the screen."""
    console.file = screen = io.StringIO()
    console.print(shown._render())
    return [line.rstrip() for line in screen.getvalue().splitlines()]


def test_the_live_display_of_a_search(clock: Clock) -> None:
    console = Console(file=io.StringIO(), width=100)
    shown = LiveProgress(console)
    tell_search(shown, clock)

    lines = rendered(shown, console)

    bars = [" ".join(line.replace("━", "").replace("╸", "").replace("╺", "").split()) for line in lines[:2]]
    assert bars == [
        "search 4/11 epochs 4:40 left",
        "bracket 1/2, rung 2/2, trial 0002 2/3 epochs 1 failed",
    ]
    assert lines[2:] == [
        "train_loss 1.25  val_loss 0.125  reward undefined",
        "best trials  reward  configuration",
        "0002          -0.25  lr=0.001235  layers=[8, '[bold]']",
        "0000           -0.5  lr=0.001235  layers=[8, '[bold]']",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_live_display_fits_any_width_and_parts_no_name_from_its_value(clock: Clock, width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    shown = LiveProgress(console)
    tell_search(shown, clock)
    shown.row |= {"val_a_metric_of_a_long_name": 0.5}

    lines = rendered(shown, console)

    assert max(map(len, lines)) <= min(width, 100)
    assert any("val_a_metric_of_a_long_name 0.5" in line for line in lines)


def test_the_live_display_keeps_its_height_when_a_trial_begins(clock: Clock) -> None:
    console = Console(file=io.StringIO(), width=100)
    shown = LiveProgress(console)
    tell_search(shown, clock)
    before = rendered(shown, console)

    shown.begin_job("0003", 1, 0, 3)

    lines = rendered(shown, console)
    assert len(lines) == len(before) and lines[2] == ""


def test_the_live_display_of_a_training_goes_when_it_ends(clock: Clock) -> None:
    console = Console(file=io.StringIO(), width=80)
    shown = LiveProgress(console)
    assert rendered(shown, console) == [""]

    shown.begin_training("single", 0, 4)
    clock.seconds = 2
    shown.epoch({"epoch": 1, "reward": 0.5})
    first, second = rendered(shown, console)
    assert first.startswith("training ") and first.endswith(" 1/4 epochs  0:06 left")
    assert second == "reward 0.5"

    shown.end()
    assert rendered(shown, console) == [""]


def test_what_is_said_stands_above_the_live_display_word_for_word(clock: Clock) -> None:
    screen = io.StringIO()
    shown = LiveProgress(Console(file=screen, width=40))
    with shown.shown():
        tell_search(shown, clock)
        shown.say("best: [bold]" + "x" * 60)

    assert "best: [bold]" + "x" * 60 + "\n" in screen.getvalue()


def test_a_run_on_a_terminal_has_a_live_display(project: Project) -> None:
    parent, child = pty.openpty()
    command = [sys.executable, str(ROOT / "main.py"), *project.arguments("--epoch", "27", "--hyper")]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=environment)
    os.close(child)
    screen = b""
    end = time.monotonic() + 60
    while time.monotonic() < end and (process.poll() is None or select.select([parent], [], [], 0)[0]):
        if select.select([parent], [], [], 0.1)[0]:
            try:
                screen += os.read(parent, 65536)
            except OSError:  # the terminal's other side is closed
                break
    os.close(parent)

    assert process.wait(timeout=60) == 0
    text = screen.decode()
    assert "search: Hyperband to epoch 27, eta 3" in text
    assert "best trials" in text and "/357 epochs" in text
    assert f"results are in {project.results}" in text


def test_a_prediction_tells_its_pace_and_the_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = progress.PlainProgress()
    plain.begin_windows(500)
    plain.windows(1000, 5000)  # of an earlier run
    clock.seconds = 5
    plain.windows(2000, 5000)
    clock.seconds = 10
    plain.windows(3000, 5000)
    assert capsys.readouterr().out == "  3,000/5,000 windows  [60 %, 0.1 Mb/s, 0:10 left]\n"
