import torch
from networks import basset
from simulated import activities

from base_model import BaseModel, TrainingOptions
from batch_generator import MatrixBatchGenerator
from helixband import metrics
from helixband.losses import KLDivergenceLoss, soft_bins

EDGES = torch.linspace(-3, 3, 11)
CENTRES = torch.linspace(-3.3, 3.3, 12).numpy()


def in_bins(which):
    x, y = activities(which, 1)
    return x, soft_bins(torch.from_numpy(y[:, 0]), EDGES, sigma=0.3)


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*in_bins("train"), batch_size, shuffle=True)


def get_val_generator(data_dir):
    return MatrixBatchGenerator(*in_bins("val"))


def get_config():
    return {"max_lr": 0.002}


class Model(BaseModel):
    def init_model(self):
        network = basset(12)
        optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.config["max_lr"], self.total_steps)
        super().init_model(
            network, KLDivergenceLoss(), optimizer, scheduler=scheduler,
            training=TrainingOptions(scheduler_interval="step"),
        )  # fmt: skip

    def eval_metrics(self, y_true, y_pred):
        return {"pearson": metrics.pearson(y_true @ CENTRES, y_pred @ CENTRES)}
