"""Optimizer steps beside plain loops: accumulation, clipping, precision, a train_step of one's own."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn, optim
from torch.nn import functional as F

from base_model import BaseModel, TrainingOptions
from batch_generator import MatrixBatchGenerator
from helixband.definition import load_definition
from helixband.errors import DefinitionError
from helixband.results.directory import Trial
from helixband.training import precision
from helixband.training.schedules import LinearSchedule

X = np.random.default_rng(0).normal(size=(22, 3)).astype(np.float32)
Y = (X @ np.array([[1.0], [2.0], [-1.0]], np.float32) > 0).astype(np.int64)[:, 0]
CLASS_WEIGHTS = torch.tensor([1.0, 3.0])


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


class Model(BaseModel):
    options = TrainingOptions()

    def init_model(self) -> None:
        made = network()
        optimizer = optim.Adam(made.parameters(), lr=0.05)
        super().init_model(made, nn.CrossEntropyLoss(CLASS_WEIGHTS), optimizer, training=self.options)


def data(rows: int) -> MatrixBatchGenerator:
    return MatrixBatchGenerator(X, Y, rows)


def trained(
    rows: int = 8, epochs: int = 2, kind: type[BaseModel] = Model, trial: Trial | None = None, **options: Any
) -> BaseModel:
    model = type("Model", (kind,), {"options": TrainingOptions(**options)})({}, Namespace(cpu=True))
    model.fit(data(rows), data(22), epochs, trial)
    model.engine.state.use(model, model.engine.record.last, "the last state")
    return model


def weights(model: BaseModel) -> Tensor:
    return torch.cat([each.detach().flatten() for each in model.network.parameters()])


def plain_loop(change: Any = None, context: Any = None, epochs: int = 2, rows: int = 8) -> Tensor:
    """The same training by PyTorch alone; `change(network)` is called between backward and step."""
    made = network()
    optimizer = optim.Adam(made.parameters(), lr=0.05)
    for _ in range(epochs):
        for start in range(0, 22, rows):
            x, y = torch.tensor(X[start : start + rows]), torch.tensor(Y[start : start + rows])
            optimizer.zero_grad()
            if context is None:
                output = made(x)
            else:
                with context:
                    output = made(x).float()
            F.cross_entropy(output, y, CLASS_WEIGHTS).backward()
            if change is not None:
                change(made)
            optimizer.step()
    return torch.cat([each.detach().flatten() for each in made.parameters()])


def test_nothing_is_in_the_way_of_a_plain_step() -> None:
    assert trained().engine.update.is_plain
    assert torch.equal(weights(trained()), plain_loop())


@pytest.mark.parametrize(("rows", "accumulate"), [(2, 4), (3, 3), (1, 5)])
def test_accumulated_batches_train_as_one_the_last_group_too(rows: int, accumulate: int) -> None:
    small, large = trained(rows, accumulate=accumulate), trained(rows * accumulate)
    assert weights(small).numpy() == pytest.approx(weights(large).numpy(), abs=1e-6)
    assert small.steps == large.steps
    losses = [[row["train_loss"] for row in model.history] for model in (small, large)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_accumulated_sums_are_not_divided() -> None:
    class Summed(Model):
        def compute_loss(self, y_pred_loss: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(y_pred_loss, y, reduction="sum")

        def init_model(self) -> None:
            made = network()
            optimizer = optim.SGD(made.parameters(), lr=0.01)
            criterion = nn.CrossEntropyLoss(reduction="sum")
            BaseModel.init_model(self, made, criterion, optimizer, training=self.options)

    class ByCriterion(Summed):
        compute_loss = BaseModel.compute_loss

    small, large = trained(2, kind=ByCriterion, accumulate=4), trained(8, kind=ByCriterion)
    assert weights(small).numpy() == pytest.approx(weights(large).numpy(), abs=1e-6)


def test_steps_are_those_of_the_optimizer() -> None:
    class Scheduled(Model):
        def init_model(self) -> None:
            made = network()
            optimizer = optim.SGD(made.parameters(), lr=1.0)
            scheduler = optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=self.total_steps)
            BaseModel.init_model(
                self, made, nn.CrossEntropyLoss(), optimizer, scheduler=scheduler, scheduler_interval="step",
                training=self.options,
            )  # fmt: skip

    options = {"options": TrainingOptions(accumulate=4)}
    args = Namespace(cpu=True, steps_per_epoch=11, total_epochs=2, epoch=2)
    model = type("Model", (Scheduled,), options)({}, args)
    model.fit(data(2), data(22), 2)
    assert model.steps == 6
    assert [row["lr"] for row in model.history] == pytest.approx([0.5, 0.0], abs=1e-6)


def test_more_batches_than_an_epoch_has_are_refused() -> None:
    with pytest.raises(DefinitionError, match="accumulate is 4, and an epoch has 3 batches"):
        trained(accumulate=4)


def test_more_batches_than_an_epoch_of_unknown_length_has_are_told_after_it() -> None:
    class Unknown:
        def __iter__(self) -> Any:
            return iter(data(8))

    model = type("Accumulating", (Model,), {"options": TrainingOptions(accumulate=9)})(
        {}, Namespace(cpu=True)
    )
    with pytest.raises(DefinitionError, match="accumulate is 9, and the epoch had 3 batches"):
        model.fit(Unknown(), data(22), 1)


def test_gradients_are_clipped_as_by_torch() -> None:
    norms: list[float] = []

    def by_norm(made: nn.Module) -> None:
        norms.append(float(nn.utils.clip_grad_norm_(made.parameters(), 0.1)))

    model = trained(clip_norm=0.1)
    assert torch.equal(weights(model), plain_loop(by_norm))
    logged = [row["gradient_norm_L2"] for row in model.history]
    assert logged == pytest.approx([np.mean(norms[:3]), np.mean(norms[3:])])
    by_value = trained(clip_value=0.01)
    assert torch.equal(
        weights(by_value), plain_loop(lambda made: nn.utils.clip_grad_value_(made.parameters(), 0.01))
    )


def test_a_clipped_norm_can_be_a_schedule() -> None:
    steps = iter(range(6))

    def clip(made: nn.Module) -> None:
        nn.utils.clip_grad_norm_(made.parameters(), 0.1 + 0.1 * next(steps))

    limit = LinearSchedule(start=0.1, end=1.1, duration=10, unit="step")
    assert torch.equal(weights(trained(clip_norm=limit)), plain_loop(clip))


@pytest.mark.parametrize(("kind", "order"), [("L1", 1.0), ("L2", 2.0), ("max", float("inf"))])
def test_the_norm_of_gradients_is_tracked(kind: str, order: float) -> None:
    found: list[float] = []

    def measure(made: nn.Module) -> None:
        found.append(float(nn.utils.get_total_norm([each.grad for each in made.parameters()], order)))

    expected = plain_loop(measure)
    model = trained(gradient_norm=kind)
    assert torch.equal(weights(model), expected)
    assert model.history[0][f"gradient_norm_{kind}"] == pytest.approx(np.mean(found[:3]))


def test_the_gradients_before_a_step_can_be_changed() -> None:
    class Halved(Model):
        def on_before_step(self) -> None:
            for each in self.network.parameters():
                each.grad.mul_(0.5)  # type: ignore[union-attr]

    def halve(made: nn.Module) -> None:
        for each in made.parameters():
            each.grad.mul_(0.5)  # type: ignore[union-attr]

    assert torch.equal(weights(trained(kind=Halved)), plain_loop(halve))
    small, large = trained(2, kind=Halved, accumulate=4, clip_norm=0.1), trained(kind=Halved, clip_norm=0.1)
    assert weights(small).numpy() == pytest.approx(weights(large).numpy(), abs=1e-6)


class Own(Model):
    """A train_step of one's own, which trains on each batch as the usual one does."""

    def train_step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Any]:
        output = self.forward(x)
        loss = self.compute_loss(output["y_pred_loss"], y)
        self.backward(loss)
        self.optimizer_step()
        return loss.detach(), output["y_pred"].detach()


