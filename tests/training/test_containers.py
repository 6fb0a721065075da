"""Batches and outputs in containers of a definition's own: they come to its methods as what they are."""

from argparse import Namespace
from collections import OrderedDict, UserDict
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

from base_model import BaseModel, TrainingOptions
from batch_generator import MatrixBatchGenerator
from helixband.errors import DefinitionError
from helixband.training.stored import capture_parts

X = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
Y = X.sum(axis=1)


class Output(OrderedDict[str, Any]):
    """As the outputs of transformers: items are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)


@dataclass
class Record:
    logits: Any
    hidden: Any = None


class Both(OrderedDict[str, Any]):
    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)


class Network(nn.Module):
    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.line, self.kind = nn.Linear(3, 1), kind

    def forward(self, x: Any) -> Any:
        return self.kind(logits=self.line(x if isinstance(x, Tensor) else x.logits)[:, 0])


def make(kind: Any, precision: str = "32") -> Any:
    class Model(BaseModel):
        def init_model(self) -> None:
            network = Network(kind)
            optimizer = optim.SGD(network.parameters(), 0.1)
            super().init_model(
                network,
                nn.MSELoss(),
                optimizer,
                training=TrainingOptions(precision=precision),  # type: ignore[arg-type]
            )
            self.seen: set[Any] = set()

        def split_output(self, output: Any) -> Any:
            self.seen.add((type(output), output.logits.dtype))
            return {"y_pred": output.logits, "y_pred_loss": output.logits}

    torch.manual_seed(0)
    return Model({}, Namespace(cpu=True))


@pytest.mark.parametrize("kind", [Output, Both, Record])
def test_an_output_in_16_bits_is_of_its_kind_and_in_float32(kind: Any) -> None:
    model = make(kind, "bf16")
    rows = model.fit(MatrixBatchGenerator(X, Y, 4), MatrixBatchGenerator(X, Y), 2)
    assert model.seen == {(kind, torch.float32)}
    single = make(kind).fit(MatrixBatchGenerator(X, Y, 4), MatrixBatchGenerator(X, Y), 2)
    assert rows != single
    assert rows[-1]["val_loss"] == pytest.approx(single[-1]["val_loss"], rel=0.02)


@pytest.mark.parametrize("kind", [SimpleNamespace, lambda logits: UserDict(logits=logits)])
def test_an_output_that_cannot_be_brought_to_float32_is_refused(kind: Any) -> None:
    with pytest.raises(DefinitionError, match=r"whose (logits|data) is in 16 bits.* return tensors, or a"):
        make(kind, "bf16").forward(torch.zeros(2, 3))


class Batches:
    """x and y in containers of a kind."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def __iter__(self) -> Iterator[Any]:
        for start in (0, 4, 8):
            rows = slice(start, start + 4)
            yield self.kind(logits=X[rows]), self.kind(logits=Y[rows])


@pytest.mark.parametrize("kind", [Output, Both, Record])
def test_a_batch_is_of_its_kind_on_the_device(kind: Any) -> None:
    class Model(BaseModel):
        def init_model(self) -> None:
            network = Network(kind)
            super().init_model(network, nn.MSELoss(), optim.SGD(network.parameters(), 0.1))

        def split_output(self, output: Any) -> Any:
            return {"y_pred": output, "y_pred_loss": output}

        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            return (y_pred_loss.logits - y.logits).square().mean()

        def eval_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
            assert (type(y_true), type(y_pred)) == (kind, kind)
            return {"mse": float(np.square(y_pred.logits - y_true.logits).mean())}

    torch.manual_seed(0)
    model: Any = Model({}, Namespace(cpu=True))
    row = model.fit(Batches(kind), Batches(kind), 1)[0]
    assert row["val_loss"] == pytest.approx(row["val_mse"], rel=1e-6)
    predicted = model.predict([kind(logits=X[:4]), kind(logits=X[4:])])
    assert type(predicted) is kind
    assert predicted.logits.shape == (10,)


def test_a_checkpoint_has_plain_dicts_and_no_records() -> None:
    state = capture_parts({"self.sizes": Output(a=Output(b=np.float64(1.0)))})["self.sizes"]
    assert (type(state), type(state["a"])) == (dict, dict)
    with pytest.raises(DefinitionError, match="the state of self.sizes holds Record"):
        capture_parts({"self.sizes": {"a": Record(1)}})
