import copy

import numpy as np
import torch
from networks import basset
from simulated import BATCH_SIZE, activities, order
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def train(epochs):
    network = basset(2)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.98))
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    criterion, mix = nn.MSELoss(), torch.distributions.Beta(0.4, 0.4)
    X, Y = map(torch.from_numpy, activities("train"))
    X_val, Y_val = map(torch.from_numpy, activities("val"))
    losses, history, best = [], [], np.inf
    for epoch in range(epochs):
        network.train()
        total = 0.0
        for rows in order(epoch).split(BATCH_SIZE):
            x, y, share, other = X[rows], Y[rows], mix.sample(), torch.randperm(len(rows))
            x, y = share * x + (1 - share) * x[other], share * y + (1 - share) * y[other]
            loss = criterion(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            averaged.update_parameters(network)
            losses.append(loss.item())
            total += loss.item() * len(rows)
        for mean, buffer in zip(averaged.module.buffers(), network.buffers(), strict=True):
            mean.copy_(buffer)  # statistics of BatchNorm are not averaged
        averaged.eval()
        with torch.no_grad():
            output = averaged(X_val)
        row = {"val_loss": criterion(output, Y_val).item(), "train_loss": total / len(X)}
        row["pearson"] = np.mean([np.corrcoef(Y_val[:, k], output[:, k])[0, 1] for k in range(2)])
        history.append(row)
        if row["val_loss"] < best:
            best, best_state = row["val_loss"], copy.deepcopy(averaged.module.state_dict())
    return losses, history, best_state
