"""Networks of ours train as models."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn, optim

from base_model import RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.networks import (
    DilatedConvEncoder,
    Encoder,
    PooledHead,
    RecurrentEncoder,
    ReverseComplementEquivariant,
    SequenceNetwork,
    TransformerEncoder,
)

ENCODERS: list[Callable[[], Encoder]] = [
    lambda: DilatedConvEncoder(4, 8, layers=1, first_kernel_size=5),
    lambda: TransformerEncoder(4, 8, heads=2, layers=1, positions="rotary", dropout=0.0),
    lambda: RecurrentEncoder(4, 8),
]


def counts_of_a(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).integers(0, 4, (n, 12)).astype(np.uint8)
    return x, (x == 0).mean(1, dtype=np.float32)


@pytest.mark.parametrize("both_strands", [False, True])
@pytest.mark.parametrize("make", ENCODERS, ids=["dilated", "transformer", "recurrent"])
def test_a_regression_learns_with_a_network_of_ours(make: Callable[[], Encoder], both_strands: bool) -> None:
    class Model(RegressionModel):
        def init_model(self) -> None:
            encoder = make()
            network: nn.Module = SequenceNetwork(encoder, PooledHead(encoder.out_channels, 1))
            network = ReverseComplementEquivariant(network) if both_strands else network
            super().init_model(network, optim.Adam(network.parameters(), 0.02))

    x, y = counts_of_a()
    if both_strands:
        y = ((x == 0) | (x == 3)).mean(1, dtype=np.float32)
    torch.manual_seed(0)
    model = Model({})
    model.fit(MatrixBatchGenerator(x, y, 20, shuffle=True), MatrixBatchGenerator(x, y), 12)
    assert model.evaluate(MatrixBatchGenerator(x, y))["pearson"] > 0.9
