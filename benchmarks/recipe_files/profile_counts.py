import torch
from networks import BPNet
from simulated import profiles
from torch import nn

from base_model import BaseModel
from batch_generator import MatrixBatchGenerator
from helixband import metrics
from helixband.losses import MultinomialLoss


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*profiles("train"), batch_size, shuffle=True)


def get_val_generator(data_dir):
    return MatrixBatchGenerator(*profiles("val"))


def get_config():
    return {"lr": 4e-3, "count_weight": 10.0}


class Model(BaseModel):
    def init_model(self):
        network = BPNet()
        optimizer = torch.optim.Adam(network.parameters(), self.config["lr"])
        self.profile_loss, self.count_loss = MultinomialLoss(full=True), nn.MSELoss()
        super().init_model(network, optimizer=optimizer)

    def compute_loss(self, y_pred_loss, y):
        logits, log_count = y_pred_loss
        count = self.count_loss(log_count, torch.log1p(y.sum(1)))
        return {"profile": self.profile_loss(logits, y), "count": self.config["count_weight"] * count}

    def eval_metrics(self, y_true, y_pred):
        logits, log_count = y_pred
        return {"counts_pearson": metrics.pearson(y_true.sum(1), log_count)}
