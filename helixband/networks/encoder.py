"""What all encoders have: what they take and give, and how far they look."""

import inspect
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from helixband.errors import DataError, DefinitionError, HelixbandWarning, in_one_line
from helixband.networks.checks import check_sizes
from helixband.networks.masks import check_mask, without_padding
from helixband.networks.one_hot import OneHot

Span = tuple[int, int]
"""The first and the last position that something depends on."""


class FromHparams:
    """A network whose arguments are hyperparameters, by their names with the class's `prefix` in front."""

    prefix: ClassVar[str]

    @classmethod
    def from_hparams(cls, hparams: Mapping[str, Any], **given: Any) -> Self:
        """The network with what a mapping such as `self.hparams` has for it; `given` goes before that.

        A hyperparameter that is missing or None leaves the argument's default.
        """
        names = {name: f"{cls.prefix}{name}" for name in inspect.signature(cls).parameters}
        named = {name: hparams[key] for name, key in names.items() if hparams.get(key) is not None}
        return cls(**(named | given))


class Encoder(FromHparams, nn.Module):
    """A network from a sequence to features of its positions.

    x: indexes of tokens (N, S), integers, or one-hot or embedded data (N, in_channels, S), floating-point.
    Indexes go through `embedding`, a layer from (N, S) to (N, in_channels, S); by default one-hot, with all
    zeros for indexes from in_channels on.
    padding_mask: (N, S), bool, True at padding, or None. What stands there changes no output elsewhere; in
    training, batch normalisation counts it.

    The output is (N, out_channels, S), floating-point, 0 at padding. An encoder that pools has fewer
    positions, as many as `output_length(S)`, and `output_mask` has their padding.

    `receptive_field` is the number of positions that an output can depend on at most; None is all. `window`:
    how many positions the sequences have, if that is known. A receptive field above it is said when the
    encoder is made; without a window, by the first batch, but not under torch.compile.

    Raises `DefinitionError` for settings that no network can have, and `DataError` for an x or a mask of
    another shape.
    """

    def __init__(
        self, in_channels: int, out_channels: int, embedding: nn.Module | None, window: int | None
    ) -> None:
        super().__init__()
        check_sizes(self, in_channels=in_channels)
        if window is not None:
            check_sizes(self, window=window)
        self.in_channels, self.out_channels, self.window = in_channels, out_channels, window
        self.receptive_field: int | None = None
        self.phases = 1
        if embedding is not None and not isinstance(embedding, nn.Module):
            raise DefinitionError(
                f"embedding of {type(self).__name__} is {in_one_line(embedding)}; it has to be a layer, such "
                f"as TokenEmbedding(30_000, {in_channels})"
            )
        self.embedding = OneHot(in_channels) if embedding is None else embedding

    def output_length(self, length: int) -> int:
        """Positions of the output for a sequence of `length`."""
        return length

    def output_mask(self, padding_mask: Tensor) -> Tensor:
        """The padding mask of the output, (N, output_length(S)), for one of the input, (N, S)."""
        return padding_mask

    def span(self, span: Span) -> Span | None:
        """The positions of the sequence that a span of the output can depend on; None is all.

        They are counted beyond the ends of a sequence, too.
        """
        return None

    def see(self, phases: int = 1) -> None:
        """Set the receptive field from `span`, and say so if it is above the window.

        It is the last step of `__init__`, unless every output depends on all positions. phases: outputs whose
        places differ by a multiple of it look at as many positions.
        """
        self.phases = phases
        spans = [self.span((place, place)) for place in range(phases)]
        self.receptive_field = None if None in spans else max(extent(span) for span in spans if span)
        if self.window is not None:
            self._compare(self.window, f"the window of {self.window:,}", stacklevel=4)  # where it is made

    def read(self, x: Tensor, padding_mask: Tensor | None) -> Tensor:
        """x as (N, in_channels, S), 0 at padding."""
        name = type(self).__name__
        if x.ndim == 2 and not x.is_floating_point():
            x = self.embedding(x)
            if x.ndim != 3 or x.shape[1] != self.in_channels:
                raise DataError(
                    f"the embedding of {name} gave the shape {tuple(x.shape)}; with in_channels="
                    f"{self.in_channels} it has to give (N, {self.in_channels}, S)"
                )
        if x.ndim != 3 or x.shape[1] != self.in_channels or not x.is_floating_point():
            raise DataError(
                f"{name} was given x of the shape {tuple(x.shape)}, {x.dtype}; it takes indexes (N, S), "
                f"integers, or (N, {self.in_channels}, S), floating-point"
            )
        if not x.shape[2]:
            raise DataError(f"{name} was given x of the shape {tuple(x.shape)}, sequences of no positions")
        check_mask(padding_mask, x.shape[0], x.shape[2])
        self.notice(x.shape[2])
        return without_padding(x, padding_mask)

    def notice(self, length: int) -> None:
        """Say if sequences of a batch are shorter than the receptive field, where there is no window."""
        if self.window is None and not torch.compiler.is_compiling():  # a warning would break the graph
            self._compare(length, "the sequences", stacklevel=1)

    def _compare(self, length: int, what: str, stacklevel: int) -> None:
        if self.receptive_field is not None and self.receptive_field > length:
            # The same text for all lengths: Python shows it once.
            warnings.warn(
                f"the receptive field of {type(self).__name__} is {self.receptive_field:,} positions, "
                f"more than {what}; the outermost of it sees padding alone: fewer layers or smaller kernels "
                "do as much",
                HelixbandWarning,
                stacklevel,
            )

    def extra_repr(self) -> str:
        """What print() shows: channels and the receptive field."""
        field = "all positions" if self.receptive_field is None else f"{self.receptive_field:,} positions"
        return f"in_channels={self.in_channels}, out_channels={self.out_channels}, receptive field: {field}"


def widened(span: Span, reach: int) -> Span:
    """What positions of a convolution's output depend on, whose kernel reaches so far to each side."""
    return span[0] - reach, span[1] + reach


def pooled(span: Span, size: int) -> Span:
    """What windows depend on."""
    return span[0] * size, span[1] * size + size - 1


def repeated(span: Span, size: int) -> Span:
    """What positions depend on, of which each is repeated `size` times."""
    return span[0] // size, span[1] // size


def extent(span: Span) -> int:
    """The number of positions of a span."""
    return span[1] - span[0] + 1
