"""Classify DNA sequences with one layer of motif detectors."""

import os
import random

import numpy as np
from torch import nn, optim

from helixband import (
    ClassificationModel,
    ConvClassificationNetwork,
    H5pyBatchGenerator,
    MatrixBatchGenerator,
    MaxNormConstraint,
)
from helixband.sequence.alphabet import DNA
from helixband.sequence.fasta import is_fasta, read_fasta


def get_train_generator(data_dir, batch_size):
    path = os.path.join(data_dir, "train.h5.batch*")
    return H5pyBatchGenerator(path, batch_size, shuffle=True)


def get_val_generator(data_dir):
    return H5pyBatchGenerator(os.path.join(data_dir, "valid.h5.batch*"))


def get_test_generator(data_dir):
    return H5pyBatchGenerator(os.path.join(data_dir, "test.h5.batch*"))


def get_pred_generator(pred_path):
    """Read HDF5 files that embedH5.py wrote, or a FASTA file."""
    if not is_fasta(pred_path):
        return H5pyBatchGenerator(pred_path)
    _, sequences = read_fasta(pred_path)
    indexes = np.stack([DNA.encode(sequence) for sequence in sequences])  # (N, L)
    one_hot = np.eye(5, 4, dtype=np.float32)  # the row of N is all zeros
    return MatrixBatchGenerator(one_hot[indexes].transpose(0, 2, 1))  # (N, 4, L)


def get_config():
    """Draw one set of hyperparameters. Any Python will do: the run seeds the generators."""
    return {
        "lr": 10 ** random.uniform(-3, -2),
        "weight_decay": 10 ** random.uniform(-6, -2),
        "dense_units": random.choice([32, 64, 128]),
        "dropout": random.choice([0.1, 0.25, 0.5]),
    }


class Model(ClassificationModel):
    def init_model(self):
        # A filter scans for one motif; the maximum over positions tells whether the motif occurs.
        features = nn.Sequential(
            nn.Conv1d(4, 128, kernel_size=24),  # (N, 4, L) -> (N, 128, L - 23)
            nn.ReLU(),
            nn.AdaptiveMaxPool1d(1),  # -> (N, 128, 1), for any L
        )
        classifier = nn.Sequential(
            nn.Linear(128, self.config["dense_units"]),
            nn.ReLU(),
            nn.Dropout(self.config["dropout"]),
            nn.Linear(self.config["dense_units"], 2),  # logits of unbound and bound
        )
        network = ConvClassificationNetwork(features, classifier)
        optimizer = optim.AdamW(
            network.parameters(), self.config["lr"], weight_decay=self.config["weight_decay"]
        )
        super().init_model(
            network,
            nn.CrossEntropyLoss(),
            optimizer,
            constraints=[MaxNormConstraint(3, "classifier.*")],
        )
