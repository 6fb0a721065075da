import torch
from networks import DanQ
from simulated import classes

from base_model import ClassificationModel, TrainingOptions
from batch_generator import MatrixBatchGenerator


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*classes("train"), batch_size, shuffle=True)


def get_val_generator(data_dir):
    return MatrixBatchGenerator(*classes("val"))


def get_config():
    return {"lr": 2e-3, "clip": 1.0}


class Model(ClassificationModel):
    def init_model(self):
        network = DanQ(2)
        optimizer = torch.optim.Adam(network.parameters(), self.config["lr"])
        super().init_model(network, optimizer, training=TrainingOptions(clip_norm=self.config["clip"]))
