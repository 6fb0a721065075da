"""The loss of a set is what the criterion gives for all of it, in whatever pieces it is computed."""

import functools
import math
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim
from torch.nn import functional as F

from base_model import BaseModel, ClassificationModel, RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.errors import DefinitionError, HelixbandWarning
from helixband.training import feed, meters
from helixband.training.losses import weigher

N, C = 23, 3
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(N, C)).astype(np.float32)
CLASSES = RNG.integers(0, C, N)
SOME_IGNORED = np.where(np.arange(N) % 4 < 2, -100, CLASSES)  # the first batch of two has no label at all
ONE_HOT = np.eye(C, dtype=np.float32)[CLASSES]
MULTI_HOT = RNG.integers(0, 2, (N, C)).astype(np.float32)
NUMBERS = RNG.normal(size=(N, C)).astype(np.float32)
MASKED = np.where(RNG.random((N, C)) < 0.5, np.nan, NUMBERS).astype(np.float32)
WEIGHTS = torch.tensor([0.2, 3.0, 1.0])


def masked_mse(pred: Tensor, y: Tensor) -> Tensor:
    known = ~y.isnan()
    return ((pred - y.nan_to_num()) ** 2 * known).sum() / known.sum()


def negative_correlation(pred: Tensor, y: Tensor) -> Tensor:
    return -torch.corrcoef(torch.stack([pred.flatten(), y.flatten()]))[0, 1]


def by_names(y_true: Tensor, y_pred: Tensor) -> Tensor:
    return (y_true - y_pred).abs().max()


