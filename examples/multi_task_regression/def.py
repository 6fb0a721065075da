"""Predict two measurements of a sequence at once, where some of the numbers are missing."""

import numpy as np
from torch import optim

from helixband import FastaBatchGenerator, MultiTaskRegressionModel
from helixband.networks import ConvEncoder, EncoderStack, PooledHead, SequenceNetwork, TransformerEncoder

TASKS = ["expression", "decay"]


def read(data_dir, name, **options):
    numbers = np.loadtxt(f"{data_dir}/{name}.tsv", skiprows=1, ndmin=2)  # NaN where one is missing
    return FastaBatchGenerator(f"{data_dir}/{name}.fa", numbers, allow_nan=True, **options)


def get_train_generator(data_dir, batch_size):
    return read(data_dir, "train", batch_size=batch_size, shuffle=True)


def get_val_generator(data_dir):
    return read(data_dir, "val")


def get_test_generator(data_dir):
    return read(data_dir, "test")


def get_config():
    return {"lr": 3e-3}


class Model(MultiTaskRegressionModel):
    label_names = TASKS

    def init_model(self):
        motifs = ConvEncoder(4, [32], first_kernel_size=9, pool="max", pool_size=4)
        encoder = EncoderStack(motifs, TransformerEncoder(32, width=32, heads=4, layers=1, dropout=0.0))
        head = PooledHead(encoder.out_channels, len(TASKS), pooling="mean")
        network = SequenceNetwork(encoder, head)
        optimizer = optim.AdamW(network.parameters(), self.config["lr"])
        schedule = optim.lr_scheduler.OneCycleLR(optimizer, self.config["lr"], total_steps=self.total_steps)
        super().init_model(network, optimizer, scheduler=schedule, scheduler_interval="step")
