"""What a user's objects hold that changes in a training is part of its checkpoint, or refused, or told.

Training to epoch 2 and then, by new objects from the files, to epoch 4 is training to epoch 4.
"""

import array
import collections
import contextlib
import csv
import enum
import functools
import itertools
import random
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Sampler, TensorDataset

from base_model import BaseModel, RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.errors import DefinitionError, HelixbandWarning, StorageError
from helixband.results.directory import Results
from helixband.training.holdings import Holdings, look

X = np.random.default_rng(0).random((40, 3), dtype=np.float32)
Y = X.sum(axis=1, keepdims=True)
DATASET = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


class Plain(RegressionModel):
    def init_model(self) -> None:
        network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        super().init_model(network, optimizer=optim.SGD(network.parameters(), lr=0.05))


class Batches:
    """Four batches an epoch; a subclass says by how much each is scaled."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for start in range(0, 40, 10):
            yield X[start : start + 10] * (1 + np.float32(self.factor()) / 10), Y[start : start + 10]

    def factor(self) -> float:
        raise NotImplementedError


def batches(make: Callable[[], Any], factor: Callable[[Any], float]) -> Callable[[], Batches]:
    """A generator that holds what `make` gives, and scales each batch by what `factor` makes of it."""

    class Holding(Batches):
        def __init__(self) -> None:
            self.held = make()

        def factor(self) -> float:
            return factor(self.held)

    return Holding


class Slotted:
    __slots__ = ("__count", "rng")

    def __init__(self) -> None:
        self.rng, self.__count = np.random.default_rng(1), 0

    def next(self) -> float:
        self.__count += 1
        return self.__count + self.rng.random()


@dataclass
class Curriculum:
    level: int = 0
    seen: list[int] = field(default_factory=list)

    def next(self) -> int:
        self.level += 1
        self.seen.append(self.level)
        return len(self.seen)


class Phase(enum.Enum):
    COLD = 1
    WARM = 2


class Counting:
    """An iterator of the user's, which tells its place in an attribute."""

    def __init__(self) -> None:
        self.number = 0

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.number += 1
        return self.number


def appended(held: Any) -> float:
    held.append(len(held))
    return float(sum(held) % 17)


def closure() -> Callable[[], float]:
    count, rng = 0, random.Random(3)

    def draw() -> float:
        nonlocal count
        count += 1
        return count + rng.random()

    return draw


def shuffled(order: Any) -> float:
    random.shuffle(order) if isinstance(order, list) else np.random.shuffle(order)
    return float(order[0] % 17)


def bump(holder: Any, name: str = "count") -> float:
    setattr(holder, name, getattr(holder, name, 0) + 1)
    return float(getattr(holder, name))


def counted(held: Any) -> float:
    held["a"] += 1
    held[("k", len(held))] = len(held)
    return float(sum(held.values()) % 17)


def warmed(held: Any) -> float:
    held.phase = Phase.WARM if held.phase is Phase.COLD else Phase.COLD
    return float(held.phase.value)


def replayed(buffer: Any) -> float:
    buffer.append((X[len(buffer) % 40], len(buffer)))
    return float(sum(row[0] for row, _ in buffer))


def collating() -> DataLoader[Any]:
    rng = np.random.default_rng(1)

    def collate(items: list[Any]) -> list[Tensor]:
        x, y = (torch.stack(part) for part in zip(*items, strict=True))
        return [x + np.float32(rng.random()), y]

    return DataLoader(DATASET, 10, collate_fn=collate)


class Late(Batches):
    def factor(self) -> float:
        return bump(self)


