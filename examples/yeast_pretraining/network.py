"""The encoder that both definitions have, so that the second can begin with what the first has learned."""

import torch

from helixband.networks import DilatedConvEncoder
from helixband.sequence.alphabet import DNA


class EveryLayer(DilatedConvEncoder):
    """A dilated encoder whose features are those after each of its layers, (N, channels * (1 + layers), S).

    A motif that a low layer finds need not pass through those above.
    """

    def __init__(self, in_channels, channels, **settings):
        super().__init__(in_channels, channels, **settings)
        self.out_channels = channels * (1 + len(self.layers))

    def forward(self, x, padding_mask=None):
        features = [self.first(self.read(x, padding_mask), padding_mask)]
        for layer in self.layers:
            features.append(features[-1] + layer(features[-1], padding_mask))
        return torch.cat(features, dim=1)


def make_encoder(kind=DilatedConvEncoder):
    """Return a network from indexes (N, L) to features, each of which sees up to 135 bases.

    They are (N, 64, L), or those of all six layers, (N, 384, L), if `kind` is EveryLayer.
    """
    return kind(len(DNA), 64, layers=5, first_kernel_size=11, norm="batch")
