"""Networks that a pack might compute otherwise go alone, and what is kept for packs is bounded."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_captured import told_of_blocks_as_alone
from test_packed import CLASSES, X, make, of_network
from torch import Tensor, nn, optim
from torch.utils.checkpoint import checkpoint

from base_model import BaseModel, ClassificationModel, RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.training import passes
from helixband.training.fit import fit
from helixband.training.member import Member
from helixband.training.steps import captured
from helixband.training.steps.block import Block
from helixband.training.steps.captured import Captured
from helixband.training.steps.eager import Eager
from helixband.training.steps.template import MOST, Templates


def told_of_equal_weights(makers: list[Callable[[], Member]]) -> list[str]:
    """Why members went alone or were not captured, which come to the weights that they come to alone."""
    told: list[str] = []
    alone, together = [make() for make in makers], [make() for make in makers]
    for member in alone:
        fit([member], Eager())
    fit(together, Captured(*[lambda member, reason: told.append(reason)] * 2))
    for one, other in zip(alone, together, strict=True):
        assert one.error is None and other.error is None
        weights, same = one.model.network.state_dict(), other.model.network.state_dict()
        assert all(torch.allclose(value, same[name], 1e-4, 1e-5) for name, value in weights.items())
    return told


class Flat(nn.Module):
    """Two layers, the second of which is called by a function."""

    def __init__(self, call: Callable[[nn.Linear, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.call = nn.Linear(12, 4), nn.Linear(4, 1), call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.last, torch.tanh(self.first(x.flatten(1))))


def by_checkpoint(layer: nn.Linear, x: Tensor) -> Tensor:
    found: Tensor = checkpoint(lambda x: layer(x).tanh(), x, use_reentrant=False)
    return found


def with_hook(layer: nn.Linear, x: Tensor) -> Tensor:
    found: Tensor = layer(x)
    if found.requires_grad:
        found.register_hook(lambda gradient: gradient * (1 + layer.weight.detach().abs().sum()))
    return found


class ByWeight(torch.autograd.Function):
    """Multiplies the gradient by a sum of weights, of which no operator is given."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, layer: nn.Linear) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.layer = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient * ctx.layer.weight.detach().abs().sum(), None


def with_function(layer: nn.Linear, x: Tensor) -> Tensor:
    return ByWeight.apply(layer(x), layer)  # type: ignore[no-any-return, no-untyped-call]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (by_checkpoint, ("its gradient on the first batch differs by nan", "torch.func refuses it")),
        (with_hook, "its network puts hooks on tensors as it computes"),
        (with_function, "its gradient on the first batch differs by nan from that of its own network"),
    ],
)
def test_what_looks_at_weights_beside_the_network_goes_alone(call: Any, reason: Any, count: int) -> None:
    kind = of_network(lambda config: Flat(call))
    told = told_of_blocks_as_alone([lambda n=n: make(n, kind) for n in range(count)])
    assert len(told) == count
    assert all(each.startswith(reason) for each in told)


def thawing(kind: type[optim.Optimizer]) -> type[BaseModel]:
    """A model whose first layer is trained from the third epoch on."""

    def network(config: Any) -> nn.Module:
        made = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 1))
        made[1].requires_grad_(False)
        return made

    def on_epoch_end(model: Any, row: Any) -> None:
        if row["epoch"] == 2:
            model.network[1].requires_grad_(True)

    return type("Thawing", (of_network(network),), {"on_epoch_end": on_epoch_end})


@pytest.mark.parametrize("count", [1, 2])
def test_a_layer_that_is_trained_later_has_its_own_number_of_steps(count: int) -> None:
    told = told_of_blocks_as_alone([lambda n=n: make(n, thawing(optim.Adam), epochs=5) for n in range(count)])
    assert told == ["its parameters have had different numbers of steps"] * count


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(5, 3, sparse=True), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.table(x.flatten(1).long().clamp(0, 4)).mean(1))
        return found


