"""A finished experiment as a function: `predict = load("BUNDLE or RESULT", trust=True)`.

`python -m helixband.pipelines export RESULT BUNDLE` makes a folder that needs neither the training data nor
the result directory. `docs/pipelines.md` describes it.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from helixband.pipelines.predictor import Predictor

__all__ = ["load"]


def load(
    path: str | os.PathLike[str], trust: bool = False, *, cpu: bool = False, data: str | None = None
) -> "Predictor":
    """The `predict` of a bundle or of a result directory; `Predictor` says what it takes.

    `trust=True` says that you trust whoever wrote its def.py, which is then run as code; a bundle with an
    ONNX graph runs without, and then no code of it is run. `cpu`: leave the GPU alone. `data`: for a result
    directory whose definition has no `get_pred_generator`, the data directory that it was trained on; by
    default that one.

    Raises `UsageError` where trust is missing, and `StorageError` for a bundle that was altered or that a
    newer version made.
    """
    from helixband.pipelines.loading import opened

    return opened(path, trust, cpu, data)
