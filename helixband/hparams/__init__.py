"""Hyperparameters by name: a class declares them once, for the command line, the search and paths.

    class Optimizing(Hparams):
        lr: float = hparam(3e-4, "learning rate", search=Range(1e-5, 0.05, log=True))

docs/hparams.md has the whole of it. Nothing here imports torch, NumPy or hyperopt.
"""

from helixband.hparams.declaration import Hparam, hparam
from helixband.hparams.hparams import HparamCollection, Hparams
from helixband.hparams.ranges import Range

__all__ = ["Hparam", "HparamCollection", "Hparams", "Range", "hparam"]
