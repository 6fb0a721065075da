"""Training to epoch 2 and then, by another model from the files, to epoch 4 is training to epoch 4.

For whatever a definition may bring that has a state of its own.
"""

import enum
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from base_model import BaseModel, RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.errors import DefinitionError, StorageError
from helixband.randomness import seed_everything
from helixband.results.directory import Results
from helixband.training.schedules import LinearSchedule, Schedule

X = np.random.default_rng(0).random((40, 3), dtype=np.float32)
Y = X.sum(axis=1, keepdims=True)
DATASET = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


class Plain(RegressionModel):
    def init_model(self) -> None:
        network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
        super().init_model(network, optimizer=optim.Adam(network.parameters(), lr=0.01))


class Scheduled(RegressionModel):
    def init_model(self) -> None:
        network = nn.Linear(3, 1)
        optimizer = optim.SGD(network.parameters(), lr=self.config["lr"], momentum=0.9)
        changes = isinstance(self.config["lr"], Schedule)
        scheduler = None if changes else optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
        super().init_model(network, optimizer=optimizer, scheduler=scheduler)


class Uncertain(nn.Module):
    """A criterion that learns, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(1))
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        if self.training:
            self.get_buffer("calls").add_(1)
        error = (input - target).square().mean()
        return (error / self.log_variance.exp() + self.log_variance + self.get_buffer("calls") / 100).mean()


class LearningCriterion(BaseModel):
    def init_model(self) -> None:
        network, criterion = nn.Linear(3, 1), Uncertain()
        parameters = [*network.parameters(), *criterion.parameters()]
        super().init_model(network, criterion, optim.SGD(parameters, lr=0.05))


class Averaging(Plain):
    """Keeps an average of its weights, a counter, a tensor and an array of its own, and trains by them."""

    def init_model(self) -> None:
        super().init_model()
        self.average = optim.swa_utils.AveragedModel(self.network)
        self.steps_seen = 0
        self.momentum = torch.zeros(1, device=self.device)
        self.seen = np.zeros(2)

    def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        self.steps_seen += 1
        self.momentum.mul_(0.9).add_(x.mean())
        self.seen = self.seen + self.steps_seen
        loss, y_pred = super().train_step(x * (1 + self.momentum) / self.steps_seen + self.seen[0] / 1000, y)
        self.average.update_parameters(self.network)
        return loss, y_pred

    def eval_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
        weight = next(iter(self.average.parameters())).detach().sum().item()
        return {"average": weight, "steps_seen": self.steps_seen}


class Wrapped:
    """Ours within the user's, which augments by random numbers of its own."""

    def __init__(self, rng: Any) -> None:
        self.inner = {"batches": MatrixBatchGenerator(X, Y, 10, shuffle=True)}
        self.rng = rng

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for x, y in self.inner["batches"]:
            yield x + 0.1 * np.float32(self.rng.random()), y


class Kept:
    """Keeps its random numbers where none are looked for, and hands them over itself."""

    def __init__(self) -> None:
        self.state = np.random.RandomState(0).get_state(legacy=False)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        rng = np.random.RandomState()
        rng.set_state(self.state)
        for start in rng.permutation(4) * 10:
            yield X[start : start + 10], Y[start : start + 10]
        self.state = rng.get_state(legacy=False)

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state["state"]


def own_generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def weighted() -> DataLoader[Any]:
    sampler = WeightedRandomSampler([1.0] * 20 + [3.0] * 20, 40, generator=own_generator())
    return DataLoader(DATASET, 10, sampler=sampler)


GENERATORS: dict[str, Callable[[], Any]] = {
    "ours": lambda: MatrixBatchGenerator(X, Y, 10, shuffle=True),
    "DataLoader": lambda: DataLoader(DATASET, 10, shuffle=True),
    "DataLoader with workers": lambda: DataLoader(DATASET, 10, shuffle=True, num_workers=1),
    "DataLoader with a generator": lambda: DataLoader(DATASET, 10, shuffle=True, generator=own_generator()),
    "sampler with a generator": weighted,
    "ours within the user's, numpy": lambda: Wrapped(np.random.default_rng(2)),
    "ours within the user's, MT19937": lambda: Wrapped(np.random.RandomState(2)),
    "ours within the user's, random": lambda: Wrapped(random.Random(2)),
    "the user's with a state": Kept,
}
MODELS = {
    "plain": (Plain, {}),
    "a scheduler": (Scheduled, {"lr": 0.1}),
    "a schedule": (Scheduled, {"lr": LinearSchedule(start=0.1, end=0.01, duration=16, unit="step")}),
    "a criterion that learns": (LearningCriterion, {}),
    "attributes with a state": (Averaging, {}),
}


