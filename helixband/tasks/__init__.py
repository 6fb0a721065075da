"""Models of common tasks, ready to subclass: `class Model(MaskedTokenModel)`."""

from helixband.tasks.corruption import Corruption
from helixband.tasks.masked_tokens import MaskedTokenModel

__all__ = [
    "Corruption",
    "MaskedTokenModel",
]
