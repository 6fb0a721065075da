"""Heads: from the features of an encoder to what is said of a sequence, or of its positions."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from helixband.errors import DataError
from helixband.networks.checks import check_features, check_kernels, check_share, check_sizes
from helixband.networks.decoders import LinearDecoder, MLPDecoder
from helixband.networks.encoder import FromHparams
from helixband.networks.masks import check_mask, without_padding
from helixband.networks.pooling import SequencePool, SequencePooling

Activation = Literal["relu", "gelu", "silu"]


class PooledHead(FromHparams, nn.Module):
    """What is said of a whole sequence: features (N, in_channels, S) to (N, outputs), before any activation.

    pooling: how positions become one vector: "mean", "max", "attention" or "first" (see `SequencePooling`).
    hidden: units of hidden layers behind it; without, it is linear. dropout: of the vector, and after each
    hidden layer. padding_mask, (N, S), True at padding, leaves positions out.
    """

    prefix = "head_"

    def __init__(
        self,
        in_channels: int,
        outputs: int,
        *,
        pooling: SequencePool = "mean",
        hidden: Sequence[int] = (),
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_share(self, dropout=dropout)
        self.in_channels = in_channels
        self.pooling = SequencePooling(in_channels, pooling)
        self.decoder = _decoder(in_channels, outputs, hidden, activation, dropout)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        check_features(self, x, self.in_channels)
        output: Tensor = self.decoder(self.pooling(x, padding_mask))
        return output


class PositionHead(FromHparams, nn.Module):
    """What is said of each position: features (N, in_channels, S) to (N, outputs, S), before any activation.

    That is the shape that `nn.CrossEntropyLoss` takes with labels (N, S). hidden, dropout: as of
    `PooledHead`, for each position by itself. Nothing is changed at padding: the loss leaves it out by its
    labels.
    """

    prefix = "head_"

    def __init__(
        self,
        in_channels: int,
        outputs: int,
        *,
        hidden: Sequence[int] = (),
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_share(self, dropout=dropout)
        self.in_channels = in_channels
        self.decoder = _decoder(in_channels, outputs, hidden, activation, dropout)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        check_features(self, x, self.in_channels)
        output: Tensor = self.decoder(x)
        return output


class ProfileHead(FromHparams, nn.Module):
    """The shape of profiles: features (N, in_channels, S) to logits along them, (N, tracks, S).

    A convolution over kernel_size positions, an odd number, reads them. length: how many positions there are
    of the output, the central ones; by default all. At padding, (N, S), True there, the share is 0.

    It is what `MultinomialLoss` takes. Avsec et al. 2021 (BPNet); with 75 positions Pampari et al. 2023
    (ChromBPNet).
    """

    prefix = "profile_"

    def __init__(
        self, in_channels: int, tracks: int = 1, *, kernel_size: int = 75, length: int | None = None
    ) -> None:
        super().__init__()
        check_sizes(
            self, in_channels=in_channels, tracks=tracks, **({} if length is None else {"length": length})
        )
        check_kernels(self, kernel_size=kernel_size)
        self.in_channels, self.length = in_channels, length
        self.convolution = nn.Conv1d(in_channels, tracks, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        check_features(self, x, self.in_channels)
        check_mask(padding_mask, x.shape[0], x.shape[2])
        logits: Tensor = self.convolution(without_padding(x, padding_mask))
        if padding_mask is not None:  # not -inf: a count of 0 times its logarithm would be NaN
            logits = logits.masked_fill(padding_mask.unsqueeze(1), torch.finfo(logits.dtype).min / 2)
        return logits if self.length is None else self._centre(logits, self.length)

    def _centre(self, logits: Tensor, length: int) -> Tensor:
        if length > logits.shape[2]:
            raise DataError(
                f"the length of ProfileHead is {length:,}, and its features have {logits.shape[2]:,} "
                "positions; make it at most that"
            )
        begin = (logits.shape[2] - length) // 2
        return logits[:, :, begin : begin + length]


class CountHead(PooledHead):
    """The logarithms of total counts: features (N, in_channels, S) to (N, tracks).

    `PooledHead` of the mean over positions, under the name of its use (Avsec et al. 2021, BPNet).
    """

    def __init__(
        self, in_channels: int, tracks: int = 1, *, hidden: Sequence[int] = (), dropout: float = 0.0
    ):
        super().__init__(in_channels, tracks, hidden=hidden, dropout=dropout)


class ProfileCountHead(FromHparams, nn.Module):
    """Profiles and their total counts: features (N, in_channels, S) to a dict, as of BPNet.

    "profile": logits (N, tracks, length), see `ProfileHead`. "log_count": (N, tracks), see `CountHead`.
    """

    prefix = "profile_"

    def __init__(
        self, in_channels: int, tracks: int = 1, *, kernel_size: int = 75, length: int | None = None
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.profile = ProfileHead(in_channels, tracks, kernel_size=kernel_size, length=length)
        self.count = CountHead(in_channels, tracks)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> dict[str, Tensor]:
        return {"profile": self.profile(x, padding_mask), "log_count": self.count(x, padding_mask)}


def _decoder(
    features: int, outputs: int, hidden: Sequence[int], activation: Activation, dropout: float
) -> nn.Module:
    if hidden:
        made: nn.Module = MLPDecoder(features, outputs, hidden, activation=activation, dropout=dropout)
    else:
        made = LinearDecoder(features, outputs)
    return nn.Sequential(nn.Dropout(dropout), made)
