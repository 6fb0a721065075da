"""One trial: what becomes of it, where it ends before its time, and what it leaves."""

import gc
import math
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import untimed
from toys import TOY

from helixband.definition import load_definition
from helixband.errors import StorageError
from helixband.results import checkpoints
from helixband.results.directory import Results, Row
from helixband.search.executors import trial as trials
from helixband.search.executors.task import Outcome, Task
from helixband.search.executors.trial import Trainer
from helixband.training.ended import Ended

CONFIG = {"lr": 0.01, "units": 4, "rewards": [-5.0, -3.0, -4.0, -2.0, -1.0]}

REWARDS = """
class Model(Model):
    def get_hyperband_reward(self, result):
        reward = self.config["rewards"][self.epoch]
        if isinstance(reward, str) and reward != "nan":
            exec(reward)
        return float(reward)
"""

Make = Callable[..., Trainer]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Trainers on one result directory, of definitions whose rewards the configuration tells."""

    def make(extra: str = REWARDS) -> Trainer:
        (tmp_path / "def.py").write_text(TOY + extra)
        args = Namespace(data=str(tmp_path), batch_size=30, seed=0, cpu=True, debug=False)
        return Trainer(load_definition(tmp_path / "def.py"), Results(tmp_path / "results"), args)

    return make


def task(epochs: int, *floors: float, rewards: list[float | str] | None = None) -> Task:
    return Task("0000", {**CONFIG, "rewards": rewards or CONFIG["rewards"]}, epochs, floors)


def ignore(name: str, row: Row) -> None:
    pass


class Told:
    """The rows that `on_epoch` gets, and the trials that they are of."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.names: list[str] = []

    def __call__(self, name: str, row: Row) -> None:
        self.names.append(name)
        self.rows.append(row)


def test_a_trial_tells_its_best_reward_and_how_far_it_got(make: Make) -> None:
    assert make().attempt(task(3), ignore) == Outcome(reward=-3.0, best_epoch=2, epochs=3)
    assert make().attempt(task(4), ignore) == Outcome(reward=-2.0, best_epoch=4, epochs=4)


def test_each_epoch_is_told_once(make: Make) -> None:
    told = Told()
    make().attempt(task(2), told)
    make().attempt(task(4), told)
    assert [row["epoch"] for row in told.rows] == [1, 2, 3, 4]
    assert told.names == ["0000"] * 4


# The floors.


@pytest.mark.parametrize(
    ("floors", "epochs"),
    [
        ((), 5),
        ((-9.0,), 5),
        ((-5.0,), 5),  # as good as its floor
        ((-4.9,), 1),
        ((-9.0, -9.0, -3.0), 5),  # the best so far counts, not the last
        ((-9.0, -9.0, -2.5), 3),
        ((-math.inf, -math.inf, -math.inf, -1.0), 4),
    ],
)
def test_a_trial_ends_where_its_best_reward_is_below_the_floor(
    make: Make, floors: tuple[float, ...], epochs: int
) -> None:
    trainer = make()
    outcome = trainer.attempt(task(5, *floors), ignore)
    rewards = CONFIG["rewards"][:epochs]
    ended = Ended.EPOCHS if epochs == 5 else Ended.HOPELESS
    assert outcome == Outcome(max(rewards), 1 + rewards.index(max(rewards)), epochs, ended=ended)
    trial = trainer.results.trial("0000")
    assert (trial.epochs(), checkpoints.load(trial.last_checkpoint)["epoch"]) == (epochs, epochs)


def test_a_trial_that_was_stopped_and_is_asked_for_again_stays_where_it_is(make: Make) -> None:
    stopped = make().attempt(task(5, -9.0, -2.5), ignore)
    told = Told()
    assert make().attempt(task(5, -9.0, -2.5), told) == stopped
    assert told.rows == []


def test_a_trial_with_floors_goes_on_as_one_without(make: Make) -> None:
    trainer = make()
    trainer.attempt(task(2), ignore)
    trainer.attempt(task(4, -9.0, -9.0, -9.0, -9.0), ignore)
    halves = untimed(trainer.results.trial("0000").history_file.read_text())
    trainer.results.forget_trials()
    trainer.attempt(task(4), ignore)
    assert untimed(trainer.results.trial("0000").history_file.read_text()) == halves


