"""Find the binding sites of a transcription factor: peaks on a genome, and windows of it without a peak.

The environment variables GENOME (FASTA) and PEAKS (BED) name the files. VAL and TEST name the chromosomes of
the validation and test sets.
"""

import random

import torch
from torch import nn, optim

from helixband import ClassificationModel, IntervalBatchGenerator, metrics
from helixband.env import env
from helixband.networks.one_hot import OneHot

GENOME = env("GENOME", "genome.fa")
PEAKS = env("PEAKS", "peaks.bed")
VAL = env("VAL", "chr5").split(",")
TEST = env("TEST", "chr6").split(",")
NEGATIVES_SEED = env("NEGATIVES_SEED", 0, int)


def read_parts(data_dir, batch_size=None):
    """201 bases around each peak, and three windows of similar GC content per peak, split by chromosome."""
    windows = IntervalBatchGenerator(
        f"{data_dir}/{GENOME}",
        f"{data_dir}/{PEAKS}",
        window=201,
        negatives=3,
        seed=NEGATIVES_SEED,
        jitter=5,
        aliases="match",  # chr1 in the peaks is I in the genome
        batch_size=batch_size,
        shuffle=True,
    )
    return windows.split(by="chromosome", val=VAL, test=TEST)


def get_train_generator(data_dir, batch_size):
    train, val, _ = read_parts(data_dir, batch_size)
    return train, val


def get_test_generator(data_dir):
    return read_parts(data_dir)[2]


def get_config():
    return {
        "lr": 10 ** random.uniform(-2, -1.2),
        "weight_decay": 10 ** random.uniform(-1.5, -0.5),
        "motifs": random.choice([32, 48]),
        "width": random.choice([8, 10, 12, 15]),
        "hidden": random.choice([0.1, 0.2]),
        "dropout": random.choice([0.1, 0.2, 0.3]),
    }


class Scanner(nn.Module):
    """Score motifs along both strands: the best match, the best near the middle, and the mean of all.

    In training a share of the bases, `hidden`, is replaced by N, so that no motif depends on a single base.
    """

    def __init__(self, motifs, width, hidden, dropout):
        super().__init__()
        self.hidden = hidden
        self.one_hot = OneHot()
        self.motifs = nn.Conv1d(4, motifs, width)
        self.head = nn.Sequential(nn.BatchNorm1d(3 * motifs), nn.Dropout(dropout), nn.Linear(3 * motifs, 2))

    def forward(self, x):  # (N, L) indexes
        x = self.one_hot(x)  # (N, 4, L)
        if self.training:
            x = x * (torch.rand(len(x), 1, x.shape[2], device=x.device) > self.hidden)
        forward, reverse = self.motifs(x), self.motifs(x.flip(1, 2)).flip(2)
        scores = torch.maximum(forward, reverse).relu()  # (N, motifs, places), the same for either strand
        middle = scores.shape[2] // 2
        near = scores[:, :, middle - 15 : middle + 16]
        means = (forward.relu() + reverse.relu()).mean(2) / 2
        return self.head(torch.cat([scores.amax(2), near.amax(2), means], dim=1))


class Model(ClassificationModel):
    def init_model(self):
        config = self.config
        network = Scanner(config["motifs"], config["width"], config["hidden"], config["dropout"])
        optimizer = optim.AdamW(network.parameters(), config["lr"], weight_decay=config["weight_decay"])
        epochs = self.args.epoch  # the learning rate rises from a third to "lr", then falls to almost 0
        up_and_down = optim.lr_scheduler.OneCycleLR(
            optimizer, config["lr"], total_steps=epochs + 1, div_factor=3
        )
        super().init_model(network, nn.CrossEntropyLoss(), optimizer, scheduler=up_and_down)

    def eval_metrics(self, y_true, y_pred):
        return {"auroc": metrics.auroc(y_true, y_pred), "auprc": metrics.auprc(y_true, y_pred)}
