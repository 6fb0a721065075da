"""Networks that say the same of both strands."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helixband.errors import DataError, DefinitionError, in_one_line
from helixband.nested import map_leaves
from helixband.networks.checks import check_padding
from helixband.networks.masks import check_mask, lengths_of
from helixband.networks.sequence_network import SequenceNetwork
from helixband.sequence.alphabet import DNA, Alphabet


class ReverseComplementEquivariant(nn.Module):
    """`network` on both strands: what it says of a sequence and of its reverse complement, in the mean.

    x: what the network takes: indexes (N, S), integers, or one-hot data (N, E, S), floating-point. The
    network gets both strands as one batch, (2N, …).

    The output has the network's shape, and may be a dict or another nesting. What has three axes, (N, K, S),
    is of positions: the reverse complement has it from the last to the first. What has fewer, (N,) or (N, K),
    is of whole sequences, and the same for both. `strands`: the outputs along K that take the place of
    outputs 0, 1, … on the other strand, for example [1, 0] of the plus and the minus strand; by default the
    same.

    padding: the index of padding, of x as indexes; by default that of the `SequenceNetwork` that the network
    is or has in it. padding_mask, (N, S), True at padding, says so in its place, and goes to the network,
    too. Padding at the ends of sequences stays there.

    It is exact but for rounding, if the network makes no random choices (evaluation mode). Shrikumar et al.
    2017; Zhou et al. 2022 call it conjoined.

    Raises `DefinitionError` for an alphabet that has no complement, for strands that are no pairs, and where
    the padding is another than that of the network; `DataError` for an x or output of another form.
    """

    complement: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        strands: Sequence[int] | None = None,
        padding: int | None = None,
        alphabet: Alphabet = DNA,
    ) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise DefinitionError(
                f"ReverseComplementEquivariant was given {in_one_line(network)}; it takes a network"
            )
        check_padding(self, padding)
        if not isinstance(alphabet, Alphabet) or alphabet.complement is None:
            raise DefinitionError(
                "ReverseComplementEquivariant needs an alphabet with a complement, which "
                f"{in_one_line(alphabet)} does not have"
            )
        if strands is not None and not _is_pairs(strands):
            raise DefinitionError(
                f"strands of ReverseComplementEquivariant is {in_one_line(strands)}; it has to have each "
                "output once, and pairs that take each other's places, such as [1, 0]"
            )
        self.network, self.padding = network, _padding_of(network, padding)
        self.strands = None if strands is None else list(strands)
        self.register_buffer("complement", torch.from_numpy(alphabet.complement).long(), persistent=False)
        self._n_tokens = alphabet.n_tokens

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Any:
        is_indexes = not x.is_floating_point()
        if x.ndim != (2 if is_indexes else 3) or not is_indexes and x.shape[1] < self._n_tokens:
            raise DataError(
                f"ReverseComplementEquivariant was given x of the shape {tuple(x.shape)}, {x.dtype}; it "
                "takes indexes (N, S), integers, or one-hot data (N, E, S), floating-point, with E from "
                f"{self._n_tokens} on"
            )
        check_mask(padding_mask, x.shape[0], x.shape[-1])
        padding = padding_mask
        if padding is None and self.padding is not None and is_indexes:
            padding = x == self.padding
        order = None if padding is None else _last_to_first(padding)
        other = turned(x, order)
        if is_indexes:
            other = self.complement[other.long()].to(x.dtype)
        else:
            other = other[:, self.complement[: x.shape[1]]]
        both = torch.cat([x, other])
        if padding_mask is None:
            output = self.network(both)
        else:
            output = self.network(both, torch.cat([padding_mask, turned(padding_mask, order)]))
        return map_leaves(lambda leaf: self._mean(leaf, x, order), output)

    def _mean(self, output: Tensor, x: Tensor, order: Tensor | None) -> Tensor:
        if output.ndim == 0 or output.ndim > 3 or len(output) != 2 * len(x):
            raise DataError(
                f"ReverseComplementEquivariant gave its network {2 * len(x)} sequences, and got the shape "
                f"{tuple(output.shape)}; it takes outputs (N,), (N, K) or (N, K, S)"
            )
        if output.ndim == 2 and output.shape[1] == x.shape[-1] > 1 and self.strands is None:
            raise DataError(
                f"ReverseComplementEquivariant got an output of the shape {tuple(output.shape)} for "
                f"sequences of {x.shape[-1]} positions: if it is of positions, give it as (N, 1, S), else "
                f"strands=range({output.shape[1]})"
            )
        forward, reverse = output.chunk(2)
        if self.strands is not None and output.ndim > 1:
            reverse = self._swapped(reverse, self.strands)
        if output.ndim == 3:
            if order is not None and output.shape[2] != x.shape[-1]:
                raise DataError(
                    f"ReverseComplementEquivariant got an output of {output.shape[2]} positions for "
                    f"sequences of {x.shape[-1]} with padding, and cannot tell which of them are padding"
                )
            reverse = turned(reverse, order)
        return (forward + reverse) / 2

    def _swapped(self, output: Tensor, strands: list[int]) -> Tensor:
        if output.shape[1] != len(strands):
            raise DataError(
                f"ReverseComplementEquivariant got {output.shape[1]} outputs along K, and strands={strands} "
                f"has {len(strands)}"
            )
        return output[:, strands]


def _padding_of(network: nn.Module, given: int | None) -> int | None:
    """The index of padding that is given or that a network has within it; None where there is none."""
    within = [each.padding for each in network.modules() if isinstance(each, _WITH_PADDING)]
    found = sorted({each for each in (given, *within) if each is not None})
    if len(found) > 1:
        raise DefinitionError(
            "padding of ReverseComplementEquivariant and of the networks within its network is "
            f"{' and '.join(map(str, found))}; it has to be one index, that of padding in x"
        )
    return found[0] if found else None


_WITH_PADDING = (SequenceNetwork, ReverseComplementEquivariant)


def turned(x: Tensor, order: Tensor | None) -> Tensor:
    """x, (N, …, S), from the last position to the first, or in an order (N, S)."""
    if order is None:
        return x.flip(-1)
    return x.gather(-1, (order if x.ndim == 2 else order.unsqueeze(1)).expand_as(x))


def _last_to_first(padding: Tensor) -> Tensor:
    """Positions (N, S) of each sequence from its last to its first; padding behind it keeps its place."""
    place = torch.arange(padding.shape[1], device=padding.device).expand(padding.shape)
    lengths = lengths_of(padding).unsqueeze(1)
    return torch.where(place < lengths, lengths - 1 - place, place)


def _is_pairs(strands: Sequence[int]) -> bool:
    if not isinstance(strands, Sequence):
        return False
    numbers = list(strands)
    return sorted(numbers) == list(range(len(numbers))) and all(
        numbers[other] == place for place, other in enumerate(numbers)
    )