@pytest.mark.parametrize(
    ("generator", "model"),
    [(generator, "plain") for generator in GENERATORS]
    + [("ours", model) for model in MODELS if model != "plain"],
)
def test_going_on_from_the_files_is_not_having_stopped(tmp_path: Path, generator: str, model: str) -> None:
    kind, config = MODELS[model]
    whole, parts = Results(tmp_path).trial("whole"), Results(tmp_path).trial("parts")
    val = MatrixBatchGenerator(X, Y)

    def train(trial: Any, epochs: int) -> BaseModel:
        torch.manual_seed(0)
        np.random.seed(0)
        model = kind(config)
        model.fit(GENERATORS[generator](), val, epochs, trial)
        return model

    straight = train(whole, 4)
    train(parts, 2)
    continued = train(parts, 4)

    assert continued.history == straight.history
    assert len({row["train_loss"] for row in straight.history}) == 4
    assert continued.evaluate(val) == straight.evaluate(val)
    for left, right in zip(straight.network.parameters(), continued.network.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_loaded_model_reads_schedules_as_of_its_best_epoch(tmp_path: Path) -> None:
    class Watching(Scheduled):
        def eval_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
            return {"lr": float(self.config["lr"])}

        def get_hyperband_reward(self, result: Any) -> float:
            return self.epoch == 2  # the third

    config = {"lr": LinearSchedule(start=0.4, end=0.0, duration=4)}
    trial, val = Results(tmp_path).trial("0"), MatrixBatchGenerator(X, Y)
    trained = Watching(config)
    trained.fit(MatrixBatchGenerator(X, Y, 10), val, 4, trial)
    loaded = Watching(config)
    loaded.load(trial.best_checkpoint)
    assert trained.evaluate(val)["lr"] == loaded.evaluate(val)["lr"] == pytest.approx(0.2)


def test_a_history_that_a_kill_left_behind_is_mended(tmp_path: Path) -> None:
    trial, val = Results(tmp_path).trial("0"), MatrixBatchGenerator(X, Y)
    Plain().fit(val, val, 2, trial)
    whole = trial.history_file.read_text()
    trial.write_history([])
    Plain().fit(val, val, 2, trial)
    assert trial.history_file.read_text() == whole


class Late(Plain):
    """Makes what has a state while it trains."""

    def init_model(self) -> None:
        super().init_model()
        self.average: Any = None

    def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        self.average = self.average or optim.swa_utils.AveragedModel(self.network)
        self.last_mean = float(x.mean())  # a number may come late
        return super().train_step(x, y)


class LateRandom:
    rng: Any = None

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        self.rng = self.rng or np.random.default_rng(0)
        yield X + np.float32(self.rng.random()), Y


def test_what_gets_a_state_too_late_is_refused(tmp_path: Path) -> None:
    val = MatrixBatchGenerator(X, Y)
    with pytest.raises(
        DefinitionError, match=r"self.average became a AveragedModel in training; make it in init"
    ):
        Late().fit(val, val, 1)

    trial = Results(tmp_path).trial("0")
    Plain().fit(LateRandom(), val, 1, trial)
    with pytest.raises(
        StorageError, match=r"LateRandom: it holds the random numbers \[\], and held \['Generator'\]"
    ):
        Plain().fit(LateRandom(), val, 2, trial)


class Swapped(Plain):
    """Takes its layer for another one, and leaves the state of the old one in the optimizer."""

    def on_epoch_end(self, row: Any) -> None:
        self.network = nn.Linear(3, 1)
        self.optimizer.param_groups[0]["params"] = list(self.network.parameters())


def test_a_state_of_the_optimizer_that_belongs_to_no_parameter_is_refused() -> None:
    val = MatrixBatchGenerator(X, Y)
    with pytest.raises(
        DefinitionError,
        match="the optimizer holds the state of a parameter that is in none of its param_groups",
    ):
        Swapped().fit(val, val, 2)


class Changed(Plain):
    """Changes its network after the second epoch."""

    def __init__(self, change: Callable[[nn.Module], Any]) -> None:
        super().__init__()
        self._change = change

    def on_epoch_end(self, row: Any) -> None:
        if row["epoch"] == 2:
            self._change(self.network)


def grow(network: nn.Module) -> None:
    network.get_submodule("1").register_buffer("running_mean", torch.zeros(9))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda network: prune.l1_unstructured(network[0], "weight", 0.5),
            r"has 0.weight_mask\[8, 3\] and 0.weight_orig\[8, 3\] in place of 0.weight\[8, 3\]; make them",
        ),
        (
            lambda network: network.append(nn.Linear(1, 1, bias=False)),
            r"the network has 4.weight\[1, 1\] in place of none; make them in init_model",
        ),
        (
            lambda network: network[3].register_parameter("bias", None),
            r"the network has none in place of 3.bias\[1\]",
        ),
    ],
)
def test_a_network_that_no_new_one_could_go_on_from_is_refused_at_the_end_of_its_epoch(
    change: Callable[[nn.Module], Any], told: str
) -> None:
    val, rows = MatrixBatchGenerator(X, Y), []
    with pytest.raises(DefinitionError, match=told):
        Changed(change).fit(val, val, 4, on_epoch=rows.append)
    assert [row["epoch"] for row in rows] == [1]


