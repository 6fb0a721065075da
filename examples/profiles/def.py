"""Predict how many reads there are around a peak, and at which base each of them is.

This needs pybigtools, which reads bigWig files.
"""

from torch import optim

from helixband import IntervalBatchGenerator, ProfileModel
from helixband.networks import DilatedConvEncoder, ProfileCountHead, SequenceNetwork

WINDOW = 256


def read_parts(data_dir, batch_size=None):
    """Windows around the peaks, with the reads at each base as the target, split by chromosome."""
    windows = IntervalBatchGenerator(
        f"{data_dir}/genome.fa",
        f"{data_dir}/peaks.bed",
        targets=f"{data_dir}/reads.bw",
        window=WINDOW,
        jitter=30,
        reverse_complement=True,
        batch_size=batch_size,
        shuffle=True,
    )
    return windows.split(by="chromosome", val=["chr5"], test=["chr6"])


def get_train_generator(data_dir, batch_size):
    train, val, _ = read_parts(data_dir, batch_size)
    return train, val


def get_test_generator(data_dir):
    return read_parts(data_dir)[2]


def get_config():
    return {"lr": 4e-3, "count_weight": 20.0}


class Model(ProfileModel):
    def init_model(self):
        encoder = DilatedConvEncoder(4, 32, layers=4, first_kernel_size=11, window=WINDOW)
        network = SequenceNetwork(encoder, ProfileCountHead(encoder.out_channels, kernel_size=25))
        optimizer = optim.AdamW(network.parameters(), self.config["lr"])
        schedule = optim.lr_scheduler.OneCycleLR(optimizer, self.config["lr"], total_steps=self.total_steps)
        super().init_model(
            network,
            optimizer,
            count_weight=self.config["count_weight"],
            scheduler=schedule,
            scheduler_interval="step",
        )
