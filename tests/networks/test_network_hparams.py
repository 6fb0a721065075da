"""Groups of hyperparameters that are the arguments of networks."""

import inspect
import typing
from typing import Any

import pytest
from torch import nn

from helixband.hparams import Hparams
from helixband.hparams.groups import (
    ConvEncoding,
    DilatedEncoding,
    Head,
    Profile,
    RecurrentEncoding,
    TransformerEncoding,
    UNetEncoding,
)
from helixband.networks import (
    ConvEncoder,
    CountHead,
    DilatedConvEncoder,
    PooledHead,
    PositionHead,
    ProfileCountHead,
    ProfileHead,
    RecurrentEncoder,
    TransformerEncoder,
    UNet,
)

NETWORKS = [
    (ConvEncoding, ConvEncoder),
    (DilatedEncoding, DilatedConvEncoder),
    (UNetEncoding, UNet),
    (TransformerEncoding, TransformerEncoder),
    (RecurrentEncoding, RecurrentEncoder),
    (Head, PooledHead),
    (Head, PositionHead),
    (Head, CountHead),
    (Profile, ProfileHead),
    (Profile, ProfileCountHead),
]
NOT_TAKEN: dict[Any, set[str]] = {
    PositionHead: {"head_pooling"},
    CountHead: {"head_pooling", "head_activation"},
}
"""Of the group, what a network does without."""
OF_THE_DATA = {"in_channels", "outputs", "tracks", "embedding", "window"}


@pytest.mark.parametrize(("group", "network"), NETWORKS)
def test_a_group_has_the_arguments_of_its_network(group: type[Hparams], network: Any) -> None:
    arguments = inspect.signature(network).parameters
    wanted = {f"{network.prefix}{name}": each for name, each in arguments.items() if name not in OF_THE_DATA}
    assert group.fields().keys() - NOT_TAKEN.get(network, set()) == wanted.keys()
    hints, theirs = typing.get_type_hints(group), typing.get_type_hints(network.__init__)
    for name, argument in wanted.items():
        default = list(argument.default) if isinstance(argument.default, tuple) else argument.default
        assert group.field(name).default == default
        if typing.get_origin(hints[name]) is typing.Literal:
            assert hints[name] == theirs[argument.name]


@pytest.mark.parametrize(("group", "network"), NETWORKS)
def test_a_network_of_the_defaults_is_made_from_its_group(group: type[Hparams], network: Any) -> None:
    extra = {"outputs": 1} if network in (PooledHead, PositionHead) else {}
    made = network.from_hparams(group(), in_channels=4, **extra)
    plain = network(4, *extra.values())
    assert shapes(made) == shapes(plain)


def test_a_network_has_the_hyperparameters_that_are_given() -> None:
    class Everything(DilatedEncoding, Head): ...

    hparams = Everything(dilated_layers=2, dilated_channels=6, head_hidden=[5], head_pooling="max")
    encoder = DilatedConvEncoder.from_hparams(hparams, in_channels=4, channels=7)
    assert (encoder.dilations, encoder.out_channels) == ([2, 4], 7)
    assert shapes(PositionHead.from_hparams(hparams, in_channels=7, outputs=2)) == [
        (5, 7),
        (5,),
        (2, 5),
        (2,),
    ]
    assert PooledHead.from_hparams(hparams, in_channels=7, outputs=2).pooling.kind == "max"
    assert PooledHead.from_hparams({"units": 3}, in_channels=7, outputs=2).pooling.kind == "mean"


def shapes(network: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in network.parameters()]
