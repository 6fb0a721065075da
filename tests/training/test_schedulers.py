"""torch's schedulers: when they are stepped, by what, and those that are made for another number of steps."""

import random
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from base_model import BaseModel, RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.errors import DefinitionError, ResultsMismatch
from helixband.files import read_document
from helixband.randomness import late_import, unmoved
from helixband.training.options import TrainingOptions

X = np.random.default_rng(0).random((40, 3), dtype=np.float32)
Y = X.sum(axis=1)
SPE = 5  # steps per epoch, of 8


def data() -> tuple[MatrixBatchGenerator, MatrixBatchGenerator]:
    return MatrixBatchGenerator(X, Y, 8, shuffle=True), MatrixBatchGenerator(X, Y)


def make(
    scheduler: Callable[[Any], Any], rewards: list[float] | None = None, args: Any = None, **options: Any
) -> BaseModel:
    class Model(RegressionModel):
        def init_model(self) -> None:
            network = nn.Linear(3, 1)
            optimizer = optim.SGD(network.parameters(), lr=0.1)
            super().init_model(network, optimizer=optimizer, scheduler=scheduler(optimizer), **options)

        def get_hyperband_reward(self, result: Any) -> float:
            return rewards[self.epoch] if rewards else -result["val_loss"]

    torch.manual_seed(0)
    return Model({}, args or Namespace(cpu=True))


def rates(model: BaseModel, epochs: int) -> list[float]:
    return [round(row["lr"], 6) for row in model.fit(*data(), epochs)]


def test_a_scheduler_is_stepped_after_each_epoch_or_each_step() -> None:
    halving = lambda optimizer: StepLR(optimizer, 1, gamma=0.5)  # noqa: E731
    assert rates(make(halving), 3) == [0.1, 0.05, 0.025]
    by_step = make(halving, scheduler_interval="step")
    assert rates(by_step, 2) == [round(0.1 * 0.5**5, 6), round(0.1 * 0.5**10, 6)]


def test_an_interval_of_another_name_is_refused() -> None:
    with pytest.raises(
        DefinitionError, match="scheduler_interval is 'batch'; it has to be 'epoch' or 'step'"
    ):
        make(lambda optimizer: StepLR(optimizer, 1), scheduler_interval="batch")


@pytest.mark.parametrize(
    ("scheduler", "options", "message"),
    [
        (
            lambda o: OneCycleLR(o, 0.1, total_steps=20),
            {},
            r"total_steps=20, .* an epoch, 4 times: pass scheduler_i",
        ),
        (
            lambda o: OneCycleLR(o, 0.1, total_steps=3),
            {},
            r"total_steps=3, .* an epoch, 4 times: pass total_steps=4",
        ),
        (lambda o: CosineAnnealingLR(o, 20), {}, r"T_max=20, and is stepped once an epoch, 4 times"),
        (
            lambda o: OneCycleLR(o, 0.1, total_steps=4),
            {"scheduler_interval": "step"},
            r"step, 20 times: pass total",
        ),
        (
            lambda o: CosineAnnealingLR(o, 4),
            {"scheduler_interval": "step"},
            r"T_max=4, .* step, 20 times: pass T_max",
        ),
    ],
)
def test_a_total_that_does_not_go_with_the_interval_is_refused(
    scheduler: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DefinitionError, match=message):
        make(scheduler, **options).fit(*data(), 4)


@pytest.mark.parametrize(
    ("scheduler", "options"),
    [
        (lambda o: OneCycleLR(o, 0.1, total_steps=20), {"scheduler_interval": "step"}),
        (lambda o: OneCycleLR(o, 0.1, total_steps=4), {}),
        (lambda o: CosineAnnealingLR(o, 4), {}),
        (lambda o: CosineAnnealingLR(o, 10), {}),
    ],
)
def test_a_total_that_goes_with_the_interval_is_taken(scheduler: Any, options: dict[str, Any]) -> None:
    make(scheduler, **options).fit(*data(), 4)


def known(**more: Any) -> Namespace:
    return Namespace(cpu=True, steps_per_epoch=SPE, total_epochs=4, epoch=4, **more)


