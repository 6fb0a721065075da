"""Tokens that are changed at random, so that a model learns to restore them."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from helixband.errors import DataError, DefinitionError, in_one_line
from helixband.losses.base import is_number
from helixband.sequence.alphabet import DNA, Alphabet
from helixband.training.feed import as_tensor

KINDS = {"mask": 1, "random": 2, "keep": 3}
"""The kinds of chosen positions, as `Corruption` numbers them; 0 is a position that is not chosen."""


@dataclass(frozen=True)
class Corruption:
    """Which shares of the tokens are chosen, and what becomes of them.

    `mask`: replaced by the alphabet's mask token. `random`: replaced by another token, drawn evenly from all
    but the one that is there. `keep`: chosen, and left as they are. BERT (Devlin et al. 2019) chooses 15 %,
    of which it masks 80 %, replaces 10 % and keeps 10 %: `Corruption(mask=0.12, random=0.015, keep=0.015)`.
    Control tokens (the empty token, padding, a mask) are never chosen.

    Raises `DefinitionError` for a share that is not in [0, 1], for shares over 1 together, and where the
    alphabet has no mask, or no other token.
    """

    mask: float = 0.0
    random: float = 0.0
    keep: float = 0.0
    alphabet: Alphabet = DNA

    def __post_init__(self) -> None:
        if not isinstance(self.alphabet, Alphabet):
            raise DefinitionError(
                f"Corruption got alphabet={in_one_line(self.alphabet)}; it has to be an Alphabet, such as "
                "DNA of helixband.sequence.alphabet"
            )
        shares = {name: getattr(self, name) for name in KINDS}
        for name, share in shares.items():
            if not is_number(share) or not 0 <= share <= 1:
                raise DefinitionError(
                    f"Corruption got {name}={in_one_line(share)}; it has to be a share of the "
                    "tokens, from 0 to 1"
                )
        if (total := math.fsum(shares.values())) > 1 + 1e-9:
            told = ", ".join(f"{name}={share:g}" for name, share in shares.items())
            raise DefinitionError(
                f"Corruption got {told}, which are {total:g} together; they have to be up to 1"
            )
        if self.mask and self.alphabet.mask is None:
            raise DefinitionError(
                f"Corruption got mask={self.mask:g}, and {self.alphabet} has no mask token: name it by "
                "Alphabet(…, mask=…), or give mask=0"
            )
        if self.random and self.alphabet.n_tokens < 2:
            raise DefinitionError(
                f"Corruption got random={self.random:g}, and {self.alphabet} has one token alone"
            )

    def __call__(self, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """(x with the chosen tokens changed, the kind of each position as in `KINDS`), both (N, S).

        x: indexes (N, S), of an integer dtype, on the CPU; it stays as it is. The kinds are uint8. The same
        seed gives the same.

        >>> x = torch.from_numpy(DNA.encode("GATNACA")).unsqueeze(0)
        >>> changed, kind = Corruption(mask=1.0)(x, seed=0)
        >>> DNA.decode(changed[0].numpy()), kind.tolist()
        ('[MASK][MASK][MASK]N[MASK][MASK][MASK]', [[1, 1, 1, 0, 1, 1, 1]])
        """
        drawn = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed))
        is_token = x < self.alphabet.n_tokens
        kind, low = torch.zeros(x.shape, dtype=torch.uint8), 0.0
        for name, number in KINDS.items():
            high = low + getattr(self, name)
            kind.masked_fill_((drawn >= low) & (drawn < high) & is_token, number)
            low = high
        changed = x.clone()
        if self.mask:
            assert self.alphabet.mask is not None
            changed.masked_fill_(kind == KINDS["mask"], self.alphabet.mask)
        if self.random:
            is_other = kind == KINDS["random"]
            there, others = x[is_other], self.alphabet.n_tokens - 1
            # Where a number is in the range of a kind, it is drawn evenly from there.
            other = ((drawn[is_other] - self.mask) * (others / self.random)).long().clamp(0, others - 1)
            changed[is_other] = (other + (other >= there)).to(x.dtype)
        return changed, kind

    def check(self, x: Any) -> Tensor:
        """Indexes (N, S) of the alphabet as a tensor; raises `DataError` for anything else."""
        tokens = as_tensor(x).cpu()
        if tokens.ndim != 2 or tokens.is_floating_point() or tokens.dtype == torch.bool:
            raise DataError(
                f"x has the shape {tuple(tokens.shape)} and the type {tokens.dtype}; it has to be indexes of "
                'tokens, (N, S), of an integer type, as layout="NL" gives them'
            )
        strange = (tokens < 0) | (tokens >= len(self.alphabet))
        if strange.any():
            row, place = (int(each) for each in strange.nonzero()[0])
            raise DataError(
                f"row {row} of x has the index {int(tokens[row, place])} at position {place} (from 0), which "
                f"{self.alphabet} does not have: give Corruption the alphabet of the data"
            )
        return tokens
