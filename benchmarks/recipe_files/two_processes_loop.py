import copy

import numpy as np
import torch
import torch.distributed as dist
from networks import plain_cnn
from simulated import BATCH_SIZE, activities, order
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def train(epochs):
    dist.init_process_group("gloo")
    rank, processes = dist.get_rank(), dist.get_world_size()
    network = plain_cnn(2)
    parallel = DistributedDataParallel(network)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    criterion = nn.MSELoss()
    X, Y = map(torch.from_numpy, activities("train"))
    X_val, Y_val = map(torch.from_numpy, activities("val"))
    losses, history, best = [], [], np.inf
    for epoch in range(epochs):
        network.train()
        total = 0.0
        for rows in order(epoch)[rank::processes].split(BATCH_SIZE // processes):  # as DistributedSampler
            loss = criterion(parallel(X[rows]), Y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            mean = loss.detach()
            dist.all_reduce(mean)
            losses.append(mean.item() / processes)
            total += losses[-1] * len(rows) * processes
        network.eval()
        with torch.no_grad():
            output = network(X_val)
        row = {"train_loss": total / len(X), "val_loss": criterion(output, Y_val).item()}
        row["pearson"] = np.mean([np.corrcoef(Y_val[:, k], output[:, k])[0, 1] for k in range(2)])
        history.append(row)
        if row["val_loss"] < best:
            best, best_state = row["val_loss"], copy.deepcopy(network.state_dict())
    dist.destroy_process_group()
    return losses, history, best_state
