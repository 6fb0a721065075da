"""What training keeps of a model, and what it leaves to the definition."""

import gc
import itertools
import weakref
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Project
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

from base_model import BaseModel, RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.errors import DataError, DefinitionError, TrainingError
from helixband.results.directory import Results, Trial

X = np.random.default_rng(0).random((40, 3), dtype=np.float32)
Y = X.sum(axis=1)


class Model(RegressionModel):
    def init_model(self) -> None:
        network = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.Linear(8, 1))
        super().init_model(network, optimizer=optim.Adam(network.parameters(), lr=0.01))


def data(y: Any = Y) -> tuple[MatrixBatchGenerator, MatrixBatchGenerator]:
    return MatrixBatchGenerator(X, y, 8, shuffle=True), MatrixBatchGenerator(X, y)


def make(kind: type[BaseModel] = Model, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    np.random.seed(seed)
    return kind({}, Namespace(cpu=True))


# Memory.


@pytest.mark.parametrize("fails", [False, True])
def test_a_models_memory_is_free_when_its_last_user_lets_go_of_it(fails: bool) -> None:
    class Failing(Model):
        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            if fails and self.steps == 7:
                raise ValueError("at this step")
            return super().train_step(x, y)

    make().fit(*data(), 1)  # torch keeps some frames of what uses an optimizer first in a process
    gc.collect()
    gc.disable()
    try:
        model = make(Failing)
        network = weakref.ref(model.network)
        try:
            model.fit(*data(), 2)
        except ValueError:
            assert fails
        del model
        assert network() is None
    finally:
        gc.enable()


# What a definition may do.


def test_a_definition_may_replace_its_optimizer_and_scheduler() -> None:
    class Replacing(Model):
        def init_model(self) -> None:
            super().init_model()
            self.optimizer = optim.SGD(self.network.parameters(), lr=0.04)
            self.scheduler = optim.lr_scheduler.StepLR(self.optimizer, 1, gamma=0.5)

        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            if self.steps == 6:  # in the second epoch
                self.optimizer = optim.SGD(self.network.parameters(), lr=0.08)
                self.scheduler = optim.lr_scheduler.StepLR(self.optimizer, 1, gamma=0.5)
            return super().train_step(x, y)

    history = make(Replacing).fit(*data(), 3)
    assert [row["lr"] for row in history] == [0.04, 0.08, 0.04]


def test_counters_can_be_set() -> None:
    class Counting(Model):
        def init_model(self) -> None:
            self.history, self.epoch, self.best_epoch = [], 0, 0
            super().init_model()

        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            self.steps += 1  # a second update
            return super().train_step(x, y)

    model = make(Counting)
    model.fit(*data(), 2)
    assert (model.steps, model.epoch, len(model.history)) == (20, 2, 2)


def test_the_one_name_that_is_taken_is_told() -> None:
    class Taking(Model):
        def init_model(self) -> None:
            self.engine = "of a car"
            super().init_model()

    with pytest.raises(
        DefinitionError, match=r"Taking sets self\.engine, which is Helixband's: use another name"
    ):
        make(Taking)


def test_what_a_step_does_to_its_labels_does_not_change_its_weight() -> None:
    class Changing(Model):
        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            rows = torch.tensor(float(len(y)))
            y.unsqueeze_(0)
            return rows, self.network(x).detach().squeeze(1)

    history = make(Changing).fit(MatrixBatchGenerator(X[:12], Y[:12], 8), data()[1], 1)
    assert history[0]["train_loss"] == (8 * 8 + 4 * 4) / 12


@pytest.mark.parametrize("loss", [torch.ones(1), torch.ones(8), 1.0])
def test_a_loss_that_is_no_scalar_tensor_is_refused(loss: Any) -> None:
    class Odd(Model):
        def train_step(self, x: Any, y: Any) -> tuple[Any, Any]:
            return loss, self.network(x).detach().squeeze(1)

        def eval_step(self, x: Any, y: Any) -> tuple[Any, Any]:
            return loss, self.network(x).detach().squeeze(1)

    with pytest.raises(
        DefinitionError, match="the step returned .*; it has to be a scalar tensor, the mean loss"
    ):
        make(Odd).fit(*data(), 1)
    with pytest.raises(DefinitionError, match="the step returned"):
        make(Odd).evaluate(data()[1])


def test_an_epoch_in_which_nothing_counts_is_told() -> None:
    class Empty:
        def __iter__(self) -> Iterator[tuple[Any, Any]]:
            yield X[:0], Y[:0]

    with pytest.raises(TrainingError, match="no example counts for the loss: all batches are empty"):
        make().fit(Empty(), data()[1], 1)


def test_a_users_generator_is_closed_before_the_error_is_seen() -> None:
    told: list[str] = []

    class Closing:
        def __iter__(self) -> Iterator[tuple[Any, Any]]:
            try:
                for start in range(0, 40, 8):
                    yield X[start : start + 8], Y[start : start + 8]
            finally:
                told.append("closed")

    class Failing(Model):
        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            raise ValueError("at once")

    with pytest.raises(ValueError, match="at once"):
        make(Failing).fit(Closing(), data()[1], 1)
    assert told == ["closed"]


def test_the_command_uses_a_definitions_own_fit(project: Project) -> None:
    project.define(
        "\nclass Model(Model):\n"
        "    def fit(self, *arguments, **named):\n"
        "        nn.init.zeros_(self.network[0].weight)\n"
        "        print('my own fit')\n"
        "        return super().fit(*arguments, **named)\n"
    )
    assert "my own fit" in project.run("--epoch", "2").out
    other = str(project.path / "other")
    assert "my own fit" in project.run("--hyper", "--epoch", "1", "--trials", "2", "--result", other).out


# Validation has random numbers of its own.


class Noise:
    """A validation set that is drawn anew each time, from a generator of its own and from a global one."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(7)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        yield X + self.rng.normal(size=X.shape).astype(np.float32), Y + np.random.normal(size=40).astype("f4")


def loader() -> Any:
    dataset = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    return DataLoader(
        dataset, 8, sampler=torch.utils.data.RandomSampler(dataset, True, 24, torch.Generator())
    )


def shuffled() -> Any:
    return MatrixBatchGenerator(X, np.random.default_rng(1).random(40), 8, shuffle=True)


@pytest.mark.parametrize("val", [Noise, loader, shuffled])
def test_a_validation_that_draws_is_the_same_after_an_interruption(val: Any, tmp_path: Path) -> None:
    class LastBatch(Model):
        def eval_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
            return {"first": float(y_true[0]), "draw": float(np.random.random())}

    whole = make(LastBatch).fit(data()[0], val(), 4)
    trial = Results(tmp_path).trial("0000")
    for epochs in (2, 3, 4):
        halves = make(LastBatch).fit(data()[0], val(), epochs, trial)
    assert [row["val_first"] for row in halves] == [row["val_first"] for row in whole]
    assert [row["val_draw"] for row in halves] == [row["val_draw"] for row in whole]
    assert len({row["val_draw"] for row in whole}) == 4


def test_a_validation_moves_no_random_numbers_of_the_training() -> None:
    class Drawing(Model):
        def train_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
            return {"draw": float(np.random.random())}

    quiet, noisy = make(Drawing).fit(*data(), 3), make(Drawing).fit(data()[0], Noise(), 3)
    assert [row["train_draw"] for row in quiet] == [row["train_draw"] for row in noisy]
    assert [row["train_loss"] for row in quiet] == [row["train_loss"] for row in noisy]


def test_a_generator_that_training_and_validation_share_goes_on_where_training_left_it() -> None:
    shared = torch.Generator()
    dataset = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    train, val = (DataLoader(dataset, 8, shuffle=True, generator=shared) for _ in range(2))
    alone = DataLoader(dataset, 8, shuffle=True, generator=torch.Generator())
    together, apart = make().fit(train, val, 3), make().fit(alone, data()[1], 3)
    assert [row["train_loss"] for row in together] == [row["train_loss"] for row in apart]


# What a checkpoint cannot hold, and what it has to.


class Cycling:
    """Five batches an epoch of an iterator that never ends."""

    def __init__(self) -> None:
        self.batches = itertools.cycle(
            [(X[start : start + 8], Y[start : start + 8]) for start in range(0, 40, 8)]
        )

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return itertools.islice(self.batches, 3)


class KeptLoader:
    """Three steps an epoch of one iteration over a DataLoader."""

    def __init__(self) -> None:
        self.loader = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), 8)
        self.iterator: Any = None

    def __iter__(self) -> Iterator[Any]:
        self.iterator = self.iterator or iter(self.loader)
        return itertools.islice(self.iterator, 3)


@pytest.mark.parametrize("kind", [Cycling, KeptLoader])
def test_an_iterator_that_goes_on_is_refused_where_the_training_is_kept(kind: Any, tmp_path: Path) -> None:
    message = rf"the training generator, a {kind.__name__}, keeps a .* whose place no checkpoint can hold"
    with pytest.raises(DefinitionError, match=message):
        make().fit(kind(), data()[1], 2, Results(tmp_path).trial("0000"))
    with pytest.raises(DefinitionError, match="the validation generator"):
        make().fit(data()[0], kind(), 2, Results(tmp_path).trial("0001"))


def test_an_iterator_that_is_at_its_end_is_left_alone(tmp_path: Path) -> None:
    class Ended(KeptLoader):
        def __iter__(self) -> Iterator[Any]:
            self.iterator, self.rows = iter(self.loader), iter(list(range(3)))
            list(self.rows)
            return self.iterator

    make().fit(Ended(), Ended(), 2, Results(tmp_path).trial("0000"))


def test_gradients_that_wait_for_the_next_batch_are_kept(tmp_path: Path) -> None:
    class Accumulating(Model):
        """Updates after each third batch, of five an epoch."""

        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            self.engine.modes.train()
            output = self.forward(x)
            loss = self.compute_loss(output["y_pred_loss"], y)
            loss.backward()
            if self.steps % 3 == 0:
                self.optimizer.step()
                self.optimizer.zero_grad()
            return loss.detach(), output["y_pred"].detach()

    whole = make(Accumulating).fit(*data(), 4)
    trial = Results(tmp_path).trial("0000")
    for epochs in (1, 2, 4):
        halves = make(Accumulating).fit(*data(), epochs, trial)
    assert halves == whole


def test_random_generators_that_are_kept_on_the_model_go_on(tmp_path: Path) -> None:
    class Own(Model):
        def init_model(self) -> None:
            self.rng, self.others = np.random.default_rng(3), [torch.Generator().manual_seed(4)]
            super().init_model()

        def train_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
            return {"draw": self.rng.random() + float(torch.rand((), generator=self.others[0]))}

    whole = make(Own).fit(*data(), 4)
    trial = Results(tmp_path).trial("0000")
    for epochs in (1, 2, 4):
        halves = make(Own).fit(*data(), epochs, trial)
    assert halves == whole


def test_the_table_has_the_learning_rate_and_the_seconds(tmp_path: Path) -> None:
    trial: Trial = Results(tmp_path).trial("0000")
    make().fit(*data(), 1, trial)
    header, row = trial.history_file.read_text().splitlines()
    assert header == "epoch,train_loss,train_mse,val_loss,val_mse,val_pearson,reward,lr,seconds"
    assert row.split(",")[-2] == "0.01"
    assert 0 < float(row.split(",")[-1]) < 60


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_labels_that_are_not_finite_are_told_whatever_generator_they_are_from(value: float) -> None:
    labels = torch.from_numpy(Y.copy())
    labels[17] = value
    val = DataLoader(TensorDataset(torch.from_numpy(X), labels), 8)
    message = f"row 17 of the labels of DataLoader holds {value}, and the loss of the set is not finite"
    with pytest.raises(DataError, match=message):
        make().evaluate(val)
    with pytest.raises(DataError, match=message):
        make().fit(data()[0], val, 1)


@pytest.mark.parametrize(
    ("x", "hint"),
    [
        (np.zeros((4, 20), np.uint8), "indexes of letters, which OneHot"),
        (np.zeros((4, 4, 20), np.uint8), "networks compute with float32"),
        (np.zeros((4, 4, 20), np.int64), "networks compute with float32"),
        (np.zeros((4, 20), np.float32), ""),
    ],
)
def test_a_hint_is_given_for_the_kind_of_x(x: Any, hint: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        make().predict(x)
    assert hint in caught.value.__notes__[0]
    assert hint or caught.value.__notes__[0].endswith("torch.float32")
