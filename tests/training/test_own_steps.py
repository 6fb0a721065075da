"""Steps of a definition's own: their mode, their losses, when they update, and what they update."""

import math
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.checkpoint import checkpoint

from base_model import BaseModel, ClassificationModel, RegressionModel, TrainingOptions
from batch_generator import MatrixBatchGenerator
from constraints import MaxNormConstraint
from helixband.errors import DataError, DefinitionError, HelixbandWarning, TrainingError
from helixband.losses import IgnoreMissing, PearsonLoss, PoissonLoss
from helixband.results.directory import Trial
from helixband.training import rehearsal
from helixband.training.parts.average import Average
from helixband.training.parts.skip import Kept

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 3)).astype(np.float32)
Y = (X @ np.array([1.0, 2.0, -1.0], np.float32))[:, None]
CPU = Namespace(cpu=True, batch_size=8)


def train_set(rows: int = 8) -> MatrixBatchGenerator:
    return MatrixBatchGenerator(X, Y, rows)


def val_set() -> MatrixBatchGenerator:
    return MatrixBatchGenerator(X, Y)


class Own(RegressionModel):
    """A linear model with a `train_step` of its own."""

    options = TrainingOptions()

    def init_model(self) -> None:  # type: ignore[override]
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        optimizer = optim.SGD(network.parameters(), 0.05, momentum=0.9)
        super().init_model(network, nn.MSELoss(), optimizer, training=self.options)

    def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        output = self.forward(x)
        loss = self.backward(self.compute_loss(output["y_pred_loss"], y))
        self.optimizer_step()
        return loss, output["y_pred"].detach()


# Modes.


def test_steps_of_ones_own_are_in_the_mode_of_their_kind() -> None:
    seen: list[tuple[str, bool]] = []

    class Looks(Own):
        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            seen.append(("train", self.network.training))
            return super().train_step(x, y)

        def eval_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            seen.append(("eval", self.network.training))
            y_pred = self.network(x)
            return ((y_pred - y) ** 2).mean(), y_pred

        def predict_step(self, x: Any) -> Any:
            seen.append(("predict", self.network.training))
            return self.network(x).detach()

    model = Looks({}, CPU)
    model.fit(train_set(), val_set(), 2)
    model.network.train()
    model.predict([X])
    assert set(seen) == {("train", True), ("eval", False), ("predict", False)}


def test_a_step_of_ones_own_trains_as_the_one_it_copies() -> None:
    class Default(Own):
        train_step = RegressionModel.train_step  # type: ignore[assignment]

    own, default = Own({}, CPU), Default({}, CPU)
    assert own.fit(train_set(), val_set(), 3) == default.fit(train_set(), val_set(), 3)


# Losses.


@pytest.mark.parametrize("accumulate", [1, 2])
def test_backward_takes_what_compute_loss_gives(accumulate: int) -> None:
    class Sums(Own):
        options = TrainingOptions(accumulate=accumulate)

        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            return ((y_pred_loss - y) ** 2).sum(), y.numel()

    class Named(Own):
        options = TrainingOptions(accumulate=accumulate)

        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            return {"error": (((y_pred_loss - y) ** 2).sum(), y.numel()), "zero": y.mean() * 0}

    class Plain(Own):
        options = TrainingOptions(accumulate=accumulate)

    plain, sums, named = (kind({}, CPU).fit(train_set(), val_set(), 2)[-1] for kind in (Plain, Sums, Named))
    assert sums["train_loss"] == pytest.approx(plain["train_loss"], rel=1e-6)
    assert named["train_error"] == pytest.approx(plain["train_loss"], rel=1e-6)
    assert named["train_zero"] == 0


