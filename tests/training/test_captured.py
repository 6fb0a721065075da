"""Steps in blocks: each member comes to what it comes to by its own `train_step`.

On a CPU a block replays the operators of a step, so that all but the graphs of a GPU is seen here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from test_packed import CLASSES, Constrained, Model, OwnStep, X, Y, assert_alike, make, of_network
from torch import Tensor, nn, optim

from base_model import ClassificationModel, RegressionModel, TrainingOptions
from constraints import MaxNormConstraint
from helixband.training import single, tape
from helixband.training.ended import Ended
from helixband.training.fit import fit
from helixband.training.graphs import CaptureError
from helixband.training.member import Member
from helixband.training.steps import block, captured, masks, template
from helixband.training.steps.block import Block
from helixband.training.steps.captured import Captured
from helixband.training.steps.eager import Eager
from helixband.training.steps.pack import Pack
from helixband.training.steps.packed import Packed


@pytest.fixture(autouse=True)
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The steps of each block that was run, and its members."""
    found: list[tuple[int, int]] = []

    def run(block: Block, rounds: Any, numbers: Any, of_block: Any = Block.run) -> Any:
        found.append((len(rounds), len(rounds[0])))
        return of_block(block, rounds, numbers)

    monkeypatch.setattr(Block, "run", run)
    return found


def told_of_blocks_as_alone(
    makers: list[Callable[[], Member]], together: bool = True, takes_one: bool = True
) -> list[str]:
    """Why steps were computed one by one, of members that come to what they come to alone."""
    told: list[str] = []
    stepper = Captured(*[lambda member, reason: told.append(reason)] * 2, takes_one=takes_one)
    alone, others = [make() for make in makers], [make() for make in makers]
    for member in alone:
        fit([member], Eager())
    for members in [others] if together else [[member] for member in others]:
        fit(members, stepper)
    for one, other in zip(alone, others, strict=True):
        assert_alike(one, other)
    return told


def test_one_member_takes_the_steps_of_an_epoch_in_blocks(runs: list[tuple[int, int]]) -> None:
    # 44 examples are 5 batches of 8 and one of 4; the first step is the member's own, the second is compared.
    assert told_of_blocks_as_alone([lambda: make(1)]) == []
    assert runs == [(3, 1), (5, 1), (5, 1)]


def test_members_take_them_together(runs: list[tuple[int, int]]) -> None:
    assert told_of_blocks_as_alone([lambda n=n: make(n, lr=0.002 * (n + 1)) for n in range(3)]) == []
    assert set(runs) == {(3, 3), (5, 3)}


Dense = of_network(
    lambda config: nn.Sequential(
        nn.Flatten(), nn.Linear(12, config["width"]), nn.Tanh(), nn.Linear(config["width"], 1)
    )
)
"""A network without dropout."""


def of_width(number: int, width: int) -> Member:
    return make(number, Dense, lr=0.002 * (number + 1), width=width)


