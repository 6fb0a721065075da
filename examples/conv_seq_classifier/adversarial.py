"""The model of conv_model.py, trained against the fast gradient sign method (Goodfellow et al. 2015)."""

import conv_model
import torch
from conv_model import *  # noqa: F403  (its generators and get_config)

EPSILON = 0.05  # how far each value of the one-hot encoding moves


class Model(conv_model.Model):
    def train_step(self, x, y):
        """Train on each sequence, and on the one beside it whose loss is higher."""
        clean = self.forward(x.requires_grad_())
        loss = self.compute_loss(clean["y_pred_loss"], y)
        (gradient,) = torch.autograd.grad(loss, x, retain_graph=True)
        moved = self.forward(x.detach() + EPSILON * gradient.sign())
        self.backward((loss + self.compute_loss(moved["y_pred_loss"], y)) / 2)
        self.optimizer_step()
        return loss.detach(), clean["y_pred"].detach()
