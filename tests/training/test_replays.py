"""Evaluation and prediction of batches of one shape, captured once: the numbers are those without.

On a CPU a captured batch is computed at its fixed places in place of being replayed, so that all but the
recording is seen here.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

from base_model import BaseModel, ClassificationModel, MultiLabelModel, RegressionModel, TrainingOptions
from batch_generator import MatrixBatchGenerator
from helixband.errors import HelixbandWarning
from helixband.training import judge, passes, replays
from helixband.training.replays import Replay, Replays
from helixband.training.schedules import LinearSchedule

RNG = np.random.default_rng(0)
X = RNG.normal(size=(44, 6)).astype(np.float32)
Y = (X[:, :1] - X[:, 1:2]).astype(np.float32)
CLASSES = (X[:, 0] > 0).astype(np.int64)
LABELS = (X[:, :3] > 0).astype(np.float32)
LABELS[3, 1] = np.nan
VAL = MatrixBatchGenerator(X, Y, 8)  # 5 batches of 8 and one of 4


class Model(RegressionModel):
    def init_model(self) -> None:
        torch.manual_seed(self.config.get("seed", 0))
        network = self.network_of(self.config.get("units", 5))
        super().init_model(network, optimizer=optim.Adam(network.parameters(), self.config.get("lr", 0.01)))

    def network_of(self, units: int) -> nn.Module:
        return nn.Sequential(nn.Linear(6, units), nn.BatchNorm1d(units), nn.Dropout(0.3), nn.Linear(units, 1))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """With capturing on: "made" for each capture, and "run" for each batch that was replayed."""
    found: list[str] = []

    def made(replay: Replay, *given: Any, of_replay: Any = Replay.__init__) -> None:
        of_replay(replay, *given)
        found.append("made")

    def run(replay: Replay, *given: Any, of_replay: Any = Replay.run) -> Any:
        found.append("run")
        return of_replay(replay, *given)

    def captures(model: Any) -> bool:
        return bool(model.engine.options.capture) and not model.engine.modes.is_sampling

    monkeypatch.setattr(Replay, "__init__", made)
    monkeypatch.setattr(Replay, "run", run)
    monkeypatch.setattr(replays, "REPLAYS", Replays())
    monkeypatch.setattr(passes, "captures", captures)
    yield found


def plain(kind: type[BaseModel], **config: Any) -> Any:
    model: Any = kind(config)
    model.engine.options = model.engine.options.but({"capture": False})
    return model


def outcomes(model: Any, data: Any) -> Any:
    """What three evaluations give, and a prediction after each."""
    return [(model.evaluate(data), model.predict(data).tolist()) for _ in range(3)]


def test_batches_of_the_shape_of_the_first_are_replayed_and_the_last_smaller_one_is_not(
    runs: list[str],
) -> None:
    model = Model()
    expected = plain(Model).evaluate(VAL)
    assert not runs
    assert model.evaluate(VAL) == expected
    # Of 5, the first is computed as it is, and the second in both ways; the one of 4 is not captured.
    assert runs == ["made", "run", "run", "run", "run"]
    runs.clear()
    assert model.evaluate(VAL) == expected
    assert runs == 5 * ["run"]


class Weighted(Model):
    def split_batch(self, batch: Any) -> tuple[Any, ...]:
        x, y = batch
        return x, y, np.arange(1.0, len(y) + 1, dtype=np.float32)


class Classes(ClassificationModel):
    def init_model(self) -> None:
        torch.manual_seed(0)
        network = nn.Linear(6, 2)
        criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))
        super().init_model(network, criterion, optim.SGD(network.parameters(), 0.1))


class Halved(RegressionModel):
    def init_model(self) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 1))
        optimizer = optim.SGD(network.parameters(), 0.1)
        super().init_model(network, optimizer=optimizer, training=TrainingOptions(precision="bf16"))


class Labels(MultiLabelModel):
    def init_model(self) -> None:
        torch.manual_seed(0)
        network = nn.Linear(6, 3)
        super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.1))


class Whole(Model):
    """Its loss has to see the whole set."""

    def init_model(self) -> None:
        super().init_model()
        BaseModel.init_model(self, self.network, nn.SmoothL1Loss(reduction="sum"), self.optimizer)


class TwoInputs(Model):
    def network_of(self, units: int) -> nn.Module:
        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.one, self.other = nn.Linear(2, 1), nn.Linear(4, 1)

            def forward(self, x: dict[str, Tensor]) -> dict[str, Any]:
                one, other = self.one(x["one"]), self.other(x["other"])
                return {"y_pred": one + other, "parts": (one, other)}

        return Network()


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Model, VAL),
        (Weighted, VAL),
        (Whole, VAL),
        (Halved, VAL),
        (Classes, MatrixBatchGenerator(X, CLASSES, 8)),
        (Labels, MatrixBatchGenerator(X, LABELS, 8, allow_nan=True)),
        (TwoInputs, MatrixBatchGenerator({"one": X[:, :2], "other": X[:, 2:]}, Y, 8)),
    ],
)
def test_sets_come_to_what_they_come_to_without_capture(
    kind: type[BaseModel], data: Any, runs: list[str]
) -> None:
    model: Any = kind()
    assert outcomes(model, data) == outcomes(plain(kind), data)
    assert runs.count("made") == 2
    assert runs.count("run") == 2 * (4 + 5 + 5)


def test_a_validation_is_of_the_weights_of_its_epoch(runs: list[str]) -> None:
    models = [Model(), plain(Model)]
    for model in models:
        torch.manual_seed(1)
        model.fit(MatrixBatchGenerator(X, Y, 11), VAL, 3)
    assert models[0].history == models[1].history
    assert len({row["val_loss"] for row in models[0].history}) == 3
    assert runs.count("made") == 1 and runs.count("run") == 4 + 5 + 5


def test_averaged_weights_are_those_that_are_validated(runs: list[str]) -> None:
    class Averaged(Model):
        def init_model(self) -> None:
            super().init_model()
            options = TrainingOptions(ema_decay=0.9, capture=self.config["capture"])
            BaseModel.init_model(self, self.network, nn.MSELoss(), self.optimizer, training=options)

    models = [Averaged({"capture": capture}) for capture in (True, False)]
    for model in models:
        torch.manual_seed(1)
        model.fit(MatrixBatchGenerator(X, Y, 11), VAL, 2)
    assert models[0].history == models[1].history
    assert runs.count("run") == 4 + 5


def test_models_of_one_structure_share_what_is_captured(runs: list[str]) -> None:
    for seed in range(3):
        assert outcomes(Model({"seed": seed}), VAL) == outcomes(plain(Model, seed=seed), VAL)
    assert runs.count("made") == 2
    assert outcomes(Model({"units": 4}), VAL) == outcomes(plain(Model, units=4), VAL)
    assert runs.count("made") == 4


class Tied(Model):
    """Two of its layers may have one weight."""

    def network_of(self, units: int) -> nn.Module:
        inner = nn.Linear(units, units), nn.Linear(units, units)
        network = nn.Sequential(nn.Linear(6, units), *inner, nn.Linear(units, 1))
        if self.config["ties"]:
            network[1].weight = network[2].weight
        return network


@pytest.mark.parametrize("ties", [[False, True, False], [True, False, True]])
def test_models_that_share_other_weights_share_nothing_that_is_captured(
    ties: list[bool], runs: list[str]
) -> None:
    models = [Tied({"ties": each, "seed": seed}) for seed, each in enumerate(ties)]
    found = [outcomes(model, VAL) for model in models]
    assert runs.count("made") == 4  # of evaluation and of prediction
    expected = [outcomes(plain(Tied, **model.config), VAL) for model in models]
    assert found == expected


def test_a_set_of_one_batch_is_captured_at_its_second_pass(runs: list[str]) -> None:
    model, data = Model(), MatrixBatchGenerator(X, Y)
    expected = plain(Model).evaluate(data)
    counts = []
    for _ in range(3):
        assert model.evaluate(data) == expected
        counts.append(len(runs))
    assert counts == [0, 2, 3]


def test_as_many_are_kept_as_have_room(runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "MOST", 2)
    model = Model()
    for size in (8, 9, 10, 8, 9, 10):
        model.evaluate(MatrixBatchGenerator(X[:40], Y[:40], size))
    assert runs.count("made") == 6
    assert len(replays.REPLAYS._kept) == 2


# What cannot be captured.


class OwnForward(Model):
    def forward(self, x: Any) -> dict[str, Any]:
        return {name: 2 * each for name, each in super().forward(x).items()}


class OwnSteps(Model):
    def eval_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        return super().eval_step(x, y)

    def predict_step(self, x: Any) -> Any:
        return super().predict_step(x)


class OwnLoss(Model):
    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        return 2 * super().compute_loss(y_pred_loss, y)


class OwnOutput(Model):
    def split_output(self, output: Any) -> dict[str, Any]:
        return super().split_output(output)


def own_criterion(y_pred: Tensor, y_true: Tensor) -> Tensor:
    return (y_pred - y_true).abs().mean()


class OwnCriterion(Model):
    def init_model(self) -> None:
        super().init_model()
        BaseModel.init_model(self, self.network, own_criterion, self.optimizer)


class Hooked(Model):
    def network_of(self, units: int) -> nn.Module:
        network = super().network_of(units)
        network.register_forward_hook(lambda *_: None)
        return network


class Recurrent(Model):
    def network_of(self, units: int) -> nn.Module:
        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer, self.head = nn.GRU(2, 3, batch_first=True), nn.Linear(3, 1)

            def forward(self, x: Tensor) -> Any:
                return self.head(self.layer(x.reshape(-1, 3, 2))[0][:, -1])

        return Network()


class Counting(nn.Linear):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


class Counts(Model):
    def network_of(self, units: int) -> nn.Module:
        return Counting(6, 1)


class Buffered(nn.Linear):
    def __init__(self) -> None:
        super().__init__(6, 1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return super().forward(x)


class Buffers(Model):
    def network_of(self, units: int) -> nn.Module:
        return Buffered()


class Noisy(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.randn_like(x))


class Draws(Model):
    def network_of(self, units: int) -> nn.Module:
        return Noisy(6, 1)


class Moody(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        CALLS.append(1)
        return super().forward(x) + len(CALLS)


CALLS: list[int] = []


class Remembers(Model):
    def network_of(self, units: int) -> nn.Module:
        return Moody(6, 1)


class Counter(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + next(NUMBERS) % 1


NUMBERS = itertools.count()


class Iterates(Model):
    def network_of(self, units: int) -> nn.Module:
        return Counter(6, 1)


class Looking(nn.Linear):
    def __init__(self, model: Any) -> None:
        super().__init__(6, 1)
        self.model = [model]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.model[0].epoch


class Looks(Model):
    def network_of(self, units: int) -> nn.Module:
        return Looking(self)


class Scheduled(nn.Linear):
    def __init__(self, config: Any) -> None:
        super().__init__(6, 1)
        self.config = config

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.config["scale"]


class Reads(Model):
    def network_of(self, units: int) -> nn.Module:
        return Scheduled(self.config)


class ToNumpy(Model):
    def network_of(self, units: int) -> nn.Module:
        class Network(nn.Linear):
            def forward(self, x: Tensor) -> Any:
                y = super().forward(x)
                return {"y_pred": y.detach().numpy(), "y_pred_loss": y}

        return Network(6, 1)


@pytest.mark.parametrize(
    ("kind", "reason", "config"),
    [
        (OwnForward, "OwnForward has a forward of its own", {}),
        (OwnOutput, "OwnOutput has a split_output of its own", {}),
        (OwnCriterion, "its criterion is a definition's own", {}),
        (Hooked, "its network has hooks, at Sequential", {}),
        (Recurrent, "its network has the recurrent layer GRU layer", {}),
        (Counts, "its network changes its attributes as it computes", {}),
        (Buffers, "its network changes its buffers in evaluation", {}),
        (Draws, "its network draws random numbers in evaluation", {}),
        (
            Reads,
            "its network reads the configuration as it computes",
            {"scale": LinearSchedule(start=1.0, end=0.5, duration=9)},
        ),
        (ToNumpy, "its network gives a ndarray", {}),
        (Remembers, "its network reads the variable CALLS, which changes", {}),
        (Iterates, "its network reads an iterator (count), whose place cannot be put back", {}),
        (Looks, "its network can read the model, which changes", {}),
    ],
)
def test_what_cannot_be_captured_is_computed_as_it_is_and_the_cause_is_told_once(
    kind: type[Model], reason: str, config: dict[str, Any], runs: list[str]
) -> None:
    CALLS.clear()
    expected, model = plain(kind, **config), kind(config)
    for each in (expected, model):
        each.config.set_time(3, 20)
    with pytest.warns(HelixbandWarning) as told:
        torch.manual_seed(1)
        found = outcomes(model, VAL)
    assert [str(each.message) for each in told] == [
        f"each batch that is {what} is computed by itself, and none is captured: {reason}"
        for what in ("validated", "predicted")
    ]
    torch.manual_seed(1)
    CALLS.clear()
    assert found == outcomes(expected, VAL)
    assert not runs


SCALE = {"by": 1.0}


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * SCALE["by"]


class Scales(Model):
    def network_of(self, units: int) -> nn.Module:
        return Scaled(6, 1)


def test_a_variable_that_changes_between_passes_counts(
    runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, expected = Scales(), plain(Scales)
    for _ in range(2):
        assert model.evaluate(VAL) == expected.evaluate(VAL)
    count = len(runs)
    assert runs.count("made") == 1
    monkeypatch.setitem(SCALE, "by", 3.0)
    with pytest.warns(HelixbandWarning, match="its network reads the variable SCALE, which changes"):
        assert model.evaluate(VAL) == expected.evaluate(VAL)
    assert len(runs) == count


def test_steps_of_a_definition_are_called(runs: list[str]) -> None:
    for step, name in (("evaluate", "eval_step"), ("predict", "predict_step")):
        with pytest.warns(HelixbandWarning, match=f"OwnSteps has a {name} of its own"):
            getattr(OwnSteps(), step)(VAL)
    assert not runs


def test_a_loss_of_a_definition_is_no_reason_to_predict_batch_by_batch(runs: list[str]) -> None:
    model = OwnLoss()
    with pytest.warns(HelixbandWarning, match="OwnLoss has a compute_loss of its own"):
        model.evaluate(VAL)
    assert not runs
    assert model.predict(VAL).tolist() == plain(OwnLoss).predict(VAL).tolist()
    assert runs.count("run") == 4


def test_numbers_that_differ_in_a_bit_are_refused(runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def off(*given: Any, of_judge: Any = judge._evaluated_by) -> Any:
        found = of_judge(*given)
        return found._replace(y_pred=torch.nextafter(found.y_pred, found.y_pred + 1))

    monkeypatch.setattr(judge, "_evaluated_by", off)
    model = Model()
    with pytest.warns(HelixbandWarning, match="what it gives is not, bit for bit, what its network gives by"):
        found = model.evaluate(VAL)
    assert runs == ["made", "run"]
    assert model.evaluate(VAL) == found == plain(Model).evaluate(VAL)
    assert runs == ["made", "run"]


def test_passes_with_dropout_left_on_are_not_captured(runs: list[str]) -> None:
    found = []
    for model in (Model(), plain(Model)):
        torch.manual_seed(2)
        found.append(model.evaluate_mc(VAL, 3))
    assert found[0] == found[1]
    assert not runs


def test_nothing_is_captured_on_a_cpu() -> None:
    assert not passes.captures(Model())


class Asking(nn.Module):
    """Computes by the share that its layer of dropout drops, in evaluation too."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.last = nn.Dropout(0.0), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(x) * (1 - self.dropout.p)
        return found


class Asked(RegressionModel):
    def init_model(self) -> None:
        torch.manual_seed(0)
        network = Asking()
        super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.1))


def test_what_is_asked_of_a_layer_of_dropout_is_of_the_moment(runs: list[str]) -> None:
    model = Asked()
    whole = model.predict(VAL), model.predict(VAL)
    assert "run" in runs and np.array_equal(*whole)
    model.network.dropout.p = 0.5
    with pytest.warns(HelixbandWarning, match=r"its network reads the variable dropout\.p, which changes"):
        assert np.allclose(model.predict(VAL), whole[0] / 2)
