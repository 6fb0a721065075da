"""Classify DNA sequences that are read directly from FASTA; the search space consists of hyperopt's `hp`."""

import math

from hyperopt import hp
from torch import nn, optim

from helixband import ClassificationModel, ConvClassificationNetwork, FastaBatchGenerator
from helixband.networks.one_hot import OneHot


def read(data_dir, name, **options):
    """Read the sequences of a set, and their targets: one-hot lines in the same order."""
    return FastaBatchGenerator(f"{data_dir}/{name}.fa", f"{data_dir}/{name}.target", **options)


def get_train_generator(data_dir, batch_size):
    return read(data_dir, "train", batch_size=batch_size, shuffle=True)


def get_val_generator(data_dir):
    return read(data_dir, "valid")


def get_test_generator(data_dir):
    return read(data_dir, "test")


def get_config():
    """Describe the search space; the run draws samples from it."""
    return {
        "lr": hp.loguniform("lr", math.log(2e-3), math.log(1e-2)),
        "filters": hp.choice("filters", [64, 128, 256]),
        "filter_width": hp.choice("filter_width", [12, 18, 24]),
        "dropout": hp.uniform("dropout", 0, 0.5),
    }


class Model(ClassificationModel):
    def init_model(self):
        n_filters = self.config["filters"]
        features = nn.Sequential(
            OneHot(),  # (N, S) -> (N, 4, S), computed on the device; one byte per letter is moved there
            nn.Conv1d(4, n_filters, self.config["filter_width"]),
            nn.ReLU(),
            nn.AdaptiveMaxPool1d(1),  # -> (N, filters, 1)
        )
        classifier = nn.Sequential(
            nn.Dropout(self.config["dropout"]),
            nn.Linear(n_filters, 2),  # logits of unbound and bound
        )
        network = ConvClassificationNetwork(features, classifier)
        optimizer = optim.Adam(network.parameters(), self.config["lr"])
        super().init_model(network, nn.CrossEntropyLoss(), optimizer)
