"""What all encoders do: shapes, padding, batches, and how far they look."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helixband.errors import DataError, DefinitionError, HelixbandWarning
from helixband.networks import (
    ConvEncoder,
    DilatedConvEncoder,
    Encoder,
    EncoderStack,
    PooledHead,
    RecurrentEncoder,
    SequenceNetwork,
    TokenEmbedding,
    TransformerEncoder,
    UNet,
    padding_mask,
)

ENCODERS: dict[str, Callable[..., Encoder]] = {
    **{
        f"conv {pool}": lambda E, pool=pool, **given: ConvEncoder(
            E, [6, 5], first_kernel_size=5, kernel_size=3, pool=pool, pool_size=3, activation="gelu", **given
        )
        for pool in ("max", "average", "attention")
    },
    "dilated": lambda E, **given: DilatedConvEncoder(
        E, 5, layers=2, first_kernel_size=3, norm="batch", activation="gelu", **given
    ),
    "dilated layer norm": lambda E, **given: DilatedConvEncoder(E, 5, layers=2, norm="layer", **given),
    **{
        f"unet {pool}": lambda E, pool=pool, **given: UNet(
            E, [5, 6, 7], kernel_size=3, pool=pool, activation="silu", **given
        )
        for pool in ("max", "average", "attention")
    },
    **{
        f"transformer {positions}": lambda E, positions=positions, **given: TransformerEncoder(
            E, 8, heads=2, layers=2, positions=positions, max_length=40, pre_norm=positions != "none", **given
        )
        for positions in ("sinusoidal", "learned", "rotary", "none")
    },
    "stack, conv and dilated": lambda E, **given: EncoderStack(
        ConvEncoder(E, [6, 5], first_kernel_size=3, kernel_size=3, **given),
        DilatedConvEncoder(5, 5, layers=1, first_kernel_size=1),
    ),
    "stack, unet and conv": lambda E, **given: EncoderStack(
        UNet(E, [5, 6], kernel_size=3, **given), ConvEncoder(5, [5], first_kernel_size=1, pool_size=3)
    ),
    "stack, conv and lstm": lambda E, **given: EncoderStack(
        ConvEncoder(E, [6], first_kernel_size=3, **given), RecurrentEncoder(6, 4)
    ),
    "lstm": lambda E, **given: RecurrentEncoder(E, 4, layers=2, **given),
    "gru, one direction": lambda E, **given: RecurrentEncoder(E, 5, cell="gru", bidirectional=False, **given),
}


def made(name: str, channels: int = 4, **given: Any) -> Encoder:
    """An encoder whose BatchNorm has statistics that are not those of the beginning, in evaluation mode."""
    torch.manual_seed(0)
    encoder = ENCODERS[name](channels, **given)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(-0.5, 0.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return encoder.eval()


def sequences(n: int, length: int, tokens: int = 4) -> Tensor:
    return torch.randint(
        0, tokens, (n, length), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )


@pytest.mark.filterwarnings("ignore:the receptive field")
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("length", [1, 2, 8, 17])
@pytest.mark.parametrize("channels", [4, 20])
def test_any_length_and_alphabet_have_features_of_the_shape_that_is_said(
    name: str, length: int, channels: int
) -> None:
    encoder = made(name, channels)
    x = sequences(3, length, channels)
    features = encoder(x)
    assert features.shape == (3, encoder.out_channels, encoder.output_length(length))
    assert features.isfinite().all()
    one_hot = nn.functional.one_hot(x.long(), channels).movedim(2, 1).float()
    assert encoder(one_hot).equal(features)


@pytest.mark.filterwarnings("ignore:the receptive field")
@pytest.mark.parametrize("name", ENCODERS)
def test_padding_and_other_sequences_of_a_batch_change_nothing(name: str) -> None:
    encoder = made(name)
    lengths = torch.tensor([20, 13, 1])
    x = sequences(3, 20)
    mask = padding_mask(lengths, 20)
    features, positions = encoder(x, mask), encoder.output_mask(mask)
    assert positions.shape == (3, features.shape[2])
    for row, length in enumerate(lengths.tolist()):
        alone = encoder(x[row : row + 1, :length])
        assert (~positions[row]).sum() == alone.shape[2] == encoder.output_length(length)
        torch.testing.assert_close(features[row : row + 1, :, : alone.shape[2]], alone, rtol=1e-4, atol=2e-6)
        assert not features[row, :, alone.shape[2] :].any()


@pytest.mark.filterwarnings("ignore:the receptive field")
@pytest.mark.parametrize("name", ENCODERS)
def test_a_sequence_of_padding_alone_is_zeros_and_has_finite_gradients(name: str) -> None:
    encoder = made(name).train()
    x, mask = sequences(2, 12), padding_mask(torch.tensor([12, 0]), 12)
    features = encoder(x, mask)
    assert not features[1].any()
    features.square().sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in encoder.parameters())


def test_an_index_beyond_the_channels_is_all_zeros_and_an_embedding_may_be_learned() -> None:
    encoder = made("dilated")
    assert encoder(torch.full((1, 30), 4)).equal(encoder(torch.zeros(1, 4, 30)))
    embedded = made("transformer rotary", 6, embedding=TokenEmbedding(1000, 6))
    assert embedded(torch.tensor([[999, 3]])).shape == (1, 8, 2)
    assert embedded.embedding.weight.shape == (1000, 6)


# The receptive field.

LOCAL = [name for name in ENCODERS if made(name).receptive_field is not None]
FIELDS = {
    "conv max": 5
    + 2 * 3
    + (3 * 3 - 1),  # two windows of 3, of which the second has kernels 3 positions apart
    "conv average": 5 + 2 * 3 + (3 * 3 - 1),
    "conv attention": 5 + 2 * 3 + (3 * 3 - 1),
    "stack, conv and dilated": 3 + 2 * 2 + 3 + 4 * 4,
    "dilated": 3 + 2 * 2 + 2 * 4,
    "dilated layer norm": 21 + 2 * 2 + 2 * 4,
}


@pytest.mark.parametrize("name", LOCAL)
def test_the_receptive_field_is_what_gradients_find(name: str) -> None:
    encoder = made(name).double()
    size = 96
    x = torch.rand(8, 4, size, dtype=torch.double, requires_grad=True)
    features = encoder(x)
    middle = features.shape[2] // 2
    found = []
    for place in range(middle - 4, middle + 4):
        (gradient,) = torch.autograd.grad(features[:, :, place].square().sum(), x, retain_graph=True)
        seen = gradient.abs().sum((0, 1)).nonzero()
        found.append(int(seen.max() - seen.min()) + 1)
    assert max(found) == encoder.receptive_field
    assert encoder.receptive_field == FIELDS.get(name, encoder.receptive_field)
    assert f"receptive field: {encoder.receptive_field} positions" in repr(encoder)


def test_receptive_fields_of_published_networks() -> None:
    chrombpnet = DilatedConvEncoder(4, 512, layers=8, first_kernel_size=21)
    assert (
        chrombpnet.receptive_field == 1041
    )  # 2,114 bases in, 1,000 out, with its head's 75: 2114 - 1000 + 1
    assert DilatedConvEncoder(4, 64, layers=9, first_kernel_size=25).receptive_field == 25 + 2 * (2**10 - 2)
    basset = ConvEncoder(4, [300, 200], first_kernel_size=19, kernel_size=11, pool_size=3)
    assert basset.receptive_field == 19 + 2 + 3 * 10 + 3 * 2
    assert EncoderStack(ConvEncoder(4, [8]), TransformerEncoder(8, 8)).receptive_field is None
    assert TransformerEncoder(8).receptive_field is None
    assert "all positions" in repr(TransformerEncoder(8))


def test_a_receptive_field_larger_than_the_window_is_said_and_not_refused() -> None:
    with pytest.warns(
        HelixbandWarning, match="DilatedConvEncoder is 33 positions, more than the window of 20"
    ):
        encoder = DilatedConvEncoder(4, 8, layers=2, window=20)
    assert encoder(sequences(2, 20)).shape == (2, 8, 20)
    DilatedConvEncoder(4, 8, layers=2, window=33)
    with pytest.warns(HelixbandWarning, match="EncoderStack is 66 positions, more than the window of 65"):
        EncoderStack(ConvEncoder(4, [8], first_kernel_size=1), DilatedConvEncoder(8, 8, layers=2), window=65)
    unsaid = DilatedConvEncoder(4, 8, layers=2)
    unsaid(sequences(2, 33))
    with pytest.warns(HelixbandWarning, match="is 33 positions, more than the sequences"):
        unsaid(sequences(2, 32))


# Literal values.


def test_a_dilated_layer_is_added_to_what_it_reads() -> None:
    encoder = DilatedConvEncoder(1, 1, layers=1, first_kernel_size=1)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.fill_(1.0)  # and biases
    x = torch.tensor([[[0.0, 0, 0, 1, 0, 0, 0]]])
    first = torch.tensor([1.0, 1, 1, 2, 1, 1, 1])
    sums_of_three_two_apart = torch.tensor([2.0, 3, 3, 4, 3, 3, 2])  # zeros beyond the ends
    assert encoder(x)[0, 0].equal(first + sums_of_three_two_apart + 1)


def test_dilations_grow_by_a_rounded_power() -> None:
    assert DilatedConvEncoder(4, 8, layers=5, dilation_growth=1.5).dilations == [2, 2, 3, 5, 8]
    assert DilatedConvEncoder(4, 8, layers=3, dilation_growth=1).dilations == [1, 1, 1]


def test_a_recurrent_encoder_is_torchs_on_each_direction() -> None:
    encoder = made("lstm")
    x = torch.rand(2, 4, 9)
    assert encoder(x).equal(encoder.recurrent(x.transpose(1, 2))[0].transpose(1, 2))


# What is refused.


@pytest.mark.parametrize("name", ["conv max", "unet max", "transformer rotary", "lstm"])
@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(2, 5, 30), r"\(2, 5, 30\), torch.float32; it takes .* \(N, 4, S\)"),
        (torch.zeros(2, 30), r"\(2, 30\), torch.float32; it takes indexes \(N, S\), integers"),
        (torch.zeros(2, 4, 30, dtype=torch.int64), "torch.int64; it takes"),
        (torch.zeros(2, 4, 1, 30), "it takes"),
        (torch.zeros(2, 0, dtype=torch.uint8), "sequences of no positions"),
    ],
)
def test_data_of_another_shape_is_refused_with_it(name: str, x: Tensor, said: str) -> None:
    with pytest.raises(DataError, match=said):
        made(name)(x)


@pytest.mark.parametrize("mask", [torch.zeros(2, 29, dtype=torch.bool), torch.zeros(2, 30)])
def test_a_mask_of_another_shape_or_type_is_refused(mask: Tensor) -> None:
    with pytest.raises(
        DataError, match=r"the padding mask has the shape .* it has to be \(2, 30\), torch.bool"
    ):
        made("conv max")(sequences(2, 30), mask)


def test_a_mask_that_is_no_tensor_is_refused() -> None:
    with pytest.raises(DataError, match=r"the padding mask is \[\[False\]\]; it has to be a tensor \(1, 1\)"):
        made("conv max")(sequences(1, 1), [[False]])  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"lengths is \[1, 2\]; it has to be a tensor of integers, \(N,\)"):
        padding_mask([1, 2], 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"head": "mean"}, "was given 'mean' as its head; it takes a layer, such as PooledHead"),
        ({"padding": "N"}, "padding of SequenceNetwork is 'N'; it has to be the index of padding"),
        ({"padding": True}, "padding of SequenceNetwork is True"),
    ],
)
def test_parts_of_another_kind_are_refused(given: dict[str, Any], told: str) -> None:
    encoder = made("conv max")
    with pytest.raises(DefinitionError, match=told):
        SequenceNetwork(**{"encoder": encoder, "head": PooledHead(encoder.out_channels, 1), **given})


def test_recurrent_networks_refuse_padding_before_the_end() -> None:
    with pytest.raises(DataError, match="padding before the end"):
        made("lstm")(sequences(1, 3), torch.tensor([[False, True, False]]))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ConvEncoder(4, []), r"channels of ConvEncoder is \[\]; it has to be a list"),
        (lambda: ConvEncoder(4, [8, 0]), r"channels of ConvEncoder is \[8, 0\]"),
        (lambda: ConvEncoder(4, 8), "channels of ConvEncoder is 8; it has to be a list"),
        (lambda: ConvEncoder(0), "in_channels of ConvEncoder is 0; it has to be a whole number from 1"),
        (
            lambda: ConvEncoder(4, kernel_size=6),
            "kernel_size of ConvEncoder is 6; it has to be odd.*: 5 or 7",
        ),
        (
            lambda: ConvEncoder(4, pool="median"),
            "'median'; it has to be one of 'max', 'average', 'attention'",
        ),
        (lambda: ConvEncoder(4, pool_size=0), "pool_size of ConvEncoder is 0"),
        (
            lambda: ConvEncoder(4, norm="group"),
            "norm of ConvEncoder is 'group'; it has to be one of 'batch', 'layer', 'none'",
        ),
        (
            lambda: ConvEncoder(4, dropout=1.0),
            "dropout of ConvEncoder is 1.0; it has to be from 0 to below 1",
        ),
        (lambda: DilatedConvEncoder(4, layers=0), "layers of DilatedConvEncoder is 0"),
        (lambda: DilatedConvEncoder(4, dilation_growth=0.5), "dilation_growth of DilatedConvEncoder is 0.5"),
        (lambda: UNet(4, "64"), "channels of UNet is '64'"),
        (
            lambda: UNet(4, activation="tanh"),
            "activation of UNet is 'tanh'; it has to be one of 'relu', 'gelu', 'silu'",
        ),
        (lambda: UNet(4, window=0), "window of UNet is 0"),
        (lambda: RecurrentEncoder(4, hidden=2.5), "hidden of RecurrentEncoder is 2.5"),
        (lambda: RecurrentEncoder(4, cell="qrnn"), "'qrnn'; it has to be one of 'lstm', 'gru', 'rnn'"),
        (
            lambda: TransformerEncoder(4, 30, heads=4),
            "width .* is 30, which heads=4 do not divide; 28 would do",
        ),
        (lambda: TransformerEncoder(4, 3, heads=4), "width .* is 3, which heads=4 do not divide; 4 would do"),
        (
            lambda: TransformerEncoder(4, 12, heads=4, positions="rotary"),
            "3 channels in a head .* even number",
        ),
        (lambda: TransformerEncoder(8, positions="learned"), "needs max_length"),
        (lambda: TransformerEncoder(8, positions="alibi"), "'alibi'; it has to be one of"),
        (lambda: TransformerEncoder(8, max_length=9, window=10), "max_length .* is 9, and its window 10"),
        (
            lambda: TransformerEncoder(8, pre_norm="post"),
            "pre_norm of TransformerEncoder is 'post'; it has to",
        ),
        (lambda: RecurrentEncoder(4, bidirectional=2), "bidirectional of RecurrentEncoder is 2"),
        (lambda: UNet(4, embedding=30_000), r"embedding of UNet is 30000; .* TokenEmbedding\(30_000, 4\)"),
        (lambda: TokenEmbedding(0, 4), "tokens of TokenEmbedding is 0"),
        (
            lambda: EncoderStack(ConvEncoder(4, [8]), UNet(9)),
            "ConvEncoder gives 8 channels, and UNet behind it takes 9; give it in_channels=8",
        ),
        (lambda: EncoderStack(), "EncoderStack was given no encoder"),
        (lambda: EncoderStack(nn.Linear(4, 8)), r"EncoderStack was given Linear\(.*; it takes encoders"),
        (lambda: TransformerEncoder(8, heads=True), "heads of TransformerEncoder is True"),
    ],
)
def test_settings_that_no_network_can_have_are_refused_when_it_is_made(
    make: Callable[[], Encoder], said: str
) -> None:
    with pytest.raises(DefinitionError, match=said):
        make()


def test_sizes_may_be_numpys_and_an_embedding_of_other_channels_is_refused() -> None:
    sizes = np.array([8, 16])
    assert ConvEncoder(np.int64(4), list(sizes), dropout=np.float32(0.25)).out_channels == 16
    encoder = DilatedConvEncoder(4, 8, layers=1, embedding=TokenEmbedding(10, 5))
    with pytest.raises(
        DataError, match=r"embedding of DilatedConvEncoder gave the shape \(2, 5, 40\).*in_channels=4"
    ):
        encoder(sequences(2, 40))
