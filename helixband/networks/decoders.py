"""Decoders: from features to outputs."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from helixband.errors import DataError
from helixband.networks.checks import ACTIVATIONS, check_choice, check_list_of_sizes, check_share, check_sizes


class LinearDecoder(nn.Linear):
    """A linear layer on features: (N, features) to (N, outputs).

    Of positions, each by itself: (N, features, S) to (N, outputs, S).
    """

    def __init__(self, features: int, outputs: int) -> None:
        check_sizes(self, features=features, outputs=outputs)
        super().__init__(features, outputs)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (2, 3) or input.shape[1] != self.in_features:
            raise DataError(
                f"LinearDecoder was given the shape {tuple(input.shape)}; it takes (N, {self.in_features}) "
                f"or (N, {self.in_features}, S)"
            )
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class MLPDecoder(nn.Sequential):
    """A multi-layer perceptron on features: (N, features) to (N, outputs).

    Of positions, each by itself: (N, features, S) to (N, outputs, S).

    hidden: units of its hidden layers, each with an activation and dropout behind it. The outputs have none.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        hidden: Sequence[int] = (128,),
        *,
        activation: Literal["relu", "gelu", "silu"] = "relu",
        dropout: float = 0.0,
    ) -> None:
        check_list_of_sizes(self, hidden=hidden)
        check_choice(self, "activation", activation, ACTIVATIONS)
        check_share(self, dropout=dropout)
        layers: list[nn.Module] = []
        for before, units in pairwise([features, *hidden]):
            layers += [LinearDecoder(before, units), ACTIVATIONS[activation](), nn.Dropout(dropout)]
        super().__init__(*layers, LinearDecoder(hidden[-1], outputs))