class OfSparse(RegressionModel):
    def init_model(self) -> None:
        network = Sparse()
        super().init_model(network, nn.MSELoss(), optim.SGD(network.parameters(), 0.01))


@pytest.mark.parametrize("count", [1, 2])
def test_a_network_whose_gradients_no_pack_can_hold_goes_alone(count: int) -> None:
    told = told_of_equal_weights([lambda n=n: make(n, OfSparse) for n in range(count)])
    assert [each.split(":")[0] for each in told] == ["its first batch failed when it was tried"] * count


class Classes(ClassificationModel):
    def init_model(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        super().init_model(network, nn.CrossEntropyLoss(), optim.Adam(network.parameters(), 0.01))


def test_one_classifier_is_captured() -> None:
    assert told_of_equal_weights([lambda: make(1, Classes, y=CLASSES)]) == []


def test_batches_are_read_ahead_to_a_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "BYTES_AHEAD", 2 * (8 * 12 * 4 + 8 * 4))
    counts: list[int] = []

    def steps(stepper: Captured, rounds: Any, of_stepper: Any = Captured.steps) -> Any:
        counts.append(len(rounds))
        return of_stepper(stepper, rounds)

    monkeypatch.setattr(Captured, "steps", steps)
    fit([make(1)], Captured())
    assert max(counts) == 2


def test_few_blocks_are_kept_of_a_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "KINDS", 2)
    made: list[int] = []

    def init(block: Block, *given: Any, of_block: Any = Block.__init__) -> None:
        made.append(1)
        of_block(block, *given)

    monkeypatch.setattr(Block, "__init__", init)
    stepper = Captured()
    for size in (4, 5, 6, 7):
        one = make(1)
        train = MatrixBatchGenerator(X, one.train.Y, size, shuffle=True)  # type: ignore[attr-defined]
        fit([one.model.as_member(train, one.val, 2, None, 1)], stepper)  # type: ignore[attr-defined]
    assert len(made) == 4
    assert [len(blocks) for blocks in stepper._blocks.values()] == [2]


def test_few_templates_are_kept() -> None:
    templates, network = Templates(), nn.Linear(2, 1)
    first = templates.of(0, network, ())
    for kind in range(1, MOST + 1):
        templates.of(kind, network, ())
        assert templates.of(1, network, ()) is templates.of(1, network, ())
    assert templates.of(0, network, ()) is not first
    assert all(bool(each.isnan().all()) for each in first.network.parameters())


def lone(takes_one: bool, **config: Any) -> tuple[Member, list[str]]:
    member = make(1, **config)
    fit([member], Captured(takes_one=takes_one))
    return member, [str(way) for way in member.record.ways]


def test_a_lone_member_is_captured_only_where_the_stepper_takes_one() -> None:
    own = make(1)
    fit([own], captured.Packed())
    by_itself, _ = lone(False)
    for one, other in zip(own.model.network.parameters(), by_itself.model.network.parameters(), strict=True):
        assert torch.equal(one, other)
    _, ways = lone(True)
    assert ways == ["captured"] * 3


SCALES = [1.0]


class Rescaling:
    """A generator that changes a variable which the network reads."""

    def __iter__(self) -> Any:
        for start in range(0, 40, 8):
            SCALES[0] = 1.0 if start < 24 else 3.0
            yield X[start : start + 8], X[start : start + 8].mean((1, 2))[:, None]


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(x.flatten(1)) * SCALES[0]
        return found


def test_a_variable_that_the_generator_changes_has_the_value_of_each_batch() -> None:
    def rescaled(seed: int) -> Member:
        SCALES[0] = 1.0
        one = make(seed, of_network(lambda config: Scaled()))
        return one.model.as_member(Rescaling(), one.val, 3, None, seed)  # type: ignore[attr-defined, no-any-return]

    told = told_of_equal_weights([lambda: rescaled(1)])
    assert told == ["its network or loss reads the variable SCALES, which changes"]
