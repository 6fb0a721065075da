"""A definition's folder is a package of its own: what lies beside a def.py, and processes that need it."""

import importlib
import pickle
import random
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Project, untimed

import helixband
import helixband.definition
from helixband.definition import Definition, load_definition
from helixband.errors import DefinitionError
from helixband.randomness import get_state, held, seed_everything, set_state
from helixband.results.directory import Results
from helixband.run import command
from helixband.search.executors.trial import Trainer
from helixband.training import tensorboard

Folder = Callable[..., Definition]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Load a def.py that has the files of these names beside it."""

    def load(text: str, seed: int = 0, **files: str) -> Definition:
        for name, content in files.items():
            path = tmp_path / (name.replace("__in__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (tmp_path / "def.py").write_text(text)
        return load_definition(tmp_path / "def.py", seed)

    return load


# What lies beside it.


@pytest.mark.parametrize(
    "name", ["constraints", "metrics", "utils", "random", "json", "torch", "tensorboard"]
)
def test_a_file_beside_the_definition_is_found_whatever_else_has_its_name(folder: Folder, name: str) -> None:
    before = sys.modules.get(name)
    loaded = folder(
        f"from {name} import mine\nimport {name} as it\nVALUES = mine, it.mine", **{name: "mine = 7"}
    )

    assert loaded.module.VALUES == (7, 7)
    assert sys.modules.get(name) is before


def test_it_is_found_in_functions_in_other_files_and_in_packages(folder: Folder) -> None:
    loaded = folder(
        "import pack.inner, pack.inner as inner\n"
        "from pack import inner as same\n"
        "from pack.inner import value\n"
        "from . import metrics\n"
        "from loose.net import value as of_a_plain_folder\n"
        "def later():\n    import constraints\n    return constraints.mine\n",
        constraints="mine = 1",
        metrics="from constraints import mine",
        pack__in____init__="",
        pack__in__inner="from metrics import mine\nvalue = mine + 1",
        loose__in__net="import metrics\nvalue = metrics.mine + 2",
    ).module

    assert (loaded.later(), loaded.metrics.mine, loaded.value, loaded.of_a_plain_folder) == (1, 1, 2, 3)
    assert loaded.pack.inner is loaded.inner is loaded.same


def test_one_file_is_one_module(folder: Folder) -> None:
    loaded = folder("import metrics, other\n", metrics="class Kind: ...", other="import metrics").module
    assert loaded.metrics is loaded.other.metrics
    assert pickle.loads(pickle.dumps(loaded.metrics.Kind)) is loaded.metrics.Kind


def test_other_code_finds_the_installed_modules(folder: Folder, tmp_path: Path) -> None:
    folder("import mailbox_of_mine\n", mailbox="raise OSError('hidden')", mailbox_of_mine="")

    assert sys.path[-1] == str(tmp_path)
    assert importlib.import_module("mailbox").mbox


def test_definitions_in_two_folders_have_each_their_own_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "helper.py").write_text(f"name = {name!r}")
        (tmp_path / name / "def.py").write_text("from helper import name")
    loaded = [load_definition(tmp_path / name / "def.py").module for name in ("a", "b")]

    assert [module.name for module in loaded] == ["a", "b"]


def test_a_definition_does_not_hide_what_it_is_named_like(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("import random\nvalue = random.random()")
    assert 0 <= load_definition(tmp_path / "random.py").module.value < 1


def test_a_folder_of_data_hides_nothing(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    (tmp_path / "torch").mkdir()
    assert folder("import json, torch\n").module.torch is torch


@pytest.mark.parametrize(
    ("text", "name", "what"),
    [
        ("from constraints import UnitNorm\n", "constraints", "Helixband's module constraints"),
        ("import random\nrandom.uniform(0, 1)\n", "random", "Python's module random"),
        ("import torch.nn\n", "torch", "the installed package torch"),
    ],
)
def test_what_a_file_hides_is_told_where_it_is_missed(
    folder: Folder, text: str, name: str, what: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        folder(text, **{name: "mine = 7"})

    told = str(caught.value).splitlines()
    path = Path(told[0].split(" raised")[0]).parent / f"{name}.py"
    assert told[-1] == (
        f"{path} lies beside the definition, so `import {name}` finds it there, and not {what}. "
        "If you meant the other one, rename the file"
    )


def test_a_base_model_of_ones_own_is_told(folder: Folder) -> None:
    loaded = folder(
        "from base_model import BaseModel\nclass Model(BaseModel): ...\n", base_model="class BaseModel: ..."
    )
    with pytest.raises(DefinitionError, match=r"base_model\.py lies beside the definition.*rename the file"):
        loaded.check({})


def test_an_error_in_a_file_beside_it_is_told_without_the_frames_of_the_import(folder: Folder) -> None:
    with pytest.raises(DefinitionError) as caught:
        folder("import helper\n", helper="1 / 0\n")

    places = [line.split('"')[1] for line in str(caught.value).splitlines() if line.startswith("  File")]
    assert [Path(place).name for place in places] == ["def.py", "helper.py"]


def test_a_file_named_like_tensorboard_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorboard.py").write_text("raise OSError('run')")
    monkeypatch.delitem(sys.modules, "tensorboard", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    with tensorboard.TensorBoardLog(tmp_path / "logs") as log:
        log.add({"epoch": 1, "val_loss": 0.5})
    assert not (tmp_path / "logs").exists()


def test_a_file_that_hides_a_package_which_every_run_needs_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "rich.py").write_text("")
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(project.path)
    failed = project.run("--epoch", "1")

    assert failed.code == 1
    assert failed.err.startswith(f"error: {project.path}/rich.py has the name of the package rich")


def test_every_package_that_a_run_needs_is_looked_for() -> None:
    required = (Path(helixband.__file__).parent.parent / "requirements.txt").read_text()
    names = {line.split("=")[0].rstrip(">") for line in required.splitlines() if not line.startswith("#")}
    assert names == {"scikit-learn" if name == "sklearn" else name for name in command.PACKAGES}


def test_the_current_folder_hides_nothing_from_the_command(tmp_path: Path) -> None:
    (tmp_path / "argparse.py").write_text("raise OSError('hidden')")
    root = Path(helixband.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "helixband", "--version"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"helixband {helixband.__version__}\n"


# Other processes.


def found_again(definition: Definition, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of a definition as a process finds it that has not loaded it."""
    name = definition.module.__name__
    for module in [module for module in sys.modules if module.startswith(name)]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr(helixband.definition, name.rpartition(".")[2], raising=False)
    return importlib.import_module(name)