IN_STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "OneCycleLR": lambda m, o: OneCycleLR(o, 0.1, total_steps=m.total_steps),
    "half of the total": lambda m, o: CosineAnnealingLR(o, m.total_steps // 2),
    "SequentialLR": lambda m, o: SequentialLR(
        o, [LinearLR(o), CosineAnnealingLR(o, m.total_steps - 5)], milestones=[5]
    ),
    "ChainedScheduler": lambda m, o: ChainedScheduler([LinearLR(o, total_iters=m.total_steps)], optimizer=o),
    "LambdaLR": lambda m, o: LambdaLR(o, lambda step: 1 - step / m.total_steps),
    "MultiStepLR": lambda m, o: MultiStepLR(o, [m.total_steps // 2]),
    "CyclicLR": lambda m, o: CyclicLR(o, 0.01, 0.1, step_size_up=4 * m.steps_per_epoch),
    "warm restarts": lambda m, o: CosineAnnealingWarmRestarts(o, T_0=m.steps_per_epoch),
}


def counting(name: str, **options: Any) -> BaseModel:
    class Counting(RegressionModel):
        def init_model(self) -> None:
            network = nn.Linear(3, 1)
            optimizer = optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
            scheduler = IN_STEPS[name](self, optimizer)
            super().init_model(network, optimizer=optimizer, scheduler=scheduler, **options)

    return Counting({}, known())


def test_a_scheduler_of_the_few_steps_of_a_debug_run_is_no_shorter_than_its_training() -> None:
    few = Namespace(cpu=True, debug=True, steps_per_epoch=2, total_epochs=3, epoch=3)
    one_cycle = make(lambda o: OneCycleLR(o, 0.1, total_steps=6), args=few, scheduler_interval="step")
    assert len(one_cycle.fit(*data(), 3)) == 3
    assert one_cycle.steps == 6
    adding_up = make(
        lambda o: OneCycleLR(o, 0.1, total_steps=3),
        args=few,
        scheduler_interval="step",
        training=TrainingOptions(accumulate=4),
    )
    adding_up.fit(*data(), 3)
    assert adding_up.steps == 3
    with pytest.raises(DefinitionError, match="OneCycleLR has total_steps=4"):
        make(lambda o: OneCycleLR(o, 0.1, total_steps=4), args=few, scheduler_interval="step").fit(*data(), 3)


@pytest.mark.parametrize("name", IN_STEPS)
def test_who_counts_in_steps_says_how_the_scheduler_is_stepped(name: str) -> None:
    with pytest.raises(
        DefinitionError, match=r"without scheduler_interval, so that .* pass scheduler_interval='step'"
    ):
        counting(name)
    counting(name, scheduler_interval="step").fit(*data(), 4)


def test_who_means_epochs_says_so() -> None:
    counting("MultiStepLR", scheduler_interval="epoch").fit(*data(), 2)
    plateau = make(lambda o: ReduceLROnPlateau(o), args=known())
    assert plateau.total_steps == 20


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (
            lambda o: OneCycleLR(o, 0.1, epochs=4, steps_per_epoch=9),
            "total_steps=36, .* 4 times: pass scheduler_i",
        ),
        (lambda o: OneCycleLR(o, 0.1, total_steps=1000), "OneCycleLR has total_steps=1000"),
        (
            lambda o: SequentialLR(o, [LinearLR(o), CosineAnnealingLR(o, 20)], milestones=[1]),
            "CosineAnnealingLR has T_max=20, and is stepped once an epoch, 4 times",
        ),
    ],
)
def test_a_total_far_from_the_epochs_is_refused(scheduler: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        make(scheduler).fit(*data(), 4)


def test_a_cycle_longer_than_the_epochs_can_be_meant() -> None:
    make(lambda o: OneCycleLR(o, 0.1, total_steps=12), scheduler_interval="epoch").fit(*data(), 2)


def test_warm_up_within_a_scheduler_may_have_as_many_steps_as_there_are_epochs() -> None:
    warmed = lambda o: SequentialLR(o, [LinearLR(o, total_iters=4), StepLR(o, 9)], milestones=[4])  # noqa: E731
    make(warmed, scheduler_interval="step").fit(*data(), 4)


def test_a_model_knows_its_steps() -> None:
    known = Namespace(cpu=True, steps_per_epoch=SPE, total_epochs=4)
    model = make(lambda optimizer: LambdaLR(optimizer, lambda step: 1.0), args=known)
    assert (model.steps_per_epoch, model.total_steps) == (5, 20)
    without_data = make(lambda optimizer: LambdaLR(optimizer, lambda step: 1.0))
    assert (without_data.steps_per_epoch, without_data.total_steps) == (1, 1)


def test_steps_of_a_generator_without_length_are_known_after_an_epoch() -> None:
    unknown = Namespace(cpu=True, steps_per_epoch=None, total_epochs=2)
    model = make(lambda optimizer: LambdaLR(optimizer, lambda step: 1.0), args=unknown)
    with pytest.raises(
        DefinitionError, match="steps_per_epoch is not known before the first epoch: the training"
    ):
        model.total_steps  # noqa: B018
    model.fit(*data(), 1)
    assert model.steps_per_epoch == SPE


# ReduceLROnPlateau.


def test_a_plateau_of_mode_max_is_told_the_reward() -> None:
    plateau = lambda o: ReduceLROnPlateau(o, mode="max", factor=0.1, patience=0)  # noqa: E731
    assert rates(make(plateau, rewards=[1.0, 2.0, 3.0, 4.0]), 4) == [0.1] * 4
    assert rates(make(plateau, rewards=[4.0, 3.0, 2.0, 1.0]), 3) == [0.1, 0.1, 0.01]


def test_a_plateau_may_be_told_another_column() -> None:
    plateau = lambda o: ReduceLROnPlateau(o, mode="max", patience=0)  # noqa: E731
    make(plateau, scheduler_metric="val_pearson").fit(*data(), 2)
    with pytest.raises(
        DefinitionError, match="scheduler_metric is 'val_auc', and an epoch has: epoch, train_loss"
    ):
        make(plateau, scheduler_metric="val_auc").fit(*data(), 2)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_relative_threshold_below_zero_is_refused(mode: str) -> None:
    plateau = lambda o: ReduceLROnPlateau(o, mode=mode, patience=0)  # noqa: E731
    options = {"scheduler_metric": "reward"} if mode == "min" else {}
    with pytest.raises(
        DefinitionError, match="ReduceLROnPlateau gets reward, which is -1. Below 0 its relative"
    ):
        make(plateau, rewards=[-1.0, -1.0], **options).fit(*data(), 2)
    absolute = lambda o: ReduceLROnPlateau(o, mode=mode, patience=0, threshold_mode="abs")  # noqa: E731
    make(absolute, rewards=[-1.0, -1.0], **options).fit(*data(), 2)


def test_a_plateau_by_step_is_refused() -> None:
    with pytest.raises(DefinitionError, match="ReduceLROnPlateau looks at the metrics of an epoch"):
        make(lambda o: ReduceLROnPlateau(o), scheduler_interval="step").fit(*data(), 1)


# Several schedulers.


def plain_rates(interval: list[str], epochs: int) -> list[float]:
    """The learning rates of the epochs in a plain loop with `warm_and_plateau`."""
    torch.manual_seed(0)
    optimizer = optim.SGD(nn.Linear(3, 1).parameters(), lr=0.1)
    warm, plateau = warm_and_plateau(optimizer)
    found = []
    for epoch in range(epochs):
        for _ in range(SPE):
            optimizer.step()
            if interval[0] == "step":
                warm.step()
        found.append(round(optimizer.param_groups[0]["lr"], 6))
        plateau.step(float(epoch))
        if interval[0] == "epoch":
            warm.step()
    return found


def warm_and_plateau(optimizer: Any) -> list[Any]:
    warm = LinearLR(optimizer, start_factor=0.25, total_iters=8)
    return [warm, ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold_mode="abs")]


