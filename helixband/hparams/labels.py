"""The path of hyperparameters: a label that a person can read, and that is the same on every machine.

    v1/lr=1.00E-03,wd=0.00E+00/nl=8

Where the text of a part does not tell its values exactly, it ends in `~` and four digits of their digest.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from helixband.hparams.declaration import Hparam
from helixband.hparams.kinds import canonical, plain

LONGEST = 200
"""Bytes of a part; most file systems take 255, and a job's folder may add to it."""


def part(values: Sequence[tuple[Hparam, Any]]) -> str:
    """The folder of some hyperparameters of one class with their values, by short name."""
    ordered = sorted(values, key=lambda pair: pair[0].short)
    labels = [(field.short, field.kind.label(value)) for field, value in ordered]
    text = ",".join(f"{short}={label.text}" for short, label in labels)
    if all(label.is_exact for _, label in labels) and len(text) <= LONGEST:
        return text
    exact = canonical([[field.name, plain(value)] for field, value in ordered])
    return f"{text[: LONGEST - 5]}~{hashlib.sha256(exact.encode('ascii')).hexdigest()[:4]}"
