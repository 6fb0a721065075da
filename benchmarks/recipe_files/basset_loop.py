import copy

import numpy as np
import torch
from networks import basset
from simulated import BATCH_SIZE, labels, order
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn


def train(epochs):
    network = basset(8)
    optimizer = torch.optim.RMSprop(network.parameters(), 2e-3, alpha=0.98)
    criterion = nn.BCEWithLogitsLoss()
    X, Y = map(torch.from_numpy, labels("train"))
    X_val, Y_val = map(torch.from_numpy, labels("val"))
    losses, history, best, since = [], [], -np.inf, 0
    for epoch in range(epochs):
        network.train()
        for rows in order(epoch).split(BATCH_SIZE):
            x = X[rows]
            if torch.rand(()) < 0.5:
                x = x.flip(1, 2)  # the reverse complement
            loss = criterion(network(x), Y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
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
        since += 1
        if row["auroc"] > best:
            best, since, best_state = row["auroc"], 0, copy.deepcopy(network.state_dict())
        if since >= 12:
            break
    return losses, history, best_state