def test_a_member_alone_of_its_structure_keeps_no_others_from_blocks(runs: list[tuple[int, int]]) -> None:
    makers = [lambda n=n: of_width(n, 3 + n // 2) for n in range(3)]
    assert told_of_blocks_as_alone(makers, takes_one=False) == []
    assert set(runs) == {(3, 2), (5, 2)}


def test_none_is_read_ahead_if_code_of_the_definition_makes_batches_of_a_member_alone(
    runs: list[tuple[int, int]],
) -> None:
    def lone() -> Member:
        found = of_width(2, 4)
        return found.model.as_member(Augmented(), found.val, 3, None, 2)  # type: ignore[attr-defined, no-any-return]

    makers: list[Callable[[], Member]] = [lambda: of_width(0, 3), lambda: of_width(1, 3), lone]
    assert told_of_blocks_as_alone(makers, takes_one=False) == []
    assert runs == []


SCALE = 2.0


class Scaling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * SCALE


class Bounded(ClassificationModel):
    """Its labels are checked in the first epoch, and its weights are bounded, by code of Helixband."""

    def init_model(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        optimizer = optim.Adam(network.parameters(), 0.01)
        super().init_model(network, optimizer=optimizer, constraints=[MaxNormConstraint(3.0)])


class Reading(ClassificationModel):
    """Its network reads a variable, which nothing changes."""

    def init_model(self) -> None:
        network = nn.Sequential(nn.Flatten(), Scaling(), nn.Linear(12, 2))
        super().init_model(network, optimizer=optim.Adam(network.parameters(), 0.01))


class Looking(Reading):
    """It looks at labels itself in the first epoch, and could change that variable."""

    def check_labels(self, y_true: Any) -> None:
        super().check_labels(y_true)


@pytest.mark.parametrize(("kind", "first"), [(Bounded, [(3, 1)]), (Reading, [(3, 1)]), (Looking, [])])
def test_the_first_epoch_is_taken_in_blocks_where_only_code_of_helixband_reads_it(
    kind: type[Any], first: list[Any], runs: list[tuple[int, int]]
) -> None:
    assert told_of_blocks_as_alone([lambda: make(1, kind, y=CLASSES)]) == []
    assert runs == [*first, (5, 1), (5, 1)]


class Halved(RegressionModel):
    """It computes in bf16, with what the layers of a network do then: linear ones in it, others not."""

    def init_model(self) -> None:
        rate = self.config.get("rate", 0.0)
        layers = nn.Linear(12, 8), nn.ReLU(), nn.Dropout(rate), nn.LayerNorm(8), nn.Linear(8, 1)
        network = nn.Sequential(nn.Flatten(), *layers)
        optimizer = optim.Adam(network.parameters(), self.config["lr"])
        super().init_model(network, optimizer=optimizer, training=TrainingOptions(precision="bf16"))


def test_steps_in_bf16_are_captured_one_member_at_a_time(runs: list[tuple[int, int]]) -> None:
    alone, others = ([make(n, Halved, lr=0.01 * n) for n in (1, 2)] for _ in range(2))
    for member in alone:
        fit([member], Eager())
    fit(others, Captured())
    assert runs == [(3, 1), (3, 1), *[(5, 1)] * 4]
    for one, other in zip(alone, others, strict=True):
        assert one.record.history == other.record.history
        weights = zip(one.model.network.parameters(), other.model.network.parameters(), strict=True)
        assert all(torch.equal(*pair) for pair in weights)


def test_trials_in_bf16_are_not_packed() -> None:
    told: list[str] = []
    fit([make(n, Halved) for n in (1, 2)], Packed(lambda member, reason: told.append(reason)))
    assert told == ["precision='bf16'"] * 2


def test_masks_of_dropout_leave_bf16_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    dtypes = []

    def forward(layer: Any, x: Tensor, of_layer: Any = template._Masked.forward) -> Tensor:
        found: Tensor = of_layer(layer, x)
        dtypes.append((x.dtype, found.dtype))
        return found

    monkeypatch.setattr(template._Masked, "forward", forward)
    fit([make(1, Halved, rate=0.5)], Captured())
    assert {*dtypes} == {
        (torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.float32),
    }  # the first in trials


class Wide(ClassificationModel):
    """What a step gives is larger than its batch."""

    def init_model(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 100))
        super().init_model(network, optimizer=optim.Adam(network.parameters(), 0.01))


def test_a_block_has_as_many_steps_as_there_is_room_for_what_they_give(
    runs: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "BYTES", 2 * 8 * 100 * 4 + 200)
    assert told_of_blocks_as_alone([lambda: make(1, Wide, y=CLASSES)]) == []
    assert {steps for steps, _ in runs} == {2}


def test_a_block_serves_all_members_of_a_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def init(block: Block, *given: Any, of_block: Any = Block.__init__) -> None:
        made.append(block)
        of_block(block, *given)

    monkeypatch.setattr(Block, "__init__", init)
    assert told_of_blocks_as_alone([lambda n=n: make(n, lr=0.001 * (n + 1)) for n in range(3)], False) == []
    assert len(made) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"cycle": 0.1},
        {"optimizer": "SGD", "momentum": 0.8, "nesterov": True, "cycle": 0.1},
        {"training": {"clip_norm": 0.5, "gradient_norm": "max"}},
        {"training": {"clip_value": 0.1, "ema_decay": 0.8}},
        {"optimizer": "RMSprop", "centered": True, "weight_decay": 0.1},
    ],
)
def test_what_changes_from_step_to_step_is_read_for_each(settings: dict[str, Any]) -> None:
    assert told_of_blocks_as_alone([lambda n=n: make(n, Constrained, **settings) for n in range(2)]) == []


class Weighted(ClassificationModel):
    def init_model(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
        criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(self.config["pos_weight"]))
        super().init_model(network, optimizer=optim.Adam(network.parameters(), 0.01), criterion=criterion)


