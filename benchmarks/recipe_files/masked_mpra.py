import torch
from networks import basset
from simulated import masked_activities
from torch import nn

from base_model import RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.losses import IgnoreMissing


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*masked_activities("train"), batch_size, shuffle=True, allow_nan=True)


def get_val_generator(data_dir):
    return MatrixBatchGenerator(*masked_activities("val"), allow_nan=True)


def get_config():
    return {"lr": 3e-3, "weight_decay": 0.01}


class Model(RegressionModel):
    def init_model(self):
        network = basset(3)
        optimizer = torch.optim.AdamW(
            network.parameters(), self.config["lr"], weight_decay=self.config["weight_decay"]
        )
        super().init_model(network, IgnoreMissing(nn.HuberLoss()), optimizer)
