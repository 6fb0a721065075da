"""Code of a definition may draw random numbers and change what networks read; Helixband's does neither."""

import functools
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
import sklearn.utils
import torch
import torch.nn.functional as F
from test_captured import Scaling, told_of_blocks_as_alone
from test_packed import CLASSES, X, Y, assert_alike, make, of_network
from torch import Tensor, nn, optim

from base_model import BaseModel, ClassificationModel, RegressionModel, TrainingOptions
from batch_generator import (
    FastaBatchGenerator,
    H5pyBatchGenerator,
    MatrixBatchGenerator,
    MixedBatchGenerator,
)
from helixband.definition import load_definition
from helixband.errors import DataError
from helixband.losses import FocalLoss
from helixband.training.fit import fit
from helixband.training.losses import is_standard
from helixband.training.member import Member
from helixband.training.objects import is_known_code
from helixband.training.steps import block, template
from helixband.training.steps.captured import Captured
from helixband.training.steps.described import described
from helixband.training.steps.eager import Eager
from helixband.training.steps.packed import Packed

Make = Callable[[], Member]


# Batches.


def doubled(x: Any, y: Any) -> Any:
    return 2 * x, y


class OwnBatches(MatrixBatchGenerator):
    pass


@pytest.fixture
def table(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"], file["label"] = X, Y
    return tmp_path / "a.h5"


def reading(generator: Any, seed: int = 1) -> Member:
    member = make(seed)
    member.train = generator
    return member


def test_batches_of_our_generators_are_made_by_no_code_of_a_definition(table: Path) -> None:
    fasta = table.parent / "a.fa"
    fasta.write_text("".join(f">s{number}\nACGT\n" for number in range(44)))
    matrix = MatrixBatchGenerator(X, Y, 8)
    replaced = H5pyBatchGenerator(table, 8)
    replaced.batches = lambda *place: iter(())  # type: ignore[method-assign, assignment]
    generators = {
        "arrays": matrix,
        "a table": H5pyBatchGenerator(table, 8),
        "a stream": H5pyBatchGenerator(table, 8, memory_limit=0),
        "sequences": FastaBatchGenerator(fasta, CLASSES, batch_size=8, shuffle=True, reverse_complement=True),
        "a mixture": MixedBatchGenerator([matrix, H5pyBatchGenerator(table, 8)], [0.5, 0.5], 8),
        "own processing": H5pyBatchGenerator(table, 8, process_x_y=doubled),
        "a library's": H5pyBatchGenerator(table, 8, process_x_y=sklearn.utils.shuffle),
        "a partial": H5pyBatchGenerator(table, 8, process_x_y=functools.partial(doubled)),
        "a method": H5pyBatchGenerator(table, 8, process_x_y=MethodType(lambda self, x, y: (x, y), 3)),
        "an own method": replaced,
        "an own class": OwnBatches(X, Y, 8),
        "a mixture of such": MixedBatchGenerator([matrix, OwnBatches(X, Y, 8)], [0.5, 0.5], 8),
        "a list": [(X, Y)],
    }
    read_by_code = []
    for name, generator in generators.items():
        member = reading(generator)
        member.begin_epoch()
        if member.is_read_by_code:
            read_by_code.append(name)
    assert read_by_code == list(generators)[5:]


def test_what_a_library_draws_as_it_reads_does_not_depend_on_the_company(table: Path) -> None:
    def trained(seeds: list[int]) -> list[Member]:
        streams = [
            H5pyBatchGenerator(table, 8, shuffle=True, memory_limit=0, process_x_y=sklearn.utils.shuffle)
            for _ in seeds
        ]
        members = [reading(stream, seed) for stream, seed in zip(streams, seeds, strict=True)]
        fit(members, Eager())
        return members

    alone = [trained([seed])[0] for seed in (1, 2)]
    for one, other in zip(alone, trained([1, 2]), strict=True):
        assert one.record.history == other.record.history


# Labels.


class Reading(ClassificationModel):
    """Its network reads a variable, which code of the definition could change."""

    def init_model(self) -> None:
        network = nn.Sequential(nn.Flatten(), Scaling(), nn.Linear(12, 2))
        super().init_model(network, FocalLoss(), optim.Adam(network.parameters(), 0.01))


class OfInstance(Reading):
    def init_model(self) -> None:
        super().init_model()
        self.check_labels = lambda y_true: None  # type: ignore[method-assign]


class OfCriterion(Reading):
    def init_model(self) -> None:
        super().init_model()
        self.criterion.check_labels = lambda y: None  # type: ignore[attr-defined]


class Wrapped(Reading):
    @functools.wraps(ClassificationModel.check_labels)
    def check_labels(self, y_true: Any) -> None:
        pass


class OwnLoss(FocalLoss):
    @property
    def ignore_index(self) -> int:
        return -100


class OfLoss(Reading):
    def init_model(self) -> None:
        network = nn.Sequential(nn.Flatten(), Scaling(), nn.Linear(12, 2))
        optimizer = optim.Adam(network.parameters(), 0.01)
        ClassificationModel.init_model(self, network, OwnLoss(), optimizer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "is_own"),
    [(Reading, False), (OfInstance, True), (OfCriterion, True), (Wrapped, True), (OfLoss, True)],
)
def test_a_check_of_labels_of_a_definition_is_its_code(kind: type[BaseModel], is_own: bool) -> None:
    member = make(1, kind, y=CLASSES)
    member.begin_epoch()
    assert member.is_read_by_code is is_own


