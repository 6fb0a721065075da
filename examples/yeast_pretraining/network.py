"""The encoder that both definitions have, so that the second can begin with what the first has learned."""

from helixband.networks.convolutional import DilatedConvEncoder
from helixband.sequence.alphabet import DNA


def make_encoder():
    """Return a network from indexes (N, L) to features (N, 48, L), each of which sees 71 bases."""
    return DilatedConvEncoder(len(DNA), 48, layers=4, first_kernel_size=11, norm="batch")
