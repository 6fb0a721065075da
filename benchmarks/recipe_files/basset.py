import torch
from networks import basset
from simulated import labels

from base_model import MultiLabelModel, TrainingOptions
from batch_generator import MatrixBatchGenerator


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*labels("train"), batch_size, shuffle=True)


def get_val_generator(data_dir):
    return MatrixBatchGenerator(*labels("val"))


def get_config():
    return {"lr": 2e-3}


class Model(MultiLabelModel):
    def init_model(self):
        network = basset(8)
        optimizer = torch.optim.RMSprop(network.parameters(), self.config["lr"], alpha=0.98)
        super().init_model(network, optimizer, training=TrainingOptions(patience=12))

    def prepare_batch(self, x, y):
        """The reverse complement of every second batch, at random."""
        return (x.flip(1, 2) if torch.rand(()) < 0.5 else x), y

    def get_hyperband_reward(self, result):
        return result["val_auroc"]
