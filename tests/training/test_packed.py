"""Steps of several members at once: each comes to what it comes to alone, whoever else is in the pack."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

from base_model import BaseModel, ClassificationModel, RegressionModel, TrainingOptions
from batch_generator import MatrixBatchGenerator
from constraints import Constraint, MaxNormConstraint
from helixband.randomness import Stream
from helixband.results.directory import Results
from helixband.training.ended import Ended
from helixband.training.fit import close_epoch, fit
from helixband.training.member import Member
from helixband.training.passes import train_pass
from helixband.training.schedules import LinearSchedule, StepSchedule
from helixband.training.steps import template as template_of_packs
from helixband.training.steps.eager import Eager
from helixband.training.steps.pack import Pack
from helixband.training.steps.packed import Packed
from helixband.training.steps.template import Template

X = np.random.default_rng(0).random((44, 1, 12), dtype=np.float32)
Y = X.sum(axis=(1, 2)) / 4
CLASSES = (np.median(Y) < Y).astype(np.int64)


class Model(RegressionModel):
    """A small network with all that members of a pack have of their own."""

    def init_model(self) -> None:
        config = self.config
        network = nn.Sequential(
            nn.Conv1d(1, 4, 3, dilation=config.get("dilation", 1), bias=False),
            nn.BatchNorm1d(4),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool1d(3),
            nn.Flatten(),
            nn.Dropout(config.get("dropout", 0.0)),
            nn.Linear(12, 1),
        )
        make = config.get("optimizer", "Adam")
        settings = {key: value for key, value in config.items() if key in SETTINGS}
        optimizer = getattr(optim, make)(network.parameters(), lr=config["lr"], **settings)
        scheduler, interval = None, None
        if "cycle" in config:
            scheduler, interval = (
                optim.lr_scheduler.OneCycleLR(optimizer, config["cycle"], total_steps=18),
                "step",
            )
        options = TrainingOptions(**config.get("training", {}), constraints=self.constraints())
        super().init_model(
            network, optimizer=optimizer, scheduler=scheduler, scheduler_interval=interval, training=options
        )

    def constraints(self) -> list[Constraint]:
        return []


SETTINGS = (
    "weight_decay betas momentum nesterov dampening amsgrad maximize centered alpha rho lr_decay eps".split()
)


class Constrained(Model):
    def constraints(self) -> list[Constraint]:
        return [MaxNormConstraint(0.3)]


def make(
    seed: int, kind: type[BaseModel] = Model, epochs: int = 3, trial: Any = None, y: Any = Y, **config: Any
) -> Member:
    torch.manual_seed(seed)
    np.random.seed(seed)
    model = kind({"lr": 0.01, **config}, Namespace(cpu=True))
    train = MatrixBatchGenerator(X, y, 8, shuffle=True)
    return model.as_member(train, MatrixBatchGenerator(X, y), epochs, trial, seed)


def assert_alike(one: Member, other: Member, tolerance: float = 1e-4) -> None:
    assert one.error is None and other.error is None
    rows = zip(one.record.history, other.record.history, strict=True)
    assert all(row == pytest.approx(same, rel=tolerance, abs=tolerance) for row, same in rows)
    weights, same = (each.model.network.state_dict() for each in (one, other))
    assert all(torch.allclose(value, same[name], tolerance, 1e-5) for name, value in weights.items())


@pytest.fixture(autouse=True)
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many members each step was of that several took together."""
    SIZES.clear()

    def step(pack: Pack, batches: Any, of_pack: Any = Pack.step) -> Any:
        SIZES.append(len(pack.members))
        return of_pack(pack, batches)

    monkeypatch.setattr(Pack, "step", step)
    return SIZES


SIZES: list[int] = []


def told_of_packed_as_alone(makers: list[Callable[[], Member]]) -> list[str]:
    """Why members went alone, of which each comes to what it comes to alone."""
    told: list[str] = []
    alone, together = [make() for make in makers], [make() for make in makers]
    for member in alone:
        fit([member], Eager())
    fit(together, Packed(lambda member, reason: told.append(reason)))
    for one, other in zip(alone, together, strict=True):
        assert_alike(one, other)
    return told