GENERATORS: dict[str, Callable[[], Any]] = {
    "a counter that comes late": Late,
    "slots": batches(Slotted, Slotted.next),
    "a dataclass": batches(Curriculum, Curriculum.next),
    "an iterator of the user's": batches(Counting, next),
    "a list that grows": batches(list, appended),
    "a deque that grows": batches(functools.partial(collections.deque, maxlen=7), appended),
    "a list in a new order": batches(lambda: list(range(2000)), shuffled),
    "an array in a new order": batches(lambda: np.arange(30_000), shuffled),
    "a closure": batches(closure, lambda held: held()),
    "sixty random generators": batches(
        lambda: [np.random.default_rng(n) for n in range(60)], lambda held: held[59].random()
    ),
    "a bound method": batches(lambda: np.random.default_rng(1).normal, lambda held: held()),
    "a partial": batches(lambda: functools.partial(random.Random(1).uniform, 0), lambda held: held(1)),
    "a namespace": batches(types.SimpleNamespace, bump),
    "an array of the standard library": batches(lambda: array.array("i", [1, 2]), appended),
    "a counter of words": batches(lambda: collections.Counter({"a": 1}), counted),
    "an enumeration": batches(lambda: types.SimpleNamespace(phase=Phase.COLD), warmed),
    "a buffer of arrays": batches(list, replayed),
    "a function that collates": collating,
}


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_goes_on_with_what_it_held(tmp_path: Path, name: str) -> None:
    assert_goes_on(tmp_path, Plain, GENERATORS[name])


class Noise(nn.Module):
    """Holds random numbers, a count, and a buffer that is in no state_dict."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers, self.count = torch.Generator().manual_seed(3), 0
        self.register_buffer("level", torch.zeros(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        self.count += 1
        self.get_buffer("level").add_(0.1)
        noise = torch.randn(x.shape, generator=self.numbers) * 0.1
        return x * (1 + self.count / 20) + noise + self.get_buffer("level")


class Noisy(RegressionModel):
    def init_model(self) -> None:
        network = nn.Sequential(nn.Linear(3, 1), Noise())
        super().init_model(network, optimizer=optim.SGD(network.parameters(), lr=0.05))


class Jittered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rng, self.calls = np.random.default_rng(1), 0

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        self.calls += 1
        return (input - target).square().mean() * (1 + self.rng.random() + self.calls / 50)


class JitteredCriterion(BaseModel):
    def init_model(self) -> None:
        network = nn.Linear(3, 1)
        super().init_model(network, Jittered(), optim.SGD(network.parameters(), lr=0.02))


class Remembering(Plain):
    """Keeps a list, a text, an object, and a list of what has a state, and trains by them."""

    def init_model(self) -> None:
        super().init_model()
        self.losses: list[float] = []
        self.text = "a"
        self.curriculum = Curriculum()
        self.averages = [optim.swa_utils.AveragedModel(self.network)]

    def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        self.text += "b"
        factor = 1 + (len(self.losses) + len(self.text) + self.curriculum.next()) / 100
        loss, y_pred = super().train_step(x * factor, y)
        self.losses.append(float(loss))
        self.averages[0].update_parameters(self.network)
        return loss, y_pred

    def eval_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
        weight = next(iter(self.averages[0].parameters())).sum().item()
        return {"average": weight, "losses": sum(self.losses), "text": len(self.text)}


@pytest.mark.parametrize("model", [Noisy, JitteredCriterion, Remembering])
def test_a_model_goes_on_with_what_it_held(tmp_path: Path, model: Any) -> None:
    assert_goes_on(tmp_path, model, lambda: MatrixBatchGenerator(X, Y, 10, shuffle=True))


def test_the_best_weights_come_with_what_the_model_held(tmp_path: Path) -> None:
    trial, val = Results(tmp_path).trial("0"), MatrixBatchGenerator(X, Y)
    trained = Remembering()
    trained.fit(MatrixBatchGenerator(X, Y, 10), val, 2, trial)
    trained.save(tmp_path / "saved.pt")
    for path in (trial.best_checkpoint, tmp_path / "saved.pt"):
        loaded = Remembering()
        loaded.load(path)
        assert loaded.evaluate(val) == trained.evaluate(val)
        assert len(loaded.losses) == len(trained.losses) == 8


def assert_goes_on(
    folder: Path, kind: Any, generator: Callable[[], Any], val: Callable[[], Any] | None = None
) -> None:
    make_val = val or (lambda: MatrixBatchGenerator(X, Y))
    whole, parts = Results(folder).trial("whole"), Results(folder).trial("parts")

    def train(trial: Any, epochs: int) -> BaseModel:
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(0)
        model: BaseModel = kind()
        model.fit(generator(), make_val(), epochs, trial)
        return model

    straight = train(whole, 4)
    train(parts, 2)
    continued = train(parts, 4)
    assert str(continued.history) == str(straight.history)  # NaN is NaN, too
    assert len({row["train_loss"] for row in straight.history}) == 4


# Iterators and files.


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Open a file of a hundred numbers, a line each; the files are closed in the end."""
    path = tmp_path / "factors.txt"
    path.write_text("".join(f"{number % 7}\n" for number in range(100)))
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(path.open())


