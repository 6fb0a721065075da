"""The networks of the recipes, in the style of the published ones, much smaller."""

import torch
from torch import nn


def block(channels, filters, width, pool, norm=True):
    norms = [nn.BatchNorm1d(filters)] if norm else []
    layers = [
        nn.Conv1d(channels, filters, width, padding="same", bias=not norm),
        *norms,
        nn.ReLU(),
        nn.MaxPool1d(pool),
    ]
    return nn.Sequential(*layers)


def deepsea(outputs):
    """Zhou and Troyanskaya 2015: convolutions, dropout, a dense layer."""
    return nn.Sequential(
        block(4, 24, 9, 4, norm=False), nn.Dropout(0.2), block(24, 32, 9, 5, norm=False), nn.Dropout(0.2),
        nn.Flatten(), nn.Linear(320, 64), nn.ReLU(), nn.Linear(64, outputs),
    )  # fmt: skip


def plain_cnn(outputs):
    """Convolutions alone: what several processes train as one does, without BatchNorm and dropout."""
    return nn.Sequential(
        block(4, 24, 9, 4, norm=False), block(24, 32, 9, 5, norm=False), nn.Flatten(),
        nn.Linear(320, 64), nn.ReLU(), nn.Linear(64, outputs),
    )  # fmt: skip


def basset(outputs):
    """Kelley et al. 2016: convolutions with batch normalisation; also for DeepSTARR and others."""
    return nn.Sequential(
        block(4, 24, 11, 4), block(24, 32, 7, 5), nn.Flatten(),
        nn.Linear(320, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(64, outputs),
    )  # fmt: skip


class DanQ(nn.Module):
    """Quang and Xie 2016: a convolution, a bidirectional LSTM, a dense layer."""

    def __init__(self, outputs):
        super().__init__()
        self.motifs = nn.Sequential(block(4, 24, 9, 8, norm=False), nn.Dropout(0.2))
        self.lstm = nn.LSTM(24, 16, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(25 * 32, 32), nn.ReLU(), nn.Linear(32, outputs))

    def forward(self, x):
        return self.head(self.lstm(self.motifs(x).transpose(1, 2))[0])


class BPNet(nn.Module):
    """Avsec et al. 2021: dilated convolutions, (logits of the profile (N, L), log count (N,))."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(4, 24, 9, padding="same")
        self.dilated = nn.ModuleList(nn.Conv1d(24, 24, 3, padding="same", dilation=2**i) for i in range(1, 4))
        self.profile, self.count = nn.Conv1d(24, 1, 9, padding="same"), nn.Linear(24, 1)

    def forward(self, x):
        x = torch.relu(self.first(x))
        for layer in self.dilated:
            x = x + torch.relu(layer(x))
        return self.profile(x).squeeze(1), self.count(x.mean(-1)).squeeze(1)
