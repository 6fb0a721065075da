"""What a stepper keeps for later members is bounded, and it holds nothing of members that have ended."""

import gc
from typing import Any
from weakref import ref

import pytest
import torch
from test_captured import Halved
from test_packed import CLASSES, Constrained, Model, Y, make, of_network
from torch import Tensor, nn, optim

from base_model import BaseModel, ClassificationModel, RegressionModel
from helixband.training.fit import fit
from helixband.training.steps import keys
from helixband.training.steps.block import Block
from helixband.training.steps.captured import Captured
from helixband.training.steps.described import described
from helixband.training.steps.keys import PackKeys
from helixband.training.steps.pack import Pack
from helixband.training.steps.packed import Packed


class Smoothed(ClassificationModel):
    """Trials of one structure, each with a criterion of its own."""

    def init_model(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        criterion = nn.CrossEntropyLoss(label_smoothing=self.config["smoothing"])
        super().init_model(network, criterion, optim.Adam(network.parameters(), 0.01))


@pytest.mark.parametrize(("kind", "y"), [(Halved, Y), (Smoothed, CLASSES)])
def test_each_of_several_packs_of_one_kind_is_captured_once(
    kind: type[BaseModel], y: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ref[Block]] = []

    def init(block: Block, *given: Any, of_block: Any = Block.__init__) -> None:
        made.append(ref(block))
        of_block(block, *given)

    monkeypatch.setattr(Block, "__init__", init)
    stepper = Captured()
    fit([make(n, kind, y=y, epochs=2 + 4 * (n > 1), smoothing=0.01 * n) for n in (1, 2, 3)], stepper)
    assert len(made) == 3
    del stepper
    gc.collect()
    assert [block() for block in made] == [None] * 3


class Counting(nn.Module):
    """A criterion that changes as it is called."""

    calls = 0

    def forward(self, y_pred: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        return (y_pred.flatten() - y.flatten()).square().mean()


class Counts(RegressionModel):
    def init_model(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
        super().init_model(network, Counting(), optim.Adam(network.parameters(), 0.01))


class Chosen(nn.Module):
    """A network that holds a method of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.activate = nn.Linear(12, 1), self.tanh

    def tanh(self, x: Tensor) -> Tensor:
        return x.tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.activate(x.flatten(1)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("stepper", [Packed, Captured])
@pytest.mark.parametrize("kind", [Model, Constrained, Counts, of_network(lambda config: Chosen())])
def test_members_that_have_ended_are_let_go(kind: type[BaseModel], stepper: type[Packed]) -> None:
    members, used = [make(n, kind) for n in (1, 2)], stepper()
    parts = [ref(part) for member in members for part in (member, member.model, member.model.network)]
    fit(members, used)
    assert [member.error for member in members] == [None, None]
    members.clear()
    gc.collect()
    assert [part() for part in parts] == [None] * 6


def test_what_is_described_is_not_held_and_equals_itself_alone() -> None:
    one, other = Chosen(), Chosen()
    before = described(one)
    assert before == described(one) != described(other)
    held = ref(one)
    del one
    gc.collect()
    assert held() is None
    assert before == before
    assert before not in [described(Chosen()) for _ in range(9)]


def test_what_has_no_weak_references_is_held() -> None:
    numbers = iter([1, 2])
    assert described(numbers) == described(numbers) != described(iter([1, 2]))


def test_few_structures_keep_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MOST", 2)
    numbers, members = PackKeys(), [make(1, dilation=dilation) for dilation in (1, 2, 1, 3, 1, 2)]
    assert [numbers.of(member) for member in members] == [0, 1, 0, 2, 0, 3]
    assert [numbers.of(member) for member in members] == [0, 1, 0, 2, 0, 3]


def short_of_memory(held: list[ref[Any]], alive: list[list[Any]]) -> Any:
    """A step of a pack that runs out of memory with several members, and notes what is held with one."""

    def whole_step(pack: Pack, *given: Any, of_pack: Any = Pack.whole_step) -> Any:
        if len(pack.members) == 1:
            gc.collect()
            alive.append([each() for each in held])
            return of_pack(pack, *given)
        activations = torch.zeros(3)
        held.extend([ref(activations), ref(pack)])
        raise torch.OutOfMemoryError("CUDA out of memory")

    return whole_step


def test_nothing_of_steps_for_which_memory_does_not_suffice_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[ref[Any]] = []
    alive: list[list[Any]] = []

    def run(block: Block, *given: Any, of_block: Any = Block.run) -> Any:
        if len(block._pack.members) == 1 or len(held):
            return of_block(block, *given)
        monkeypatch.setattr(Pack, "whole_step", short_of_memory(held, alive))
        held.append(ref(block._results[0]))
        block._replay = block._step
        return of_block(block, *given)

    members = [make(n) for n in (1, 2)]
    monkeypatch.setattr(Block, "run", run)
    fit(members, Captured())
    assert [member.error for member in members] == [None, None]
    assert len(held) == 3
    assert alive[0] == [None] * 3
