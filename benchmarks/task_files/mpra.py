"""Expression of promoters of E. coli, log(max(x, 0.01)), from their sequences of 150 bases."""

import numpy as np
from torch import nn, optim

from helixband import MatrixBatchGenerator, RegressionModel, metrics
from helixband.networks import ConvEncoder, PooledHead, SequenceNetwork


def read(data_dir, name, **options):
    part = np.load(f"{data_dir}/{name}.npz")
    return MatrixBatchGenerator(part["x"], part["y"], **options)


def get_train_generator(data_dir, batch_size):
    return read(data_dir, "train", batch_size=batch_size, shuffle=True)


def get_val_generator(data_dir):
    return read(data_dir, "val")


def get_test_generator(data_dir):
    return read(data_dir, "test")


def get_config():
    return {"lr": 3e-3, "dropout": 0.3}


class Model(RegressionModel):
    def init_model(self):
        dropout = self.config["dropout"]
        encoder = ConvEncoder(4, [96, 96, 96], first_kernel_size=13, kernel_size=7, pool_size=3, dropout=dropout)
        head = nn.Sequential(nn.Flatten(), nn.LazyLinear(64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 1))
        network = SequenceNetwork(encoder, head)
        optimizer = optim.AdamW(network.parameters(), self.config["lr"], weight_decay=0.05)
        schedule = optim.lr_scheduler.OneCycleLR(optimizer, self.config["lr"], total_steps=self.total_steps)
        super().init_model(network, nn.MSELoss(), optimizer, scheduler=schedule, scheduler_interval="step")

    def eval_metrics(self, y_true, y_pred):
        return {"pearson": metrics.pearson(y_true.ravel(), y_pred.ravel())}

    def get_hyperband_reward(self, result):
        return result["val_pearson"]
