"""Labels of planted motifs: a label is 1 with a high chance where its motif is, and a low one elsewhere."""

import numpy as np
from torch import optim

from helixband import MatrixBatchGenerator, MultiLabelModel
from helixband.networks import ConvEncoder, PooledHead, SequenceNetwork

MOTIFS = ["TTACCCG", "GCTGAGTC", "AATAAAG", "CACGTGA"]
LENGTH, WITH, WITHOUT = 100, 0.9, 0.1


def make(n, rng):
    """Return indexes of bases (n, LENGTH), labels (n, 4), and the chance of each, given the sequence."""
    letters = rng.choice(list("ACGT"), (n, LENGTH))
    planted = rng.random((n, len(MOTIFS))) < 0.5
    places = rng.permuted(np.tile(np.arange(9), (n, 1)), axis=1)[:, : len(MOTIFS)] * 11
    for row, number in np.argwhere(planted):
        begin = places[row, number]
        letters[row, begin : begin + len(MOTIFS[number])] = list(MOTIFS[number])
    rows = ["".join(row) for row in letters]
    has = np.array([[motif in row for motif in MOTIFS] for row in rows])  # planted, or there by chance
    chances = np.where(has, WITH, WITHOUT)
    x = np.searchsorted(list("ACGT"), letters).astype(np.uint8)
    return x, (rng.random(has.shape) < chances).astype(np.float32), chances


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
    return {"lr": 5e-3}


class Model(MultiLabelModel):
    def init_model(self):
        encoder = ConvEncoder(4, [32], first_kernel_size=11, pool_size=4)
        network = SequenceNetwork(encoder, PooledHead(encoder.out_channels, len(MOTIFS), pooling="max"))
        optimizer = optim.AdamW(network.parameters(), self.config["lr"])
        schedule = optim.lr_scheduler.OneCycleLR(optimizer, self.config["lr"], total_steps=self.total_steps)
        super().init_model(network, optimizer, scheduler=schedule, scheduler_interval="step")
