"""Networks that say the same of both strands, exactly."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helixband.errors import DataError, DefinitionError
from helixband.networks import (
    ConvEncoder,
    DilatedConvEncoder,
    OneHot,
    PooledHead,
    PositionHead,
    ProfileCountHead,
    RecurrentEncoder,
    ReverseComplementEquivariant,
    SequenceNetwork,
    TransformerEncoder,
    UNet,
)
from helixband.sequence.alphabet import DNA, PROTEIN, RNA

X = torch.tensor(DNA.encode(["ACGTTGCANACGGATTACAGATTACAGGCT", "TTTTGGGCANNACGATAGCTAGGATCCAAC"]))
RC = torch.tensor(DNA.reverse_complement(X.numpy()))


def wrapped(network: nn.Module, strands: Sequence[int] | None = None, **given: int) -> nn.Module:
    torch.manual_seed(0)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.3)
    return ReverseComplementEquivariant(network, strands=strands, **given).eval()


@pytest.mark.filterwarnings("ignore:the receptive field")
@pytest.mark.parametrize(
    "encoder",
    [
        ConvEncoder(4, [5, 6], first_kernel_size=5),
        DilatedConvEncoder(4, 5, layers=3),
        UNet(4, [5, 6]),
        TransformerEncoder(4, 8, heads=2, layers=2),
        RecurrentEncoder(4, 6),
    ],
    ids=lambda encoder: type(encoder).__name__,
)
def test_outputs_are_the_same_of_both_strands_and_positions_from_last_to_first(encoder: nn.Module) -> None:
    whole = wrapped(SequenceNetwork(encoder, PooledHead(encoder.out_channels, 3)))
    torch.testing.assert_close(whole(X), whole(RC), rtol=0, atol=1e-6)
    assert not torch.allclose(whole.network(X), whole.network(RC), atol=1e-3)
    positions = wrapped(SequenceNetwork(encoder, PositionHead(encoder.out_channels, 3)))
    torch.testing.assert_close(positions(X), positions(RC).flip(2), rtol=0, atol=1e-6)
    assert not torch.allclose(positions.network(X), positions.network(RC).flip(2), atol=1e-3)


@pytest.mark.filterwarnings("ignore:the receptive field")
def test_profiles_and_counts_of_strands_take_each_others_place() -> None:
    network = SequenceNetwork(
        DilatedConvEncoder(4, 5, layers=2), ProfileCountHead(5, 2, kernel_size=7, length=20)
    )
    both = wrapped(network, strands=[1, 0])
    here, there = both(X), both(RC)
    torch.testing.assert_close(here["profile"], there["profile"].flip(2)[:, [1, 0]], rtol=0, atol=1e-6)
    torch.testing.assert_close(here["log_count"], there["log_count"][:, [1, 0]], rtol=0, atol=1e-6)
    assert not torch.allclose(here["profile"][:, 0], here["profile"][:, 1], atol=1e-3)


def test_the_mean_of_both_strands_by_hand() -> None:
    class Weighted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:  # A 1, C 2, G 3, T 4 at each position
            return (OneHot()(x) * torch.tensor([[[1.0], [2.0], [3.0], [4.0]]])).sum(1, keepdim=True)

    x = torch.tensor(DNA.encode(["AACN"]))  # NGTT: 0 3 4 4
    both = ReverseComplementEquivariant(Weighted())
    assert both(x).tolist() == [[[(1 + 4) / 2, (1 + 4) / 2, (2 + 3) / 2, 0.0]]]


def test_one_hot_and_indexes_are_the_same_and_a_batch_of_one_is_as_of_many() -> None:
    both = wrapped(SequenceNetwork(DilatedConvEncoder(4, 5, layers=1), PooledHead(5, 3)))
    torch.testing.assert_close(both(OneHot()(X)), both(X))
    torch.testing.assert_close(torch.cat([both(X[:1]), both(X[1:])]), both(X))
    with_tokens = wrapped(SequenceNetwork(DilatedConvEncoder(6, 5, layers=1), PooledHead(5, 3)))
    torch.testing.assert_close(with_tokens(OneHot(6)(X)), with_tokens(RC), rtol=0, atol=1e-6)


@pytest.mark.parametrize("by", ["index", "mask"])
def test_padding_stays_at_the_end(by: str) -> None:
    torch.manual_seed(0)
    network = SequenceNetwork(
        RecurrentEncoder(4, 6), PositionHead(12, 2), padding=4 if by == "index" else None
    )
    both = wrapped(network, **({"padding": 4} if by == "index" else {}))
    x = torch.tensor(DNA.encode(["ACGTTGCA"]))
    padded = torch.cat([x, torch.full((1, 3), 4)], dim=1)
    mask = None if by == "index" else padded == 4
    found = both(padded) if mask is None else both(padded, mask)
    torch.testing.assert_close(found[:, :, :8], both(x))


@pytest.mark.parametrize(
    "encoder",
    [ConvEncoder(4, [5, 6], first_kernel_size=5), RecurrentEncoder(4, 6)],
    ids=lambda encoder: type(encoder).__name__,
)
def test_padding_is_that_of_the_network_within(encoder: nn.Module) -> None:
    network = SequenceNetwork(encoder, PooledHead(encoder.out_channels, 2, pooling="max"), padding=4)
    x = torch.tensor(DNA.encode(["ACGTTGCAACGGATTACAGATT"]))
    padded = torch.cat([x, torch.full((1, 9), 4)], dim=1)
    for both in (wrapped(network), wrapped(nn.Sequential(network, nn.Tanh())), wrapped(wrapped(network))):
        torch.testing.assert_close(both(padded), both(x))
    assert wrapped(network).padding == wrapped(network, padding=4).padding == 4
    assert ReverseComplementEquivariant(nn.Conv1d(4, 1, 3, padding=1)).padding is None


def test_padding_of_two_kinds_is_refused() -> None:
    network = SequenceNetwork(RecurrentEncoder(6, 6), PooledHead(12, 2), padding=4)
    with pytest.raises(DefinitionError, match="padding of .* is 4 and 5; it has to be one index"):
        ReverseComplementEquivariant(network, padding=5)


def test_outputs_without_an_axis_of_their_own_and_rna() -> None:
    network = nn.Sequential(OneHot(), nn.Flatten(), nn.Linear(4 * 30, 1), nn.Flatten(0))
    both = wrapped(network)
    assert both(X).shape == (2,)
    torch.testing.assert_close(both(X), both(RC), rtol=0, atol=1e-6)
    ReverseComplementEquivariant(network, alphabet=RNA)


def test_it_has_the_weights_of_its_network_alone() -> None:
    assert wrapped(nn.Linear(2, 1)).state_dict().keys() == {"network.weight", "network.bias"}


@pytest.mark.parametrize("strands", [[0, 0], [1, 2, 0], [1], [-1, 0]])
def test_strands_that_are_no_pairs_are_refused(strands: list[int]) -> None:
    with pytest.raises(DefinitionError, match="strands .* pairs"):
        ReverseComplementEquivariant(nn.Identity(), strands=strands)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"alphabet": PROTEIN}, "needs an alphabet with a complement, which .* does not have"),
        ({"alphabet": "DNA"}, "needs an alphabet with a complement, which 'DNA' does not have"),
        ({"padding": "N"}, "padding of ReverseComplementEquivariant is 'N'; .* index of padding"),
        ({"network": "conv"}, "was given 'conv'; it takes a network"),
    ],
)
def test_settings_of_another_kind_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        ReverseComplementEquivariant(**{"network": nn.Identity(), **given})


def test_data_and_outputs_of_another_form_are_refused() -> None:
    both = ReverseComplementEquivariant(OneHot())
    with pytest.raises(DataError, match=r"\(2, 3, 30\), torch.float32; it takes indexes"):
        both(torch.zeros(2, 3, 30))
    with pytest.raises(DataError, match=r"output of the shape \(4, 30\) .* give it as \(N, 1, S\)"):
        ReverseComplementEquivariant(nn.Identity())(X)
    assert ReverseComplementEquivariant(nn.Identity(), strands=range(30))(X).shape == (2, 30)
    with pytest.raises(DataError, match="got 4 outputs along K, and strands=.* has 2"):
        ReverseComplementEquivariant(OneHot(), strands=[1, 0])(X)
    with pytest.raises(DataError, match="gave its network 4 sequences, and got the shape"):
        ReverseComplementEquivariant(nn.Flatten(0))(X)
    shorter = SequenceNetwork(ConvEncoder(4, [5], first_kernel_size=3), PositionHead(5, 2), padding=4)
    with pytest.raises(DataError, match="cannot tell which of them are padding"):
        ReverseComplementEquivariant(shorter, padding=4)(torch.tensor([[0, 0, 1, 4]]))
