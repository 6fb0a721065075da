"""The transformer encoder."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from helixband.errors import DataError, DefinitionError
from helixband.networks.attention import SelfAttention, rotations, sinusoids
from helixband.networks.checks import ACTIVATIONS, check_choice, check_flags, check_share, check_sizes
from helixband.networks.encoder import Encoder
from helixband.networks.masks import without_padding

Positions = Literal["sinusoidal", "learned", "rotary", "none"]


class TransformerLayer(nn.Module):
    """Attention and two linear layers on each position, (N, S, width) to the same."""

    def __init__(
        self, width: int, heads: int, feedforward: int, dropout: float, activation: str, pre_norm: bool
    ) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, dropout)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward),
            ACTIVATIONS[activation](),
            nn.Dropout(dropout),
            nn.Linear(feedforward, width),
            nn.Dropout(dropout),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, keys: Tensor | None, rotation: Tensor | None, weigh: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The output, and the attention weights (N, heads, S, S) if they are to be given."""
        read = self.attention_norm(x) if self.pre_norm else x
        weights = None
        if weigh:
            mixed, weights = self.attention.weigh(read, keys, rotation)
        else:
            mixed = self.attention(read, keys, rotation)
        x = x + self.dropout(mixed)
        if self.pre_norm:
            return x + self.feedforward(self.feedforward_norm(x)), weights
        x = self.attention_norm(x)
        return self.feedforward_norm(x + self.feedforward(x)), weights


class Inspection(NamedTuple):
    """What a transformer computed on the way.

    output: (N, width, S), as of a call. representations: by the number of the layer, each (N, width, S).
    attentions: (N, layers, heads, S, S), or None if they were not asked for; the weights with which each
    position looks at each other sum to 1 along the last axis.
    """

    output: Tensor
    representations: dict[int, Tensor]
    attentions: Tensor | None


