"""Pooling: windows along a sequence, or the whole of it, as one vector each."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helixband.networks.checks import check_choice, check_features, check_sizes
from helixband.networks.masks import check_mask, pooled_mask, without_padding

WindowPool = Literal["max", "average", "attention"]
WINDOW_POOLS = ("max", "average", "attention")
SequencePool = Literal["mean", "max", "attention", "first"]


class WindowPooling(nn.Module):
    """Windows of `size` positions, next to each other: (N, C, S) to (N, C, ⌈S / size⌉).

    kind: "max", "average", or "attention", which weights the positions of a window by a softmax of learned
    scores, channel by channel (Avsec et al. 2021, Enformer). A last window with fewer positions has those
    that there are. Padding (`padding_mask`, (N, S), True at padding) is left out. A window of padding alone
    is 0.
    """

    def __init__(self, channels: int, size: int, kind: WindowPool = "max") -> None:
        super().__init__()
        check_sizes(self, channels=channels, size=size)
        check_choice(self, "kind", kind, WINDOW_POOLS)
        self.size, self.kind = size, kind
        self.scores = nn.Conv1d(channels, channels, 1, bias=False) if kind == "attention" else None
        if self.scores is not None:  # as in Enformer: in the beginning, between the mean and the maximum
            with torch.no_grad():
                self.scores.weight.copy_(2.0 * torch.eye(channels).unsqueeze(2))

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        mask = None if padding_mask is None else pooled_mask(padding_mask, self.size)
        return without_padding(self._pooled(x, padding_mask), mask)

    def _pooled(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.scores is not None:
            return self._weighted(x, self.scores(x), mask)
        if self.kind == "max":
            x = x if mask is None else x.masked_fill(mask.unsqueeze(1), -torch.inf)
            return F.max_pool1d(x, self.size, ceil_mode=True)
        mean = F.avg_pool1d(without_padding(x, mask), self.size, ceil_mode=True, count_include_pad=False)
        if mask is None:
            return mean
        shares = F.avg_pool1d((~mask).to(x.dtype), self.size, ceil_mode=True, count_include_pad=False)
        return mean / shares.clamp(min=0.5 / self.size).unsqueeze(1)

    def _weighted(self, x: Tensor, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:  # not -inf: a window of nothing else would have no softmax
            scores = scores.masked_fill(mask.unsqueeze(1), torch.finfo(scores.dtype).min)
        missing, windows = (0, -x.shape[2] % self.size), (*x.shape[:2], -1, self.size)
        scores = F.pad(scores, missing, value=torch.finfo(scores.dtype).min).reshape(windows)
        return (scores.softmax(3) * F.pad(without_padding(x, mask), missing).reshape(windows)).sum(3)

    def extra_repr(self) -> str:
        return f"{self.size}, {self.kind!r}"


class SequencePooling(nn.Module):
    """The whole sequence: (N, C, S) to (N, C).

    kind: "mean", "max", "attention", the mean weighted by a softmax of learned scores of the positions, or
    "first", the first position, as of a [CLS] token. Padding (`padding_mask`, (N, S), True at padding) is
    left out; a sequence of nothing else is 0.
    """

    def __init__(self, channels: int, kind: SequencePool = "mean") -> None:
        super().__init__()
        check_sizes(self, channels=channels)
        check_choice(self, "kind", kind, ("mean", "max", "attention", "first"))
        self.channels, self.kind = channels, kind
        self.scores = nn.Conv1d(channels, 1, 1) if kind == "attention" else None

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        check_features(self, x, self.channels)
        check_mask(padding_mask, x.shape[0], x.shape[2])
        x = without_padding(x, padding_mask)
        if self.kind == "first":
            return x[:, :, 0]
        if self.scores is not None:
            scores = self.scores(x)
            if padding_mask is not None:
                scores = scores.masked_fill(padding_mask.unsqueeze(1), torch.finfo(scores.dtype).min)
            weighted: Tensor = (scores.softmax(2) * x).sum(2)
            return weighted
        if padding_mask is None:
            return x.mean(2) if self.kind == "mean" else x.amax(2)
        if self.kind == "mean":
            return x.sum(2) / (~padding_mask).sum(1, keepdim=True).clamp(min=1)
        most = x.masked_fill(padding_mask.unsqueeze(1), -torch.inf).amax(2)
        return most.masked_fill(padding_mask.all(1, keepdim=True), 0.0)

    def extra_repr(self) -> str:
        return repr(self.kind)