@pytest.mark.parametrize("options", [{}, {"accumulate": 3, "clip_norm": 0.1}])
def test_a_step_of_ones_own_has_all_parts(options: Any) -> None:
    rows = 2 if options else 8
    assert torch.equal(weights(trained(rows, kind=Own, **options)), weights(trained(rows, **options)))


def test_a_step_of_ones_own_that_goes_around_the_parts_is_refused() -> None:
    class Around(Model):
        def train_step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Any]:
            assert self.optimizer is not None
            self.optimizer.zero_grad()
            loss = self.compute_loss(self.network(x), y)
            loss.backward()
            self.optimizer.step()
            return loss.detach(), None

    trained(kind=Around)
    with pytest.raises(DefinitionError, match=r"write self\.backward\(loss\) for loss\.backward\(\)"):
        trained(kind=Around, clip_norm=1.0)

    class Forgets(Model):
        def train_step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Any]:
            self.optimizer_step()
            return torch.zeros(()), None

    with pytest.raises(DefinitionError, match=r"optimizer_step\(\) was called without backward\(loss\)"):
        trained(kind=Forgets)


def test_bfloat16_is_that_of_autocast_and_gives_single_precision() -> None:
    model = trained(precision="bf16")
    expected = plain_loop(context=torch.autocast("cpu", torch.bfloat16))
    assert torch.equal(weights(model), expected)
    assert not torch.equal(expected, plain_loop())
    assert model.predict(X).dtype == np.float32
    assert not torch.is_autocast_enabled("cpu")


