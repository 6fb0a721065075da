import torch
from networks import basset
from simulated import activities

from helixband import MatrixBatchGenerator, RegressionModel, metrics


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*activities("train"), batch_size, shuffle=True)


def get_val_generator(data_dir):
    return MatrixBatchGenerator(*activities("val"))


def get_config():
    return {"lr": 2e-3}


class Model(RegressionModel):
    def init_model(self):
        network = basset(2)
        super().init_model(network, torch.optim.Adam(network.parameters(), self.config["lr"]))

    def eval_metrics(self, y_true, y_pred):
        columns = zip(("developmental", "housekeeping"), y_true.T, y_pred.T, strict=True)
        return {name: metrics.pearson(*column) for name, *column in columns}
