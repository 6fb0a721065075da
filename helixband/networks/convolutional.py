"""Convolutional encoders: by pooling, by dilation, and U-shaped."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from helixband.errors import DefinitionError, in_one_line
from helixband.networks.checks import (
    ACTIVATIONS,
    check_choice,
    check_kernels,
    check_list_of_sizes,
    check_share,
    check_sizes,
    is_number,
)
from helixband.networks.encoder import Encoder, Span, pooled, repeated, widened
from helixband.networks.masks import pooled_mask, without_padding
from helixband.networks.pooling import WINDOW_POOLS, WindowPool, WindowPooling

Norm = Literal["batch", "layer", "none"]
Activation = Literal["relu", "gelu", "silu"]


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position, (N, C, S) to the same."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


class ConvBlock(nn.Module):
    """Convolution, normalisation, activation, dropout: (N, C, S) to (N, channels, S), 0 at padding.

    Beyond the ends, sequences go on with zeros, so that the length stays.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel_size: int,
        norm: Norm,
        activation: Activation,
        dropout: float,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.reach = (kernel_size - 1) // 2 * dilation
        self.convolution = nn.Conv1d(
            in_channels, channels, kernel_size, padding=self.reach, dilation=dilation, bias=norm != "batch"
        )
        norms = {"batch": nn.BatchNorm1d, "layer": ChannelNorm, "none": nn.Identity}
        self.norm = norms[norm](channels)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        x = self.dropout(self.activation(self.norm(self.convolution(x))))
        return without_padding(x, padding_mask)


