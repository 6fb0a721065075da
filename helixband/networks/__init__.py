"""Networks and their parts, for use in a definition: encoders, heads, and what is around them.

Sequences are indexes (N, S), or one-hot or embedded (N, E, S); features are (N, C, S). docs/networks.md lists
all networks.
"""

from helixband.networks.convolutional import ConvEncoder, DilatedConvEncoder, UNet
from helixband.networks.decoders import LinearDecoder, MLPDecoder
from helixband.networks.encoder import Encoder
from helixband.networks.heads import ConvClassificationNetwork, ConvRegressionNetwork
from helixband.networks.masks import padding_mask
from helixband.networks.one_hot import OneHot, TokenEmbedding
from helixband.networks.pooling import SequencePooling, WindowPooling
from helixband.networks.recurrent import RecurrentEncoder
from helixband.networks.reverse_complement import ReverseComplementEquivariant
from helixband.networks.sequence_heads import (
    CountHead,
    PooledHead,
    PositionHead,
    ProfileCountHead,
    ProfileHead,
)
from helixband.networks.sequence_network import SequenceNetwork
from helixband.networks.stack import EncoderStack
from helixband.networks.transformer import Inspection, TransformerEncoder

__all__ = [
    "ConvClassificationNetwork",
    "ConvEncoder",
    "ConvRegressionNetwork",
    "CountHead",
    "DilatedConvEncoder",
    "Encoder",
    "EncoderStack",
    "Inspection",
    "LinearDecoder",
    "MLPDecoder",
    "OneHot",
    "PooledHead",
    "PositionHead",
    "ProfileCountHead",
    "ProfileHead",
    "RecurrentEncoder",
    "ReverseComplementEquivariant",
    "SequenceNetwork",
    "SequencePooling",
    "TokenEmbedding",
    "TransformerEncoder",
    "UNet",
    "WindowPooling",
    "padding_mask",
]
