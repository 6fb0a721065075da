"""The states of a training: in memory after every epoch, on disk every ten seconds and at the end."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Clock

from helixband import checkpoints
from helixband.errors import StorageError
from helixband.results import Trial
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


def test_states_are_written_every_ten_seconds_and_at_the_end(trial: Trial, clock: Clock) -> None:
    states = Keeper(trial)
    found = []
    for epoch in range(1, 8):
        clock.seconds += 4
        states.keep(last(epoch), {"epoch": epoch} if epoch in (1, 5) else None)
        found.append(stored(trial))
    assert found == [(0, 0, 0), (0, 0, 0), (3, 1, 3), (3, 1, 3), (3, 1, 3), (6, 5, 6), (6, 5, 6)]
    states.flush()
    assert stored(trial) == (7, 5, 7)


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
    states.keep(last(2), {"epoch": 2})
    with pytest.raises(StorageError, match=file.name):
        states.flush()
    file.rmdir()
    assert (
        stored(trial)
        == {
            "best_checkpoint": (1, 0, 1),
            "history_file": (2, 2, 0),
            "last_checkpoint": (0, 2, 1),
        }[fails]
    )