def test_a_file_goes_on_where_it_was(tmp_path: Path, opened: Any) -> None:
    assert_goes_on(tmp_path, Plain, batches(opened, lambda held: float(held.readline())))


@pytest.mark.parametrize(
    ("make", "factor"),
    [
        (lambda opened: csv.reader(opened()), lambda held: float(next(held)[0])),
        (lambda opened: csv.DictReader(opened(), ["a"]), lambda held: float(next(held)["a"])),
        (lambda opened: opened(), lambda held: float(next(held))),
        (lambda opened: (number for number in range(100)).__next__, lambda held: held()),
        (lambda opened: itertools.count(), next),
    ],
    ids=["csv", "csv.DictReader", "lines of a file", "a method of an iterator", "a count"],
)
def test_an_iterator_that_tells_no_place_is_refused(
    tmp_path: Path, opened: Any, make: Any, factor: Any
) -> None:
    generator = batches(lambda: make(opened), factor)()
    with pytest.raises(DefinitionError, match=r"the training generator, a Holding, keeps a .* whose place"):
        Plain().fit(generator, MatrixBatchGenerator(X, Y), 3, Results(tmp_path).trial("0"))


def test_an_iterator_of_the_model_is_refused(tmp_path: Path) -> None:
    class Semi(Plain):
        def init_model(self) -> None:
            super().init_model()
            self.others = iter(list(range(100)))

        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            return super().train_step(x * next(self.others), y)

    with pytest.raises(DefinitionError, match=r"self, a Semi, keeps a list_iterator .* \(others\)"):
        Semi().fit(MatrixBatchGenerator(X, Y), MatrixBatchGenerator(X, Y), 3, Results(tmp_path).trial("0"))


def test_what_was_read_to_its_end_and_counts_that_rest_are_left_alone(tmp_path: Path, opened: Any) -> None:
    class Read(Batches):
        def __init__(self) -> None:
            self.reader, self.names = csv.reader(opened()), itertools.count()
            self.rows = list(self.reader)
            next(self.names)

        def factor(self) -> float:
            return len(self.rows) / 100

    Plain().fit(Read(), MatrixBatchGenerator(X, Y), 3, Results(tmp_path).trial("0"))


# What is not kept.


def test_what_is_not_kept_is_told_once_where_it_goes_on_changing(tmp_path: Path) -> None:
    class Opened(Batches):
        def __init__(self) -> None:
            self.lazy: Any = None
            self.big = np.zeros(3_000_000)

        def factor(self) -> float:
            self.lazy = self.lazy or Curriculum()
            self.big += 1
            return float(self.lazy.next())

    with pytest.warns(HelixbandWarning) as warned:
        Plain().fit(Opened(), MatrixBatchGenerator(X, Y), 4, Results(tmp_path).trial("0"))
    (text,) = {str(each.message).partition(":")[0] for each in warned}
    assert (
        text
        == "the training generator.big, the training generator.lazy.level, the training generator.lazy.seen"
    )


def test_what_is_opened_late_and_stays_is_not_told(tmp_path: Path) -> None:
    class Opened(Batches):
        def __init__(self) -> None:
            self.lazy: Any = None

        def factor(self) -> float:
            self.lazy = self.lazy or Curriculum(level=3)
            return float(self.lazy.level)

    Plain().fit(Opened(), MatrixBatchGenerator(X, Y), 4, Results(tmp_path).trial("0"))


COUNTS = """
STEPS = [0]

class Model(Model):
    def train_step(self, x, y):
        STEPS[0] += 1
        return super().train_step(x / STEPS[0], y)
"""
CHANGES = r"STEPS of def.py: changed from one epoch to the next"


def test_a_variable_of_a_module_that_changes_is_told(project: Any) -> None:
    project.define(COUNTS)
    with pytest.warns(HelixbandWarning, match=CHANGES):
        assert project.run("--epoch", "3").code == 0