class Growing(nn.Module):
    """Remembers each batch in a buffer, and loads one of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 1))
        self.register_buffer("seen", torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen = torch.cat([self.seen, x.mean()[None]])
        return x @ self.weight + self.seen.sum()

    def _load_from_state_dict(self, state: Any, prefix: str, *others: Any) -> None:
        self.seen = torch.zeros_like(state[f"{prefix}seen"])
        super()._load_from_state_dict(state, prefix, *others)


class Remembering(nn.Linear):
    """Has one entry more in its state when it is trained, and passes over it as it is loaded."""

    def __init__(self) -> None:
        super().__init__(3, 1)
        self.register_buffer("largest", torch.tensor(0.0))
        self._register_state_dict_hook(self._add)
        self.register_load_state_dict_post_hook(lambda module, keys: keys.unexpected_keys.clear())

    @staticmethod
    def _add(module: nn.Module, state: Any, prefix: str, *others: Any) -> None:
        if module.get_buffer("largest").ndim:
            state[f"{prefix}note"] = torch.ones(2)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.largest = x.max()[None]  # a vector, which torch loads as the number that it was
        return super().forward(x)


class WithRemembering(RegressionModel):
    def init_model(self) -> None:
        network = Remembering()
        super().init_model(network, optimizer=optim.SGD(network.parameters(), lr=0.01))


class WithGrowing(RegressionModel):
    def init_model(self) -> None:
        network = Growing()
        super().init_model(network, optimizer=optim.SGD(network.parameters(), lr=0.01))


class WithMasks(Plain):
    """Prunes more after each epoch, with the masks made at first."""

    def init_model(self) -> None:
        super().init_model()
        prune.identity(self.network[0], "weight")
        self.optimizer = optim.SGD(self.network.parameters(), lr=0.01)

    def on_epoch_end(self, row: Any) -> None:
        prune.l1_unstructured(self.network[0], "weight", 0.2)


@pytest.mark.parametrize("kind", [WithGrowing, WithMasks, WithRemembering])
def test_a_network_that_loads_what_it_became_goes_on(kind: type[BaseModel], tmp_path: Path) -> None:
    val, trial = MatrixBatchGenerator(X, Y, 10), Results(tmp_path).trial("0")
    seed_everything(0)
    whole = kind().fit(val, val, 4, seed=0)
    seed_everything(0)
    kind().fit(val, val, 2, trial, seed=0)
    again = kind().fit(val, val, 4, trial, seed=0)
    assert [row["val_loss"] for row in again] == [row["val_loss"] for row in whole]


class Odd(Plain):
    """Keeps what a checkpoint does not: it trains as if it were not there."""

    def init_model(self) -> None:
        super().init_model()
        self.kind = optim.Adam
        self.names = np.array(["a", "b"])
        self.big_endian = np.arange(3, dtype=">f4")
        self.expanded = torch.zeros(1).expand(3)
        self.function = lambda: None
        self.colour = Colour.RED


class Colour(int, enum.Enum):
    RED = 1


def test_attributes_without_a_state_do_not_disturb(tmp_path: Path) -> None:
    trial, val = Results(tmp_path).trial("0"), MatrixBatchGenerator(X, Y)
    Odd().fit(val, val, 1, trial)
    model = Odd()
    model.fit(val, val, 2, trial)
    assert model.colour is Colour.RED
    assert model.big_endian.tolist() == [0, 1, 2]


class Held:
    """Objects that random numbers are not to be looked for in."""

    def __init__(self) -> None:
        self.system = random.SystemRandom()
        self.batches = MatrixBatchGenerator(X, Y, 10)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def test_the_systems_random_numbers_have_no_state() -> None:
    Plain().fit(Held(), MatrixBatchGenerator(X, Y), 1)
