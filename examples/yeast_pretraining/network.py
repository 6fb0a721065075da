"""The encoder that both definitions have, so that the second can begin with what the first has learned."""

from helixband.networks import DilatedConvEncoder
from helixband.sequence.alphabet import DNA


def make_encoder():
    """Return a network from indexes (N, L) to features (N, 64, L), each of which sees 135 bases."""
    return DilatedConvEncoder(len(DNA), 64, layers=5, first_kernel_size=11, norm="batch")
