"""Definitions as they are written for pytorch-dl-utility run here, with their imports changed alone."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Project

REGRESSION = """
from __future__ import print_function, absolute_import

import os

import numpy as np
import torch.nn as nn
import torch.optim as optim

from batch_generator import MatrixBatchGenerator
from base_model import RegressionModel, ConvRegressionNetwork
from constraints import MaxNormConstraint
from helixband import metrics


def get_config():
    return {
        'dropout': np.random.choice([0.1, 0.2]),
        'lr': np.random.choice([1e-2, 1e-3]),
        'momentum': np.random.choice([0.5, 0.9]),
    }


def table(path):
    return np.loadtxt(path, delimiter=',').astype(np.float32)


def get_train_generator(data_path, batch_size):
    X, Y = table(os.path.join(data_path, 'X.csv')), table(os.path.join(data_path, 'Y.csv'))
    return MatrixBatchGenerator.get_train_val_generator(X, Y[:, 0], 0.25, batch_size)


def get_test_generator(data_path):
    X, Y = table(os.path.join(data_path, 'X.csv')), table(os.path.join(data_path, 'Y.csv'))
    return MatrixBatchGenerator(X, Y[:, 0])


def get_pred_generator(pred_path):
    return MatrixBatchGenerator(table(pred_path))


class Network(ConvRegressionNetwork):

    def __init__(self, params):
        features = lambda x: x
        regressor = nn.Sequential(
            nn.Linear(4, 8), nn.ReLU(), nn.Dropout(params['dropout']), nn.Linear(8, 1)
        )
        super(Network, self).__init__(features, regressor)


class Model(RegressionModel):

    def init_model(self):
        params = self.config.params
        network = Network(params)
        optimizer = optim.RMSprop(network.parameters(),
                                  lr=params['lr'], momentum=params['momentum'], eps=1e-6)
        constraints = [MaxNormConstraint(3, '*')]
        super(Model, self).init_model(network, optimizer, constraints=constraints)

    def train_metrics(self, y_true, y_pred):
        return self.eval_metrics(y_true, y_pred)

    def eval_metrics(self, y_true, y_pred):
        stats = super(Model, self).eval_metrics(y_true, y_pred)
        stats['mse_again'] = metrics.mse(y_true, y_pred)
        return stats

    def get_hyperband_reward(self, result):
        assert result['val_mse'] == result.val_mse == result.loc['val_mse_again']
        return -result.loc['val_mse']
"""

CLASSIFICATION = """
from __future__ import print_function

import os

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim

from base_model import ClassificationModel, ConvClassificationNetwork
from batch_generator import H5pyBatchGenerator
from constraints import MaxNormConstraint

process_x_y = lambda X, Y: (X.astype(np.float32), (1 - Y).squeeze().astype(np.int64))


def get_config():
    return {'dropout': 0.3, 'lr': 0.01}


def get_train_generator(data_path, batch_size, seq='dna'):
    path = os.path.join(data_path, 'train.h5.batch*')
    return H5pyBatchGenerator(path, batch_size=batch_size, shuffle=True, process_x_y=process_x_y)


def get_val_generator(data_path, batch_size=None, seq='dna'):
    path = os.path.join(data_path, 'valid.h5.batch*')
    return H5pyBatchGenerator(path, batch_size=batch_size, process_x_y=process_x_y)


def get_test_generator(data_path, batch_size=None):
    return get_val_generator(data_path, batch_size)


def get_pred_generator(pred_path):
    return H5pyBatchGenerator(pred_path, process_x_y=process_x_y)


def get_model(config, save_dir, args):
    return Model(config, save_dir, args)


class Network_8(ConvClassificationNetwork):

    def __init__(self, config):
        features = nn.Sequential(
            nn.Conv2d(4, 8, (1, 5), padding=(0, 2)), nn.ReLU(), nn.MaxPool2d((1, 4), stride=(1, 4))
        )
        classifier = nn.Sequential(nn.Linear(24, 8), nn.Dropout(config['dropout']), nn.Linear(8, 2))
        super(Network_8, self).__init__(features, classifier)


