import torch
from networks import plain_cnn
from simulated import activities

from base_model import RegressionModel
from batch_generator import MatrixBatchGenerator


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*activities("train"), batch_size, shuffle=True)


def get_val_generator(data_dir):
    return MatrixBatchGenerator(*activities("val"))


def get_config():
    return {"lr": 2e-3}


class Model(RegressionModel):
    def init_model(self):
        network = plain_cnn(2)
        super().init_model(network, torch.optim.Adam(network.parameters(), self.config["lr"]))
