import copy

import numpy as np
import torch
from networks import basset
from simulated import BATCH_SIZE, activities, order
from torch import nn


def train(epochs):
    network = basset(2)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    criterion = nn.MSELoss()
    X, Y = map(torch.from_numpy, activities("train"))
    X_val, Y_val = map(torch.from_numpy, activities("val"))
    losses, history, best = [], [], np.inf
    for epoch in range(epochs):
        network.train()
        for rows in order(epoch).split(BATCH_SIZE):
            loss = criterion(network(X[rows]), Y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        network.eval()
        with torch.no_grad():
            output = network(X_val)
        row = {"val_loss": criterion(output, Y_val).item()}
        for k, name in enumerate(("developmental", "housekeeping")):
            row[name] = np.corrcoef(Y_val[:, k], output[:, k])[0, 1]
        history.append(row)
        if row["val_loss"] < best:
            best, best_state = row["val_loss"], copy.deepcopy(network.state_dict())
    return losses, history, best_state
