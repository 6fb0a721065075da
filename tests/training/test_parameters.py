"""Parameters by globs on their names."""

import pytest
from torch import nn, optim

from base_model import parameter_groups
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
