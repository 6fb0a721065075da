"""Convolutions of sequences as one matrix product, which several models can take together."""

import torch
from torch import Tensor, nn


class Unfolded(nn.Conv1d):
    """A `Conv1d` that multiplies its filters with the windows of its input where it `unfolds`.

    The convolutions of K models at once are one batched product then; torch's way is one convolution with K
    groups, which is slow on GPUs. Numbers differ by rounding.
    """

    unfolds = False

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S) -> (N, filters, positions)."""
        if not self.unfolds or x.ndim != 3:
            return super().forward(x)
        if any(self._reversed_padding_repeated_twice):
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            x = nn.functional.pad(x, self._reversed_padding_repeated_twice, mode=mode)
        (width,), (stride,), (dilation,) = self.kernel_size, self.stride, self.dilation
        windows = x.unfold(2, (width - 1) * dilation + 1, stride)[..., ::dilation]
        rows, positions = len(x), windows.shape[2]
        matrix = windows.transpose(1, 2).reshape(rows * positions, -1)
        weight = self.weight.reshape(self.out_channels, -1).t()
        found = matrix @ weight if self.bias is None else torch.addmm(self.bias, matrix, weight)
        return found.view(rows, positions, -1).transpose(1, 2)


def unfoldable(network: nn.Module) -> list[Unfolded]:
    """The convolutions of a network that can be taken so; they are of that class from now on."""
    found = [each for each in network.modules() if type(each) is nn.Conv1d and each.groups == 1]
    for each in found:
        each.__class__ = Unfolded
    return [each for each in found if isinstance(each, Unfolded)]
