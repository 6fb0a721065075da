"""What a stepper keeps for later members is bounded, and it holds nothing of members that have ended."""

import gc
from typing import Any
from weakref import ref

import pytest
from test_captured import Halved
from test_packed import CLASSES, make
from torch import nn, optim

from base_model import BaseModel, ClassificationModel
from helixband.training.fit import fit
from helixband.training.steps.block import Block
from helixband.training.steps.captured import Captured


class Smoothed(ClassificationModel):
    """Trials of one structure, each with a criterion of its own."""

    def init_model(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        criterion = nn.CrossEntropyLoss(label_smoothing=self.config["smoothing"])
        super().init_model(network, criterion, optim.Adam(network.parameters(), 0.01))


@pytest.mark.parametrize("kind", [Halved, Smoothed])
def test_each_of_several_packs_of_one_kind_is_captured_once(
    kind: type[BaseModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ref[Block]] = []

    def init(block: Block, *given: Any, of_block: Any = Block.__init__) -> None:
        made.append(ref(block))
        of_block(block, *given)

    monkeypatch.setattr(Block, "__init__", init)
    stepper = Captured()
    fit([make(n, kind, y=CLASSES, epochs=6, smoothing=0.01 * n) for n in (1, 2, 3)], stepper)
    assert len(made) == 3
    del stepper
    gc.collect()
    assert [block() for block in made] == [None] * 3
