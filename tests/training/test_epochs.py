"""Epochs of so many batches of a stream, and limits of sets."""

import itertools
import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Project
from torch import nn, optim

from base_model import RegressionModel, TrainingOptions
from batch_generator import MatrixBatchGenerator
from helixband.errors import DefinitionError
from helixband.results.directory import Results
from helixband.training.epochs import limited

X = np.arange(28, dtype=np.float32).reshape(28, 1) / 28
Y = 2 * X


def data(batch_size: int = 4) -> tuple[MatrixBatchGenerator, MatrixBatchGenerator]:
    """Seven batches of training, and five of validation."""
    return MatrixBatchGenerator(X, Y, batch_size, shuffle=True), MatrixBatchGenerator(X[:10], Y[:10], 2)


def make(counts: bool = False, epochs: int = 4, **options: Any) -> Any:
    class Model(RegressionModel):
        batches: list[list[float]] = []
        total = 0

        def init_model(self) -> None:  # type: ignore[override]
            torch.manual_seed(0)
            network = nn.Linear(1, 1)
            optimizer = optim.SGD(network.parameters(), 0.1)
            self.total = self.total_steps if counts else 0
            super().init_model(network, optimizer=optimizer, training=TrainingOptions(**options))

        def train_step(self, x: Any, y: Any) -> Any:
            self.batches.append(x.flatten().tolist())
            return super().train_step(x, y)

    return Model({}, Namespace(cpu=True, steps_per_epoch=7, epoch=epochs, total_epochs=epochs))


def plain_stream(batches: int) -> list[list[float]]:
    train, found = data()[0], []
    for number in itertools.count():
        train.set_epoch(0, number)
        for x, _ in train:
            found.append(np.ravel(x).tolist())
            if len(found) == batches:
                return found
    raise AssertionError


def test_epochs_of_a_stream_go_on_where_the_last_ended() -> None:
    model = make(epoch_steps=3)
    rows = model.fit(*data(), 4)
    assert len(rows) == 4
    assert model.steps == 12
    assert model.batches == plain_stream(12)


def test_a_stream_goes_on_after_an_interruption(tmp_path: Path) -> None:
    whole = make(epoch_steps=3)
    expected = whole.fit(*data(), 4)
    trial = Results(tmp_path).trial("0000")
    trial.begin_attempt()
    for epochs in (1, 3, 4):
        model = make(epoch_steps=3)
        history = model.fit(*data(), epochs, trial)
    assert history == expected
    assert torch.equal(model.network.weight, whole.network.weight)


class Counting:
    """A training set of one's own, without end."""

    def stream(self, seed: int, start: int) -> Iterator[Any]:
        for number in itertools.count(start):
            yield np.full((2, 1), number, np.float32), np.zeros((2, 1), np.float32)

    def __iter__(self) -> Iterator[Any]:
        return self.stream(0, 0)


def test_a_generator_of_ones_own_may_stream() -> None:
    model = make(epoch_steps=2)
    model.fit(Counting(), data()[1], 2)
    assert [batch[0] for batch in model.batches] == [0, 1, 2, 3]


def test_a_generator_that_cannot_skip_is_refused() -> None:
    batches = [(X[:4], Y[:4]), (X[4:8], Y[4:8])]
    with pytest.raises(
        DefinitionError, match=r"epoch_steps is 3, and list cannot begin at any batch.*stream\(seed"
    ):
        make(epoch_steps=3).fit(batches, data()[1], 1)


@pytest.mark.parametrize(("limit", "steps"), [(2, 2), (0.5, 3), (1.0, 7), (0.01, 1), (50, 7)])
def test_training_is_limited_to_batches_or_a_share(limit: float, steps: int) -> None:
    model = make(limit_train=limit)
    model.fit(*data(), 2)
    assert model.steps == 2 * steps


def test_a_share_is_rounded_down_from_what_is_written() -> None:
    assert [limited(share, 100, "limit_val") for share in (0.29, 0.57, 0.299, 0.001, 1.0)] == [
        29,
        57,
        29,
        1,
        100,
    ]
    assert limited(1 / 3, 3, "limit_val") == 1


def test_validation_is_limited_too() -> None:
    limited, short = make(limit_val=2), make()
    train = data()[0]
    rows = limited.fit(train, data()[1], 1)
    assert rows == short.fit(train, MatrixBatchGenerator(X[:4], Y[:4]), 1)
    with pytest.raises(
        DefinitionError, match=r"limit_val is 0.5, a share of a set whose generator has no length"
    ):
        make(limit_val=0.5).fit(train, Counting(), 1)


@pytest.mark.parametrize(
    ("options", "total"),
    [({}, 28), ({"epoch_steps": 3}, 12), ({"limit_train": 2}, 8), ({"epoch_steps": 5, "accumulate": 2}, 12)],
)
def test_a_model_counts_the_steps_of_such_epochs(options: dict[str, Any], total: int) -> None:
    assert make(counts=True, **options).total == total


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch_steps": 3, "limit_train": 2}, "epoch_steps and limit_train are both given"),
        ({"limit_val": 1.5}, "limit_val is 1.5; it has to be a whole number of batches from 1, or a share"),
        ({"limit_test": 0}, "limit_test is 0; it has to be a whole number of batches"),
        ({"epoch_steps": 0}, "epoch_steps is 0; it has to be a whole number from 1"),
        ({"epoch_steps": 3, "accumulate": 4}, "accumulate is 4, and an epoch has 3 batches"),
    ],
)
def test_sizes_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        make(**options).fit(*data(), 1)


def test_the_result_of_a_limited_test_is_marked(project: Project) -> None:
    project.define(
        "\n\ndef get_test_generator(data_dir):\n    return MatrixBatchGenerator(*table(2, 20), 5)\n"
    )
    done = project.run(
        "--epoch", "2", "--eval", "--with", "limit_test=0.5", "epoch_steps=2", "--batch-size", "20"
    )
    assert (done.code, done.err) == (0, "")
    assert json.loads(project.read("test_result.json"))["limited_to_batches"] == 2
    assert "baselines: none, for the test was limited" in done.out
