import torch
from networks import deepsea
from simulated import classes

from helixband import ClassificationModel, MatrixBatchGenerator


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*classes("train"), batch_size, shuffle=True)


def get_val_generator(data_dir):
    return MatrixBatchGenerator(*classes("val"))


def get_config():
    return {"lr": 2e-3, "epsilon": 0.02}


class Model(ClassificationModel):
    def init_model(self):
        network = deepsea(2)
        super().init_model(network, torch.optim.Adam(network.parameters(), self.config["lr"]))

    def train_step(self, x, y):
        clean = self.forward(x.requires_grad_())
        loss = self.compute_loss(clean["y_pred_loss"], y)
        (gradient,) = torch.autograd.grad(loss, x, retain_graph=True)
        moved = self.forward(x.detach() + self.config["epsilon"] * gradient.sign())
        total = (loss + self.compute_loss(moved["y_pred_loss"], y)) / 2
        self.backward(total)
        self.optimizer_step()
        return total.detach(), clean["y_pred"].detach()
