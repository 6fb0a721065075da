"""The options of a training: what a definition and a command line may give."""

import inspect
import re
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from torch import nn, optim

from base_model import BaseModel, TrainingOptions
from constraints import Constraint, MaxNormConstraint
from helixband.errors import DefinitionError, UsageError
from helixband.training.configuration import read_value
from helixband.training.options import INIT_MODEL, OPTIONS, differences, read_options


def made(**given: Any) -> BaseModel:
    class Model(BaseModel):
        def init_model(self) -> None:
            network = nn.Linear(2, 1)
            super().init_model(network, nn.MSELoss(), optim.SGD(network.parameters(), lr=0.1), **given)

    return Model()


def test_keywords_of_init_model_are_options() -> None:
    by_keyword = made(scheduler_metric="val_loss", constraints=[MaxNormConstraint(1.0)])
    by_options = made(
        training=TrainingOptions(scheduler_metric="val_loss", constraints=[MaxNormConstraint(1.0)])
    )
    described = by_keyword.engine.options.described()
    assert described == by_options.engine.options.described()
    assert described == {
        "constraints": "[MaxNormConstraint(glob='*', max_norm=1.0)]",
        "scheduler_metric": "'val_loss'",
    }


def test_an_option_is_given_once() -> None:
    with pytest.raises(DefinitionError, match=r"super\(\)\.init_model got scheduler_metric twice"):
        made(training=TrainingOptions(scheduler_metric="val_loss"), scheduler_metric="reward")
    with pytest.raises(DefinitionError, match=r"training is \{\}; it has to be TrainingOptions"):
        made(training={})


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        DefinitionError, match="scheduler_interval is 'batch'; it has to be 'epoch' or 'step'"
    ):
        TrainingOptions(scheduler_interval="batch")  # type: ignore[arg-type]


def test_the_command_line_names_options() -> None:
    assert read_options(["scheduler_metric=val_mse"], read_value) == {"scheduler_metric": "val_mse"}
    for given, told in {
        "scheduler_intervall=step": "did you mean scheduler_interval? There are: scheduler_interval, ",
        "constraints=1": "constraints holds objects; give it in init_model",
        "scheduler_metric": "--with takes name=value, got 'scheduler_metric'",
        "scheduler_metric=[1]": "scheduler_metric is [1]; it has to be a string",
    }.items():
        with pytest.raises(UsageError, match=re.escape(told)):
            read_options([given], read_value)


def test_differences_are_told_with_defaults() -> None:
    before, now = TrainingOptions(), TrainingOptions(scheduler_metric="val_mse")
    told = ["training option scheduler_metric was None, and is 'val_mse'"]
    assert differences(before.described(), now.described()) == told
    assert differences(now.described(), now.described()) == []


def test_a_constraint_of_ones_own_is_described_by_what_it_holds() -> None:
    class Own(Constraint):
        def __init__(self) -> None:
            super().__init__("a.*")
            self.bounds = (0, 1.5)

    assert TrainingOptions(constraints=[Own()]).described() == {
        "constraints": "[Own(bounds=[0, 1.5], glob='a.*')]"
    }


def test_the_documentation_has_the_help_of_each_option() -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \| (.+) \|$", page, re.MULTILINE)
    assert rows == [
        (name, str(each.default), each.metadata["help"].replace("\n", " ")) for name, each in OPTIONS.items()
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"clip_norm": 1.0}, "got clip_norm=…: give it as training=TrainingOptions(clip_norm=…)"),
        (
            {"schedular": None},
            "got schedular=…: did you mean scheduler? It takes network, criterion, optimizer",
        ),
        ({"constraints": MaxNormConstraint(1.0)}, "it has to be a list of constraints, for example ["),
        (
            {"constraints": [MaxNormConstraint]},
            "constraints has <class 'constraints.MaxNormConstraint'>; each ",
        ),
        ({"scheduler": optim.lr_scheduler.StepLR}, "StepLR'> as a scheduler to super().init_model; it takes"),
    ],
)
def test_what_init_model_does_not_take_is_told(given: Any, told: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(told)):
        made(**given)


def test_a_message_names_what_init_model_takes() -> None:
    *names, others = list(inspect.signature(BaseModel.init_model).parameters)[1:]
    assert (set(names), others) == (set(INIT_MODEL), "other")


def test_an_option_that_there_is_not_is_told_with_the_nearest() -> None:
    given: dict[str, Any] = {"clipnorm": 1.0}
    with pytest.raises(
        DefinitionError, match=r"TrainingOptions got clipnorm=…: did you mean clip_norm\? There"
    ):
        TrainingOptions(**given)


def test_a_criterion_is_an_object() -> None:
    class Model(BaseModel):
        def init_model(self) -> None:
            super().init_model(nn.Linear(2, 1), nn.MSELoss)

    with pytest.raises(DefinitionError, match="MSELoss'> as the criterion to super"):
        Model()


def test_numbers_of_numpy_are_numbers() -> None:
    given: dict[str, Any] = {
        "accumulate": np.int64(2),
        "clip_norm": np.float32(0.5),
        "limit_val": np.float64(0.5),
    }
    assert TrainingOptions(**given) == TrainingOptions(accumulate=2, clip_norm=0.5, limit_val=0.5)


def test_an_option_is_given_once_on_the_command_line() -> None:
    with pytest.raises(UsageError, match="--with accumulate=2: accumulate is given twice"):
        read_options(["accumulate=4", "accumulate=2"], read_value)