def test_autocast_ends_where_the_network_fails() -> None:
    model = trained(precision="bf16")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model.predict(X[:, :2])
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("name", ["16", "tf32"])
def test_what_a_cpu_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match=f"precision is '{name}', which a CPU does not have"):
        trained(precision=name)


def by_new_setting() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def by_old_setting() -> None:
    torch.set_float32_matmul_precision("medium")


@pytest.mark.parametrize(
    ("choose", "tell"),
    [
        (by_new_setting, lambda: torch.backends.cuda.matmul.fp32_precision),
        (by_old_setting, torch.get_float32_matmul_precision),
    ],
)
def test_how_a_definition_has_the_device_multiply_stays(
    choose: Callable[[], None], tell: Callable[[], str]
) -> None:
    matmul = torch.backends.cuda.matmul
    choose()
    try:
        chosen = tell()
        with precision.single():
            assert matmul.fp32_precision == "ieee"
        assert tell() == chosen
        precision.begin_pass("tf32")
        assert (matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision) == ("tf32", "tf32")
        precision.begin_pass("32")
        assert tell() == chosen
    finally:
        matmul.fp32_precision = "none"
        torch.set_float32_matmul_precision("highest")


def test_the_scale_of_a_loss_goes_on_with_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_check", lambda precision, device: None)
    monkeypatch.setattr(
        precision, "GradScaler", lambda device: torch.amp.GradScaler("cpu", 4.0, growth_interval=2)
    )
    whole = trained(epochs=3, precision="16", clip_norm=0.1)
    trained(epochs=1, precision="16", clip_norm=0.1, trial=Trial(tmp_path))
    resumed = trained(epochs=3, precision="16", clip_norm=0.1, trial=Trial(tmp_path))
    assert torch.equal(weights(resumed), weights(whole))
    assert resumed.engine.record.last["scaler"] == whole.engine.record.last["scaler"]  # type: ignore[index]
    assert whole.engine.record.last["scaler"]["scale"] == 64.0  # type: ignore[index]


def test_a_training_with_all_parts_goes_on_bit_for_bit(tmp_path: Path) -> None:
    options: dict[str, Any] = {"accumulate": 3, "clip_norm": 0.1, "clip_value": 0.05, "precision": "bf16"}
    trained(2, epochs=1, trial=Trial(tmp_path), **options)
    resumed = trained(2, epochs=3, trial=Trial(tmp_path), **options)
    whole = trained(2, epochs=3, **options)
    assert torch.equal(weights(resumed), weights(whole))
    assert resumed.history == whole.history


def test_an_optimizer_that_needs_a_closure_goes_without_accumulation() -> None:
    class ByClosure(Model):
        def init_model(self) -> None:
            made = network()
            optimizer = optim.LBFGS(made.parameters())
            BaseModel.init_model(self, made, nn.CrossEntropyLoss(), optimizer, training=self.options)

    with pytest.raises(DefinitionError, match="LBFGS computes the loss of a step several times"):
        trained(kind=ByClosure, accumulate=2)
    assert "gradient_norm_L2" in trained(kind=ByClosure, clip_norm=1.0).history[0]