def assert_packed_as_alone(makers: list[Callable[[], Member]]) -> None:
    assert told_of_packed_as_alone(makers) == []
    assert max(SIZES) == len(makers)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("SGD", [{}, {"weight_decay": 0.1}]),
        ("SGD", [{"momentum": 0.9}, {"momentum": 0.5, "dampening": 0.1}]),
        ("SGD", [{"momentum": 0.9, "nesterov": True}, {"momentum": 0.3, "nesterov": True}]),
        ("Adam", [{}, {"weight_decay": 0.1, "betas": (0.7, 0.9)}]),
        ("Adam", [{"amsgrad": True}, {"amsgrad": True, "eps": 1e-3}]),
        ("AdamW", [{"weight_decay": 0.2}, {"weight_decay": 0.0}]),
        ("RMSprop", [{"alpha": 0.9}, {"weight_decay": 0.1}]),
        ("RMSprop", [{"centered": True, "momentum": 0.5}, {"centered": True, "momentum": 0.9}]),
        ("Adadelta", [{"rho": 0.8}, {"weight_decay": 0.1}]),
        ("Adagrad", [{"lr_decay": 0.1}, {"weight_decay": 0.1}]),
        ("Adam", [{"maximize": True}, {"maximize": True, "weight_decay": 0.1}]),
    ],
)
def test_optimizers_step_as_alone(kind: str, settings: list[dict[str, Any]]) -> None:
    makers = [
        lambda n=n, given=given: make(n, epochs=2, optimizer=kind, lr=0.01 * (n + 1), **given)
        for n, given in enumerate(settings)
    ]
    assert_packed_as_alone(makers)


@pytest.mark.parametrize(
    "training",
    [
        [{"clip_norm": 0.5}, {"clip_norm": LinearSchedule(start=0.1, end=1.0, duration=3)}],
        [{"clip_value": 0.05}, {"clip_value": 0.01}],
        [{"gradient_norm": "L1"}, {"gradient_norm": "L1"}],
        [{"gradient_norm": "max", "clip_norm": 0.2}, {"gradient_norm": "max", "clip_norm": 9.0}],
        [{"ema_decay": 0.5}, {"ema_decay": 0.9}],
        [{"swa_start": 0.3}, {}],
        [{"accumulate": 2, "clip_norm": 9.0}, {"accumulate": 2, "clip_norm": 0.3}],
        [{"accumulate": 4, "ema_decay": 0.5}, {"accumulate": 4, "ema_decay": 0.9}],
    ],
)
def test_options_hold_as_alone(training: list[dict[str, Any]]) -> None:
    makers = [lambda n=n, given=given: make(n, training=given) for n, given in enumerate(training)]
    assert_packed_as_alone(makers)


def test_schedules_and_constraints_hold_as_alone() -> None:
    falling = StepSchedule(start=0.05, factor=0.9, every=2, unit="step")
    assert_packed_as_alone([lambda: make(1, Constrained, lr=falling), lambda: make(2, Constrained, lr=0.02)])
    assert_packed_as_alone([lambda: make(1, cycle=0.05), lambda: make(2, cycle=0.02)])


def test_classes_are_learned_as_alone() -> None:
    class Classes(ClassificationModel):
        def init_model(self) -> None:
            network = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 2))
            criterion = self.config.get("criterion")
            optimizer = optim.AdamW(network.parameters(), self.config["lr"])
            super().init_model(network, criterion and criterion(), optimizer)

    for given in ({}, {"criterion": nn.CrossEntropyLoss}):
        makers = [lambda n=n, given=given: make(n, Classes, y=CLASSES, **given) for n in range(3)]
        assert_packed_as_alone(makers)


def test_criteria_may_differ_in_what_the_first_batches_do_not_show() -> None:
    class Weighted(ClassificationModel):
        def init_model(self) -> None:
            network = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
            criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(self.config["pos_weight"]))
            super().init_model(network, optimizer=optim.Adam(network.parameters()), criterion=criterion)

    rare = np.zeros(len(Y), np.int64)
    for row in range(0, len(Y), 11):  # it is in one batch of an epoch alone
        rare[:], rare[row] = 0, 1
        labels = rare.copy()
        assert_packed_as_alone(
            [lambda w=w, y=labels: make(1, Weighted, y=y, epochs=1, pos_weight=w) for w in (1.0, 50.0)]
        )


def test_losses_of_the_definition_s_own_are_computed_for_each() -> None:
    class Own(Model):
        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            error = y_pred_loss[:, 0] - y
            scale = self.config["scale"]
            return {"square": (scale * error.square().sum(), len(y)), "size": error.abs().mean()}

    rising = LinearSchedule(start=0.5, end=2.0, duration=2)
    assert_packed_as_alone(
        [lambda: make(1, Own, scale=1.0), lambda: make(2, Own, scale=3.0), lambda: make(3, Own, scale=rising)]
    )


