"""Annotate genes: say of each base whether it is outside of genes, in an exon or in an intron."""

import numpy as np
from torch import optim

from helixband import MatrixBatchGenerator, TokenClassificationModel, TrainingOptions
from helixband.networks import ConvEncoder, EncoderStack, PositionHead, RecurrentEncoder, SequenceNetwork


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
    return {"lr": 1e-2, "hidden": 32}


class Model(TokenClassificationModel):
    class_names = ["O", "exon", "intron"]

    def init_model(self):
        hidden = self.config["hidden"]
        patterns = ConvEncoder(4, [hidden], first_kernel_size=9, pool_size=1)
        encoder = EncoderStack(patterns, RecurrentEncoder(hidden, hidden, cell="gru"))
        network = SequenceNetwork(encoder, PositionHead(encoder.out_channels, len(self.class_names)))
        optimizer = optim.Adam(network.parameters(), self.config["lr"])
        schedule = optim.lr_scheduler.OneCycleLR(optimizer, self.config["lr"], total_steps=self.total_steps)
        super().init_model(
            network,
            optimizer,
            scheduler=schedule,
            scheduler_interval="step",
            training=TrainingOptions(clip_norm=1.0),
        )
