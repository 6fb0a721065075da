"""The states of a training: in memory after every epoch, on disk at the end and wherever that is cheap."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Clock

from helixband.errors import StorageError
from helixband.results import checkpoints
from helixband.results.directory import Trial
from helixband.training import keeper
from helixband.training.keeper import Keeper


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(keeper, "time", clock)
    return clock


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path / "0000")


def last(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "history": [{"epoch": number} for number in range(1, epoch + 1)]}


def stored(trial: Trial) -> tuple[int, int, int]:
    """The epochs of the last state, of the best one and of the history, 0 where there is none."""
    files = (trial.last_checkpoint, trial.best_checkpoint)
    kept = [checkpoints.load(file)["epoch"] if file.exists() else 0 for file in files]
    return kept[0], kept[1], trial.epochs()


def kept(trial: Trial, clock: Clock, seconds: float, epochs: int) -> list[int]:
    """The epochs after which a state was written, where each epoch takes so many seconds."""
    states, writes = Keeper(trial), []
    for epoch in range(1, epochs + 1):
        clock.seconds += seconds
        states.keep(last(epoch), None)
        if stored(trial)[0] == epoch:
            writes.append(epoch)
    return writes


def writing_takes(seconds: float, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    save = checkpoints.save_together

    def slow(*arguments: Any) -> None:
        save(*arguments)
        clock.seconds += seconds

    monkeypatch.setattr(checkpoints, "save_together", slow)


def test_what_is_costly_is_written_every_ten_seconds_and_at_the_end(
    trial: Trial, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "FIRST_COST", 1.0)
    writing_takes(0.5, clock, monkeypatch)
    states = Keeper(trial)
    found = []
    for epoch in range(1, 8):
        clock.seconds += 4
        states.keep(last(epoch), {"epoch": epoch} if epoch in (1, 5) else None)
        found.append(stored(trial))
    assert found == [(0, 0, 0), (0, 0, 0), (3, 1, 3), (3, 1, 3), (3, 1, 3), (6, 5, 6), (6, 5, 6)]
    states.flush()
    assert stored(trial) == (7, 5, 7)


def test_writing_takes_a_fiftieth_of_the_time(
    trial: Trial, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first after half a second, as its cost is not known; then after 50 times 0.031 s.
    writing_takes(0.031, clock, monkeypatch)
    assert kept(trial, clock, seconds=0.125, epochs=30) == [4, 17, 30]


def test_where_writing_is_quick_against_an_epoch_each_is_written(
    trial: Trial, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing_takes(0.03, clock, monkeypatch)
    assert kept(trial, clock, seconds=1.6, epochs=5) == [1, 2, 3, 4, 5]


def test_a_flush_without_a_new_state_writes_nothing(trial: Trial, clock: Clock) -> None:
    states = Keeper(trial)
    states.flush()
    assert not trial.path.exists()
    states.keep(last(1), {"epoch": 1})
    states.flush()
    trial.last_checkpoint.unlink()
    states.flush()
    assert not trial.last_checkpoint.exists()


def test_without_a_trial_nothing_is_written(tmp_path: Path, clock: Clock) -> None:
    states = Keeper(None)
    clock.seconds += 100
    states.keep(last(1), {"epoch": 1})
    states.flush()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fails", ["best_checkpoint", "history_file", "last_checkpoint"])
def test_wherever_writing_ends_the_last_state_is_no_newer_than_the_best_nor_older_than_the_history(
    trial: Trial, clock: Clock, fails: str
) -> None:
    # From an older last state the training comes to the same best again, and a short history is mended.
    states = Keeper(trial)
    states.keep(last(1), {"epoch": 1})
    states.flush()
    file = getattr(trial, fails)
    file.unlink()
    file.mkdir()  # where a folder is, no file can be written
    with pytest.raises(StorageError, match=file.name):
        states.keep(last(2), {"epoch": 2})
    file.rmdir()
    assert (
        stored(trial)
        == {
            "best_checkpoint": (1, 0, 1),
            "history_file": (2, 2, 0),
            "last_checkpoint": (0, 2, 1),
        }[fails]
    )


# The latest epochs.


def test_the_states_of_the_latest_epochs_are_kept_if_asked_for(trial: Trial, clock: Clock) -> None:
    states, seen = Keeper(trial, latest=2), []
    for epoch in range(1, 5):
        clock.seconds += 60
        states.keep(last(epoch), {"epoch": 1} if epoch == 1 else None)
        seen.append(sorted(file.name for file in trial.last_checkpoint.parent.iterdir()))
    assert seen == [
        ["best.pt", "epoch-0001.pt", "last.pt"],
        ["best.pt", "epoch-0001.pt", "epoch-0002.pt", "last.pt"],
        ["best.pt", "epoch-0002.pt", "epoch-0003.pt", "last.pt"],
        ["best.pt", "epoch-0003.pt", "epoch-0004.pt", "last.pt"],
    ]
    assert checkpoints.load(trial.epoch_checkpoint(3))["epoch"] == 3


def test_of_epochs_too_short_to_be_written_the_latest_are_kept_at_the_end(trial: Trial, clock: Clock) -> None:
    states = Keeper(trial, latest=3)
    for epoch in range(1, 8):
        states.keep(last(epoch), None)
    assert not trial.last_checkpoint.exists()
    states.flush()
    assert [epoch for epoch in range(1, 9) if trial.epoch_checkpoint(epoch).exists()] == [5, 6, 7]


def test_a_training_that_goes_on_removes_what_is_no_longer_among_the_latest(
    trial: Trial, clock: Clock
) -> None:
    for epochs, latest in (((1, 2, 3), 3), ((4,), 2)):
        states = Keeper(trial, latest)
        for epoch in epochs:
            states.keep(last(epoch), None)
        states.flush()
    assert [epoch for epoch in range(1, 9) if trial.epoch_checkpoint(epoch).exists()] == [3, 4]