class Model(ClassificationModel):

    def init_model(self):
        config = self.config
        network_class = eval('Network_%s' % os.environ.get('network', '8'))
        network = network_class(config.params)
        optimizer = optim.Adadelta(network.parameters(), eps=1e-6, rho=0.9)
        super(Model, self).init_model(network, optimizer, constraints=[MaxNormConstraint(3, '*')])

    def get_hyperband_reward(self, result):
        return result.loc['val_auroc']
"""

OWN_NETWORK = """
import torch.nn.functional as F

from base_model import BaseModel
from helixband import metrics


class Network(nn.Module):

    def __init__(self, config):
        super(Network, self).__init__()
        self.features = nn.Conv2d(4, 4, (1, 3))
        self.classifier = nn.Linear(40, 2)

    def forward(self, x):
        x = self.classifier(self.features(x).view(x.size(0), -1))
        return {'y_pred': F.softmax(x, dim=1)[:, 1], 'y_pred_loss': x}


class Model(BaseModel):

    def init_model(self):
        INIT

    def train_metrics(self, y_true, y_pred):
        return {'accuracy': metrics.accuracy(y_true, y_pred)}

    def eval_metrics(self, y_true, y_pred):
        return {'accuracy': metrics.accuracy(y_true, y_pred), 'auroc': metrics.auroc(y_true, y_pred)}

    def get_hyperband_reward(self, result):
        return -result['val_loss']
"""
PASSED = """network, gpu = Network(self.config), not self.args.cpu
        optimizer = optim.Adadelta(network.parameters(), eps=1e-6)
        super(Model, self).init_model(network, nn.CrossEntropyLoss(), optimizer, constraints=[])"""
SET = """self.network = Network(self.config)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = optim.Adadelta(self.network.parameters(), eps=1e-6)"""


def write_sequences(path: Path, seed: int) -> None:
    """One-hot sequences (30, 4, 1, 12), labelled (30, 1) by whether there are more A than C."""
    letters = np.random.default_rng(seed).integers(0, 4, (30, 12))
    with h5py.File(path, "w") as file:
        file["data"] = np.eye(4)[letters].transpose(0, 2, 1)[:, :, None]
        file["label"] = ((letters == 0).sum(1) <= (letters == 1).sum(1)).astype(np.int64)[:, None]


def test_a_regression_from_tables(project: Project) -> None:
    x = np.random.default_rng(0).normal(size=(40, 4))
    np.savetxt(project.data / "X.csv", x, delimiter=",")
    np.savetxt(project.data / "Y.csv", x[:, :2], delimiter=",")
    project.definition.write_text(REGRESSION)

    done = project.run("-y", "-e", "-p", "X.csv", "-ep", "3", "-bs", "10", "--trials", "2")

    assert (done.code, done.err) == (0, "")
    assert {"loss", "mse", "pearson", "mse_again"} == {*project.json("test_result.json")}
    assert np.load(project.results / "predictions/X.csv.npy").shape == (40,)


@pytest.mark.parametrize(
    "text",
    [
        CLASSIFICATION,
        CLASSIFICATION + OWN_NETWORK.replace("INIT", PASSED),
        CLASSIFICATION + OWN_NETWORK.replace("INIT", SET),
    ],
    ids=["a class of the package", "BaseModel", "parts set as attributes"],
)
def test_a_classification_of_sequences(project: Project, text: str) -> None:
    for seed, name in enumerate(["train.h5.batch1", "train.h5.batch2", "valid.h5.batch1"]):
        write_sequences(project.data / name, seed)
    project.definition.write_text(text)

    done = project.run("-e", "-p", "valid.h5.batch*", "-t", "-ep", "2", "-bs", "10")

    assert (done.code, done.err) == (0, "")
    assert {"loss", "accuracy", "auroc"} <= {*project.json("test_result.json")}
    assert np.load(project.results / "predictions/valid.h5.batch1.npy").shape == (30,)


def test_a_network_that_computes_its_loss_is_told_what_differs(project: Project) -> None:
    project.define("""
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x_t, y_t):
        return F.mse_loss(self.layer(x_t), y_t), {"y": self.layer(x_t)}


class Model(RegressionModel):
    def init_model(self):
        network = Network()
        super().init_model(network, optim.Adam(network.parameters()))
""")
    failed = project.run("--epoch", "1")
    assert failed.code != 0
    assert "the network is called with x alone, and its loss is the criterion's" in failed.err
