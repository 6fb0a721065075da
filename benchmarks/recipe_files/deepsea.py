import torch
from networks import deepsea
from simulated import labels

from helixband import MatrixBatchGenerator, MaxNormConstraint, MultiLabelModel


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*labels("train"), batch_size, shuffle=True)


def get_val_generator(data_dir):
    return MatrixBatchGenerator(*labels("val"))


def get_config():
    return {"lr": 0.05, "weight_decay": 5e-5, "max_norm": 0.9}


class Model(MultiLabelModel):
    def init_model(self):
        network = deepsea(8)
        optimizer = torch.optim.SGD(
            network.parameters(), self.config["lr"], momentum=0.9, weight_decay=self.config["weight_decay"]
        )
        constraints = [MaxNormConstraint(self.config["max_norm"], "5")]
        super().init_model(network, optimizer, constraints=constraints)
