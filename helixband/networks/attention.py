"""Self-attention, and how positions enter it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROTARY_BASE = 10000.0


class SelfAttention(nn.Module):
    """Multi-head self-attention, (N, S, width) to the same (Vaswani et al. 2017).

    It is computed by PyTorch's `scaled_dot_product_attention`; with `weigh`, also as the product of weights
    that are given back.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.qkv.weight)  # as nn.MultiheadAttention
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, keys: Tensor | None, rotation: Tensor | None) -> Tensor:
        """keys: which positions are looked at, (N, 1, 1, S), bool. rotation: see `rotations`."""
        query, key, value = self._projected(x, rotation)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=keys, dropout_p=self.dropout if self.training else 0.0
        )
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output

    def weigh(self, x: Tensor, keys: Tensor | None, rotation: Tensor | None) -> tuple[Tensor, Tensor]:
        """The same, and each head's weights, (N, heads, S, S): a row for each position, of sum 1."""
        query, key, value = self._projected(x, rotation)
        scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
        if keys is not None:
            scores = scores.masked_fill(~keys, -torch.inf)
        weights = scores.softmax(3)
        mixed = F.dropout(weights, self.dropout, self.training) @ value
        return self.output(mixed.transpose(1, 2).flatten(2)), weights

    def _projected(self, x: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (N, heads, S, width / heads)."""
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        if rotation is not None:
            query, key = rotated(query, rotation), rotated(key, rotation)
        return query, key, value


def rotations(length: int, size: int, like: Tensor) -> Tensor:
    """Cosines and sines, (2, length, size / 2), of the angles by which vectors are turned at each position.

    `size` of a vector is even. They are of the type of `like`, on its device.
    """
    rates = ROTARY_BASE ** -(torch.arange(0, size, 2, device=like.device, dtype=torch.float32) / size)
    angles = torch.arange(length, device=like.device, dtype=torch.float32).unsqueeze(1) * rates
    return torch.stack([angles.cos(), angles.sin()]).to(like.dtype)


def rotated(vectors: Tensor, rotation: Tensor) -> Tensor:
    """Vectors (…, S, D), each turned by the angles of its position: rotary positions (Su et al. 2021).

    The product of two of them depends on their places by the difference alone. Component i and component
    i + D / 2 are a pair, as in GPT-NeoX, Llama and ESM-2.
    """
    cosines, sines = rotation.to(vectors.dtype)
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)


def sinusoids(length: int, width: int, like: Tensor) -> Tensor:
    """Sinusoidal positions, (length, width): sines of falling frequencies, each beside its cosine.

    Vaswani et al. 2017. They are of the type of `like`, on its device.

    >>> sinusoids(2, 4, torch.zeros(()))
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    cosines, sines = rotations(length, width + width % 2, like)
    return torch.stack([sines, cosines], dim=2).flatten(1)[:, :width]