class TransformerEncoder(Encoder):
    """A transformer encoder: (N, S) or (N, in_channels, S) to (N, width, S).

    width: channels of each position; a linear layer leads from in_channels to another width. heads: attention
    heads, which divide width. feedforward: units of the layer between, by default 4 times width. dropout: of
    attention weights, of each sublayer and of the input, if it has positions. pre_norm: layer normalisation
    before each sublayer and after the last (Xiong et al. 2020), or after each sublayer (Vaswani et al. 2017).
    positions: "sinusoidal" and "learned" are added to the input, "rotary" turns queries and keys, which then
    depend on differences of positions alone (Su et al. 2021), and with "none" order has no effect.
    max_length: the longest sequence that is read; "learned" positions need it.

    Attention is PyTorch's fused one. `inspect` also gives the attention weights and the layers' outputs. With
    the same settings the layers are those of `nn.TransformerEncoder`. For the rest see `Encoder`.
    """

    prefix = "transformer_"

    def __init__(
        self,
        in_channels: int,
        width: int = 256,
        *,
        heads: int = 8,
        layers: int = 6,
        feedforward: int | None = None,
        dropout: float = 0.1,
        activation: Literal["relu", "gelu", "silu"] = "gelu",
        pre_norm: bool = True,
        positions: Positions = "sinusoidal",
        max_length: int | None = None,
        embedding: nn.Module | None = None,
        window: int | None = None,
    ) -> None:
        super().__init__(in_channels, width, embedding, window)
        check_sizes(self, width=width, heads=heads, layers=layers)
        feedforward = 4 * width if feedforward is None else feedforward
        check_sizes(self, feedforward=feedforward)
        check_share(self, dropout=dropout)
        check_flags(self, pre_norm=pre_norm)
        check_choice(self, "activation", activation, ACTIVATIONS)
        check_choice(self, "positions", positions, ("sinusoidal", "learned", "rotary", "none"))
        self.heads, self.positions, self.max_length = heads, positions, max_length
        self._check_heads(width)
        self._check_positions(width)
        self.project = nn.Identity() if width == in_channels else nn.Linear(in_channels, width)
        self.learned = nn.Embedding(max_length, width) if positions == "learned" and max_length else None
        if self.learned is not None:
            nn.init.normal_(self.learned.weight, std=0.02)  # as BERT
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, feedforward, dropout, activation, pre_norm) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width) if pre_norm else nn.Identity()

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        return self._run(x, padding_mask, frozenset(), False).output

    def inspect(
        self,
        x: Tensor,
        padding_mask: Tensor | None = None,
        *,
        layers: Iterable[int] = (),
        attentions: bool = True,
    ) -> Inspection:
        """What a call computes, with the outputs of chosen layers and every head's attention weights.

        layers: 0 is what the first layer gets, and the last one has the final normalisation. Attention is
        computed without PyTorch's fused kernels, and takes memory for its weights.

        Raises `DefinitionError` for a layer that is not there.
        """
        chosen = frozenset(layers)
        if wrong := [layer for layer in chosen if layer not in range(len(self.layers) + 1)]:
            raise DefinitionError(
                f"TransformerEncoder has no layer {wrong[0]!r}: layers are from 0, the input, to "
                f"{len(self.layers)}"
            )
        return self._run(x, padding_mask, chosen, attentions)

    def _run(self, x: Tensor, mask: Tensor | None, chosen: frozenset[int], weigh: bool) -> Inspection:
        x = self._placed(self.project(self.read(x, mask).transpose(1, 2).contiguous()))
        # A sequence of padding alone looks at all of it: a softmax over nothing would be NaN.
        keys = None if mask is None else (~mask | mask.all(1, keepdim=True))[:, None, None]
        rotation = rotations(x.shape[1], x.shape[2] // self.heads, x) if self.positions == "rotary" else None
        found, attentions = {0: x} if 0 in chosen else {}, []
        for number, layer in enumerate(self.layers, 1):
            x, weights = layer(x, keys, rotation, weigh)
            attentions.append(weights)
            if number == len(self.layers):
                x = self.norm(x)
            if number in chosen:
                found[number] = x
        return Inspection(
            without_padding(x.transpose(1, 2), mask),
            {number: without_padding(each.transpose(1, 2), mask) for number, each in found.items()},
            torch.stack(attentions, dim=1) if weigh else None,
        )

    def _placed(self, x: Tensor) -> Tensor:
        """x, (N, S, width), with its positions; raises `DataError` for more than they allow."""
        length = x.shape[1]
        if self.max_length is not None and length > self.max_length:
            raise DataError(
                f"a batch has sequences of {length:,} positions, and the max_length of TransformerEncoder is "
                f"{self.max_length:,}; cut the sequences, or make max_length larger"
            )
        if self.learned is not None:
            return self.dropout(x + self.learned.weight[:length])  # type: ignore[no-any-return]
        if self.positions == "sinusoidal":
            return self.dropout(x + sinusoids(length, x.shape[2], x))  # type: ignore[no-any-return]
        return x

    def _check_heads(self, width: int) -> None:
        if width % self.heads:
            raise DefinitionError(
                f"width of TransformerEncoder is {width}, which heads={self.heads} do not divide; "
                f"{width // self.heads * self.heads or self.heads} would do"
            )
        if self.positions == "rotary" and width // self.heads % 2:
            raise DefinitionError(
                f"TransformerEncoder has {width // self.heads} channels in a head (width {width}, "
                f"{self.heads} heads); rotary positions turn pairs of them, so make that an even number"
            )

    def _check_positions(self, width: int) -> None:
        if self.max_length is None:
            if self.positions == "learned":
                raise DefinitionError(
                    "TransformerEncoder with learned positions needs max_length, the number of them"
                )
            return
        check_sizes(self, max_length=self.max_length)
        if self.window is not None and self.window > self.max_length:
            raise DefinitionError(
                f"the max_length of TransformerEncoder is {self.max_length:,}, and its window "
                f"{self.window:,}; make max_length at least as large"
            )