def test_a_block_reads_no_criterion_of_another_member(monkeypatch: pytest.MonkeyPatch) -> None:
    def recorded(block: Block, of_block: Any = Block._recorded) -> Callable[[], Any]:
        step, pack = of_block(block), block._pack
        members, models = pack.members, pack._models

        def replay() -> None:
            """As a graph does, by the members of the recording."""
            now = pack.members, pack._models
            pack.members, pack._models = members, models
            try:
                step()
            finally:
                pack.members, pack._models = now

        return replay

    def member(pos_weight: float) -> Member:
        return make(1, Weighted, y=CLASSES, pos_weight=pos_weight)

    monkeypatch.setattr(Block, "_recorded", recorded)
    stepper, trained = Captured(), [member(pos_weight) for pos_weight in (2.0, 2.0, 9.0)]
    for each in trained:
        fit([each], stepper)
        trained[0].model.criterion.pos_weight.fill_(50.0)
    for each, pos_weight in zip(trained, (2.0, 2.0, 9.0), strict=True):
        alone = member(pos_weight)
        fit([alone], Eager())
        assert_alike(alone, each)


@pytest.mark.parametrize("cached", [0, block.CACHED])
def test_dropout_has_the_masks_that_a_pack_has_without_blocks(
    cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "CACHED", cached)
    one, other = make(1, dropout=0.4), make(1, dropout=0.4)
    fit([one], Packed())
    fit([other], Captured())
    assert_alike(one, other)


def test_masks_are_of_the_seed_and_the_step_and_have_the_mean() -> None:
    shapes, keep = [[torch.Size((50, 40))]], np.array([0.75, 1.0, 0.0])

    def drawn(step: int) -> Tensor:
        keys = torch.from_numpy(masks.keys([5, 6, 7], np.array([step] * 3), [keep]))
        scales = torch.from_numpy(masks.scales(keep)[:, None]).float()
        flat = masks.draw(shapes, [scales], keys, masks.places(shapes, keys.device))
        return masks.cut(shapes, flat)[0][0]

    first, second = drawn(1), drawn(2)
    assert torch.equal(first, drawn(1)) and not torch.equal(first, second)
    assert float(first[0].mean()) == pytest.approx(1.0, abs=0.05)
    assert first[0].unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert torch.equal(first[1], torch.ones(50, 40)) and torch.equal(first[2], torch.zeros(50, 40))
    both_kept = ((first[0] > 0) & (second[0] > 0)).double().mean()
    assert float(both_kept) == pytest.approx(0.75**2, abs=0.04)


class OwnLoss(Model):
    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        return super().compute_loss(y_pred_loss, y)


class OwnBatch(Model):
    def prepare_batch(self, x: Any, y: Any) -> tuple[Any, Any]:
        return x, y


