"""The best state of a trial, held against what the journal and the table of epochs say of it."""

import math
from typing import Any

from helixband.errors import StorageError
from helixband.files import exists
from helixband.results import checkpoints
from helixband.results.directory import SINGLE, Results, Trial


def best_state(results: Results, trial: Trial) -> dict[str, Any]:
    """The content of a trial's best checkpoint.

    Raises `StorageError` where it cannot be read, or is of another training than the trial's.
    """
    file = trial.best_checkpoint
    state = checkpoints.load(file, trial.id)
    epoch, reward = state.get("epoch", 0), state.get("reward", math.nan)
    for source, best_epoch, best in (*_of_journal(results, trial, epoch), *_of_table(trial, epoch)):
        if math.isfinite(reward) and math.isfinite(best) and (best_epoch, best) != (epoch, reward):
            raise StorageError(
                f"{file} is not the one of trial {trial.id}: it has the reward {reward} in epoch {epoch}, "
                f"and {source} has {best} in epoch {best_epoch}; put back a copy of it"
            )
    return state


def _of_journal(results: Results, trial: Trial, epoch: int) -> list[tuple[str, int, float]]:
    """What the journal has, if the state is not of a later epoch, as after a training beyond the search."""
    event = None if trial.id == SINGLE else results.journal.last_result(int(trial.id))
    if event is None or epoch > event["trained"]:
        return []
    return [(str(results.journal.path), event["best_epoch"], event["reward"])]


def _of_table(trial: Trial, epoch: int) -> list[tuple[str, int, float]]:
    rewards = trial.rewards() if exists(trial.history_file) else []
    return [(str(trial.history_file), epoch, rewards[epoch - 1])] if 0 < epoch <= len(rewards) else []
