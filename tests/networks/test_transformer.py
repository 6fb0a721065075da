"""The transformer encoder: PyTorch's beside it, positions, weights and representations."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helixband.errors import DataError, DefinitionError
from helixband.networks import TransformerEncoder, padding_mask
from helixband.networks.attention import rotated, rotations, sinusoids


def made(**given: Any) -> TransformerEncoder:
    torch.manual_seed(0)
    return TransformerEncoder(8, 8, **{"heads": 2, "layers": 2, "dropout": 0.0, **given}).eval()


def torchs(ours: TransformerEncoder, pre_norm: bool) -> nn.TransformerEncoder:
    """nn.TransformerEncoder with our weights."""
    layer = nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=pre_norm
    )
    theirs = nn.TransformerEncoder(
        layer, 2, norm=nn.LayerNorm(8) if pre_norm else None, enable_nested_tensor=False
    )
    renamed = {
        "attention_norm": "norm1",
        "feedforward_norm": "norm2",
        "attention.qkv.": "self_attn.in_proj_",
        "attention.output": "self_attn.out_proj",
        "feedforward.0": "linear1",
        "feedforward.3": "linear2",
    }
    state = {}
    for name, weight in ours.state_dict().items():
        for ours_name, theirs_name in renamed.items():
            name = name.replace(ours_name, theirs_name)
        state[name] = weight
    theirs.load_state_dict(state)
    return theirs


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("padded", [False, True])
def test_the_layers_are_those_of_pytorch(pre_norm: bool, padded: bool) -> None:
    ours = made(positions="none", pre_norm=pre_norm)
    for weight in ours.parameters():
        nn.init.normal_(weight, std=0.3)
    theirs = torchs(ours, pre_norm).train()  # not its fast path, which rounds in another order
    x = torch.rand(3, 8, 7)
    mask = padding_mask(torch.tensor([7, 4, 1]), 7) if padded else None
    expected = theirs(x.transpose(1, 2), src_key_padding_mask=mask).transpose(1, 2)
    if mask is not None:
        expected = expected.masked_fill(mask.unsqueeze(1), 0.0)
    torch.testing.assert_close(ours(x, mask), expected)


def test_new_weights_are_drawn_as_pytorchs() -> None:
    ours, theirs = made(), nn.MultiheadAttention(8, 2)
    attention = ours.layers[0].attention.requires_grad_(False)
    bound = (6 / (8 + 24)) ** 0.5  # Glorot's, of the three projections as one
    assert attention.qkv.weight.abs().max() <= bound
    assert attention.qkv.weight.std() == pytest.approx(bound / 3**0.5, rel=0.15)
    assert theirs.in_proj_weight.detach().std() == pytest.approx(bound / 3**0.5, rel=0.15)
    assert not attention.qkv.bias.any() and not attention.output.bias.any()


# Positions.


def test_sinusoidal_positions_are_those_of_the_paper() -> None:
    expected = [[0, 1, 0, 1], [0.841471, 0.540302, 0.0099998, 0.99995]]
    torch.testing.assert_close(sinusoids(2, 4, torch.zeros(())), torch.tensor(expected))
    assert sinusoids(3, 5, torch.zeros((), dtype=torch.double)).shape == (3, 5)


def test_products_of_rotary_positions_depend_on_differences_alone() -> None:
    query, key = torch.rand(2, 6)
    rotation = rotations(50, 6, query)
    turned_query = rotated(query.expand(50, 6), rotation)
    turned_key = rotated(key.expand(50, 6), rotation)
    products = turned_query @ turned_key.T
    for difference in (-7, 0, 3):
        diagonal = products.diagonal(difference)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert not torch.isclose(products[0, 0], products[0, 3])
    torch.testing.assert_close(turned_query.norm(dim=1), query.norm().expand(50))
    assert turned_query[0].equal(query)


def test_a_quarter_turn_moves_the_first_of_a_pair_to_the_second() -> None:
    quarter = torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])  # cosines and sines of 90° and 0°
    assert rotated(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), quarter).tolist() == [[-3.0, 2.0, 1.0, 4.0]]


@pytest.mark.parametrize(
    ("positions", "depends_on_order", "depends_on_place"),
    [("none", False, False), ("rotary", True, False), ("sinusoidal", True, True), ("learned", True, True)],
)
def test_what_a_transformer_sees_of_positions(
    positions: str, depends_on_order: bool, depends_on_place: bool
) -> None:
    encoder = made(positions=positions, max_length=20)
    x = torch.rand(1, 8, 6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.allclose(encoder(x[:, :, order]), encoder(x)[:, :, order], atol=1e-5) is not depends_on_order
    # The same sequence four positions further on, behind padding.
    later = torch.cat([torch.zeros(1, 8, 4), x], dim=2)
    mask = torch.tensor([[True] * 4 + [False] * 6])
    assert torch.allclose(encoder(later, mask)[:, :, 4:], encoder(x), atol=1e-5) is not depends_on_place


def test_a_sequence_longer_than_the_positions_is_refused() -> None:
    encoder = made(positions="learned", max_length=6)
    assert encoder(torch.rand(1, 8, 6)).shape == (1, 8, 6)
    with pytest.raises(
        DataError, match="sequences of 7 positions, and the max_length of TransformerEncoder is 6"
    ):
        encoder(torch.rand(1, 8, 7))
    assert made(positions="sinusoidal")(torch.rand(1, 8, 700)).shape == (1, 8, 700)


# Weights and representations.


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
@pytest.mark.parametrize("pre_norm", [True, False])
def test_an_inspection_has_the_same_output_and_weights_that_sum_to_one(
    positions: str, pre_norm: bool
) -> None:
    encoder = made(positions=positions, pre_norm=pre_norm)
    x, mask = torch.rand(3, 8, 7), padding_mask(torch.tensor([7, 4, 1]), 7)
    output, representations, attentions = encoder.inspect(x, mask, layers=[0, 2])
    torch.testing.assert_close(output, encoder(x, mask))
    assert attentions is not None and attentions.shape == (3, 2, 2, 7, 7)
    torch.testing.assert_close(attentions.sum(4), torch.ones(3, 2, 2, 7))
    assert not attentions[1, :, :, :, 4:].any() and (attentions[0] > 0).all()
    assert representations.keys() == {0, 2}
    assert representations[2].equal(output) and not representations[0].equal(output)
    assert {each.shape for each in representations.values()} == {(3, 8, 7)}


def test_weights_times_values_are_the_attention() -> None:
    attention = made().layers[0].attention
    x = torch.rand(2, 5, 8)
    output, weights = attention.weigh(x, None, None)
    values = attention.qkv(x)[:, :, 16:].reshape(2, 5, 2, 4)
    mixed = torch.einsum("nhqk,nkhd->nqhd", weights, values).reshape(2, 5, 8)
    torch.testing.assert_close(attention.output(mixed), output)
    torch.testing.assert_close(attention(x, None, None), output)


def test_representations_without_weights_and_layers_that_are_not_there() -> None:
    encoder = made()
    inspection = encoder.inspect(torch.rand(1, 8, 5), layers=[1], attentions=False)
    assert inspection.attentions is None and inspection.representations.keys() == {1}
    with pytest.raises(DefinitionError, match="no layer 3: layers are from 0, the input, to 2"):
        encoder.inspect(torch.rand(1, 8, 5), layers=[3])


def test_another_width_is_reached_by_a_linear_layer() -> None:
    encoder = TransformerEncoder(4, 12, heads=3, layers=1, positions="none")
    assert isinstance(encoder.project, nn.Linear) and encoder.out_channels == 12
    assert isinstance(TransformerEncoder(12, 12, heads=3).project, nn.Identity)
    x: Tensor = torch.tensor([[0, 3]])
    assert encoder(x).shape == (1, 12, 2)


def test_dropout_acts_in_training_alone() -> None:
    encoder = made(dropout=0.5)
    x = torch.rand(1, 8, 5)
    assert encoder(x).equal(encoder(x))
    encoder.train()
    assert not encoder(x).equal(encoder(x))