class Counting(nn.Module):
    """Counts its calls in an attribute, which a replayed step would not."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(12, 1), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        found: Tensor = self.layer(x.flatten(1))
        return found


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        (OwnStep, {}, "OwnStep has a train_step of its own"),
        (OwnLoss, {}, "OwnLoss has a compute_loss or split_output of its own"),
        (OwnBatch, {}, "OwnBatch has a prepare_batch of its own"),
        (Model, {"training": {"accumulate": 2}}, "accumulate"),
        (Model, {"training": {"nan": "skip"}}, "nan='skip'"),
        (Model, {"training": {"capture": False}}, "capture=false"),
        (of_network(lambda config: Counting()), {}, "its network changes its attributes as it computes"),
    ],
)
def test_what_cannot_be_captured_is_computed_step_by_step_and_named(
    kind: Any, settings: dict[str, Any], reason: str, runs: list[tuple[int, int]]
) -> None:
    assert told_of_blocks_as_alone([lambda: make(1, kind, **settings)]) == [reason]
    assert runs == []


class Held(nn.Module):
    """Computes with something that it holds: (holder, x) -> the factor of its outputs."""

    def __init__(self, factor: Callable[[Any, Tensor], Any], held: Any) -> None:
        super().__init__()
        self.layer, self.factor = nn.Linear(12, 1), factor
        if isinstance(held, nn.Buffer):
            self.register_buffer("held", held)
        else:
            self.held = held

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x.flatten(1)) * (self.factor(self, x) if self.training else 1.0)
        return found


def counted(holder: Any, x: Tensor) -> float:
    holder.held = holder.held + 1
    return 1 + 1 / float(holder.held)


def counted_in_place(holder: Any, x: Tensor) -> float:
    holder.held += 1
    return 1 + 1 / float(holder.held[0])


def averaged(holder: Any, x: Tensor) -> Tensor:
    holder.held = 0.5 * holder.held + x.detach().mean()
    found: Tensor = holder.held
    return found


def drawn(holder: Any, x: Tensor) -> float:
    return 2.0 if np.random.random() < 0.3 else 1.0


def drawn_by_torch(holder: Any, x: Tensor) -> Tensor:
    return torch.rand(())


ATTRIBUTES = "its network changes its attributes as it computes"


@pytest.mark.parametrize(
    ("factor", "held", "reason"),
    [
        (counted, lambda: 0, ATTRIBUTES),
        (counted, lambda: torch.zeros(()), ATTRIBUTES),
        (counted_in_place, lambda: np.zeros(1), ATTRIBUTES),
        (averaged, lambda: torch.zeros(()), ATTRIBUTES),
        (
            averaged,
            lambda: nn.Buffer(torch.zeros(())),
            "its network replaces a buffer as it computes, in place of changing it",
        ),
        (drawn, lambda: None, "its network draws random numbers by other means than layers of dropout"),
    ],
)
def test_a_network_whose_steps_depend_on_what_it_holds_goes_alone(
    factor: Any, held: Callable[[], Any], reason: str
) -> None:
    kind = of_network(lambda config: Held(factor, held()))
    assert told_of_blocks_as_alone([lambda: make(1, kind)]) == [reason]


@pytest.mark.parametrize("new", [torch.tensor, np.array])
def test_an_array_of_a_network_that_changes_between_epochs_is_seen(new: Any) -> None:
    def on_epoch_end(model: Any, row: Any) -> None:
        model.network.held = new(1.0 + row["epoch"])

    def network(config: Any) -> nn.Module:
        return Held(lambda holder, x: float(holder.held), new(1.0))

    kind = type("Heated", (of_network(network),), {"on_epoch_end": on_epoch_end})
    assert told_of_blocks_as_alone([lambda n=n: make(n, kind, epochs=4) for n in range(2)], False) == []


class Augmented:
    """Batches with noise from the global generator, as a DataLoader with augmentation gives them."""

    def __iter__(self) -> Any:
        for start in range(0, 40, 8):
            rows = slice(start, start + 8)
            yield torch.from_numpy(X[rows]) + torch.rand(8, 1, 12), torch.from_numpy(Y[rows])


class Noisy(Model):
    def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        return super().train_step(x + torch.rand_like(x), y)


@pytest.mark.parametrize("kind", [Model, Noisy, of_network(lambda config: Held(drawn_by_torch, None))])
def test_batches_and_steps_draw_random_numbers_in_the_order_of_plain_steps(kind: Any) -> None:
    def member() -> Member:
        found = make(1, kind)
        return found.model.as_member(Augmented(), found.val, 3, None, 1)  # type: ignore[attr-defined, no-any-return]

    told_of_blocks_as_alone([member])


def test_a_capture_that_fails_leaves_the_members_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(block: Block, of_block: Any = Block._step) -> None:
        of_block(block)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(Block, "_step", step)
    (told,) = told_of_blocks_as_alone([lambda: make(1)])
    assert told == "RuntimeError: operation not permitted when stream is capturing"
    assert issubclass(CaptureError, Exception)


def test_a_block_that_fails_ends_its_members_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(block: Block, rounds: Any, numbers: Any, of_block: Any = Block.run) -> Any:
        if len(block._pack.members) == 2:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return of_block(block, rounds, numbers)

    monkeypatch.setattr(Block, "run", run)
    members = [make(1), make(2), make(3, weight_decay=0.1, optimizer="AdamW"), make(4, OwnStep)]
    fit(members, Captured())
    assert [str(member.error) for member in members[:2]] == ["CUDA error: device-side assert triggered"] * 2
    for seed, settings in (3, {"weight_decay": 0.1, "optimizer": "AdamW"}), (4, {"kind": OwnStep}):
        alone = make(seed, **settings)
        fit([alone], Eager())
        assert_alike(alone, members[seed - 1])


def test_that_there_is_no_room_for_a_block_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def make_room(*given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Block, "_make_room", make_room)
    assert told_of_blocks_as_alone([lambda: make(1)]) == ["OutOfMemoryError: CUDA out of memory"]


def test_a_member_that_is_not_finite_leaves_its_block() -> None:
    members = [make(1), make(2, lr=float("inf")), make(3)]
    fit(members, Captured())
    assert [member.ended for member in members] == [Ended.EPOCHS, Ended.NAN, Ended.EPOCHS]
    alone = make(3)
    fit([alone], Eager())
    assert_alike(alone, members[2])


def test_a_network_that_changes_between_epochs_is_captured_anew() -> None:
    class Hot(Model):
        def on_epoch_end(self, row: Any) -> None:
            self.network[2].negative_slope = 0.1 * row["epoch"]

    def network(config: Any) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.LeakyReLU(), nn.Linear(4, 1))

    kind = type("Hot", (of_network(network),), {"on_epoch_end": Hot.on_epoch_end})
    assert told_of_blocks_as_alone([lambda n=n: make(n, kind, epochs=4) for n in range(2)]) == []


def test_a_training_in_blocks_goes_on_where_it_was(tmp_path: Any) -> None:
    from helixband.results.directory import Results

    def trained(*epochs: int) -> Member:
        results = Results(tmp_path / "_".join(map(str, epochs)))
        for until in epochs:
            member = make(5, epochs=until, trial=results.trial("0"), dropout=0.3, cycle=0.1)
            fit([member], Captured())
        return member

    whole, parts = trained(3), trained(1, 3)
    for name, value in whole.model.network.state_dict().items():
        assert torch.equal(value, parts.model.network.state_dict()[name])


def test_a_training_that_was_stopped_does_not_hold_up_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single, "_stepper_of", lambda member: single._capturing())

    def stop() -> None:
        raise KeyboardInterrupt

    stopped, alone, next_one = make(1), make(2), make(2)
    monkeypatch.setattr(stopped, "next_batch", stop)
    with pytest.raises(KeyboardInterrupt):
        single.fit_one(stopped)
    fit([alone], Eager())
    single.fit_one(next_one)
    assert_alike(alone, next_one)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, most: int, at: int = 2) -> None:
    """Have the blocks of more members than `most` fail after their steps, from the given block on."""
    taken = 0

    def run(block: Block, rounds: Any, numbers: Any, of_block: Any = Block.run) -> Any:
        nonlocal taken
        taken += 1
        if taken < at or len(block._pack.members) <= most:
            return of_block(block, rounds, numbers)
        block._fill(rounds, numbers)
        for _ in rounds:
            block._replay()
        raise error

    monkeypatch.setattr(Block, "run", run)


def test_memory_that_does_not_suffice_for_a_block_halves_the_pack(
    monkeypatch: pytest.MonkeyPatch, runs: list[tuple[int, int]]
) -> None:
    failing(monkeypatch, torch.OutOfMemoryError("no more"), 2)
    assert told_of_blocks_as_alone([lambda n=n: make(n, cycle=0.05) for n in range(5)]) == []
    assert runs == [(3, 5), (5, 2)]


def test_memory_that_does_not_suffice_to_make_a_block_halves_the_pack(
    monkeypatch: pytest.MonkeyPatch, runs: list[tuple[int, int]]
) -> None:
    def make_room(block: Block, batches: Any, numbers: Any, of_block: Any = Block._make_room) -> None:
        if len(batches) > 2:
            raise torch.OutOfMemoryError("no more")
        of_block(block, batches, numbers)

    monkeypatch.setattr(Block, "_make_room", make_room)
    assert told_of_blocks_as_alone([lambda n=n: make(n, epochs=2) for n in range(3)]) == []
    assert {members for _, members in runs} == {1, 2}


@pytest.mark.parametrize("error", [CaptureError("not now"), RuntimeError("not now")])
def test_a_captured_step_that_fails_is_computed(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    failing(monkeypatch, error, 0)
    kind = type(error).__name__
    told = told_of_blocks_as_alone([lambda n=n: make(n, cycle=0.05) for n in range(2)])
    assert told == [f"a captured step failed: {kind}: not now"] * 2


def test_the_member_is_found_that_makes_a_block_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole_step(pack: Pack, *given: Any, of_pack: Any = Pack.whole_step) -> Any:
        found = of_pack(pack, *given)
        if any(member.seed == 2 and member.record.epoch for member in pack.members):
            raise RuntimeError("of this one")
        return found

    members = [make(seed, cycle=0.05) for seed in range(5)]
    monkeypatch.setattr(Pack, "whole_step", whole_step)
    monkeypatch.setattr(tape, "recorded", lambda compute: compute)
    fit(members, Captured())
    assert [str(member.error) for member in members] == ["None", "None", "of this one", "None", "None"]
    for member in members[:2] + members[3:]:
        alone = make(member.seed, cycle=0.05)
        fit([alone], Eager())
        assert_alike(alone, member)


def test_few_packs_are_kept_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "IDLE", 2)
    stepper = Captured()
    for dilation in (1, 2, 3):
        fit([make(1, dilation=dilation, epochs=1)], stepper)
    assert len(stepper._idle) == len(stepper._blocks) == 2
