"""The denoising autoencoder: what goes in, what is to come out, and evaluation without corruption."""

from argparse import Namespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

from batch_generator import MatrixBatchGenerator
from helixband import Corruption, DenoisingAutoencoder
from helixband.losses import NeighbourLoss
from helixband.networks.one_hot import OneHot


def drawn(rows: int, length: int, seed: int = 0, high: int = 4) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, high, (rows, length), np.uint8))


class Copying(nn.Module):
    """Says with certainty that each token is what it sees; of a mask, that it is an A."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))
        self.one_hot = OneHot(4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.one_hot(torch.where(x < 4, x, 0)) * self.scale
        return logits


class OfCopying(DenoisingAutoencoder):
    options: dict[str, Any] = {}

    def init_model(self) -> None:
        super().init_model(Copying(), **self.options)


def model_of(**options: Any) -> DenoisingAutoencoder:
    torch.manual_seed(0)
    kind = type("OfOptions", (OfCopying,), {"options": options})
    return kind({}, Namespace(cpu=True, batch_size=50, seed=0))


def test_every_token_but_control_tokens_is_a_target() -> None:
    x = torch.tensor([[0, 1, 4, 3, 5, 2]] * 50, dtype=torch.uint8)
    changed, y = model_of().split_batch(x)
    assert y["token"].tolist() == [[0, 1, -100, 3, -100, 2]] * 50
    assert (changed[:, [2, 4]] == torch.tensor([4, 5])).all()
    assert ((changed != x) == (y["kind"] > 0)).all() and (changed != x).any()


def test_accuracies_tell_what_was_done_with_the_token() -> None:
    x = drawn(100, 40)
    x[:, 30:] = 4  # padding
    found = model_of(corruption=Corruption(mask=0.2, random=0.1)).evaluate(MatrixBatchGenerator(x))
    assert found.accuracy_unchanged == 1.0
    assert found.accuracy_random == 0.0
    assert found.accuracy_mask == pytest.approx(0.25, abs=0.05)
    assert found.accuracy == pytest.approx(0.7 + 0.2 * found.accuracy_mask, abs=0.02)
    assert found.accuracy_A > found.accuracy_C


def test_one_switch_turns_the_corruption_off_in_evaluation() -> None:
    x, options = drawn(30, 40), {"corruption": Corruption(mask=0.2, random=0.1)}
    found = model_of(corrupts_evaluation=False, **options).evaluate(MatrixBatchGenerator(x))
    assert (found.accuracy, found.accuracy_unchanged) == (1.0, 1.0)
    assert found.loss == pytest.approx(0.0, abs=1e-6)
    assert "accuracy_mask" not in found
    assert model_of(**options).evaluate(MatrixBatchGenerator(x)).accuracy < 0.9


@pytest.mark.parametrize("corrupts", [True, False])
def test_training_is_corrupted_in_either_case(corrupts: bool) -> None:
    seen: list[bool] = []

    class Watched(OfCopying):
        options = {"corrupts_evaluation": corrupts}

        def split_batch(self, batch: Any) -> Any:
            changed, y = super().split_batch(batch)
            seen.append(bool((y["kind"] > 0).any()))
            return changed, y

        def init_model(self) -> None:
            network = Copying()
            DenoisingAutoencoder.init_model(
                self, network, optim.SGD(network.parameters(), 0.1), **self.options
            )

    data = MatrixBatchGenerator(drawn(30, 40))
    model = Watched({}, Namespace(cpu=True, batch_size=50, seed=0))
    model.fit(data, data, 2)
    assert seen == [True, corrupts, True, corrupts]


def test_a_prediction_is_of_the_sequence_as_it_is() -> None:
    x = drawn(5, 10)
    assert (model_of().predict(x).argmax(1) == x.numpy()).all()


def test_a_neighbour_aware_loss_is_an_option() -> None:
    data = MatrixBatchGenerator(drawn(30, 40), batch_size=7)
    plain, aware = model_of(), model_of(criterion=NeighbourLoss(1.0))
    changed, y = aware.split_batch(drawn(30, 40))
    loss = NeighbourLoss(1.0)(aware.network(changed), y["token"].long())
    whole = aware.evaluate(MatrixBatchGenerator(drawn(30, 40)))
    assert whole.loss == pytest.approx(loss.item(), rel=1e-5)
    assert aware.evaluate(data).loss > plain.evaluate(data).loss


def test_the_planted_optimum_is_reached() -> None:
    class Reading(DenoisingAutoencoder):
        """Sequences repeat a word of three letters: each token is told by most of its copies."""

        corruption = Corruption(random=0.2)

        def init_model(self) -> None:
            self.layer = nn.Conv1d(4, 4, 13, padding=6)
            network = nn.Sequential(OneHot(), self.layer)
            super().init_model(network, optim.Adam(network.parameters(), 0.05))

    def words(rows: int, seed: int) -> MatrixBatchGenerator:
        return MatrixBatchGenerator(drawn(rows, 3, seed).repeat(1, 10), None, 50, shuffle=seed == 0)

    args, val = Namespace(cpu=True, batch_size=50, seed=0), words(200, 1)
    torch.manual_seed(0)
    model, voting = Reading({}, args), Reading({}, args)
    model.fit(words(400, 0), val, 10)
    voting.epoch = model.epoch
    with torch.no_grad():  # what the copies that the layer sees are most often
        voting.layer.weight.zero_()[..., ::3] = torch.eye(4).unsqueeze(2)
        voting.layer.bias.zero_()
    optimum = voting.evaluate(val).accuracy
    assert 0.93 < optimum < 0.99
    assert model.evaluate(val).accuracy > 0.98 * optimum
