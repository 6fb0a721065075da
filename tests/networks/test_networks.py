"""The networks at hand: one-hot encoding, and heads for regression and classification."""

from typing import Any

import pytest
import torch
from torch import nn

from helixband.errors import DataError, DefinitionError
from helixband.networks.heads import (
    ConvClassificationNetwork,
    ConvRegressionNetwork,
    class_probabilities,
)
from helixband.networks.one_hot import OneHot, TokenEmbedding
from helixband.sequence.alphabet import DNA, PROTEIN

# One-hot.


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_letters_become_unit_vectors_and_n_is_all_zeros(dtype: torch.dtype) -> None:
    x = torch.tensor(DNA.encode("ATNC")).to(dtype)
    hot = OneHot()(x.unsqueeze(0))
    assert hot.dtype == torch.float32
    assert hot.tolist() == [[[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]]


def test_one_hot_takes_any_length_and_number_of_letters() -> None:
    assert OneHot()(torch.zeros(3, 7, dtype=torch.uint8)).shape == (3, 4, 7)
    assert OneHot(20)(torch.zeros(3, 0, dtype=torch.uint8)).shape == (3, 20, 0)
    x = torch.randint(0, 20, (5, 11), generator=torch.Generator().manual_seed(0))
    assert OneHot(20)(x).argmax(1).equal(x)
    assert OneHot(20)(x).sum(1).equal(torch.ones(5, 11))
    assert OneHot(PROTEIN)(x).equal(OneHot(20)(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_one_hot_has_the_type_of_the_network(dtype: torch.dtype) -> None:
    network = nn.Sequential(OneHot(), nn.Conv1d(4, 2, 3)).to(dtype)
    assert network[0](torch.tensor([[3, 4]])).tolist() == [[[0, 0], [0, 0], [0, 0], [1, 0]]]
    assert network(torch.zeros(2, 5, dtype=torch.uint8)).dtype == dtype


@pytest.mark.parametrize("channels", [0, "DNA", 2.5])
def test_one_hot_of_no_number_of_channels_is_refused(channels: Any) -> None:
    with pytest.raises(DefinitionError, match="channels of OneHot is .*; it has to be a whole number from 1"):
        OneHot(channels)


@pytest.mark.parametrize("index", [5, -1])
def test_a_token_that_has_no_embedding_is_told(index: int) -> None:
    told = rf"row 1 of x has the index {index} at position 2 \(from 0\), and TokenEmbedding has 5 tokens"
    with pytest.raises(DataError, match=told):
        TokenEmbedding(5, 8)(torch.tensor([[0, 1, 2], [3, 4, index]]))


def test_one_hot_has_nothing_to_store() -> None:
    assert OneHot().state_dict() == {}


# Heads.


def features() -> nn.Module:
    return nn.Sequential(nn.Conv1d(4, 2, 3), nn.AdaptiveMaxPool1d(5))  # (N, 4, L) to (N, 2, 5)


def test_a_regression_of_one_output_gives_one_number_an_example() -> None:
    network = ConvRegressionNetwork(features(), nn.Linear(10, 1))
    assert network(torch.rand(3, 4, 20)).shape == (3,)
    assert network(torch.rand(1, 4, 20)).shape == (1,)


def test_a_regression_of_more_outputs_gives_a_column_each() -> None:
    assert ConvRegressionNetwork(features(), nn.Linear(10, 6))(torch.rand(3, 4, 20)).shape == (3, 6)


def test_a_regression_is_the_regressor_on_the_flattened_features() -> None:
    network = ConvRegressionNetwork(nn.Identity(), nn.Flatten())
    x = torch.rand(3, 4, 5)
    assert network(x).equal(x.reshape(3, 20))


@pytest.mark.parametrize(("logits", "shape"), [(1, (3,)), (2, (3,)), (5, (3, 5))])
def test_a_classification_gives_logits_for_the_loss_and_their_probabilities(
    logits: int, shape: tuple[int, ...]
) -> None:
    network = ConvClassificationNetwork(features(), nn.Linear(10, logits))
    output = network(torch.rand(3, 4, 20))
    assert output["y_pred_loss"].shape == (3, logits)
    assert output["y_pred"].shape == shape
    assert output["y_pred"].equal(class_probabilities(output["y_pred_loss"]))


# Probabilities.


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([0.0, 100.0, -100.0], [0.5, 1.0, 0.0]),
        ([[0.0], [100.0]], [0.5, 1.0]),
        ([[3.0, 3.0], [0.0, 100.0], [100.0, 0.0]], [0.5, 1.0, 0.0]),
        ([[0.0, 0.0, 100.0], [1.0, 1.0, 1.0]], [[0.0, 0.0, 1.0], [1 / 3, 1 / 3, 1 / 3]]),
    ],
)
def test_logits_of_two_classes_give_the_probability_of_class_one_and_of_more_a_column_each(
    logits: list[float], expected: list[float]
) -> None:
    torch.testing.assert_close(class_probabilities(torch.tensor(logits)), torch.tensor(expected))


def test_one_logit_and_two_say_the_same_of_two_classes() -> None:
    logit = torch.linspace(-5, 5, 11)
    two = torch.stack([torch.zeros(11), logit], dim=1)
    torch.testing.assert_close(class_probabilities(logit), class_probabilities(two))
