import copy

import numpy as np
import torch
from networks import DanQ
from simulated import BATCH_SIZE, classes, order
from sklearn.metrics import roc_auc_score
from torch import nn


def train(epochs):
    network = DanQ(2)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    criterion = nn.CrossEntropyLoss()
    X, Y = map(torch.from_numpy, classes("train"))
    X_val, Y_val = map(torch.from_numpy, classes("val"))
    losses, history, best = [], [], np.inf
    for epoch in range(epochs):
        network.train()
        right, norms = 0, []
        for rows in order(epoch).split(BATCH_SIZE):
            logits = network(X[rows])
            loss = criterion(logits, Y[rows])
            optimizer.zero_grad()
            loss.backward()
            norms.append(nn.utils.clip_grad_norm_(network.parameters(), 1.0).item())
            optimizer.step()
            losses.append(loss.item())
            right += (logits.argmax(1) == Y[rows]).sum().item()
        network.eval()
        with torch.no_grad():
            logits = network(X_val)
        row = {"val_loss": criterion(logits, Y_val).item(), "norm": np.mean(norms)}
        row["train_accuracy"] = right / len(X)
        row["accuracy"] = (logits.argmax(1) == Y_val).float().mean().item()
        row["auroc"] = roc_auc_score(Y_val, logits.softmax(1)[:, 1])
        history.append(row)
        if row["val_loss"] < best:
            best, best_state = row["val_loss"], copy.deepcopy(network.state_dict())
    return losses, history, best_state