def test_a_member_does_not_depend_on_who_else_is_in_the_pack() -> None:
    def trained(*others: tuple[int, float]) -> Member:
        members = [make(7, dropout=0.4), *(make(seed, dropout=rate, epochs=2) for seed, rate in others)]
        stepper = Packed()
        fit(members[::-1] if len(others) == 1 else members, stepper)
        assert not stepper.alone
        return members[0]

    one = trained((1, 0.1))
    for others in ([], [(2, 0.3), (3, 0.0)], [(4, 0.9)]):
        assert_alike(one, trained(*others), 1e-5)


def test_members_join_and_leave_at_the_ends_of_epochs() -> None:
    members = [make(n, dropout=0.3, epochs=epochs) for n, epochs in enumerate((2, 4, 2))]
    stepper = Packed()
    with Stream.turns():
        for member in members:
            member.begin()
        for running in ([0, 1], [0, 1], [1, 2], [2, 1]):
            train_pass([members[number] for number in running], stepper)
            for number in running:
                close_epoch(members[number], stepper)
    for number, member in enumerate(members):
        assert member.ended is Ended.EPOCHS
        by_itself = make(number, dropout=0.3, epochs=member.epochs)
        fit([by_itself], Packed())
        assert_alike(by_itself, member, 1e-5)


def test_what_a_definition_does_with_batches_is_done_for_each() -> None:
    class Noisy(Model):
        def prepare_batch(self, x: Any, y: Any) -> tuple[Any, Any]:
            return x + torch.rand(1) * self.config["noise"], y

        def on_epoch_end(self, row: Any) -> dict[str, float]:
            return {"noise": self.config["noise"]}

    class Weighted(Model):
        def split_batch(self, batch: Any) -> tuple[Any, ...]:
            x, y = batch
            return x, y, np.abs(y) * self.config["by"]

    assert_packed_as_alone([lambda n=n: make(n, Noisy, noise=0.1 * n) for n in range(3)])
    assert_packed_as_alone([lambda n=n: make(n, Weighted, by=1.0 + n) for n in range(3)])


def test_a_constraint_holds_for_each_unit_of_a_transposed_convolution() -> None:
    def network(config: Any) -> nn.Module:
        return nn.Sequential(nn.ConvTranspose1d(1, 4, 3, groups=1), nn.Flatten(), nn.Linear(56, 1))

    kind = of_network(network, constraints=[MaxNormConstraint(0.2, "0")])
    assert_packed_as_alone([lambda n=n: make(n, kind) for n in range(2)])


def test_constraints_leave_a_spectral_norm_as_it_is() -> None:
    def network(config: Any) -> nn.Module:
        normed = nn.utils.parametrizations.spectral_norm(nn.Linear(12, 4))  # which changes as it is read
        return nn.Sequential(nn.Flatten(), normed, nn.Dropout(0.0), nn.Linear(4, 1))

    kind = of_network(network, constraints=[MaxNormConstraint(0.2)])
    assert_packed_as_alone([lambda: make(1, kind)])


def test_dropout_has_the_mean_of_dropout_alone() -> None:
    def losses(stepper: Callable[[], Any]) -> np.ndarray[Any, Any]:
        members = [make(5, dropout=0.5, epochs=2) for _ in range(20)]
        for seed, member in enumerate(members):
            member.seed = seed
            with member.turn:
                torch.manual_seed(100 + seed)
        fit(members, stepper())
        return np.array([member.record.history[-1]["train_loss"] for member in members])

    eager, together = losses(Eager), losses(Packed)
    error = np.sqrt((eager.var(ddof=1) + together.var(ddof=1)) / 20)
    assert together.std() > 0
    assert abs(eager.mean() - together.mean()) < 2 * error


def test_a_packed_trial_goes_on_alone_and_a_lone_one_packed(tmp_path: Path) -> None:
    trials = [Results(tmp_path).trial(name) for name in ("0000", "0001")]

    def go_on(stepper: Any, epochs: int) -> list[Member]:
        members = [make(n, epochs=epochs, trial=trial) for n, trial in enumerate(trials)]
        fit(members, stepper)
        return members

    go_on(Packed(), 1)
    go_on(Eager(), 2)
    for number, member in enumerate(go_on(Packed(), 3)):
        alone = make(number)
        fit([alone], Eager())
        assert_alike(alone, member)
    assert [trial.ways() for trial in trials] == [["packed", "one by one", "packed"]] * 2


