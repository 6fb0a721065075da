import copy

import numpy as np
import torch
from networks import BPNet
from simulated import BATCH_SIZE, order, profiles
from torch.nn import functional as F


def multinomial_nll(logits, counts):
    log_p = logits.log_softmax(1)
    total = torch.lgamma(counts.sum(1) + 1) - torch.lgamma(counts + 1).sum(1)
    return -(total + (counts * log_p).sum(1)).mean()


def losses_of(output, counts):
    logits, log_count = output
    return multinomial_nll(logits, counts), 10.0 * F.mse_loss(log_count, torch.log1p(counts.sum(1)))


def train(epochs):
    network = BPNet()
    optimizer = torch.optim.Adam(network.parameters(), 4e-3)
    X, Y = map(torch.from_numpy, profiles("train"))
    X_val, Y_val = map(torch.from_numpy, profiles("val"))
    losses, history, best = [], [], np.inf
    for epoch in range(epochs):
        network.train()
        of_profile = of_count = 0.0
        for rows in order(epoch).split(BATCH_SIZE):
            profile, count = losses_of(network(X[rows]), Y[rows])
            loss = profile + count
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            of_profile += profile.item() * len(rows)
            of_count += count.item() * len(rows)
        network.eval()
        with torch.no_grad():
            output = network(X_val)
            profile, count = (each.item() for each in losses_of(output, Y_val))
        row = {"val_loss": profile + count, "val_profile": profile, "val_count": count}
        row |= {"train_profile": of_profile / len(X), "train_count": of_count / len(X)}
        row["counts_pearson"] = np.corrcoef(Y_val.sum(1), output[1])[0, 1]
        history.append(row)
        if row["val_loss"] < best:
            best, best_state = row["val_loss"], copy.deepcopy(network.state_dict())
    return losses, history, best_state
