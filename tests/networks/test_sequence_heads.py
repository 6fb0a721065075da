"""Pooling, decoders, heads, and encoder and head as one network."""

import math

import pytest
import torch
from torch import nn

from helixband.errors import DataError, DefinitionError
from helixband.networks import (
    ConvEncoder,
    CountHead,
    DilatedConvEncoder,
    LinearDecoder,
    MLPDecoder,
    PooledHead,
    PositionHead,
    ProfileCountHead,
    ProfileHead,
    SequenceNetwork,
    SequencePooling,
    TransformerEncoder,
    WindowPooling,
    padding_mask,
)

X = torch.tensor([[[1.0, 5, 2, -4, 3]]])

# Pooling.


@pytest.mark.parametrize(
    ("kind", "padded", "expected"),
    [
        ("max", 0, [5, 2, 3]),
        ("max", 2, [5, 2, 0]),
        ("average", 0, [3, -1, 3]),
        ("average", 2, [3, 2, 0]),
        ("attention", 2, [(math.e**2 + 5 * math.e**10) / (math.e**2 + math.e**10), 2, 0]),
    ],
)
def test_windows_are_pooled_without_padding(kind: str, padded: int, expected: list[float]) -> None:
    mask = torch.tensor([[False] * (5 - padded) + [True] * padded]) if padded else None
    pooled = WindowPooling(1, 2, kind)(X, mask)
    torch.testing.assert_close(pooled, torch.tensor([[expected]], dtype=torch.float32))


@pytest.mark.parametrize(
    ("kind", "alone", "padded"),
    [("mean", 7 / 5, 8 / 3), ("max", 5.0, 5.0), ("first", 1.0, 1.0), ("attention", 7 / 5, 8 / 3)],
)
def test_sequences_are_pooled_without_padding(kind: str, alone: float, padded: float) -> None:
    pooling = SequencePooling(1, kind)
    if pooling.scores is not None:
        nn.init.zeros_(pooling.scores.weight)
    x = torch.cat([X, X, X])
    pooled = pooling(x, padding_mask(torch.tensor([5, 3, 0]), 5))
    torch.testing.assert_close(pooled.detach(), torch.tensor([[alone], [padded], [0.0]]))
    torch.testing.assert_close(pooling(X).detach(), torch.tensor([[alone]]))


def test_attention_weights_positions_by_their_scores() -> None:
    pooling = SequencePooling(1, "attention")
    nn.init.constant_(pooling.scores.weight, 100.0)
    assert pooling(X).item() == pytest.approx(5.0)


# Decoders and heads.


def test_decoders_take_vectors_and_positions() -> None:
    decoder = MLPDecoder(3, 2, [5, 4], activation="gelu")
    x = torch.rand(6, 3, 7)
    assert decoder(x[:, :, 0]).shape == (6, 2)
    torch.testing.assert_close(decoder(x)[:, :, 4], decoder(x[:, :, 4]))
    assert [tuple(weight.shape) for weight in decoder.parameters()] == [
        (5, 3),
        (5,),
        (4, 5),
        (4,),
        (2, 4),
        (2,),
    ]
    linear = LinearDecoder(3, 2)
    torch.testing.assert_close(linear(x), nn.functional.conv1d(x, linear.weight.unsqueeze(2), linear.bias))


def test_a_linear_head_is_the_linear_layer_on_the_pooled_features() -> None:
    head = PooledHead(3, 2, pooling="max")
    x = torch.rand(6, 3, 7)
    linear = head.decoder[1]
    torch.testing.assert_close(head(x), nn.functional.linear(x.amax(2), linear.weight, linear.bias))
    assert PooledHead(3, 2, hidden=[4], dropout=0.5).eval()(x).shape == (6, 2)


def test_a_head_of_positions_gives_what_cross_entropy_takes() -> None:
    logits = PositionHead(3, 5, hidden=(4,))(torch.rand(2, 3, 7))
    assert logits.shape == (2, 5, 7)
    assert nn.CrossEntropyLoss()(logits, torch.zeros(2, 7, dtype=torch.long)).isfinite()


def test_a_profile_is_of_the_central_positions_and_without_padding() -> None:
    head = ProfileHead(3, 2, kernel_size=5, length=4)
    x = torch.rand(2, 3, 9)
    whole = head.convolution(x)
    assert head(x).equal(whole[:, :, 2:6])
    mask = padding_mask(torch.tensor([9, 4]), 9)
    shares = head(x, mask).softmax(2)
    torch.testing.assert_close(shares.sum(2), torch.ones(2, 2))
    assert not shares[1, :, 2:].any() and shares[0].all()
    torch.testing.assert_close(head(x, mask)[1, :, :2], head.convolution(x[1:, :, :4])[0, :, 2:])
    with pytest.raises(DataError, match="length of ProfileHead is 4, and its features have 3 positions"):
        head(x[:, :, :3])