def test_a_model_trained_under_floors_is_given_back(make: Make) -> None:
    model = make().train("0000", CONFIG, 5, ignore, floors=(-9.0, -1.0))
    assert (model.epoch, model.best_reward) == (2, -3.0)


# Failures.


def test_a_failure_tells_its_error_and_the_epochs_before_it(make: Make) -> None:
    trainer = make()
    outcome = trainer.attempt(task(5, rewards=[-5.0, -4.0, "raise ValueError('no more')"]), ignore)
    assert outcome == Outcome(-math.inf, 0, 2, "ValueError: no more", ended=Ended.ERROR)
    assert "raise ValueError" not in (outcome.error or "")
    assert "in get_hyperband_reward" in trainer.results.trial("0000").error_file.read_text()


def test_a_definition_that_exits_has_failed(make: Make) -> None:
    assert make().attempt(task(1, rewards=["raise SystemExit(3)"]), ignore).error == "SystemExit: 3"


def test_rewards_that_are_never_finite_are_a_failure(make: Make) -> None:
    outcome = make().attempt(task(2, rewards=["nan", "nan"]), ignore)
    short = "the reward was nan, and finite in no epoch of 2"
    assert outcome == Outcome(-math.inf, 0, 2, short, ended=Ended.NAN)


def test_an_infinite_reward_among_others_is_a_failure_of_its_epoch(make: Make) -> None:
    infinite = REWARDS.replace("return float(reward)", "return float('inf') if reward == 0 else reward")
    outcome = make(infinite).attempt(task(3, rewards=[-5.0, 0.0, -4.0]), ignore)
    short = "the reward of epoch 2 was inf; it has to be finite, to be compared"
    assert outcome == Outcome(-math.inf, 0, 3, short, ended=Ended.NAN)


def test_the_error_of_an_attempt_goes_when_another_succeeds(make: Make) -> None:
    trainer = make()
    trainer.attempt(task(2, rewards=[-5.0, "raise ValueError"]), ignore)
    assert trainer.results.trial("0000").error_file.exists()
    trainer.attempt(task(2), ignore)
    assert not trainer.results.trial("0000").error_file.exists()


def test_what_cannot_be_stored_is_not_the_trials_fault(make: Make) -> None:
    trainer = make()
    trainer.results.trial("0000").last_checkpoint.mkdir(parents=True)
    with pytest.raises(StorageError, match=r"last\.pt"):
        trainer.attempt(task(1), ignore)


# Memory.


@pytest.mark.parametrize(
    "raised",
    [
        "raise MemoryError",
        "raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')",
        "torch.empty(1 << 55)",
        "np.empty(1 << 55)",
        "raise RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate')",
    ],
)
def test_running_out_of_memory_is_a_failure_of_its_own_kind(make: Make, raised: str) -> None:
    outcome = make().attempt(task(2, rewards=[-5.0, raised]), ignore)
    assert (outcome.reward, outcome.epochs, outcome.out_of_memory) == (-math.inf, 1, True)


@pytest.mark.parametrize(
    "raised", ["raise RuntimeError('shapes differ')", "raise ValueError('out of memory')"]
)
def test_another_failure_is_not_one_of_memory(make: Make, raised: str) -> None:
    assert not make().attempt(task(1, rewards=[raised]), ignore).out_of_memory


def test_the_memory_of_a_trial_that_ran_out_is_free_when_it_is_told(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def models() -> list[Any]:
        return [found for found in gc.get_objects() if type(found).__name__ == "Model"]

    freed: list[int] = []
    others = models()  # of other tests, held so that none goes in between
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(len(models()) - len(others)))
    assert make().attempt(task(1, rewards=["raise MemoryError"]), ignore).out_of_memory
    assert freed == [0]


def test_a_task_is_json() -> None:
    assert trials.Task(**{"name": "0000", "config": {}, "epochs": 3}).floors == ()
