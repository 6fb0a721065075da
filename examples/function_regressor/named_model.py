"""The same as `reg_model.py`, with hyperparameters by name: each is a flag, such as --hidden-units 128."""

from hparams import Everything as hparams
from reg_model import get_pred_generator, get_test_generator, get_train_generator
from torch import nn, optim

from helixband import RegressionModel, TrainingOptions

__all__ = ["get_pred_generator", "get_test_generator", "get_train_generator", "hparams"]


class Model(RegressionModel):
    def init_model(self):
        hp = self.hparams
        network = nn.Sequential(nn.Linear(10, hp.hidden_units), nn.ReLU())
        for _ in range(hp.hidden_layers - 1):
            network.extend([nn.Linear(hp.hidden_units, hp.hidden_units), nn.ReLU()])
        network.append(nn.Linear(hp.hidden_units, 1))
        super().init_model(
            network, nn.MSELoss(), self.optimizer_of(network), training=TrainingOptions.from_hparams(hp)
        )

    def optimizer_of(self, network):
        hp = self.hparams
        if hp.optimizer == "sgd":
            return optim.SGD(network.parameters(), hp.lr, hp.momentum, weight_decay=hp.weight_decay)
        kind = {"adam": optim.Adam, "adamw": optim.AdamW}[hp.optimizer]
        return kind(network.parameters(), hp.lr, (hp.beta1, hp.beta2), weight_decay=hp.weight_decay)