class ConvEncoder(Encoder):
    """Convolutions, each followed by pooling: (N, S) or (N, in_channels, S) to (N, channels[-1], S').

    channels: of each block; a block is a convolution, normalisation, activation, dropout and pooling over
    windows of `pool_size` positions ("max", "average" or "attention", see `WindowPooling`). S' is S divided
    by pool_size once for each block, rounded up each time. first_kernel_size: of the first block, which reads
    motifs; kernel_size of the others, as odd numbers. norm: "batch", "layer" (over the channels of each
    position) or "none".

    Kelley et al. 2016 (Basset), 2018 (Basenji); attention pooling Avsec et al. 2021 (Enformer).
    For the rest see `Encoder`.
    """

    prefix = "conv_"

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int] = (64, 96, 128),
        *,
        first_kernel_size: int = 15,
        kernel_size: int = 5,
        pool: WindowPool = "max",
        pool_size: int = 2,
        norm: Norm = "batch",
        activation: Activation = "relu",
        dropout: float = 0.0,
        embedding: nn.Module | None = None,
        window: int | None = None,
    ) -> None:
        super().__init__(in_channels, _last(self, channels), embedding, window)
        check_kernels(self, first_kernel_size=first_kernel_size, kernel_size=kernel_size)
        check_sizes(self, pool_size=pool_size)
        check_choice(self, "pool", pool, WINDOW_POOLS)
        _check_blocks(self, norm, activation, dropout)
        kernel_sizes = [first_kernel_size, *[kernel_size] * (len(channels) - 1)]
        self.pool_size = pool_size
        widths = [in_channels, *channels]
        blocks = [
            ConvBlock(before, width, size, norm, activation, dropout)
            for before, width, size in zip(widths[:-1], channels, kernel_sizes, strict=True)
        ]
        self.reaches, self.blocks = [block.reach for block in blocks], nn.ModuleList(blocks)
        self.pools = nn.ModuleList(WindowPooling(width, pool_size, pool) for width in channels)
        self.see()

    def span(self, span: Span) -> Span:
        for reach in reversed(self.reaches):
            span = widened(pooled(span, self.pool_size), reach)
        return span

    def output_length(self, length: int) -> int:
        for _ in self.pools:
            length = -(-length // self.pool_size)
        return length

    def output_mask(self, padding_mask: Tensor) -> Tensor:
        for _ in self.pools:
            padding_mask = pooled_mask(padding_mask, self.pool_size)
        return padding_mask

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        x = self.read(x, padding_mask)
        for block, pool in zip(self.blocks, self.pools, strict=True):
            x = pool(block(x, padding_mask), padding_mask)
            padding_mask = None if padding_mask is None else pooled_mask(padding_mask, self.pool_size)
        return x


class DilatedConvEncoder(Encoder):
    """A convolution, then dilated ones: (N, S) or (N, in_channels, S) to (N, channels, S).

    Each dilated layer is added to what it reads. Layer i, from 1, has a kernel of `kernel_size` positions
    that lie dilation_growth**i apart, rounded; so the receptive field grows exponentially with the layers.
    first_kernel_size: of the convolution that reads the sequence. norm: "batch", "layer" (over the channels
    of each position) or "none".

    Yu and Koltun 2016; Avsec et al. 2021 (BPNet). For the rest see `Encoder`.

    >>> DilatedConvEncoder(4, channels=512, layers=8).receptive_field  # ChromBPNet without its head
    1041
    """

    prefix = "dilated_"

    def __init__(
        self,
        in_channels: int,
        channels: int = 64,
        *,
        layers: int = 8,
        first_kernel_size: int = 21,
        kernel_size: int = 3,
        dilation_growth: float = 2.0,
        norm: Norm = "none",
        activation: Activation = "relu",
        dropout: float = 0.0,
        embedding: nn.Module | None = None,
        window: int | None = None,
    ) -> None:
        super().__init__(in_channels, channels, embedding, window)
        check_sizes(self, channels=channels, layers=layers)
        check_kernels(self, first_kernel_size=first_kernel_size, kernel_size=kernel_size)
        _check_blocks(self, norm, activation, dropout)
        if not is_number(dilation_growth) or not 1 <= dilation_growth < 100:
            raise DefinitionError(
                f"dilation_growth of DilatedConvEncoder is {in_one_line(dilation_growth)}; it has to be a "
                "number from 1 to below 100"
            )
        self.dilations = [round(dilation_growth**layer) for layer in range(1, layers + 1)]
        self.first = ConvBlock(in_channels, channels, first_kernel_size, norm, activation, 0.0)
        dilated = [
            ConvBlock(channels, channels, kernel_size, norm, activation, dropout, dilation)
            for dilation in self.dilations
        ]
        self.reach = sum(block.reach for block in [self.first, *dilated])
        self.layers = nn.ModuleList(dilated)
        self.see()

    def span(self, span: Span) -> Span:
        return widened(span, self.reach)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        x = self.first(self.read(x, padding_mask), padding_mask)
        for layer in self.layers:
            x = x + layer(x, padding_mask)
        return x


class UNet(Encoder):
    """A U-shaped encoder-decoder: (N, S) or (N, in_channels, S) to (N, channels[0], S).

    channels: of each level, the finest first. On the way down, each level is a convolution, and windows of
    `pool_size` positions are pooled to reach the next ("max", "average" or "attention"). On the way up, each
    position is repeated pool_size times, and a convolution reads it beside what that level had on the way
    down. Any S will do. kernel_size is odd. norm: "batch", "layer" or "none".

    Ronneberger et al. 2015; for sequences Linder et al. 2025 (Borzoi). For the rest see `Encoder`.
    """

    prefix = "unet_"

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int] = (32, 64, 128),
        *,
        kernel_size: int = 9,
        pool: WindowPool = "max",
        pool_size: int = 2,
        norm: Norm = "batch",
        activation: Activation = "relu",
        dropout: float = 0.0,
        embedding: nn.Module | None = None,
        window: int | None = None,
    ) -> None:
        _last(self, channels)
        super().__init__(in_channels, channels[0], embedding, window)
        check_kernels(self, kernel_size=kernel_size)
        check_sizes(self, pool_size=pool_size)
        check_choice(self, "pool", pool, WINDOW_POOLS)
        _check_blocks(self, norm, activation, dropout)
        self.pool_size, self.reach = pool_size, kernel_size // 2
        settings = kernel_size, norm, activation, dropout
        pairs = list(zip(channels, channels[1:], strict=False))
        self.down = nn.ModuleList(
            ConvBlock(before, width, *settings)
            for before, width in zip([in_channels, *channels], channels, strict=False)
        )
        self.pools = nn.ModuleList(WindowPooling(width, pool_size, pool) for width in channels[:-1])
        self.up = nn.ModuleList(ConvBlock(fine + coarse, fine, *settings) for fine, coarse in pairs)
        self.see(phases=pool_size ** len(self.pools))

    def span(self, span: Span) -> Span:
        for _ in self.up:
            span = repeated(widened(span, self.reach), self.pool_size)
        for _ in self.pools:
            span = pooled(widened(span, self.reach), self.pool_size)
        return widened(span, self.reach)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        x = self.down[0](self.read(x, padding_mask), padding_mask)
        levels = [(x, padding_mask)]
        for pool, block in zip(self.pools, self.down[1:], strict=True):
            x = pool(x, padding_mask)
            padding_mask = None if padding_mask is None else pooled_mask(padding_mask, self.pool_size)
            x = block(x, padding_mask)
            levels.append((x, padding_mask))
        for (fine, mask), block in zip(reversed(levels[:-1]), reversed(self.up), strict=True):
            x = x.repeat_interleave(self.pool_size, dim=2)[:, :, : fine.shape[2]]
            x = without_padding(x, mask)  # a coarse position may be of both
            x = block(torch.cat([fine, x], dim=1), mask)
        return x


def _last(network: Encoder, channels: Sequence[int]) -> int:
    check_list_of_sizes(network, channels=channels)
    return channels[-1]


def _check_blocks(network: Encoder, norm: Norm, activation: Activation, dropout: float) -> None:
    check_choice(network, "norm", norm, ("batch", "layer", "none"))
    check_choice(network, "activation", activation, ACTIVATIONS)
    check_share(network, dropout=dropout)
