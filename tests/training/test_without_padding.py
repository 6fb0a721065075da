"""Sequences of several lengths: what is evaluated or predicted of one does not depend on the others."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from base_model import BaseModel
from batch_generator import FastaBatchGenerator
from helixband.audit.examples import Unlike
from helixband.sequence.alphabet import DNA
from helixband.training.portions import Seeded, portions_of

RECORDS = ["AACC", "A", "AC", "AAAA", "CA"]
SHARES_OF_A = [0.5, 1, 0.5, 1, 0.5]
LABELS = [0, 1, 2, 3, 4]
Made = Callable[..., FastaBatchGenerator]


class ShareOfA(nn.Module):
    """Of all positions that it is given, how many are A, padding included."""

    def forward(self, x: Tensor) -> Tensor:
        return (x == 0).float().mean(1)


class Model(BaseModel):
    def init_model(self) -> None:
        super().init_model(ShareOfA(), nn.MSELoss(), None)

    def eval_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, float]:
        return {"right": float(np.mean(y_pred == np.take(SHARES_OF_A, y_true.astype(int))))}


class EachBase(BaseModel):
    def init_model(self) -> None:
        super().init_model(Codes(), nn.MSELoss(), None)


class Codes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()


def model(kind: type[BaseModel] = Model, **args: Any) -> BaseModel:
    return kind({}, Namespace(cpu=True, **args))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    def make(records: list[str] = RECORDS, **options: Any) -> FastaBatchGenerator:
        path = tmp_path / f"{len(records)}.fa"
        path.write_text("".join(f">{number}\n{text}\n" for number, text in enumerate(records)))
        return FastaBatchGenerator(str(path), np.arange(len(records)), unequal="bucket", **options)

    return make


def batches_of(data: FastaBatchGenerator, limit: int | None = None) -> list[tuple[list[str], list[int]]]:
    found = data.unpadded(limit)
    assert found is not None
    generator, order = found
    batches = [(DNA.decode(x), y.tolist()) for x, y in generator]
    assert order.tolist() == [number for _, numbers in batches for number in numbers]
    assert len(generator) == len(batches)  # type: ignore[arg-type]
    return batches  # type: ignore[return-value]


def test_records_of_one_length_are_together_and_none_is_filled_up(made: Made) -> None:
    assert batches_of(made()) == [(["A"], [1]), (["AC", "CA"], [2, 4]), (["AACC", "AAAA"], [0, 3])]
    assert batches_of(made(batch_size=1))[1:3] == [(["AC"], [2]), (["CA"], [4])]
    assert [DNA.decode(x) for x, _ in made(batch_size=2)] == [["AACC", "ANNN"], ["ACNN", "AAAA"], ["CA"]]


def test_these_are_the_records_of_the_batches_that_are_read(made: Made) -> None:
    assert batches_of(made(batch_size=2), limit=1) == [(["A"], [1]), (["AACC"], [0])]
    assert batches_of(made(batch_size=2, drop_last=True)) == [
        (["A"], [1]),
        (["AC"], [2]),
        (["AACC", "AAAA"], [0, 3]),
    ]


def test_a_set_that_is_drawn_or_read_otherwise_is_read_as_it_comes(made: Made, tmp_path: Path) -> None:
    class Own(FastaBatchGenerator):
        def batches(self, seed: int, epoch: int, start: int = 0) -> Any:
            yield from super().batches(seed, epoch, start)

    made()
    path = str(tmp_path / "5.fa")
    sets = [
        Own(path, LABELS, unequal="bucket"),
        FastaBatchGenerator(path, LABELS, unequal="pad"),
        made(shuffle=True, reverse_complement=True),
    ]
    assert [data.unpadded() for data in sets] == [None, None, None]
    assert made(shuffle=True).unpadded() is not None


@pytest.mark.parametrize("batch_size", [None, 1, 2, 5])
@pytest.mark.parametrize("more", [[], ["C" * 1000]])
def test_an_evaluation_has_the_scores_of_each_record_alone(
    made: Made, batch_size: int | None, more: list[str]
) -> None:
    data = made([*RECORDS, *more], batch_size=batch_size).part(np.arange(5))

    assert model().evaluate(data)["right"] == 1


@pytest.mark.parametrize("batch_size", [None, 1, 2, 5])
def test_predictions_are_in_the_order_of_the_file(made: Made, batch_size: int | None) -> None:
    assert model().predict(made(batch_size=batch_size)).tolist() == SHARES_OF_A


def test_predictions_along_a_record_hold_nan_behind_it(made: Made) -> None:
    assert np.array_equal(
        model(EachBase).predict(made(["A", "CCC"])), [[0, np.nan, np.nan], [1, 1, 1]], equal_nan=True
    )


def test_a_validation_of_the_first_batches_has_their_records(made: Made) -> None:
    trained = model(debug=True)  # two batches

    assert trained.predict(made(batch_size=2)).tolist() == SHARES_OF_A[:4]


def test_examples_that_are_unlike_the_training_set_are_without_padding_too(made: Made) -> None:
    unlike = Unlike(made(), [])

    assert model().evaluate(unlike)["right"] == 1
    assert unlike.count == 5


def test_portions_have_random_numbers_of_their_own_and_the_order_of_the_file(made: Made) -> None:
    data = made(batch_size=1)
    portions = portions_of(data, model())
    assert portions is not None

    assert model().predict(Seeded(portions, seed=0)).tolist() == SHARES_OF_A


def test_training_batches_are_filled_up_to_the_longest_of_each(made: Made) -> None:
    shapes: list[tuple[int, ...]] = []

    class Trained(Model):
        def init_model(self) -> None:
            network = nn.Sequential(ShareOfA(), nn.Unflatten(0, (-1, 1)), nn.Linear(1, 1), nn.Flatten(0))
            BaseModel.init_model(self, network, nn.MSELoss(), torch.optim.SGD(network.parameters(), 0.1))

        def train_step(self, x: Any, y: Any) -> Any:
            shapes.append(tuple(x.shape))
            return super().train_step(x, y.float())

        def eval_step(self, x: Any, y: Any) -> Any:
            return super().eval_step(x, y.float())

    data = made(batch_size=2)
    model(Trained).fit(data, data, 1)

    assert shapes == [(2, 4), (2, 4), (1, 2)]
