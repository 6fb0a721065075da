"""A toy experiment: y = x0 + 2 x1 from 60 rows, on a network of a few dozen weights.

A test appends to `TOY` what it is about: a later function of the same name, or `class Model(Model)`,
takes the place of the earlier one.
"""

TOY = """\
import random

import numpy as np
import torch
from torch import nn, optim

from base_model import BaseModel, ClassificationModel, RegressionModel
from batch_generator import H5pyBatchGenerator, MatrixBatchGenerator
from helixband.env import env
from helixband.sequence.fasta import read_fasta


def table(seed, rows):
    x = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    return x, x[:, 0] + 2 * x[:, 1]


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*table(0, 60), batch_size, shuffle=True)


def get_val_generator(data_dir):
    return MatrixBatchGenerator(*table(1, 20))


def get_test_generator(data_dir):
    return MatrixBatchGenerator(*table(2, 20))


def get_pred_generator(pred_path):
    _, sequences = read_fasta(pred_path)
    return MatrixBatchGenerator(np.array([[s.count(c) for c in "ACG"] for s in sequences], np.float32))


def get_config():
    return {"lr": 10 ** random.uniform(-2.5, -1.5), "units": random.choice([4, 8])}


class Model(RegressionModel):
    def init_model(self):
        units = self.config["units"]
        network = nn.Sequential(nn.Linear(3, units), nn.ReLU(), nn.Dropout(0.1), nn.Linear(units, 1))
        super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters(), self.config["lr"]))
"""

CLASSES = """

def labels(seed, rows):
    x, y = table(seed, rows)
    return x, (y > 0).astype(np.int64)


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*labels(0, 60), batch_size, shuffle=True)


def get_val_generator(data_dir):
    return MatrixBatchGenerator(*labels(1, 20))


def get_test_generator(data_dir):
    return MatrixBatchGenerator(*labels(2, 20))


class Model(ClassificationModel):
    def init_model(self):
        network = nn.Linear(3, 2)
        optimizer = optim.Adam(network.parameters(), self.config["lr"])
        super().init_model(network, nn.CrossEntropyLoss(), optimizer)
"""
"""Appended to `TOY`: whether y > 0, by a linear classifier."""

FASTA = ">one first\nACGT\n>two\nAAC\nCG\n>three\nGGGTTT\n"
