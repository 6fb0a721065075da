"""The hyperparameters of `named_model.py`, without torch: a machine that only sends jobs can import them."""

from helixband.hparams import Hparams, hparam
from helixband.hparams.groups import Optimizing, Training


class Network(Hparams):
    """The multilayer perceptron."""

    version = 1  # to be raised when a default or a meaning changes

    hidden_units: int = hparam(64, "units of a hidden layer", short="hu", search=[32, 64, 128])
    hidden_layers: int = hparam(2, "hidden layers", short="hl", search=[1, 2, 3])


class Everything(Network, Optimizing, Training): ...
