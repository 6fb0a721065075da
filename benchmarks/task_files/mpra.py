"""Expression of promoters of E. coli, log(max(x, 0.01)), from their sequences of 150 bases."""

import numpy as np
import torch
from torch import nn, optim

from helixband import MatrixBatchGenerator, RegressionModel, TrainingOptions, metrics
from helixband.networks import ConvEncoder, MLPDecoder, SequenceNetwork

LENGTH = 150
MEMBERS = 3


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
    return {"lr": 3e-3, "dropout": 0.2}


class Ensemble(nn.Module):
    """Networks whose mean is the prediction. In training each gets its share of a batch, so they differ."""

    def __init__(self, members):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x):
        if self.training:
            parts = x.tensor_split(len(self.members))
            return torch.cat([member(part) for member, part in zip(self.members, parts, strict=True)])
        return torch.stack([member(x) for member in self.members]).mean(0)


def make_member(dropout):
    encoder = ConvEncoder(4, [128, 64, 64], first_kernel_size=15, kernel_size=7, pool_size=3, dropout=dropout)
    features = encoder.out_channels * encoder.output_length(LENGTH)
    return SequenceNetwork(
        encoder, nn.Sequential(nn.Flatten(), MLPDecoder(features, 1, hidden=[64], dropout=0.5))
    )


class Model(RegressionModel):
    def init_model(self):
        network = Ensemble([make_member(self.config["dropout"]) for _ in range(MEMBERS)])
        optimizer = optim.AdamW(network.parameters(), self.config["lr"], weight_decay=0.05)
        schedule = optim.lr_scheduler.OneCycleLR(optimizer, self.config["lr"], total_steps=self.total_steps)
        super().init_model(
            network,
            optimizer,
            scheduler=schedule,
            scheduler_interval="step",
            training=TrainingOptions(ema_decay=0.99),
        )

    def eval_metrics(self, y_true, y_pred):
        return {"pearson": metrics.pearson(y_true.ravel(), y_pred.ravel())}

    def get_hyperband_reward(self, result):
        return result["val_pearson"]