def test_in_which_way_steps_were_computed_is_recorded_where_it_is_not_the_plain_one(tmp_path: Path) -> None:
    own, packed, plain = (Results(tmp_path).trial(name) for name in ("0000", "0001", "0002"))
    fit([make(0, OwnStep, epochs=2, trial=own), make(1, epochs=2, trial=packed)], Packed())
    fit([make(2, epochs=2, trial=plain)], Eager())
    assert [trial.ways() for trial in (own, packed, plain)] == [[], ["packed", "packed"], []]


def test_a_resumed_pack_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    trials = [Results(tmp_path).trial(name) for name in ("0000", "0001")]
    for epochs in (1, 3):
        resumed = [make(n, epochs=epochs, trial=trial, dropout=0.5) for n, trial in enumerate(trials)]
        fit(resumed, Packed())
    whole = [make(n, dropout=0.5) for n in range(2)]
    fit(whole, Packed())
    for one, other in zip(whole, resumed, strict=True):
        assert_alike(one, other, 1e-6)


class OwnStep(Model):
    def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        return super().train_step(x, y)


class OwnForward(Model):
    def forward(self, x: Any) -> dict[str, Any]:
        return super().forward(x)


class OwnHook(Model):
    def on_before_step(self) -> None:
        pass


def of_network(make_network: Callable[[Any], nn.Module], **training: Any) -> type[BaseModel]:
    class Other(RegressionModel):
        def init_model(self) -> None:
            network = make_network(self.config)
            optimizer = optim.Adam(network.parameters(), self.config["lr"])
            super().init_model(network, optimizer=optimizer, training=TrainingOptions(**training))

    return Other


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.last = function, nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(x.flatten(1)))


class OneByOne(Constraint):
    """Brings the largest weight to 1, by a number that it takes from the tensor."""

    def apply(self, weight: Tensor) -> None:
        weight.div_(float(weight.abs().max()))


def halved(x: Tensor) -> Tensor:
    return x * 0.5


def halve(x: Tensor) -> Tensor:
    return x.mul_(0.5)


def drop(x: Tensor) -> Tensor:
    return nn.functional.dropout(x, 0.5)


