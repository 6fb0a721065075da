"""An encoder and a head as one network."""

from typing import Any

from torch import Tensor, nn

from helixband.errors import DefinitionError, in_one_line
from helixband.networks.checks import check_padding
from helixband.networks.encoder import Encoder


class SequenceNetwork(nn.Module):
    """`head` on the features of `encoder`.

    x: indexes (N, S), or (N, encoder.in_channels, S). padding: the index of positions that are padding, such
    as `DNA.empty`, of x as indexes; both parts get the mask of these. padding_mask, (N, S), True at padding,
    says so in its place.

    The head is called with the features, and where there is a mask, with that of the features, too. The
    output is that of the head. `--load-encoder-from` begins with the `encoder` of another network.

    Raises `DefinitionError` for what is no encoder, no head or no index, and if the head takes features of
    another number of channels.
    """

    def __init__(self, encoder: Encoder, head: nn.Module, padding: int | None = None) -> None:
        super().__init__()
        if not isinstance(encoder, Encoder):
            raise DefinitionError(
                f"SequenceNetwork was given {in_one_line(encoder)} as its encoder; it takes encoders, such "
                "as ConvEncoder(4), and classes that derive from Encoder"
            )
        if not isinstance(head, nn.Module):
            raise DefinitionError(
                f"SequenceNetwork was given {in_one_line(head)} as its head; it takes a layer, such as "
                f"PooledHead({encoder.out_channels}, outputs=1)"
            )
        check_padding(self, padding)
        wanted = getattr(head, "in_channels", encoder.out_channels)
        if wanted != encoder.out_channels:
            raise DefinitionError(
                f"{type(encoder).__name__} gives {encoder.out_channels} channels, and {type(head).__name__} "
                f"takes {wanted}; give the head encoder.out_channels"
            )
        self.encoder, self.head, self.padding = encoder, head, padding

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Any:
        if padding_mask is None and self.padding is not None and not x.is_floating_point():
            padding_mask = x == self.padding
        features = self.encoder(x, padding_mask)
        if padding_mask is None:
            return self.head(features)
        return self.head(features, self.encoder.output_mask(padding_mask))