@pytest.mark.parametrize("first", ["step", "epoch"])
def test_each_of_several_schedulers_has_its_interval(first: str) -> None:
    rewards = [0.0, -1.0, -2.0, -3.0]  # the plateau sees 0, 1, 2, 3
    model = make(
        lambda o: reversed_sign(o), rewards, scheduler_interval=[first, "epoch"], scheduler_metric="reward"
    )
    assert rates(model, 4) == plain_rates([first, "epoch"], 4)


def reversed_sign(optimizer: Any) -> list[Any]:
    """As `warm_and_plateau`, of a reward that is to grow."""
    warm, plateau = warm_and_plateau(optimizer)
    return [warm, ReduceLROnPlateau(optimizer, "max", factor=0.5, patience=0, threshold_mode="abs")]


def test_several_schedulers_go_on_where_they_were() -> None:
    both = {"scheduler_interval": ["step", "epoch"], "scheduler_metric": "reward"}
    rewards = [0.0, -1.0, -2.0, -3.0]
    whole, begun, other = (make(reversed_sign, rewards, **both) for _ in range(3))
    expected = rates(whole, 4)
    rates(begun, 2)
    other.engine.record.last = begun.engine.record.last
    assert rates(other, 4) == expected


@pytest.mark.parametrize(
    ("scheduler", "interval", "message"),
    [
        (warm_and_plateau, "step", "ReduceLROnPlateau looks at .* in a list of schedulers with an 'epoch'"),
        (warm_and_plateau, ["step"], "scheduler_interval has 1 entries, and there are 2 schedulers"),
        (
            warm_and_plateau,
            ["step", "batch"],
            r"scheduler_interval is \['step', 'batch'\]; it has to be 'epoch'",
        ),
        (lambda o: [StepLR(o, 1), 0.1], None, "init_model passed 0.1 as a scheduler to super"),
        (lambda o: "cosine", None, "init_model passed 'cosine' as a scheduler to super"),
        (
            lambda o: [StepLR(o, 1), OneCycleLR(o, 0.1, total_steps=4)],
            ["epoch", "step"],
            "OneCycleLR has total_steps=4, and is stepped once an optimizer step, 20 times",
        ),
    ],
)
def test_schedulers_that_do_not_go_with_their_intervals_are_refused(
    scheduler: Callable[[Any], Any], interval: Any, message: str
) -> None:
    with pytest.raises(DefinitionError, match=message):
        make(scheduler, scheduler_interval=interval).fit(*data(), 4)


