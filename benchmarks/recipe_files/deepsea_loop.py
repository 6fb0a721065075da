import copy

import numpy as np
import torch
from networks import deepsea
from simulated import BATCH_SIZE, labels, order
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn


def train(epochs):
    network = deepsea(8)
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, weight_decay=5e-5)
    criterion = nn.BCEWithLogitsLoss()
    X, Y = map(torch.from_numpy, labels("train"))
    X_val, Y_val = map(torch.from_numpy, labels("val"))
    losses, history, best = [], [], np.inf
    for epoch in range(epochs):
        network.train()
        for rows in order(epoch).split(BATCH_SIZE):
            loss = criterion(network(X[rows]), Y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                weight = network[5].weight
                norms = weight.norm(dim=1, keepdim=True)
                weight.mul_(norms.clamp(max=0.9) / norms.clamp(min=1e-12))
            losses.append(loss.item())
        network.eval()
        with torch.no_grad():
            logits = network(X_val)
        probabilities = torch.sigmoid(logits).numpy()
        row = {"val_loss": criterion(logits, Y_val).item()}
        row["accuracy"] = ((probabilities > 0.5) == Y_val.numpy()).mean()
        for name, metric in (("auroc", roc_auc_score), ("auprc", average_precision_score)):
            values = [metric(Y_val[:, k], probabilities[:, k]) for k in range(8)]
            row |= {name: np.mean(values), f"{name}_median": np.median(values)}
        history.append(row)
        if row["val_loss"] < best:
            best, best_state = row["val_loss"], copy.deepcopy(network.state_dict())
    return losses, history, best_state
