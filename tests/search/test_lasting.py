"""What a process has for all its trials is for each of them as it was for the first."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Project

SEARCH = ("--hyper", "--schedule", "none", "--epoch", "3", "--sampler", "random", "--batch-size", "20")

ENCODER = """
ENCODER = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())

class Model(RegressionModel):
    def init_model(self):
        network = nn.Sequential(ENCODER, nn.Linear(4, 1))
        super().init_model(network, nn.MSELoss(), optim.SGD(network.parameters(), self.config["lr"]))
"""
"""An encoder that is made once, and that each trial trains on."""

FROZEN = ENCODER.replace("network = ", "ENCODER.requires_grad_(False); network = ")

HALVED = ENCODER.replace("network = ", "ENCODER[0].weight.data.mul_(0.5); network = ")
"""One that the making of each trial changes."""

LATE = (
    """
def made():
    linear = nn.utils.skip_init(nn.Linear, 3, 4)  # which draws nothing
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(linear, nn.BatchNorm1d(4), nn.ReLU())

"""
    + ENCODER[ENCODER.index("class") :]
).replace("network = ", "globals().setdefault('ENCODER', made()); network = ")
"""An encoder that the first trial makes."""

NORMED = ENCODER.replace("network = ", "nn.utils.parametrizations.spectral_norm(ENCODER[0]); network = ")
"""An encoder that the making of each trial gives a norm."""

APART = (
    ENCODER.replace("network = nn.Sequential(ENCODER, nn.Linear(4, 1))", "network = nn.Linear(3, 1)").replace(
        "network.parameters()", "[*network.parameters(), *ENCODER.parameters()]"
    )
    + """
    def forward(self, x):
        more = ENCODER(x).mean(1, keepdim=True)
        return {name: value + more for name, value in super().forward(x).items()}
"""
)
"""One that is trained beside the network."""

MOTIFS = """
MOTIFS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)

class Model(RegressionModel):
    def init_model(self):
        network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        network[0].weight = nn.Parameter(torch.from_numpy(MOTIFS))
        super().init_model(network, nn.MSELoss(), optim.SGD(network.parameters(), self.config["lr"]))
"""
"""First weights from an array, whose memory they share."""

TABLE = MOTIFS.replace("nn.Parameter(torch.from_numpy(MOTIFS))", "nn.Parameter(MOTIFS['a'][1:])").replace(
    "MOTIFS = np", "MOTIFS = {}\nMOTIFS['a'] = torch.ones(5, 3)  #"
)

PLAIN = """
class Model(RegressionModel):
    def init_model(self):
        network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        super().init_model(network, nn.MSELoss(), optim.SGD(network.parameters(), self.config["lr"]))
"""

DOUBLE = PLAIN.replace(
    "        network =",
    "        if self.config['lr'] > 0.015: torch.set_default_dtype(torch.float64)\n        network =",
)
"""Some trials compute in double precision."""

COUNTING = """
class Counting(MatrixBatchGenerator):
    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        self.count, self.scales = 0, [1.0]
    def __iter__(self):
        for x, y in super().__iter__():
            self.count += 1
            yield x * (1 + self.count / 10), y

def get_train_generator(data_dir, batch_size):
    return Counting(*table(0, 60), batch_size, shuffle=True)
"""
"""A generator derived from one of ours that counts: the run makes it once."""

DRAWING = COUNTING.replace("self.count, self.scales = 0, [1.0]", "self.rng = np.random.default_rng(0)")
DRAWING = DRAWING.replace("self.count += 1", "pass").replace(
    "self.count / 10", "np.float32(self.rng.random())"
)
"""One that draws by a generator of its own."""

BOUND = COUNTING.replace("self.scales = 0, [1.0]", "self.steps = 0, [self.step]").replace(
    "yield x * (1 + self.count / 10), y",
    "yield x * (1 + self.steps[0]() / 10), y\n    def step(self):\n        return self._epoch",
)
"""One that calls a method of its own from a list."""

LISTED = COUNTING.replace("self.count += 1", "self.scales[0] += 1").replace(
    "self.count /", "self.scales[0] /"
)
"""One that counts in a list, which a copy of it has in common with it."""

OWN = """
class Own:
    def __init__(self):
        self.order, self.x, self.y = np.arange(60), *table(0, 60)
    def __iter__(self):
        np.random.shuffle(self.order)
        for start in range(0, 60, 20):
            rows = self.order[start : start + 20]
            yield self.x[rows], self.y[rows]

DATA = Own()

def get_train_generator(data_dir, batch_size):
    return DATA
"""
"""A generator in a variable, which shuffles an array in place."""

CLOSING = (
    OWN.replace("self.order, self.x", "self.file, self.order, self.x")
    .replace("= np.arange(60),", "= open(__file__), np.arange(60),")
    .replace(
        "        for start",
        "        self.file = open(__file__) if self.file.closed else self.file\n        for start",
    )
    .replace("self.y[rows]\n", "self.y[rows]\n        self.file.close()\n")
)
"""One that closes its file at the end of an epoch, and opens it again."""

HELPED = OWN.replace("DATA = Own()", "import functools\nmade = functools.cache(Own)").replace(
    "return DATA", "return made()"
)
"""One that a helper function keeps."""

CACHED = (
    OWN.replace("DATA = Own()", "import functools")
    .replace("def get", "@functools.lru_cache\ndef get")
    .replace("return DATA", "return Own()")
)

EPOCHS = """
class Own:
    def __init__(self):
        self.x, self.y = table(0, 60)
    def set_epoch(self, seed, epoch):
        self.at = seed, epoch
    def __iter__(self):
        rows = np.random.default_rng(self.at).permutation(60)
        for start in range(0, 60, 20):
            yield self.x[rows[start : start + 20]], self.y[rows[start : start + 20]]