def test_the_adversarial_example_trains_on_moved_inputs() -> None:
    definition = load_definition(ROOT / "examples" / "conv_seq_classifier" / "adversarial.py")
    definition.check({})
    x = np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(4, size=(20, 30))].transpose(0, 2, 1)
    batches = MatrixBatchGenerator(x, np.arange(20) % 2, 10)
    config = {"lr": 0.01, "weight_decay": 0.0, "dense_units": 4, "dropout": 0.1}
    options = {"training": {"accumulate": 2}, "cpu": True}
    model = definition.new_model(config, Namespace(**options))
    model.fit(batches, batches, 2)
    assert model.steps == 2
    assert model.history[1]["train_loss"] < model.history[0]["train_loss"]


class Alternating(BaseModel):
    """A body and a head with an optimizer each: the head takes two steps a batch, the body one."""

    options = TrainingOptions()

    def init_model(self) -> None:
        made = network()
        optimizers: dict[str, optim.Optimizer] = {
            "body": optim.Adam(made[0].parameters(), lr=0.05),
            "head": optim.SGD(made[2].parameters(), lr=0.1, momentum=0.9),
        }
        super().init_model(made, nn.CrossEntropyLoss(CLASS_WEIGHTS), optimizers, training=self.options)

    def train_step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Any]:
        for name in ("head", "head", "body"):
            loss = self.compute_loss(self.network(x), y)
            self.backward(loss)
            self.optimizer_step(name)
        return loss.detach(), None


def test_optimizers_by_name_take_their_steps_in_turn(tmp_path: Path) -> None:
    made = network()
    body = optim.Adam(made[0].parameters(), lr=0.05)
    head = optim.SGD(made[2].parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        for start in range(0, 22, 8):
            x, y = torch.tensor(X[start : start + 8]), torch.tensor(Y[start : start + 8])
            for optimizer in (head, head, body):
                made.zero_grad()
                F.cross_entropy(made(x), y, CLASS_WEIGHTS).backward()
                nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 0.1)
                optimizer.step()
    expected = torch.cat([each.detach().flatten() for each in made.parameters()])
    model = trained(kind=Alternating, clip_norm=0.1)
    assert torch.equal(weights(model), expected)
    assert model.steps == 6
    assert (model.history[0]["lr"], model.history[0]["lr_1"]) == (0.05, 0.1)
    trained(kind=Alternating, epochs=1, trial=Trial(tmp_path), clip_norm=0.1)
    resumed = trained(kind=Alternating, trial=Trial(tmp_path), clip_norm=0.1)
    assert torch.equal(weights(resumed), expected)


def test_one_backward_serves_several_optimizers() -> None:
    class Both(Alternating):
        def train_step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Any]:
            loss = self.compute_loss(self.network(x), y)
            self.backward(loss)
            self.optimizer_step("body")
            self.optimizer_step("head")
            return loss.detach(), None

    assert trained(kind=Both).steps == 6

    class Twice(Alternating):
        def train_step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Any]:
            loss = self.compute_loss(self.network(x), y)
            self.backward(loss)
            self.optimizer_step("body")
            self.optimizer_step("body")
            return loss.detach(), None

    with pytest.raises(DefinitionError, match=r"without backward\(loss\) before it"):
        trained(kind=Twice)


@pytest.mark.parametrize(
    ("name", "told"),
    [("haed", "there is no optimizer 'haed': did you mean 'head'"), (None, "self.optimizer is several")],
)
def test_an_optimizer_is_stepped_by_its_name(name: str | None, told: str) -> None:
    class Wrong(Alternating):
        def train_step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Any]:
            self.backward(self.compute_loss(self.network(x), y))
            self.optimizer_step(name)
            return torch.zeros(()), None

    with pytest.raises(DefinitionError, match=told):
        trained(kind=Wrong)


def test_optimizers_by_name_need_a_step_of_ones_own_and_no_accumulation() -> None:
    with pytest.raises(DefinitionError, match="which a train_step.* of your own has to step"):
        trained(kind=type("Usual", (Alternating,), {"train_step": BaseModel.train_step}))
    with pytest.raises(DefinitionError, match="accumulate goes with one optimizer"):
        trained(kind=Alternating, accumulate=2)

    class Wrong(Alternating):
        def init_model(self) -> None:
            BaseModel.init_model(self, network(), nn.CrossEntropyLoss(), {"body": 0.1})  # type: ignore[dict-item]

    with pytest.raises(DefinitionError, match=r"optimizer\['body'\] is 0\.1; a dict of optimizers has names"):
        trained(kind=Wrong)