def test_a_process_that_did_not_load_it_finds_it_by_its_name(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = folder(
        "import random\nfrom helper import Rows\nDRAWN = random.random()\n",
        seed=5,
        helper="import random\nclass Rows: ...\nDRAWN = random.random()\n",
    )
    again = found_again(loaded, monkeypatch)

    assert again is not loaded.module
    assert again.DRAWN == loaded.module.DRAWN
    helper = importlib.import_module(loaded.module.Rows.__module__)
    assert helper is sys.modules[again.Rows.__module__]
    assert helper.DRAWN != again.DRAWN


def test_a_definition_that_was_changed_since_is_told(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = folder("x = 1\n")
    (tmp_path / "def.py").write_text("x = 2\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])  # without the folders of definitions loaded before
    with pytest.raises(DefinitionError, match=rf"{tmp_path}/def\.py; do not change or move it"):
        found_again(loaded, monkeypatch)


def test_workers_of_a_loader_that_are_spawned_find_the_classes_of_a_definition(project: Project) -> None:
    (project.path / "constraints.py").write_text("SCALE = 1.0\n")  # as it was: a name of ours
    project.define("""
from constraints import SCALE


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, index):
        x = np.random.default_rng(index).normal(size=3).astype(np.float32)
        return x, np.float32(x[0] * SCALE)


def get_train_generator(data_dir, batch_size):
    loader = torch.utils.data.DataLoader
    train = loader(Rows(), batch_size=10, num_workers=1, multiprocessing_context="spawn")
    return train, loader(Rows(), batch_size=10)
""")
    done = project.run("--epoch", "1")

    assert (done.code, done.err) == (0, "")


# Random generators that stand in modules.

HOLDERS = """
import random
import numpy as np
import torch

FIRST = np.random.default_rng(0)
FIRST.random()
OLD = [np.random.RandomState(1)]
PLAIN = {"a": random.Random(2)}
TORCH = torch.Generator()
MINE = np.random.mtrand._rand
SYSTEM = random.SystemRandom()


class Data:
    rng = np.random.default_rng(3)

    def noise(self, rng=np.random.default_rng(4)):
        return rng.random()


def closed():
    rng = np.random.default_rng(5)

    def draw():
        return rng.random()

    return draw


CLOSED = closed()


def draw(*, rng=np.random.Generator(np.random.Philox(6))):
    from helper import RNG

    values = [FIRST.random(), OLD[0].rand(), PLAIN["a"].random(), torch.rand(1, generator=TORCH).item()]
    return [*values, Data.rng.random(), Data().noise(), CLOSED(), rng.random(), RNG.normal()]
"""


def test_generators_in_modules_begin_anew_with_each_seed_as_they_were_loaded(folder: Folder) -> None:
    loaded = folder(HOLDERS, helper="import numpy as np\nRNG = np.random.Generator(np.random.MT19937(7))")
    first, second = loaded.module.draw(), loaded.module.draw()
    assert len({*first, *second}) == 18

    for seed in (1, 2):
        seed_everything(seed)
        assert [loaded.module.draw(), loaded.module.draw()] == [first, second]


def test_their_state_is_part_of_the_global_one(folder: Folder, tmp_path: Path) -> None:
    loaded = folder(HOLDERS, helper="import numpy as np\nRNG = np.random.default_rng(7)")
    loaded.module.draw()
    torch.save(get_state(), tmp_path / "state.pt")
    expected = loaded.module.draw()
    loaded.module.draw()
    set_state(torch.load(tmp_path / "state.pt", weights_only=True))

    assert loaded.module.draw() == expected


def test_a_state_of_a_file_that_is_loaded_later_reaches_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = folder(HOLDERS, helper="import numpy as np\nRNG = np.random.default_rng(7)")
    loaded.module.draw()
    state, expected = get_state(), loaded.module.draw()
    again = found_again(loaded, monkeypatch)
    set_state(state)

    assert again.draw() == expected


def test_the_global_generators_themselves_are_not_put_back(folder: Folder) -> None:
    folder("import random, numpy as np\nMINE = np.random.mtrand._rand\nOURS = random.random.__self__\n")
    seed_everything(3)
    assert random.random() == random.Random(3).random()
    assert held.states() == {}


def test_a_file_that_is_loaded_in_a_trial_moves_no_numbers_of_it(folder: Folder) -> None:
    loaded = folder(
        "def load():\n    import helper\n    return helper.X\n", helper="import random\nX = random.random()"
    )
    seed_everything(1)
    before = random.getstate()
    loaded.module.load()

    assert random.getstate() == before


KEPT = """
NOISE = np.random.default_rng(0)
CHOICE = random.Random(1)
MASK = torch.Generator()


class Noisy(MatrixBatchGenerator):
    def __iter__(self):
        for x, y in super().__iter__():
            yield x + NOISE.normal(size=x.shape).astype(np.float32), y


def get_train_generator(data_dir, batch_size):
    return Noisy(*table(0, 60), batch_size, shuffle=True), Noisy(*table(1, 20))


def get_config():
    return {"lr": 10 ** CHOICE.uniform(-2.5, -1.5), "units": int(NOISE.integers(2, 9))}


class Model(Model):
    def train_step(self, x, y):
        keep = torch.rand(x.shape, generator=MASK) > 0.1
        return super().train_step(x * keep * CHOICE.uniform(0.9, 1.1), y)
"""


def tables(project: Project) -> dict[str, str]:
    return {
        path.parent.name: path.parent.joinpath("config.json").read_text() + untimed(path.read_text())
        for path in sorted(project.results.glob("trials/*/train_results.csv"))
    }


def test_a_trial_does_not_depend_on_those_before_it_in_its_process(project: Project) -> None:
    project.define(KEPT)

    def train(*names: str) -> str:
        args = Namespace(data=str(project.data), batch_size=30, seed=0, cpu=True, debug=False)
        trainer = Trainer(load_definition(project.definition), Results(project.results), args)
        for name in names:
            trainer.train(name, {"lr": 0.01, "units": 4}, 2, lambda name, row: None)
        table = tables(project)["0002"]
        project.clear()
        return table

    assert train("0001", "0002") == train("0002")


def test_a_killed_training_goes_on_with_the_numbers_that_it_had(project: Project) -> None:
    project.define(KEPT)
    assert project.run("--epoch", "4").code == 0
    undisturbed = tables(project)
    project.clear()

    assert project.run("--epoch", "2").code == 0
    assert project.run("--epoch", "4").code == 0
    assert tables(project) == undisturbed


@pytest.mark.parametrize("sampler", ["random", "density"])
def test_configurations_may_be_drawn_from_them(project: Project, sampler: str) -> None:
    project.define(
        "NOISE = np.random.default_rng(0)\n"
        "def get_config():\n    return {'lr': float(NOISE.uniform(0.01, 0.02)), 'units': 4}\n"
    )
    flags = ("--hyper", "--schedule", "none", "--epoch", "1", "--sampler", sampler)
    assert project.run(*flags, "--trials", "2").code == 0
    assert project.run(*flags, "--trials", "4").code == 0
    in_two_runs = [event["config"] for event in project.journal() if event["event"] == "trial"]
    assert len({config["lr"] for config in in_two_runs}) == 4
    project.clear()

    assert project.run(*flags, "--trials", "4").code == 0
    assert [event["config"] for event in project.journal() if event["event"] == "trial"] == in_two_runs
