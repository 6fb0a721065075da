"""Parameters by globs on their names."""

import re
from typing import Any

import pytest
from torch import nn, optim

from base_model import BaseModel, parameter_groups
from helixband.errors import DefinitionError
from helixband.training.schedules import LinearSchedule


def network() -> nn.Module:
    return nn.ModuleDict({"encoder": nn.Linear(2, 3), "head": nn.Linear(3, 1)})


def test_a_parameter_belongs_to_the_first_glob_that_matches_it() -> None:
    net = network()
    groups = parameter_groups(net, {"encoder.*": 1e-5, "*.bias": {"weight_decay": 0.0}, "*": 1e-3})
    encoder, head = net["encoder"], net["head"]
    assert [[id(each) for each in group["params"]] for group in groups] == [
        [id(encoder.weight), id(encoder.bias)],
        [id(head.bias)],
        [id(head.weight)],
    ]
    optimizer = optim.AdamW(groups, lr=0.1)
    rates = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert rates == [(1e-5, 0.01), (0.1, 0.0), (1e-3, 0.01)]


def test_a_learning_rate_may_be_a_schedule() -> None:
    schedule = LinearSchedule(start=0.1, end=0.0, duration=4)
    assert parameter_groups(network(), {"*": schedule})[0]["lr"] is schedule


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            {"encodr.*": 1e-5, "*": 1e-3},
            r"no parameter of the network matches 'encodr\.\*'; there are: 'encoder",
        ),
        ({"*": 1e-3, "head.*": 1e-5}, r"all that 'head\.\*' matches belongs to the globs before it"),
        ({"encoder.*": 1e-5}, r"no glob matches 'head\.weight', 'head\.bias': add '\*' as the last"),
        ({"*": "fast"}, r"has 'fast' for '\*'; it takes a learning rate"),
    ],
)
def test_globs_that_do_not_cover_the_network_are_refused(groups: dict[str, float], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        parameter_groups(network(), groups)


def test_what_is_not_trained_needs_no_glob() -> None:
    net = network()
    net["encoder"].requires_grad_(False)
    assert len(parameter_groups(net, {"head.*": 1e-3})) == 1


@pytest.mark.parametrize("rate", [-1e-3, float("nan"), float("inf"), True, {"lr": "1e-3"}, {"lr": -1.0}])
def test_a_learning_rate_that_is_none_is_refused(rate: Any) -> None:
    with pytest.raises(DefinitionError, match=r"the learning rate .* for '\*'; it has to be a number from 0"):
        parameter_groups(nn.Linear(2, 1), {"*": rate})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"learning_rate": 1.0}, "has learning_rate=1.0, which SGD does not read: did you mean lr?"),
        ({"weight_deacy": 0.1}, "has weight_deacy=0.1, which SGD does not read: did you mean weight_decay?"),
        ({"WD": 0.1}, "has WD=0.1, which SGD does not read: did you mean weight_decay?"),
    ],
)
def test_a_misspelt_setting_of_a_group_is_told(given: dict[str, float], told: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(f"group 1 of the parameters {told}")):
        made(given)


def test_a_group_may_have_more_than_the_optimizer_reads() -> None:
    groups = made({"name": "bias", "lr_scale": 0.5, "initial_lr": 0.1}).optimizer.param_groups
    assert (groups[1]["name"], groups[1]["lr_scale"]) == ("bias", 0.5)


def made(settings: dict[str, Any]) -> Any:
    """A model whose second group of parameters has these settings."""

    class Model(BaseModel):
        def init_model(self) -> None:
            network = nn.Linear(2, 1)
            groups = parameter_groups(network, {"weight": 0.1, "bias": settings})
            super().init_model(network, nn.MSELoss(), optim.SGD(groups, lr=0.1))

    return Model()
