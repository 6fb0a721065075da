"""One-hot encoding as the first layer of a network: indexes travel, vectors are made on the device."""

import torch
from torch import Tensor, nn

from helixband.errors import DataError
from helixband.networks.checks import check_sizes
from helixband.sequence.alphabet import DNA, Alphabet


class OneHot(nn.Module):
    """Indexes (N, S), uint8 or int64, to one-hot (N, E, S), float; an index from E on is all zeros.

    With E = 4 and DNA's indexes, A, C, G, T are the unit vectors in that order and N is all zeros.

    `channels` is E, or an alphabet, whose tokens are so many. The vectors are of the type of the network's
    numbers, as after `network.double()`.

    >>> OneHot()(torch.tensor([[0, 3, 4]], dtype=torch.uint8))
    tensor([[[1., 0., 0.],
             [0., 0., 0.],
             [0., 0., 0.],
             [0., 1., 0.]]])
    """

    tokens: Tensor
    unit: Tensor

    def __init__(self, channels: int | Alphabet = DNA) -> None:
        number = channels.n_tokens if isinstance(channels, Alphabet) else channels
        check_sizes(self, channels=number)
        super().__init__()
        self.register_buffer("tokens", torch.arange(number).unsqueeze(1), persistent=False)
        self.register_buffer("unit", torch.ones(()), persistent=False)  # gets the network's type

    def forward(self, x: Tensor) -> Tensor:
        hot: Tensor = x.unsqueeze(1) == self.tokens
        return hot.to(self.unit.dtype)


class TokenEmbedding(nn.Embedding):
    """Indexes (N, S), integers, to a learned vector each, (N, channels, S).

    As the `embedding` of an encoder, for vocabularies that are too large for one-hot vectors, such as word
    pieces: `TransformerEncoder(256, 256, embedding=TokenEmbedding(30_000, 256))`. Raises `DataError` for an
    index that it does not have (of a GPU, torch does).
    """

    def __init__(self, tokens: int, channels: int) -> None:
        check_sizes(self, tokens=tokens, channels=channels)
        super().__init__(tokens, channels)

    def forward(self, input: Tensor) -> Tensor:
        try:
            return super().forward(input.long()).transpose(1, 2)
        except IndexError as error:  # of a CPU: asked beforehand, it would have a GPU waited for
            strange = (input < 0) | (input >= self.num_embeddings)
            row, place = (int(each) for each in strange.nonzero()[0])
            raise DataError(
                f"row {row} of x has the index {int(input[row, place])} at position {place} (from 0), and "
                f"TokenEmbedding has {self.num_embeddings:,} tokens: give it as many as the data have"
            ) from error