class Scaled:
    def __init__(self, data):
        self.data = data
    def __iter__(self):
        for x, y in self.data:
            yield 2 * x, y

DATA = Own()

def get_train_generator(data_dir, batch_size):
    return Scaled(DATA)
"""
"""A new generator around one in a variable, whose order is set for each epoch and read later."""

SCALED = """
class Scaled(MatrixBatchGenerator):
    def __iter__(self):
        for x, y in super().__iter__():
            yield 2 * x, y

def get_train_generator(data_dir, batch_size):
    return Scaled(*table(0, 60), batch_size, shuffle=True)
"""
"""One derived from ours that reads its order as late."""


def rows(project: Project, results: str) -> dict[str, list[Any]]:
    """The losses of each epoch of each trial."""
    files = sorted((project.path / results / "trials").glob("*/train_results.csv"))
    return {path.parent.name: losses(path) for path in files}


def losses(path: Path) -> list[Any]:
    with path.open() as file:
        return [(float(row["train_loss"]), float(row["val_loss"])) for row in csv.DictReader(file)]


def search(project: Project, results: str, *flags: str) -> str:
    """What a search says, which begins in single precision."""
    try:
        done = project.run(*SEARCH, "--no-data-check", "--result", str(project.path / results), *flags)
    finally:
        torch.set_default_dtype(torch.float32)
    assert done.code == 0, done.err
    return done.out


@pytest.mark.filterwarnings("ignore:.*no checkpoint holds it")
@pytest.mark.parametrize(
    ("more", "why"),
    [
        pytest.param(ENCODER, "each trains weights of ENCODER of def.py, which all", id="encoder"),
        pytest.param(FROZEN, "each trains weights of ENCODER of def.py, which all", id="frozen"),
        pytest.param(HALVED, "each trains weights of ENCODER of def.py, which all", id="halved"),
        pytest.param(LATE, "each trains weights of ENCODER of def.py, which all", id="late"),
        pytest.param(NORMED, "each trains weights of ENCODER of def.py, which all", id="normed"),
        pytest.param(APART, "each trains weights of ENCODER of def.py, which all", id="apart"),
        pytest.param(MOTIFS, "each trains weights of MOTIFS of def.py, which all", id="array"),
        pytest.param(TABLE, "each trains weights of MOTIFS of def.py['a'], which all", id="view"),
        pytest.param(DOUBLE, "making one changes torch's default dtype", id="double"),
        pytest.param(PLAIN + COUNTING, None, id="counting"),
        pytest.param(PLAIN + DRAWING, None, id="drawing"),
        pytest.param(PLAIN + BOUND, "all of them have one Counting, or one generator", id="bound"),
        pytest.param(PLAIN + LISTED, "reading the data changes the training generator.scales", id="list"),
        pytest.param(PLAIN + OWN, "all of them have one Own, or one generator in it", id="variable"),
        pytest.param(PLAIN + CLOSING, "all of them have one Own, or one generator in it", id="closing"),
        pytest.param(PLAIN + HELPED, "all of them have one Own, or one generator in it", id="helped"),
        pytest.param(PLAIN + CACHED, "all of them have one Own, or one generator in it", id="cached"),
        pytest.param(PLAIN + EPOCHS, "all of them have one Scaled, or one generator in it", id="wrapped"),
        pytest.param(PLAIN + SCALED, None, id="late order"),
    ],
)
def test_a_search_is_the_same_after_an_interruption_and_in_a_pack(
    project: Project, more: str, why: str | None
) -> None:
    project.define(more)
    search(project, "whole", "--trials", "3")
    whole = rows(project, "whole")
    assert list(map(len, whole.values())) == [3, 3, 3]

    search(project, "parts", "--trials", "1")
    search(project, "parts", "--trials", "3")
    assert rows(project, "parts") == whole

    said = search(project, "packed", "--trials", "3", "--pack", "3")
    packed = rows(project, "packed")
    assert packed.keys() == whole.keys()
    for name, found in whole.items():
        assert packed[name] == [pytest.approx(row, rel=1e-5) for row in found]
    assert said.count("trained one after another") == (why is not None)
    assert why is None or f"one after another: {why}" in said


CONSTANT = """
WEIGHTS, LOSS, SCALE = torch.ones(3), nn.MSELoss(), np.ones(3, dtype=np.float32)

class Scaling(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("weights", WEIGHTS)
        self.register_buffer("scale", torch.from_numpy(SCALE))
    def forward(self, x):
        return x * self.weights * self.scale

class Model(RegressionModel):
    def init_model(self):
        network = nn.Sequential(Scaling(), nn.Linear(3, 1))
        super().init_model(network, LOSS, optim.SGD(network.parameters(), self.config["lr"]))
"""


STILL = FROZEN.replace(" nn.BatchNorm1d(4),", "")
"""A frozen encoder without buffers."""


@pytest.mark.parametrize("more", [CONSTANT, STILL], ids=["constants", "frozen"])
def test_what_no_training_changes_keeps_nobody_from_a_pack(project: Project, more: str) -> None:
    project.define(more)
    assert "one after another" not in search(project, "packed", "--trials", "3", "--pack", "3")


def test_a_generator_that_raises_ends_its_trials_and_not_their_process(project: Project) -> None:
    project.define(PLAIN + COUNTING.replace("self.count += 1", "raise ValueError('mine')"))
    flags = ("--no-data-check", "--trials", "3", "--pack", "3")
    done = project.run(*SEARCH, "--result", str(project.path / "packed"), *flags)
    assert done.code == 1
    assert "no trial has succeeded of 3; trial 0000 failed with: ValueError: mine" in done.err
    assert "ended" not in done.out
