"""Helixband: tune, train, evaluate and predict experiments that are defined in one Python file.

What a definition needs can be imported from here: `from helixband import BaseModel, MatrixBatchGenerator`.
These are the same classes as those of the modules base_model, batch_generator, constraints and hyperband.
"""

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

__version__ = "0.1.0"

if sys.argv[:1] == ["-m"] and sys.path[:1] == [os.getcwd()] != [os.path.dirname(__path__[0])]:
    # `python -m helixband…` has the current folder first in its path: a user's file there that is named like
    # an installed package would be taken for it.
    sys.path.append(sys.path.pop(0))

# As strings: `import helixband` is part of every import of ours, and must not take torch's time.
_MODULES = {
    "base_model": [
        "BaseModel",
        "ClassificationModel",
        "ConvClassificationNetwork",
        "ConvRegressionNetwork",
        "MultiLabelModel",
        "RegressionModel",
        "TrainingOptions",
        "choose_device",
        "parameter_groups",
    ],
    "batch_generator": [
        "BatchGenerator",
        "FastaBatchGenerator",
        "H5pyBatchGenerator",
        "IntervalBatchGenerator",
        "MatrixBatchGenerator",
        "MixedBatchGenerator",
    ],
    "constraints": ["Constraint", "MaxNormConstraint", "NonNegative", "UnitNorm"],
    "hyperband": ["Hyperband", "Job", "Result", "Rung", "brackets"],
    "helixband.tasks": [
        "Corruption",
        "DenoisingAutoencoder",
        "MaskedTokenModel",
        "MultiTaskRegressionModel",
        "Picture",
        "ProfileModel",
        "TokenClassificationModel",
        "align_labels",
        "attention_maps",
    ],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted([*_MODULE_OF, "__version__"])


def __getattr__(name: str) -> Any:
    """Import the module that has the name, when the name is first asked for."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Around the import of large packages: garbage is looked for seldom, as what they make is none.

    It takes a fifth off the time of such imports.
    """
    before = gc.get_threshold()
    seldom = 100_000, *before[1:]
    gc.set_threshold(*seldom)
    try:
        yield
    finally:
        if gc.get_threshold() == seldom:  # else a definition has set its own
            gc.set_threshold(*before)
