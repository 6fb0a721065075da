import copy

import numpy as np
import torch
from networks import basset
from simulated import BATCH_SIZE, masked_activities, order
from torch.nn import functional as F


def train(epochs):
    network = basset(3)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.01)
    X, Y = map(torch.from_numpy, masked_activities("train"))
    X_val, Y_val = map(torch.from_numpy, masked_activities("val"))
    losses, history, best = [], [], np.inf
    for epoch in range(epochs):
        network.train()
        squares = number = total = 0.0
        for rows in order(epoch).split(BATCH_SIZE):
            output, y = network(X[rows]), Y[rows]
            known = ~y.isnan()
            loss = F.huber_loss(output[known], y[known])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            total += loss.item() * known.sum().item()
            squares += (output[known] - y[known]).detach().square().sum().item()
            number += known.sum().item()
        network.eval()
        known = ~Y_val.isnan()
        with torch.no_grad():
            output = network(X_val)
        row = {"val_loss": F.huber_loss(output[known], Y_val[known]).item()}
        row |= {"train_loss": total / number, "train_mse": squares / number}
        row["mse"] = F.mse_loss(output[known], Y_val[known]).item()
        columns = zip(Y_val.T, output.T, known.T, strict=True)
        row["pearson"] = np.mean([np.corrcoef(y[k], z[k])[0, 1] for y, z, k in columns])
        history.append(row)
        if row["val_loss"] < best:
            best, best_state = row["val_loss"], copy.deepcopy(network.state_dict())
    return losses, history, best_state