def test_profiles_and_counts_come_together() -> None:
    head = ProfileCountHead(3, 2, kernel_size=5, length=4)
    output = head(torch.rand(6, 3, 9))
    assert {name: tuple(each.shape) for name, each in output.items()} == {
        "profile": (6, 2, 4),
        "log_count": (6, 2),
    }
    count = CountHead(3)
    linear = count.decoder[1]
    x = torch.rand(6, 3, 9)
    torch.testing.assert_close(count(x), nn.functional.linear(x.mean(2), linear.weight, linear.bias))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PooledHead(3, 2, pooling="median"), "'median'; it has to be one of 'mean', 'max'"),
        (lambda: PooledHead(3, 0), "outputs of LinearDecoder is 0"),
        (lambda: PooledHead(3, 2, hidden=[4, 0]), r"hidden of MLPDecoder is \[4, 0\]"),
        (lambda: PooledHead(3, 2, dropout=-0.1), "dropout of PooledHead is -0.1; it has to be from 0"),
        (lambda: ProfileHead(3, kernel_size=20), "kernel_size of ProfileHead is 20; it has to be odd"),
        (lambda: ProfileHead(3, length=0), "length of ProfileHead is 0"),
        (lambda: WindowPooling(3, 2, "sum"), "'sum'; it has to be one of"),
    ],
)
def test_settings_of_heads_are_checked(make: object, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        make()  # type: ignore[operator]


# Encoder and head as one network.


def test_padding_by_its_index_changes_nothing() -> None:
    torch.manual_seed(0)
    network = SequenceNetwork(TransformerEncoder(4, 8, heads=2, layers=1), PooledHead(8, 3), padding=4).eval()
    alone = torch.tensor([[0, 3, 2]], dtype=torch.uint8)
    padded = torch.tensor([[0, 3, 2, 4, 4]], dtype=torch.uint8)
    torch.testing.assert_close(network(padded), network(alone))
    network.padding = None
    torch.testing.assert_close(network(padded, padded == 4), network(alone))
    assert not torch.allclose(network(padded), network(alone))


def test_a_head_gets_the_mask_of_pooled_features() -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder(4, [5], first_kernel_size=3, pool_size=4)
    network = SequenceNetwork(encoder, PooledHead(5, 2), padding=4).eval()
    alone, padded = torch.zeros(1, 6, dtype=torch.uint8), torch.full((1, 12), 4, dtype=torch.uint8)
    padded[:, :6] = 0
    torch.testing.assert_close(network(padded), network(alone))


def test_a_head_of_other_channels_is_refused() -> None:
    with pytest.raises(DefinitionError, match="DilatedConvEncoder gives 8 channels, and PooledHead takes 9"):
        SequenceNetwork(DilatedConvEncoder(4, 8), PooledHead(9, 2))


def test_a_network_has_the_weights_of_its_encoder_under_that_name() -> None:
    network = SequenceNetwork(DilatedConvEncoder(4, 8, layers=1), PositionHead(8, 2))
    assert {name.split(".")[0] for name in network.state_dict()} == {"encoder", "head"}
    features_only = SequenceNetwork(DilatedConvEncoder(4, 8, layers=1), nn.Identity())
    assert features_only(torch.zeros(1, 30, dtype=torch.long)).shape == (1, 8, 30)


@pytest.mark.parametrize("head", [PooledHead(3, 2), PositionHead(3, 2), ProfileHead(3), SequencePooling(3)])
@pytest.mark.parametrize("shape", [(6, 4, 7), (6, 3)])
def test_features_of_other_channels_are_refused(head: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"was given features of the shape .*; it was made for 3 channels"):
        head(torch.zeros(shape))


@pytest.mark.parametrize("decoder", [LinearDecoder(3, 2), MLPDecoder(3, 2)])
@pytest.mark.parametrize("shape", [(6, 4), (6, 7, 3), (3,)])
def test_vectors_of_other_lengths_are_refused(decoder: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(
        DataError, match=r"LinearDecoder was given the shape .*; it takes \(N, 3\) or \(N, 3, S\)"
    ):
        decoder(torch.zeros(shape))


def test_what_is_no_encoder_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"SequenceNetwork was given Linear\(.* as its encoder"):
        SequenceNetwork(nn.Linear(4, 3), PooledHead(3, 2))  # type: ignore[arg-type]