@pytest.mark.parametrize("slots", [("--pack", "off"), ("--pack", "2")])
def test_what_is_told_in_workers_is_told_by_the_run(project: Any, slots: tuple[str, str]) -> None:
    project.define(COUNTS)
    search = "--hyper", "--trials", "2", "--schedule", "none", "--epoch", "3", "--workers", "2"
    with pytest.warns(HelixbandWarning, match=CHANGES):
        assert project.run(*search, *slots).code == 0


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (
            "(n for n in range(99))",
            "HELD of def.py, a generator, goes on from one epoch to",
        ),
        ("itertools.cycle([1, 2])", "HELD of def.py is a cycle, whose place no checkpoint can hold"),
    ],
)
def test_an_iterator_of_a_module_is_refused_where_it_moved_and_told_else(
    project: Any, held: str, told: str
) -> None:
    project.define(
        f"import itertools\nHELD = {held}\n\nclass Model(Model):\n    def train_step(self, x, y):\n"
        "        return super().train_step(x * next(HELD), y)\n"
    )
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", HelixbandWarning)
        done = project.run("--epoch", "3", "--no-data-check")
    assert told in done.err + "".join(str(each.message) for each in warned)


def test_what_does_not_fit_is_refused() -> None:
    class Other:
        pass

    first = Holdings()
    held: Any = {"g": Curriculum()}
    first.begin(look(held))
    held["g"].next()
    changes = first.changes(look(held), kept=held)
    with pytest.raises(
        StorageError, match="the state does not fit the definition: g.level cannot be put back"
    ):
        Holdings().put({"h": Other()}, changes, "the state")


# The validation set.


class Sampling:
    """A set that is another one each time that it is read."""

    def __init__(self) -> None:
        self.number = 0

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        rows = np.random.default_rng(self.number).permutation(40)[:10]
        self.number += 1
        yield X[rows], Y[rows]


class Restored(Sampling):
    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.number = state["number"]


class ByEpoch(Sampling):
    def set_epoch(self, epoch: int) -> None:
        self.number = epoch


class BySeed(Sampling):
    def set_epoch(self, seed: int, epoch: int) -> None:
        self.number = (seed + epoch) % 1000


class Order(Sampler[int]):
    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        numbers = torch.Generator().manual_seed(self.epoch)
        return iter(torch.randperm(40, generator=numbers)[:10].tolist())


class LateOrder(Sampling):
    rows: Any = None

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        self.rows = np.random.permutation(40)[:10] if self.rows is None else self.rows
        yield X[self.rows], Y[self.rows]


@pytest.mark.parametrize(
    ("val", "is_new"),
    [(Sampling, False), (Restored, False), (ByEpoch, True), (BySeed, True), (LateOrder, True)]
    + [(lambda: DataLoader(DATASET, 10, sampler=Order()), True)],
    ids=["a counter", "a state_dict", "set_epoch", "set_epoch with a seed", "made late", "a sampler"],
)
def test_a_validation_sees_what_its_epoch_says(tmp_path: Path, val: Any, is_new: bool) -> None:
    assert_goes_on(tmp_path, Plain, lambda: MatrixBatchGenerator(X, Y, 10), val)

    class Still(Plain):
        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            output = self.forward(x)
            return self.compute_loss(output["y_pred_loss"], y).detach(), output["y_pred"]

    losses = [row["val_loss"] for row in Still().fit(MatrixBatchGenerator(X, Y, 10), val(), 3)]
    assert (len(set(losses)) == 3) is is_new


def test_a_sampler_of_the_training_gets_the_epoch() -> None:
    order = Order()
    Plain().fit(DataLoader(DATASET, 10, sampler=order), MatrixBatchGenerator(X, Y), 3)
    assert order.epoch == 2


def test_a_validation_that_cannot_be_put_back_is_refused() -> None:
    class Huge(Sampling):
        def __init__(self) -> None:
            self.order = np.arange(2_000_000)

        def __iter__(self) -> Iterator[tuple[Any, Any]]:
            np.random.shuffle(self.order)
            rows = self.order[self.order < 40]
            yield X[rows], Y[rows]

    message = r"the validation generator.order changes while the set is read, and cannot be put back"
    with pytest.raises(DefinitionError, match=message):
        Plain().fit(MatrixBatchGenerator(X, Y), Huge(), 1)


