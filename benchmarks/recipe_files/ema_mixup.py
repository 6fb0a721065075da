import torch
from networks import basset
from simulated import activities

from base_model import RegressionModel, TrainingOptions
from batch_generator import MatrixBatchGenerator


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*activities("train"), batch_size, shuffle=True)


def get_val_generator(data_dir):
    return MatrixBatchGenerator(*activities("val"))


def get_config():
    return {"lr": 2e-3, "alpha": 0.4, "decay": 0.98}


class Model(RegressionModel):
    def init_model(self):
        network = basset(2)
        optimizer = torch.optim.AdamW(network.parameters(), self.config["lr"])
        options = TrainingOptions(ema_decay=self.config["decay"])
        super().init_model(network, optimizer=optimizer, training=options)

    def prepare_batch(self, x, y):
        share = torch.distributions.Beta(self.config["alpha"], self.config["alpha"]).sample()
        other = torch.randperm(len(x))
        return share * x + (1 - share) * x[other], share * y + (1 - share) * y[other]