# What a trial was begun with.

PLANNED = """
class Model(RegressionModel):
    def init_model(self):
        network = nn.Linear(3, 1)
        optimizer = optim.SGD(network.parameters(), 0.1)
        scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=self.total_steps)
        super().init_model(network, optimizer=optimizer, scheduler=scheduler, scheduler_interval="step")
"""


def test_a_trial_keeps_to_the_total_that_it_was_begun_with(project: Any) -> None:
    project.define(PLANNED)
    flags = ("--batch-size", "20")  # 3 steps an epoch
    assert project.run(*flags, "--epoch", "4", "--eval").code == 0
    plan = {"trial": "single", "epochs": 4, "steps_per_epoch": 3}
    assert read_document(project.results / "trials/single/plan.json") == plan
    refused = project.run(*flags, "--epoch", "8")
    assert refused.code == ResultsMismatch.exit_code
    assert "trial single was begun with --epoch 4, and its schedule depends on the total" in refused.err

    (project.results / "trials/single/plan.json").unlink()
    refused = project.run(*flags, "--epoch", "8")
    assert (refused.code, "trials/single/plan.json is missing, which the schedule" in refused.err) == (
        1,
        True,
    )


def test_a_search_cannot_be_extended_past_the_total_of_its_trials_and_a_dry_run_says_so(project: Any) -> None:
    project.define(PLANNED)
    flags = ("--batch-size", "20", "--hyper", "--schedule", "asha", "--trials", "4")
    assert project.run(*flags, "--epoch", "3").code == 0
    for more in ((), ("--dry-run",)):
        refused = project.run(*flags, "--epoch", "9", *more)
        assert refused.code == ResultsMismatch.exit_code
        assert "was begun with --epoch 3, and its schedule depends on the total of its steps" in refused.err


BY_EPOCHS = """
class Model(RegressionModel):
    def init_model(self):
        network = nn.Linear(3, 1)
        optimizer = optim.{optimizer}
        scheduler = optim.lr_scheduler.{scheduler}
        super().init_model(network, optimizer=optimizer, scheduler=scheduler, scheduler_interval="step")
"""
SGD, ADAM = "SGD(network.parameters(), 0.1)", "Adam(network.parameters(), 0.1)"


