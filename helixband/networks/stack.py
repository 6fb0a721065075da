"""Encoders behind one another."""

import math
from typing import cast

from torch import Tensor, nn

from helixband.errors import DefinitionError, in_one_line
from helixband.networks.encoder import Encoder, Span


class EncoderStack(Encoder):
    """Encoders behind one another, each on the features of the one before, as one encoder.

    The first one reads the sequence. Each takes as many channels as the one before gives. Basenji is a
    `ConvEncoder` and a `DilatedConvEncoder`, Enformer a `ConvEncoder` and a `TransformerEncoder`, DanQ a
    `ConvEncoder` and a `RecurrentEncoder`. For the rest see `Encoder`.

    Raises `DefinitionError` for what is no encoder, and where channels differ.
    """

    def __init__(self, *encoders: Encoder, window: int | None = None) -> None:
        wrong = [each for each in encoders if not isinstance(each, Encoder)]
        if wrong or not encoders:
            shown = in_one_line(wrong[0]) if wrong else "no encoder"
            raise DefinitionError(
                f"EncoderStack was given {shown}; it takes encoders, such as ConvEncoder(4)"
            )
        for before, after in zip(encoders, encoders[1:], strict=False):
            if after.in_channels != before.out_channels:
                raise DefinitionError(
                    f"{type(before).__name__} gives {before.out_channels} channels, and "
                    f"{type(after).__name__} behind it takes {after.in_channels}; give it "
                    f"in_channels={before.out_channels}"
                )
        # The first encoder has the embedding.
        super().__init__(encoders[0].in_channels, encoders[-1].out_channels, nn.Identity(), window)
        self.encoders = nn.ModuleList(encoders)
        self.see(phases=math.prod(encoder.phases for encoder in encoders))

    @property
    def _in_order(self) -> list[Encoder]:
        return [cast(Encoder, each) for each in self.encoders]

    def span(self, span: Span) -> Span | None:
        looked_at: Span | None = span
        for encoder in reversed(self._in_order):
            looked_at = None if looked_at is None else encoder.span(looked_at)
        return looked_at

    def output_length(self, length: int) -> int:
        for encoder in self._in_order:
            length = encoder.output_length(length)
        return length

    def output_mask(self, padding_mask: Tensor) -> Tensor:
        for encoder in self._in_order:
            padding_mask = encoder.output_mask(padding_mask)
        return padding_mask

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        self.notice(x.shape[-1])
        for encoder in self._in_order:
            x = encoder(x, padding_mask)
            padding_mask = None if padding_mask is None else encoder.output_mask(padding_mask)
        return x