# Criteria and other code.

DEFINITION = """
import torch
from torch import nn
from base_model import RegressionModel


class Absolute(nn.Module):
    def forward(self, input, target):
        return (input.flatten() - target.flatten()).abs().mean()


class Model(RegressionModel):
    def init_model(self):
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
        super().init_model(network, Absolute(), torch.optim.SGD(network.parameters(), 0.01))
"""


def test_code_of_any_definition_that_is_loaded_is_a_definitions(tmp_path: Path) -> None:
    kinds = []
    for name in ("one.py", "other.py"):
        (tmp_path / name).write_text(textwrap.dedent(DEFINITION))
        kinds.append(load_definition(tmp_path / name).module.Model)
    told = told_of_blocks_as_alone([lambda: make(1, kinds[0])])
    assert told == ["its criterion is a definition's own"]
    assert not any(map(is_known_code, kinds))


def test_criteria_are_standard_where_torch_or_helixband_has_made_them() -> None:
    class Own(nn.MSELoss):
        pass

    standard = [nn.MSELoss(), FocalLoss(), F.mse_loss, torch.dist, Own(), OwnLoss(), doubled]
    assert list(map(is_standard, standard)) == [True] * 4 + [False] * 3


def test_code_of_no_module_is_no_librarys() -> None:
    made: dict[str, Any] = {"__name__": "of no module"}
    exec("def made(x): return x\nclass Made: pass", made)
    assert [is_known_code(each) for each in (made["made"], made["Made"], np.mean, nn.Linear)] == [
        False,
        False,
        True,
        True,
    ]


def test_modules_that_code_holds_are_not_looked_through() -> None:
    def of_closure() -> nn.Module:
        import torch.nn.functional as own_name

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(12, 1)

            def forward(self, x: Tensor) -> Tensor:
                return own_name.tanh(self.layer(x.flatten(1)))

        return Network()

    assert described(np) == described(np) != described(F)
    kind = of_network(lambda config: of_closure())
    assert told_of_blocks_as_alone([lambda: make(1, kind), lambda: make(2, kind)]) == []


def test_modules_of_a_definition_are_what_they_hold() -> None:
    one, other = ModuleType("helper"), ModuleType("helper")
    one.SCALE, other.SCALE = 1.0, 1.0  # type: ignore[attr-defined]
    assert described({"h": one}) == described({"h": other})
    other.SCALE = 3.0  # type: ignore[attr-defined]
    assert described({"h": one}) != described({"h": other})


def test_helpers_may_import_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import b\nX = 2.0\n")
    (tmp_path / "b.py").write_text("import a\nY = 3.0\n")
    (tmp_path / "def.py").write_text(
        "import a\nfrom torch import nn, optim\nfrom base_model import RegressionModel\n"
        "class Network(nn.Sequential):\n"
        "    def forward(self, x): return super().forward(x) * a.X * a.b.Y\n"
        "class Model(RegressionModel):\n"
        "    def init_model(self):\n"
        "        network = Network(nn.Flatten(), nn.Linear(12, 1))\n"
        "        super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.001))\n"
    )
    kind = load_definition(tmp_path / "def.py").module.Model
    assert told_of_blocks_as_alone([lambda: make(1, kind)]) == []


def test_a_method_that_is_taken_from_helixband_is_helixbands() -> None:
    class Taking(Reading):
        compute_loss = ClassificationModel.compute_loss

    class Replacing(Reading):
        def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
            return super().compute_loss(y_pred_loss, y)

    assert [kind({}).engine.own_loss for kind in (Reading, Taking, Replacing)] == [False, False, True]


def test_memory_that_runs_out_in_a_loss_of_classes_is_told_as_it_is() -> None:
    class Full(nn.Module):
        def forward(self, input: Tensor, target: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    class Model(ClassificationModel):
        def init_model(self) -> None:
            network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
            super().init_model(network, Full(), optim.SGD(network.parameters(), 0.1))

        def check_labels(self, y_true: Any) -> None:
            raise DataError("labels are never right")

    with pytest.raises(torch.OutOfMemoryError):
        Model({}).compute_loss(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))


# Modes.