def test_a_validation_leaves_what_it_shares_with_training(tmp_path: Path) -> None:
    def both(held: Any) -> Any:
        return batches(lambda: held, bump)()

    alone = Plain().fit(both(types.SimpleNamespace()), MatrixBatchGenerator(X, Y), 1)
    shared = types.SimpleNamespace()
    Plain().fit(both(shared), both(shared), 2)
    assert shared.count == 8
    assert alone[0]["epoch"] == 1


# Optimizers, schedulers, hooks, and seeds that spawn.


class CountingSGD(optim.SGD):
    """Its learning rate depends on how often it was asked."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, lr=0.1)
        self.asked = 0

    def step(self, closure: Any = None) -> Any:
        self.asked += 1
        self.param_groups[0]["lr"] = 0.1 / self.asked
        return super().step(closure)


def hooked_optimizer(parameters: Any) -> optim.Optimizer:
    optimizer, seen = optim.SGD(parameters, lr=0.1), {"steps": 0}

    def before(self: Any, args: Any, kwargs: Any) -> None:
        seen["steps"] += 1
        self.param_groups[0]["lr"] = 0.1 / seen["steps"]

    optimizer.register_step_pre_hook(before)
    return optimizer


class Drawing(optim.lr_scheduler.LRScheduler):
    """Draws its learning rates, and remembers them in what JSON does not have."""

    def __init__(self, optimizer: optim.Optimizer) -> None:
        self.draws = np.random.default_rng(2)
        self.latest: Any = collections.deque(maxlen=3)
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        self.latest.append(float(self.draws.uniform(0.01, 0.1)))
        return [sum(self.latest) / 3]


def counting_lambda(optimizer: optim.Optimizer) -> Any:
    asked = {"times": 0}

    def factor(epoch: int) -> float:
        asked["times"] += 1
        return 1 / asked["times"]

    return optim.lr_scheduler.LambdaLR(optimizer, factor)


def hooked_network(network: nn.Sequential) -> None:
    seen = [0]

    def after(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        seen[0] += module.training
        return output * (1 - 1 / (2 + seen[0]))

    network[0].register_forward_hook(after)


def hooked_weight(network: nn.Sequential) -> None:
    seen = [0]

    def scaled(gradient: Tensor) -> Tensor:
        seen[0] += 1
        return gradient / seen[0]

    network[0].weight.register_hook(scaled)


@pytest.mark.parametrize(
    ("prepare", "optimizer", "scheduler"),
    [
        (None, CountingSGD, None),
        (None, hooked_optimizer, None),
        (None, None, Drawing),
        (None, None, counting_lambda),
        (hooked_network, None, None),
        (hooked_weight, None, None),
    ],
)
def test_what_optimizers_schedulers_and_hooks_hold_is_kept(
    tmp_path: Path, prepare: Any, optimizer: Any, scheduler: Any
) -> None:
    class Model(RegressionModel):
        def init_model(self) -> None:
            network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
            if prepare is not None:
                prepare(network)
            made = (optimizer or functools.partial(optim.SGD, lr=0.05))(network.parameters())
            super().init_model(network, optimizer=made, scheduler=scheduler and scheduler(made))

    assert_goes_on(tmp_path, Model, lambda: MatrixBatchGenerator(X, Y, 10, shuffle=True))


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.SeedSequence, np.random.PCG64])
def test_what_was_spawned_is_kept(tmp_path: Path, make: Any) -> None:
    def factor(held: Any) -> float:
        seeds = getattr(held, "seed_seq", held)  # of bits that spawn by their seeds
        (child,) = seeds.spawn(1)
        return float(np.random.default_rng(child).random())

    assert_goes_on(tmp_path, Plain, batches(lambda: make(5), factor))


def test_a_state_that_a_checkpoint_cannot_hold_is_told_before_training() -> None:
    class Odd:
        def state_dict(self) -> dict[str, Any]:
            return {"phase": Phase.COLD}

        def load_state_dict(self, state: Any) -> None:
            raise NotImplementedError

    class Model(Plain):
        def init_model(self) -> None:
            super().init_model()
            self.odd = Odd()

        def train_step(self, x: Any, y: Any) -> Any:
            raise AssertionError

    with pytest.raises(
        DefinitionError, match="the state of self.odd holds .*a Phase, which a checkpoint cannot"
    ):
        Model().fit(MatrixBatchGenerator(X, Y, 10), MatrixBatchGenerator(X, Y), 1)
