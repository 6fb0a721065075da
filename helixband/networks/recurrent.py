"""The recurrent encoder."""

from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from helixband.errors import DataError
from helixband.networks.checks import check_choice, check_flags, check_share, check_sizes
from helixband.networks.encoder import Encoder
from helixband.networks.masks import lengths_of, without_padding

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class RecurrentEncoder(Encoder):
    """A recurrent network: (N, S) or (N, in_channels, S) to (N, hidden, S), of both directions 2 · hidden.

    hidden: units of each direction. cell: "lstm" (Hochreiter and Schmidhuber 1997), "gru" (Cho et al. 2014)
    or "rnn". bidirectional: also from the end to the beginning; the units of that direction come second.
    dropout: after each layer. Padding is at the ends of the sequences.

    Quang and Xie 2016 (DanQ, after a `ConvEncoder`). For the rest see `Encoder`.
    """

    prefix = "recurrent_"

    def __init__(
        self,
        in_channels: int,
        hidden: int = 128,
        *,
        layers: int = 1,
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        bidirectional: bool = True,
        dropout: float = 0.0,
        embedding: nn.Module | None = None,
        window: int | None = None,
    ) -> None:
        check_sizes(self, hidden=hidden, layers=layers)
        check_choice(self, "cell", cell, CELLS)
        check_share(self, dropout=dropout)
        check_flags(self, bidirectional=bidirectional)
        super().__init__(in_channels, hidden * (1 + bidirectional), embedding, window)
        self.recurrent = CELLS[cell](
            in_channels,
            hidden,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,  # between layers, of which one has none
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        x = self.read(x, padding_mask).transpose(1, 2)
        x = self.recurrent(x)[0] if padding_mask is None else self._packed(x, padding_mask)
        return without_padding(self.dropout(x.transpose(1, 2)), padding_mask)

    def _packed(self, x: Tensor, mask: Tensor) -> Tensor:
        lengths = lengths_of(mask).cpu()
        if not bool((lengths == (~mask).sum(1).cpu()).all()):
            raise DataError(
                "RecurrentEncoder was given a padding mask with padding before the end of a sequence; it "
                "reads sequences that begin at position 0, with their padding behind them"
            )
        packed = pack_padded_sequence(x, lengths.clamp(min=1), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=x.shape[1])[0]