class Focal(nn.CrossEntropyLoss):
    """A loss of torch's whose forward is another: torch's way to put it together does not hold."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return super().forward(input, target) ** 2


class Called(nn.MSELoss):
    """Likewise, of which `__call__` is another."""

    def __call__(self, input: Tensor, target: Tensor) -> Tensor:
        return super().__call__(input, target).sqrt()


def hooked() -> nn.Module:
    criterion = nn.MSELoss()
    criterion.register_forward_hook(lambda module, args, output: output.sqrt())
    return criterion


def hooked_before() -> nn.Module:
    criterion = nn.MSELoss()
    criterion.register_forward_pre_hook(lambda module, args: (args[0] / args[0].abs().max(), args[1]))
    return criterion


def own_forward() -> nn.Module:
    criterion = nn.MSELoss()
    criterion.forward = lambda pred, y: F.mse_loss(pred, y).sqrt()  # type: ignore[method-assign]
    return criterion


CASES: dict[str, tuple[Any, Any]] = {
    "MSE": (nn.MSELoss(), NUMBERS),
    "L1, sum": (nn.L1Loss(reduction="sum"), NUMBERS),
    "Huber": (nn.HuberLoss(delta=0.3), NUMBERS),
    "smooth L1, by a function": (functools.partial(F.smooth_l1_loss, beta=0.3), NUMBERS),
    "MSE, by a function, sum": (functools.partial(F.mse_loss, reduction="sum"), NUMBERS),
    "cross-entropy": (nn.CrossEntropyLoss(), CLASSES),
    "weighted cross-entropy": (nn.CrossEntropyLoss(weight=WEIGHTS), CLASSES),
    "weighted cross-entropy of soft labels": (nn.CrossEntropyLoss(weight=WEIGHTS), ONE_HOT),
    "weighted and smoothed": (nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1), CLASSES),
    "smoothed, a class of weight 0": (
        nn.CrossEntropyLoss(weight=torch.tensor([0.0, 3.0, 1.0]), label_smoothing=0.2),
        CLASSES,
    ),
    "smoothed and ignored, by a function": (
        functools.partial(
            F.cross_entropy, weight=torch.tensor([0.0, 3.0, 1.0]), label_smoothing=0.2, ignore_index=1
        ),
        CLASSES,
    ),
    "root of the mean square, by a hook": (hooked(), NUMBERS),
    "scaled predictions, by a hook before": (hooked_before(), NUMBERS),
    "root of the mean square, by its own forward": (own_forward(), NUMBERS),
    "root of the mean square, by its own call": (Called(), NUMBERS),
    "ignored labels": (nn.CrossEntropyLoss(), SOME_IGNORED),
    "ignored class, weighted": (nn.CrossEntropyLoss(weight=WEIGHTS, ignore_index=1), CLASSES),
    "cross-entropy, sum": (nn.CrossEntropyLoss(weight=WEIGHTS, reduction="sum"), CLASSES),
    "cross-entropy, by a function": (functools.partial(F.cross_entropy, weight=WEIGHTS), CLASSES),
    "focal": (Focal(weight=WEIGHTS), CLASSES),
    "BCE with pos_weight": (nn.BCEWithLogitsLoss(pos_weight=WEIGHTS), MULTI_HOT),
    "several labels, soft margin": (nn.MultiLabelSoftMarginLoss(weight=WEIGHTS), MULTI_HOT),
    "several classes, margin": (nn.MultiMarginLoss(weight=WEIGHTS), CLASSES),
    "Poisson": (nn.PoissonNLLLoss(), np.abs(NUMBERS)),
    "divergence": (nn.KLDivLoss(reduction="batchmean"), ONE_HOT),
    "masked MSE": (masked_mse, MASKED),
    "negative correlation": (negative_correlation, NUMBERS),
    "the largest error, by names": (by_names, NUMBERS),
}


def identity(criterion: Any) -> BaseModel:
    """A model whose prediction is x, so that the loss of a set is the criterion of the data."""

    class Identity(BaseModel):
        def init_model(self) -> None:
            network = nn.Linear(C, C)
            nn.init.eye_(network.weight)
            nn.init.zeros_(network.bias)
            super().init_model(network, criterion, optim.SGD(network.parameters(), lr=0.0))

    return Identity({}, Namespace(cpu=True, batch_size=2))


def expected(criterion: Any, y: Any) -> float:
    x, y = torch.from_numpy(LOGITS), torch.from_numpy(y)
    return float(criterion(y_true=y, y_pred=x) if criterion is by_names else criterion(x, y))


def data(y: Any, batch_size: int | None) -> MatrixBatchGenerator:
    return MatrixBatchGenerator(LOGITS, y, batch_size, allow_nan=True)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch_size", [1, 2, 5, 22, None])
def test_the_loss_of_a_set_is_the_criterions_for_all_of_it(name: str, batch_size: int | None) -> None:
    criterion, y = CASES[name]
    found = identity(criterion).evaluate(data(y, batch_size))["loss"]
    assert found == pytest.approx(expected(criterion, y), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_it_is_so_for_any_pieces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    criterion, y = CASES[name]
    monkeypatch.setattr(feed, "EVALUATION_BYTES", {"cpu": 1})  # pieces of batch_size rows
    found = identity(criterion).evaluate(data(y, None))["loss"]
    assert found == pytest.approx(expected(criterion, y), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in CASES if weigher(CASES[name][0]) is not None])
def test_the_training_loss_is_put_together_likewise(name: str) -> None:
    criterion, y = CASES[name]
    history = identity(criterion).fit(data(y, 5), data(y, None), 1)
    assert history[0]["train_loss"] == pytest.approx(expected(criterion, y), rel=1e-6, abs=1e-6)


def test_what_is_known_of_a_loss_is_known_by_its_kind() -> None:
    known = {name for name in CASES if weigher(CASES[name][0]) is not None}
    assert set(CASES) - known == {
        "focal",
        "masked MSE",
        "negative correlation",
        "the largest error, by names",
        "smoothed, a class of weight 0",
        "smoothed and ignored, by a function",
        "root of the mean square, by a hook",
        "scaled predictions, by a hook before",
        "root of the mean square, by its own forward",
        "root of the mean square, by its own call",
    }
    assert weigher(lambda pred, y: F.mse_loss(pred, y)) is None
    assert weigher(functools.partial(F.mse_loss, NUMBERS)) is None


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_any_cuts_give_the_same_weighted_loss(sizes: list[int], seed: int) -> None:
    rng, rows = np.random.default_rng(seed), sum(sizes)
    x, y = rng.normal(size=(rows, C)).astype(np.float32), rng.integers(0, C, rows)
    criterion = nn.CrossEntropyLoss(weight=WEIGHTS)
    ends = np.cumsum(sizes)
    batches = [(x[end - size : end], y[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    found = identity(criterion).evaluate(batches)["loss"]
    assert found == pytest.approx(float(criterion(torch.from_numpy(x), torch.from_numpy(y))), rel=1e-5)


# What a definition says of its loss.


def model(compute_loss: Callable[[BaseModel, Any, Any], Any], kind: type[BaseModel] = BaseModel) -> BaseModel:
    class Model(kind):  # type: ignore[misc, valid-type]
        def init_model(self) -> None:
            network = nn.Linear(C, C)
            nn.init.eye_(network.weight)
            nn.init.zeros_(network.bias)
            BaseModel.init_model(self, network, nn.MSELoss(), optim.SGD(network.parameters(), lr=0.0))

    Model.compute_loss = compute_loss  # type: ignore[method-assign]
    return Model({}, Namespace(cpu=True, batch_size=2))


def test_a_sum_and_its_weight_are_added_up() -> None:
    def compute_loss(self: BaseModel, pred: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        known = ~y.isnan()
        return ((pred - y.nan_to_num()) ** 2 * known).sum(), known.sum()

    for batch_size in (1, 4, None):
        assert model(compute_loss).evaluate(data(MASKED, batch_size))["loss"] == pytest.approx(
            expected(masked_mse, MASKED), rel=1e-6
        )
    history = model(compute_loss).fit(data(MASKED, 4), data(MASKED, None), 1)
    assert history[0]["train_loss"] == pytest.approx(expected(masked_mse, MASKED), rel=1e-6)


def test_a_batch_in_which_nothing_is_known_trains_nothing() -> None:
    def compute_loss(self: BaseModel, pred: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        known = ~y.isnan()
        return ((pred - y.nan_to_num()) ** 2 * known).sum(), known.sum()

    nothing = np.full((4, C), np.nan, np.float32)
    trained = model(compute_loss)
    trained.optimizer = optim.SGD(trained.network.parameters(), lr=0.1)
    y = np.concatenate([nothing, NUMBERS[4:8]])
    history = trained.fit(MatrixBatchGenerator(LOGITS[:8], y, 4, allow_nan=True), data(MASKED, None), 1)
    assert history[0]["train_loss"] == pytest.approx(
        float(np.mean((LOGITS[4:8] - NUMBERS[4:8]) ** 2)), rel=1e-6
    )


NO_CLASS_0 = torch.tensor([0.0, 1.0, 3.0])
NOTHING: dict[str, tuple[Any, int]] = {
    "a class of weight 0": (nn.CrossEntropyLoss(weight=NO_CLASS_0), 0),
    "that, smoothed": (nn.CrossEntropyLoss(weight=NO_CLASS_0, label_smoothing=0.1), 0),
    "that, by a function": (functools.partial(F.cross_entropy, weight=NO_CLASS_0), 0),
    "that, of log-probabilities": (nn.NLLLoss(weight=NO_CLASS_0), 0),
    "an ignored class": (nn.CrossEntropyLoss(weight=WEIGHTS, ignore_index=0), 0),
    "ignored labels": (nn.CrossEntropyLoss(), -100),
}


@pytest.mark.parametrize("name", NOTHING)
@pytest.mark.parametrize("positions", [0, 2])
def test_a_batch_of_no_weight_gives_no_gradients(name: str, positions: int) -> None:
    criterion, label = NOTHING[name]

    def trained(*parts: tuple[Any, Any]) -> tuple[dict[str, Any], list[Any]]:
        model = identity(criterion)
        model.optimizer = optim.SGD(model.network.parameters(), lr=0.1)
        if positions:
            vars(model)["split_output"] = lambda output: BaseModel.split_output(
                model, output.unsqueeze(2).expand(-1, -1, positions)
            )
        history = model.fit(parts, parts[-1:], 1)
        return history[0], [weight.tolist() for weight in model.network.parameters()]

    shape = (4, positions) if positions else (4,)
    some = np.resize(np.array([1, 2]), shape)
    nothing = np.full(shape, label)
    row, weights = trained((LOGITS[:4], nothing), (LOGITS[4:8], some))
    expected_row, expected_weights = trained((LOGITS[4:8], some))
    assert weights == expected_weights
    assert math.isfinite(row["train_loss"]) and row["val_loss"] == expected_row["val_loss"]
    if "smoothed" not in name:
        assert row["train_loss"] == expected_row["train_loss"]


def test_a_penalty_on_a_batch_of_no_weight_still_trains() -> None:
    def add_penalty(self: BaseModel, loss: Tensor) -> Tensor:
        return loss + penalty(self)

    changed = by(nn.CrossEntropyLoss(weight=NO_CLASS_0), add_penalty)
    changed.optimizer = optim.SGD(changed.network.parameters(), lr=0.1)
    batch = (LOGITS[:4], np.zeros(4, np.int64))
    changed.fit([batch], [(LOGITS[:4], np.ones(4, np.int64))], 1)
    weight = next(changed.network.parameters())
    assert torch.allclose(weight, 0.9 * torch.eye(C))  # its gradient is the weight


def test_what_is_more_than_the_criterion_is_computed_on_the_whole_set() -> None:
    def compute_loss(self: BaseModel, pred: Tensor, y: Tensor) -> Any:
        return BaseModel.compute_loss(self, pred, y).sqrt()

    found = model(compute_loss).evaluate(data(NUMBERS, 3))["loss"]
    assert found == pytest.approx(math.sqrt(np.mean((LOGITS - NUMBERS) ** 2)), rel=1e-6)


def by(criterion: Any, change: Callable[[BaseModel, Tensor], Tensor]) -> BaseModel:
    """A model that changes the loss which the criterion gives."""

    def compute_loss(self: BaseModel, pred: Tensor, y: Tensor) -> Tensor:
        loss: Tensor = change(self, BaseModel.compute_loss(self, pred, y))
        return loss

    changed = model(compute_loss)
    changed.criterion = criterion
    return changed


def add_in_place(self: BaseModel, loss: Tensor) -> Tensor:
    loss += 3.0
    return loss


def penalty(self: BaseModel) -> Any:
    return 0.5 * sum(weight.square().sum() for weight in self.network.parameters())


@pytest.mark.parametrize("batch_size", [1, 4, None])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_penalty_counts_once_for_a_set_added_in_place_or_not(reduction: str, batch_size: Any) -> None:
    criterion = nn.MSELoss(reduction=reduction)
    plain = expected(criterion, NUMBERS)

    def add_penalty(self: BaseModel, loss: Tensor) -> Tensor:
        return loss + penalty(self)

    found = by(criterion, add_in_place).evaluate(data(NUMBERS, batch_size))["loss"]
    assert found == pytest.approx(plain + 3.0, rel=1e-6)
    penalised = by(criterion, add_penalty)
    found = penalised.evaluate(data(NUMBERS, batch_size))["loss"]
    assert found == pytest.approx(plain + 0.5 * C, rel=1e-6)  # the weights are the identity


def test_a_change_in_place_after_a_step_is_seen() -> None:
    class Own(type(identity(nn.CrossEntropyLoss(weight=WEIGHTS)))):  # type: ignore[misc]
        def train_step(self, x: Any, y: Any) -> Any:
            loss, y_pred = super().train_step(x, y)
            loss *= 2
            return loss, y_pred

    history = Own({}, Namespace(cpu=True)).fit(data(CLASSES, 20), data(CLASSES, None), 1)
    criterion, x, y = nn.CrossEntropyLoss(weight=WEIGHTS), torch.from_numpy(LOGITS), torch.from_numpy(CLASSES)
    means = [float(criterion(x[part], y[part])) for part in (slice(20), slice(20, None))]
    assert history[0]["train_loss"] == pytest.approx(2 * (20 * means[0] + 3 * means[1]) / 23, rel=1e-6)


def test_a_loss_in_inference_mode_is_that_of_the_whole_set() -> None:
    @torch.inference_mode()
    def compute_loss(self: BaseModel, pred: Tensor, y: Tensor) -> Any:
        return BaseModel.compute_loss(self, pred, y)

    found = model(compute_loss).evaluate(data(NUMBERS, 3))["loss"]
    assert found == pytest.approx(float(np.mean((LOGITS - NUMBERS) ** 2)), rel=1e-6)


def test_a_criterion_that_takes_the_place_of_another_is_looked_at() -> None:
    changed = identity(nn.MSELoss())
    for criterion in (masked_mse, by_names, nn.CrossEntropyLoss(weight=WEIGHTS)):
        changed.criterion = criterion
        y = CLASSES if isinstance(criterion, nn.Module) else MASKED if criterion is masked_mse else NUMBERS
        found = changed.evaluate(data(y, 4))["loss"]
        assert found == pytest.approx(expected(criterion, y), rel=1e-6)


def test_a_hook_that_is_added_later_is_seen_in_the_next_pass() -> None:
    criterion = nn.MSELoss()
    changed = identity(criterion)
    changed.evaluate(data(NUMBERS, 4))
    criterion.register_forward_hook(lambda module, args, output: output.sqrt())
    assert changed.evaluate(data(NUMBERS, 4))["loss"] == pytest.approx(expected(criterion, NUMBERS), rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_a_batch_mean_of_flat_outputs_is_over_examples(batch_size: int | None) -> None:
    class Flat(type(identity(nn.KLDivLoss(reduction="batchmean")))):  # type: ignore[misc]
        def split_output(self, output: Any) -> Any:
            return super().split_output(output[:, 0])

    y = np.abs(NUMBERS[:, 0])
    found = Flat({}, Namespace(cpu=True, batch_size=2)).evaluate(data(y, batch_size))["loss"]
    whole = nn.KLDivLoss(reduction="batchmean")(torch.from_numpy(LOGITS[:, 0]), torch.from_numpy(y))
    assert found == pytest.approx(float(whole), rel=1e-6)


def test_an_eval_step_of_a_definition_is_weighted_by_rows() -> None:
    class Own(type(identity(nn.MSELoss()))):  # type: ignore[misc]
        def eval_step(self, x: Any, y: Any) -> Any:
            return torch.tensor(float(len(y))), self.predict_step(x)

    found = Own({}, Namespace(cpu=True, batch_size=2)).evaluate(data(NUMBERS, 20))["loss"]
    assert found == (20 * 20 + 3 * 3) / 23


def test_a_train_step_around_ours_keeps_the_weights() -> None:
    class Own(type(identity(nn.CrossEntropyLoss(weight=WEIGHTS)))):  # type: ignore[misc]
        def train_step(self, x: Any, y: Any) -> Any:
            return super().train_step(x, y)

    history = Own({}, Namespace(cpu=True)).fit(data(CLASSES, 5), data(CLASSES, None), 1)
    assert history[0]["train_loss"] == pytest.approx(
        expected(nn.CrossEntropyLoss(weight=WEIGHTS), CLASSES), rel=1e-6
    )


def test_a_set_that_is_too_large_for_it_is_said_to_be_a_mean_of_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(meters, "WHOLE_SET_BYTES", 100)
    message = r"have more than 100 bytes, too many .* Its loss is the mean over pieces of the set"
    with pytest.warns(HelixbandWarning, match=message):
        found = identity(by_names).evaluate(data(NUMBERS, 20))["loss"]
    largest = np.abs(LOGITS - NUMBERS)
    assert found == pytest.approx((largest[:20].max() * 20 + largest[20:].max() * 3) / 23, rel=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((torch.tensor(1.0), 2, 3), "returned 3 values; it has to return (sum, weight)"),
        ((torch.ones(3), 2), "the sum tensor([1., 1., 1.]); it has to be a scalar tensor"),
        ((1.0, 2), "the sum 1.0; it has to be a scalar tensor"),
    ],
)
def test_what_is_no_sum_and_weight_is_refused(given: Any, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        model(lambda self, pred, y: given).evaluate(data(NUMBERS, None))
    assert message in str(caught.value)


def test_our_models_report_the_whole_sets_loss_too() -> None:
    class Classes(ClassificationModel):
        def init_model(self) -> None:
            network = nn.Identity()
            super().init_model(network, nn.CrossEntropyLoss(weight=WEIGHTS))

    class Numbers(RegressionModel):
        def init_model(self) -> None:
            super().init_model(nn.Identity())

    found = Classes({}, Namespace(cpu=True)).evaluate(data(CLASSES, 3))["loss"]
    assert found == pytest.approx(expected(nn.CrossEntropyLoss(weight=WEIGHTS), CLASSES), rel=1e-6)
    found = Numbers({}, Namespace(cpu=True)).evaluate(data(NUMBERS, 3))["loss"]
    assert found == pytest.approx(float(np.mean((LOGITS - NUMBERS) ** 2)), rel=1e-6)


# What a loss takes besides outputs and labels.


class WithTerm(nn.Module):
    """A layer that leaves a term of the loss, as a Bayesian layer leaves its divergence."""

    def forward(self, x: Tensor) -> Tensor:
        self.term = x.square().mean()
        return x


def test_a_term_that_forward_leaves_is_of_the_set_and_not_of_its_last_piece() -> None:
    class Model(BaseModel):
        def init_model(self) -> None:
            super().init_model(WithTerm(), nn.L1Loss(), None)

        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            return super().compute_loss(y_pred_loss, y) + self.network.term

    expected = np.abs(LOGITS - NUMBERS).mean() + np.square(LOGITS).mean()
    with pytest.warns(HelixbandWarning, match="depends on something else that forward leaves"):
        found = Model({}, Namespace(cpu=True, batch_size=4)).evaluate(data(NUMBERS, 4))["loss"]
    assert found == pytest.approx(expected, rel=1e-6)
    assert Model({}, Namespace(cpu=True, batch_size=99)).evaluate(data(NUMBERS, None))[
        "loss"
    ] == pytest.approx(expected, rel=1e-6)


def test_a_term_among_the_outputs_is_of_the_set_too() -> None:
    class Terms(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return {"y_pred": x, "y_pred_loss": {"pred": x, "term": x.square().mean()}}

    class Model(BaseModel):
        def init_model(self) -> None:
            super().init_model(Terms(), lambda given, y: F.l1_loss(given["pred"], y) + given["term"], None)

    with pytest.warns(HelixbandWarning, match="part of y_pred_loss is of a batch"):
        found = Model({}, Namespace(cpu=True, batch_size=4)).evaluate(data(NUMBERS, 4))["loss"]
    assert found == pytest.approx(np.abs(LOGITS - NUMBERS).mean() + np.square(LOGITS).mean(), rel=1e-6)
