"""What models of labels at positions have in common: the shape of their logits."""

from typing import Any

from torch import Tensor

from helixband.errors import DefinitionError


def check_logits(given: Any, y: Tensor, least: int) -> None:
    """Raise `DefinitionError` where logits are not (N, C, S) for labels (N, S), C being `least` or more."""
    rows, length = y.shape
    if not isinstance(given, Tensor):
        told = f"a {type(given).__name__}"
    elif given.ndim == 3 and len(given) == rows and given.shape[1] >= least and given.shape[2] == length:
        return
    else:
        told = f"the shape {tuple(given.shape)}"
    raise DefinitionError(
        f"the network gave {told} for labels of the shape {(rows, length)}; it has to give logits (N, C, S), "
        f"of {least} classes or more at each position, here ({rows}, {least}, {length})"
    )