@pytest.mark.parametrize(
    ("scheduler", "told"),
    [
        ("CosineAnnealingLR(optimizer, self.args.epoch * 3)", "scheduler.T_max was 12, and is 24"),
        (
            "OneCycleLR(optimizer, 0.1, epochs=self.args.epoch, steps_per_epoch=3)",
            "scheduler.total_steps was 12",
        ),
        (
            "SequentialLR(optimizer, [optim.lr_scheduler.LinearLR(optimizer), optim.lr_scheduler."
            "CosineAnnealingLR(optimizer, self.args.epoch * 3)], [2])",
            "scheduler._schedulers[1].T_max was 12, and is 24",
        ),
    ],
)
def test_a_trial_is_not_trained_on_along_another_schedule(project: Any, scheduler: str, told: str) -> None:
    project.define(BY_EPOCHS.format(optimizer=SGD, scheduler=scheduler))
    flags = ("--batch-size", "20")
    assert project.run(*flags, "--epoch", "4").code == 0
    refused = project.run(*flags, "--epoch", "8")
    assert refused.code == ResultsMismatch.exit_code
    assert told in refused.err
    forced = project.definition.read_text() + "# another version\n"
    before = project.read("def.py")
    project.definition.write_text(forced)
    assert told in project.run(*flags, "--epoch", "8", "--force").err
    assert project.read("def.py") == before


def test_forced_settings_of_the_optimizer_are_told_and_another_optimizer_is_refused(project: Any) -> None:
    plain = BY_EPOCHS.replace(', scheduler=scheduler, scheduler_interval="step"', "")
    project.define(plain.format(optimizer=SGD, scheduler="StepLR"))
    assert project.run("--batch-size", "20", "--epoch", "2").code == 0
    before = project.read("def.py")

    project.define(plain.format(optimizer=ADAM, scheduler="StepLR"))
    refused = project.run("--batch-size", "20", "--epoch", "3", "--force")
    assert refused.code == ResultsMismatch.exit_code
    assert "the optimizer was SGD, and is Adam" in refused.err
    assert project.read("def.py") == before

    project.define(plain.format(optimizer=SGD.replace("0.1", "2.0, weight_decay=0.5"), scheduler="StepLR"))
    done = project.run("--batch-size", "20", "--epoch", "3", "--force")
    assert done.code == 0
    assert "lr was 0.1, and is 2.0: what was begun goes on with what it had" in done.out
    assert "weight_decay was 0, and is 0.5: what was begun goes on with what it had" in done.out
    assert project.run("--batch-size", "20", "--epoch", "4").code == 0


def test_a_trial_that_depends_on_no_total_keeps_none_and_goes_on(project: Any) -> None:
    assert project.run("--epoch", "2").code == 0
    assert not (project.results / "trials/single/plan.json").exists()
    assert project.run("--epoch", "3").code == 0


def test_a_search_steps_each_trial_along_one_plan(project: Any) -> None:
    project.define(PLANNED)
    assert project.run("--hyper", "--epoch", "4", "--eta", "2", "--batch-size", "20").code == 0
    plan = {"trial": "0000", "epochs": 4, "steps_per_epoch": 3}
    assert read_document(project.results / "trials/0000/plan.json") == plan


# Imports in the midst of a run.


def test_a_late_import_draws_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "draws_at_import.py").write_text(
        "import random, numpy\nrandom.random(), numpy.random.random()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    random.seed(0)
    before = random.getstate()
    assert late_import("draws_at_import") is sys.modules["draws_at_import"]
    assert late_import("draws_at_import") is sys.modules["draws_at_import"]
    assert random.getstate() == before


def test_what_is_unmoved_is_so_after_an_error_too() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with pytest.raises(ValueError), unmoved():
        torch.rand(3)
        raise ValueError
    assert torch.equal(torch.get_rng_state(), before)


def test_a_scheduler_that_is_made_for_steps_has_to_say_so() -> None:
    class Cyclic(RegressionModel):
        def init_model(self) -> None:
            network = nn.Linear(3, 1)
            optimizer = optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
            scheduler = CyclicLR(optimizer, 0.001, 0.1, step_size_up=5)
            super().init_model(network, optimizer=optimizer, scheduler=scheduler)

    with pytest.raises(
        DefinitionError, match="CyclicLR is made for steps, and would be stepped once an epoch"
    ):
        Cyclic({}, known())