@pytest.mark.parametrize("rows", [8, 10])
@pytest.mark.parametrize("kind", ["scaled", "named"])
def test_weights_of_examples_hold_for_losses_that_the_whole_set_tells(rows: int, kind: str) -> None:
    weights = RNG.random(24).astype(np.float32) * 3

    class Weighted:
        def __iter__(self) -> Any:
            for start in range(0, 24, rows):
                part = slice(start, start + rows)
                yield X[part], Y[part], weights[part]

    class Scaled(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            torch.manual_seed(0)
            network = nn.Linear(3, 1)
            super().init_model(network, nn.MSELoss(), optim.SGD(network.parameters(), 0.0))

        def split_batch(self, batch: Any) -> tuple[Any, ...]:
            x, y, weight = batch
            return x, y, weight

        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            loss = super().compute_loss(y_pred_loss, y)
            return 2 * loss if kind == "scaled" else {"error": loss, "one": loss * 0 + 1}

    model = Scaled({}, CPU)
    (row,) = model.fit(Weighted(), Weighted(), 1)
    error = ((model.predict([X]) - Y) ** 2)[:, 0]
    mean = (error * weights).sum() / weights.sum()
    expected = pytest.approx(2 * mean if kind == "scaled" else mean + 1, rel=1e-5)
    assert row["val_loss"] == expected and row["train_loss"] == expected  # the learning rate is 0


# When they update.


class EveryFifth(Own):
    """Updates after five batches, which epochs of three do not hold."""

    options = TrainingOptions(clip_norm=0.5)

    def init_model(self) -> None:
        super().init_model()
        self.count = 0

    def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        y_pred = self.network(x)
        loss = self.backward(((y_pred - y) ** 2).mean())
        self.count += 1
        if self.count % 5 == 0:
            self.optimizer_step()
        return loss, y_pred.detach()


@pytest.mark.filterwarnings("ignore:train_step called self.backward")
def test_a_step_may_update_after_several_batches_across_epochs() -> None:
    model = EveryFifth({}, CPU)
    model.fit(train_set(), val_set(), 4)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer = optim.SGD(network.parameters(), 0.05, momentum=0.9)
    for number in range(12):
        x, y = (torch.from_numpy(part[8 * (number % 3) :][:8]) for part in (X, Y))
        ((network(x) - y) ** 2).mean().backward()
        if number % 5 == 4:
            nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimizer.step()
            optimizer.zero_grad()
    assert model.engine.record.last is not None
    for name, value in network.state_dict().items():
        assert torch.equal(model.engine.record.last["network"][name], value), name


@pytest.mark.filterwarnings("ignore:train_step called self.backward")
def test_gradients_that_wait_at_the_end_of_an_epoch_are_kept(tmp_path: Path) -> None:
    whole = EveryFifth({}, CPU)
    whole.fit(train_set(), val_set(), 4)
    for epochs in range(1, 5):
        resumed = EveryFifth({}, CPU)
        resumed.fit(train_set(), val_set(), epochs, Trial(tmp_path))
    assert resumed.history == whole.history


def test_a_step_that_never_updates_is_told() -> None:
    class Forgets(Own):
        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            y_pred = self.network(x)
            return self.backward(((y_pred - y) ** 2).mean()), y_pred.detach()

    with pytest.warns(HelixbandWarning, match=r"called self.backward\(loss\) 3 times.*nothing was trained"):
        Forgets({}, CPU).fit(train_set(), val_set(), 1)


# Several optimizers.


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        self.critic = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.generator(x)
        return made


def losses_of(network: Any, x: Tensor, y: Tensor) -> Any:
    """(critic's loss, a function of the generator's)."""
    fake = network.generator(x)
    return (
        network.critic(fake.detach()) ** 2
    ).mean(), lambda: ((fake - y) ** 2).mean() + 0.01 * network.critic(fake).mean()


def optimizers_of(network: Any) -> dict[str, optim.Optimizer]:
    return {name: optim.SGD(getattr(network, name).parameters(), 0.1) for name in ("critic", "generator")}


def alternating(**options: Any) -> BaseModel:
    class Alternating(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            torch.manual_seed(0)
            network = Pair()
            training = TrainingOptions(**options)
            super().init_model(network, nn.MSELoss(), optimizers_of(network), training=training)

        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            of_critic, of_generator = losses_of(self.network, x, y)
            self.backward(of_critic)
            self.optimizer_step("critic")
            loss = self.backward(of_generator())
            self.optimizer_step("generator")
            return loss, self.network(x).detach()

    return Alternating({}, CPU)


def test_an_average_moves_once_for_each_step_of_a_weights_own_optimizer() -> None:
    model = alternating(ema_decay=0.9)
    model.fit(train_set(), val_set(), 1)
    torch.manual_seed(0)
    network = Pair()
    optimizers, average = optimizers_of(network), {}
    for start in range(0, 24, 8):
        x, y = torch.from_numpy(X[start : start + 8]), torch.from_numpy(Y[start : start + 8])
        of_critic, of_generator = losses_of(network, x, y)
        for name, loss in (("critic", lambda loss=of_critic: loss), ("generator", of_generator)):
            network.zero_grad()
            loss().backward()
            optimizers[name].step()
        for name, weight in network.named_parameters():
            now = weight.detach().clone()
            average[name] = average[name].lerp(now, 0.1) if name in average else now
    for name, weight in model.network.named_parameters():
        torch.testing.assert_close(weight.detach(), average[name])


def test_a_constraint_holds_after_the_steps_of_its_own_optimizer() -> None:
    model = alternating(constraints=[MaxNormConstraint(0.2, "generator.*")])
    model.fit(train_set(), val_set(), 1)
    norms = torch.linalg.vector_norm(model.network.generator[0].weight, dim=1)  # type: ignore[index, union-attr]
    assert (norms <= 0.2 + 1e-6).all()


def test_gradient_norms_are_those_of_each_optimizer() -> None:
    (row,) = alternating(gradient_norm="L2").fit(train_set(), val_set(), 1)
    assert {"gradient_norm_L2_critic", "gradient_norm_L2_generator"} < row.keys()


# Steps that are left out.


def test_a_step_that_is_left_out_leaves_the_statistics_of_batchnorm() -> None:
    x = X.copy()
    x[10] = np.nan  # in the second of three batches

    class Skips(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            torch.manual_seed(0)
            network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
            optimizer = optim.SGD(network.parameters(), 0.05)
            super().init_model(network, optimizer, training=TrainingOptions(nan="skip", ema_decay=0.5))

    with_nan = Skips({}, CPU)
    row = with_nan.fit(MatrixBatchGenerator(x, Y, 8, allow_nan=True), val_set(), 1)[0]
    assert row["train_skipped"] == 1 and math.isfinite(row["val_loss"])
    without = Skips({}, CPU)
    kept = np.r_[0:8, 16:24]
    expected = without.fit(MatrixBatchGenerator(X[kept], Y[kept], 8), val_set(), 1)[0]
    assert row["val_loss"] == expected["val_loss"]


def test_statistics_are_renewed_without_batches_that_are_not_finite() -> None:
    x = X.copy()
    x[10] = np.nan

    class Renews(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            torch.manual_seed(0)
            network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
            options = TrainingOptions(nan="skip", ema_decay=0.5, renew_batch_norm=True)
            super().init_model(network, optim.SGD(network.parameters(), 0.05), training=options)

    row = Renews({}, CPU).fit(MatrixBatchGenerator(x, Y, 8, allow_nan=True), val_set(), 1)[0]
    assert math.isfinite(row["val_loss"])


def test_an_average_is_not_begun_by_a_step_that_is_left_out() -> None:
    network = nn.Linear(2, 1)
    average = Average(TrainingOptions(ema_decay=0.9), network, lambda: (0, 0))
    average([network.weight])
    network.weight.data.zero_()
    average([network.bias])
    assert list(average.state_dict()["averages"]) == ["weight", "bias"]
    with average.in_use():
        assert network.weight.any()


# Precision.


def test_parts_of_a_network_that_a_step_calls_compute_in_its_precision() -> None:
    seen = set()

    class Parts(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
            network[0].register_forward_hook(lambda module, args, output: seen.add(output.dtype))
            optimizer = optim.SGD(network.parameters(), 0.05)
            super().init_model(network, optimizer, training=TrainingOptions(precision="bf16"))

        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            hidden = self.network[0](x)  # type: ignore[index]
            assert hidden.dtype == torch.float32
            y_pred = self.network[1](hidden)  # type: ignore[index]
            loss = self.backward(((y_pred - y) ** 2).mean())
            self.optimizer_step()
            return loss, y_pred.detach()

    Parts({}, CPU).fit(train_set(), val_set(), 1)
    assert seen == {torch.bfloat16}


# How steps are counted, and what goes with them.


def test_steps_are_counted_as_they_are_taken() -> None:
    class Twice(Own):
        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            super().train_step(x, y)
            return super().train_step(x, y)

    class ByItsOwnMeans(Own):
        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            assert self.optimizer is not None
            y_pred = self.network(x)
            loss = ((y_pred - y) ** 2).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            return loss.detach(), y_pred.detach()

    counts = {}
    for kind in (Twice, ByItsOwnMeans, EveryFifth):
        model = kind({}, CPU)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HelixbandWarning)
            model.fit(train_set(), val_set(), 5)
        counts[kind.__name__] = model.steps
    assert counts == {"Twice": 30, "ByItsOwnMeans": 15, "EveryFifth": 3}


def test_an_average_needs_updates_by_our_means() -> None:
    class Averaged(Own):
        options = TrainingOptions(ema_decay=0.9)

        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            assert self.optimizer is not None
            y_pred = self.network(x)
            loss = ((y_pred - y) ** 2).mean()
            loss.backward()
            self.optimizer.step()
            return loss.detach(), y_pred.detach()

    with pytest.raises(DefinitionError, match=r"updates by other means.*write self.backward\(loss\)"):
        Averaged({}, CPU).fit(train_set(), val_set(), 1)


def test_gradients_that_are_cleared_amid_an_accumulation_are_missed() -> None:
    class Clears(Own):
        options = TrainingOptions(accumulate=3)

        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            assert self.optimizer is not None
            self.optimizer.zero_grad()
            return super().train_step(x, y)

    with pytest.raises(DefinitionError, match=r"gradients of the 1 batches before are gone.*zero_grad\(\)"):
        Clears({}, CPU).fit(train_set(), val_set(), 1)


def test_a_graph_can_be_kept_for_a_second_backward() -> None:
    class Keeps(Own):
        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            y_pred = self.network(x)
            self.backward((y_pred**2).mean(), retain_graph=True)
            loss = self.backward(((y_pred - y) ** 2).mean())
            self.optimizer_step()
            return loss, y_pred.detach()

    assert len(Keeps({}, CPU).fit(train_set(), val_set(), 1)) == 1


def test_constraints_leave_frozen_weights_as_they_are() -> None:
    class Frozen(Own):
        options = TrainingOptions(freeze={"0.*": 1}, constraints=[MaxNormConstraint(0.01)])
        train_step = RegressionModel.train_step  # type: ignore[assignment]

    model = Frozen({}, CPU)
    before = model.network[0].weight.detach().clone()  # type: ignore[index]
    model.fit(train_set(), val_set(), 1)
    assert torch.equal(model.network[0].weight, before)  # type: ignore[index]
    assert model.network[2].weight.norm() <= 0.01 + 1e-6  # type: ignore[index]
    model.fit(train_set(), val_set(), 2)
    assert model.engine.record.last is not None
    assert (model.engine.record.last["network"]["0.weight"].norm(dim=1) <= 0.01 + 1e-6).all()


# Accumulation of losses that are made of others.


@pytest.mark.parametrize("change", [lambda loss: 2 * loss, lambda loss: loss + 0.5])
def test_a_loss_made_of_super_s_accumulates_by_its_weight(change: Any) -> None:
    classes = RNG.integers(0, 3, 24)
    classes[:5] = -100

    class Changed(ClassificationModel):
        accumulate = 1

        def init_model(self) -> None:  # type: ignore[override]
            torch.manual_seed(0)
            network = nn.Linear(3, 3)
            criterion = nn.CrossEntropyLoss(torch.tensor([1.0, 5.0, 0.2]), ignore_index=-100)
            options = TrainingOptions(accumulate=self.accumulate)
            super().init_model(network, criterion, optim.SGD(network.parameters(), 0.5), training=options)

        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            return change(super().compute_loss(y_pred_loss, y))

        def check_labels(self, y_true: Any) -> None:
            pass

        def train_metrics(self, y_true: Any, y_pred: Any) -> Any:
            return {}

        eval_metrics = train_metrics

    class InParts(Changed):
        accumulate = 3

    whole, parts = Changed({}, CPU), InParts({}, CPU)
    val = MatrixBatchGenerator(X[5:], classes[5:])
    whole.fit(MatrixBatchGenerator(X, classes, 24), val, 1)
    parts.fit(MatrixBatchGenerator(X, classes, 8), val, 1)
    torch.testing.assert_close(parts.network.weight, whole.network.weight, rtol=0, atol=1e-6)


def test_a_loss_that_does_not_add_up_is_told_before_it_is_accumulated() -> None:
    class Correlates(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            network = nn.Linear(3, 1)
            options = TrainingOptions(accumulate=2)
            super().init_model(network, PearsonLoss(), optim.SGD(network.parameters(), 0.1), training=options)

    class Squares(Correlates):
        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            return ((y_pred_loss - y) ** 2).mean()

    with pytest.warns(HelixbandWarning, match="accumulate adds up .* does not add up"):
        rehearsal.train(Correlates({}, CPU), (X, Y))
    rehearsal.train(Squares({}, CPU), (X, Y))  # without a warning


# Weights and losses that count for nothing.


def weighed_mean(y_pred: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return (((y_pred - y) ** 2)[:, 0] * weight).sum() / weight.sum()


@pytest.mark.parametrize("criterion", [nn.MSELoss(), weighed_mean])
def test_a_batch_whose_weights_are_all_0_trains_nothing(criterion: Any) -> None:
    weights = np.repeat([1.0, 0.0, 2.0], 8)

    class Weighted:
        def __init__(self, batches: tuple[int, ...], weighted: bool = True) -> None:
            self._batches, self._weighted = batches, weighted

        def __iter__(self) -> Any:
            for number in self._batches:
                part = slice(8 * number, 8 * number + 8)
                yield (X[part], Y[part], weights[part]) if self._weighted else (X[part], Y[part])

    class Linear(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            torch.manual_seed(0)
            network = nn.Linear(3, 1)
            super().init_model(network, criterion, optim.SGD(network.parameters(), 0.1))

        def split_batch(self, batch: Any) -> tuple[Any, ...]:
            return tuple(batch)

    models = []
    for batches in ((0, 1, 2), (0, 2)):
        model = Linear({}, CPU)
        model.fit(Weighted(batches), Weighted(batches, weighted=False), 1)
        models.append(model)
    assert torch.equal(models[0].network.weight, models[1].network.weight)
    assert models[0].history[0]["train_loss"] == pytest.approx(models[1].history[0]["train_loss"], rel=1e-6)
    with pytest.raises(TrainingError, match="all weights 0"):
        Linear({}, CPU).fit(Weighted((1,)), Weighted((0,)), 1)


def test_a_named_loss_without_labels_in_a_set_is_undefined_and_the_others_count() -> None:
    class Named(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            network = nn.Linear(3, 1)
            super().init_model(network, optim.SGD(network.parameters(), 0.1))

        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            error = (y_pred_loss - y) ** 2
            return {"all": (error.sum(), error.numel()), "rare": ((error * (y > 99)).sum(), (y > 99).sum())}

    (row,) = Named({}, CPU).fit(train_set(), val_set(), 1)
    assert math.isnan(row["train_rare"]) and math.isnan(row["val_rare"])
    assert row["train_loss"] == row["train_all"] and row["val_loss"] == row["val_all"]


def test_class_indexes_that_were_mixed_are_refused() -> None:
    class Mixes(ClassificationModel):
        def init_model(self) -> None:  # type: ignore[override]
            network = nn.Linear(3, 3)
            super().init_model(network, optim.SGD(network.parameters(), 0.1))

        def prepare_batch(self, x: Any, y: Any) -> tuple[Any, Any]:
            return x, 0.7 * y + 0.3 * y.flip(0)

    classes = MatrixBatchGenerator(X, np.arange(24) % 3, 24)
    with pytest.raises(DefinitionError, match=r"labels of a batch hold .*F\.one_hot\(y, 3\)"):
        Mixes({}, CPU).fit(classes, classes, 1)


def test_parts_that_are_computed_again_for_gradients_are_so_in_their_precision() -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Any:
            return checkpoint(lambda x: self.second(torch.tanh(self.first(x))), x, use_reentrant=False)

    class Saves(Own):
        def init_model(self) -> None:
            torch.manual_seed(0)
            network = Checkpointed()
            options = TrainingOptions(precision="bf16")
            BaseModel.init_model(
                self, network, nn.MSELoss(), optim.SGD(network.parameters(), 0.05), training=options
            )

    class Default(Saves):
        train_step = RegressionModel.train_step  # type: ignore[assignment]

    own, default = Saves({}, CPU), Default({}, CPU)
    assert own.fit(train_set(), val_set(), 2) == default.fit(train_set(), val_set(), 2)


def test_state_that_a_left_out_step_made_is_forgotten() -> None:
    def trained(skipped: int | None) -> list[float]:
        parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
        optimizer = optim.SGD([parameter], 0.1, momentum=0.9, dampening=0.5)
        for number in range(5):
            parameter.grad = 2 * parameter.detach()
            if number == skipped:
                kept = Kept(optimizer)
                optimizer.step()
                kept.put_back_unless(torch.tensor(False))
                parameter.grad = 2 * parameter.detach()
            optimizer.step()
        values: list[float] = parameter.tolist()
        return values

    assert trained(0) == trained(3) == trained(None)


def test_a_validation_set_of_which_no_example_counts_is_refused() -> None:
    class Weighted:
        def __init__(self, weight: float) -> None:
            self._weight = weight

        def __iter__(self) -> Any:
            yield X, Y, np.full(24, self._weight)

    class Linear(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            network = nn.Linear(3, 1)
            super().init_model(network, optim.SGD(network.parameters(), 0.1))

        def split_batch(self, batch: Any) -> tuple[Any, ...]:
            return tuple(batch)

    with pytest.raises(DataError, match="no example of Weighted counts for the loss.*all weights are 0"):
        Linear({}, CPU).fit(Weighted(1.0), Weighted(0.0), 1)


@pytest.mark.parametrize("criterion", [IgnoreMissing(nn.MSELoss()), PoissonLoss()])
def test_the_training_loss_of_a_loss_made_of_super_s_is_that_of_the_set(criterion: Any) -> None:
    labels = np.where(RNG.random((24, 2)) < 0.4, np.nan, 1.0).astype(np.float32)
    labels[:8] = 3.0  # no label is missing in the first batch

    class Made(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            torch.manual_seed(0)
            network = nn.Linear(3, 2)
            super().init_model(network, criterion, optim.SGD(network.parameters(), 0.0))

        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            return 1 * super().compute_loss(y_pred_loss, y)

        def train_metrics(self, y_true: Any, y_pred: Any) -> Any:
            return {}

        eval_metrics = train_metrics

    train = MatrixBatchGenerator(X, labels, 8, allow_nan=True)
    (row,) = Made({}, CPU).fit(train, MatrixBatchGenerator(X, labels, allow_nan=True), 1)
    assert row["train_loss"] == pytest.approx(row["val_loss"], rel=1e-6)


def test_accumulation_needs_an_update_of_each_batch() -> None:
    class Sometimes(EveryFifth):
        options = TrainingOptions(accumulate=2)

    with pytest.raises(DefinitionError, match=r"accumulate=2 takes an optimizer step for so many batches"):
        Sometimes({}, CPU).fit(train_set(), val_set(), 1)


def test_statistics_of_steps_that_a_batch_has_taken_stay_where_a_later_one_is_left_out() -> None:
    class Second(Own):
        options = TrainingOptions(nan="skip")
        leaves_out = True

        def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
            found = super().train_step(x, y)
            if self.leaves_out:
                self.backward(self.network(x).sum() * math.nan)
                self.optimizer_step()
            return found

    class First(Second):
        leaves_out = False

    one, two = First({}, CPU), Second({}, CPU)
    losses = [model.fit(train_set(), val_set(), 2)[-1]["val_loss"] for model in (one, two)]
    assert losses[0] == losses[1]


# Metrics of training.


def test_metrics_of_another_class_or_of_a_model_alone_are_those_of_each_batch() -> None:
    class Borrows(RegressionModel):
        train_metrics = ClassificationModel.train_metrics  # type: ignore[assignment]

        def init_model(self) -> None:  # type: ignore[override]
            network = nn.Sequential(nn.Linear(3, 1), nn.Sigmoid())
            super().init_model(network, optim.SGD(network.parameters(), 0.0))

    class OfItsOwn(Borrows):
        train_metrics = RegressionModel.train_metrics  # type: ignore[assignment]

        def init_model(self) -> None:
            super().init_model()
            self.train_metrics = lambda y_true, y_pred: {"rows": len(y_true)}  # type: ignore[method-assign]

    labels = np.arange(24, dtype=np.float32)[:, None] % 2
    train = MatrixBatchGenerator(X, labels, 8)
    (row,) = Borrows({}, CPU).fit(train, MatrixBatchGenerator(X, labels), 1)
    assert 0 <= row["train_accuracy"] <= 1 and "train_mse" not in row
    (row,) = OfItsOwn({}, CPU).fit(train, MatrixBatchGenerator(X, labels), 1)
    assert row["train_rows"] == 8
