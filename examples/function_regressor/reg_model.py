"""Learn a function of ten numbers with a multilayer perceptron."""

import os
import random

import numpy as np
from torch import nn, optim

from helixband import MatrixBatchGenerator, RegressionModel


def read_csv(path):
    """Read float32 (N, columns) from a CSV file, without its header line and index column."""
    return np.loadtxt(path, np.float32, delimiter=",", skiprows=1, ndmin=2)[:, 1:]


def read_xy(data_dir, name):
    return [read_csv(os.path.join(data_dir, f"{part}_{name}.csv")) for part in "XY"]


def get_train_generator(data_dir, batch_size):
    """Split off a tenth of the training set for validation."""
    X, Y = read_xy(data_dir, "train")
    return MatrixBatchGenerator.get_train_val_generator(X, Y, val_ratio=0.1, batch_size=batch_size)


def get_test_generator(data_dir):
    return MatrixBatchGenerator(*read_xy(data_dir, "test"))


def get_pred_generator(pred_path):
    return MatrixBatchGenerator(read_csv(pred_path))


def get_config():
    """Draw one set of hyperparameters. Any Python will do: the run seeds the generators."""
    return {
        "lr": 10 ** random.uniform(-3, -2),
        "hidden_units": random.choice([32, 64, 128]),
        "hidden_layers": random.choice([1, 2, 3]),
    }


class Model(RegressionModel):
    def init_model(self):
        n_units = self.config["hidden_units"]
        network = nn.Sequential(nn.Linear(10, n_units), nn.ReLU())
        for _ in range(self.config["hidden_layers"] - 1):
            network.extend([nn.Linear(n_units, n_units), nn.ReLU()])
        network.append(nn.Linear(n_units, 1))

        optimizer = optim.Adam(network.parameters(), self.config["lr"])
        super().init_model(network, nn.MSELoss(), optimizer)