@pytest.mark.parametrize("stepper", [Eager, Packed, Captured])
def test_batches_are_prepared_in_training_in_each_epoch(stepper: Any) -> None:
    modes: list[bool] = []

    class Model(RegressionModel):
        def init_model(self) -> None:
            network = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
            super().init_model(network, optimizer=optim.SGD(network.parameters(), 0.1))

        def prepare_batch(self, x: Any, y: Any) -> Any:
            modes.append(self.network.training)
            return x, y

    fit([make(1, Model, epochs=2)], stepper())
    assert modes == [True] * 12


class Smoothing(nn.Module):
    """Labels are drawn to the middle in training alone."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        target = 0.8 * target + 0.1 if self.training else target
        return (input.flatten() - target.flatten()).square().mean()


class Smoothed(RegressionModel):
    def init_model(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
        super().init_model(network, Smoothing(), optim.SGD(network.parameters(), 0.05))


class Penalised(Smoothed):
    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        penalty = 0.0
        if self.network.training:
            penalty = sum(each.square().sum() for each in self.network.parameters())
        return super().compute_loss(y_pred_loss, y) + penalty


@pytest.mark.parametrize("kind", [Smoothed, Penalised])
@pytest.mark.parametrize("stepper", [Packed, Captured])
def test_what_a_pack_reads_of_a_model_is_in_training_in_each_epoch(kind: Any, stepper: Any) -> None:
    alone, together = ([make(seed, kind) for seed in (1, 2)] for _ in range(2))
    for member in alone:
        fit([member], Eager())
    fit(together, stepper())
    for one, other in zip(alone, together, strict=True):
        assert_alike(one, other)


# Networks that do something in 16 bits alone.


class Halves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 8), nn.Linear(8, 1)
        self.count = 0
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.first(x.flatten(1))
        found: Tensor = self.last(self.in_bf16(hidden) if hidden.dtype == torch.bfloat16 else hidden)
        return found

    def in_bf16(self, hidden: Tensor) -> Tensor:
        return hidden


class Drawing(Halves):
    def in_bf16(self, hidden: Tensor) -> Tensor:
        return hidden + 0.01 * torch.randn_like(hidden)


class Replacing(Halves):
    def in_bf16(self, hidden: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * hidden.detach().float().mean(0)
        return hidden - self.mean


class Counting(Halves):
    def in_bf16(self, hidden: Tensor) -> Tensor:
        self.count += 1
        return hidden * (1 + self.count // 7)


class Hooking(Halves):
    def in_bf16(self, hidden: Tensor) -> Tensor:
        if hidden.requires_grad:
            hidden.register_hook(lambda gradient: gradient * 0.5)
        return hidden


def in_bf16(network: Callable[[], nn.Module]) -> type[BaseModel]:
    class Model(RegressionModel):
        def init_model(self) -> None:
            made = network()
            optimizer = optim.SGD(made.parameters(), 0.02)
            super().init_model(made, optimizer=optimizer, training=TrainingOptions(precision="bf16"))

    return Model


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Drawing, "its network draws random numbers by other means than layers of dropout"),
        (Replacing, "its network replaces a buffer as it computes, in place of changing it"),
        (Counting, "its network changes its attributes as it computes"),
        (Hooking, "its network puts hooks on tensors as it computes"),
    ],
)
def test_what_a_network_does_in_16_bits_alone_is_seen(network: type[nn.Module], reason: str) -> None:
    kind = in_bf16(network)
    assert told_of_blocks_as_alone([lambda: make(1, kind)]) == [reason]


class Dropping(Halves):
    """It drops features in 16 bits, and rows otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.first(x.flatten(1))
        if hidden.dtype == torch.bfloat16:
            found: Tensor = self.last(self.drop(hidden))
        else:
            found = self.last(self.drop(hidden[:, :1]).expand(-1, 8))
        return found


def test_masks_have_the_shapes_of_the_precision_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = set()

    def forward(layer: Any, x: Tensor, of_layer: Any = template._Masked.forward) -> Tensor:
        if layer.masks is not None and not torch._C._functorch.is_batchedtensor(x):
            masks = list(layer.masks)
            widths.add((x.dtype, x.shape[1], masks[0].shape[1]))
            layer.masks = iter(masks)
        found: Tensor = of_layer(layer, x)
        return found

    monkeypatch.setattr(template._Masked, "forward", forward)
    fit([make(1, in_bf16(Dropping))], Captured())
    assert widths == {(torch.float32, 1, 1), (torch.bfloat16, 8, 8)}


# Room.


def test_masks_that_are_not_kept_take_no_room_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "CACHED", 0)
    monkeypatch.setattr(block, "BYTES", 8 * 13 * 4 * 5)  # batches of 8 examples for five steps
    counts = []

    def run(block: Any, rounds: Any, numbers: Any, of_block: Any = block.Block.run) -> Any:
        counts.append(len(rounds))
        return of_block(block, rounds, numbers)

    monkeypatch.setattr(block.Block, "run", run)
    fit([make(1, dropout=0.4)], Captured())
    assert max(counts) == 5