class Configured(nn.Module):
    """Reads the configuration as it computes."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config, self.last = config, nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.flatten(1)) * self.config["lr"]


class Odd(nn.Module):
    """Computes by what none of its attributes tells."""

    SCALES: WeakKeyDictionary[nn.Module, float] = WeakKeyDictionary()

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(12, 1)
        self.SCALES[self] = 2.0

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.flatten(1)) * self.SCALES.get(self, 1.0)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.last = nn.GRU(12, 3, batch_first=True), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.cells(x)[0][:, -1])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (OwnStep, "OwnStep has a train_step of its own"),
        (OwnForward, "OwnForward has a forward of its own"),
        (OwnHook, "OwnHook has a on_before_step of its own"),
        (of_network(lambda config: Recurrent()), "its network has the recurrent layer GRU cells"),
        (of_network(lambda config: Function(halve)), "its network changes its input in place"),
        (
            of_network(lambda config: Function(drop)),
            "its network draws random numbers by other means than layers of dropout",
        ),
        (
            of_network(Configured),
            "its network reads a schedule of the configuration",
        ),
        (
            of_network(lambda config: Function(halved), freeze={"last.weight": 1}),
            "freeze",
        ),
        (
            of_network(lambda config: Function(halved), constraints=[OneByOne()]),
            "its constraint OneByOne takes the weights of one network at a time",
        ),
    ],
)
def test_what_cannot_be_packed_goes_alone_and_is_named(kind: type[BaseModel], reason: str) -> None:
    told: list[str] = []
    rate = StepSchedule(start=0.01, factor=0.5, every=1)

    def members() -> list[Member]:
        return [make(1, kind, 2, lr=rate), make(2, kind, 2, lr=rate), make(3, epochs=2), make(4, epochs=2)]

    together, alone = members(), members()
    stepper = Packed(lambda member, reason: told.append(reason))
    fit(together, stepper)
    assert told == [reason] * 2
    for one, other in zip(alone, together, strict=True):
        fit([one], Eager())
        assert_alike(one, other)


def test_networks_that_differ_otherwise_than_in_tensors_are_not_packed_together(sizes: list[int]) -> None:
    assert told_of_packed_as_alone([lambda n=n: make(n, dilation=1 + n % 2) for n in range(4)]) == []
    assert set(sizes) == {2}


def test_a_member_whose_numbers_differ_from_its_own_network_goes_alone() -> None:
    kind = of_network(lambda config: Odd())
    makers = [lambda n=n: make(n, kind) for n in range(2)]
    (one, other) = told_of_packed_as_alone(makers)
    assert one.startswith("its loss on the first batch differs by ")


def test_a_member_that_is_not_finite_leaves_and_the_others_do_not_notice() -> None:
    members = [make(1), make(2, lr=float("inf")), make(3)]
    fit(members, Packed())
    assert [member.ended for member in members] == [Ended.EPOCHS, Ended.NAN, Ended.EPOCHS]
    for number in (0, 2):
        alone = make(number + 1)
        fit([alone], Eager())
        assert_alike(alone, members[number])


def test_memory_that_does_not_suffice_halves_the_pack(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int]
) -> None:
    def update(pack: Pack, *given: Any, of_pack: Any = Pack.update) -> Any:
        if len(pack.members) > 2:  # statistics of BatchNorm have moved by then
            raise torch.OutOfMemoryError("no more")
        return of_pack(pack, *given)

    monkeypatch.setattr(Pack, "update", update)
    assert told_of_packed_as_alone([lambda n=n: make(n, epochs=1) for n in range(5)]) == []
    assert sizes[:2] == [5, 3]
    assert max(sizes[2:]) == 2


def test_a_step_of_several_that_fails_is_taken_by_each(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fails(Model):
        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            if self.steps == self.config["at"]:
                raise ValueError("at this step")
            return super().compute_loss(y_pred_loss, y)

    members = [make(1, Fails, at=99), make(2, Fails, at=9), make(3, Fails, at=99)]
    fit(members, Packed())
    assert [member.ended for member in members] == [Ended.EPOCHS, Ended.ERROR, Ended.EPOCHS]
    assert str(members[1].error) == "at this step"
    alone = make(3, Fails, at=99)
    fit([alone], Eager())
    assert_alike(alone, members[2])

    def step(pack: Pack, batches: Any) -> Any:
        raise RuntimeError("together")

    monkeypatch.setattr(Pack, "step", step)
    told = told_of_packed_as_alone([lambda n=n: make(n) for n in range(2)])
    assert told == ["a step of several failed: RuntimeError: together"] * 2


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 4},
        {"kernel_size": 3, "stride": 2, "padding": 2},
        {"kernel_size": 3, "dilation": 3, "padding": "same"},
        {"kernel_size": 5, "padding": 2, "padding_mode": "circular", "bias": False},
    ],
)
def test_an_unfolded_convolution_is_the_convolution(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(3, 5, **settings))
    x = torch.randn(4, 3, 17, requires_grad=True)
    found = []
    for unfolds in (False, True):
        template = Template(network)
        template.unfold(unfolds)
        y = template.network(x)
        (gradient,) = torch.autograd.grad(y.sin().sum(), x)
        found.append((y, gradient))
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*found, strict=True))


def test_members_are_packed_with_unfolded_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    def unfolding(network: nn.Module) -> Template:
        template = Template(network)
        template.unfold(True)
        return template

    monkeypatch.setattr(template_of_packs, "Template", unfolding)
    assert_packed_as_alone([lambda n=n: make(n) for n in range(3)])


def test_steps_that_are_not_finite_are_left_out_for_their_member_alone() -> None:
    y = Y.copy()

    class Skips(Model):
        def prepare_batch(self, x: Any, y: Any) -> tuple[Any, Any]:
            return x, y * self.config["by"] if self.steps % 5 == 2 else y

    options: dict[str, Any] = {"nan": "skip"}
    for more in ({}, {"ema_decay": 0.8}):
        assert_packed_as_alone(
            [
                lambda n=n, by=by, training=options | more: make(n, Skips, y=y, by=by, training=training)
                for n, by in enumerate([1.0, float("inf"), 2.0])
            ]
        )


def test_why_losses_are_computed_apart_is_told_once_a_cause() -> None:
    class Own(Model):
        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            return super().compute_loss(y_pred_loss, y)

    class Branching(Model):
        def init_model(self) -> None:
            super().init_model()
            self.criterion = largest_of

    told: list[str] = []
    stepper = Packed(tell_apart=told.append)
    for kind in (Own, Branching):
        for _ in range(2):
            members = [make(n, kind, epochs=1) for n in range(2)]
            fit(members, stepper)
            alone = make(1, kind, epochs=1)
            fit([alone], Eager())
            assert_alike(alone, members[1])
    assert told[0] == "Own has a compute_loss or split_output of its own"
    assert len(told) == 2 and told[1].startswith("torch.func refuses it: RuntimeError: vmap: ")


def largest_of(y_pred: Any, y_true: Any) -> Any:
    size = (y_pred - y_true.view_as(y_pred)).abs()
    return size.mean() if float(size.max()) < 1 else size.square().mean()
